//! The actor `links`. Owns: the ractor_cluster sessions to other nodes; who is dialled, who is let in, who is let go.
//! Supervised by `root`. Talks to: the like of it on other nodes, [`Hints`]. Never: judges that a node is lost, carries a
//! payload; with it switched off everything works, slower to notice.
//!
//! ractor_cluster neither notices a silent peer nor connects again, so both are done here: see `roster` for whom to dial,
//! `wire` for the connections, `peer` for what nodes say to each other.

mod notice;
mod peer;
mod roster;
mod sessions;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::config::Listener;
use base::{Code, Fault, NodeId};
use cluster::ClusterView;
use net::{ClientAuth, Connector, Identity};
use ractor::pg::GroupChangeMessage;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use ractor_cluster::node::NodeServerSessionInformation;
use ractor_cluster::{NodeServerMessage, RactorMessage};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::peer::{GROUP, Peer, PeerMessage};
use self::roster::Roster;
use self::sessions::Sessions;
use self::wire::{Connection, Labelled};
use super::{Beat, Loops};

pub use self::notice::Notice;

/// How soon a change of the view or of the own notice is acted upon.
const TICK: Duration = Duration::from_millis(200);
/// A notice is repeated this often, and each peer asked whether it lives.
const REPEAT: Duration = Duration::from_secs(1);
/// An answer that takes longer counts as missed. Below [`REPEAT`], so that one question at a time is on its way.
const ANSWER_WITHIN: Duration = Duration::from_millis(900);

/// What the node does with what the links tell. Called from the mailbox, so all of it returns at once.
pub trait Hints: Send + Sync {
    /// The session with `node` or the actor at its other end ended: time to look at it now.
    fn peer_ended(&self, node: &NodeId);
    /// What `from` tells about itself.
    fn notice(&self, from: &NodeId, notice: Notice);
    /// What this node tells about itself; sent every second, and when it differs from the one before.
    fn own_notice(&self) -> Notice;
}

/// Messages of the links.
#[derive(RactorMessage)]
pub enum LinksMessage {
    /// Time to compare what is with what should be.
    Tick,
    /// A connection was accepted.
    Accepted(Connection),
    /// A dial of `node` ended.
    Dialled { node: NodeId, outcome: Result<Connection, Fault> },
    /// A session started; nobody is proven yet.
    Opened(NodeServerSessionInformation),
    /// Both ends of a session know the cookie.
    Authenticated(NodeServerSessionInformation),
    /// The actors of both ends know of each other.
    Ready(NodeServerSessionInformation),
    /// A session ended.
    Ended(NodeServerSessionInformation),
    /// The peer of the session `label` answered, or did not.
    Answered { label: u64, answered: bool },
    /// `peer` took in a notice.
    Noticed(Notice),
    /// The loop that accepts ended.
    LoopEnded(String),
    /// A picture of the actor.
    Snapshot(RpcReplyPort<String>),
    /// Only with the feature `faults`: panic.
    #[cfg(feature = "faults")]
    Panic,
}

/// From these alone it starts again.
#[derive(Clone)]
pub struct LinksArguments {
    /// This node.
    pub node: NodeId,
    /// Where it listens.
    pub listener: Listener,
    /// Its certificate; without one only loopback is linked.
    pub identity: Option<Arc<Identity>>,
    /// Dials.
    pub connector: Connector,
    /// What all nodes of the cluster know: at least 32 random bytes. TLS is the lock, this is only a second one.
    pub cookie: String,
    /// Who is in the cluster.
    pub views: watch::Receiver<Arc<ClusterView>>,
    /// The node.
    pub hints: Arc<dyn Hints>,
}

/// The actor.
pub struct Links;

/// What it remembers.
pub struct LinksState {
    identity: Option<Arc<Identity>>,
    connector: Connector,
    views: watch::Receiver<Arc<ClusterView>>,
    hints: Arc<dyn Hints>,
    address: SocketAddr,
    server: ActorRef<NodeServerMessage>,
    roster: Roster,
    sessions: Sessions,
    told: Option<Notice>,
    told_at: Instant,
    asked_at: Instant,
    /// Dials and questions; each ends by itself within its time.
    tasks: JoinSet<()>,
    _beat: Beat,
    _loops: JoinSet<()>,
}

