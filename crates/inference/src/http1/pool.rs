//! Connections to one engine: kept while idle, checked when used again, replaced once when they turn out dead.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use base::{Code, Fault, Result};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::body::{Connection, EngineBody, Written};
use super::head::{self, Head, MOST_HEAD};
use super::{Dial, Endpoint, Method, Request, Response, Stream};

/// Idle connections kept per engine; more than any engine has slots.
pub(super) const MOST_IDLE: usize = 64;

/// The way to one engine. Cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

/// What the pool and the bodies that it handed out have in common.
pub(super) struct Shared {
    name: String,
    endpoint: Endpoint,
    dial: Dial,
    /// The one used last is on top, so that in quiet times the others grow old and are closed by the engine.
    idle: Mutex<Vec<Stream>>,
    reads: AtomicU64,
    waiting: AtomicUsize,
}

/// Why an exchange came to no head.
enum Broken {
    /// The connection ended before the first byte of an answer.
    Unanswered(io::Error),
    /// Anything else.
    Failed(Fault),
}

impl Pool {
    /// A pool without connections for the engine that messages call `name`.
    pub fn new(name: impl Into<String>, endpoint: Endpoint, dial: Dial) -> Self {
        Self(Arc::new(Shared {
            name: name.into(),
            endpoint,
            dial,
            idle: Mutex::new(Vec::new()),
            reads: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// What messages call the engine.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Sends `request` and waits for the head of its answer, both until `until`.
    ///
    /// A kept connection that the engine closed meanwhile is replaced once: nothing was answered on it.
    pub async fn send(&self, request: &Request<'_>, until: Instant) -> Result<Response> {
        let _waiting = (request.method == Method::Post).then(|| Waiting::new(&self.0.waiting));
        match tokio::time::timeout_at(until.into(), self.exchange(request)).await {
            Ok(response) => response,
            Err(_) => Err(Fault::new(
                Code::DeadlineExceeded,
                format!("engine `{}` did not begin to answer in time", self.0.name),
            )
            .hint("look whether it is overloaded or loads a model, or raise limits.first_token")),
        }
    }

    /// How many reads brought bytes of an answer so far; while it grows, the engine works.
    pub fn progress(&self) -> u64 {
        self.0.reads.load(Ordering::Relaxed)
    }

    /// How many posts wait for the head of their answer.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// How many idle connections are kept.
    pub fn idle(&self) -> usize {
        self.0.idle().len()
    }

    /// Closes every idle connection: what a new mode forbids must not go on over an old connection.
    pub fn close_idle(&self) {
        self.0.idle().clear();
    }

    async fn exchange(&self, request: &Request<'_>) -> Result<Response> {
        let head = self.0.endpoint.request_head(request);
        if let Some(stream) = self.0.take_idle() {
            match self.attempt(stream, &head, request).await {
                Ok(response) => return Ok(response),
                Err(Broken::Failed(fault)) => return Err(fault),
                Err(Broken::Unanswered(error)) => {
                    tracing::debug!(engine = self.0.name, %error, "kept connection was dead, dialling a new one");
                }
            }
        }
        let stream = (self.0.dial)().await?;
        self.attempt(stream, &head, request).await.map_err(|broken| match broken {
            Broken::Unanswered(error) => self.0.cut().because(error),
            Broken::Failed(fault) => fault,
        })
    }

    async fn attempt(&self, stream: Stream, head: &[u8], request: &Request<'_>) -> Result<Response, Broken> {
        let mut connection = Connection::new(stream);
        let written = connection.write(&mut head.chain(&request.body[..])).await;
        // An engine may refuse a request before it has read all of it; then its answer says more than the failed write.
        let head = match (self.read_head(&mut connection).await, written) {
            (Ok(head), Ok(Written::All)) => head,
            (Ok(head), _) => Head { keeps_alive: false, ..head },
            (Err(Broken::Unanswered(_)), Err(error)) => return Err(Broken::Unanswered(error)),
            (Err(broken), _) => return Err(broken),
        };
        Ok(Response {
            status: head.status,
            content_type: head.content_type,
            content_length: head.content_length,
            retry_after: head.retry_after,
            body: EngineBody::new(connection, head.framing, head.keeps_alive, self.0.clone()),
        })
    }

    async fn read_head(&self, connection: &mut Connection) -> Result<Head, Broken> {
        let mut seen = 0;
        loop {
            // A head can only have become whole, or plainly wrong, with a line end.
            let has_line = memchr::memchr(b'\n', &connection.buffer[seen..]).is_some();
            while has_line && let Some(head) = self.take_head(&mut connection.buffer)? {
                if head.status >= 200 {
                    return Ok(head);
                }
            }
            seen = connection.buffer.len();
            if seen > MOST_HEAD {
                return Err(Broken::Failed(self.0.junk("its head is too large")));
            }
            match std::future::poll_fn(|cx| connection.poll_read(cx)).await {
                Err(error) if seen == 0 => return Err(Broken::Unanswered(error)),
                Err(error) => return Err(Broken::Failed(self.0.cut().because(error))),
                Ok(0) if seen == 0 => return Err(Broken::Unanswered(io::ErrorKind::UnexpectedEof.into())),
                Ok(0) => return Err(Broken::Failed(self.0.cut())),
                Ok(_) => {}
            }
        }
    }

    /// Takes a whole head off the front of `buffer`; interim ones (status 1xx) are among them.
    fn take_head(&self, buffer: &mut BytesMut) -> Result<Option<Head>, Broken> {
        let found = head::parse(&buffer[..buffer.len().min(MOST_HEAD)]);
        let Some((length, head)) = found.map_err(|what| Broken::Failed(self.0.junk(what)))? else { return Ok(None) };
        if head.status == 101 {
            return Err(Broken::Failed(self.0.junk("it switches protocols although nobody asked for that")));
        }
        buffer.advance(length);
        Ok(Some(head))
    }
}

impl Shared {
    /// Keeps `stream` for another request, unless enough are kept.
    pub(super) fn put(&self, stream: Stream) {
        let mut idle = self.idle();
        if idle.len() < MOST_IDLE {
            idle.push(stream);
        }
    }

    /// Notes that bytes of an answer came.
    pub(super) fn note_progress(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer ended before its end.
    pub(super) fn cut(&self) -> Fault {
        Fault::new(
            Code::EngineCut,
            format!("engine `{}` closed the connection before the end of its answer", self.name),
        )
        .hint("look into the engine's log; it may have crashed or run out of memory")
    }

    /// The answer is not what HTTP allows.
    pub(super) fn junk(&self, what: &str) -> Fault {
        Fault::new(Code::EngineFailed, format!("engine `{}` sent an answer that is no HTTP: {what}", self.name))
            .hint("check that the worker's url is the one of the engine's API")
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Stream>> {
        // Nothing panics while it is held, and a list of connections is whole after every step anyway.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Stream> {
        loop {
            let mut stream = self.idle().pop()?;
            if is_quiet(&mut stream) {
                return Some(stream);
            }
        }
    }
}

/// Whether nothing arrived on an idle connection. Its end, or bytes that nobody asked for, make it useless.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
}

/// Counts a post while it waits for the head of its answer.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
