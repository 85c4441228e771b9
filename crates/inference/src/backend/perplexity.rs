//! Perplexity's cloud: answers with sources; lists nothing, continues nothing.

use std::time::Instant;

use base::report::{Backend as Kind, Capability};
use base::{BoxFuture, Dialect, Result};

use super::{EngineModel, Http, Link, Loading, Traits};
use crate::wire::{ContinueBy, Quirks, SchemaBy};

/// Its models, as its documents name them; there is no call that lists them.
const MODELS: [&str; 4] = ["sonar", "sonar-pro", "sonar-reasoning-pro", "sonar-deep-research"];

pub(super) const TRAITS: Traits = Traits {
    kind: Kind::Perplexity,
    dialects: &[Dialect::OpenAiChat],
    dialects_at_root: true,
    continues_chat: ContinueBy::Never,
    continues_completion: ContinueBy::Never,
    quirks: Quirks { schema_by: SchemaBy::JsonSchema, drops: &["seed", "logit_bias"] },
    // No path says more than that it answers, and none of them costs anything.
    health: "/",
    loading: Loading::Always,
    unloads: false,
    has_grammar: true,
    default_port: None,
};

pub(super) struct Perplexity(pub(super) Link);

impl Http for Perplexity {
    fn http(&self) -> &Link {
        &self.0
    }

    fn models(&self, _: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        let model = |name: &str| EngineModel {
            name: name.to_owned(),
            capabilities: vec![Capability::Completion],
            is_loaded: true,
            ..EngineModel::default()
        };
        Box::pin(async move { Ok(MODELS.into_iter().map(model).collect()) })
    }
}
