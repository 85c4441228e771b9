//! The actor `recovery`. Owns: what is done about failures, one remedy at a time and within a budget.
//! Supervised by `root`. Talks to: workers and the scheduler by name, the cluster. Never: decides by itself; see `remedies`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use base::report::WorkerState;
use base::time::unix_ms;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorMessage;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Loops;
use super::scheduler::SchedulerMessage;
use super::worker::WorkerMessage;
use crate::core::{Core, Seen};
use crate::failures::{Failure, FailureLog, Outcome, Severity, Sighting, Subject};
use crate::remedies::{Budget, Facts, Remedy, Treatment, choose};

/// The same low failure this often makes it a medium one.
const WORSE_AFTER: u32 = 3;

/// Messages of recovery.
#[derive(RactorMessage)]
pub enum RecoveryMessage {
    /// Something was seen.
    Seen(Seen),
    /// Time to see whether a remedy helped.
    Check { failure: String, remedy: Remedy },
    /// Its loop ended.
    LoopEnded(String),
    /// A picture of the actor.
    Snapshot(RpcReplyPort<String>),
    /// Only with the feature `faults`: panic.
    #[cfg(feature = "faults")]
    Panic,
}

/// The actor.
pub struct Recovery;

/// From these alone it starts again; the list itself lives in the node, so that a crash of this actor keeps it.
#[derive(Clone)]
pub struct RecoveryArguments {
    /// The node.
    pub core: Arc<Core>,
    /// Where sightings come from; shared, since only one life of the actor reads at a time.
    pub sightings: Arc<tokio::sync::Mutex<mpsc::Receiver<Seen>>>,
}

/// What it remembers.
pub struct RecoveryState {
    core: Arc<Core>,
    _loops: JoinSet<()>,
    budget: Budget,
    quarantines: HashMap<Subject, u32>,
    treated: u64,
}

impl Actor for Recovery {
    type Msg = RecoveryMessage;
    type State = RecoveryState;
    type Arguments = RecoveryArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        RecoveryArguments { core, sightings }: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let mut loops = Loops::new();
        let recovery = myself.clone();
        loops.run("sightings", async move {
            let mut sightings = sightings.lock().await;
            while let Some(seen) = sightings.recv().await {
                if recovery.cast(RecoveryMessage::Seen(seen)).is_err() {
                    return;
                }
            }
        });
        let loops = loops.watch(myself, RecoveryMessage::LoopEnded);
        let budget = Budget::new(core.config.load().recovery.budget_per_hour);
        Ok(RecoveryState { core, _loops: loops, budget, quarantines: HashMap::new(), treated: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RecoveryMessage::Seen(Seen::Wrong(sighting)) => state.wrong(&myself, sighting),
            RecoveryMessage::Seen(Seen::Works(subject)) => state.works(&subject),
            RecoveryMessage::Check { failure, remedy } => state.check(&failure, remedy),
            RecoveryMessage::LoopEnded(why) => return Err(why.into()),
            RecoveryMessage::Snapshot(reply) => {
                let _ = reply.send(state.snapshot());
            }
            #[cfg(feature = "faults")]
            RecoveryMessage::Panic => crate::faults::panic_now(),
        }
        Ok(())
    }
}

impl RecoveryState {
    fn wrong(&mut self, myself: &ActorRef<RecoveryMessage>, sighting: Sighting) {
        let failure = {
            let mut log = log(&self.core);
            let (id, is_new) = log.note(sighting, unix_ms());
            let Some(failure) = log.newest_first().find(|failure| failure.id == id).cloned() else { return };
            if is_new {
                tracing::warn!(failure = id, subject = %failure.subject, detail = failure.detail, "failure");
                self.core.happened("failure", failure.subject.to_string(), failure.detail.clone());
            }
            failure
        };
        if failure.remedy.is_empty() {
            self.treat(myself, worsened(failure));
        }
    }

    /// Does something about a failure, where something fits and the budget allows.
    fn treat(&mut self, myself: &ActorRef<RecoveryMessage>, failure: Failure) {
        let Some(Treatment { remedy, check_after }) = choose(&failure, &self.facts(&failure)) else { return };
        let refusal = match self.core.config.load().recovery.enabled {
            false => Some("none: recovery is switched off, the owner must look"),
            true if self.budget.take(&failure.subject, Instant::now()) => None,
            true => Some("none: over the budget of remedies, the owner must look"),
        };
        if let Some(refusal) = refusal {
            log(&self.core).treated(&failure.id, refusal);
            return;
        }
        tracing::info!(failure = failure.id, remedy = %remedy, subject = %failure.subject, "applies a remedy");
        self.treated += 1;
        log(&self.core).treated(&failure.id, &remedy.to_string());
        self.apply(&remedy);
        if let Remedy::Quarantine { .. } = remedy {
            *self.quarantines.entry(failure.subject.clone()).or_default() += 1;
        }
        let id = failure.id;
        myself.send_after(check_after, move || RecoveryMessage::Check { failure: id, remedy });
    }

