//! llama-cpp-python's server, a sloppier relative of llama.cpp's: models are swapped on demand, one at a time.

use std::time::{Duration, Instant};

use base::report::Backend as Kind;
use base::{BoxFuture, Result};
use serde_json::json;

use super::traits::OPENAI;
use super::{EngineModel, Http, Link, Loading, Traits, openai};
use crate::wire::{ContinueBy, Quirks, SchemaBy};

pub(super) const TRAITS: Traits = Traits {
    kind: Kind::LlamaCppPython,
    dialects: OPENAI,
    dialects_at_root: false,
    // A trailing message of the assistant begins a new turn.
    continues_chat: ContinueBy::Never,
    continues_completion: ContinueBy::Never,
    quirks: Quirks { schema_by: SchemaBy::JsonObject, drops: &[] },
    // It has no path for health.
    health: "/v1/models",
    loading: Loading::OnDemand,
    unloads: false,
    // Its converter forgets bounds and lets control characters into strings: too little to be relied on.
    has_grammar: false,
    default_port: Some(8000),
};

pub(super) struct LlamaCppPython(pub(super) Link);

impl Http for LlamaCppPython {
    fn http(&self) -> &Link {
        &self.0
    }

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Box::pin(async move {
            let mut models = openai::list(&self.0, until, |_| EngineModel::default()).await?;
            // Which of several is in memory is told nowhere; a single one was loaded at the start.
            if let [only] = models.as_mut_slice() {
                only.is_loaded = true;
            }
            Ok(models)
        })
    }

    fn load<'a>(&'a self, model: &'a str, _: Option<Duration>, until: Instant) -> BoxFuture<'a, Result<()>> {
        // Nothing but an ask loads; this is the smallest one.
        let body = json!({"model": model, "prompt": " ", "max_tokens": 1});
        Box::pin(async move { self.0.post("/v1/completions", &body, until).await.map(drop) })
    }
}
