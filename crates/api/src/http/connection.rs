//! One client connection: hyper drives HTTP, this file decides how long a client may do nothing.
//!
//! One timer per connection watches all phases; a request that comes and is answered at once never touches it. hyper's
//! own header timeout would arm a timer per request and also end idle connections.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base::beside::Beside;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Door;
use super::caller::From;

/// Largest head of a request; a longer one is refused with 431.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Serves `stream` until its client leaves, does nothing for too long, or `stop` and the drain time are over.
///
/// `stop` is cancelled only after [`Door::is_closing`] was set.
pub(super) async fn drive(stream: TcpStream, door: Arc<Door>, stop: CancellationToken) {
    // Without it a small first write waits for the client's delayed acknowledgement: 40 ms on every first token.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "could not switch off delayed writes");
    }
    let from = From(stream.peer_addr().ok().map(|address| address.ip()));
    let stage = Arc::new(SharedStage::new());
    let io = TokioIo::new(Guarded { stream, stage: stage.clone(), write: door.limits.load().write, stalled: None });
    let service = service_fn({
        let (door, stage) = (door.clone(), stage.clone());
        move |request| door.clone().answer(Busy::begin(&stage), from, request)
    });
    // No half-close: the end of a client's stream is the client going away, and ends the work behind its answer.
    let connection = http1::Builder::new()
        .half_close(false)
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut stopped = Beside::new(stop.cancelled());
    let mut patience = pin!(Patience::new(stage, door.clone()));
    std::future::poll_fn(|cx| {
        let is_closing = |_: &_| door.is_closing.load(Ordering::Acquire);
        if !patience.is_draining() && stopped.poll(cx, is_closing).is_ready() {
            connection.as_mut().graceful_shutdown();
            patience.as_mut().drain();
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            if let Err(error) = ended {
                debug!(%error, "connection ended early");
            }
            return Poll::Ready(());
        }
        patience.as_mut().poll_over(cx)
    })
    .await;
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between requests.
    Idle,
    /// Bytes of a request's head came.
    Head,
    /// A request is being answered.
    Busy,
}

/// The stage, told by the socket and the service, read by [`Patience`]; all of them on one task.
///
/// The lowest bit says that bytes of a head came; above it, answers are counted: the next one may begin before the body
/// of the one before is dropped.
struct SharedStage(AtomicU32);

const HEAD: u32 = 1;
const ANSWER: u32 = 2;

impl SharedStage {
    /// Of a new connection: who connects means to send.
    fn new() -> Self {
        Self(AtomicU32::new(HEAD))
    }

    fn get(&self) -> Stage {
        match self.0.load(Ordering::Relaxed) {
            0 => Stage::Idle,
            HEAD => Stage::Head,
            _ => Stage::Busy,
        }
    }

    /// Bytes came; between requests they begin a head.
    fn bytes_came(&self) {
        if self.get() == Stage::Idle {
            self.0.fetch_or(HEAD, Ordering::Relaxed);
        }
    }
}

/// Held by an answer: while it lives, its connection is not idle.
pub(super) struct Busy(Arc<SharedStage>);

impl Busy {
    fn begin(stage: &Arc<SharedStage>) -> Self {
        stage.0.fetch_and(!HEAD, Ordering::Relaxed);
        stage.0.fetch_add(ANSWER, Ordering::Relaxed);
        Self(stage.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.fetch_sub(ANSWER, Ordering::Relaxed);
    }
}

/// Ends connections that stay in a stage for too long.
struct Patience {
    stage: Arc<SharedStage>,
    door: Arc<Door>,
    seen: Stage,
    since: Instant,
    drained_by: Option<Instant>,
    timer: Beside<Sleep>,
}

impl Patience {
    fn new(stage: Arc<SharedStage>, door: Arc<Door>) -> Self {
        let timer = Beside::new(sleep(door.limits.load().header));
        Self { stage, door, seen: Stage::Head, since: Instant::now(), drained_by: None, timer }
    }

    fn is_draining(&self) -> bool {
        self.drained_by.is_some()
    }

    fn drain(mut self: Pin<&mut Self>) {
        let by = Instant::now() + self.door.limits.load().drain;
        self.drained_by = Some(by);
        self.set_timer(by);
    }

    fn set_timer(&mut self, by: Instant) {
        self.timer.set(|timer| timer.reset(by));
    }

    /// When the current stage has lasted too long; `None` while an answer runs, which has limits of its own.
    fn due(&self) -> Option<Instant> {
        let limit = match self.seen {
            Stage::Idle => Some(self.door.limits.load().idle),
            Stage::Head => Some(self.door.limits.load().header),
            Stage::Busy => None,
        };
        [limit.map(|limit| self.since + limit), self.drained_by].into_iter().flatten().min()
    }

    /// Ready when the connection has to end. The timer is only moved when it stands too late; when it fires too early
    /// it is set anew.
    fn poll_over(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let stage = self.stage.get();
        if stage != self.seen {
            self.seen = stage;
            if stage != Stage::Busy {
                self.since = Instant::now();
            }
        }
        if let Some(due) = self.due().filter(|&due| due < self.timer.get().deadline()) {
            self.set_timer(due);
        }
        loop {
            ready!(self.timer.poll(cx, Sleep::is_elapsed));
            match self.due() {
                Some(due) if due <= Instant::now() => return Poll::Ready(()),
                Some(due) => self.set_timer(due),
                None => {
                    let later = Instant::now() + self.door.limits.load().idle;
                    self.set_timer(later);
                }
            }
        }
    }
}

/// The client's socket. A write that takes no byte for too long fails.
struct Guarded {
    stream: TcpStream,
    stage: Arc<SharedStage>,
    write: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    /// Passes `written` on; while it is pending, the time for it runs.
    fn guard(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let write = self.write;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(write)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no byte of its answer")))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        if into.filled().len() > before {
            self.stage.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.guard(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.guard(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
