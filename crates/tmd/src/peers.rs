//! Other nodes: one channel each, runs on their workers, and the end of those runs when a node is lost.

mod frames;
mod service;
mod strikes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use base::{Answer, AnswerHead, Ask, Code, Continuation, Fault, ModelId, NodeId, Result, RunId, WorkerId};
use cluster::Dial;
use net::{ClientTls, Identity, Purpose};
use proto::node::node_client::NodeClient;
use proto::node::{PlaceRequest, RunRequest, run_response::Part};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::core::Core;
use crate::spans::Wait;
use frames::PeerFrames;
use strikes::Strikes;

pub use service::NodeService;

/// Bound on calls that only ask or tell.
pub const CALL_WITHIN: Duration = Duration::from_secs(2);
/// A peer's messages are at most this large: an answer that is not streamed comes in pieces, an ask in one.
pub const MESSAGE_BYTES: usize = 72 << 20;

/// Channels to other nodes.
pub struct Peers {
    channels: net::Channels,
    identity: Option<Arc<Identity>>,
    nodes: Mutex<HashMap<NodeId, Peer>>,
    /// What peers sent that was refused.
    strikes: Strikes,
}

struct Peer {
    address: String,
    /// Of the identity that it was dialled with.
    generation: u64,
    channel: Channel,
    /// Cancelled when the node is lost; runs on it end with it.
    life: CancellationToken,
}

impl Peers {
    /// No peer yet. With an identity every connection is mutual TLS.
    pub fn new(channels: net::Channels, identity: Option<Arc<Identity>>) -> Self {
        Self { channels, identity, nodes: Mutex::default(), strikes: Strikes::default() }
    }

    /// The client for a node.
    pub fn client(&self, node: &NodeId, address: &str) -> Result<NodeClient<Channel>> {
        let (channel, _) = self.peer(node, address)?;
        Ok(NodeClient::new(channel).max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES))
    }

    /// The client for a node of the view.
    pub fn client_of(&self, core: &Core, node: &NodeId) -> Result<NodeClient<Channel>> {
        self.client(node, &address_of(core, node)?)
    }

    /// The same, with what is cancelled when that node is lost.
    pub fn client_and_life(&self, core: &Core, node: &NodeId) -> Result<(NodeClient<Channel>, CancellationToken)> {
        let address = address_of(core, node)?;
        let (_, life) = self.peer(node, &address)?;
        Ok((self.client(node, &address)?, life))
    }

    /// A node is lost or began a new life: what runs there is over.
    pub fn lost(&self, node: &NodeId) {
        if let Some(peer) = self.lock().remove(node) {
            peer.life.cancel();
        }
    }

    /// Runs an ask on a worker of another node.
    pub async fn run(
        &self,
        core: &Core,
        ask: &Ask,
        worker: &WorkerId,
        model_id: &ModelId,
        continues: Option<Continuation>,
    ) -> Result<Answer> {
        let node = worker.node();
        let (mut client, life) = self.client_and_life(core, &node)?;
        let now = Instant::now();
        let request = RunRequest {
            worker: worker.name().to_owned(),
            model_id: model_id.to_string(),
            run: RunId::random().to_string(),
            ask: Some(proto::ask_to_wire(ask, now)),
            continuation: continues.map(Into::into),
            epoch: 0,
        };
        // A wait at the other node's gate counts here as well, so the bound is the ask's own. What hangs over there is
        // cut over there; a node that is gone ends its runs by `life`.
        let within = ask.head.deadline.left(now);
        let failed = |status: &tonic::Status| fault_of(&node, status);
        let asked = async {
            let mut parts = client.run(request).await.map_err(|status| failed(&status))?.into_inner();
            let first = parts.message().await.map_err(|status| failed(&status))?;
            Ok::<_, Fault>((parts, first.and_then(|message| message.part)))
        };
        let asked = async {
            tokio::select! {
                asked = tokio::time::timeout(within, asked) => asked.map_err(|_| silent(&node, within))?,
                () = life.cancelled() => Err(was_lost(&node)),
            }
        };
        let (parts, first) = core.spans.during(Wait::Peer, &ask.head, worker, asked).await?;
        let Some(Part::Started(started)) = first else {
            return Err(Fault::new(Code::EngineFailed, format!("node `{node}` answered out of order")));
        };
        let head = AnswerHead {
            content_type: ask.head.dialect.content_type(ask.head.stream),
            content_length: started.content_length,
            worker: Some(worker.clone()),
            model: started.model,
            fallback: None,
        };
        Ok(Answer { head, frames: Box::new(PeerFrames::new(node, parts, life)) })
    }

    /// Loads a model at a worker of another node, or unloads it. Gives the seconds that it took.
    pub async fn place(
        &self,
        core: &Core,
        worker: &WorkerId,
        model: &str,
        load: bool,
        epoch: u64,
        most: Duration,
    ) -> Result<f64> {
        let node = worker.node();
        let mut client = self.client_of(core, &node)?;
        let request = PlaceRequest { worker: worker.name().to_owned(), model: model.to_owned(), load, epoch };
        Ok(within(most, &node, client.place(request)).await?.seconds)
    }

    fn peer(&self, node: &NodeId, address: &str) -> Result<(Channel, CancellationToken)> {
        let mut nodes = self.lock();
        let generation = self.identity.as_ref().map_or(0, |identity| identity.generation());
        let known = nodes.get(node).filter(|peer| peer.address == address);
        if let Some(peer) = known.filter(|peer| peer.generation == generation) {
            return Ok((peer.channel.clone(), peer.life.clone()));
        }
        // With a new certificate of ours only the channel is new. Runs on the one before go on, and it closes after them.
        let life = known.map_or_else(CancellationToken::new, |peer| peer.life.clone());
        let is_same_life = known.is_some();
        let tls = self.identity.as_ref().map(|own| ClientTls::node(own, node.as_str(), net::tls::H2)).transpose()?;
        let channel = self.channels.channel(Purpose::Peer, address, tls.as_ref())?;
        let peer = Peer { address: address.to_owned(), generation, channel: channel.clone(), life: life.clone() };
        if let Some(before) = nodes.insert(node.clone(), peer).filter(|_| !is_same_life) {
            before.life.cancel();
        }
        Ok((channel, life))
    }

    /// The map stays usable when a thread died while it held it: peers are whole by themselves.
    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Peer>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the cluster reaches peers: by the same channels as everybody.
