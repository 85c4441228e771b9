//! Everything that is not an ask: lists of models, health, loading and unloading, as each engine has it.

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use http_body_util::{Either, Full};
use serde_json::{Value, json};

use crate::fake::encode::{CREATED_AT, CREATED_S};
use crate::fake::engine::Engine;
use crate::fake::refusal::Refusal;
use crate::fake::serve::{Reply, json_reply};
use crate::fake::speak::Speak;
use crate::fake::text;

/// Parameters that every model claims to have.
const PARAMETERS: u64 = 8_030_000_000;

/// Answers `method path`, if the engine has such a route.
pub(super) async fn answer(engine: &Engine, method: &Method, path: &str, body: &Bytes) -> Result<Reply, Refusal> {
    let speak = engine.options.speak;
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let is_get = method == Method::GET || method == Method::HEAD;
    if is_get && path == "/v1/models" && speak != Speak::Perplexity {
        return Ok(json_reply(&models(engine)));
    }
    if speak.has_ollama_face()
        && let Some(reply) = ollama(engine, is_get, path, &body)?
    {
        return Ok(reply);
    }
    let reply = match speak {
        Speak::Lmstudio => lmstudio(engine, is_get, path, &body).await?,
        Speak::Localai => localai(engine, is_get, path, &body).await?,
        Speak::Webui => webui(engine, is_get, path, &body).await?,
        Speak::Vllm => vllm(engine, is_get, path),
        Speak::Llamacpp => llamacpp(engine, is_get, path, &body).await?,
        Speak::LlamacppPython => llamacpp_python(is_get, path, &body),
        Speak::Ollama | Speak::Openai | Speak::Anthropic | Speak::Perplexity => None,
    };
    reply.ok_or_else(|| Refusal::no_route(path))
}

/// `/v1/models`: what it lists differs more than its form.
fn models(engine: &Engine) -> Value {
    let options = &engine.options;
    let names: Vec<String> = match options.speak {
        Speak::Webui => engine.loaded().into_iter().map(|loaded| loaded.model).take(1).collect(),
        _ => engine.models(),
    };
    if options.speak == Speak::Anthropic {
        let data: Vec<Value> = names
            .iter()
            .map(|name| {
                json!({"type": "model", "id": name, "display_name": name, "created_at": CREATED_AT,
                    "max_input_tokens": options.context, "max_tokens": options.context})
            })
            .collect();
        return json!({"data": data, "has_more": false, "first_id": names.first(), "last_id": names.last()});
    }
    let data: Vec<Value> = names.iter().map(|name| openai_model(engine, name)).collect();
    let mut list = json!({"object": "list", "data": data});
    if options.speak == Speak::Llamacpp {
        list["models"] = names.iter().map(|name| json!({"name": name, "model": name, "type": "model"})).collect();
    }
    list
}

fn openai_model(engine: &Engine, name: &str) -> Value {
    let options = &engine.options;
    let owner = format!("{:?}", options.speak).to_lowercase();
    let mut model = json!({"id": name, "object": "model", "created": CREATED_S, "owned_by": owner});
    match options.speak {
        Speak::Vllm => model["max_model_len"] = options.context.into(),
        Speak::Llamacpp => {
            model["meta"] = json!({"n_ctx": options.context, "n_ctx_train": options.context,
                "n_params": PARAMETERS, "size": options.model_memory.0, "n_vocab": 32_000, "n_embd": 4096});
        }
        _ => {}
    }
    model
}

/// Ollama's own routes; LocalAI has them too.
fn ollama(engine: &Engine, is_get: bool, path: &str, body: &Value) -> Result<Option<Reply>, Refusal> {
    let listed = |with: &dyn Fn(&str) -> Value, names: Vec<String>| {
        json_reply(&json!({"models": names.iter().map(|name| with(name)).collect::<Vec<_>>()}))
    };
    let loaded = || engine.loaded().into_iter().map(|loaded| loaded.model).collect();
    let model = body["model"].as_str().or(body["name"].as_str()).unwrap_or("");
    Ok(Some(match (is_get, path) {
        (true, "/") if engine.options.speak == Speak::Ollama => text_reply("Ollama is running"),
        (true, "/api/version") => json_reply(&json!({"version": "0.12.0"})),
        (true, "/api/tags") => listed(&|name| ollama_model(engine, name), engine.models()),
        (true, "/api/ps") => listed(&|name| ollama_loaded(engine, name), loaded()),
        (false, "/api/show") => json_reply(&ollama_show(engine, &known(engine, &model.into())?)),
        (false, "/api/pull") => {
            engine.add_model(model);
            ollama_pulled(engine, model, body["stream"] != false)
        }
        (false, "/api/copy" | "/api/create") => {
            known(engine, if path == "/api/copy" { &body["source"] } else { &body["from"] })?;
            engine.add_model(body["destination"].as_str().unwrap_or(model));
            json_reply(&json!({"status": "success"}))
        }
        (false, "/api/delete") => {
            engine.remove_model(&known(engine, &model.into())?);
            text_reply("")
        }
        _ => return Ok(None),
    }))
}

