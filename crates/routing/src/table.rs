//! The snapshot that every ask is routed by: for each model of the catalogue, the workers that offer it, with all that
//! an estimate needs already resolved, so that a route does no hashing and no string comparison per candidate.
//!
//! Built anew with each report (a heartbeat); between two builds only the atomics of [`LiveMap`] move.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::report::{Backend, Machine, ModelReport, NodeReport, NodeState, WorkerReport, WorkerState};
use base::{ModelId, WorkerId};

use crate::leaning::Side;
use crate::live::{Demand, LiveMap, Load, ModelLive, WorkerLive};
use crate::model::{Capabilities, Catalogue, ModelIndex};
use crate::rates::{Knowledge, Rates, calibrated, memory_bytes, rates};
use crate::route::{Request, is_refused};
use crate::settings::Settings;

/// A model that goes is missed when one of this many next asks is for it.
const ASKS_AHEAD: f64 = 8.0;

/// Everything that a route is decided by.
#[derive(Debug)]
pub struct Table {
    settings: Settings,
    catalogue: Arc<Catalogue>,
    pub(crate) workers: Vec<Worker>,
    /// Per model of the catalogue.
    rows: Vec<Vec<Row>>,
    /// When it was built; quarantines count from here.
    built: Instant,
}

/// How it is with a worker that has a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It takes asks.
    There,
    /// It takes asks, by a new process where the last one ended.
    Renewed,
    /// It takes none now.
    Away,
}

/// A worker as routing sees it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub id: WorkerId,
    pub node_state: NodeState,
    pub state: WorkerState,
    pub reason: String,
    pub backend: Backend,
    pub slots: u32,
    /// Speeds of what it has in memory, for the work that is queued there already.
    pub prefill_tok_s: f64,
    pub decode_tok_s: f64,
    /// `None` when not known.
    pub memory: Option<Memory>,
    /// A stranger uses the machine: it is used when nobody else is quick.
    pub is_strained: bool,
    /// Models in memory that may go for another: size, and the seconds that are lost when it goes; cheapest first.
    pub evictable: Vec<(u64, f64)>,
    /// Sorted prefix hashes that its engine has computed.
    pub prefixes: Box<[u64]>,
    pub live: Arc<WorkerLive>,
    reported: Load,
    baseline: Load,
}

/// Memory of a worker, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All that models may take.
    pub installed: u64,
    /// All but the headroom.
    pub usable: u64,
    /// What the models take that are loaded.
    pub used: u64,
}

/// A model at a worker.
#[derive(Debug)]
pub(crate) struct Row {
    pub worker: u32,
    pub id: ModelId,
    pub engine_name: Arc<str>,
    pub is_loaded: bool,
    pub memory_bytes: u64,
    pub context_tokens: u32,
    pub capabilities: Capabilities,
    pub quarantined: Duration,
    pub rates: Rates,
    pub live: Arc<ModelLive>,
    pub demand: Arc<Demand>,
}

impl Table {
    /// Resolves the reports of all known nodes against the catalogue.
    pub fn build(
        nodes: &[(NodeState, &NodeReport)],
        catalogue: &Arc<Catalogue>,
        live: &LiveMap,
        settings: &Settings,
        now: Instant,
    ) -> Self {
        let mut rows: Vec<Vec<Row>> = std::iter::repeat_with(Vec::new).take(catalogue.models().len()).collect();
        let mut known: Vec<Vec<Knowledge>> = rows.iter().map(|_| Vec::new()).collect();
        let mut workers = Vec::new();
        let shares = live.shares();
        for (state, node) in nodes {
            let has_gpu = node.machine.gpus.iter().any(|gpu| gpu.fault.is_none());
            for report in &node.workers {
                let mut worker = worker(*state, node, report, live, settings, has_gpu);
                worker.evictable = evictable(report, has_gpu, &shares);
                for model in &report.models {
                    let Some(index) = index_of(catalogue, model, &worker.id) else { continue };
                    let row = row(workers.len(), model, index, catalogue, &worker, live, has_gpu);
                    rows[index.0 as usize].push(row);
                    known[index.0 as usize].push(Knowledge::of(model, worker.backend, has_gpu));
                }
                workers.push(worker);
            }
        }
        for (rows, known) in rows.iter_mut().zip(&known) {
            let calibrate = calibrated(known);
            rows.iter_mut().zip(known).for_each(|(row, own)| row.rates = calibrate(own));
        }
        Self { settings: settings.clone(), catalogue: Arc::clone(catalogue), workers, rows, built: now }
    }

