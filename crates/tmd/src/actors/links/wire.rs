//! The connections under the sessions: dialled and accepted by `net`, then handed to ractor_cluster as they are.
//!
//! ractor_cluster never dials and never accepts: what reaches it has passed mutual TLS already, or came over loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Code, Fault, NodeId, Result};
use futures_util::StreamExt;
use net::listen::{Exposure, TlsAcceptor};
use net::{ClientTls, Connector, Identity, Purpose};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{
    BoxRead, BoxWrite, ClusterBidiStream, IncomingEncryptionMode, NodeEventSubscription, NodeServer, NodeServerMessage,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::LinksMessage;

/// The largest frame that is read; a session that sends a larger one ends. Notices are far below.
pub(super) const FRAME_AT_MOST: usize = 64 * 1024;

/// A dial, the TLS handshake included.
const DIAL_TIME: Duration = Duration::from_secs(3);

/// Accepted connections at once: more than a home has nodes. Further ones wait in the kernel's backlog.
const ACCEPTED_AT_MOST: usize = 64;

/// The listener of an earlier life of `links` closes a moment after that life, once its task is dropped.
const FREE_WITHIN: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A connection that is ready to carry a session.
pub struct Connection {
    /// Who is at the other end, as its certificate says; `None` without TLS.
    pub node: Option<NodeId>,
    /// The bytes.
    pub io: Box<dyn Io>,
    /// The place that an accepted one takes up.
    pub room: Option<OwnedSemaphorePermit>,
}

/// Both directions of a connection.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection as ractor_cluster takes it. The label comes back with each event of the session.
pub(super) struct Labelled {
    /// The bytes.
    pub io: Box<dyn Io>,
    /// Its number.
    pub label: u64,
}

impl ClusterBidiStream for Labelled {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (reader, writer) = tokio::io::split(self.io);
        (Box::new(reader), Box::new(writer))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.to_string())
    }
}

/// The number that a [`Labelled`] gave its session.
pub(super) fn label_of(session: &NodeServerSessionInformation) -> Option<u64> {
    session.peer_addr.parse().ok()
}

/// The node that the session claims to be; believed only after a look at the certificate.
pub(super) fn claimed_node(session: &NodeServerSessionInformation) -> Option<NodeId> {
    let name = session.peer_name.as_ref()?;
    let (node, host) = name.name.split_once('@')?;
    (node == host).then(|| NodeId::from(node))
}

/// Connects to `node` at `address`; its certificate must carry its name. Without TLS only over loopback.
pub(super) async fn dial(
    connector: &Connector,
    identity: Option<&Identity>,
    node: &NodeId,
    address: &str,
) -> Result<Connection> {
    let (host, port) = host_and_port(address)?;
    let io: Box<dyn Io> = match identity {
        Some(identity) => {
            let tls = ClientTls::node(identity, node.as_str(), &[])?;
            Box::new(connector.connect_tls(Purpose::Actors, host, port, DIAL_TIME, &tls).await?)
        }
        None => {
            let stream = connector.connect(Purpose::Actors, host, port, DIAL_TIME).await?;
            if !stream.peer_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback()) {
                let message = format!("refused to link with `{node}` at `{address}` without TLS");
                return Err(Fault::new(Code::PermissionDenied, message).hint("set `[tls]` on both nodes"));
            }
            Box::new(stream)
        }
    };
    Ok(Connection { node: Some(node.clone()), io, room: None })
}

fn host_and_port(address: &str) -> Result<(&str, u16)> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parts.ok_or_else(|| {
        Fault::invalid(format!("`{address}` is no `host:port`")).hint("set `actors.advertise` of that node")
    })?;
    Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
}

/// Listens; off loopback only with TLS.
pub(super) async fn bind(address: SocketAddr, tls: Option<&TlsAcceptor>) -> Result<TcpListener> {
    let exposure = Exposure::Lan { authenticated: tls.is_some() };
    let until = Instant::now() + FREE_WITHIN;
    loop {
        match net::listen::bind("actors.listen", address, exposure).await {
            Err(_) if Instant::now() < until => tokio::time::sleep(LOOK_AGAIN).await,
            outcome => return outcome,
        }
    }
}

/// Accepts until `links` ends.
pub(super) async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, links: ActorRef<LinksMessage>) {
    let room = Arc::new(Semaphore::new(ACCEPTED_AT_MOST));
    let mut incoming = pin!(net::listen::incoming(listener, tls));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let Some(Ok(stream)) = incoming.next().await else { return };
        let node = stream.peer().node.clone();
        let connection = Connection { node, io: Box::new(stream), room: Some(permit) };
        if links.cast(LinksMessage::Accepted(connection)).is_err() {
            return;
        }
    }
}

/// Starts ractor_cluster's server below `links`; its events become messages.
///
/// It cannot be kept from listening by itself, so that listener is on loopback, on a port that nobody is told, and
/// refuses every handshake. The node's name is host name, too: two servers with the same host name would take each other
/// for themselves whenever the kernel gave both the same port.
pub(super) async fn start_server(
    node: &NodeId,
    cookie: String,
    links: &ActorRef<LinksMessage>,
) -> Result<ActorRef<NodeServerMessage>, ActorProcessingErr> {
    let (name, host) = (node.to_string(), node.to_string());
    let nobody = IncomingEncryptionMode::Tls(no_handshake()?.into());
    let server = NodeServer::new(0, cookie, name, host, Some(nobody), Some(NodeConnectionMode::Isolated))
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .with_max_inbound_frame_size(FRAME_AT_MOST as u64);
    let (server, _) = Actor::spawn_linked(None, server, (), links.get_cell()).await?;
    let subscription = Box::new(Events(links.clone()));
    server.cast(NodeServerMessage::SubscribeToEvents { id: "links".to_owned(), subscription })?;
    Ok(server)
}

/// TLS that has no certificate to show, and so never completes.
pub(super) fn no_handshake() -> Result<Arc<ServerConfig>, rustls::Error> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate));
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// Turns the events of sessions into messages. A failed cast means that `links` is gone, and its sessions with it.
struct Events(ActorRef<LinksMessage>);

impl NodeEventSubscription for Events {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        let _ = self.0.cast(LinksMessage::Opened(session));
    }

    fn node_session_authenticated(&self, session: NodeServerSessionInformation) {
        let _ = self.0.cast(LinksMessage::Authenticated(session));
    }

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let _ = self.0.cast(LinksMessage::Ready(session));
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        let _ = self.0.cast(LinksMessage::Ended(session));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_apart_and_brackets_go() {
        assert_eq!(host_and_port("grey-area:3004").unwrap(), ("grey-area", 3004));
        assert_eq!(host_and_port("[fd00::1]:3004").unwrap(), ("fd00::1", 3004));
        for bad in ["grey-area", "grey-area:", "grey-area:70000", ""] {
            assert!(host_and_port(bad).unwrap_err().hint.is_some(), "{bad}");
        }
    }
}