fn ollama_model(engine: &Engine, name: &str) -> Value {
    json!({
        "name": name,
        "model": name,
        "modified_at": CREATED_AT,
        "size": engine.options.model_memory.0,
        "digest": digest(engine, name),
        "details": details(),
    })
}

fn ollama_loaded(engine: &Engine, name: &str) -> Value {
    let mut model = ollama_model(engine, name);
    model["size_vram"] = engine.options.model_memory.0.into();
    model["expires_at"] = "2099-01-01T00:00:00Z".into();
    model["context_length"] = engine.options.context.into();
    model
}

fn ollama_show(engine: &Engine, name: &str) -> Value {
    let capability = if name.contains("embed") { json!(["embedding"]) } else { json!(["completion", "tools"]) };
    json!({
        "modelfile": format!("FROM {name}"),
        "template": "{{ .Prompt }}{{ .Response }}",
        "details": details(),
        "model_info": {
            "general.architecture": "llama",
            "general.parameter_count": PARAMETERS,
            "llama.context_length": engine.options.context,
            "llama.embedding_length": 4096,
        },
        "capabilities": capability,
        "modified_at": CREATED_AT,
    })
}

/// What a finished pull has told.
fn ollama_pulled(engine: &Engine, name: &str, is_streamed: bool) -> Reply {
    if !is_streamed {
        return json_reply(&json!({"status": "success"}));
    }
    let (digest, size) = (digest(engine, name), engine.options.model_memory.0);
    let layer = json!({"status": format!("pulling {digest}"), "digest": digest, "total": size, "completed": size});
    let mut reply =
        text_reply(&format!("{}\n{layer}\n{}\n", json!({"status": "pulling manifest"}), json!({"status": "success"})));
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-ndjson"));
    reply
}

fn details() -> Value {
    json!({"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
        "parameter_size": "8.0B", "quantization_level": "Q4_K_M"})
}

/// 64 hexadecimal digits that depend on the model's name and the seed of the command line.
fn digest(engine: &Engine, name: &str) -> String {
    (0..4)
        .map(|part| format!("{:016x}", text::hash(&format!("{part}/{}/{name}", engine.options.digest_seed))))
        .collect()
}

async fn lmstudio(engine: &Engine, is_get: bool, path: &str, body: &Value) -> Result<Option<Reply>, Refusal> {
    let options = &engine.options;
    let is_loaded = |name: &str| engine.loaded().iter().any(|loaded| loaded.model == name);
    Ok(Some(match (is_get, path) {
        (true, "/api/v0/models") => {
            let data: Vec<Value> = options
                .models
                .iter()
                .map(|name| {
                    json!({"id": name, "object": "model", "type": kind_of(name, "llm", "embeddings"), "arch": "llama",
                    "quantization": "Q4_K_M", "max_context_length": options.context,
                    "state": if is_loaded(name) { "loaded" } else { "not-loaded" }})
                })
                .collect();
            json_reply(&json!({"object": "list", "data": data}))
        }
        (true, "/api/v1/models") => {
            let models: Vec<Value> = options
                .models
                .iter()
                .map(|name| {
                    let instances = if is_loaded(name) {
                        json!([{"id": name, "config": {"context_length": options.context}}])
                    } else {
                        json!([])
                    };
                    json!({"key": name, "type": kind_of(name, "llm", "embedding"), "size_bytes": options.model_memory.0,
                    "max_context_length": options.context, "loaded_instances": instances})
                })
                .collect();
            json_reply(&json!({ "models": models }))
        }
        (false, "/api/v1/models/load") => {
            let model = known(engine, &body["model"])?;
            engine.load(&model, None).await?;
            json_reply(&json!({"type": "llm", "instance_id": model, "load_time_seconds": 0.1, "status": "loaded"}))
        }
        (false, "/api/v1/models/unload") => {
            let model = known(engine, &body["instance_id"])?;
            engine.unload(&model);
            json_reply(&json!({ "instance_id": model }))
        }
        _ => return Ok(None),
    }))
}

fn kind_of(name: &str, text: &'static str, embedding: &'static str) -> &'static str {
    if name.contains("embed") { embedding } else { text }
}