    fn apply(&self, remedy: &Remedy) {
        let now = Instant::now();
        match remedy {
            Remedy::RestartWorker(worker) => {
                let name = format!("worker/{}", worker.name());
                if let Some(actor) = ActorRef::<WorkerMessage>::where_is(name) {
                    let _ = actor.cast(WorkerMessage::Restart);
                }
            }
            Remedy::Quarantine { worker, model, for_ } => {
                if let Ok(port) = self.core.port(worker) {
                    port.quarantine(model, now + *for_);
                    self.core.table_is_old.notify_one();
                }
            }
            Remedy::Replace { .. } => plan_now(),
            Remedy::Evict { node, for_ } => {
                if let Ok(cluster) = self.core.cluster() {
                    cluster.evict(node.clone(), now + *for_);
                }
                plan_now();
            }
        }
    }

    /// A remedy that did not help is taken back; the failure stays on the list for the owner.
    fn check(&mut self, id: &str, remedy: Remedy) {
        let is_active = log(&self.core).newest_first().any(|f| f.id == id && f.outcome == Outcome::Active);
        if !is_active {
            return;
        }
        match &remedy {
            // Its time is over; whether the model works again is for the next ask to find out.
            Remedy::Quarantine { worker, model, .. } => {
                if let Ok(port) = self.core.port(worker) {
                    port.release(model);
                    self.core.table_is_old.notify_one();
                }
                log(&self.core).ended(id, Outcome::Passed);
            }
            Remedy::Evict { node, .. } => {
                if let Ok(cluster) = self.core.cluster() {
                    cluster.readmit(node);
                }
                log(&self.core).ended(id, Outcome::Passed);
            }
            Remedy::RestartWorker(worker) if self.worker_is_ready(worker) => {
                log(&self.core).ended(id, Outcome::Recovered);
            }
            Remedy::RestartWorker(_) | Remedy::Replace { .. } => log(&self.core).ended(id, Outcome::NotHelped),
        }
    }

    fn works(&mut self, subject: &Subject) {
        let ended = log(&self.core).subject_works(subject);
        if ended > 0 {
            tracing::info!(subject = %subject, failures = ended, "works again");
            self.quarantines.remove(subject);
        }
    }

    fn facts(&self, failure: &Failure) -> Facts {
        let worker = match &failure.subject {
            Subject::Worker(worker) | Subject::Model { worker, .. } => Some(worker),
            _ => None,
        };
        let port = worker.and_then(|worker| self.core.port(worker).ok());
        let me = &self.core.node;
        let view = self.core.cluster().map(|cluster| cluster.view());
        let other_nodes = view.map_or(0, |view| {
            view.nodes.iter().filter(|node| node.state.is_routable() && node.member.node != *me).count()
        });
        Facts {
            own_engine: port.is_some_and(|port| !port.config.command.is_empty()),
            works_again: false,
            other_nodes,
            other_places: match &failure.subject {
                Subject::Model { worker, model } => self.other_places(worker, model),
                _ => 0,
            },
            quarantines_before: self.quarantines.get(&failure.subject).copied().unwrap_or(0),
        }
    }

    fn other_places(&self, worker: &base::WorkerId, model: &str) -> usize {
        let reports = crate::desk::admin::reports(&self.core);
        let routable = reports.iter().filter(|(node, _)| node.state.is_routable());
        let workers = routable.filter_map(|(_, report)| report.as_ref()).flat_map(|report| &report.workers);
        let takes = |other: &&base::report::WorkerReport| {
            let has_it = other.models.iter().any(|one| one.name == model && one.quarantined_s.is_none());
            other.id != *worker && other.state == WorkerState::Ready && has_it
        };
        workers.filter(takes).count()
    }

    fn worker_is_ready(&self, worker: &base::WorkerId) -> bool {
        self.core.port(worker).is_ok_and(|port| port.facts().state == WorkerState::Ready)
    }

    fn snapshot(&self) -> String {
        let log = log(&self.core);
        json!({"active": log.active(), "recovery_rate": log.recovery_rate(), "treated": self.treated}).to_string()
    }
}

/// A low failure that repeats is a medium one.
fn worsened(mut failure: Failure) -> Failure {
    if failure.count >= WORSE_AFTER {
        failure.severity = failure.severity.max(Severity::Medium);
    }
    failure
}

fn plan_now() {
    if let Some(scheduler) = ActorRef::<SchedulerMessage>::where_is("scheduler") {
        let _ = scheduler.cast(SchedulerMessage::Plan);
    }
}

/// The list stays usable when a thread died while it held it: each failure is whole by itself.
fn log(core: &Core) -> MutexGuard<'_, FailureLog> {
    let failures: &Mutex<FailureLog> = &core.failures;
    failures.lock().unwrap_or_else(PoisonError::into_inner)
}
