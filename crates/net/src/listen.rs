//! What this node listens on: the rule for addresses off loopback, and connections whose TLS handshake is done.
//!
//! A handshake runs beside the accepting, in bounded number and time, so that a client that dawdles delays nobody else.

mod holder;
mod sources;
mod stream;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{BoxFuture, Code, Fault, Result};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt, unfold};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};

use crate::certificate::Facts;
use crate::connector::tune;
use crate::identity::{Live, Place, REFUSED};
use crate::tls::complaint;

use self::sources::{Refusal, Sources};

pub use stream::{PeerInfo, ServerStream};

/// A handshake takes milliseconds; a node that cannot finish one in this time cannot answer either.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Handshakes at once; more wait in the kernel's backlog. Each holds some 30 KiB until its time is over.
const HANDSHAKES: usize = 256;

/// How long accepting rests after an error such as too many open files, which would come again at once.
const REST: Duration = Duration::from_millis(50);

/// Who may reach a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Only this machine.
    Loopback,
    /// Any machine, provided that it must prove who it is.
    Lan {
        /// By a client certificate or a key.
        authenticated: bool,
    },
}

/// Listens on `address`, which stands in the configuration as `field`, such as `http.listen`.
pub async fn bind(field: &str, address: SocketAddr, exposure: Exposure) -> Result<TcpListener> {
    check_exposure(field, address, exposure)?;
    TcpListener::bind(address).await.map_err(|error| cannot_bind(field, address, error))
}

fn check_exposure(field: &str, address: SocketAddr, exposure: Exposure) -> Result<()> {
    if address.ip().to_canonical().is_loopback() || exposure == (Exposure::Lan { authenticated: true }) {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "`{field}` = {address} would let every machine of the network in without asking who it is"
    ))
    .hint(format!("set `auth.keys` or `[tls]`, or listen on 127.0.0.1:{}", address.port())))
}

fn cannot_bind(field: &str, address: SocketAddr, error: io::Error) -> Fault {
    let port = address.port();
    let fault = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let (who, stop) = match holder::of_port(port) {
                Some(holder) => (format!(" by `{}` (pid {})", holder.name, holder.pid), "stop it"),
                None => (String::new(), "stop what listens there"),
            };
            Fault::invalid(format!("could not listen on {address}: port {port} is taken{who}"))
                .hint(format!("{stop}, or set `{field}` to another port"))
        }
        io::ErrorKind::PermissionDenied => Fault::invalid(format!("could not listen on {address}: not permitted"))
            .hint(format!("set `{field}` to a port above 1023")),
        io::ErrorKind::AddrNotAvailable => {
            Fault::invalid(format!("could not listen on {address}: not an address of this machine"))
                .hint(format!("set `{field}` to an address that `ip addr` shows, or to 0.0.0.0:{port}"))
        }
        _ => Fault::unavailable(format!("could not listen on {address}")).hint(format!("check `{field}`")),
    };
    fault.because(error)
}

/// Finishes TLS handshakes of accepted connections.
#[derive(Clone)]
pub struct TlsAcceptor {
    handshakes: tokio_rustls::TlsAcceptor,
    live: Arc<Live>,
}

impl TlsAcceptor {
    pub(crate) fn new(config: Arc<ServerConfig>, live: Arc<Live>) -> Self {
        Self { handshakes: config.into(), live }
    }

    /// The connection once its handshake is done; a fault that says who was refused and why.
    pub async fn accept(&self, stream: TcpStream) -> Result<ServerStream> {
        let address = stream.peer_addr().map_err(gone)?;
        tune(&stream).map_err(gone)?;
        let handshake = REFUSED.scope(RefCell::default(), async {
            let done = self.handshakes.accept(stream).await;
            (done, REFUSED.with(RefCell::take))
        });
        match tokio::time::timeout(HANDSHAKE_TIME, handshake).await {
            Ok((Ok(stream), _)) => {
                let chain = stream.get_ref().1.peer_certificates();
                let certificate = chain.and_then(|chain| chain.first()).and_then(Facts::of).map(Arc::new);
                let node = certificate.as_ref().and_then(|certificate| certificate.node());
                let place = Place::take(&self.live, chain, None);
                Ok(ServerStream::tls(stream, place, PeerInfo { address, node, certificate }))
            }
            Ok((Err(error), refused)) => {
                let who = refused.map_or_else(|| address.to_string(), |node| format!("`{node}` at {address}"));
                let (why, hint) = complaint(&error);
                Err(Fault::new(Code::Unauthenticated, format!("refused {who}: {why}")).hint(hint))
            }
            Err(_) => {
                let limit = base::units::format_duration(HANDSHAKE_TIME);
                Err(Fault::unavailable(format!("refused {address}: no TLS handshake within {limit}")))
            }
        }
    }
}

