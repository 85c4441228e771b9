//! Which worker: the lowest estimate in seconds over every worker that offers the model, with all reasons kept.
//!
//! Each candidate's estimate is a sum of named [`Terms`], so `tmctl explain` can show why one won and the others lost.
//! Who cannot take the ask carries a typed [`Refusal`] with the numbers; when nobody can, [`Route::fault`] says what to do.

mod refusal;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::report::{Capability, NodeState};
use base::{Kind, ModelId, Needs, Priority, WorkerId};

use crate::breaker::Pass;
use crate::leaning::{Leaning, Side};
use crate::live::{Demand, LiveGuard, Load, ModelLive, Work, WorkerLive};
use crate::model::{Capabilities, ModelIndex};
use crate::table::{Row, Table, Worker};

pub use refusal::Refusal;

/// Estimates this close to the best (in share and in seconds) count as equal, and chance decides.
const TIE_SHARE: f64 = 0.02;
const TIE_S: f64 = 0.002;

/// How much a second of waiting or loading counts for those that come next. This and the factors below were chosen with
/// `simulate` on a recorded chat service. On seeds that the choice did not see, p95 is within a tenth of the oracle on
/// 179 of 180 thinnings of it; of a code service with very short answers, on 52 of 60 (worst 1.21 times).
const FOR_NEXT: f64 = 1.5;
/// The same for a second of prompt: machines differ most in that, so long prompts belong to those that are quick at it.
const FOR_PROMPTS: f64 = 3.0;
/// A load is charged for at most this many asks per slot that it holds up, so that a cold model is never shut out.
const MOST_HELD_UP: f64 = 3.0;
/// How much a second counts that is lost when a pushed-out model must be loaded again.
const EVICTED: f64 = 2.0;

/// What a route needs to know of an ask.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The model, as chosen.
    pub model: ModelIndex,
    /// What it is for.
    pub kind: Kind,
    /// What it needs.
    pub needs: Needs,
    /// Size of the prompt.
    pub prompt_tokens: u32,
    /// The client's limit on the answer.
    pub max_output_tokens: Option<u32>,
    /// Chained hashes of the prompt's blocks.
    pub prefix: &'a [u64],
    /// Who waits.
    pub priority: Priority,
    /// What is left of its deadline.
    pub deadline_left: Duration,
    /// Workers that failed it already.
    pub excluded: &'a [WorkerId],
    /// The only worker that can serve it.
    pub only_worker: Option<&'a WorkerId>,
    /// The models that its caller may ask, by any of their names; all of them when empty.
    pub models: &'a [String],
    /// How much of what waits at a worker goes before it, where callers take turns: 1 is all of it.
    pub share: f64,
    /// The identity that it began on, when it is resumed.
    pub requires_id: Option<&'a ModelId>,
    /// A random number, so that equal workers share.
    pub chance: u64,
    /// Its place among a hundred asks; see [`crate::leaning::place`].
    pub place: u8,
}

impl Request<'_> {
    /// A plain ask for a model, with everything else left open.
    pub fn new(model: ModelIndex, prompt_tokens: u32) -> Self {
        Self {
            model,
            kind: Kind::General,
            needs: Needs::default(),
            prompt_tokens,
            max_output_tokens: None,
            prefix: &[],
            priority: Priority::Normal,
            deadline_left: Duration::MAX,
            excluded: &[],
            only_worker: None,
            models: &[],
            share: 1.0,
            requires_id: None,
            chance: 0,
            place: 0,
        }
    }

    fn capabilities(&self) -> Capabilities {
        let mut wanted = [Capability::Completion; 3];
        match self.kind {
            Kind::Embedding => return Capabilities::of(&[Capability::Embedding]),
            Kind::Rerank => return Capabilities::of(&[Capability::Rerank]),
            _ if self.needs.tools => wanted[1] = Capability::Tools,
            _ => {}
        }
        if self.needs.images {
            wanted[2] = Capability::Vision;
        }
        Capabilities::of(&wanted)
    }
}

