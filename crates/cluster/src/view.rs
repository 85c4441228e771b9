//! The one view of the cluster: who is in it, in which state, and who leads. A snapshot that many readers share.

use std::sync::Arc;
use std::time::Instant;

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

    /// What a report says of its sender.
    pub(crate) fn of(report: &NodeReport) -> Self {
        Self {
            node: report.node.clone(),
            incarnation: report.incarnation,
            peer_address: report.peer_address.clone(),
            actors_address: report.actors_address.clone(),
            grpc_address: report.grpc_address.clone(),
        }
    }
}

/// A node in the view.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// What it is to us now.
    pub state: NodeState,
    /// Its own words.
    pub member: Member,
    /// Its newest report; `None` before the first, and for this node itself, which draws its own.
    pub report: Option<Arc<NodeReport>>,
    /// When that report came.
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
        self.leader == other.leader
            && self.stale_since.is_some() == other.stale_since.is_some()
            && self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(|(a, b)| a.state == b.state && a.member == b.member)
    }

    /// Whether the other one, which is like this one, was made of the same reports.
    pub(crate) fn has_the_reports_of(&self, other: &Self) -> bool {
        self.nodes.iter().zip(&other.nodes).all(|(a, b)| a.heard == b.heard)
    }
}
