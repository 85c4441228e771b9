//! Everything on the HTTP port that is no ask: lists, health, metrics, the page, and what is not there.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base::{Code, Fault};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::intake::{Intake, take_in};
use super::{
    HttpLimits, anthropic, ask, caller, cluster, hooks, mcp, ollama, openai, openapi, page, perplexity, projects,
    refusal, research,
};
use crate::until::Until;
use crate::{Client, Desk, MetricsFormat, trace};

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
    /// The longest life of an answer is in them, and may change.
    pub(super) limits: Arc<ArcSwap<HttpLimits>>,
}

/// A fault in its path's shape, as handlers return it.
pub(super) struct Refusal<S = base::Face>(pub(super) S, pub(super) Fault);

impl<S: Into<refusal::Shape>> IntoResponse for Refusal<S> {
    fn into_response(self) -> Response {
        refusal::response(self.0, &self.1).map(|body| Body::new(body.map_err(axum::Error::new)))
    }
}

/// The routes behind those of asks. A body is taken in, bounded, when its request was let in.
pub(super) fn router(desk: Arc<dyn Desk>, bounds: Bounds, intake: Intake) -> Router {
    let taken_in = middleware::from_fn_with_state(intake, take_in);
    let keyed = Router::new()
        .merge(anthropic::routes())
        .merge(openai::routes())
        .merge(ollama::routes())
        .merge(projects::routes(bounds.clone()))
        .merge(research::routes(bounds.clone()))
        .merge(cluster::routes(bounds.clone()))
        .merge(perplexity::routes(bounds.clone()))
        .merge(mcp::routes(bounds))
        .route("/metrics", get(metrics))
        .layer(taken_in.clone())
        .layer(middleware::from_fn_with_state(desk.clone(), with_key));
    keyed
        .merge(hooks::routes().layer(taken_in))
        .merge(page::routes())
        .merge(openapi::routes())
        .route("/", get(front))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::disable())
        .with_state(desk)
}

/// Lets only holders of a key pass that opens the route, when keys are on, and notes who they are. An answer that stays
/// open ends with the key.
async fn with_key(State(desk): Shared, mut request: Request, next: Next) -> Response {
    let from = request.extensions().get::<caller::From>().and_then(|from| from.0);
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let wants = (request.headers(), request.uri());
    match caller::admit(&*desk, (request.method(), route), wants, from) {
        Ok(grant) => {
            let ended = desk.until_ended(&grant);
            request.extensions_mut().insert(Client(grant));
            let parent = ask::traceparent(request.headers());
            let response = trace::within(parent, next.run(request)).await;
            response.map(|body| Body::new(Until::new(body, ended, key_ended)))
        }
        Err(fault) => Refusal(refusal::shape_of(request.uri().path()), fault).into_response(),
    }
}

/// Breaks an answer off; its client tells that from a whole one.
fn key_ended() -> Result<Frame<Bytes>, axum::Error> {
    Err(axum::Error::new(Fault::new(Code::Unauthenticated, "the API key has ended")))
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

async fn metrics(State(desk): Shared, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = accept.map_or(MetricsFormat::Text, MetricsFormat::accepted);
    ([(CONTENT_TYPE, format.content_type())], desk.metrics(format))
}

/// Ollama's clients ask this page whether a server is there; people get the page.
async fn front(headers: HeaderMap) -> Response {
    let is_browser =
        headers.get(ACCEPT).is_some_and(|accept| accept.to_str().is_ok_and(|text| text.contains("text/html")));
    if is_browser { page::front(&headers) } else { "Ollama is running".into_response() }
}
