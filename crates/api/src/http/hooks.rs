//! What other services post here when something happens there. They have no key: each delivery is signed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base::{Code, Face, Fault};
use bytes::Bytes;
use planner::github::{DELIVERY, Delivery, EVENT, Received, SIGNATURE};
use serde_json::json;

use super::pages::{Refusal, Shared};
use crate::Desk;

/// Where GitHub posts.
pub(super) const GITHUB: &str = "/hooks/github";

/// The routes of this file.
pub(super) fn routes() -> Router<Arc<dyn Desk>> {
    Router::new().route(GITHUB, post(github))
}

/// Says of a delivery that is too large what can be done there.
pub(super) fn larger(fault: Fault) -> Fault {
    match fault.code {
        Code::TooLarge => fault
            .hint("let the webhook send fewer kinds of events; what GitHub sends of those that are handled is smaller"),
        _ => fault,
    }
}

async fn github(State(desk): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let delivery = Delivery { event: text(EVENT), id: text(DELIVERY), signature: text(SIGNATURE), body };
    match desk.take_from_github(delivery).await {
        Ok(received) => answer(received),
        Err(fault) => Refusal(Face::Internal, fault).into_response(),
    }
}

fn answer(received: Received) -> Response {
    let (status, body) = match received {
        Received::Pong => (StatusCode::OK, json!({ "pong": true })),
        Received::Ignored { why } => (StatusCode::ACCEPTED, json!({ "ignored": why })),
        Received::Taken { changes, notes } => (StatusCode::OK, json!({ "changes": changes, "notes": notes })),
    };
    (status, Json(body)).into_response()
}
