//! The one view of the cluster: who is in it, in which state, and who leads. A pure function of what was heard.
//!
//! Two witnesses speak for a node: its lease in the store and its heartbeats to us. Both good = alive; heartbeats alone =
//! stale (routable); the lease alone = suspect (not routed); neither = lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::report::{NodeReport, NodeState};
use base::{Epoch, Incarnation, NodeId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a node writes about itself into the store, under its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub node: NodeId,
    /// Which life of it this is.
    pub incarnation: Incarnation,
    /// `host:port` of its `node.v1`.
    pub peer_address: String,
    /// `host:port` of its ractor_cluster listener; empty when off.
    pub actors_address: String,
    /// `host:port` of its client-facing gRPC.
    pub grpc_address: String,
}

impl Member {
    /// As it stands in the store.
    pub fn to_bytes(&self) -> Bytes {
        // A struct of strings and numbers always has a JSON form; an empty value would be refused by every reader.
        serde_json::to_vec(self).map(Bytes::from).unwrap_or_default()
    }
}

/// What is known of another node.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its own words in the store, or the last ones that were there.
    pub member: Member,
    /// Whether its lease is there, as far as the store told us last.
    pub has_lease: bool,
    /// Its newest report and when it came, on our clock.
    pub heard: Option<(Arc<NodeReport>, Instant)>,
    /// Since when it has been out of contact (no lease, no heartbeat); `None` while it is not.
    pub lost_since: Option<Instant>,
}

/// Times that tell the states apart.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Heartbeats older than this are late.
    pub suspect_after: Duration,
    /// A lost node is forgotten after this.
    pub forget_after: Duration,
}

/// A node in the view.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// What it is to us now.
    pub state: NodeState,
    /// Its own words.
    pub member: Member,
    /// Its newest report; `None` before the first.
    pub report: Option<Arc<NodeReport>>,
    /// When that report came; `None` for this node itself and before the first.
    pub heard: Option<Instant>,
}

/// The cluster as this node sees it.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// This node.
    pub me: NodeId,
    /// Every node that is not forgotten, by name; this one among them.
    pub nodes: Vec<NodeView>,
    /// Who leads, as the store told last.
    pub leader: Option<(NodeId, Epoch)>,
    /// Since when the store has not answered; `None` while it does.
    pub stale_since: Option<Instant>,
    /// Grows with every change.
    pub version: u64,
}

impl ClusterView {
    /// The view of a node that knows nobody else yet.
    pub fn alone(me: NodeId) -> Self {
        Self { me, nodes: Vec::new(), leader: None, stale_since: None, version: 0 }
    }

    /// The node of that name.
    pub fn node(&self, name: &NodeId) -> Option<&NodeView> {
        self.nodes.iter().find(|node| &node.member.node == name)
    }

    /// Whether the other one says the same but for times and reports.
    pub fn is_like(&self, other: &Self) -> bool {
        let states = |view: &Self| -> Vec<(NodeId, Incarnation, NodeState)> {
            let state = |node: &NodeView| (node.member.node.clone(), node.member.incarnation, node.state);
            view.nodes.iter().map(state).collect()
        };
        self.leader == other.leader
            && self.stale_since.is_some() == other.stale_since.is_some()
            && states(self) == states(other)
    }
}

/// The state of another node at `now`.
pub fn state_of(known: &Known, patience: Patience, now: Instant) -> NodeState {
    let heartbeat = known.heard.as_ref().filter(|(_, at)| now.saturating_duration_since(*at) <= patience.suspect_after);
    match (known.has_lease, heartbeat) {
        (_, Some((report, _))) if report.is_draining => NodeState::Draining,
        (true, Some(_)) => NodeState::Alive,
        (false, Some(_)) => NodeState::Stale,
        (true, None) => NodeState::Suspect,
        (false, None) => NodeState::Lost,
    }
}

/// Whether a report is newer than the one that is known: a later life, or later in the same life.
pub fn is_newer(known: Option<&NodeReport>, report: &NodeReport) -> bool {
    known.is_none_or(|known| (report.incarnation, report.sequence) > (known.incarnation, known.sequence))
}

/// Whether a node that is out of contact since `lost_since` may be forgotten.
pub fn is_forgotten(known: &Known, patience: Patience, now: Instant) -> bool {
    known.lost_since.is_some_and(|since| now.saturating_duration_since(since) > patience.forget_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(has_lease: bool, heard_s: Option<u64>, is_draining: bool, now: Instant) -> Known {
        let member = Member {
            node: "a".into(),
            incarnation: Incarnation(1),
            peer_address: String::new(),
            actors_address: String::new(),
            grpc_address: String::new(),
        };
        let mut report = empty_report();
        report.is_draining = is_draining;
        let heard = heard_s.map(|ago| (Arc::new(report), now - Duration::from_secs(ago)));
        Known { member, has_lease, heard, lost_since: None }
    }

    fn empty_report() -> NodeReport {
        NodeReport {
            node: "a".into(),
            incarnation: Incarnation(1),
            sequence: 1,
            peer_address: String::new(),
            actors_address: String::new(),
            grpc_address: String::new(),
            is_draining: false,
            leads: None,
            version: String::new(),
            machine: Default::default(),
            workers: Vec::new(),
        }
    }

    #[test]
    fn two_witnesses_decide_the_state() {
        let now = Instant::now() + Duration::from_secs(100);
        let patience = Patience { suspect_after: Duration::from_secs(2), forget_after: Duration::from_secs(60) };
        let cases = [
            (true, Some(0), false, NodeState::Alive),
            (false, Some(0), false, NodeState::Stale),
            (true, Some(3), false, NodeState::Suspect),
            (true, None, false, NodeState::Suspect),
            (false, Some(3), false, NodeState::Lost),
            (false, None, false, NodeState::Lost),
            (true, Some(1), true, NodeState::Draining),
            (true, Some(3), true, NodeState::Suspect),
        ];
        for (has_lease, heard, draining, expected) in cases {
            let state = state_of(&known(has_lease, heard, draining, now), patience, now);
            assert_eq!(state, expected, "lease {has_lease}, heard {heard:?} s ago, draining {draining}");
        }
    }

    #[test]
    fn a_report_of_an_earlier_life_is_old_whatever_its_sequence() {
        let mut before = empty_report();
        before.incarnation = Incarnation(2);
        let mut late = empty_report();
        late.sequence = 900;
        assert!(!is_newer(Some(&before), &late));
        late.incarnation = Incarnation(3);
        late.sequence = 0;
        assert!(is_newer(Some(&before), &late));
        assert!(is_newer(None, &late));
    }
}
