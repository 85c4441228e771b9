//! The engine-side HTTP/1.1 client, made for the path of an ask and for nothing else.
//!
//! One buffer per direction, one read is one frame, framing is followed in place and never rebuilt. There is no task and
//! no channel per stream: whoever polls the answer polls the engine's socket. Dropping an answer closes the socket, and
//! that is how an engine learns that nobody waits any more.

mod body;
mod chunked;
mod dial;
mod endpoint;
mod head;
mod pool;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use base::{BoxFuture, Result};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

pub use body::EngineBody;
pub use dial::dialler;
pub use endpoint::Endpoint;
pub use pool::Pool;

/// What a connection to an engine runs on: a TCP socket, or TLS over one for clouds.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection to an engine. The dialler has set `TCP_NODELAY` on it.
pub type Stream = Box<dyn Io>;

/// Opens a connection to one engine; see [`dialler`].
pub type Dial = Arc<dyn Fn() -> BoxFuture<'static, Result<Stream>> + Send + Sync>;

/// A request to an engine.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// How to ask.
    pub method: Method,
    /// Path and query below the endpoint's own path, such as `/v1/models`.
    pub path: &'a str,
    /// JSON; empty for none.
    pub body: Bytes,
    /// W3C `traceparent` of the span that it belongs to, well-formed; empty when there is none.
    pub traceparent: &'a str,
}

/// The methods that engines want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads something.
    Get,
    /// Asks for something.
    Post,
}

impl<'a> Request<'a> {
    /// A read of `path`.
    pub fn get(path: &'a str) -> Self {
        Self { method: Method::Get, path, body: Bytes::new(), traceparent: "" }
    }

    /// JSON for `path`.
    pub fn post(path: &'a str, body: impl Into<Bytes>) -> Self {
        Self { method: Method::Post, path, body: body.into(), traceparent: "" }
    }

    /// Belongs to this span.
    pub fn traced(self, traceparent: &'a str) -> Self {
        Self { traceparent, ..self }
    }
}

/// An engine's answer, of which the head has arrived.
#[derive(Debug)]
pub struct Response {
    /// Any status but an interim one.
    pub status: u16,
    /// Of the body, as the engine says.
    pub content_type: Option<String>,
    /// Exact length of the body, where the engine says it.
    pub content_length: Option<u64>,
    /// When a refusal may be tried again.
    pub retry_after: Option<Duration>,
    /// The rest of the answer.
    pub body: EngineBody,
}

impl Response {
    /// Whether the engine did what it was asked.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}
