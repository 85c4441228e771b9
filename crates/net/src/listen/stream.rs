//! An accepted connection, plain or TLS, that knows who is at the other end.
//!
//! Handlers of tonic find [`PeerInfo`] in the extensions of their request.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use crate::certificate::Facts;
use crate::identity::{Guarded, Place};

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerInfo {
    /// From where it dialled.
    pub address: SocketAddr,
    /// The name in its certificate; `None` when it showed none.
    pub node: Option<NodeId>,
    /// What else stands in that certificate.
    pub certificate: Option<Arc<Facts>>,
}

/// A connection that is ready to be served.
pub struct ServerStream {
    io: Either<TcpStream, Box<Guarded<TlsStream<TcpStream>>>>,
    peer: PeerInfo,
}

impl ServerStream {
    pub(super) fn plain(stream: TcpStream, address: SocketAddr) -> Self {
        Self { io: Either::Left(stream), peer: PeerInfo { address, node: None, certificate: None } }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, place: Option<Place>, peer: PeerInfo) -> Self {
        Self { io: Either::Right(Box::new(Guarded::new(stream, place))), peer }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &PeerInfo {
        &self.peer
    }
}

impl Connected for ServerStream {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.peer.clone()
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
