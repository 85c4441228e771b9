//! The actor `worker/NAME`. Owns: the watch over one engine, and its process where the configuration gives a command.
//! Supervised by `workers`. Talks to: the engine, recovery (by sightings). Never: touches the bytes of an ask.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base::report::WorkerState;
use base::retry::Backoff;
use inference::backend::{EngineModel, Health, Incident};
use inference::process::{EngineEnd, EngineProcess, Launch};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorMessage;
use serde_json::json;
use tokio::task::JoinSet;

use super::policy::{Reaction, RestartPolicy, Restarts};
use crate::core::{Core, Seen};
use crate::failures::{FailureKind, Severity, Sighting, Subject};
use crate::worker::port::{Facts, Port, offered};

/// Between looks at an engine that works.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between looks at one that does not: a revived engine is used again within half a second.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Bound on one look; shorter than a backend's own, so that silence is told from a refusal.
const LOOK_WITHIN: Duration = Duration::from_millis(1500);
/// Looks without an answer and without progress after which an engine hangs.
const SILENT_LOOKS: u32 = 3;
/// An engine process that ends more often than this is left alone for the window.
const ENGINE_POLICY: RestartPolicy = RestartPolicy {
    backoff: Backoff { first: Duration::from_millis(200), most: Duration::from_secs(10), jitter: 0.2 },
    limit: 5,
    window: Duration::from_secs(60),
};

/// Messages of a worker.
#[derive(RactorMessage)]
pub enum WorkerMessage {
    /// Look at the engine.
    Look,
    /// A look ended; what its processes did meanwhile.
    Looked(Look, Vec<Incident>),
    /// End the engine's process and start it again; where it is a neighbour, only look at once.
    Restart,
    /// A picture of the actor.
    Snapshot(RpcReplyPort<String>),
    /// Only with the feature `faults`: panic.
    #[cfg(feature = "faults")]
    Panic,
}

/// What a look found.
#[derive(Debug)]
pub enum Look {
    /// The engine answers and has these models.
    Up(Vec<EngineModel>),
    /// It is on its way up.
    Loading(String),
    /// It does not answer, but its runs make progress.
    Busy,
    /// It does not answer.
    Silent(String),
    /// It refuses connections, or answers junk.
    Down(String),
    /// Its process ended.
    Ended(EngineEnd),
    /// Its process could not be started.
    NotStarted(String),
}

/// The actor.
pub struct Worker;

/// From these alone a worker starts again.
#[derive(Clone)]
pub struct WorkerArguments {
    /// The node.
    pub core: Arc<Core>,
    /// The data path that it watches over.
    pub port: Arc<Port>,
}

/// What it remembers between messages.
pub struct WorkerActorState {
    core: Arc<Core>,
    port: Arc<Port>,
    tasks: JoinSet<()>,
    is_looking: bool,
    silent_looks: u32,
    progress_seen: u64,
    restarts: Restarts,
    /// The engine process may be started from then on.
    start_from: Option<Instant>,
    looks: u64,
}

impl Actor for Worker {
    type Msg = WorkerMessage;
    type State = WorkerActorState;
    type Arguments = WorkerArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        WorkerArguments { core, port }: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let mut tasks = JoinSet::new();
        tasks.spawn(ring(myself, port.clone()));
        let progress_seen = port.progress.load(Ordering::Relaxed);
        let restarts = Restarts::new(ENGINE_POLICY);
        let start_from = Some(Instant::now());
        Ok(WorkerActorState {
            core,
            port,
            tasks,
            is_looking: false,
            silent_looks: 0,
            progress_seen,
            restarts,
            start_from,
            looks: 0,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::Look => state.look(&myself),
            WorkerMessage::Looked(look, incidents) => {
                incidents.iter().for_each(|incident| state.happened(incident));
                state.looked(look);
            }
            WorkerMessage::Restart => state.restart(),
            WorkerMessage::Snapshot(reply) => {
                // Whoever asked may have left; that is its business.
                let _ = reply.send(state.snapshot());
            }
            #[cfg(feature = "faults")]
            WorkerMessage::Panic => crate::faults::panic_now(),
        }
        Ok(())
    }
}

impl WorkerActorState {
    /// Begins a look, unless one goes on.
    fn look(&mut self, myself: &ActorRef<WorkerMessage>) {
        if self.is_looking {
            return;
        }
        self.is_looking = true;
        self.looks += 1;
        let (port, core, myself) = (self.port.clone(), self.core.clone(), myself.clone());
        let may_start = self.start_from.is_some_and(|from| from <= Instant::now());
        let progress_seen = self.progress_seen;
        self.tasks.spawn(async move {
            let incidents = port.backend.tend().await;
            let look = look_at(&core, &port, may_start, progress_seen).await;
            // The actor is gone only when this task is, too.
            let _ = myself.cast(WorkerMessage::Looked(look, incidents));
        });
    }

