//! llama-cpp-python's server, a sloppier relative of llama.cpp's: models are swapped on demand, one at a time.
//!
//! As it is set by default, it breaks off an answer when anything else is asked, its list of models included. So it is
//! looked at where that costs no answer, and asked for its list once for each of its lives.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::report::Backend as Kind;
use base::{BoxFuture, Result};
use serde_json::json;

use super::traits::OPENAI;
use super::{EngineModel, Health, Http, Link, Loading, Traits, openai};
use crate::wire::{ContinueBy, Quirks, SchemaBy};

pub(super) const TRAITS: Traits = Traits {
    kind: Kind::LlamaCppPython,
    dialects: OPENAI,
    dialects_at_root: false,
    // A trailing message of the assistant begins a new turn.
    continues_chat: ContinueBy::Never,
    continues_completion: ContinueBy::Never,
    quirks: Quirks { schema_by: SchemaBy::JsonObject, drops: &[] },
    // It has no path for health, and its list of models breaks off the answer that it gives. That it knows no such path
    // is an answer that breaks off none.
    health: "/health",
    loading: Loading::OnDemand,
    unloads: false,
    // Its converter forgets bounds and lets control characters into strings: too little to be relied on.
    has_grammar: false,
    default_port: Some(8000),
};

pub(super) struct LlamaCppPython {
    link: Link,
    /// What it listed, since it was last seen down: what it serves is fixed at its start.
    listed: Mutex<Option<Vec<EngineModel>>>,
}

impl LlamaCppPython {
    pub(super) fn new(link: Link) -> Self {
        Self { link, listed: Mutex::default() }
    }

    async fn list(&self, until: Instant) -> Result<Vec<EngineModel>> {
        if let Some(listed) = self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(listed);
        }
        let mut models = openai::list(&self.link, until, |_| EngineModel::default()).await?;
        // Which of several is in memory is told nowhere; a single one was loaded at the start.
        if let [only] = models.as_mut_slice() {
            only.is_loaded = true;
        }
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = Some(models.clone());
        Ok(models)
    }
}

impl Http for LlamaCppPython {
    fn http(&self) -> &Link {
        &self.link
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        Box::pin(async move {
            let health = self.link.health().await;
            if matches!(health, Health::Down(_)) {
                *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            health
        })
    }

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Box::pin(self.list(until))
    }

    fn load<'a>(&'a self, model: &'a str, _: Option<Duration>, until: Instant) -> BoxFuture<'a, Result<()>> {
        // Nothing but an ask loads; this is the smallest one.
        let body = json!({"model": model, "prompt": " ", "max_tokens": 1});
        Box::pin(async move { self.link.post("/v1/completions", &body, until).await.map(drop) })
    }
}
