//! The HTTP face: its own accept loop, hyper's low-level server with the routes of asks matched by hand, axum behind it.
//!
//! One task per connection owns both the client's socket and the answer that it writes there.

mod answer_body;
mod anthropic;
pub(crate) mod ask;
mod caller;
mod cluster;
mod connection;
mod hooks;
mod intake;
mod mcp;
mod ollama;
mod openai;
mod openapi;
mod origin;
mod page;
mod pages;
mod perplexity;
mod projects;
mod refusal;
mod research;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use base::Dialect;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::Desk;
use answer_body::Outgoing;
use connection::Busy;

/// Between two tries to accept when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection over the limit is told; written without waiting, then the connection is closed.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 121\r\n\r\n\
    {\"error\":{\"message\":\"all connections are taken; come back soon\",\"type\":\"server_error\",\"param\":null,\
    \"code\":\"unavailable\"}}";

/// Bounds of the HTTP face.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Largest request body, in bytes.
    pub body: usize,
    /// Open connections.
    pub connections: usize,
    /// From the first byte of a request to the end of its headers.
    pub header: Duration,
    /// From the end of a request's headers to the end of its body.
    pub read: Duration,
    /// A connection without a request is kept this long.
    pub idle: Duration,
    /// How long a client may take no byte of its answer.
    pub write: Duration,
    /// Longest life of an ask.
    pub ask: Duration,
    /// Status and headers go out after this, though the answer is not known yet.
    pub early_head: Duration,
    /// Between signs of life while a client waits for bytes.
    pub heartbeat: Duration,
    /// How long running asks may finish when the server stops.
    pub drain: Duration,
    /// Origins (`scheme://host:port`) and hosts of browser pages that may call, besides those of the house.
    pub allowed_origins: Vec<String>,
}

impl HttpLimits {
    /// The configured bounds, and good values for what is not configured.
    pub fn from_config(limits: &base::config::Limits) -> Self {
        Self {
            body: limits.body.as_usize(),
            connections: limits.connections as usize,
            header: limits.header,
            read: Duration::from_secs(60),
            idle: Duration::from_secs(120),
            write: limits.write,
            ask: limits.ask,
            early_head: Duration::from_secs(15),
            heartbeat: Duration::from_secs(10),
            drain: limits.drain,
            allowed_origins: Vec::new(),
        }
    }
}

