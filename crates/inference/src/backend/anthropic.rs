//! Anthropic's cloud.

use std::time::Instant;

use base::report::{Backend as Kind, Capability};
use base::{BoxFuture, Dialect, Result};

use super::{EngineModel, Http, Link, Loading, Traits, json, openai};
use crate::wire::{ContinueBy, Quirks, SchemaBy};

/// The version of the API that every request names.
pub(super) const VERSION: &str = "2023-06-01";

pub(super) const TRAITS: Traits = Traits {
    kind: Kind::Anthropic,
    dialects: &[Dialect::AnthropicMessages],
    dialects_at_root: false,
    // Newer models refuse it, and which ones do is not listed.
    continues_chat: ContinueBy::Never,
    continues_completion: ContinueBy::Never,
    quirks: Quirks { schema_by: SchemaBy::Any, drops: &[] },
    health: "/v1/models",
    loading: Loading::Always,
    unloads: false,
    has_grammar: true,
    default_port: None,
};

pub(super) struct Anthropic(pub(super) Link);

impl Http for Anthropic {
    fn http(&self) -> &Link {
        &self.0
    }

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Box::pin(async move {
            let listed = self.0.get("/v1/models?limit=1000", until).await?;
            openai::models_of(&listed, &self.0, |entry| EngineModel {
                context_tokens: json::tokens(entry, "/max_input_tokens"),
                capabilities: vec![Capability::Completion, Capability::Tools, Capability::Vision],
                is_loaded: true,
                ..EngineModel::default()
            })
        })
    }
}
