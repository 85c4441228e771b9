//! Ollama's lists of models, and its calls that change an engine's files.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use base::{Answer, Face, Fault};
use bytes::Bytes;
use http_body_util::BodyExt;
use proto::admin::{ModelItem, ModelPlace};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer_body::{Form, Outgoing, Running};
use super::pages::{Refusal, Shared};
use crate::{Client, Desk, EngineCall, names};

/// What clients are told as Ollama's version: they switch features on by it, and this one has all that the faces have.
const VERSION: &str = "0.12.0";
/// Between signs of life while an engine works on its files.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Clients insist on times; these are not known.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// The routes of this file.
pub(super) fn routes() -> Router<Arc<dyn Desk>> {
    Router::new()
        .route("/api/tags", get(tags))
        .route("/api/ps", get(ps))
        .route("/api/show", post(show))
        .route("/api/version", get(|| async { Json(json!({ "version": VERSION })) }))
        .route("/api/pull", post(|desk: Shared, body: Bytes| pass(desk, EngineCall::Pull, body)))
        .route("/api/push", post(|desk: Shared, body: Bytes| pass(desk, EngineCall::Push, body)))
        .route("/api/create", post(|desk: Shared, body: Bytes| pass(desk, EngineCall::Create, body)))
        .route("/api/copy", post(|desk: Shared, body: Bytes| pass(desk, EngineCall::Copy, body)))
        .route("/api/delete", delete(|desk: Shared, body: Bytes| pass(desk, EngineCall::Delete, body)))
}

async fn tags(State(desk): Shared, Extension(Client(grant)): Extension<Client>) -> Json<Value> {
    let models: Vec<Value> = desk.models(&grant).models.iter().map(tag).collect();
    Json(json!({ "models": models }))
}

async fn ps(State(desk): Shared, Extension(Client(grant)): Extension<Client>) -> Json<Value> {
    let models = desk.models(&grant).models;
    let loaded = models.iter().filter_map(|model| {
        let places: Vec<&ModelPlace> = model.places.iter().filter(|place| place.is_loaded).collect();
        let place = places.first()?;
        let mut object = tag(model);
        object["size_vram"] = json!(place.memory_bytes);
        object["context_length"] = json!(place.context_tokens);
        object["expires_at"] = json!(NO_TIME);
        Some(object)
    });
    Json(json!({ "models": loaded.collect::<Vec<_>>() }))
}

#[derive(Deserialize)]
struct ShowRequest {
    #[serde(alias = "name")]
    model: String,
}

async fn show(
    State(desk): Shared,
    Extension(Client(grant)): Extension<Client>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    // By hand: axum's extractor would insist on a content type that Ollama's clients leave out.
    let request: ShowRequest = serde_json::from_slice(&body).map_err(|error| {
        Refusal(Face::Ollama, Fault::invalid("field `model` is missing").because(error).hint("name a model"))
    })?;
    let model = names::look_up(&*desk, &grant, &request.model).map_err(|fault| Refusal(Face::Ollama, fault))?;
    let context = model.places.iter().map(|place| place.context_tokens).max().unwrap_or_default();
    Ok(Json(json!({
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": details(),
        "model_info": { "general.architecture": "unknown", "unknown.context_length": context },
        "capabilities": capabilities(&model),
        "modified_at": NO_TIME,
    })))
}

async fn pass(State(desk): Shared, call: EngineCall, body: Bytes) -> Response {
    match desk.pass_to_engine(call, body).await {
        Ok(Answer { head, frames }) => {
            let form = Form { dialect: base::Dialect::OllamaGenerate, stream: true };
            let body = Outgoing::running(Running::flowing(frames, &head, form, HEARTBEAT));
            ([(CONTENT_TYPE, head.content_type)], Body::new(body.map_err(axum::Error::new))).into_response()
        }
        Err(fault) => Refusal(Face::Ollama, fault).into_response(),
    }
}

fn tag(model: &ModelItem) -> Value {
    json!({
        "name": model.name,
        "model": model.name,
        "modified_at": NO_TIME,
        "size": model.places.iter().map(|place| place.size_bytes).max().unwrap_or_default(),
        "digest": model.id.strip_prefix("sha256:").unwrap_or_default(),
        "details": details(),
    })
}

/// Ollama's clients insist on the fields; the catalogue does not hold them.
fn details() -> Value {
    json!({
        "parent_model": "", "format": "gguf", "family": "", "families": [], "parameter_size": "", "quantization_level": "",
    })
}

fn capabilities(model: &ModelItem) -> Vec<&str> {
    let mut all: Vec<&str> = model.places.iter().flat_map(|place| &place.capabilities).map(String::as_str).collect();
    all.sort_unstable();
    all.dedup();
    all
}
