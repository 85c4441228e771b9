//! The actor `scheduler`. Owns: the placement of models, while this node leads.
//! Supervised by `root`. Talks to: the store (guarded by its epoch) and, through `peers`, to the nodes that load and unload.
//! Never: acts without a leadership whose lease certainly still holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorMessage;
use serde_json::json;
use tokio::task::JoinSet;

use super::Loops;
use crate::core::Core;
use crate::placing;

/// Between two looks at the placement.
const PLAN_EVERY: Duration = Duration::from_secs(2);

/// Messages of the scheduler.
#[derive(RactorMessage)]
pub enum SchedulerMessage {
    /// Look at the placement now.
    Plan,
    /// A look ended with this many moves.
    Planned(Result<usize, String>),
    /// Its timer ended.
    LoopEnded(String),
    /// A picture of the actor.
    Snapshot(RpcReplyPort<String>),
    /// Only with the feature `faults`: panic.
    #[cfg(feature = "faults")]
    Panic,
}

/// The actor.
pub struct Scheduler;

/// What it remembers.
pub struct SchedulerState {
    core: Arc<Core>,
    _loops: JoinSet<()>,
    planning: JoinSet<()>,
    plans: u64,
    moves: u64,
    last_error: Option<String>,
}

impl Actor for Scheduler {
    type Msg = SchedulerMessage;
    type State = SchedulerState;
    type Arguments = Arc<Core>;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, core: Arc<Core>) -> Result<Self::State, ActorProcessingErr> {
        let mut loops = Loops::new();
        let scheduler = myself.clone();
        loops.run("timer", async move {
            while scheduler.cast(SchedulerMessage::Plan).is_ok() {
                tokio::time::sleep(PLAN_EVERY).await;
            }
        });
        let loops = loops.watch(myself, SchedulerMessage::LoopEnded);
        Ok(SchedulerState { core, _loops: loops, planning: JoinSet::new(), plans: 0, moves: 0, last_error: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SchedulerMessage::Plan => state.plan(myself),
            SchedulerMessage::Planned(outcome) => state.planned(outcome),
            SchedulerMessage::LoopEnded(why) => return Err(why.into()),
            SchedulerMessage::Snapshot(reply) => {
                let leads = state.core.cluster().ok().and_then(|cluster| cluster.lead()).map(|lead| lead.epoch());
                let picture = json!({
                    "leads": leads, "plans": state.plans, "moves": state.moves, "last_error": state.last_error,
                });
                let _ = reply.send(picture.to_string());
            }
            #[cfg(feature = "faults")]
            SchedulerMessage::Panic => crate::faults::panic_now(),
        }
        Ok(())
    }
}

impl SchedulerState {
    /// Begins a look when this node leads and none goes on.
    fn plan(&mut self, myself: ActorRef<SchedulerMessage>) {
        while self.planning.try_join_next().is_some() {}
        let lead = self.core.cluster().ok().and_then(|cluster| cluster.lead());
        let Some(lead) = lead.filter(|_| self.planning.is_empty()) else { return };
        let core = self.core.clone();
        self.planning.spawn(async move {
            let outcome = placing::plan_and_move(&core, &lead, Instant::now()).await;
            let _ = myself.cast(SchedulerMessage::Planned(outcome.map_err(|fault| fault.full_message())));
        });
    }

    fn planned(&mut self, outcome: Result<usize, String>) {
        self.plans += 1;
        match outcome {
            Ok(moves) => {
                self.moves += moves as u64;
                self.last_error = None;
            }
            Err(error) => {
                tracing::warn!(error, "could not plan the placement");
                self.last_error = Some(error);
            }
        }
    }
}
