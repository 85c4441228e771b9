//! Heartbeats: several times a second this node trades reports with every peer, each exchange bounded in time and none
//! waiting for another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::report::NodeReport;
use base::{Code, NodeId};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use proto::node::HeartbeatRequest;
use proto::node::node_client::NodeClient;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::cluster::Cluster;
use crate::view::Member;

/// A lost peer is asked this often whether it is back; it tells us itself when it is.
const ASK_LOST_EVERY: Duration = Duration::from_secs(2);

/// Channels to peers; made by `net`, one per peer, kept by whoever implements this.
pub trait Dial: Send + Sync + 'static {
    /// The channel to the `node.v1` of `node` at `address`.
    fn peer(&self, node: &NodeId, address: &str) -> base::Result<Channel>;
}

/// The exchanges with one peer.
#[derive(Default)]
struct Exchange {
    asked: Option<Instant>,
    is_open: bool,
    is_failing: bool,
}

type Outcome = Result<(), String>;

impl Cluster {
    /// Beats until cancelled. A peer whose last exchange has not ended is not asked twice.
    pub async fn run_heartbeats(self: Arc<Self>, cancel: CancellationToken) {
        let mut exchanges: HashMap<NodeId, Exchange> = HashMap::new();
        let mut beats = FuturesUnordered::new();
        let mut ticks = tokio::time::interval(self.settings.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some((node, outcome)) = beats.next() => {
                    if let Some(exchange) = exchanges.get_mut(&node) {
                        exchange.ended(&node, outcome);
                    }
                }
                _ = ticks.tick() => {
                    let due = due(&mut exchanges, self.peers(), Instant::now());
                    if !due.is_empty() {
                        let request = self.own_words();
                        beats.extend(due.into_iter().map(|peer| self.beat(peer, request.clone())));
                    }
                }
            }
        }
    }

    /// One exchange with a node right now, because of a hint that it may be gone. When nobody answers at its address
    /// either, it is silent from now on.
    pub async fn ask_now(&self, node: &NodeId) {
        let Some((peer, _)) = self.peers().into_iter().find(|(peer, _)| peer.node == *node) else { return };
        let (_, outcome) = self.beat(peer, self.own_words()).await;
        if outcome.is_err() {
            self.is_gone(node, Duration::ZERO);
        }
    }

    /// One exchange with every peer, at once.
    pub(crate) async fn beat_all(&self) {
        let request = self.own_words();
        let beats = self.peers().into_iter().map(|(peer, _)| self.beat(peer, request.clone()));
        let mut beats: FuturesUnordered<_> = beats.collect();
        while beats.next().await.is_some() {}
    }

    /// Drawn once for all peers of a round.
    fn own_words(&self) -> HeartbeatRequest {
        HeartbeatRequest { report: Some((&self.own_report()).into()) }
    }

    async fn beat(&self, peer: Member, request: HeartbeatRequest) -> (NodeId, Outcome) {
        // Half of the patience, so that one exchange may get lost before its peer is suspect.
        let within = (self.settings.patience.suspect_after / 2).max(self.settings.heartbeat);
        let mut client = match self.dial.peer(&peer.node, &peer.peer_address) {
            Ok(channel) => NodeClient::new(channel),
            Err(fault) => return (peer.node, Err(fault.full_message())),
        };
        let outcome = match tokio::time::timeout(within, client.heartbeat(request)).await {
            Ok(Ok(answer)) => self.take(&peer, answer.into_inner().report),
            Ok(Err(status)) => {
                // A connection that is refused or broken says more than silence: the process is gone.
                if proto::from_status(&status).code == Code::Unreachable {
                    self.is_gone(&peer.node, self.settings.heartbeat);
                }
                Err(status.message().to_owned())
            }
            Err(_) => Err(format!("no answer within {within:?}")),
        };
        (peer.node, outcome)
    }

    fn take(&self, peer: &Member, report: Option<proto::node::NodeReport>) -> Outcome {
        let report = report.ok_or("its answer has no report")?;
        let report = NodeReport::try_from(report).map_err(|fault| format!("its report is refused: {fault}"))?;
        if report.node != peer.node {
            return Err(format!("`{}` answers at {}", report.node, peer.peer_address));
        }
        self.heard(report);
        Ok(())
    }
}

impl Exchange {
    /// Only a change is told; a peer that is away fails several times a second.
    fn ended(&mut self, node: &NodeId, outcome: Outcome) {
        self.is_open = false;
        match (&outcome, self.is_failing) {
            (Err(error), false) => tracing::warn!(peer = %node, error, "heartbeats fail"),
            (Ok(()), true) => tracing::info!(peer = %node, "heartbeats come through again"),
            _ => {}
        }
        self.is_failing = outcome.is_err();
    }
}

/// The peers to ask now, noted as asked; those that are no peers any more are forgotten.
fn due(exchanges: &mut HashMap<NodeId, Exchange>, peers: Vec<(Member, bool)>, now: Instant) -> Vec<Member> {
    exchanges.retain(|node, exchange| exchange.is_open || peers.iter().any(|(peer, _)| peer.node == *node));
    let mut due = Vec::with_capacity(peers.len());
    for (peer, is_lost) in peers {
        let exchange = exchanges.entry(peer.node.clone()).or_default();
        let pause = if is_lost { ASK_LOST_EVERY } else { Duration::ZERO };
        if !exchange.is_open && exchange.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= pause) {
            (exchange.asked, exchange.is_open) = (Some(now), true);
            due.push(peer);
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use base::Incarnation;

    use super::*;

    fn peer(name: &str) -> Member {
        let text = String::new;
        Member {
            node: name.into(),
            incarnation: Incarnation(1),
            peer_address: text(),
            actors_address: text(),
            grpc_address: text(),
        }
    }

    #[test]
    fn a_peer_that_does_not_answer_keeps_nobody_else_waiting() {
        let (mut exchanges, start) = (HashMap::new(), Instant::now());
        let peers = || vec![(peer("slow"), false), (peer("quick"), false)];
        assert_eq!(due(&mut exchanges, peers(), start).len(), 2);
        exchanges.get_mut(&"quick".into()).unwrap().ended(&"quick".into(), Ok(()));
        assert_eq!(due(&mut exchanges, peers(), start + Duration::from_millis(400)), [peer("quick")]);
    }

    #[test]
    fn a_lost_peer_is_asked_every_two_seconds() {
        let (mut exchanges, start) = (HashMap::new(), Instant::now());
        let mut asked = 0;
        for tick in 0..25 {
            let now = start + Duration::from_millis(400) * tick;
            asked += due(&mut exchanges, vec![(peer("lost"), true)], now).len();
            exchanges.get_mut(&"lost".into()).unwrap().ended(&"lost".into(), Err("refused".to_owned()));
        }
        assert_eq!(asked, 5, "in 9.6 s");
    }
}