/// The parts of an estimate, in seconds; never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// Until one of the worker's slots is free.
    pub wait: f64,
    /// Loading the model.
    pub load: f64,
    /// Waking the node.
    pub wake: f64,
    /// Computing the prompt, without the part that the worker has in its cache.
    pub prefill: f64,
    /// Bringing the answer.
    pub decode: f64,
    /// What the choice takes from others: their waiting, and the models that a load pushes out. Bounded by the others.
    pub regret: f64,
}

impl Terms {
    /// The estimate.
    pub fn total(&self) -> f64 {
        self.wait + self.load + self.wake + self.prefill + self.decode + self.regret
    }

    /// Each term with the name that it is shown by.
    pub fn named(&self) -> [(&'static str, f64); 6] {
        let Self { wait, load, wake, prefill, decode, regret } = *self;
        [("wait", wait), ("load", load), ("wake", wake), ("prefill", prefill), ("decode", decode), ("regret", regret)]
    }
}

/// A worker that offers the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// See [`Table::worker_id`].
    pub worker: u32,
    /// Its estimate, all zero when it is refused.
    pub terms: Terms,
    /// The sum of the terms.
    pub total_s: f64,
    /// Why it cannot take the ask.
    pub refused_because: Option<Refusal>,
    class: Class,
}

/// Who comes first whatever the estimate, within `max_wait`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    First,
    /// Its machine is used by a stranger, or would be left without headroom.
    Strained,
    /// The ask leans to the other side of the house's door.
    Last,
}

/// The worker that was chosen.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Its place in [`Route::candidates`].
    pub candidate: usize,
    /// Its id.
    pub worker: WorkerId,
    /// The identity of the model there; what a resume must ask for.
    pub model_id: ModelId,
    /// What its engine calls the model.
    pub engine_name: Arc<str>,
    /// Which side of the house's door it is on.
    pub side: Side,
    /// What the ask is expected to cost it.
    pub work: Work,
    live: Arc<WorkerLive>,
    model_live: Arc<ModelLive>,
    demand: Arc<Demand>,
}

impl Chosen {
    /// Counts the ask at the worker from now on, before anything is sent; drop the guard when the run ends.
    pub fn begin(&self, now: Instant) -> LiveGuard {
        self.live.begin_probe(now);
        self.demand.note();
        self.live.begin(&self.model_live, self.work, now)
    }

    /// Where to tell how the run went.
    pub fn live(&self) -> &Arc<WorkerLive> {
        &self.live
    }
}

/// A decision with its reasons.
#[derive(Clone, Debug)]
pub struct Route {
    /// Who takes the ask; `None` when nobody can.
    pub chosen: Option<Chosen>,
    /// Everybody who was looked at.
    pub candidates: Vec<Candidate>,
    /// Which side of the house's door the ask leaned to.
    pub leaning: Leaning,
}

/// A candidate as it is kept with the ask, for `tmctl explain`: it outlives the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// Its worker.
    pub worker: WorkerId,
    /// Its estimate, by terms.
    pub terms: Terms,
    /// The sum of the terms.
    pub total_s: f64,
    /// Why it cannot take the ask; `None` for the winner and for those that would only have been slower.
    pub refused_because: Option<Refusal>,
}

impl Route {
    /// Every candidate with its reasons. Nothing is put into words yet: this is done for each ask, and few are looked at.
    pub fn explain(&self, table: &Table) -> Vec<Explained> {
        let explained = |candidate: &Candidate| Explained {
            worker: table.worker_id(candidate.worker).clone(),
            terms: candidate.terms,
            total_s: candidate.total_s,
            refused_because: candidate.refused_because.clone(),
        };
        self.candidates.iter().map(explained).collect()
    }
}

/// Chooses the worker for an ask.
pub fn route(table: &Table, request: &Request<'_>, now: Instant) -> Route {
    let rows = table.rows(request.model);
    let wanted = request.capabilities();
    let leaning = Leaning::of(table.settings(), request);
    let of = |row| candidate(table, row, request, (wanted, leaning.side()), now);
    let candidates: Vec<Candidate> = rows.iter().map(of).collect();
    let chosen = pick(table, &candidates, request.chance).or_else(|| last_resort(table, request, &candidates));
    let chosen = chosen.map(|index| choose(table, request, &candidates, index));
    Route { chosen, candidates, leaning }
}

