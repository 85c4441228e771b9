//! The supervisor `root`. Owns: the node's other actors.
//! Supervised by: nobody; when it ends, the node stops. Talks to: its children. Never: does their work.

use std::sync::Arc;

use super::children::Recipe;
use super::indexer::{Indexer, IndexerMessage};
use super::jobs::{Jobs, JobsMessage};
use super::links::{Links, LinksArguments, LinksMessage};
use super::membership::{Membership, MembershipMessage};
use super::policy::RestartPolicy;
use super::recovery::{Recovery, RecoveryArguments, RecoveryMessage};
use super::scheduler::{Scheduler, SchedulerMessage};
use super::supervisor::{Supervisor, SupervisorArguments, SupervisorMessage};
use super::workers;
use crate::core::Core;

/// The supervisor without which no worker is watched.
const WORKERS: &str = "workers";

/// The whole tree of a node; without `links`, supervisors of different nodes do not talk.
pub fn arguments(core: &Arc<Core>, recovery: RecoveryArguments, links: Option<LinksArguments>) -> SupervisorArguments {
    let quick = RestartPolicy::QUICK;
    let [for_membership, for_workers, for_scheduler, for_jobs] = [(); 4].map(|()| core.clone());
    let workers = move || (Supervisor, workers::arguments(&for_workers));
    let mut children = vec![
        Recipe::new("recovery".to_owned(), quick, RecoveryMessage::Snapshot, move || (Recovery, recovery.clone())),
        Recipe::new("membership".to_owned(), quick, MembershipMessage::Snapshot, move || {
            (Membership, for_membership.clone())
        }),
        Recipe::new(WORKERS.to_owned(), RestartPolicy::SUPERVISOR, SupervisorMessage::Snapshot, workers),
        Recipe::new("scheduler".to_owned(), quick, SchedulerMessage::Snapshot, move || {
            (Scheduler, for_scheduler.clone())
        }),
        Recipe::new("jobs".to_owned(), quick, JobsMessage::Snapshot, move || (Jobs, for_jobs.clone())),
    ];
    if core.own_library().is_some() {
        let for_indexer = core.clone();
        let indexer = move || (Indexer, for_indexer.clone());
        children.push(Recipe::new("indexer".to_owned(), quick, IndexerMessage::Snapshot, indexer));
    }
    children.extend(
        links.map(|links| {
            Recipe::new("links".to_owned(), quick, LinksMessage::Snapshot, move || (Links, links.clone()))
        }),
    );
    SupervisorArguments { core: core.clone(), children, given_up }
}

fn given_up(core: &Core, name: String) {
    core.happened("actor", &name, "was given up");
    if name == WORKERS {
        core.ports.load().values().for_each(|port| port.abandon());
        core.table_is_old.notify_one();
    }
}