pub struct DialPeers(pub Weak<Core>);

impl Dial for DialPeers {
    fn peer(&self, node: &NodeId, address: &str) -> Result<Channel> {
        let core = self.0.upgrade().ok_or_else(|| Fault::unavailable("the node has stopped"))?;
        core.peers.peer(node, address).map(|(channel, _)| channel)
    }
}

fn address_of(core: &Core, node: &NodeId) -> Result<String> {
    let view = core.cluster()?.view();
    let member = view.node(node).map(|node| node.member.peer_address.clone());
    member.ok_or_else(|| Fault::new(Code::Unreachable, format!("node `{node}` is not in the cluster any more")))
}

/// What a node answers to a call that it has `most` for.
pub(crate) async fn within<T>(
    most: Duration,
    node: &NodeId,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T> {
    match tokio::time::timeout(most, call).await {
        Ok(answered) => answered.map(tonic::Response::into_inner).map_err(|status| fault_of(node, &status)),
        Err(_) => Err(silent(node, most)),
    }
}

fn silent(node: &NodeId, within: Duration) -> Fault {
    let within = base::units::format_duration(within);
    Fault::new(Code::DeadlineExceeded, format!("node `{node}` did not begin to answer within {within}"))
}

pub(crate) fn was_lost(node: &NodeId) -> Fault {
    Fault::new(Code::EngineCut, format!("node `{node}` was lost"))
}

/// What a peer's status means: its own fault where it sent one, else that the connection broke or could not be made.
pub(crate) fn fault_of(node: &NodeId, status: &tonic::Status) -> Fault {
    let fault = proto::from_status(status);
    match (fault.code, net::channel::cause(status)) {
        (Code::Unreachable, Some(cause)) => {
            Fault::new(Code::Unreachable, format!("could not reach node `{node}`")).because(cause)
        }
        (Code::Unreachable, None) => {
            Fault::new(Code::Unreachable, format!("the connection to node `{node}` broke: {}", fault.message))
        }
        _ => fault,
    }
}
