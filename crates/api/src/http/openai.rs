//! OpenAI's list of models.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::routing::get;
use axum::{Json, Router};
use base::Face;
use proto::admin::ModelItem;
use serde_json::{Value, json};

use super::pages::{Refusal, Shared};
use crate::{Client, Desk, names};

/// The routes of this file.
pub(super) fn routes() -> Router<Arc<dyn Desk>> {
    Router::new()
        .route("/v1/models", get(list))
        .route("/v1/models/{*name}", get(show))
        .route("/models", get(list))
        .route("/models/{*name}", get(show))
}

async fn list(State(desk): Shared, Extension(Client(grant)): Extension<Client>) -> Json<Value> {
    let models: Vec<Value> = desk.models(&grant).models.iter().map(object).collect();
    Json(json!({ "object": "list", "data": models }))
}

async fn show(
    State(desk): Shared,
    Extension(Client(grant)): Extension<Client>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    names::look_up(&*desk, &grant, &name)
        .map(|model| Json(object(&model)))
        .map_err(|fault| Refusal(Face::OpenAi, fault))
}

/// `created` is not known of a model, and clients insist on a number.
fn object(model: &ModelItem) -> Value {
    let context = model.places.iter().map(|place| place.context_tokens).max().filter(|&tokens| tokens > 0);
    json!({
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "taskmaster",
        "max_model_len": context,
    })
}
