//! A simulated node: its gate's queue, its slots, the models in its memory, the prefixes in its cache.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::report::{Backend, Machine, ModelReport, NodeReport, WorkerReport, WorkerState};
use base::{Incarnation, ModelId, NodeId, Priority, WorkerId};

use super::super::trace::{BLOCK_TOKENS, UNNAMED};
use super::super::{Arrival, NodeSpec, Trace};
use crate::admission::{Queue, Readiness};
use crate::rates::{OUTPUT_TOKENS, remaining_output};

/// Prefix blocks that a node's cache holds.
const CACHE_BLOCKS: usize = 2048;
/// Weight of the newest answer in the mean length of answers, once many were seen.
const LENGTH_WEIGHT: f64 = 0.02;
const GIB: f64 = 1_073_741_824.0;

/// A node at some point of virtual time.
pub(super) struct Node<'a> {
    spec: &'a NodeSpec,
    /// Per model of the trace: its size and load time here, `None` where the node does not have it.
    models: Vec<Option<(f64, Duration)>>,
    ids: Vec<ModelId>,
    resident: Vec<Resident>,
    queue: Queue<usize>,
    running: Vec<Running>,
    cache: VecDeque<u64>,
    clients: Vec<Arc<str>>,
    lengths: Vec<(f64, f64)>,
}

struct Resident {
    model: usize,
    ready: Duration,
    used: Duration,
    users: u32,
}

struct Running {
    ask: usize,
    model: usize,
    new_prompt_tokens: u32,
    first_token: Duration,
    ends: Duration,
    is_answering: bool,
}

/// An ask that got a slot.
pub(super) struct Started {
    pub ask: usize,
    /// Its prompt begins: the model is there.
    pub begins: Duration,
    pub first_token: Duration,
    pub ends: Duration,
    /// Whether its model is loaded for it.
    pub is_load: bool,
}

impl<'a> Node<'a> {
    /// Idle, with nothing in memory.
    pub fn new(spec: &'a NodeSpec, trace: &Trace, patience: Duration) -> Self {
        let of_model = |name: &String| {
            let first = spec.models.first().filter(|_| name == UNNAMED);
            let model = spec.models.iter().find(|model| model.name == *name).or(first);
            let any = spec.models.is_empty().then_some((0.0, Duration::ZERO));
            model.map(|model| (model.vram_gib, Duration::from_secs_f64(model.load_s))).or(any)
        };
        Self {
            spec,
            models: trace.models.iter().map(of_model).collect(),
            ids: trace.models.iter().map(ModelId::new).collect(),
            resident: Vec::new(),
            queue: Queue::new(usize::MAX, patience, u32::MAX),
            running: Vec::new(),
            cache: VecDeque::new(),
            clients: trace.clients.iter().map(|name| Arc::from(name.as_str())).collect(),
            lengths: vec![(0.0, OUTPUT_TOKENS); trace.models.len()],
        }
    }

    /// Whether it has the model, and memory for it.
    pub fn offers(&self, model: usize) -> bool {
        self.models[model].is_some_and(|(gib, _)| gib <= self.memory_gib())
    }

    /// Asks that run or wait.
    pub fn asks(&self) -> usize {
        self.running.len() + self.queue.len()
    }

    /// Takes an ask into its queue, which has no end here.
    pub fn push(&mut self, ask: usize, trace: &Trace, now: Instant) {
        let arrival = &trace.arrivals[ask];
        let model = self.ids[arrival.model].clone();
        let _unbounded = self.queue.push(Priority::Normal, &self.clients[arrival.client], model, ask, now);
    }

    /// Gives a free slot to the ask whose turn it is.
    pub fn start_next(&mut self, trace: &Trace, at: Duration, zero: Instant) -> Option<Started> {
        if self.running.len() >= self.spec.slots as usize {
            return None;
        }
        let (ids, models, resident, memory) = (&self.ids, &self.models, &self.resident, self.memory_gib());
        let readiness = |id: &ModelId| {
            let model = ids.iter().position(|other| other == id).unwrap_or(0);
            readiness(resident, models, model, memory)
        };
        let ask = self.queue.pop(zero + at, readiness)?;
        Some(self.start(ask, &trace.arrivals[ask], at))
    }

