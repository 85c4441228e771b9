//! Why a worker cannot take an ask, with the numbers; and what a client is told when none can.

use std::fmt;
use std::time::{Duration, Instant};

use base::config::Mode;
use base::report::{Capability, NodeState, WorkerState};
use base::{ByteSize, Code, Fault};

use super::{Capabilities, Load, Pass, Request, Route, Row, Table, Terms, Worker};

/// A worker whose state should change soon is worth coming back for after this.
const COME_BACK: Duration = Duration::from_secs(2);
/// Nobody is told to wait longer than this.
const LONGEST_RETRY: Duration = Duration::from_secs(120);

/// Why a worker cannot take an ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// It is not the one worker that the ask belongs to.
    NotTheOne,
    /// The ask was there already, and failed.
    FailedBefore,
    /// The mode keeps asks from it.
    Mode(Mode),
    /// The model there is another one under the same name.
    OtherIdentity,
    /// The model cannot do it.
    Lacks(Capability),
    /// Prompt and answer do not fit.
    Context {
        /// Tokens of the prompt.
        needs: u32,
        /// Tokens of the context.
        has: u32,
    },
    /// The model does not fit into memory.
    Memory {
        /// What the model takes.
        needs: ByteSize,
        /// What its worker may use at all.
        usable: ByteSize,
    },
    /// The model failed there lately.
    Quarantined {
        /// For this much longer.
        left: Duration,
    },
    /// Its node cannot be used.
    Node(NodeState),
    /// It cannot be used itself.
    Worker(WorkerState, String),
    /// Too many asks failed there.
    Breaker {
        /// Until it is tried again.
        retry_in: Duration,
    },
    /// Its queue is full.
    QueueFull {
        /// Asks that wait.
        queued: u32,
        /// Until there is room, estimated.
        room_in: Duration,
    },
    /// It would not begin within the ask's deadline.
    TooLate {
        /// Until it would begin.
        wait: Duration,
        /// What is left of the deadline.
        left: Duration,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTheOne => f.write_str("the ask belongs to another worker"),
            Self::FailedBefore => f.write_str("the ask failed here before"),
            Self::Mode(mode) => write!(f, "mode {mode} keeps asks from it"),
            Self::OtherIdentity => f.write_str("has another model under this name"),
            Self::Lacks(capability) => write!(f, "the model lacks {capability}"),
            Self::Context { needs, has } => write!(f, "needs {needs} tokens of context, has {has}"),
            Self::Memory { needs, usable } => write!(f, "needs {needs}, {usable} usable"),
            Self::Quarantined { left } => write!(f, "model failed here, {} s of quarantine left", left.as_secs()),
            Self::Node(state) => write!(f, "node is {state}"),
            Self::Worker(state, reason) if reason.is_empty() => write!(f, "worker is {state}"),
            Self::Worker(state, reason) => write!(f, "worker is {state}: {reason}"),
            Self::Breaker { retry_in } => {
                write!(f, "failed repeatedly, tried again in {:.1} s", retry_in.as_secs_f64())
            }
            Self::QueueFull { queued, .. } => write!(f, "queue is full with {queued} asks"),
            Self::TooLate { wait, left } => {
                write!(f, "would begin in {:.1} s, {:.1} s are left", wait.as_secs_f64(), left.as_secs_f64())
            }
        }
    }
}

impl Refusal {
    /// Whether it says what happened before, not what is.
    pub(super) fn is_caution(&self) -> bool {
        matches!(self, Self::Quarantined { .. } | Self::Breaker { .. })
    }
}

/// What makes it impossible, whatever the load.
pub(super) fn check(
    table: &Table,
    row: &Row,
    request: &Request<'_>,
    wanted: Capabilities,
    now: Instant,
) -> Option<Refusal> {
    let worker = table.worker(row);
    by_ask(worker, row, request)
        .or_else(|| by_model(table, worker, row, request, wanted, now))
        .or_else(|| by_state(table, worker, now))
}

fn by_ask(worker: &Worker, row: &Row, request: &Request<'_>) -> Option<Refusal> {
    if request.only_worker.is_some_and(|only| *only != worker.id) {
        return Some(Refusal::NotTheOne);
    }
    if request.excluded.contains(&worker.id) {
        return Some(Refusal::FailedBefore);
    }
    request.requires_id.is_some_and(|id| *id != row.id).then_some(Refusal::OtherIdentity)
}

fn by_model(
    table: &Table,
    worker: &Worker,
    row: &Row,
    request: &Request<'_>,
    wanted: Capabilities,
    now: Instant,
) -> Option<Refusal> {
    let mode = table.settings().mode;
    let is_external = worker.backend.is_external();
    if (mode == Mode::LocalOnly && is_external) || (mode == Mode::ExternalOnly && !is_external) {
        return Some(Refusal::Mode(mode));
    }
    if let Some(capability) = row.capabilities.lacks(wanted) {
        return Some(Refusal::Lacks(capability));
    }
    // Texts for vectors and documents for scores are counted together, but computed each by itself.
    let is_one_text = !matches!(request.kind, base::Kind::Embedding | base::Kind::Rerank);
    if is_one_text && row.context_tokens > 0 && request.prompt_tokens >= row.context_tokens {
        return Some(Refusal::Context { needs: request.prompt_tokens, has: row.context_tokens });
    }
    let left = row.quarantined.saturating_sub(table.age(now));
    if !left.is_zero() {
        return Some(Refusal::Quarantined { left });
    }
    let memory = worker.memory.filter(|memory| !row.is_loaded && row.memory_bytes > memory.installed)?;
    Some(Refusal::Memory { needs: ByteSize(row.memory_bytes), usable: ByteSize(memory.installed) })
}

