//! Connections that are open, each with the certificate of its other end: when that is not believed any more, because it was
//! revoked or its root is gone, the connection ends. That a certificate runs out meanwhile ends nothing: the next
//! handshake wants a new one.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::live::Live;
use crate::certificate::node_name;
use crate::tls::reason;

/// All of them.
#[derive(Default)]
pub(crate) struct Open {
    next: AtomicU64,
    entries: Mutex<HashMap<u64, Entry>>,
}

struct Entry {
    chain: Vec<CertificateDer<'static>>,
    /// The name that was expected of a server; `None` of a client.
    expected: Option<ServerName<'static>>,
    since: UnixTime,
    end: CancellationToken,
}

impl Entry {
    fn judge(&self, live: &Live) -> Result<(), rustls::Error> {
        let Some((own, others)) = self.chain.split_first() else { return Ok(()) };
        match &self.expected {
            // As of then: what has run out since was good when it was shown.
            Some(name) => live.judge_server(own, others, name, self.since).map(drop),
            None => live.judge_client(own, others, self.since).map(drop),
        }
    }
}

impl Entry {
    fn look_again(&self, live: &Live) {
        let Err(error) = self.judge(live) else { return };
        let node = self.chain.first().and_then(node_name);
        let node = node.map_or_else(|| "unnamed".to_owned(), |node| node.to_string());
        tracing::warn!(node, error = reason(&error), "ended a connection: its certificate is refused now");
        self.end.cancel();
    }
}

impl Open {
    /// Ends those that are not believed any more.
    pub fn look_again(&self, live: &Live) {
        for entry in self.lock().values().filter(|entry| !entry.end.is_cancelled()) {
            entry.look_again(live);
        }
    }

    /// The map stays usable when a thread died while it held it: entries are whole by themselves.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the open connections; given back when dropped.
pub(crate) struct Place {
    live: Arc<Live>,
    id: u64,
    /// One for each direction: they may be polled by different tasks, and each is to be woken.
    reading: Pin<Box<WaitForCancellationFutureOwned>>,
    writing: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Which half of a connection is polled.
#[derive(Clone, Copy)]
pub(crate) enum Half {
    Reading,
    Writing,
}

impl Place {
    /// Of a connection whose other end showed `chain`, just now.
    pub fn take(
        live: &Arc<Live>,
        chain: Option<&[CertificateDer<'static>]>,
        expected: Option<ServerName<'static>>,
    ) -> Option<Self> {
        let chain = chain?.to_vec();
        let id = live.open.next.fetch_add(1, Ordering::Relaxed);
        let end = CancellationToken::new();
        let entry = Entry { chain, expected, since: UnixTime::now(), end: end.clone() };
        let mut entries = live.open.lock();
        // Judged under the lock: what was refused between its handshake and here must end as well.
        entry.look_again(live);
        entries.insert(id, entry);
        drop(entries);
        let (reading, writing) = (Box::pin(end.clone().cancelled_owned()), Box::pin(end.cancelled_owned()));
        Some(Self { live: live.clone(), id, reading, writing })
    }

    /// An error once the connection is to end; wakes the task then.
    pub fn poll_end(&mut self, half: Half, cx: &mut Context<'_>) -> io::Result<()> {
        let end = match half {
            Half::Reading => &mut self.reading,
            Half::Writing => &mut self.writing,
        };
        match end.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the certificate of the other end is refused now"))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.live.open.lock().remove(&self.id);
    }
}

/// A connection that ends when the certificate of its other end is refused.
pub struct Guarded<S> {
    io: S,
    place: Option<Place>,
}

impl<S> fmt::Debug for Guarded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

impl<S> Guarded<S> {
    pub(crate) fn new(io: S, place: Option<Place>) -> Self {
        Self { io, place }
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    fn check(&mut self, half: Half, cx: &mut Context<'_>) -> io::Result<()> {
        self.place.as_mut().map_or(Ok(()), |place| place.poll_end(half, cx))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(Half::Reading, cx)?;
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(Half::Writing, cx)?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(Half::Writing, cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