/// For an ask that was begun and failed elsewhere, a worker that is left out only as a caution: where nobody else can go
/// on, an answer that may break is better than one that must. New asks are told to come back.
fn last_resort(table: &Table, request: &Request<'_>, candidates: &[Candidate]) -> Option<usize> {
    if request.excluded.is_empty() {
        return None;
    }
    let is_caution = |candidate: &Candidate| candidate.refused_because.as_ref().is_some_and(Refusal::is_caution);
    table
        .rows(request.model)
        .iter()
        .zip(candidates)
        .position(|(row, candidate)| table.worker(row).is_ready() && is_caution(candidate))
}

/// What is needed to send the ask to a candidate.
pub(crate) fn choose(table: &Table, request: &Request<'_>, candidates: &[Candidate], candidate: usize) -> Chosen {
    let row = &table.rows(request.model)[candidate];
    let worker = table.worker(row);
    let work = Work {
        prompt_tokens: new_prompt_tokens(worker, request, table.settings().prefix_block_tokens),
        output_tokens: output_tokens(row, request) as u32,
        load: Duration::from_secs_f64(candidates[candidate].terms.load),
    };
    Chosen {
        candidate,
        worker: worker.id.clone(),
        model_id: row.id.clone(),
        engine_name: Arc::clone(&row.engine_name),
        side: Side::of(worker.backend.is_external()),
        work,
        live: Arc::clone(&worker.live),
        model_live: Arc::clone(&row.live),
        demand: Arc::clone(&row.demand),
    }
}

/// Whether the worker of `row` can not take such an ask, full queues aside.
pub(crate) fn is_refused(table: &Table, row: &Row, request: &Request<'_>, now: Instant) -> bool {
    refusal::check(table, row, request, request.capabilities(), now).is_some()
}

fn candidate(
    table: &Table,
    row: &Row,
    request: &Request<'_>,
    (wanted, side): (Capabilities, Side),
    now: Instant,
) -> Candidate {
    let worker = table.worker(row);
    let none = Candidate {
        worker: row.worker,
        terms: Terms::default(),
        total_s: 0.0,
        refused_because: None,
        class: Class::First,
    };
    if let Some(refusal) = refusal::check(table, row, request, wanted, now) {
        return Candidate { refused_because: Some(refusal), ..none };
    }
    let load = worker.load();
    let terms = terms(table, worker, row, request, load, now);
    let refused_because = refusal::check_load(table, worker, request, load, &terms);
    Candidate { terms, total_s: terms.total(), refused_because, class: class(side, worker, row), ..none }
}

fn terms(table: &Table, worker: &Worker, row: &Row, request: &Request<'_>, load: Load, now: Instant) -> Terms {
    let settings = table.settings();
    let is_expected = row.live.asks() > 0;
    let load_s = if row.is_loaded || is_expected { 0.0 } else { row.rates.load_s };
    let is_asleep = worker.node_state == NodeState::Asleep;
    // Of a worker without a measurement only this is known: it takes longer than its first asks have waited by now. A
    // load has its own estimate.
    let is_guess = row.is_loaded && !row.rates.is_measured;
    let silent_s = if is_guess { row.live.silent_for(now).as_secs_f64() } else { 0.0 };
    let terms = Terms {
        wait: wait_s(worker, load, request.share, row.is_loaded || is_expected),
        load: load_s,
        wake: if is_asleep { settings.wake.unwrap_or_default().as_secs_f64() } else { 0.0 },
        prefill: f64::from(new_prompt_tokens(worker, request, settings.prefix_block_tokens)) / row.rates.prefill_tok_s,
        decode: (output_tokens(row, request) / row.rates.decode_tok_s).max(silent_s),
        regret: 0.0,
    };
    let regret = if settings.regret { regret_s(worker, row, load, &terms) } else { 0.0 };
    Terms { regret, ..terms }
}