    /// The catalogue that [`ModelIndex`]es are of.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// How it weighs.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether any worker takes asks at all.
    pub fn has_ready_worker(&self) -> bool {
        self.workers.iter().any(Worker::is_ready)
    }

    /// The workers that have the model of this identity, and how it is with them.
    pub fn owners<'a>(&'a self, id: &'a ModelId) -> impl Iterator<Item = (&'a WorkerId, Ownership)> {
        let rows = self.rows.iter().flatten().filter(move |row| row.id == *id);
        rows.map(|row| self.worker(row)).map(|worker| {
            let ownership = match worker.is_ready() {
                false => Ownership::Away,
                true if worker.backend.renews_processes() => Ownership::Renewed,
                true => Ownership::There,
            };
            (&worker.id, ownership)
        })
    }

    /// Whether a worker has a new process for the next ask when the last one ended.
    pub fn renews_processes(&self, id: &WorkerId) -> bool {
        self.workers.iter().any(|worker| worker.id == *id && worker.backend.renews_processes())
    }

    /// Whether a worker could take the ask right now, full queues aside.
    pub fn can_serve(&self, request: &Request<'_>, now: Instant) -> bool {
        self.rows(request.model).iter().any(|row| !is_refused(self, row, request, now))
    }

    /// The same, by a worker on this side of the house's door.
    pub fn can_serve_on(&self, side: Side, request: &Request<'_>, now: Instant) -> bool {
        let is_there = |row: &&Row| Side::of(self.worker(row).backend.is_external()) == side;
        self.rows(request.model).iter().filter(is_there).any(|row| !is_refused(self, row, request, now))
    }

    /// The id of a candidate's worker.
    pub fn worker_id(&self, worker: u32) -> &WorkerId {
        &self.workers[worker as usize].id
    }

    pub(crate) fn rows(&self, model: ModelIndex) -> &[Row] {
        self.rows.get(model.0 as usize).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn worker(&self, row: &Row) -> &Worker {
        &self.workers[row.worker as usize]
    }

    /// How long the table has been in use.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.built)
    }
}

impl Worker {
    /// Seconds that are lost with the models that must go for one of this size; 0 when there is room.
    pub fn eviction_s(&self, bytes: u64) -> f64 {
        let Some(mut missing) = self.memory.and_then(|memory| memory.to_evict(bytes)) else { return 0.0 };
        let mut lost_s = 0.0;
        for (size, seconds) in &self.evictable {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(*size);
            lost_s += seconds;
        }
        lost_s
    }

    /// What it has to do now: as reported, corrected by what this node sent and saw end since.
    pub fn load(&self) -> Load {
        self.reported.plus(self.live.since_report(self.baseline))
    }

    pub fn is_ready(&self) -> bool {
        self.node_state.is_routable() && self.state == WorkerState::Ready
    }

    /// How many leading blocks of `prefix` its engine has computed.
    pub fn shared_blocks(&self, prefix: &[u64]) -> usize {
        shared_blocks(prefix, |hash| self.prefixes.binary_search(hash).is_ok())
    }
}

/// How many leading blocks of `prefix` are known, where `knows` tells of each. Blocks are forgotten from the front: who
/// knows the first one knows those behind it up to some point.
pub fn shared_blocks(prefix: &[u64], knows: impl Fn(&u64) -> bool) -> usize {
    if prefix.first().is_some_and(&knows) { prefix.partition_point(knows) } else { 0 }
}

/// The catalogue's model, unless the configuration keeps it from this worker.
fn index_of(catalogue: &Catalogue, model: &ModelReport, worker: &WorkerId) -> Option<ModelIndex> {
    let index = catalogue.find(&model.name)?.model;
    let engines = &catalogue.get(index).engines;
    let is_allowed = |engine: &String| engine == worker.as_str() || engine == worker.name();
    (engines.is_empty() || engines.iter().any(is_allowed)).then_some(index)
}

