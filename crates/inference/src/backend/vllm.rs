//! vLLM: one model per process, loaded as long as the process lives.

use std::time::Instant;

use base::report::Backend as Kind;
use base::{BoxFuture, Result};

use super::traits::OPENAI_AND_RERANK;
use super::{EngineModel, Http, Link, Loading, Traits, json, openai};
use crate::wire::{ContinueBy, Quirks, SchemaBy};

pub(super) const TRAITS: Traits = Traits {
    kind: Kind::Vllm,
    dialects: OPENAI_AND_RERANK,
    dialects_at_root: false,
    continues_chat: ContinueBy::VllmFlags,
    continues_completion: ContinueBy::RawPrompt,
    quirks: Quirks { schema_by: SchemaBy::Any, drops: &[] },
    health: "/health",
    loading: Loading::Always,
    unloads: false,
    has_grammar: true,
    default_port: Some(8000),
};

pub(super) struct Vllm(pub(super) Link);

impl Http for Vllm {
    fn http(&self) -> &Link {
        &self.0
    }

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Box::pin(openai::list(&self.0, until, |entry| EngineModel {
            context_tokens: json::tokens(entry, "/max_model_len"),
            is_loaded: true,
            ..EngineModel::default()
        }))
    }
}
