//! Which nodes to be linked with, which of them to dial and when, and whom to let in. Pure: takes the view and the time.
//!
//! Of two nodes only the one with the smaller name dials, so that there is one session between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base::report::NodeState;
use base::retry::Backoff;
use base::{Incarnation, NodeId};
use cluster::ClusterView;

/// Between dials of a node that does not answer.
const REDIAL: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(5), jitter: 0.5 };

/// The other members that can be linked with.
pub(super) struct Roster {
    me: NodeId,
    peers: BTreeMap<NodeId, Peer>,
}

/// One of them.
pub(super) struct Peer {
    /// `host:port` of its listener.
    pub address: String,
    /// Which life of it the view knows.
    pub incarnation: Incarnation,
    /// Dials in a row that led to no link.
    pub failures: u32,
    is_away: bool,
    dial: Dial,
}

enum Dial {
    NotBefore(Instant),
    /// From the dial until its session ended.
    UnderWay,
}

/// Why a node that dialled is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The view does not know it, or not yet; it tries again.
    NotAMember,
    /// This node dials that one.
    WrongDirection,
}

impl Refusal {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAMember => "it is not a member",
            Self::WrongDirection => "this node dials that one",
        }
    }
}

impl Roster {
    /// Nobody but `me`.
    pub fn new(me: NodeId) -> Self {
        Self { me, peers: BTreeMap::new() }
    }

    /// Takes over what the view says; a node that returned in a later life or moved is dialled without delay.
    pub fn follow(&mut self, view: &ClusterView, now: Instant) {
        self.peers.retain(|node, _| view.node(node).is_some_and(|node| !node.member.actors_address.is_empty()));
        for node in &view.nodes {
            let member = &node.member;
            if member.node == self.me || member.actors_address.is_empty() {
                continue;
            }
            let peer = self.peers.entry(member.node.clone()).or_insert_with(|| Peer {
                address: member.actors_address.clone(),
                incarnation: member.incarnation,
                failures: 0,
                is_away: false,
                dial: Dial::NotBefore(now),
            });
            // A dial could wake a node that sleeps.
            peer.is_away = matches!(node.state, NodeState::Lost | NodeState::Asleep);
            if peer.incarnation == member.incarnation && peer.address == member.actors_address {
                continue;
            }
            peer.incarnation = member.incarnation;
            peer.address.clone_from(&member.actors_address);
            peer.failures = 0;
            if matches!(peer.dial, Dial::NotBefore(_)) {
                peer.dial = Dial::NotBefore(now);
            }
        }
    }

    /// Whom to dial now; each counts as under way until [`Roster::ended`].
    pub fn due(&mut self, now: Instant) -> Vec<(NodeId, String)> {
        let mut due = Vec::new();
        for (node, peer) in self.peers.iter_mut().filter(|(node, peer)| **node > self.me && !peer.is_away) {
            if matches!(peer.dial, Dial::NotBefore(time) if time <= now) {
                peer.dial = Dial::UnderWay;
                due.push((node.clone(), peer.address.clone()));
            }
        }
        due
    }

    /// A dial led to a link.
    pub fn linked(&mut self, node: &NodeId) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.failures = 0;
        }
    }

    /// A dial failed, or its session ended; `chance` is a random number in 0..1.
    pub fn ended(&mut self, node: &NodeId, now: Instant, chance: f64) {
        if let Some(peer) = self.peers.get_mut(node)
            && matches!(peer.dial, Dial::UnderWay)
        {
            peer.dial = Dial::NotBefore(now + REDIAL.delay(peer.failures, chance));
            peer.failures = peer.failures.saturating_add(1);
        }
    }

    /// Whether a node that dialled is let in.
    pub fn admits(&self, node: &NodeId) -> Result<(), Refusal> {
        if !self.peers.contains_key(node) {
            return Err(Refusal::NotAMember);
        }
        if *node > self.me {
            return Err(Refusal::WrongDirection);
        }
        Ok(())
    }

    /// The node of that name.
    pub fn peer(&self, node: &NodeId) -> Option<&Peer> {
        self.peers.get(node)
    }

    /// All of them, by name.
    pub fn peers(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.peers.iter()
    }
}

#[cfg(test)]
mod tests {
    use cluster::{Member, NodeView};

    use super::*;

    fn view(nodes: &[(&str, u64, NodeState)]) -> ClusterView {
        let node = |&(name, incarnation, state): &(&str, u64, NodeState)| NodeView {
            state,
            member: Member {
                node: NodeId::from(name),
                incarnation: Incarnation(incarnation),
                peer_address: String::new(),
                actors_address: format!("{name}:3004"),
                grpc_address: String::new(),
            },
            report: None,
            heard: None,
        };
        ClusterView { nodes: nodes.iter().map(node).collect(), ..ClusterView::alone(NodeId::from("b")) }
    }

    fn names(due: Vec<(NodeId, String)>) -> Vec<String> {
        due.into_iter().map(|(node, _)| node.to_string()).collect()
    }

    #[test]
    fn only_the_smaller_name_dials_and_lost_nodes_are_left_alone() {
        let now = Instant::now();
        let mut roster = Roster::new(NodeId::from("b"));
        let mut all = view(&[
            ("a", 1, NodeState::Alive),
            ("b", 1, NodeState::Alive),
            ("c", 1, NodeState::Alive),
            ("d", 1, NodeState::Lost),
            ("e", 1, NodeState::Alive),
        ]);
        all.nodes[4].member.actors_address.clear();
        roster.follow(&all, now);
        assert_eq!(names(roster.due(now)), ["c"]);
        assert_eq!(names(roster.due(now)), Vec::<String>::new());
        assert_eq!(roster.admits(&NodeId::from("a")), Ok(()));
        assert_eq!(roster.admits(&NodeId::from("c")), Err(Refusal::WrongDirection));
        assert_eq!(roster.admits(&NodeId::from("b")), Err(Refusal::NotAMember));
        assert_eq!(roster.admits(&NodeId::from("x")), Err(Refusal::NotAMember));
    }

    #[test]
    fn a_silent_node_is_dialled_ever_more_rarely_until_it_returns_in_a_later_life() {
        let (now, node) = (Instant::now(), NodeId::from("c"));
        let mut roster = Roster::new(NodeId::from("b"));
        roster.follow(&view(&[("c", 1, NodeState::Alive)]), now);
        let mut delays = Vec::new();
        for _ in 0..8 {
            roster.due(now + Duration::from_secs(60));
            roster.ended(&node, now, 1.0);
            let Dial::NotBefore(time) = roster.peers[&node].dial else { panic!("still under way") };
            delays.push((time - now).as_millis());
        }
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!(roster.due(now).is_empty());
        roster.follow(&view(&[("c", 2, NodeState::Alive)]), now);
        assert_eq!(names(roster.due(now)), ["c"]);
    }

    #[test]
    fn a_node_that_left_the_view_is_forgotten() {
        let now = Instant::now();
        let mut roster = Roster::new(NodeId::from("b"));
        roster.follow(&view(&[("c", 1, NodeState::Alive)]), now);
        roster.follow(&view(&[]), now);
        assert!(roster.due(now).is_empty() && roster.peer(&NodeId::from("c")).is_none());
    }
}
