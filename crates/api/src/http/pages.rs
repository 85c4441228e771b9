//! Everything on the HTTP port that is no ask: lists, health, metrics, the plain page, and what is not there.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base::{Code, Fault};
use http_body_util::BodyExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{anthropic, ask, hooks, mcp, ollama, openai, projects, refusal};
use crate::{Client, Desk};

/// The desk, as handlers get it.
pub(super) type Shared = State<Arc<dyn Desk>>;

/// What bounds an answer that stays open, from outside.
#[derive(Clone)]
pub(super) struct Bounds {
    /// The largest message; bodies come in bounded by it already.
    pub(super) body: usize,
    /// Ends answers that are still open when the server stops.
    pub(super) stop: CancellationToken,
    /// Between signs of life while a client waits.
    pub(super) heartbeat: Duration,
}

/// A fault in its path's shape, as handlers return it.
pub(super) struct Refusal<S = base::Face>(pub(super) S, pub(super) Fault);

impl<S: Into<refusal::Shape>> IntoResponse for Refusal<S> {
    fn into_response(self) -> Response {
        refusal::response(self.0, &self.1).map(|body| Body::new(body.map_err(axum::Error::new)))
    }
}

/// The routes behind those of asks. Bodies come in bounded already.
pub(super) fn router(desk: Arc<dyn Desk>, bounds: Bounds) -> Router {
    let keyed = Router::new()
        .merge(anthropic::routes())
        .merge(openai::routes())
        .merge(ollama::routes())
        .merge(projects::routes(bounds.clone()))
        .merge(mcp::routes(bounds))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(desk.clone(), with_key));
    keyed
        .merge(hooks::routes())
        .route("/", get(front))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::disable())
        .with_state(desk)
}

/// Lets only holders of a key pass, when keys are on, and notes who they are.
async fn with_key(State(desk): Shared, mut request: Request, next: Next) -> Response {
    match desk.authenticate(ask::key(request.headers())) {
        Ok(name) => {
            request.extensions_mut().insert(Client(name));
            next.run(request).await
        }
        Err(fault) => Refusal(refusal::shape_of(request.uri().path()), fault).into_response(),
    }
}

async fn nothing_here(uri: Uri) -> Refusal<refusal::Shape> {
    Refusal(refusal::shape_of(uri.path()), refusal::unknown_path(uri.path()))
}

/// The `Allow` header is added by the router, which knows the methods.
async fn wrong_method(uri: Uri) -> Refusal<refusal::Shape> {
    let fault = Fault::new(Code::MethodNotAllowed, format!("`{}` does not have this method", uri.path()))
        .hint("the header Allow names those that it has");
    Refusal(refusal::shape_of(uri.path()), fault)
}

async fn readyz(State(desk): Shared) -> impl IntoResponse {
    let readiness = desk.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(json!({ "ready": readiness.ready, "reasons": readiness.reasons })))
}

async fn metrics(State(desk): Shared) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], desk.metrics())
}

/// Ollama's clients ask this page whether a server is there; people get what the node sees.
async fn front(State(desk): Shared, headers: HeaderMap) -> Response {
    let is_browser =
        headers.get(ACCEPT).is_some_and(|accept| accept.to_str().is_ok_and(|text| text.contains("text/html")));
    // The page names machines and models; a browser sends no key, so with keys on it only says that it is there.
    if is_browser && desk.authenticate(ask::key(&headers)).is_ok() {
        return Html(page(&*desk)).into_response();
    }
    "Ollama is running".into_response()
}

fn page(desk: &dyn Desk) -> String {
    let mut html = String::from("<!doctype html><meta charset=\"utf-8\"><title>Taskmaster</title><h1>Taskmaster</h1>");
    let nodes = desk.admin().list_nodes().nodes;
    let workers = desk.admin().list_workers().workers;
    let models = desk.models().models;
    list(&mut html, "Nodes", nodes.iter().map(|node| format!("{} ({})", node.name, node.state)));
    list(&mut html, "Workers", workers.iter().map(|worker| format!("{} ({})", worker.name, worker.state)));
    list(&mut html, "Models", models.iter().map(|model| model.name.clone()));
    html
}

fn list(html: &mut String, title: &str, items: impl Iterator<Item = String>) {
    // Writing to a String cannot fail.
    let _ = write!(html, "<h2>{title}</h2><ul>");
    for item in items {
        let _ = write!(html, "<li>{}</li>", escaped(&item));
    }
    html.push_str("</ul>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
