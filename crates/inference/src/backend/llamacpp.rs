//! llama.cpp's server: one model as it was started, or several behind its router.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::report::{Backend as Kind, Capability};
use base::{BoxFuture, Code, Result};
use serde_json::{Value, json};

use super::traits::OPENAI_AND_RERANK;
use super::{EngineModel, Health, Http, Link, Loading, Traits, json, openai};
use crate::wire::{ContinueBy, Quirks, SchemaBy};

pub(super) const TRAITS: Traits = Traits {
    kind: Kind::LlamaCpp,
    dialects: OPENAI_AND_RERANK,
    dialects_at_root: false,
    // The answer begins with the text that it continues, also in the first streamed piece.
    continues_chat: ContinueBy::TrailingAssistant { echoes: true },
    continues_completion: ContinueBy::RawPrompt,
    quirks: Quirks { schema_by: SchemaBy::Any, drops: &[] },
    health: "/health",
    loading: Loading::ByCallOrDemand,
    unloads: true,
    has_grammar: true,
    default_port: Some(8080),
};

pub(super) struct LlamaCpp {
    link: Link,
    /// What it was started for, since it was last seen down.
    purpose: Mutex<Option<Capability>>,
}

impl LlamaCpp {
    pub(super) fn new(link: Link) -> Self {
        Self { link, purpose: Mutex::default() }
    }

    async fn list(&self, until: Instant) -> Result<Vec<EngineModel>> {
        let listed = self.link.get("/v1/models", until).await?;
        let mut models = openai::models_of(&listed, &self.link, read)?;
        // A second list in the style of Ollama beside the first one knows what a model can do.
        let known = entries(&listed, "/models");
        // Only a router tells a status, and only here; without one, what is listed is loaded.
        let routed = self.link.get("/models", until).await.unwrap_or_default();
        let routed = entries(&routed, "/data");
        for model in &mut models {
            let same = known.iter().find(|entry| json::text(entry, "/name") == model.name);
            model.capabilities = same.map(|entry| json::capabilities(entry, "/capabilities")).unwrap_or_default();
            let status = routed.iter().find(|entry| json::text(entry, "/id") == model.name);
            let status = status.map_or("", |entry| json::text(entry, "/status/value"));
            if model.capabilities == [Capability::Completion] && status.is_empty() {
                model.capabilities = vec![self.purpose(until).await?];
            }
            model.is_loaded = matches!(status, "" | "loaded");
        }
        Ok(models)
    }

    /// What it was started for: it lists every model as one that completes, and does one thing only. To an empty
    /// question it says either what is missing, or that it was not started for that.
    async fn purpose(&self, until: Instant) -> Result<Capability> {
        if let Some(purpose) = *self.purpose.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(purpose);
        }
        let mut purpose = Capability::Completion;
        // One that ranks embeds as well, but nothing of use.
        for (path, other) in [("/v1/embeddings", Capability::Embedding), ("/v1/rerank", Capability::Rerank)] {
            match self.link.post(path, &json!({}), until).await {
                Err(fault) if fault.code == Code::InvalidArgument => purpose = other,
                Err(fault) if matches!(fault.code, Code::NotSupported | Code::ModelNotFound) => {}
                // Whatever it is, it is asked again with the next look.
                other => return other.map(|_| Capability::Completion),
            }
        }
        *self.purpose.lock().unwrap_or_else(PoisonError::into_inner) = Some(purpose);
        Ok(purpose)
    }

    /// Asks the router. A server without one has its model always, and answers that it knows no such path.
    async fn route(&self, path: &str, model: &str, until: Instant) -> Result<()> {
        self.link.post(path, &json!({"model": model}), until).await.map(drop)
    }
}

impl Http for LlamaCpp {
    fn http(&self) -> &Link {
        &self.link
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        Box::pin(async move {
            let health = self.link.health().await;
            if matches!(health, Health::Down(_) | Health::Loading) {
                *self.purpose.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            health
        })
    }

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Box::pin(self.list(until))
    }

    fn load<'a>(&'a self, model: &'a str, _: Option<Duration>, until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let is_loaded = self.list(until).await?.iter().any(|listed| listed.name == model && listed.is_loaded);
            if is_loaded { Ok(()) } else { self.route("/models/load", model, until).await }
        })
    }

    fn unload<'a>(&'a self, model: &'a str, until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.route("/models/unload", model, until))
    }
}

fn entries<'a>(listed: &'a Value, pointer: &str) -> &'a [Value] {
    listed.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn read(entry: &Value) -> EngineModel {
    let loaded_with = json::tokens(entry, "/meta/n_ctx");
    EngineModel {
        size_bytes: json::bytes(entry, "/meta/size"),
        context_tokens: if loaded_with > 0 { loaded_with } else { json::tokens(entry, "/meta/n_ctx_train") },
        ..EngineModel::default()
    }
}
