//! LM Studio: OpenAI's API for asks, its own for models (version 1, and the older version 0).

use std::time::{Duration, Instant};

use base::report::{Backend as Kind, Capability};
use base::{BoxFuture, Code, Fault, Result};
use serde_json::{Value, json};

use super::traits::OPENAI;
use super::{EngineModel, Http, Link, Loading, Traits, json, openai};
use crate::wire::{ContinueBy, Quirks, SchemaBy};

pub(super) const TRAITS: Traits = Traits {
    kind: Kind::LmStudio,
    dialects: OPENAI,
    dialects_at_root: false,
    // Not documented for chats.
    continues_chat: ContinueBy::Never,
    continues_completion: ContinueBy::RawPrompt,
    quirks: Quirks { schema_by: SchemaBy::JsonSchema, drops: &[] },
    health: "/v1/models",
    loading: Loading::ByCallOrDemand,
    unloads: true,
    has_grammar: true,
    default_port: Some(1234),
};

pub(super) struct LmStudio(pub(super) Link);

impl LmStudio {
    async fn list(&self, until: Instant) -> Result<Vec<EngineModel>> {
        match self.0.get("/api/v1/models", until).await {
            Ok(listed) => {
                let entries = json::list(&listed, "/models", self.0.pool.name())?;
                Ok(entries.iter().map(read).collect())
            }
            Err(fault) if is_unknown(&fault) => {
                let listed = self.0.get("/api/v0/models", until).await?;
                openai::models_of(&listed, &self.0, read_v0)
            }
            Err(fault) => Err(fault),
        }
    }

    async fn unload_all(&self, model: &str, until: Instant) -> Result<()> {
        let listed = self.0.get("/api/v1/models", until).await?;
        let entries = json::list(&listed, "/models", self.0.pool.name())?;
        let entry = entries.iter().find(|entry| json::text(entry, "/key") == model);
        for instance in entry.map(instances).unwrap_or_default() {
            let body = json!({"instance_id": json::text(instance, "/id")});
            self.0.post("/api/v1/models/unload", &body, until).await?;
        }
        Ok(())
    }
}

impl Http for LmStudio {
    fn http(&self) -> &Link {
        &self.0
    }

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Box::pin(self.list(until))
    }

    fn load<'a>(&'a self, model: &'a str, _: Option<Duration>, until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match self.0.post("/api/v1/models/load", &json!({"model": model}), until).await {
                // An older one loads on demand only.
                Err(fault) if !is_unknown(&fault) => Err(fault),
                _ => Ok(()),
            }
        })
    }

    fn unload<'a>(&'a self, model: &'a str, until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.unload_all(model, until))
    }
}

/// Whether the path does not exist in this version.
fn is_unknown(fault: &Fault) -> bool {
    matches!(fault.code, Code::NotFound | Code::ModelNotFound | Code::MethodNotAllowed | Code::NotSupported)
}

fn instances(entry: &Value) -> &[Value] {
    entry.pointer("/loaded_instances").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn read(entry: &Value) -> EngineModel {
    let loaded = instances(entry).first();
    let context_tokens = loaded.map_or(0, |instance| json::tokens(instance, "/config/context_length"));
    let mut capabilities = kind_of(json::text(entry, "/type"));
    let offers = |pointer| entry.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
    let told =
        [("/capabilities/vision", Capability::Vision), ("/capabilities/trained_for_tool_use", Capability::Tools)];
    capabilities.extend(told.into_iter().filter(|(pointer, _)| offers(pointer)).map(|(_, capability)| capability));
    EngineModel {
        name: json::text(entry, "/key").to_owned(),
        size_bytes: json::bytes(entry, "/size_bytes"),
        context_tokens: if context_tokens > 0 { context_tokens } else { json::tokens(entry, "/max_context_length") },
        capabilities,
        is_loaded: loaded.is_some(),
        ..EngineModel::default()
    }
}

fn read_v0(entry: &Value) -> EngineModel {
    EngineModel {
        context_tokens: json::tokens(entry, "/max_context_length"),
        capabilities: kind_of(json::text(entry, "/type")),
        is_loaded: json::text(entry, "/state") == "loaded",
        ..EngineModel::default()
    }
}

fn kind_of(word: &str) -> Vec<Capability> {
    match word {
        "llm" => vec![Capability::Completion],
        "vlm" => vec![Capability::Completion, Capability::Vision],
        "embedding" | "embeddings" => vec![Capability::Embedding],
        _ => Vec::new(),
    }
}
