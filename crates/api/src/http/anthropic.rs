//! What Anthropic's clients ask beside their messages.

use std::sync::Arc;

use axum::routing::post;
use axum::{Json, Router};
use base::{Dialect, Face};
use bytes::Bytes;
use serde_json::{Value, json};

use super::pages::Refusal;
use crate::Desk;

/// The routes of this file.
pub(super) fn routes() -> Router<Arc<dyn Desk>> {
    Router::new().route("/v1/messages/count_tokens", post(count_tokens))
}

/// An estimate, as routing makes it: which engine will count, and how, is not known before one is asked.
async fn count_tokens(body: Bytes) -> Result<Json<Value>, Refusal> {
    let seen = base::peek::peek(Dialect::AnthropicMessages, &body).map_err(|fault| Refusal(Face::Anthropic, fault))?;
    Ok(Json(json!({ "input_tokens": seen.prompt_tokens })))
}