    /// The first token came.
    pub fn first_token(&mut self, ask: usize) {
        if let Some(running) = self.running.iter_mut().find(|running| running.ask == ask) {
            running.is_answering = true;
        }
    }

    /// The answer ended; its length is known from now on.
    pub fn end(&mut self, ask: usize, trace: &Trace, at: Duration) {
        let Some(index) = self.running.iter().position(|running| running.ask == ask) else { return };
        let model = self.running.swap_remove(index).model;
        if let Some(resident) = self.resident.iter_mut().find(|resident| resident.model == model) {
            resident.users -= 1;
            resident.used = at;
        }
        let (count, mean) = &mut self.lengths[model];
        *count += 1.0;
        *mean += (f64::from(trace.arrivals[ask].output_tokens) - *mean) * (1.0 / *count).max(LENGTH_WEIGHT);
    }

    /// When the ask would end if it came here now and nobody after it: exact but for what loads push out.
    pub fn would_end(&self, arrival: &Arrival, trace: &Trace, at: Duration) -> Duration {
        let mut free: Vec<Duration> = self.running.iter().map(|running| running.ends).collect();
        free.resize(self.spec.slots as usize, at);
        let mut there: Vec<usize> = self.resident.iter().map(|resident| resident.model).collect();
        let waiting = self.queue.iter().map(|(_, &ask)| &trace.arrivals[ask]);
        let mut end = at;
        for next in waiting.chain(std::iter::once(arrival)) {
            let Some(slot) = free.iter_mut().min() else { break };
            let load = match self.models[next.model] {
                Some((_, load)) if !there.contains(&next.model) => load,
                _ => Duration::ZERO,
            };
            there.push(next.model);
            let new_tokens = self.new_prompt_tokens(next);
            *slot += load + self.prefill(new_tokens) + self.decode(next.output_tokens);
            end = *slot;
        }
        end
    }

    /// What the node tells the gateway.
    pub fn report(&self, trace: &Trace, at: Duration, sequence: u64) -> NodeReport {
        let node = NodeId::new(&self.spec.name);
        let waiting = || self.queue.iter().map(|(_, &ask)| &trace.arrivals[ask]);
        let running_prompt: u64 =
            self.running.iter().filter(|run| !run.is_answering).map(|run| u64::from(run.new_prompt_tokens)).sum();
        let waiting_prompt: u64 = waiting().map(|arrival| u64::from(self.new_prompt_tokens(arrival))).sum();
        let running_output: f64 = self.running.iter().map(|run| self.remaining(run, at)).sum();
        let waiting_output: f64 = waiting().map(|arrival| self.lengths[arrival.model].1).sum();
        let worker = WorkerReport {
            id: WorkerId::of(&node, "engine"),
            backend: Backend::Fake,
            state: WorkerState::Ready,
            reason: String::new(),
            slots: self.spec.slots,
            busy: self.running.len() as u32,
            queued: self.queue.len() as u32,
            queued_prompt_tokens: running_prompt + waiting_prompt,
            queued_output_tokens: (running_output + waiting_output) as u64,
            memory_bytes: (self.spec.vram_gib * GIB) as u64,
            models: (0..self.models.len())
                .filter(|&model| self.offers(model))
                .map(|model| self.model_report(trace, model))
                .collect(),
            prefixes: self.cache.iter().copied().collect(),
        };
        NodeReport {
            node,
            incarnation: Incarnation(1),
            sequence,
            peer_address: String::new(),
            actors_address: String::new(),
            grpc_address: String::new(),
            is_draining: false,
            leads: None,
            version: String::new(),
            machine: Machine::default(),
            workers: vec![worker],
            research: None,
            features: Vec::new(),
        }
    }

