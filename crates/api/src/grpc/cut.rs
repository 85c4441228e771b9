//! A connection that can be ended from outside, although the transport owns the task that drives it.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// A connection whose reads fail once its token is cancelled. The transport always has a read waiting.
pub(super) struct Cut<C> {
    inner: C,
    from: From,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// The address at the other end, among a request's extensions.
#[derive(Clone, Copy)]
pub(super) struct From(pub(super) Option<IpAddr>);

impl<C> Cut<C> {
    /// `inner` until `end`.
    pub(super) fn new(inner: C, from: Option<IpAddr>, end: &CancellationToken) -> Self {
        // A child has a lock of its own, so that connections do not wait for each other.
        Self { inner, from: From(from), end: Box::pin(end.child_token().cancelled_owned()) }
    }
}

impl<C> Connected for Cut<C> {
    type ConnectInfo = From;

    fn connect_info(&self) -> From {
        self.from
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Cut<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server stops")));
        }
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Cut<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
