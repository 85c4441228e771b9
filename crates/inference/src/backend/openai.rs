//! Anything that speaks OpenAI's API, of which nothing more is known.

use std::time::Instant;

use base::report::Backend as Kind;
use base::{BoxFuture, Result};
use serde_json::Value;

use super::traits::OPENAI;
use super::{EngineModel, Http, Link, Loading, Traits, json};
use crate::wire::{ContinueBy, Quirks, SchemaBy};

pub(super) const TRAITS: Traits = Traits {
    kind: Kind::OpenAi,
    dialects: OPENAI,
    dialects_at_root: false,
    continues_chat: ContinueBy::Never,
    continues_completion: ContinueBy::RawPrompt,
    quirks: Quirks { schema_by: SchemaBy::Any, drops: &[] },
    health: "/v1/models",
    loading: Loading::OnDemand,
    unloads: false,
    has_grammar: false,
    default_port: None,
};

pub(super) struct OpenAi(pub(super) Link);

impl Http for OpenAi {
    fn http(&self) -> &Link {
        &self.0
    }

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Box::pin(list(&self.0, until, |_| EngineModel { is_loaded: true, ..EngineModel::default() }))
    }
}

/// Reads OpenAI's list; `read` makes a model of an entry, without its name.
pub(super) async fn list(link: &Link, until: Instant, read: fn(&Value) -> EngineModel) -> Result<Vec<EngineModel>> {
    let listed = link.get("/v1/models", until).await?;
    models_of(&listed, link, read)
}

/// The models of OpenAI's list.
pub(super) fn models_of(listed: &Value, link: &Link, read: fn(&Value) -> EngineModel) -> Result<Vec<EngineModel>> {
    let entries = json::list(listed, "/data", link.pool.name())?.iter();
    let named = entries.filter(|entry| !json::text(entry, "/id").is_empty());
    Ok(named.map(|entry| EngineModel { name: json::text(entry, "/id").to_owned(), ..read(entry) }).collect())
}
