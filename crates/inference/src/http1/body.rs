//! The body of an engine's answer, polled in place on the engine's socket.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base::{Frames, Result};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Stream;
use super::chunked::Chunked;
use super::pool::Shared;

/// How much the first reads may bring: a stream of tokens has events of about 250 bytes, and there may be thousands of
/// streams.
const FIRST_READ: usize = 2 * 1024;
/// How much a read may bring from an engine that fills its reads.
const LARGEST_READ: usize = 16 * 1024;

/// How the end of a body is told.
#[derive(Debug)]
pub(super) enum Framing {
    Length { left: u64 },
    Chunked(Chunked),
    UntilClose,
}

/// A connection with what was read from it but not used yet.
pub(super) struct Connection {
    stream: Stream,
    pub(super) buffer: BytesMut,
    /// How much the next read may bring; grows while reads are filled.
    read: usize,
}

/// The bytes of an engine's answer, without framing; a frame is what one read brought.
///
/// After a clean end the connection goes back to its pool. Dropped before, the connection closes, and the engine stops.
pub struct EngineBody {
    connection: Option<Connection>,
    framing: Framing,
    keeps_alive: bool,
    pool: Arc<Shared>,
}

/// How much of a request was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All of it.
    All,
    /// Not all: the engine began to answer.
    Answered,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, buffer: BytesMut::new(), read: FIRST_READ }
    }

    /// Writes a request. Stops when the engine answers before it has read all of it: it may never read the rest.
    pub(super) async fn write(&mut self, request: &mut impl Buf) -> io::Result<Written> {
        std::future::poll_fn(|cx| self.poll_write(cx, request)).await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, request: &mut impl Buf) -> Poll<io::Result<Written>> {
        while request.has_remaining() {
            // Like the read below, the future holds no state of its own.
            match pin!(self.stream.write_buf(request)).poll(cx)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(_) => {}
                Poll::Pending if ready!(self.poll_read(cx))? == 0 => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Pending => return Poll::Ready(Ok(Written::Answered)),
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx).map_ok(|()| Written::All)
    }

    /// Reads once; 0 is the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // A quarter of a read is room enough for the next event.
        if self.buffer.capacity() - self.buffer.len() < self.read / 4 {
            self.buffer.reserve(self.read);
        }
        // The future holds no state of its own, so making it anew on each poll loses nothing.
        let count = ready!(pin!(self.stream.read_buf(&mut self.buffer)).poll(cx))?;
        if self.buffer.len() == self.buffer.capacity() {
            self.read = (self.read * 2).min(LARGEST_READ);
        }
        Poll::Ready(Ok(count))
    }
}

impl Framing {
    fn take(&mut self, buffer: &mut BytesMut) -> Result<Bytes, &'static str> {
        match self {
            Self::Length { left } => {
                let length = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                Ok(buffer.split_to(length).freeze())
            }
            Self::Chunked(chunked) => chunked.take(buffer),
            Self::UntilClose => Ok(buffer.split().freeze()),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Length { left } => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
    }
}

impl EngineBody {
    pub(super) fn new(connection: Connection, framing: Framing, keeps_alive: bool, pool: Arc<Shared>) -> Self {
        let mut body = Self { connection: Some(connection), framing, keeps_alive, pool };
        body.release_if_done();
        body
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let frame = self.take_buffered()?;
            if !frame.is_empty() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            match ready!(connection.poll_read(cx)) {
                Ok(0) if matches!(self.framing, Framing::UntilClose) => self.connection = None,
                Ok(0) => return Poll::Ready(Some(Err(self.pool.cut()))),
                Ok(_) => self.pool.note_progress(),
                Err(error) => return Poll::Ready(Some(Err(self.pool.cut().because(error)))),
            }
        }
    }

    /// Everything that was read but not handed out; empty when more must be read first, or at the end.
    fn take_buffered(&mut self) -> Result<Bytes> {
        let Some(connection) = &mut self.connection else { return Ok(Bytes::new()) };
        if connection.buffer.is_empty() {
            return Ok(Bytes::new());
        }
        let frame = self.framing.take(&mut connection.buffer).map_err(|what| self.pool.junk(what))?;
        self.release_if_done();
        Ok(frame)
    }

    /// Gives the connection back as soon as the body is whole, also when nobody polls for the end of it.
    fn release_if_done(&mut self) {
        if !self.framing.is_done() {
            return;
        }
        let Some(connection) = self.connection.take() else { return };
        // Bytes behind the end belong to no request: whoever used the connection next would take them for its answer.
        if self.keeps_alive && connection.buffer.is_empty() {
            self.pool.put(connection.stream);
        }
    }
}

impl Frames for EngineBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let polled = self.poll_bytes(cx);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.connection = None;
        }
        polled
    }
}

impl std::fmt::Debug for EngineBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineBody").field("framing", &self.framing).finish_non_exhaustive()
    }
}