impl Actor for Links {
    type Msg = LinksMessage;
    type State = LinksState;
    type Arguments = LinksArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: LinksArguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let LinksArguments { node, listener, identity, connector, cookie, views, hints } = arguments;
        let tls = match &identity {
            Some(identity) => Some(identity.acceptor(&[], ClientAuth::Required)?),
            None => None,
        };
        let listener = wire::bind(listener.listen, tls.as_ref()).await?;
        let address = listener.local_addr()?;
        let server = wire::start_server(&node, cookie, &myself).await?;
        Actor::spawn_linked(None, Peer, myself.clone(), myself.get_cell()).await?;
        ractor::pg::monitor(GROUP.to_owned(), myself.get_cell());
        let mut loops = Loops::new();
        loops.run("accept", wire::accept(listener, tls, myself.clone()));
        let now = Instant::now();
        Ok(LinksState {
            identity,
            connector,
            views,
            hints,
            address,
            server,
            roster: Roster::new(node),
            sessions: Sessions::default(),
            told: None,
            told_at: now,
            asked_at: now,
            tasks: JoinSet::new(),
            _beat: Beat::every(TICK, myself.clone(), || LinksMessage::Tick),
            _loops: loops.watch(myself, LinksMessage::LoopEnded),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LinksMessage::Tick => state.tick(&myself)?,
            LinksMessage::Accepted(connection) => state.accepted(connection)?,
            LinksMessage::Dialled { node, outcome } => state.dialled(&node, outcome)?,
            LinksMessage::Opened(session) => state.sessions.opened(&session),
            LinksMessage::Authenticated(session) => state.sessions.authenticated(&session, &state.roster),
            LinksMessage::Ready(session) => state.ready(&session)?,
            LinksMessage::Ended(session) => state.ended(&session),
            LinksMessage::Answered { label, answered } => state.sessions.answered(label, answered),
            LinksMessage::Noticed(notice) => state.noticed(notice),
            LinksMessage::LoopEnded(why) => return Err(why.into()),
            LinksMessage::Snapshot(reply) => {
                let _ = reply.send(state.snapshot());
            }
            #[cfg(feature = "faults")]
            LinksMessage::Panic => crate::faults::panic_now(),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            // Its children are useless without each other: all of them start again with it.
            SupervisionEvent::ActorFailed(_, error) => Err(error),
            SupervisionEvent::ActorTerminated(_, _, reason) => {
                Err(reason.unwrap_or_else(|| "one of its actors ended".to_owned()).into())
            }
            SupervisionEvent::ProcessGroupChanged(GroupChangeMessage::Leave(_, _, actors)) => {
                for actor in actors {
                    state.left(actor.get_id());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl LinksState {
    fn tick(&mut self, myself: &ActorRef<LinksMessage>) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        while self.tasks.try_join_next().is_some() {}
        let view = self.views.borrow().clone();
        self.roster.follow(&view, now);
        for node in self.sessions.close_what_must_go(&self.roster, now) {
            self.roster.ended(&node, now, fastrand::f64());
        }
        for (node, address) in self.roster.due(now) {
            self.dial(myself, node, address);
        }
        self.tell_all(now)?;
        if now.saturating_duration_since(self.asked_at) >= REPEAT {
            self.asked_at = now;
            self.ask_all(myself);
        }
        Ok(())
    }

    fn dial(&mut self, myself: &ActorRef<LinksMessage>, node: NodeId, address: String) {
        let (connector, identity, links) = (self.connector.clone(), self.identity.clone(), myself.clone());
        self.tasks.spawn(async move {
            let outcome = wire::dial(&connector, identity.as_deref(), &node, &address).await;
            // This task ends with the actor.
            let _ = links.cast(LinksMessage::Dialled { node, outcome });
        });
    }

    fn dialled(&mut self, node: &NodeId, outcome: Result<Connection, Fault>) -> Result<(), ActorProcessingErr> {
        match outcome {
            Ok(connection) => self.start_session(connection, false),
            Err(fault) => {
                let is_first = self.roster.peer(node).is_some_and(|peer| peer.failures == 0);
                if is_first && fault.code == Code::Unauthenticated {
                    tracing::warn!(node = %node, error = fault.full_message(), "could not link with a node");
                } else {
                    tracing::debug!(node = %node, error = fault.full_message(), "could not link with a node");
                }
                self.roster.ended(node, Instant::now(), fastrand::f64());
                Ok(())
            }
        }
    }

    /// Only members that should dial come in; without TLS the name is not known yet, and judged with the cookie.
    fn accepted(&mut self, connection: Connection) -> Result<(), ActorProcessingErr> {
        if let Some(node) = &connection.node {
            if let Err(refusal) = self.roster.admits(node) {
                tracing::debug!(node = %node, error = refusal.as_str(), "refused a link");
                self.sessions.refused += 1;
                return Ok(());
            }
            // It dials only when it has lost its end of the one before.
            self.sessions.close_of(node, "it dialled again");
        }
        self.start_session(connection, true)
    }

    fn start_session(&mut self, connection: Connection, is_server: bool) -> Result<(), ActorProcessingErr> {
        let Connection { node, io, room } = connection;
        let label = self.sessions.add(node, !is_server, room, Instant::now());
        let stream = Box::new(Labelled { io, label });
        Ok(self.server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server })?)
    }

    fn ready(&mut self, session: &NodeServerSessionInformation) -> Result<(), ActorProcessingErr> {
        let Some(node) = self.sessions.ready(session) else { return Ok(()) };
        tracing::info!(node = %node, "linked");
        self.roster.linked(&node);
        let notice = self.hints.own_notice().to_bytes()?;
        tell(self.remotes().filter(|(id, _)| *id == session.node_id), &notice);
        Ok(())
    }

    fn ended(&mut self, session: &NodeServerSessionInformation) {
        let Some(ended) = self.sessions.ended(session) else { return };
        let Some(node) = ended.node else { return };
        if ended.was_linked {
            tracing::info!(node = %node, "link ended");
        }
        if ended.hint {
            self.hints.peer_ended(&node);
        }
        if ended.dial_again {
            self.roster.ended(&node, Instant::now(), fastrand::f64());
        }
    }

    /// An actor left the group; when it is the other end of a link, its node may be in trouble.
    fn left(&mut self, actor: ActorId) {
        let ActorId::Remote { node_id, .. } = actor else { return };
        if let Some(node) = self.sessions.other_end_left(node_id) {
            self.hints.peer_ended(&node);
        }
    }

    fn noticed(&mut self, notice: Notice) {
        // A message does not say on which session it came: its word counts only for a node that is linked, in this life.
        let is_current = self.roster.peer(&notice.node).is_some_and(|peer| peer.incarnation <= notice.incarnation);
        if is_current && self.sessions.noticed(&notice.node) {
            self.hints.notice(&notice.node.clone(), notice);
        }
    }

    fn tell_all(&mut self, now: Instant) -> Result<(), ActorProcessingErr> {
        let notice = self.hints.own_notice();
        let is_due = now.saturating_duration_since(self.told_at) >= REPEAT;
        if !is_due && self.told.as_ref() == Some(&notice) {
            return Ok(());
        }
        tell(self.remotes(), &notice.to_bytes()?);
        self.told = Some(notice);
        self.told_at = now;
        Ok(())
    }

    fn ask_all(&mut self, myself: &ActorRef<LinksMessage>) {
        let remotes: Vec<_> = self.remotes().collect();
        for (label, node_id) in self.sessions.linked() {
            let Some((_, peer)) = remotes.iter().find(|(id, _)| *id == node_id) else {
                self.sessions.answered(label, false);
                continue;
            };
            let (peer, links) = (peer.clone(), myself.clone());
            self.tasks.spawn(async move {
                let answer = peer.call(|reply| PeerMessage::Ping { reply }, Some(ANSWER_WITHIN)).await;
                let answered = matches!(answer, Ok(ractor::rpc::CallResult::Success(())));
                let _ = links.cast(LinksMessage::Answered { label, answered });
            });
        }
    }

    /// The actors at the other ends of links, each with the number of its session's node.
    fn remotes(&self) -> impl Iterator<Item = (u64, ActorRef<PeerMessage>)> + use<> {
        let linked: Vec<u64> = self.sessions.linked().into_iter().map(|(_, node_id)| node_id).collect();
        ractor::pg::get_members(&GROUP.to_owned()).into_iter().filter_map(move |cell| match cell.get_id() {
            ActorId::Remote { node_id, .. } if linked.contains(&node_id) => Some((node_id, cell.into())),
            _ => None,
        })
    }

    fn snapshot(&self) -> String {
        let peer = |(node, peer): (&NodeId, &roster::Peer)| {
            json!({
                "node": node, "address": peer.address, "incarnation": peer.incarnation, "failures": peer.failures,
                "link": self.sessions.picture(node),
            })
        };
        let peers: Vec<_> = self.roster.peers().map(peer).collect();
        json!({"listen": self.address, "peers": peers, "sessions": self.sessions.totals()}).to_string()
    }
}

/// Sends a notice; who does not take it gets the next one.
fn tell(peers: impl Iterator<Item = (u64, ActorRef<PeerMessage>)>, notice: &[u8]) {
    for (_, peer) in peers {
        let _ = peer.cast(PeerMessage::Notice { bytes: notice.to_vec() });
    }
}

#[cfg(test)]
mod tests;