    fn looked(&mut self, look: Look) {
        self.is_looking = false;
        while self.tasks.try_join_next().is_some() {}
        self.progress_seen = self.port.progress.load(Ordering::Relaxed);
        self.silent_looks = if matches!(look, Look::Silent(_)) { self.silent_looks + 1 } else { 0 };
        match look {
            Look::Up(models) => self.is_up(models),
            Look::Busy => {}
            Look::Loading(reason) => self.is_not_up(WorkerState::Starting, reason, None),
            Look::Silent(reason) if self.silent_looks >= SILENT_LOOKS => self.hangs(reason),
            Look::Silent(_) => {}
            Look::Down(reason) => self.is_not_up(WorkerState::Down, reason, Some(Severity::Medium)),
            Look::Ended(end) => self.ended(&end),
            Look::NotStarted(reason) => self.plan_start(reason),
        }
    }

    fn is_up(&mut self, engine_models: Vec<EngineModel>) {
        let listed = |model: &EngineModel| {
            let only = &self.port.config.models;
            only.is_empty() || only.contains(&model.name)
        };
        let config = self.core.config.load();
        let offered = |model| offered(&self.port.id, model, &config.models);
        let models: Vec<_> = engine_models.into_iter().filter(listed).map(offered).collect();
        let was = self.port.facts().state;
        if was != WorkerState::Ready {
            tracing::info!(worker = %self.port.id, models = models.len(), "engine is up");
            self.core.happened("worker", self.port.id.as_str(), "is ready");
            self.core.tell(Seen::Works(Subject::Worker(self.port.id.clone())));
        }
        self.port.live.succeeded();
        self.set_facts(WorkerState::Ready, String::new(), models);
    }

    fn is_not_up(&mut self, state: WorkerState, reason: String, severity: Option<Severity>) {
        let before = self.port.facts();
        let is_given_up = before.state == WorkerState::Failed && self.start_from.is_some_and(|at| at > Instant::now());
        let (state, reason) = if is_given_up { (before.state, before.reason.clone()) } else { (state, reason) };
        if before.state == WorkerState::Ready {
            tracing::warn!(worker = %self.port.id, state = %state, reason, "engine does not work");
            self.core.happened("worker", self.port.id.as_str(), format!("is {state}: {reason}"));
        }
        if let Some(severity) = severity.filter(|_| before.state != state) {
            self.tell(FailureKind::SystemError, severity, reason.clone());
        }
        // What it offered stays known, so that routing can say why the model cannot be had.
        self.set_facts(state, reason, before.models.clone());
    }

    /// Neither answers nor makes progress: its runs are ended, and its process where it is ours.
    fn hangs(&mut self, reason: String) {
        self.silent_looks = 0;
        self.port.cut_runs();
        let reason = format!("hangs: {reason}");
        self.is_not_up(WorkerState::Down, reason.clone(), Some(Severity::High));
        if !self.port.config.command.is_empty() {
            self.end_process(true);
            // An engine that hangs whenever it is started is left alone like one that ends.
            self.plan_start(reason);
        }
    }

    fn ended(&mut self, end: &EngineEnd) {
        self.tell(kind_of(end), Severity::Medium, end.detail());
        self.plan_start(end.reason());
    }

    /// One process of several ended; its backend starts it again by itself, or leaves it alone.
    fn happened(&mut self, incident: &Incident) {
        let model = &incident.model;
        let (end, facts) = (&incident.end, self.port.facts());
        tracing::warn!(worker = %self.port.id, model, cause = end.cause, "the process of a model ended");
        let Some(alone) = incident.quarantine else {
            self.core.metrics.engine_restarted(self.port.id.as_str());
            self.tell(kind_of(end), Severity::Medium, format!("model `{model}`: {}", end.detail()));
            return;
        };
        let name = facts.models.iter().find(|offered| offered.engine.name == *model).map_or(model, |it| &it.name);
        self.port.quarantine(name, Instant::now() + alone);
        self.core.table_is_old.notify_one();
        let alone = base::units::format_duration(alone);
        self.tell(kind_of(end), Severity::High, format!("model `{model}` is left alone for {alone}: {}", end.detail()));
    }

    /// The process is started again after a growing delay, or, when it ended too often, after a whole window.
    fn plan_start(&mut self, reason: String) {
        let now = Instant::now();
        match self.restarts.ended(now, fastrand::f64()) {
            Reaction::Restart(delay) => {
                self.start_from = Some(now + delay);
                self.core.metrics.engine_restarted(self.port.id.as_str());
                self.is_not_up(WorkerState::Down, reason, None);
            }
            Reaction::Escalate => {
                self.start_from = Some(now + ENGINE_POLICY.window);
                let reason = format!("given up for {} s: {reason}", ENGINE_POLICY.window.as_secs());
                self.tell(FailureKind::SystemError, Severity::High, reason.clone());
                self.is_not_up(WorkerState::Failed, reason, None);
            }
        }
    }

