//! The actor `jobs`. Owns: the work on jobs that this node has taken up.
//! Supervised by `root`. Talks to: the store, and through `planning` to the cluster's models. Never: decides what a job does;
//! `planner` does, in steps that the store keeps.

use std::sync::Arc;

use planner::Planning;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorMessage;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Loops;
use crate::core::Core;
use crate::planning::ClusterModels;

/// How long a job stays with a node that has died.
const LEASE: std::time::Duration = std::time::Duration::from_secs(5);

/// Messages of the actor.
#[derive(RactorMessage)]
pub enum JobsMessage {
    /// Its loop ended.
    LoopEnded(String),
    /// A picture of the actor.
    Snapshot(RpcReplyPort<String>),
    /// Only with the feature `faults`: panic.
    #[cfg(feature = "faults")]
    Panic,
}

/// The actor.
pub struct Jobs;

/// What it holds; dropping it lets go of every job, which another node, or its own next life, takes up.
pub struct JobsState {
    core: Arc<Core>,
    _loops: JoinSet<()>,
    _end: DropGuard,
}

impl Actor for Jobs {
    type Msg = JobsMessage;
    type State = JobsState;
    type Arguments = Arc<Core>;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, core: Arc<Core>) -> Result<Self::State, ActorProcessingErr> {
        let stop: CancellationToken = core.stop.child_token();
        let mut loops = Loops::new();
        let serve =
            core.planning.clone().serve(Arc::new(ClusterModels(core.clone())), Planning::serving(LEASE), stop.clone());
        loops.serve("serve", serve);
        let loops = loops.watch(myself, JobsMessage::LoopEnded);
        Ok(JobsState { core, _loops: loops, _end: stop.drop_guard() })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            JobsMessage::LoopEnded(why) => return Err(why.into()),
            JobsMessage::Snapshot(reply) => {
                let picture = json!({"late_writes": state.core.planning.jobs.late_writes()});
                let _ = reply.send(picture.to_string());
            }
            #[cfg(feature = "faults")]
            JobsMessage::Panic => crate::faults::panic_now(),
        }
        Ok(())
    }
}
