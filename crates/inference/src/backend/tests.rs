//! Every kind of engine against a scripted one on loopback.

use std::sync::Arc;

use base::answer::{collect, next_frame};
use base::time::Deadline;
use base::{AskHead, Dialect};
use serde_json::{Value, json};

use super::*;
use crate::scripted::{self, Reply, Scripted};

const LONG: Duration = Duration::from_secs(10);

fn soon() -> Instant {
    Instant::now() + LONG
}

fn open_at(kind: Kind, engine: &Scripted) -> Box<dyn Backend> {
    let endpoint = Endpoint::parse(&format!("http://{}", engine.address)).unwrap();
    open(kind, "scripted", endpoint, Some("secret"), scripted::dial(engine.address)).unwrap()
}

fn link(backend: &dyn Backend) -> &Link {
    backend.link().unwrap()
}

fn ask(dialect: Dialect, stream: bool, body: Value) -> Ask {
    let head = AskHead {
        model: body["model"].as_str().unwrap().into(),
        stream,
        wants_usage_chunk: true,
        ..AskHead::plain(dialect, Deadline::after(Instant::now(), LONG))
    };
    Ask { head, body: body.to_string().into() }
}

fn chat(stream: bool) -> Ask {
    let body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
    ask(Dialect::OpenAiChat, stream, body)
}

fn run<'a>(ask: &'a Ask, continuation: Option<&'a Continuation>) -> Run<'a> {
    Run { ask, engine_model: "m", context_tokens: 0, continuation, first_token: LONG, most_whole: 1 << 20 }
}