fn worker(
    node_state: NodeState,
    node: &NodeReport,
    report: &WorkerReport,
    live: &LiveMap,
    settings: &Settings,
    has_gpu: bool,
) -> Worker {
    let live = live.worker(&report.id);
    live.reported(report.state == WorkerState::Ready);
    let mut prefixes = report.prefixes.clone();
    prefixes.sort_unstable();
    let (prefill_tok_s, decode_tok_s) = speeds(report, has_gpu);
    let node_state = if node.is_draining && node_state.is_routable() { NodeState::Draining } else { node_state };
    Worker {
        id: report.id.clone(),
        node_state,
        state: report.state,
        reason: report.reason.clone(),
        backend: report.backend,
        slots: report.slots.max(1),
        prefill_tok_s,
        decode_tok_s,
        memory: memory(report, settings),
        evictable: Vec::new(),
        is_strained: is_strained(node, settings.busy_above),
        prefixes: prefixes.into_boxed_slice(),
        baseline: live.baseline(node.incarnation, node.sequence),
        live,
        reported: Load {
            asks: i64::from(report.busy) + i64::from(report.queued),
            prompt_tokens: i64::try_from(report.queued_prompt_tokens).unwrap_or(i64::MAX),
            output_tokens: i64::try_from(report.queued_output_tokens).unwrap_or(i64::MAX),
            load_ms: 0,
        },
    }
}

/// Mean speeds over the models in memory (over all where none is): what is queued there is for those.
fn speeds(report: &WorkerReport, has_gpu: bool) -> (f64, f64) {
    let any_loaded = report.models.iter().any(|model| model.is_loaded);
    let (mut count, mut prefill_s, mut decode_s) = (0.0, 0.0, 0.0);
    for model in report.models.iter().filter(|model| model.is_loaded || !any_loaded) {
        let rates = rates(model, report.backend, has_gpu);
        count += 1.0;
        prefill_s += 1.0 / rates.prefill_tok_s;
        decode_s += 1.0 / rates.decode_tok_s;
    }
    if count > 0.0 { (count / prefill_s, count / decode_s) } else { (1.0, 1.0) }
}

fn memory(report: &WorkerReport, settings: &Settings) -> Option<Memory> {
    if report.memory_bytes == 0 {
        return None;
    }
    let used: u64 = report.models.iter().filter(|model| model.is_loaded).map(memory_bytes).sum();
    let usable = (report.memory_bytes as f64 * (1.0 - settings.headroom.clamp(0.0, 0.9))) as u64;
    Some(Memory { installed: report.memory_bytes, usable, used })
}

/// What is lost with each model in memory: its load, as likely as it is asked for again soon.
fn evictable(report: &WorkerReport, has_gpu: bool, shares: &HashMap<ModelId, f64>) -> Vec<(u64, f64)> {
    let lost_s = |model: &ModelReport| {
        let share = shares.get(&model.id).copied().unwrap_or(0.0);
        (1.0 - (1.0 - share).powf(ASKS_AHEAD)) * rates(model, report.backend, has_gpu).load_s
    };
    let loaded = report.models.iter().filter(|model| model.is_loaded);
    let mut evictable: Vec<(u64, f64)> = loaded.map(|model| (memory_bytes(model), lost_s(model))).collect();
    evictable.sort_by(|one, two| one.1.total_cmp(&two.1));
    evictable
}

/// Whether something else than our own asks keeps the machine busy: it is busy although no worker of it is.
fn is_strained(node: &NodeReport, busy_above: f64) -> bool {
    let Machine { cpu_used, gpus, .. } = &node.machine;
    let used = gpus.iter().map(|gpu| gpu.used).fold(*cpu_used, f64::max);
    used > busy_above && node.workers.iter().all(|worker| worker.busy == 0)
}

fn row(
    worker_index: usize,
    model: &ModelReport,
    index: ModelIndex,
    catalogue: &Catalogue,
    worker: &Worker,
    live: &LiveMap,
    has_gpu: bool,
) -> Row {
    let capabilities = match model.capabilities.as_slice() {
        [] => catalogue.get(index).capabilities,
        told => Capabilities::of(told),
    };
    Row {
        worker: worker_index as u32,
        id: model.id.clone(),
        engine_name: Arc::from(model.engine_name.as_str()),
        is_loaded: model.is_loaded || worker.backend.is_external(),
        memory_bytes: memory_bytes(model),
        context_tokens: model.context_tokens,
        capabilities,
        quarantined: Duration::from_secs(model.quarantined_s.unwrap_or(0)),
        rates: rates(model, worker.backend, has_gpu),
        live: worker.live.model(&model.id),
        demand: live.demand(&model.id),
    }
}

impl Memory {
    /// What must be evicted for a model of this size, in bytes; `None` when it can never fit.
    pub fn to_evict(self, bytes: u64) -> Option<u64> {
        (bytes <= self.usable).then(|| (self.used + bytes).saturating_sub(self.usable))
    }
}