    fn model_report(&self, trace: &Trace, model: usize) -> ModelReport {
        let (gib, load) = self.models[model].unwrap_or_default();
        let (count, mean) = self.lengths[model];
        ModelReport {
            name: trace.models[model].clone(),
            engine_name: trace.models[model].clone(),
            id: self.ids[model].clone(),
            is_loaded: load.is_zero() || self.resident.iter().any(|resident| resident.model == model),
            size_bytes: 0,
            memory_bytes: (gib * GIB) as u64,
            context_tokens: 0,
            capabilities: Vec::new(),
            prefill_tok_s: Some(self.spec.prefill_tok_s),
            decode_tok_s: Some(self.spec.decode_tok_s),
            load_s: Some(load.as_secs_f64()),
            output_tokens: (count > 0.0).then_some(mean),
            quarantined_s: None,
        }
    }

    fn remaining(&self, run: &Running, at: Duration) -> f64 {
        let answered = at.saturating_sub(run.first_token).as_secs_f64() * self.spec.decode_tok_s;
        remaining_output(self.lengths[run.model].1, answered)
    }

    fn start(&mut self, ask: usize, arrival: &Arrival, at: Duration) -> Started {
        let (ready, is_load) = self.make_resident(arrival.model, at);
        let begins = ready.max(at);
        let new_prompt_tokens = self.new_prompt_tokens(arrival);
        let first_token = begins + self.prefill(new_prompt_tokens);
        let ends = first_token + self.decode(arrival.output_tokens);
        self.remember(&arrival.blocks);
        let model = arrival.model;
        self.running.push(Running { ask, model, new_prompt_tokens, first_token, ends, is_answering: false });
        Started { ask, begins, first_token, ends, is_load }
    }

    /// When the model is in memory, and whether it is loaded for that.
    fn make_resident(&mut self, model: usize, at: Duration) -> (Duration, bool) {
        if let Some(resident) = self.resident.iter_mut().find(|resident| resident.model == model) {
            resident.users += 1;
            resident.used = at;
            return (resident.ready, false);
        }
        let (gib, load) = self.models[model].unwrap_or_default();
        while free_gib(&self.resident, &self.models, self.memory_gib()) < gib {
            let idle = self.resident.iter().enumerate().filter(|(_, resident)| resident.users == 0);
            let Some((oldest, _)) = idle.min_by_key(|(_, resident)| resident.used) else { break };
            self.resident.remove(oldest);
        }
        let ready = at + load;
        self.resident.push(Resident { model, ready, used: at, users: 1 });
        (ready, !load.is_zero())
    }

    fn new_prompt_tokens(&self, arrival: &Arrival) -> u32 {
        let shared = arrival.blocks.iter().take_while(|block| self.cache.contains(block)).count() as u32;
        arrival.prompt_tokens.saturating_sub(shared * BLOCK_TOKENS).max(1)
    }

    fn remember(&mut self, blocks: &[u64]) {
        self.cache.retain(|block| !blocks.contains(block));
        self.cache.extend(blocks);
        let too_many = self.cache.len().saturating_sub(CACHE_BLOCKS);
        self.cache.drain(..too_many);
    }

    fn prefill(&self, tokens: u32) -> Duration {
        Duration::from_secs_f64(f64::from(tokens) / self.spec.prefill_tok_s)
    }

    fn decode(&self, tokens: u32) -> Duration {
        Duration::from_secs_f64(f64::from(tokens) / self.spec.decode_tok_s)
    }

    fn memory_gib(&self) -> f64 {
        if self.spec.vram_gib > 0.0 { self.spec.vram_gib } else { f64::INFINITY }
    }
}

fn free_gib(resident: &[Resident], models: &[Option<(f64, Duration)>], memory_gib: f64) -> f64 {
    memory_gib - resident.iter().filter_map(|resident| models[resident.model]).map(|(gib, _)| gib).sum::<f64>()
}

fn readiness(resident: &[Resident], models: &[Option<(f64, Duration)>], model: usize, memory_gib: f64) -> Readiness {
    let (gib, _) = models[model].unwrap_or_default();
    let is_there = resident.iter().any(|resident| resident.model == model);
    let free = free_gib(resident, models, memory_gib);
    let idle = resident.iter().filter(|resident| resident.users == 0).filter_map(|resident| models[resident.model]);
    match free {
        free if is_there || gib <= free => Readiness::Ready,
        free if gib <= free + idle.map(|(gib, _)| gib).sum::<f64>() => Readiness::Swap,
        _ => Readiness::Blocked,
    }
}
