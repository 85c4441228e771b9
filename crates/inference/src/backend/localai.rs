//! LocalAI.

use std::time::{Duration, Instant};

use base::report::Backend as Kind;
use base::{BoxFuture, Result};
use serde_json::{Value, json};

use super::traits::OPENAI_AND_RERANK;
use super::{EngineModel, Http, Link, Loading, Traits, json, openai};
use crate::wire::{ContinueBy, Quirks, SchemaBy};

pub(super) const TRAITS: Traits = Traits {
    kind: Kind::LocalAi,
    // Its Ollama face departs from Ollama in places (embeddings, errors within a stream), so OpenAI's is used for all.
    dialects: OPENAI_AND_RERANK,
    dialects_at_root: false,
    // An option of each model decides, which cannot be read from outside.
    continues_chat: ContinueBy::Never,
    continues_completion: ContinueBy::RawPrompt,
    quirks: Quirks { schema_by: SchemaBy::Any, drops: &[] },
    health: "/readyz",
    loading: Loading::ByCallOrDemand,
    unloads: true,
    // A schema that it cannot convert is only logged.
    has_grammar: false,
    default_port: Some(8080),
};

pub(super) struct LocalAi(pub(super) Link);

impl Http for LocalAi {
    fn http(&self) -> &Link {
        &self.0
    }

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Box::pin(async move {
            let mut models = openai::list(&self.0, until, |_| EngineModel::default()).await?;
            let system = self.0.get("/system", until).await?;
            let loaded =
                system.pointer("/loaded_models").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for model in &mut models {
                model.is_loaded = loaded.iter().any(|entry| json::text(entry, "/id") == model.name);
            }
            Ok(models)
        })
    }

    fn load<'a>(&'a self, model: &'a str, _: Option<Duration>, until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.0.post("/backend/load", &json!({"model": model}), until).await.map(drop) })
    }

    fn unload<'a>(&'a self, model: &'a str, until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.0.post("/backend/shutdown", &json!({"model": model}), until).await.map(drop) })
    }
}