fn gone(error: io::Error) -> Fault {
    Fault::unavailable("the client was gone before it was accepted").because(error)
}

/// The connections of `listener`, ready to be served; for tonic's `serve_with_incoming`. Never ends, never fails: what
/// cannot be accepted is logged and left behind. Dropping it ends the handshakes that are under way.
pub fn incoming(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
) -> impl Stream<Item = io::Result<ServerStream>> + Send + 'static {
    let (handshakes, sources) = (FuturesUnordered::new(), Sources::default());
    let accepting = Accepting { listener, tls, handshakes, sources };
    unfold(accepting, |mut accepting| async move {
        let stream = accepting.next().await;
        Some((Ok(stream), accepting))
    })
}

struct Accepting {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handshakes: FuturesUnordered<BoxFuture<'static, (IpAddr, Result<ServerStream>)>>,
    sources: Sources,
}

impl Accepting {
    async fn next(&mut self) -> ServerStream {
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if self.handshakes.len() < HANDSHAKES => match accepted {
                    Ok((_, address)) if self.sources.is_out(address.ip(), Instant::now()) => {}
                    Ok((stream, address)) => {
                        let greeting = greet(self.tls.clone(), stream);
                        self.handshakes.push(Box::pin(async move { (address.ip(), greeting.await) }));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection");
                        tokio::time::sleep(REST).await;
                    }
                },
                Some((address, greeted)) = self.handshakes.next() => match greeted {
                    Ok(stream) => return stream,
                    Err(fault) => self.refused(address, &fault),
                },
            }
        }
    }
}

impl Accepting {
    fn refused(&mut self, address: IpAddr, fault: &Fault) {
        let error = fault.full_message();
        match self.sources.refused(address, Instant::now()) {
            Refusal::Told => tracing::warn!(error, "refused a connection"),
            Refusal::Again => tracing::debug!(error, "refused a connection"),
            Refusal::Out => tracing::warn!(%address, error, "refused too often; it is not answered for some seconds"),
        }
    }
}

async fn greet(tls: Option<TlsAcceptor>, stream: TcpStream) -> Result<ServerStream> {
    match tls {
        Some(tls) => tls.accept(stream).await,
        None => {
            let address = stream.peer_addr().map_err(gone)?;
            tune(&stream).map_err(gone)?;
            Ok(ServerStream::plain(stream, address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn off_loopback_wants_authentication() {
        let lan = |authenticated| Exposure::Lan { authenticated };
        for (address, exposure, allowed) in [
            ("127.0.0.1:0", Exposure::Loopback, true),
            ("127.0.0.1:0", lan(false), true),
            ("[::ffff:127.0.0.1]:0", Exposure::Loopback, true),
            ("0.0.0.0:0", Exposure::Loopback, false),
            ("0.0.0.0:0", lan(false), false),
            ("[::]:0", lan(false), false),
            ("192.168.1.9:0", lan(false), false),
            ("0.0.0.0:0", lan(true), true),
        ] {
            let checked = check_exposure("http.listen", address.parse().unwrap(), exposure);
            assert_eq!(checked.is_ok(), allowed, "{address} {exposure:?}");
            if let Err(fault) = checked {
                assert!(fault.message.contains("`http.listen`") && fault.hint.is_some());
            }
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_holder() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = bind("http.listen", any, Exposure::Loopback).await.unwrap();
        let address = first.local_addr().unwrap();
        let fault = bind("http.listen", address, Exposure::Loopback).await.unwrap_err();
        assert!(fault.message.contains(&format!("port {} is taken", address.port())), "{fault:?}");
        assert!(fault.hint.unwrap().contains("`http.listen`"));
        if std::fs::read_to_string("/proc/net/tcp").is_ok_and(|table| !table.trim().is_empty()) {
            assert!(fault.message.contains(&format!("(pid {})", std::process::id())), "{}", fault.message);
        }
    }

    #[tokio::test]
    async fn plain_connections_come_out_with_their_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = std::pin::pin!(incoming(listener, None));
        let client = TcpStream::connect(address).await.unwrap();
        let served = incoming.next().await.unwrap().unwrap();
        assert_eq!(served.peer().address, client.local_addr().unwrap());
        assert_eq!(served.peer().node, None);
    }
}
