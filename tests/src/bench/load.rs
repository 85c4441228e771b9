//! The load: connections that ask again and again, and check every byte of every answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::engines::MODEL;
use crate::fake::text;

/// Before a measurement starts: connections open, caches warm.
const WARM_UP: Duration = Duration::from_millis(400);
/// An ask that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// What stands before the text in an answer and in each chunk of a stream.
const CONTENT: &[u8] = b"\"content\":\"";
/// Different prompts: one for all would be a single conversation to a gateway that keeps conversations together.
const PROMPTS: usize = 64;

/// One ask and the answer that it must get.
#[derive(Clone, Debug)]
pub struct Ask {
    body: Bytes,
    is_streamed: bool,
    /// The text; `None` while a gateway starts, when only the status counts.
    expected: Option<String>,
}

impl Ask {
    /// A body of `size` bytes whose answer has `tokens` tokens; `number` tells conversations apart.
    pub fn new(number: usize, size: usize, is_streamed: bool, tokens: usize) -> Self {
        let body = |content: &str| {
            json!({"model": MODEL, "stream": is_streamed, "messages": [{"role": "user", "content": content}]})
                .to_string()
        };
        let mut content = format!("conversation {number}:");
        let missing = size.saturating_sub(body(&content).len());
        content.extend(" lorem ipsum dolor sit amet".chars().cycle().take(missing));
        let expected = Some(text::expected(&text::render(&[("user", &content)]), tokens));
        Self { body: Bytes::from(body(&content)), is_streamed, expected }
    }

    /// Any small ask, whose answer is not looked at.
    pub fn plain(number: usize) -> Self {
        Self { expected: None, ..Self::new(number, 0, false, 0) }
    }

    /// [`PROMPTS`] asks of the same shape.
    pub fn many(size: usize, is_streamed: bool, tokens: usize) -> Vec<Arc<Self>> {
        (0..PROMPTS).map(|number| Arc::new(Self::new(number, size, is_streamed, tokens))).collect()
    }
}

/// What all connections of a load have seen.
#[derive(Debug, Default)]
pub struct Meter {
    asks: AtomicU64,
    tokens: AtomicU64,
    failed: AtomicU64,
}

impl Meter {
    /// Good answers.
    pub fn asks(&self) -> u64 {
        self.asks.load(Ordering::Relaxed)
    }

    /// Tokens that came in streams.
    pub fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Asks without a good answer.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// One connection to a gateway, used again and again.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    address: String,
    _driver: JoinSet<()>,
}

impl Connection {
    /// Opens one.
    pub async fn open(address: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).await.with_context(|| format!("no way to {address}"))?;
        socket.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What breaks the connection shows in the answer.
            let _ = connection.await;
        });
        Ok(Self { sender, address: address.to_owned(), _driver: driver })
    }

    /// Asks and checks the answer; gives the time to its first text.
    pub async fn ask(&mut self, ask: &Ask, meter: &Meter) -> Result<Duration> {
        let asked = tokio::time::timeout(PATIENCE, self.ask_up_to(ask, meter, usize::MAX)).await;
        asked.unwrap_or_else(|_| bail!("no whole answer within {PATIENCE:?}"))
    }

    /// Asks and stops reading after `most` tokens; the answer is checked as far as it was read.
    pub async fn ask_up_to(&mut self, ask: &Ask, meter: &Meter, most: usize) -> Result<Duration> {
        let request = Request::post("/v1/chat/completions")
            .header(header::HOST, &self.address)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(ask.body.clone()))?;
        self.sender.ready().await?;
        let started = Instant::now();
        let response = self.sender.send_request(request).await?;
        if response.status() != 200 {
            let (status, body) = (response.status(), response.into_body().collect().await?.to_bytes());
            bail!("status {status}: {}", String::from_utf8_lossy(&body));
        }
        let mut reader = Reader::default();
        let mut body = response.into_body();
        let mut first = None;
        while let Some(frame) = body.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                let tokens = reader.push(&bytes, ask.is_streamed);
                if reader.tokens > 0 {
                    first.get_or_insert_with(|| started.elapsed());
                }
                meter.tokens.fetch_add(tokens, Ordering::Relaxed);
                if reader.tokens as usize >= most {
                    break;
                }
            }
        }
        reader.check(ask, most)?;
        meter.asks.fetch_add(1, Ordering::Relaxed);
        Ok(first.unwrap_or_else(|| started.elapsed()))
    }
}

