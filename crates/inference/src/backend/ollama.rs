//! Ollama, by its own protocol and by its OpenAI face.
//!
//! A cut answer is continued exactly: Ollama renders the prompt as the first run had it, and goes on behind the text so
//! far as raw text. Versions that cannot render, and asks with tools or pictures, get a trailing message instead.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::answer::next_frame;
use base::report::{Backend as Kind, Capability};
use base::{BoxFuture, Code, Continuation, Dialect, Fault, Result};
use serde_json::{Value, json};

use super::{EngineModel, Http, Link, Loading, NewModel, Pulling, Run, Started, Traits, json};
use crate::http1::{EngineBody, Request};
use crate::wire::{self, ContinueBy, EngineRequest, Quirks, SchemaBy};

/// Most bytes of a rendered prompt; contexts of a million tokens fit.
const MOST_RENDERED: usize = 16 << 20;

pub(super) const TRAITS: Traits = Traits {
    kind: Kind::Ollama,
    dialects: &[
        Dialect::OllamaChat,
        Dialect::OllamaGenerate,
        Dialect::OllamaEmbed,
        Dialect::OllamaEmbeddings,
        Dialect::OpenAiChat,
        Dialect::OpenAiCompletions,
        Dialect::OpenAiEmbeddings,
    ],
    dialects_at_root: false,
    continues_chat: ContinueBy::TrailingAssistant { echoes: false },
    // Its completions are put into the model's template: text behind the prompt would be part of the question.
    continues_completion: ContinueBy::Never,
    quirks: Quirks { schema_by: SchemaBy::Any, drops: &[] },
    health: "/api/version",
    loading: Loading::ByCallOrDemand,
    unloads: true,
    has_grammar: true,
    default_port: Some(11434),
};

pub(super) struct Ollama {
    link: Link,
    /// What `/api/show` told, by digest: it never changes for one, and every list needs it for each model.
    shown: Mutex<HashMap<String, Shown>>,
    /// Whether it was never seen to ignore the wish for a rendered prompt.
    renders: AtomicBool,
}

#[derive(Clone, Default)]
struct Shown {
    capabilities: Vec<Capability>,
    context_tokens: u32,
}

impl Ollama {
    pub(super) fn new(link: Link) -> Self {
        Self { link, shown: Mutex::default(), renders: AtomicBool::new(true) }
    }

    async fn list(&self, until: Instant) -> Result<Vec<EngineModel>> {
        let tags = self.link.get("/api/tags", until).await?;
        let loaded = self.link.get("/api/ps", until).await?;
        let loaded = json::list(&loaded, "/models", self.link.pool.name())?;
        let mut models = Vec::new();
        for entry in json::list(&tags, "/models", self.link.pool.name())? {
            let (name, digest) = (json::text(entry, "/name"), json::text(entry, "/digest"));
            if name.is_empty() {
                continue;
            }
            let shown = self.shown(name, digest, until).await?;
            let resident = loaded.iter().find(|resident| json::text(resident, "/name") == name);
            models.push(EngineModel {
                name: name.to_owned(),
                digest: (!digest.is_empty()).then(|| format!("sha256:{}", digest.trim_start_matches("sha256:"))),
                size_bytes: json::bytes(entry, "/size"),
                memory_bytes: resident.map_or(0, |resident| json::bytes(resident, "/size")),
                context_tokens: match resident.map(|resident| json::tokens(resident, "/context_length")) {
                    None | Some(0) => shown.context_tokens,
                    Some(tokens) => tokens,
                },
                capabilities: shown.capabilities,
                is_loaded: resident.is_some(),
            });
        }
        Ok(models)
    }