/// Serves clients until `cancel`; then nothing new is taken, and running asks have [`HttpLimits::drain`] to finish.
///
/// `limits` may change meanwhile; the number of connections and the largest body stay as they are at the start.
///
/// Connections run on `tracker`; all of them have ended when this returns.
pub async fn serve(
    listener: TcpListener,
    desk: Arc<dyn Desk>,
    limits: Arc<ArcSwap<HttpLimits>>,
    cancel: CancellationToken,
    tracker: TaskTracker,
) {
    let at_start = limits.load_full();
    let permits = Arc::new(Semaphore::new(at_start.connections.min(Semaphore::MAX_PERMITS)));
    let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let closing = CancellationToken::new();
    let bounds = pages::Bounds {
        body: at_start.body,
        stop: closing.clone(),
        heartbeat: at_start.heartbeat,
        limits: limits.clone(),
    };
    let room = Arc::new(intake::Room::of(at_start.body));
    let cold = pages::router(desk.clone(), bounds, intake::Intake { limits: limits.clone(), room: room.clone() });
    let door = Arc::new(Door { cold, desk, limits, room, is_loopback, is_closing: AtomicBool::new(false) });
    let spawn = |stream: TcpStream, permit: OwnedSemaphorePermit| {
        let (door, stop) = (door.clone(), closing.child_token());
        tracker.spawn(async move {
            connection::drive(stream, door, stop).await;
            drop(permit);
        });
    };
    while let Some(accepted) = cancel.run_until_cancelled(listener.accept()).await {
        match (accepted, permits.clone().try_acquire_owned()) {
            (Ok((stream, _)), Ok(permit)) => spawn(stream, permit),
            (Ok((stream, peer)), Err(_)) => {
                debug!(%peer, "connection refused: all are taken");
                // A fresh socket's buffer takes this at once; a client whose does not just sees the end.
                let _ = stream.try_write(FULL);
            }
            (Err(error), _) => {
                warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    door.is_closing.store(true, Ordering::Release);
    closing.cancel();
    let all = u32::try_from(at_start.connections).unwrap_or(u32::MAX);
    // Each connection ends itself when the drain time is over, so this comes to an end.
    let _ = permits.acquire_many(all).await;
}

/// What every connection shares.
struct Door {
    desk: Arc<dyn Desk>,
    limits: Arc<ArcSwap<HttpLimits>>,
    cold: Router,
    /// For the bodies of all connections while they come.
    room: Arc<intake::Room>,
    /// Whether only this machine can connect; then names of other hosts are a sign of DNS rebinding.
    is_loopback: bool,
    /// Set before the connections' token is cancelled: with every token of an answer they look at this, which costs less.
    is_closing: AtomicBool,
}

impl Door {
    /// Answers one request. `busy` travels in the answer's body, so that the connection knows when it is idle again.
    async fn answer(
        self: Arc<Self>,
        busy: Busy,
        from: caller::From,
        mut request: Request<Incoming>,
    ) -> Result<Response<Outgoing>, Infallible> {
        request.extensions_mut().insert(from);
        let path = request.uri().path();
        let limits = self.limits.load();
        let (version, allowed) = (request.version(), &limits.allowed_origins);
        let origin = match origin::check(version, request.headers(), allowed, self.is_loopback) {
            Ok(origin) => origin,
            Err(fault) => return Ok(refusal::response(refusal::shape_of(path), &fault).map(|body| body.keeping(busy))),
        };
        let mut response = if origin.is_some() && origin::is_preflight(request.method(), request.headers()) {
            let mut response = Response::new(Outgoing::whole(Bytes::new()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            origin::allow_sending(response.headers_mut(), request.headers());
            response
        } else if let Some(dialect) = ask_route(path) {
            ask::serve(&self, dialect, request).await
        } else {
            Box::pin(self.answer_cold(request)).await
        };
        if let Some(origin) = origin {
            origin::allow_reading(response.headers_mut(), origin);
        }
        Ok(response.map(|body| body.keeping(busy)))
    }

    /// Whatever is no ask. Paths are forgiven doubled and trailing slashes, which base URLs bring along.
    async fn answer_cold(&self, request: Request<Incoming>) -> Response<Outgoing> {
        let plain = plain_path(request.uri().path());
        if let Some(dialect) = plain.as_deref().and_then(ask_route) {
            return ask::serve(self, dialect, request).await;
        }
        let (mut parts, body) = request.into_parts();
        if let Some(uri) = plain.and_then(|path| path.parse().ok()) {
            parts.uri = uri;
        }
        // It is read behind the look at the key, or not at all.
        let unread = intake::Unread::new(body);
        parts.extensions.insert(unread.clone());
        match self.cold.clone().oneshot(Request::from_parts(parts, axum::body::Body::empty())).await {
            Ok(response) => response.map(Outgoing::page).map(|answer| match unread.take() {
                Some(rest) => answer.lingering_over(rest),
                None => answer,
            }),
            Err(never) => match never {},
        }
    }
}

/// Whether what is sent to `path` may be as large as an ask: documents, plans, conversations.
fn is_roomy(path: &str) -> bool {
    projects::is_path(path) || research::is_path(path) || path == mcp::PATH || path == perplexity::AGENT
}

/// Whether `path` is `root`, or below it.
fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The dialect of an ask that is posted to `path`; `None` when no ask is.
fn ask_route(path: &str) -> Option<Dialect> {
    Some(match path {
        // Perplexity's clients leave the version out, and so do people who configure OpenAI's.
        "/v1/chat/completions" | "/chat/completions" => Dialect::OpenAiChat,
        "/v1/responses" | "/responses" => Dialect::OpenAiResponses,
        "/v1/completions" | "/completions" => Dialect::OpenAiCompletions,
        "/v1/embeddings" | "/embeddings" => Dialect::OpenAiEmbeddings,
        "/v1/rerank" => Dialect::Rerank,
        "/v1/messages" | "/messages" => Dialect::AnthropicMessages,
        "/api/chat" => Dialect::OllamaChat,
        "/api/generate" => Dialect::OllamaGenerate,
        "/api/embed" => Dialect::OllamaEmbed,
        "/api/embeddings" => Dialect::OllamaEmbeddings,
        _ => return None,
    })
}

/// `path` without doubled and trailing slashes; `None` when it has none of them.
fn plain_path(path: &str) -> Option<String> {
    if !path.contains("//") && (path.len() == 1 || !path.ends_with('/')) {
        return None;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    Some(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_forgiven_superfluous_slashes() {
        for (path, plain) in [("/v1//models", "/v1/models"), ("/api/tags/", "/api/tags"), ("//", "/")] {
            assert_eq!(plain_path(path).as_deref(), Some(plain));
        }
        for path in ["/", "/v1/models"] {
            assert_eq!(plain_path(path), None);
        }
    }

    #[test]
    fn the_refusal_at_the_cap_is_a_whole_answer() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{} {head}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