/// The routes of `line` with status 200.
fn ok(routes: Vec<(&'static str, Value)>) -> impl Fn(&str, &Value) -> Option<Reply> + Send + Sync {
    move |line, _| routes.iter().find(|(route, _)| *route == line).map(|(_, json)| Reply::Json(200, json.clone()))
}

#[tokio::test]
async fn ollama_models_have_digest_memory_and_capabilities() {
    let engine = Scripted::start(ok(vec![
        ("GET /api/tags", json!({"models": [{"name": "a:8b", "digest": "12ab", "size": 7}, {"name": "b", "digest": "34cd", "size": 8}]})),
        ("GET /api/ps", json!({"models": [{"name": "a:8b", "size": 9, "size_vram": 9, "context_length": 4096}]})),
        ("POST /api/show", json!({"capabilities": ["completion", "insert", "tools"], "model_info": {"llama.context_length": 131_072}})),
    ]))
    .await;
    let backend = open_at(Kind::Ollama, &engine);
    let models = backend.models(soon()).await.unwrap();
    let capabilities = vec![Capability::Completion, Capability::Tools];
    let loaded = EngineModel {
        name: "a:8b".to_owned(),
        digest: Some("sha256:12ab".to_owned()),
        size_bytes: 7,
        memory_bytes: 9,
        context_tokens: 4096,
        capabilities: capabilities.clone(),
        is_loaded: true,
    };
    assert_eq!(models[0], loaded);
    assert_eq!((models[1].context_tokens, models[1].is_loaded, models[1].memory_bytes), (131_072, false, 0));
    backend.models(soon()).await.unwrap();
    let shows = engine.asked().iter().filter(|asked| asked.starts_with("POST /api/show")).count();
    assert_eq!(shows, 2, "a digest is shown once");
}

#[tokio::test]
async fn models_of_every_other_kind_are_read() {
    let openai = (
        "GET /v1/models",
        json!({"data": [{"id": "m", "max_model_len": 10, "max_input_tokens": 20,
        "meta": {"n_ctx": 30, "n_ctx_train": 40, "size": 50}}, {"id": "n"}]}),
    );
    let routed = (
        "GET /models",
        json!({"data": [{"id": "m", "status": {"value": "unloaded"}}, {"id": "n", "status": {"value": "loaded"}}]}),
    );
    let v1 = (
        "GET /api/v1/models",
        json!({"models": [{"key": "m", "type": "llm", "size_bytes": 5, "max_context_length": 60,
        "capabilities": {"vision": true}, "loaded_instances": [{"id": "m:1", "config": {"context_length": 70}}]}]}),
    );
    let v0 = (
        "GET /api/v0/models",
        json!({"data": [{"id": "m", "type": "embeddings", "state": "not-loaded", "max_context_length": 80}]}),
    );
    let info = ("GET /v1/internal/model/info", json!({"model_name": "m"}));
    let nothing = ("GET /v1/internal/model/info", json!({"model_name": "None"}));
    let names = ("GET /v1/internal/model/list", json!({"model_names": ["None", "m", "n"]}));
    let system = ("GET /system", json!({"loaded_models": [{"id": "n"}]}));
    let cases = [
        (Kind::OpenAi, vec![openai.clone()], "m 0 true, n 0 true"),
        (Kind::Vllm, vec![openai.clone()], "m 10 true, n 0 true"),
        (Kind::LlamaCpp, vec![openai.clone()], "m 30 true, n 0 true"),
        (Kind::LlamaCpp, vec![openai.clone(), routed], "m 30 false, n 0 true"),
        (Kind::LlamaCppPython, vec![openai.clone()], "m 0 false, n 0 false"),
        (Kind::LocalAi, vec![openai.clone(), system], "m 0 false, n 0 true"),
        (Kind::LmStudio, vec![v1, v0.clone()], "m 70 true"),
        (Kind::LmStudio, vec![v0], "m 80 false"),
        (Kind::WebUi, vec![info, names.clone()], "m 0 true, n 0 false"),
        (Kind::WebUi, vec![nothing], ""),
        (Kind::Anthropic, vec![("GET /v1/models?limit=1000", openai.1)], "m 20 true, n 0 true"),
    ];
    for (kind, routes, wanted) in cases {
        let engine = Scripted::start(ok(routes)).await;
        let models = open_at(kind, &engine).models(soon()).await.unwrap();
        let shown: Vec<String> =
            models.iter().map(|model| format!("{} {} {}", model.name, model.context_tokens, model.is_loaded)).collect();
        assert_eq!(shown.join(", "), wanted, "{kind}");
    }
}

#[tokio::test]
async fn llama_server_can_what_it_was_started_for_whatever_it_lists() {
    let cases = [
        (501, 501, Capability::Completion),
        (400, 501, Capability::Embedding),
        // It embeds as well, but the vectors are of no use.
        (400, 400, Capability::Rerank),
    ];
    for (embeddings, rerank, wanted) in cases {
        let engine = Scripted::start(move |line, _| {
            let refused =
                |status| Reply::Json(status, json!({"error": {"message": "no input, or not started for it"}}));
            match line {
                "GET /v1/models" | "GET /models" => {
                    let listed = json!([{"name": "m", "capabilities": ["completion"]}]);
                    Some(Reply::Json(200, json!({"models": listed, "data": [{"id": "m"}]})))
                }
                "POST /v1/embeddings" => Some(refused(embeddings)),
                "POST /v1/rerank" => Some(refused(rerank)),
                _ => None,
            }
        })
        .await;
        let backend = open_at(Kind::LlamaCpp, &engine);
        for _ in 0..2 {
            let models = backend.models(soon()).await.unwrap();
            assert_eq!(models[0].capabilities, [wanted]);
        }
        let posts = engine.asked().iter().filter(|asked| asked.starts_with("POST")).count();
        assert_eq!(posts, 2, "it is asked once");
    }
}

#[tokio::test]
async fn a_look_breaks_off_no_answer_of_llama_cpp_python() {
    let engine = Scripted::start(ok(vec![("GET /v1/models", json!({"data": [{"id": "m"}]}))])).await;
    let backend = open_at(Kind::LlamaCppPython, &engine);
    for _ in 0..3 {
        assert_eq!(backend.health().await, Health::Up);
        assert_eq!(backend.models(soon()).await.unwrap()[0].name, "m");
    }
    // Its list breaks off an answer; a path that it does not know does not.
    let lists = engine.asked().iter().filter(|asked| asked.starts_with("GET /v1/models")).count();
    assert_eq!(lists, 1, "{:?}", engine.asked());
}

#[tokio::test]
async fn answer_that_is_no_list_is_an_error_with_a_hint() {
    let engine = Scripted::start(ok(vec![("GET /v1/models", json!({"hello": 1}))])).await;
    let fault = open_at(Kind::Vllm, &engine).models(soon()).await.unwrap_err();
    assert_eq!((fault.code, fault.hint.is_some()), (Code::EngineFailed, true));
}

#[tokio::test]
async fn models_are_loaded_and_unloaded_as_each_kind_wants() {
    let cases = [
        (
            Kind::Ollama,
            "POST /api/generate",
            r#"{"model":"m","keep_alive":-1,"stream":false}"#,
            r#"{"model":"m","keep_alive":0,"stream":false}"#,
        ),
        (Kind::LocalAi, "POST /backend/load", r#"{"model":"m"}"#, r#"{"model":"m"}"#),
        (Kind::WebUi, "POST /v1/internal/model/load", r#"{"model_name":"m"}"#, "{}"),
        (Kind::LmStudio, "POST /api/v1/models/load", r#"{"model":"m"}"#, r#"{"instance_id":"m:1"}"#),
    ];
    for (kind, line, load, unload) in cases {
        let listed = json!({"models": [{"key": "m", "loaded_instances": [{"id": "m:1"}]}]});
        let engine = Scripted::start(move |_, _| Some(Reply::Json(200, listed.clone()))).await;
        let backend = open_at(kind, &engine);
        backend.load("m", None, soon()).await.unwrap();
        backend.unload("m", soon()).await.unwrap();
        let asked = engine.asked();
        assert!(asked[0].starts_with(line) && asked[0].ends_with(load), "{kind}: {}", asked[0]);
        assert!(asked.last().unwrap().ends_with(unload), "{kind}: {asked:?}");
    }
}

#[tokio::test]
async fn model_for_embeddings_is_loaded_by_embedding_nothing() {
    let refusal = json!({"error": "\"e\" does not support generate"});
    let engine = Scripted::start(move |line, _| match line {
        "POST /api/embed" => Some(Reply::Json(200, json!({"embeddings": []}))),
        _ => Some(Reply::Json(400, refusal.clone())),
    })
    .await;
    open_at(Kind::Ollama, &engine).load("e", Some(LONG), soon()).await.unwrap();
    assert!(engine.asked()[1].ends_with(r#"{"model":"e","keep_alive":10,"input":[]}"#), "{:?}", engine.asked());
}

#[tokio::test]
async fn probe_tells_up_from_loading_and_down() {
    for (status, wanted) in [(200, "Up"), (404, "Up"), (503, "Loading"), (500, "Down"), (401, "Down")] {
        let engine = Scripted::start(move |_, _| Some(Reply::Json(status, json!({})))).await;
        let health = format!("{:?}", open_at(Kind::LlamaCpp, &engine).health().await);
        assert!(health.starts_with(wanted), "{status}: {health}");
    }
    let engine = Scripted::start(|_, _| None).await;
    let backend = open_at(Kind::LlamaCpp, &engine);
    drop(engine);
    assert!(matches!(backend.health().await, Health::Down(_)));
}

#[tokio::test]
async fn slow_probe_of_an_engine_at_work_is_busy_not_down() {
    let patience = Duration::from_millis(50);
    let engine = Scripted::start(|_, _| Some(Reply::Silence)).await;
    let backend = open_at(Kind::LlamaCppPython, &engine);
    assert!(matches!(link(&*backend).probe(patience).await, Health::Down(_)));
    let ask = chat(false);
    let mut work = backend.start(run(&ask, None));
    let probe = async {
        while link(&*backend).pool.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        link(&*backend).probe(patience).await
    };
    tokio::select! {
        _ = &mut work => panic!("nothing was answered"),
        health = probe => assert_eq!(health, Health::Busy),
    }
}

#[tokio::test]
async fn stream_in_the_same_dialect_passes_byte_for_byte() {
    const STREAM: &str = "data: {\"id\":\"x\",\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n\
        data: {\"id\":\"x\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let engine =
        Scripted::start(|line, _| (line == "POST /v1/chat/completions").then_some(Reply::Stream(STREAM))).await;
    let backend = open_at(Kind::Vllm, &engine);
    let ask = chat(true);
    let mut started = backend.start(run(&ask, None)).await.unwrap();
    let text = String::from_utf8(collect(&mut started.frames, 1 << 20).await.unwrap().to_vec()).unwrap();
    assert_eq!(started.content_type, "text/event-stream");
    assert!(text.starts_with(&STREAM[..70]) && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(link(&*backend).pool.idle(), 1, "the connection is used again");
    let asked = &engine.asked()[0];
    assert!(asked.contains("Authorization: Bearer secret\r\n"), "{asked}");
}

#[tokio::test]
async fn refusal_of_an_engine_keeps_its_meaning() {
    let refusal = json!({"error": "model 'm' not found"});
    let engine = Scripted::start(move |_, _| Some(Reply::Json(404, refusal.clone()))).await;
    let ask = chat(true);
    let fault = open_at(Kind::Ollama, &engine).start(run(&ask, None)).await.err().unwrap();
    assert_eq!(fault.code, Code::ModelNotFound, "{fault:?}");
}

#[tokio::test]
async fn answer_that_says_to_be_too_long_is_refused_before_it_comes() {
    let engine = Scripted::start(|_, _| Some(Reply::Json(200, json!({"choices": [], "more": "x".repeat(100)})))).await;
    let ask = chat(false);
    let run = |most_whole| Run { most_whole, ..run(&ask, None) };
    let fault = open_at(Kind::Vllm, &engine).start(run(100)).await.err().unwrap();
    assert!(fault.code == Code::EngineFailed && fault.message.contains("limit of 100 bytes"), "{fault:?}");
    assert!(open_at(Kind::Vllm, &engine).start(run(1000)).await.is_ok());
}

#[tokio::test]
async fn dropping_a_run_cancels_the_engines_work() {
    let left = Arc::new(tokio::sync::Notify::new());
    let notify = left.clone();
    let engine = Scripted::start(move |_, _| Some(Reply::Stall(notify.clone()))).await;
    let backend = open_at(Kind::Vllm, &engine);
    let ask = chat(true);
    let mut started = backend.start(run(&ask, None)).await.unwrap();
    let polled = futures_util::poll!(std::pin::pin!(next_frame(&mut started.frames)));
    assert!(polled.is_pending());
    drop(started);
    tokio::time::timeout(LONG, left.notified()).await.unwrap();
}

#[tokio::test]
async fn clouds_are_asked_on_their_own_paths_with_their_own_headers() {
    for (kind, dialect, line, header) in [
        (Kind::Perplexity, Dialect::OpenAiChat, "POST /chat/completions HTTP/1.1", "Authorization: Bearer secret"),
        (Kind::Anthropic, Dialect::AnthropicMessages, "POST /v1/messages HTTP/1.1", "x-api-key: secret"),
    ] {
        let engine = Scripted::start(|_, _| Some(Reply::Json(529, json!({"error": {"message": "overloaded"}})))).await;
        let body = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
        let ask = ask(dialect, false, body);
        assert!(open_at(kind, &engine).start(run(&ask, None)).await.is_err());
        let asked = &engine.asked()[0];
        assert!(asked.starts_with(line) && asked.contains(header), "{asked}");
        assert_eq!(asked.contains("anthropic-version: "), kind == Kind::Anthropic);
    }
}

fn so_far(text: &str) -> Continuation {
    Continuation { text: text.to_owned(), tokens: 2, model: "m".to_owned(), ..Continuation::default() }
}

/// An Ollama that ends every answer, and renders prompts when `renders`.
async fn ollama(renders: bool) -> Scripted {
    const CHAT: &str = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\" end\"},\"done\":false}\n\
        {\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}\n";
    const RAW: &str = "{\"model\":\"m\",\"response\":\" end\",\"done\":false}\n\
        {\"model\":\"m\",\"response\":\"\",\"done\":true,\"done_reason\":\"stop\"}\n";
    Scripted::start(move |line, body| match line {
        "POST /api/chat" if renders && body["_debug_render_only"] == true => {
            Some(Reply::Json(200, json!({"model": "m", "_debug_info": {"rendered_template": "<user>hi<assistant>"}})))
        }
        "POST /api/chat" => Some(Reply::Stream(CHAT)),
        "POST /api/generate" => Some(Reply::Stream(RAW)),
        _ => None,
    })
    .await
}

async fn continued(engine: &Scripted) -> String {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": "m", "stream": true, "messages": messages, "options": {"num_predict": 9}});
    let mut ask = ask(Dialect::OllamaChat, true, body);
    ask.head.max_output_tokens = Some(9);
    let so_far = so_far("the");
    let mut started = open_at(Kind::Ollama, engine).start(run(&ask, Some(&so_far))).await.unwrap();
    String::from_utf8(collect(&mut started.frames, 1 << 20).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn ollama_goes_on_behind_the_rendered_prompt() {
    let engine = ollama(true).await;
    let text = continued(&engine).await;
    assert!(text.contains("\"content\":\" end\"") && !text.contains("the"), "{text}");
    let asked = engine.asked();
    let (line, body) = (asked[1].lines().next().unwrap(), asked[1].split_once("\r\n\r\n").unwrap().1);
    assert_eq!(line, "POST /api/generate HTTP/1.1");
    let wanted = json!({"model": "m", "prompt": "<user>hi<assistant>the", "raw": true, "stream": true, "options": {"num_predict": 7}});
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), wanted);
}

#[tokio::test]
async fn ollama_that_cannot_render_gets_a_trailing_message() {
    let engine = ollama(false).await;
    let text = continued(&engine).await;
    assert!(text.contains("\"content\":\" end\""), "{text}");
    let body = engine.asked()[1].split_once("\r\n\r\n").unwrap().1.to_owned();
    let messages = serde_json::from_str::<Value>(&body).unwrap()["messages"].clone();
    assert_eq!(messages[1], json!({"role": "assistant", "content": "the"}));
}

#[tokio::test]
async fn engine_that_cannot_continue_says_so_and_is_not_asked() {
    let engine = Scripted::start(|_, _| None).await;
    let (ask, so_far) = (chat(true), so_far("the"));
    let fault = open_at(Kind::LlamaCppPython, &engine).start(run(&ask, Some(&so_far))).await.err().unwrap();
    assert_eq!((fault.code, engine.asked().len()), (Code::NotSupported, 0));
}

#[tokio::test]
async fn engines_on_default_ports_are_told_apart() {
    let llamacpp =
        Scripted::start(ok(vec![("GET /props", json!({"default_generation_settings": {}, "build_info": "b1"}))])).await;
    let localai = Scripted::start(ok(vec![("GET /system", json!({"loaded_models": []}))])).await;
    let python = Scripted::start(ok(vec![(
        "GET /openapi.json",
        json!({"info": {"title": "🦙 llama.cpp Python API", "version": "0.3"}}),
    )]))
    .await;
    let other =
        Scripted::start(ok(vec![("GET /openapi.json", json!({"info": {"title": "my app", "version": "1"}}))])).await;
    let cases = [
        (8080, &llamacpp, Some((Kind::LlamaCpp, "b1"))),
        (8080, &localai, Some((Kind::LocalAi, ""))),
        (8000, &python, Some((Kind::LlamaCppPython, "0.3"))),
        (8000, &other, None),
        (5000, &other, None),
    ];
    let nowhere = Scripted::start(|_, _| None).await;
    for (port, engine, wanted) in cases {
        let found =
            discover(|asked| scripted::dial(if asked == port { engine.address } else { nowhere.address })).await;
        let wanted: Vec<Found> = wanted
            .map(|(backend, version)| Found {
                backend,
                url: format!("http://127.0.0.1:{port}"),
                version: version.to_owned(),
            })
            .into_iter()
            .collect();
        assert_eq!(found, wanted);
    }
}

/// Everything that a pull told, and how it ended.
async fn pulled(stream: &'static str) -> (Vec<PullProgress>, Option<Fault>) {
    let engine = Scripted::start(move |line, body| {
        (line == "POST /api/pull" && body["model"] == "m" && body["stream"] == true).then_some(Reply::Stream(stream))
    })
    .await;
    let backend = open_at(Kind::Ollama, &engine);
    let mut pulling = backend.pull("m", soon()).await.unwrap();
    let mut told = Vec::new();
    loop {
        match pulling.next().await {
            Some(Ok(progress)) => told.push(progress),
            Some(Err(fault)) => {
                assert!(pulling.next().await.is_none() && fault.hint.is_some());
                return (told, Some(fault));
            }
            None => return (told, None),
        }
    }
}

#[tokio::test]
async fn a_pull_tells_how_far_it_is_until_the_model_is_there() {
    let stream = "{\"status\":\"pulling manifest\"}\n\n{\"status\":\"pulling 1\",\"total\":9,\"completed\":4}\n{\"status\":\"success\"}";
    let (told, fault) = pulled(stream).await;
    let progress = |status: &str, completed_bytes, total_bytes| PullProgress {
        status: status.to_owned(),
        completed_bytes,
        total_bytes,
    };
    assert_eq!(told, [progress("pulling manifest", 0, 0), progress("pulling 1", 4, 9), progress("success", 0, 0)]);
    assert!(fault.is_none());
}

#[tokio::test]
async fn a_pull_that_comes_to_nothing_says_why() {
    let cases = [
        ("{\"status\":\"pulling manifest\"}\n", Code::EngineCut),
        ("{\"error\":\"pull model manifest: file does not exist\"}\n", Code::ModelNotFound),
        ("{\"error\":\"no space left on device\"}\n", Code::EngineFailed),
        ("<html>\n", Code::EngineFailed),
    ];
    for (stream, code) in cases {
        assert_eq!(pulled(stream).await.1.unwrap().code, code, "{stream}");
    }
    let engine = Scripted::start(|_, _| None).await;
    let fault = open_at(Kind::Vllm, &engine).pull("m", soon()).await.err().unwrap();
    assert_eq!(fault.code, Code::NotSupported);
}

#[tokio::test]
async fn a_model_is_created_with_what_is_set_and_nothing_else() {
    let engine = Scripted::start(|line, body| {
        let is_refused = body["from"] == "gone";
        let reply = if is_refused { json!({"error": "model 'gone' not found"}) } else { json!({"status": "success"}) };
        (line == "POST /api/create").then_some(Reply::Json(if is_refused { 404 } else { 200 }, reply))
    })
    .await;
    let backend = open_at(Kind::Ollama, &engine);
    let mut model = NewModel { name: "mine".to_owned(), from: "m".to_owned(), ..NewModel::default() };
    backend.create(&model, soon()).await.unwrap();
    let body = engine.asked()[0].split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), json!({"model": "mine", "from": "m", "stream": false}));
    model.system = "Be brief.".to_owned();
    model.parameters.insert("temperature".to_owned(), 0.5.into());
    model.from = "gone".to_owned();
    assert_eq!(backend.create(&model, soon()).await.unwrap_err().code, Code::ModelNotFound);
    let body = engine.asked()[1].split_once("\r\n\r\n").unwrap().1.to_owned();
    assert!(
        body.contains("\"system\":\"Be brief.\"") && body.contains("\"parameters\":{\"temperature\":0.5}"),
        "{body}"
    );
}

#[tokio::test]
async fn a_pull_that_nobody_listens_to_any_more_is_ended_at_the_engine() {
    let left = Arc::new(tokio::sync::Notify::new());
    let stall = left.clone();
    let engine = Scripted::start(move |_, _| Some(Reply::Stall(stall.clone()))).await;
    let backend = open_at(Kind::Ollama, &engine);
    let mut pulling = backend.pull("m", soon()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), pulling.next()).await.is_err(), "nothing was told yet");
    drop(pulling);
    tokio::time::timeout(LONG, left.notified()).await.unwrap();
}
