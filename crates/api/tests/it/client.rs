//! A client that sends exactly the bytes it is told to.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a test waits at most for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// An answer, with its chunks joined.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
    /// Whether the body has the end that its head announced.
    pub is_whole: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| *key == name)).map(|(_, value)| value)
    }

    /// Status, the headers that matter, and the body; for snapshots.
    pub fn shown(&self) -> String {
        let kept = ["content-type", "content-length", "allow", "retry-after", "transfer-encoding"];
        let is_kept = |line: &&str| {
            let name = line.split(':').next().unwrap_or_default();
            kept.contains(&name) || (name.starts_with("x-tm-") && name != "x-tm-ask")
        };
        let mut headers: Vec<&str> = self.head.lines().skip(1).filter(is_kept).collect();
        headers.sort_unstable();
        format!("{}\n{}\n\n{}", self.status, headers.join("\n"), self.body)
    }
}

/// One request with a body of JSON, on a connection of its own.
pub async fn send(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    exchange(address, request(method, path, headers, body).as_bytes()).await
}

/// The text of a request.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{length}{headers}\r\n{body}")
}

/// Sends `bytes` and reads until the server closes.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    read_reply(&mut stream).await
}

/// Reads until the server closes.
pub async fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    let is_clean = read.is_ok();
    parse(&bytes, is_clean)
}

/// What a whole exchange came to.
pub fn parse_all(text: &str) -> Reply {
    parse(text.as_bytes(), true)
}

fn parse(bytes: &[u8], is_clean: bool) -> Reply {
    let text = String::from_utf8_lossy(bytes);
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut reply = Reply { status, head: head.to_owned(), body: rest.to_owned(), is_whole: is_clean };
    if reply.header("transfer-encoding") == Some("chunked") {
        (reply.body, reply.is_whole) = joined(rest);
    } else if let Some(length) = reply.header("content-length") {
        reply.is_whole = length == rest.len().to_string();
    }
    reply
}

fn joined(mut chunks: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        match rest.get(..size) {
            Some(_) if size == 0 => return (body, true),
            Some(chunk) => body.push_str(chunk),
            None => break,
        }
        chunks = rest.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}

/// Reads until `wanted` came.
pub async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(wanted) {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "closed before `{wanted}`");
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("no `{wanted}`"));
    String::from_utf8(seen).unwrap()
}