    fn restart(&mut self) {
        // An engine that has ended is started by its plan already; one more start would evade the limit.
        let has_ended = matches!(self.port.facts().state, WorkerState::Down | WorkerState::Failed);
        if !self.port.config.command.is_empty() && !has_ended {
            self.end_process(false);
        }
        self.port.look.notify_one();
    }

    fn end_process(&mut self, force: bool) {
        let port = self.port.clone();
        self.tasks.spawn(async move {
            port.end_engine(force).await;
            port.look.notify_one();
        });
    }

    fn set_facts(&mut self, state: WorkerState, reason: String, models: Vec<crate::worker::port::OfferedModel>) {
        let facts = Facts { state, reason, models, memory_bytes: memory_for(&self.core, &self.port) };
        if self.port.set_facts(facts) {
            self.core.table_is_old.notify_one();
        }
    }

    fn tell(&self, kind: FailureKind, severity: Severity, detail: String) {
        let subject = Subject::Worker(self.port.id.clone());
        self.core.tell(Seen::Wrong(Sighting { subject, kind, severity, detail }));
    }

    fn snapshot(&self) -> String {
        let facts = self.port.facts();
        let (busy, queued) = self.port.gate.counts();
        json!({
            "state": facts.state, "reason": facts.reason, "models": facts.models.len(), "busy": busy,
            "queued": queued, "looks": self.looks, "engine_restarts": self.restarts.total,
        })
        .to_string()
    }
}

fn kind_of(end: &EngineEnd) -> FailureKind {
    if end.is_out_of_memory { FailureKind::ResourceExhaustion } else { FailureKind::SystemError }
}

/// Rings for a look: regularly, faster while the engine does not work, at once when a run failed.
async fn ring(worker: ActorRef<WorkerMessage>, port: Arc<Port>) {
    loop {
        if worker.cast(WorkerMessage::Look).is_err() {
            return;
        }
        let is_ready = port.facts().state == WorkerState::Ready;
        let pause = if is_ready { LOOK_EVERY } else { LOOK_AGAIN };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = port.look.notified() => {}
        }
        // Asks that wait for another model may have waited long enough by now.
        port.gate.pump();
    }
}

/// One look: the process first where it is ours, then the engine.
async fn look_at(core: &Core, port: &Port, may_start: bool, progress_seen: u64) -> Look {
    if !port.config.command.is_empty() {
        let mut process = port.process.lock().await;
        if let Some(end) = process.as_mut().and_then(EngineProcess::try_ended) {
            *process = None;
            return Look::Ended(end);
        }
        if process.is_none() {
            if !may_start {
                return Look::Down(port.facts().reason.clone());
            }
            let (worker, command) = (port.config.name.clone(), port.config.command.clone());
            match EngineProcess::start(&Launch { worker, command, ..Launch::default() }, &core.tasks).await {
                Ok(started) => *process = Some(started),
                Err(fault) => return Look::NotStarted(fault.full_message()),
            }
        }
    }
    let asked = tokio::time::timeout(LOOK_WITHIN, async {
        match port.backend.health().await {
            Health::Up | Health::Busy => match port.backend.models(Instant::now() + LOOK_WITHIN).await {
                Ok(models) => Look::Up(models),
                Err(fault) => Look::Down(fault.full_message()),
            },
            Health::Loading => Look::Loading("its engine is loading".to_owned()),
            Health::Down(reason) => Look::Down(reason),
        }
    });
    let look = asked
        .await
        .unwrap_or_else(|_| Look::Silent(format!("no answer within {}", base::units::format_duration(LOOK_WITHIN))));
    let has_progress = port.progress.load(Ordering::Relaxed) != progress_seen;
    let is_own = !port.config.command.is_empty();
    match look {
        Look::Silent(_) if has_progress => Look::Busy,
        // A process of ours that is up but does not listen yet is starting, not broken.
        Look::Down(reason) if is_own && port.facts().state != WorkerState::Ready => Look::Loading(reason),
        look => look,
    }
}

/// Memory for models: as configured, else what the GPUs have, else what the machine has.
fn memory_for(core: &Core, port: &Port) -> u64 {
    if port.config.memory.0 > 0 || port.config.backend.is_external() {
        return port.config.memory.0;
    }
    let machine = core.machine.load();
    let gpus: u64 = machine.gpus.iter().filter(|gpu| gpu.fault.is_none()).map(|gpu| gpu.memory_bytes).sum();
    if gpus > 0 { gpus } else { machine.memory_bytes }
}