fn by_state(table: &Table, worker: &Worker, now: Instant) -> Option<Refusal> {
    let is_woken = worker.node_state == NodeState::Asleep && table.settings().wake.is_some();
    if !worker.node_state.is_routable() && !is_woken {
        return Some(Refusal::Node(worker.node_state));
    }
    if worker.state != WorkerState::Ready && !is_woken {
        return Some(Refusal::Worker(worker.state, worker.reason.clone()));
    }
    match worker.live.pass(now) {
        Pass::Free | Pass::Probe => None,
        Pass::Not { retry_in } => Some(Refusal::Breaker { retry_in }),
    }
}

/// What makes it pointless right now.
pub(super) fn check_load(
    table: &Table,
    worker: &Worker,
    request: &Request<'_>,
    load: Load,
    terms: &Terms,
) -> Option<Refusal> {
    let queued = u32::try_from(load.asks - i64::from(worker.slots)).unwrap_or(0);
    // Who takes turns with those that wait finds the room that the worker's own queue keeps for others.
    if f64::from(queued) * request.share >= f64::from(table.settings().queue) {
        let room_in = Duration::try_from_secs_f64(terms.wait / f64::from(queued.max(1))).unwrap_or(LONGEST_RETRY);
        return Some(Refusal::QueueFull { queued, room_in });
    }
    let wait = Duration::try_from_secs_f64(terms.wait + terms.load + terms.wake).unwrap_or(Duration::MAX);
    (wait > request.deadline_left).then_some(Refusal::TooLate { wait, left: request.deadline_left })
}

impl Refusal {
    /// Higher is nearer to being served: the client hears of its nearest miss.
    fn hope(&self) -> u8 {
        match self {
            Self::QueueFull { .. } | Self::TooLate { .. } => 5,
            Self::Breaker { .. } | Self::Node(_) | Self::Worker(..) | Self::Quarantined { .. } | Self::FailedBefore => {
                4
            }
            Self::Memory { .. } => 3,
            Self::Context { .. } => 2,
            Self::Lacks(_) | Self::OtherIdentity => 1,
            Self::Mode(_) | Self::NotTheOne => 0,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QueueFull { room_in, .. } => Some(*room_in),
            Self::TooLate { wait, left } => Some(wait.saturating_sub(*left)),
            Self::Breaker { retry_in } => Some(*retry_in),
            Self::Quarantined { left } => Some(*left),
            Self::Node(_) | Self::Worker(..) | Self::FailedBefore => Some(COME_BACK),
            _ => None,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::QueueFull { .. } | Self::TooLate { .. } => Code::Overloaded,
            Self::Context { .. } => Code::ContextExceeded,
            Self::Lacks(_) => Code::NotSupported,
            Self::Mode(_) => Code::PermissionDenied,
            _ => Code::Unavailable,
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } | Self::TooLate { .. } => "come back later, or add a worker that offers the model",
            Self::Context { .. } => "shorten the prompt, or choose a model with a larger context",
            Self::Lacks(_) => "choose a model that can; `tmctl models list` shows what each can do",
            Self::Mode(_) => "choose a local model, or change the mode with `tmctl mode set MODE`",
            Self::Memory { .. } => "choose a smaller quantisation, or give a worker more memory",
            Self::OtherIdentity => "ask again from the start: no worker that is up has the model that began the answer",
            Self::NotTheOne => "ask again without `context`: the worker that made it is gone",
            _ => "`tmctl workers` shows what is wrong with them",
        }
    }
}

impl Route {
    /// What the client is told when nobody was chosen: the nearest miss, and when to come back.
    pub fn fault(&self, table: &Table, request: &Request<'_>) -> Fault {
        let model = &table.catalogue().get(request.model).name;
        let refusals = || {
            self.candidates.iter().filter_map(|candidate| Some((candidate.worker, candidate.refused_because.as_ref()?)))
        };
        let Some((worker, refusal)) = refusals().max_by_key(|(_, refusal)| refusal.hope()) else {
            return Fault::new(Code::ModelNotFound, format!("no worker of the cluster offers model `{model}`"))
                .hint("add it to an engine, or start the engine that has it");
        };
        let at = table.worker_id(worker);
        let more = match self.candidates.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more cannot)", count - 1),
        };
        let fault = Fault::new(refusal.code(), format!("no worker can serve `{model}` now: `{at}` {refusal}{more}"))
            .hint(refusal.hint());
        let soonest = refusals().filter_map(|(_, refusal)| refusal.retry_after()).min();
        match soonest.filter(|_| refusal.code().is_retriable()) {
            Some(after) => fault.retry_after(after.clamp(Duration::from_secs(1), LONGEST_RETRY)),
            None => fault,
        }
    }
}
