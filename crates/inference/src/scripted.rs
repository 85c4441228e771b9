//! A small engine on loopback for tests: routes with fixed answers, and a record of what was asked.

use std::sync::{Arc, Mutex};

use base::Fault;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::http1::{Dial, Stream};

/// A dialler for one address.
pub(crate) fn dial(address: std::net::SocketAddr) -> Dial {
    Arc::new(move || {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await;
            Ok(Box::new(stream.map_err(|error| Fault::unavailable("could not dial").because(error))?) as Stream)
        })
    })
}

/// Reads one request: its head, and the body that its length announces. `None` when the connection ended.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|&read| read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(text.into_owned());
        }
    }
}

/// What is answered to a request of `METHOD /path`.
pub(crate) type Answers = dyn Fn(&str, &Value) -> Option<Reply> + Send + Sync;

/// An answer of the scripted engine.
pub(crate) enum Reply {
    /// A status and JSON.
    Json(u16, Value),
    /// Status 200 and a stream in one chunk, as it is.
    Stream(&'static str),
    /// The head of a stream, and then nothing until the client leaves.
    Stall(Arc<tokio::sync::Notify>),
    /// Nothing at all until the client leaves.
    Silence,
}

/// The engine; ends when it is dropped.
pub(crate) struct Scripted {
    pub(crate) address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Scripted {
    /// Serves `answers`; what they don't know is status 404.
    pub(crate) async fn start(answers: impl Fn(&str, &Value) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answers): (Arc<Mutex<Vec<String>>>, Arc<Answers>) = (Arc::default(), Arc::new(answers));
        let mut tasks = JoinSet::new();
        let record = asked.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, answers.clone(), record.clone()));
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    /// Every request so far, as it came.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<Answers>, asked: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        asked.lock().unwrap().push(request.clone());
        let line = request.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let reply = answers(line, &serde_json::from_str(body).unwrap_or_default());
        let text = match reply.unwrap_or(Reply::Json(404, serde_json::json!({"error": "no such path"}))) {
            Reply::Json(status, value) => {
                let text = value.to_string();
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}", text.len())
            }
            Reply::Stream(text) => {
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
            }
            Reply::Stall(left) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
                assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
                left.notify_one();
                return;
            }
            Reply::Silence => {
                assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
                return;
            }
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}