async fn localai(engine: &Engine, is_get: bool, path: &str, body: &Value) -> Result<Option<Reply>, Refusal> {
    let loaded = || engine.loaded().into_iter().map(|loaded| loaded.model).collect::<Vec<_>>();
    Ok(Some(match (is_get, path) {
        (true, "/models") => json_reply(&models(engine)),
        (true, "/healthz" | "/readyz") => text_reply("OK"),
        (true, "/system") => {
            let models: Vec<Value> = loaded().iter().map(|name| json!({ "id": name })).collect();
            json_reply(&json!({"backends": ["llama-cpp"], "loaded_models": models}))
        }
        (false, "/backend/load") => {
            let model = known(engine, &body["model"])?;
            engine.load(&model, None).await?;
            json_reply(&json!({"loaded": [model], "message": "loaded"}))
        }
        (false, "/backend/shutdown") => {
            engine.unload(&known(engine, &body["model"])?);
            json_reply(&json!({"message": "ok"}))
        }
        _ => return Ok(None),
    }))
}

async fn webui(engine: &Engine, is_get: bool, path: &str, body: &Value) -> Result<Option<Reply>, Refusal> {
    let first = || engine.loaded().first().map_or("None".to_owned(), |loaded| loaded.model.clone());
    Ok(Some(match (is_get, path) {
        (true, "/v1/internal/health") => json_reply(&json!({"status": "ok"})),
        (true, "/v1/internal/model/list") => json_reply(&json!({"model_names": engine.models()})),
        (true, "/v1/internal/model/info") => {
            json_reply(&json!({"model_name": first(), "lora_names": [], "loader": "llama.cpp"}))
        }
        (false, "/v1/internal/model/load") => {
            let model = known(engine, &body["model_name"])?;
            for loaded in engine.loaded() {
                engine.unload(&loaded.model);
            }
            engine.load(&model, None).await?;
            json_reply(&json!("OK"))
        }
        (false, "/v1/internal/model/unload") => {
            engine.unload(&first());
            json_reply(&json!("OK"))
        }
        (false, "/v1/internal/stop-generation") => json_reply(&json!("OK")),
        _ => return Ok(None),
    }))
}

fn vllm(engine: &Engine, is_get: bool, path: &str) -> Option<Reply> {
    let stats = || engine.stats();
    Some(match (is_get, path) {
        (true, "/health") | (_, "/ping") => text_reply(""),
        (true, "/version") => json_reply(&json!({"version": "0.11.0"})),
        (true, "/load") => json_reply(&json!({"server_load": stats()["running"]})),
        (true, "/metrics") => {
            let (running, waiting) = (&stats()["running"], &stats()["waiting"]);
            text_reply(&format!("vllm:num_requests_running {running}\nvllm:num_requests_waiting {waiting}\n"))
        }
        _ => return None,
    })
}

async fn llamacpp(engine: &Engine, is_get: bool, path: &str, body: &Value) -> Result<Option<Reply>, Refusal> {
    let options = &engine.options;
    let status = |name: &str| if engine.loaded().iter().any(|one| one.model == name) { "loaded" } else { "unloaded" };
    Ok(Some(match (is_get, path) {
        (true, "/health" | "/v1/health") => match engine.fail_of_the_rest() {
            crate::fake::control::Fail::LoadingMs(_) => return Err(Refusal::loading()),
            _ => json_reply(&json!({"status": "ok"})),
        },
        (true, "/props") => json_reply(&json!({
            "default_generation_settings": {"n_ctx": options.context},
            "total_slots": options.slots,
            "model_path": options.models.first(),
            "chat_template": "chatml",
        })),
        (true, "/slots") => {
            let running = engine.stats()["running"].as_u64().unwrap_or(0);
            let slots = (0..options.slots.min(64) as u64).map(|id| json!({"id": id, "is_processing": id < running}));
            json_reply(&slots.collect())
        }
        (true, "/models") => {
            let data: Vec<Value> = options
                .models
                .iter()
                .map(|name| json!({"id": name, "object": "model", "status": {"value": status(name)}}))
                .collect();
            json_reply(&json!({"object": "list", "data": data}))
        }
        (false, "/models/load") => {
            engine.load(&known(engine, &body["model"])?, None).await?;
            json_reply(&json!({"success": true}))
        }
        (false, "/models/unload") => {
            engine.unload(&known(engine, &body["model"])?);
            json_reply(&json!({"success": true}))
        }
        _ => return Ok(None),
    }))
}

fn llamacpp_python(is_get: bool, path: &str, body: &Value) -> Option<Reply> {
    let input = body["input"].as_str().unwrap_or("");
    match (is_get, path) {
        (false, "/extras/tokenize/count") => Some(json_reply(&json!({"count": text::count(input)}))),
        _ => None,
    }
}

/// The full name of the model in `field`, if the engine has it.
fn known(engine: &Engine, field: &Value) -> Result<String, Refusal> {
    let name = field.as_str().unwrap_or("");
    engine.find(name).ok_or_else(|| Refusal::no_model(name))
}

fn text_reply(text: &str) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(Bytes::copy_from_slice(text.as_bytes()))));
    *reply.status_mut() = StatusCode::OK;
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}
