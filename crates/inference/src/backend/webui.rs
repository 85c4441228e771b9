//! text-generation-webui: one model at a time, which answers whatever name an ask has.

use std::time::{Duration, Instant};

use base::report::Backend as Kind;
use base::{BoxFuture, Result};
use serde_json::{Value, json};

use super::traits::OPENAI;
use super::{EngineModel, Http, Link, Loading, Traits, json};
use crate::wire::{ContinueBy, Quirks, SchemaBy};

pub(super) const TRAITS: Traits = Traits {
    kind: Kind::WebUi,
    dialects: OPENAI,
    dialects_at_root: false,
    continues_chat: ContinueBy::WebUiFlag,
    continues_completion: ContinueBy::RawPrompt,
    quirks: Quirks { schema_by: SchemaBy::Any, drops: &[] },
    health: "/v1/internal/health",
    loading: Loading::ByCall,
    unloads: true,
    has_grammar: false,
    default_port: Some(5000),
};

pub(super) struct WebUi(pub(super) Link);

impl WebUi {
    async fn list(&self, until: Instant) -> Result<Vec<EngineModel>> {
        let info = self.0.get("/v1/internal/model/info", until).await?;
        let loaded = match json::text(&info, "/model_name") {
            "None" => "",
            name => name,
        };
        // The whole list wants the admin's key; without it there is still the loaded one.
        let listed = self.0.get("/v1/internal/model/list", until).await.unwrap_or_default();
        let names = listed.pointer("/model_names").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
        if !loaded.is_empty() && !names.contains(&loaded) {
            names.push(loaded);
        }
        let model =
            |name: &str| EngineModel { name: name.to_owned(), is_loaded: name == loaded, ..EngineModel::default() };
        Ok(names.into_iter().filter(|name| *name != "None").map(model).collect())
    }
}

impl Http for WebUi {
    fn http(&self) -> &Link {
        &self.0
    }

    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Box::pin(self.list(until))
    }

    fn load<'a>(&'a self, model: &'a str, _: Option<Duration>, until: Instant) -> BoxFuture<'a, Result<()>> {
        let body = json!({"model_name": model});
        Box::pin(async move { self.0.post("/v1/internal/model/load", &body, until).await.map(drop) })
    }

    fn unload<'a>(&'a self, _: &'a str, until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.0.post("/v1/internal/model/unload", &json!({}), until).await.map(drop) })
    }
}
