//! Heartbeats: several times a second this node trades reports with every peer, each exchange bounded in time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{NodeId, Result};
use base::report::NodeReport;
use proto::node::HeartbeatRequest;
use proto::node::node_client::NodeClient;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::membership::Cluster;
use crate::view::Member;

/// Channels to peers; made by `net`, one per peer, kept by whoever implements this.
pub trait Dial: Send + Sync + 'static {
    /// The channel to the `node.v1` of `node` at `address`.
    fn peer(&self, node: &NodeId, address: &str) -> Result<Channel>;
}

impl Cluster {
    /// Beats until cancelled. A peer whose last exchange has not ended is not asked twice.
    pub async fn run_heartbeats(self: Arc<Self>, cancel: CancellationToken) {
        let mut beats: JoinSet<NodeId> = JoinSet::new();
        let mut in_flight: HashSet<NodeId> = HashSet::new();
        let mut tick = tokio::time::interval(self.settings.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(ended) = beats.join_next() => match ended {
                    Ok(node) => { in_flight.remove(&node); }
                    // Who it was is not known; all may be asked again.
                    Err(_) => in_flight.clear(),
                },
                _ = tick.tick() => {
                    for peer in self.peers() {
                        if in_flight.insert(peer.node.clone()) {
                            beats.spawn(beat(self.clone(), peer));
                        }
                    }
                }
            }
        }
    }
}

/// One exchange with one peer.
async fn beat(cluster: Arc<Cluster>, peer: Member) -> NodeId {
    let within = patience_of(&cluster);
    let channel = match cluster.dial.peer(&peer.node, &peer.peer_address) {
        Ok(channel) => channel,
        Err(fault) => {
            tracing::warn!(peer = %peer.node, error = ?fault, "no channel can be made to a peer");
            return peer.node;
        }
    };
    let report = (&cluster.own_report()).into();
    let asked = Instant::now();
    let mut client = NodeClient::new(channel);
    let answer = tokio::time::timeout(within, client.heartbeat(HeartbeatRequest { report: Some(report) })).await;
    match answer {
        Ok(Ok(response)) => take_report(&cluster, &peer, response.into_inner().report),
        Ok(Err(status)) => tracing::debug!(peer = %peer.node, error = %status.message(), "heartbeat failed"),
        Err(_) => tracing::debug!(peer = %peer.node, waited = ?asked.elapsed(), "heartbeat got no answer"),
    }
    peer.node
}

fn take_report(cluster: &Cluster, peer: &Member, report: Option<proto::node::NodeReport>) {
    match report.map(NodeReport::try_from) {
        Some(Ok(report)) if report.node == peer.node => cluster.heard(report),
        Some(Ok(report)) => {
            tracing::warn!(peer = %peer.node, said = %report.node, "a peer answers under another name");
        }
        Some(Err(fault)) => tracing::warn!(peer = %peer.node, error = ?fault, "a peer's report was refused"),
        None => {}
    }
}

fn patience_of(cluster: &Cluster) -> Duration {
    cluster.settings.patience.suspect_after.max(cluster.settings.heartbeat)
}