    async fn shown(&self, name: &str, digest: &str, until: Instant) -> Result<Shown> {
        if let Some(shown) = self.known().get(digest) {
            return Ok(shown.clone());
        }
        let told = match self.link.post("/api/show", &json!({"model": name}), until).await {
            Ok(told) => told,
            // Removed since it was listed, or a file that it cannot read: the others are still there.
            Err(fault) if fault.code != Code::DeadlineExceeded => {
                tracing::debug!(model = name, error = %fault.full_message(), "engine does not show a model that it lists");
                return Ok(Shown::default());
            }
            Err(fault) => return Err(fault),
        };
        let info = told.pointer("/model_info").and_then(Value::as_object);
        let context = info.and_then(|info| info.iter().find(|(key, _)| key.ends_with(".context_length")));
        let shown = Shown {
            capabilities: json::capabilities(&told, "/capabilities"),
            context_tokens: context.map_or(0, |(_, tokens)| json::tokens(tokens, "")),
        };
        if !digest.is_empty() {
            self.known().insert(digest.to_owned(), shown.clone());
        }
        Ok(shown)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Shown>> {
        // Every entry is put in whole.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An ask without a question only sets how long the model stays.
    async fn keep(&self, model: &str, keep: &Value, until: Instant) -> Result<()> {
        let body = json!({"model": model, "keep_alive": keep, "stream": false});
        match self.link.post("/api/generate", &body, until).await {
            // A model for embeddings refuses to generate even nothing.
            Err(fault) if fault.message.contains("does not support") => {
                let body = json!({"model": model, "keep_alive": keep, "input": []});
                self.link.post("/api/embed", &body, until).await.map(drop)
            }
            answered => answered.map(drop),
        }
    }

    /// The request that goes on behind `so_far` as raw text; `None` where only a trailing message can.
    async fn raw_request(&self, run: &Run<'_>, so_far: &Continuation) -> Result<Option<EngineRequest>> {
        let (head, now) = (&run.ask.head, Instant::now());
        let is_plain = so_far.thinking.is_empty() && !head.needs.tools && !head.needs.images && !head.needs.schema;
        let dialect = match head.dialect {
            Dialect::OllamaGenerate => Dialect::OllamaGenerate,
            Dialect::OllamaChat | Dialect::OpenAiChat | Dialect::AnthropicMessages => Dialect::OllamaChat,
            _ => return Ok(None),
        };
        if !is_plain || !self.renders.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let request = wire::request(run.ask, &self.link.target(run, dialect, ContinueBy::Never), None)?;
        let mut body: Value = serde_json::from_slice(&request.body)
            .map_err(|error| Fault::invalid("the ask is not JSON").because(error).hint("send valid JSON"))?;
        body["_debug_render_only"] = true.into();
        // A version that does not know this begins to answer; as a stream, it is stopped after its first line.
        body["stream"] = true.into();
        let until = run.until(now);
        let mut response = self.link.ask(&Request::post(request.path, body.to_string()), until).await?;
        let line = tokio::time::timeout_at(until.into(), first_line(&mut response.body)).await;
        let line = line.map_err(|_| {
            Fault::new(Code::DeadlineExceeded, "the prompt was not rendered in time").hint("raise limits.first_token")
        })??;
        let rendered: Value = serde_json::from_slice(&line).unwrap_or_default();
        let Some(prompt) = rendered.pointer("/_debug_info/rendered_template").and_then(Value::as_str) else {
            self.renders.store(false, Ordering::Relaxed);
            return Ok(None);
        };
        Ok(Some(generate(run, body, &format!("{prompt}{}", so_far.text), so_far.tokens)))
    }
}

impl Http for Ollama {
    fn http(&self) -> &Link {
        &self.link
    }

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Box::pin(self.list(until))
    }

    fn load<'a>(&'a self, model: &'a str, keep: Option<Duration>, until: Instant) -> BoxFuture<'a, Result<()>> {
        let keep = keep.map_or(json!(-1), |keep| json!(keep.as_secs().max(1)));
        Box::pin(async move { self.keep(model, &keep, until).await })
    }

    fn unload<'a>(&'a self, model: &'a str, until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.keep(model, &json!(0), until).await })
    }

    fn pull<'a>(&'a self, model: &'a str, until: Instant) -> BoxFuture<'a, Result<Pulling>> {
        Box::pin(async move {
            let body = json!({"model": model, "stream": true});
            let response = self.link.ask(&Request::post("/api/pull", body.to_string()), until).await?;
            Ok(Pulling::new(self.link.pool.name(), model, response.body))
        })
    }

    fn create<'a>(&'a self, model: &'a NewModel, until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut body = json!({"model": model.name, "from": model.from, "stream": false});
            if !model.system.is_empty() {
                body["system"] = model.system.as_str().into();
            }
            if !model.parameters.is_empty() {
                body["parameters"] = model.parameters.clone().into();
            }
            let told = self.link.post("/api/create", &body, until).await?;
            match json::text(&told, "/error") {
                "" => Ok(()),
                error => {
                    let message =
                        format!("engine `{}` could not create `{}`: {error}", self.link.pool.name(), model.name);
                    Err(Fault::new(Code::EngineFailed, message)
                        .hint("check the names of the models and of the settings"))
                }
            }
        })
    }

    fn start<'a>(&'a self, run: Run<'a>) -> BoxFuture<'a, Result<Started>> {
        Box::pin(async move {
            let Some(so_far) = run.continuation.filter(|so_far| !so_far.text.is_empty()) else {
                return self.link.start(&run).await;
            };
            match self.raw_request(&run, so_far).await? {
                Some(request) => self.link.start_with(&run, request, false).await,
                None => self.link.start(&run).await,
            }
        })
    }
}

/// Everything up to the first line end, or the end of the answer.
async fn first_line(body: &mut EngineBody) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    while let Some(frame) = next_frame(body).await {
        let frame = frame?;
        if let Some(end) = memchr::memchr(b'\n', &frame) {
            line.extend_from_slice(&frame[..end]);
            break;
        }
        line.extend_from_slice(&frame);
        if line.len() > MOST_RENDERED {
            return Err(
                Fault::new(Code::EngineFailed, "the rendered prompt is too large").hint("ask with a shorter prompt")
            );
        }
    }
    Ok(line)
}

/// Asks for `prompt` to be gone on with, as raw text, with the settings of `body`.
fn generate(run: &Run<'_>, mut body: Value, prompt: &str, tokens_so_far: u32) -> EngineRequest {
    let mut raw = json!({
        "model": run.engine_model,
        "prompt": prompt,
        "raw": true,
        "stream": run.ask.head.stream,
    });
    for setting in ["options", "keep_alive"] {
        if let Some(value) = body.get_mut(setting) {
            raw[setting] = value.take();
        }
    }
    if let Some(limit) = raw.pointer("/options/num_predict").and_then(Value::as_u64) {
        raw["options"]["num_predict"] = limit.saturating_sub(tokens_so_far.into()).max(1).into();
    }
    EngineRequest {
        path: wire::path_of(Dialect::OllamaGenerate),
        body: raw.to_string().into(),
        dialect: Dialect::OllamaGenerate,
        calls: None,
    }
}
