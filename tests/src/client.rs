//! A small HTTP client for tests: one connection per request, frames of streams with the time of their arrival.
//!
//! It says exactly what came over the wire, broken answers included, so it is no client to build anything else on.

mod frames;
mod told;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

pub use frames::{Frame, Framing};
pub use told::Told;

/// No answer of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks the server at one address.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
    headers: Vec<(String, String)>,
}

/// An answer in one piece.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

impl Client {
    /// Asks `host:port`, which may have `http://` in front.
    pub fn new(address: &str) -> Self {
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { address, headers: Vec::new() }
    }

    /// Sends one more header with every request.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// `POST path` with a JSON body.
    pub async fn post_json(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send(Method::POST, path, Bytes::from(body.to_string())).await
    }

    /// Any request; the whole answer.
    pub async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Reply> {
        let whole = async {
            let mut stream = self.open(method, path, body).await?;
            let mut body = Vec::new();
            while let Some(bytes) = stream.chunk().await? {
                body.extend_from_slice(&bytes);
            }
            Ok(Reply { status: stream.status, headers: stream.headers, body: Bytes::from(body) })
        };
        match tokio::time::timeout(PATIENCE, whole).await {
            Ok(reply) => reply,
            Err(_) => bail!("{path} of {} was not answered within {PATIENCE:?}", self.address),
        }
    }

    /// `POST path` with a JSON body; the answer as it comes.
    pub async fn stream(&self, path: &str, body: &Value) -> Result<Stream> {
        self.open(Method::POST, path, Bytes::from(body.to_string())).await
    }

    /// `POST path`, and what the stream told in the end.
    pub async fn ask(&self, path: &str, body: &Value) -> Result<Told> {
        let mut stream = self.stream(path, body).await?;
        let mut told = Told::new(stream.status);
        match tokio::time::timeout(PATIENCE, stream.tell(&mut told)).await {
            Ok(()) => Ok(told),
            Err(_) => bail!("{path} of {} did not end within {PATIENCE:?}", self.address),
        }
    }

    /// Any request; the answer as it comes.
    pub async fn open(&self, method: Method, path: &str, body: Bytes) -> Result<Stream> {
        let socket = TcpStream::connect(&self.address).await.with_context(|| format!("no way to {}", self.address))?;
        socket.set_nodelay(true)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What breaks the connection shows in the answer.
            let _ = connection.await;
        });
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, &self.address).body(Full::new(body))?;
        request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        for (name, value) in &self.headers {
            request.headers_mut().insert(http::HeaderName::from_bytes(name.as_bytes())?, value.parse()?);
        }
        let response = match tokio::time::timeout(PATIENCE, sender.send_request(request)).await {
            Ok(response) => response.with_context(|| format!("{path} of {} was not answered", self.address))?,
            Err(_) => bail!("{path} of {} was not answered within {PATIENCE:?}", self.address),
        };
        let (head, body) = response.into_parts();
        let framing = Framing::of(&head.headers);
        let status = head.status.as_u16();
        Ok(Stream { status, headers: head.headers, frames: frames::Splitter::new(framing), body, _driver: driver })
    }
}

/// An answer as it comes; dropping it closes the connection.
pub struct Stream {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    frames: frames::Splitter,
    body: Incoming,
    _driver: JoinSet<()>,
}

impl Stream {
    /// The next bytes as they came; `None` at a proper end, an error at any other.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(bytes) = frame.context("the connection broke")?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The next event or line; comments are left out.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.frames.pop() {
                return Ok(Some(frame));
            }
            match self.chunk().await? {
                Some(bytes) => self.frames.push(&bytes, Instant::now()),
                None => return Ok(self.frames.rest()),
            }
        }
    }

    /// Reads to the end, however it comes.
    pub async fn tell(&mut self, told: &mut Told) {
        loop {
            match self.next().await {
                Ok(Some(frame)) => told.note(&frame),
                Ok(None) => return,
                Err(error) => {
                    told.broken = Some(format!("{error:#}"));
                    return;
                }
            }
        }
    }
}