/// Reads the text out of an answer. The fake's words need no escapes, so the text ends at the next quote.
#[derive(Default)]
struct Reader {
    bytes: Vec<u8>,
    text: Vec<u8>,
    tokens: u64,
    is_done: bool,
}

impl Reader {
    /// Takes bytes; says how many tokens they completed.
    fn push(&mut self, bytes: &[u8], is_streamed: bool) -> u64 {
        self.bytes.extend_from_slice(bytes);
        if !is_streamed {
            return 0;
        }
        let (mut read, mut tokens) = (0, 0);
        while let Some(length) = self.bytes.get(read..).and_then(|rest| memchr::memmem::find(rest, b"\n\n")) {
            let event = self.bytes.get(read..read + length).unwrap_or_default();
            let text = content(event);
            tokens += u64::from(!text.is_empty());
            self.text.extend_from_slice(text);
            self.is_done |= event == b"data: [DONE]";
            read += length + 2;
        }
        self.bytes.drain(..read);
        self.tokens += tokens;
        tokens
    }

    fn check(self, ask: &Ask, most: usize) -> Result<()> {
        let Some(expected) = ask.expected.as_ref().map(String::as_bytes) else { return Ok(()) };
        let text = if ask.is_streamed { &self.text[..] } else { content(&self.bytes) };
        if most < usize::MAX && expected.starts_with(text) {
            return Ok(());
        }
        if text != expected || (ask.is_streamed && !self.is_done) {
            bail!("a wrong answer: `{}`, done: {}", String::from_utf8_lossy(text), self.is_done);
        }
        Ok(())
    }
}

fn content(bytes: &[u8]) -> &[u8] {
    let start = memchr::memmem::find(bytes, CONTENT).map(|at| at + CONTENT.len());
    let rest = start.and_then(|start| bytes.get(start..)).unwrap_or_default();
    memchr::memchr(b'"', rest).and_then(|end| rest.get(..end)).unwrap_or_default()
}

/// Connections that ask again as soon as they are answered; gone when dropped.
pub struct Load {
    /// What they have seen.
    pub meter: Arc<Meter>,
    _tasks: JoinSet<()>,
}

impl Load {
    /// Starts `connections` of them; each keeps to one conversation.
    pub fn start(address: &str, asks: &[Arc<Ask>], connections: usize) -> Self {
        let meter = Arc::new(Meter::default());
        let mut tasks = JoinSet::new();
        for ask in asks.iter().cycle().take(connections) {
            tasks.spawn(ask_for_ever(address.to_owned(), ask.clone(), meter.clone()));
        }
        Self { meter, _tasks: tasks }
    }

    /// Waits until the load is steady.
    pub async fn warm_up(&self) -> Result<()> {
        tokio::time::sleep(WARM_UP).await;
        self.must_be_right()
    }

    /// An error when any ask has failed.
    pub fn must_be_right(&self) -> Result<()> {
        match self.meter.failed() {
            0 => Ok(()),
            failed => bail!("{failed} asks were not answered rightly"),
        }
    }
}

async fn ask_for_ever(address: String, ask: Arc<Ask>, meter: Arc<Meter>) {
    // Streams that start together would stay in step.
    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..20_000))).await;
    let mut connection = None;
    loop {
        let answered = async {
            let open = match connection.take() {
                Some(open) => open,
                None => Connection::open(&address).await?,
            };
            let open = connection.insert(open);
            open.ask(&ask, &meter).await
        };
        if let Err(error) = answered.await {
            if meter.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                // The first one says enough.
                let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("  {error:#}\n").as_bytes());
            }
            connection = None;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_however_its_bytes_come() {
        let ask = Ask::new(1, 400, true, 2);
        let expected = ask.expected.clone().unwrap();
        let (one, two) = expected.split_at(expected.len() / 2);
        let event = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
        let wire = format!("{}{}{}data: [DONE]\n\n", event(""), event(one), event(two));
        let mut reader = Reader::default();
        assert_eq!(wire.bytes().map(|byte| reader.push(&[byte], true)).sum::<u64>(), 2);
        reader.check(&ask, usize::MAX).unwrap();
        let mut cut = Reader::default();
        cut.push(event(one).as_bytes(), true);
        assert!(cut.check(&ask, usize::MAX).is_err());
    }

    #[test]
    fn a_body_has_the_size_that_was_asked_for() {
        assert_eq!(Ask::new(7, 400, false, 1).body.len(), 400);
        assert_eq!(Ask::new(7, 32 * 1024, true, 1).body.len(), 32 * 1024);
    }
}