/// Until a slot is free: the mean work left per ask, times the asks that must end first, over the slots. Of those that wait
/// that is the caller's `share`: the many of another caller do not go before its one.
fn wait_s(worker: &Worker, load: Load, share: f64, is_resident: bool) -> f64 {
    let slots = f64::from(worker.slots);
    let asks = load.asks as f64;
    if asks < slots {
        return 0.0;
    }
    let work_s = load.prompt_tokens as f64 / worker.prefill_tok_s + load.output_tokens as f64 / worker.decode_tok_s;
    let before_us = (work_s / asks) * (share * (asks - slots) + 1.0) / slots;
    // Loads that other asks caused come first, except for an ask whose model is there: the gate lets it by.
    let loads_s = if is_resident { 0.0 } else { load.load_ms as f64 / 1000.0 / slots };
    before_us + loads_s
}

/// What the choice takes from others. Time that is certain (waiting means that the worker is short of slots) weighs more
/// than the answer's length, which is a guess; a load also holds up who is there, and pushes out what is asked for soon.
fn regret_s(worker: &Worker, row: &Row, load: Load, terms: &Terms) -> f64 {
    let for_next = FOR_NEXT * (terms.wait + terms.load) + FOR_PROMPTS * terms.prefill;
    if terms.load == 0.0 {
        return for_next;
    }
    let held_up = (load.asks as f64 / f64::from(worker.slots)).min(MOST_HELD_UP);
    let evicted = (EVICTED * worker.eviction_s(row.memory_bytes)).min(EVICTED * terms.load);
    for_next + terms.load * held_up + evicted
}

/// Prompt tokens that the worker's cache does not hold yet; at least one is always computed.
fn new_prompt_tokens(worker: &Worker, request: &Request<'_>, block_tokens: u32) -> u32 {
    let shared = worker.shared_blocks(request.prefix) as u64 * u64::from(block_tokens);
    request.prompt_tokens.saturating_sub(u32::try_from(shared).unwrap_or(u32::MAX)).max(1)
}

fn output_tokens(row: &Row, request: &Request<'_>) -> f64 {
    match request.kind {
        Kind::Embedding | Kind::Rerank => 0.0,
        _ => row.rates.output_tokens.min(request.max_output_tokens.map_or(f64::MAX, f64::from)),
    }
}

fn class(side: Side, worker: &Worker, row: &Row) -> Class {
    let lacks_headroom =
        !row.is_loaded && worker.memory.is_some_and(|memory| memory.to_evict(row.memory_bytes).is_none());
    match Side::of(worker.backend.is_external()) {
        other if other != side => Class::Last,
        _ if worker.is_strained || lacks_headroom => Class::Strained,
        _ => Class::First,
    }
}

/// The lowest estimate of the best class; a strained worker instead when it saves more than `max_wait`.
fn pick(table: &Table, candidates: &[Candidate], chance: u64) -> Option<usize> {
    let able = || candidates.iter().enumerate().filter(|(_, candidate)| candidate.refused_because.is_none());
    let best_of = |class: Class| {
        let totals =
            able().filter(move |(_, candidate)| candidate.class == class).map(|(_, candidate)| candidate.total_s);
        totals.min_by(f64::total_cmp)
    };
    let (first, strained) = (best_of(Class::First), best_of(Class::Strained));
    let patience_s = table.settings().max_wait.as_secs_f64();
    let (class, best_s) = match (first, strained) {
        (Some(first), Some(strained)) if strained + patience_s < first => (Class::Strained, strained),
        (Some(first), _) => (Class::First, first),
        (None, Some(strained)) => (Class::Strained, strained),
        (None, None) => (Class::Last, best_of(Class::Last)?),
    };
    let limit = best_s * (1.0 + TIE_SHARE) + TIE_S;
    let near = || able().filter(move |(_, candidate)| candidate.class == class && candidate.total_s <= limit);
    let count = near().count() as u64;
    near().nth(usize::try_from(chance % count.max(1)).unwrap_or(0)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests;
