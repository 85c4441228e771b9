//! The actor `membership`. Owns: the node's place in the cluster, the settings that follow the store, the routing table.
//! Supervised by `root`. Talks to: the store and peers, through `cluster`. Never: waits for either in its mailbox.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::report::NodeState;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorMessage;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Loops;
use crate::core::{Core, Seen};
use crate::failures::{FailureKind, Severity, Sighting, Subject};
use crate::mode::watch;
use crate::{anchor, backups, certificates, fleet, load, settings, spending};

/// The table is made anew at least this often, so that quarantines end in time.
const TABLE_AT_LEAST: Duration = Duration::from_secs(1);
/// Changes that come in a burst make one table.
const TABLE_AT_MOST: Duration = Duration::from_millis(10);

/// Messages of membership.
#[derive(RactorMessage)]
pub enum MembershipMessage {
    /// One of its loops ended: it ends too, and starts again whole.
    LoopEnded(String),
    /// A picture of the actor.
    Snapshot(RpcReplyPort<String>),
    /// Only with the feature `faults`: panic.
    #[cfg(feature = "faults")]
    Panic,
}

/// The actor.
pub struct Membership;

/// What it remembers.
pub struct MembershipState {
    core: Arc<Core>,
    _loops: JoinSet<()>,
    _cancel: DropGuard,
}

impl Actor for Membership {
    type Msg = MembershipMessage;
    type State = MembershipState;
    type Arguments = Arc<Core>;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, core: Arc<Core>) -> Result<Self::State, ActorProcessingErr> {
        let cluster = core.cluster()?.clone();
        let cancel = CancellationToken::new();
        let mut loops = Loops::new();
        loops.run("membership", cluster.clone().run_membership(cancel.clone()));
        loops.run("heartbeats", cluster.run_heartbeats(cancel.clone()));
        loops.run("table", keep_table(core.clone()));
        loops.run("machine", fleet::keep_machine(core.clone()));
        loops.run("load", load::keep(core.clone()));
        loops.run("settings", settings::follow(core.clone()));
        loops.run("triggers", watch::keep(core.clone()));
        loops.run("anchor", anchor::keep(core.clone()));
        loops.run("spending", spending::share(core.clone()));
        loops.run("certificates", certificates::keep(core.clone()));
        loops.run("backups", backups::scheduled::keep(core.clone()));
        let loops = loops.watch(myself, MembershipMessage::LoopEnded);
        Ok(MembershipState { core, _loops: loops, _cancel: cancel.drop_guard() })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            MembershipMessage::LoopEnded(why) => return Err(why.into()),
            MembershipMessage::Snapshot(reply) => {
                let _ = reply.send(state.snapshot()?);
            }
            #[cfg(feature = "faults")]
            MembershipMessage::Panic => crate::faults::panic_now(),
        }
        Ok(())
    }
}

impl MembershipState {
    fn snapshot(&self) -> base::Result<String> {
        let view = self.core.cluster()?.view();
        let nodes: Vec<_> =
            view.nodes.iter().map(|node| json!({"node": node.member.node, "state": node.state})).collect();
        let leader = view.leader.as_ref().map(|(node, epoch)| json!({"node": node, "epoch": epoch}));
        Ok(json!({"nodes": nodes, "leader": leader, "version": view.version}).to_string())
    }
}

/// Makes the routing table anew whenever something changed that it is made of.
async fn keep_table(core: Arc<Core>) {
    let Ok(cluster) = core.cluster().cloned() else { return };
    let mut views = cluster.subscribe();
    let mut before = cluster.view();
    let mut standstill = Standstill::None;
    loop {
        standstill = look_for_room(&core, standstill);
        let view = views.borrow_and_update().clone();
        fleet::make_table(&core, &view, Instant::now());
        tell_changes(&core, &before, &view);
        before = view;
        tokio::time::sleep(TABLE_AT_MOST).await;
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return },
            () = core.table_is_old.notified() => {}
            () = tokio::time::sleep(TABLE_AT_LEAST) => {}
        }
        core.joins.sweep(Instant::now());
    }
}

/// Tells of a store in which nothing can be put, when that is another trouble than before, and of the end of it; gives
/// which trouble it is.
fn look_for_room(core: &Core, before: Standstill) -> Standstill {
    let (now, why) = standstill(&core.store.health());
    core.degrade("store", why.clone());
    if now != before {
        core.tell(match why {
            None => Seen::Works(Subject::Other("store".to_owned())),
            Some(detail) => Seen::Wrong(Sighting {
                subject: Subject::Other("store".to_owned()),
                kind: FailureKind::ResourceExhaustion,
                severity: Severity::Critical,
                detail,
            }),
        });
    }
    now
}

/// Why a store takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standstill {
    /// It does.
    None,
    /// There is no room.
    Full,
    /// Its disk failed, and only a start of the node brings it back.
    Broken,
}

/// Which one it is, and what is said of it.
fn standstill(health: &store::Health) -> (Standstill, Option<String>) {
    match (&health.broken, &health.full) {
        (Some(why), _) => (Standstill::Broken, Some(why.clone())),
        (None, Some(why)) => (Standstill::Full, Some(format!("{why}; nothing can be changed until there is room"))),
        (None, None) => (Standstill::None, None),
    }
}

/// Tells recovery and whoever watches what is new in the view.
fn tell_changes(core: &Core, before: &cluster::ClusterView, view: &cluster::ClusterView) {
    if before.leader != view.leader {
        let text = view
            .leader
            .as_ref()
            .map_or("nobody leads".to_owned(), |(node, epoch)| format!("{node} leads, epoch {epoch}"));
        core.happened("leader", core.node.as_str(), text);
    }
    for node in &view.nodes {
        let name = &node.member.node;
        let was = before.node(name).map(|before| (before.state, before.member.incarnation));
        if was == Some((node.state, node.member.incarnation)) || *name == view.me {
            continue;
        }
        core.happened("node", name.as_str(), format!("is {}", node.state));
        tracing::info!(node = %name, state = %node.state, incarnation = %node.member.incarnation, "node changed");
        match node.state {
            NodeState::Alive => core.tell(Seen::Works(Subject::Node(name.clone()))),
            NodeState::Lost => {
                core.peers.lost(name);
                let detail = "neither its lease nor its heartbeats are there".to_owned();
                let (kind, severity) = (FailureKind::Network, Severity::Medium);
                core.tell(Seen::Wrong(Sighting { subject: Subject::Node(name.clone()), kind, severity, detail }));
            }
            _ => {}
        }
        // A later life of a node knows nothing of the runs of the one before, and is not left out for its end.
        if was.is_some_and(|(_, incarnation)| incarnation < node.member.incarnation) {
            core.peers.lost(name);
            if let Ok(cluster) = core.cluster() {
                cluster.readmit(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_broke_down_is_told_of_before_one_without_room() {
        let health = |full: Option<&str>, broken: Option<&str>| store::Health {
            reachable: true,
            since: Instant::now(),
            last_error: None,
            full: full.map(str::to_owned),
            broken: broken.map(str::to_owned),
            revision: store::Revision(1),
            cluster: None,
        };
        assert_eq!(standstill(&health(None, None)), (Standstill::None, None));
        let (which, why) = standstill(&health(Some("no room"), None));
        assert_eq!(
            (which, why.as_deref()),
            (Standstill::Full, Some("no room; nothing can be changed until there is room"))
        );
        let (which, why) = standstill(&health(Some("no room"), Some("start tmd again")));
        assert_eq!((which, why.as_deref()), (Standstill::Broken, Some("start tmd again")));
    }
}
