//! The data path of a worker: what asks go through on their way to its engine. The worker's actor watches over it.
//!
//! A port lives as long as the node. Its actor may crash and come back; running asks do not notice.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use base::config::{Limits, Model, Routing};
use base::report::{ModelReport, WorkerReport, WorkerState};
use base::{
    Answer, AnswerHead, Ask, AskHead, BoxFrames, Code, Continuation, Face, Fault, Frames, ModelId, Result, RunSummary,
    WorkerId,
};
use bytes::Bytes;
use inference::backend::{Backend, EngineModel, Run};
use inference::process::EngineProcess;
use inference::rates::{Finished, Rates};
use routing::Side;
use routing::live::WorkerLive;
use routing::patience::{self, Measured, Whole};
use routing::table::shared_blocks;
use tokio::sync::Notify;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::call::EngineCall;
use super::gate::{Gate, Permit, Presence};
use super::residency::InMemory;
use crate::instruments::Instruments;
use crate::spans::{self, Span, Wait};

/// A shorter answer tells no speed.
const LEAST_PACED: u32 = 8;
/// Prefix hashes that a worker remembers to have computed.
const PREFIXES_KEPT: usize = 2048;

/// What the worker's actor saw last.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// What the worker can do.
    pub state: WorkerState,
    /// Why, for people.
    pub reason: String,
    /// What its engine offers.
    pub models: Vec<OfferedModel>,
    /// Memory for its models, in bytes; 0 when not known.
    pub memory_bytes: u64,
}

/// A model of the engine under its catalogue name.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferedModel {
    /// What clients ask for.
    pub name: String,
    /// Its identity.
    pub id: ModelId,
    /// As the engine lists it.
    pub engine: EngineModel,
}

/// A worker of this node.
pub struct Port {
    /// `node/worker`.
    pub id: WorkerId,
    /// What it was told.
    pub config: base::config::Worker,
    /// How its engine is spoken to.
    pub backend: Box<dyn Backend>,
    /// Slots and queue.
    pub gate: Arc<Gate>,
    /// Work in flight from this node.
    pub live: Arc<WorkerLive>,
    /// The engine's process, where the worker owns it. Kept here so that a crash of the actor does not end it.
    pub process: tokio::sync::Mutex<Option<EngineProcess>>,
    /// Rung when a run failed: look at the engine now.
    pub look: Notify,
    /// Frames that came from the engine so far; shows a busy engine from a dead one.
    pub progress: AtomicU64,
    facts: Arc<ArcSwap<Facts>>,
    limits: ArcSwap<Limits>,
    instruments: Instruments,
    learned: Mutex<Learned>,
    /// Cancelled to end all runs at once, then replaced.
    cut: ArcSwap<CancellationToken>,
}

#[derive(Default)]
struct Learned {
    rates: HashMap<String, Rates>,
    /// Measured in an earlier life.
    recalled: HashMap<ModelId, Rates>,
    quarantined: HashMap<String, Instant>,
    prefixes: VecDeque<u64>,
    known_prefixes: HashSet<u64>,
}

impl Learned {
    /// What this life has learned counts for more than what an earlier one measured.
    fn begin_with_recalled(&mut self, models: &[OfferedModel]) {
        for model in models {
            if let Some(rates) = self.recalled.get(&model.id) {
                self.rates.entry(model.engine.name.clone()).or_insert(*rates);
            }
        }
    }
}

impl Port {
    /// A worker whose engine nobody has looked at yet.
    pub fn new(
        id: WorkerId,
        config: base::config::Worker,
        backend: Box<dyn Backend>,
        live: Arc<WorkerLive>,
        limits: Limits,
        routing: &Routing,
        instruments: Instruments,
    ) -> Arc<Self> {
        let facts = Facts {
            state: WorkerState::Starting,
            reason: "its engine was not looked at yet".to_owned(),
            models: Vec::new(),
            memory_bytes: config.memory.0,
        };
        let facts = Arc::new(ArcSwap::from_pointee(facts));
        let residency = Box::new(InMemory::new(facts.clone(), routing.headroom));
        let name = id.name().to_owned();
        let gate = Gate::new(name, config.slots, config.queue, routing.max_wait, routing.swaps_per_minute, residency);
        Arc::new(Self {
            id,
            config,
            backend,
            gate,
            live,
            process: tokio::sync::Mutex::new(None),
            look: Notify::new(),
            progress: AtomicU64::new(0),
            facts,
            limits: ArcSwap::from_pointee(limits),
            instruments,
            learned: Mutex::default(),
            cut: ArcSwap::from_pointee(CancellationToken::new()),
        })
    }

    /// Runs an ask on the engine. The answer is in the ask's own dialect.
    pub async fn run(
        self: &Arc<Self>,
        ask: &Ask,
        engine_model: &str,
        model_id: &ModelId,
        continuation: Option<Continuation>,
    ) -> Result<Answer> {
        let head = &ask.head;
        let (name, context_tokens) = self.still_offers(engine_model, model_id)?;
        let entered = Instant::now();
        let admitted = self.gate.admit(head.priority, &head.client, model_id, head.deadline);
        let permit = self.instruments.spans.during(Wait::Queue, head, &self.id, admitted).await?;
        self.instruments.metrics.queued(self.id.as_str(), entered.elapsed(), &spans::kept_trace(&head.traceparent));
        let presence = permit.presence();
        let cached_blocks = self.note_prefix(&head.prefix);
        let continuation = continuation.as_ref();
        let limits = self.limits.load_full();
        let run = Run {
            ask,
            engine_model,
            context_tokens,
            continuation,
            first_token: limits.first_token,
            most_whole: limits.answer.as_usize(),
        };
        let cut = CancellationToken::clone(&self.cut.load());
        let mut patience = Patience::new(self.patience(head, engine_model, context_tokens, presence));
        let mut wait = self.instruments.spans.wait(Wait::Engine, head, &self.id);
        let mut call = EngineCall::begin(self.instruments.metrics.clone(), head, self.config.backend, name);
        let started = tokio::select! {
            started = self.backend.start(run) => started.inspect_err(|_| self.look.notify_one()),
            () = cut.cancelled() => Err(self.was_cut()),
            most = patience.over() => Err(self.is_stuck(most)),
        };
        let started = started.inspect_err(|fault| {
            wait.end(fault.code.as_str());
            call.ended(fault.code.as_str(), None);
        })?;
        let frames = Seated {
            inner: started.frames,
            port: self.clone(),
            wait,
            call,
            _permit: permit,
            engine_model: engine_model.to_owned(),
            model_id: model_id.clone(),
            is_probe: head.face == Face::Internal,
            is_streamed: head.stream,
            presence,
            is_noted: false,
            queued: entered.elapsed(),
            patience,
            believed_cached: u32::try_from(cached_blocks).unwrap_or(0) * TOKENS_PER_BLOCK,
        };
        let head = AnswerHead {
            content_type: started.content_type,
            content_length: None,
            worker: Some(self.id.clone()),
            model: engine_model.to_owned(),
            fallback: None,
        };
        Ok(Answer { head, frames: Box::new(frames) })
    }

    /// What the actor saw last.
    pub fn facts(&self) -> Arc<Facts> {
        self.facts.load_full()
    }

    /// The actor saw something. `true` when it is news for routing.
    pub fn set_facts(self: &Arc<Self>, facts: Facts) -> bool {
        let before = self.facts.load();
        if **before == facts {
            self.gate.looked();
            return false;
        }
        self.gate.set_closed(facts.state == WorkerState::Draining);
        self.learned().begin_with_recalled(&facts.models);
        self.facts.store(Arc::new(facts));
        // What is in memory decides who may run.
        self.gate.looked();
        self.gate.pump();
        true
    }

    /// Goes by other bounds from now on; asks that run keep theirs.
    pub fn go_by(self: &Arc<Self>, limits: &Limits, routing: &Routing) {
        self.limits.store(Arc::new(limits.clone()));
        self.gate.go_by(routing.max_wait, routing.swaps_per_minute);
    }

    /// Begins with what the port before it has measured at the same engine.
    pub fn learn_from(&self, before: &Port) {
        if self.config.url == before.config.url && self.config.backend == before.config.backend {
            let rates = before.learned().rates.clone();
            self.learned().rates = rates;
        }
    }

    /// Nobody watches over the engine any more: nothing new is taken, since nobody would notice that it is gone.
    pub fn abandon(self: &Arc<Self>) {
        let reason = "nobody watches over its engine: its actor was given up".to_owned();
        self.set_facts(Facts { state: WorkerState::Failed, reason, ..Facts::clone(&self.facts()) });
        self.gate.set_closed(true);
    }

    /// Ends the engine's processes, where they are ours; `force` is at once. The next look waits until it is done, so that
    /// two engines are never up at once.
    pub async fn end_engine(&self, force: bool) {
        let mut process = self.process.lock().await;
        if let Some(process) = process.take() {
            process.end(force).await;
        }
        self.backend.end(force).await;
    }

    /// Ends every run on the engine that has not answered yet: it hangs.
    pub fn cut_runs(&self) {
        self.cut.swap(Arc::new(CancellationToken::new())).cancel();
    }

    /// Keeps a model from being used here until `until`.
    pub fn quarantine(&self, model: &str, until: Instant) {
        self.learned().quarantined.insert(model.to_owned(), until);
    }

    /// Takes a quarantine back.
    pub fn release(&self, model: &str) {
        self.learned().quarantined.remove(model);
    }

    /// What was measured in an earlier life; a model begins with it when it is seen.
    pub fn recall(&self, measured: HashMap<ModelId, Rates>) {
        self.learned().recalled = measured;
    }

    /// A load was measured.
    pub fn note_load(&self, engine_model: &str, took: Duration) {
        self.learned().rates.entry(engine_model.to_owned()).or_default().note_load(took);
        self.instruments.metrics.loaded(self.id.as_str(), took);
    }

    /// The worker as others see it.
    pub fn report(&self, now: Instant) -> WorkerReport {
        let facts = self.facts.load();
        let (busy, queued) = self.gate.counts();
        let load = self.live.load();
        let mut learned = self.learned();
        learned.quarantined.retain(|_, until| *until > now);
        WorkerReport {
            id: self.id.clone(),
            backend: self.config.backend,
            state: facts.state,
            reason: facts.reason.clone(),
            slots: self.config.slots,
            busy,
            queued,
            queued_prompt_tokens: u64::try_from(load.prompt_tokens).unwrap_or(0),
            queued_output_tokens: u64::try_from(load.output_tokens).unwrap_or(0),
            memory_bytes: facts.memory_bytes,
            models: facts.models.iter().map(|model| model_report(model, &learned, now)).collect(),
            prefixes: learned.prefixes.iter().copied().collect(),
        }
    }

    /// The model's name and the length of its context, when the engine has it still.
    fn still_offers(&self, engine_model: &str, model_id: &ModelId) -> Result<(String, u32)> {
        let facts = self.facts.load();
        let is_it = |model: &&OfferedModel| model.engine.name == engine_model && model.id == *model_id;
        if let Some(model) = facts.models.iter().find(is_it) {
            return Ok((model.name.clone(), model.engine.context_tokens));
        }
        Err(Fault::new(Code::ModelNotFound, format!("worker `{}` no longer offers model `{engine_model}`", self.id)))
    }

    /// Remembers what the engine is about to compute; gives how many leading blocks it has computed before.
    fn note_prefix(&self, prefix: &[u64]) -> usize {
        if prefix.is_empty() {
            return 0;
        }
        let learned = &mut *self.learned();
        let shared = shared_blocks(prefix, |hash| learned.known_prefixes.contains(hash));
        for hash in prefix.iter().skip(shared) {
            if learned.known_prefixes.insert(*hash) {
                learned.prefixes.push_back(*hash);
            }
        }
        while learned.prefixes.len() > PREFIXES_KEPT {
            if let Some(old) = learned.prefixes.pop_front() {
                learned.known_prefixes.remove(&old);
            }
        }
        shared
    }

    /// How long the engine may take for an answer in one piece; a stream is watched while it comes.
    fn patience(
        &self,
        head: &AskHead,
        engine_model: &str,
        context_tokens: u32,
        presence: Presence,
    ) -> Option<Duration> {
        if head.stream || !head.dialect.is_generation() {
            return None;
        }
        let whole = Whole {
            prompt_tokens: head.prompt_tokens,
            most_tokens: head.max_output_tokens,
            choices: head.choices,
            context_tokens,
            is_loaded: presence == Presence::There,
        };
        let rates = self.learned().rates.get(engine_model).copied()?;
        let measured = Measured {
            prefill_tok_s: rates.prefill_tok_s,
            decode_tok_s: rates.decode_tok_s,
            load_s: rates.load_s,
            output_tokens: rates.output_tokens,
        };
        let limits = self.limits.load();
        let least = limits.first_token + limits.idle_token;
        patience::patience(&whole, &measured, self.config.slots, least)
    }

    fn is_stuck(&self, most: Duration) -> Fault {
        self.look.notify_one();
        let most = base::units::format_duration(most);
        let message = format!("the engine of worker `{}` is stuck on an answer: it took over {most}", self.id);
        Fault::new(Code::EngineCut, message)
            .hint("ask again; if it stays so, look at the engine's log, or ask with \"stream\": true")
    }

    fn was_cut(&self) -> Fault {
        Fault::new(Code::EngineCut, format!("the engine of worker `{}` hung and its runs were ended", self.id))
    }

    /// What was learned stays usable when a thread died while it held it: estimates, not invariants.
    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokens that one prefix hash stands for.
const TOKENS_PER_BLOCK: u32 = (base::peek::PREFIX_BLOCK_BYTES / 4) as u32;

fn model_report(model: &OfferedModel, learned: &Learned, now: Instant) -> ModelReport {
    let quarantined = learned.quarantined.get(&model.name).map(|until| until.saturating_duration_since(now));
    let mut report = ModelReport {
        name: model.name.clone(),
        engine_name: model.engine.name.clone(),
        id: model.id.clone(),
        is_loaded: model.engine.is_loaded,
        size_bytes: model.engine.size_bytes,
        memory_bytes: model.engine.memory_bytes,
        context_tokens: model.engine.context_tokens,
        capabilities: model.engine.capabilities.clone(),
        prefill_tok_s: None,
        decode_tok_s: None,
        load_s: None,
        output_tokens: None,
        quarantined_s: quarantined.map(|left| left.as_secs().max(1)),
    };
    if let Some(rates) = learned.rates.get(&model.engine.name) {
        rates.fill(&mut report);
    }
    report
}

/// The catalogue's name and identity for a model that an engine lists.
pub fn offered(worker: &WorkerId, engine: EngineModel, declared: &[Model]) -> OfferedModel {
    let is_named = |model: &&Model| {
        let names = std::iter::once(&model.name).chain(&model.aliases);
        let here =
            model.engines.is_empty() || model.engines.iter().any(|at| at == worker.as_str() || at == worker.name());
        here && names.into_iter().any(|name| *name == engine.name)
    };
    let declared = declared.iter().find(is_named);
    let id = match (&engine.digest, declared) {
        (Some(digest), _) => ModelId::new(digest),
        (None, Some(model)) => ModelId::new(&model.name),
        // Nobody vouches that this is the same model as one of that name elsewhere.
        (None, None) => ModelId::new(format!("{worker}:{}", engine.name)),
    };
    let name = declared.map_or_else(|| engine.name.clone(), |model| model.name.clone());
    OfferedModel { name, id, engine }
}

/// The time that an engine has for an answer in one piece, from when it got the ask.
struct Patience {
    most: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(most: Option<Duration>) -> Self {
        let timer = most.map(|most| Box::pin(tokio::time::sleep(most)));
        Self { most: most.unwrap_or_default(), timer }
    }

    /// Waits until it is over: for ever, where there is no bound. Gives what it was.
    async fn over(&mut self) -> Duration {
        std::future::poll_fn(|cx| self.poll_over(cx)).await
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx).map(|()| self.most),
            None => Poll::Pending,
        }
    }
}

/// A run in its slot.
struct Seated {
    inner: BoxFrames,
    port: Arc<Port>,
    /// For the first frame.
    wait: Span,
    call: EngineCall,
    _permit: Permit,
    engine_model: String,
    model_id: ModelId,
    /// Made to measure the engine.
    is_probe: bool,
    is_streamed: bool,
    presence: Presence,
    /// What it taught is learned.
    is_noted: bool,
    queued: Duration,
    believed_cached: u32,
    patience: Patience,
}

impl Seated {
    fn finished(&mut self) {
        let Some(summary) = self.inner.summary().filter(|_| !self.is_noted) else { return };
        self.is_noted = true;
        self.call.ended("ok", Some(summary));
        self.note_pace(&summary);
        let mut learned = self.port.learned();
        let rates = learned.rates.entry(self.engine_model.clone()).or_default();
        let waited = match self.presence {
            Presence::There => Duration::ZERO,
            Presence::Brought => self.load_time(rates, &summary),
            // How much of it was somebody else's load is not known: it teaches neither load nor prompt.
            Presence::Coming => summary.first_token.filter(|_| self.is_streamed).unwrap_or_default(),
        };
        let run = Finished { summary, is_streamed: self.is_streamed, waited, believed_cached: self.believed_cached };
        match self.is_probe {
            true => rates.note_probe(&run),
            false => rates.note_run(&run),
        }
        tracing::trace!(worker = %self.port.id, queued = ?self.queued, "run ended");
    }

    /// How fast a client's answer was written, for triggers that compare it with what was measured.
    fn note_pace(&self, summary: &RunSummary) {
        let (Some(usage), Some(first_token)) = (summary.usage, summary.first_token) else { return };
        let decoding = summary.total.saturating_sub(first_token).as_secs_f64();
        if self.is_probe || !self.is_streamed || usage.completion_tokens < LEAST_PACED || decoding <= 0.0 {
            return;
        }
        let tok_s = f64::from(usage.completion_tokens - 1) / decoding;
        let side = Side::of(self.port.config.backend.is_external());
        self.port.instruments.watch.paced(side, &self.port.id, &self.model_id, tok_s);
    }

    /// A first token that waited for a load: what reading the prompt would have taken is not load.
    fn load_time(&self, rates: &mut Rates, summary: &RunSummary) -> Duration {
        let Some(first_token) = summary.first_token.filter(|_| self.is_streamed) else { return Duration::ZERO };
        let prompt = summary.usage.map_or(0, |usage| usage.prompt_tokens);
        let reading = rates.prefill_tok_s.map_or(0.0, |speed| f64::from(prompt) / speed);
        let load = first_token.saturating_sub(Duration::from_secs_f64(reading));
        rates.note_load(load);
        self.port.instruments.metrics.loaded(self.port.id.as_str(), load);
        load
    }
}

impl Drop for Seated {
    /// Dropped behind its end mark, it ended well.
    fn drop(&mut self) {
        self.finished();
    }
}

impl Frames for Seated {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let mut polled = self.inner.poll_frame(cx);
        if polled.is_pending()
            && let Poll::Ready(most) = self.patience.poll_over(cx)
        {
            polled = Poll::Ready(Some(Err(self.port.is_stuck(most))));
        }
        if let Poll::Ready(Some(first)) = &polled {
            self.wait.ended_as(first);
        }
        match &polled {
            Poll::Ready(Some(Ok(_))) => {
                self.port.progress.fetch_add(1, Ordering::Relaxed);
                self.call.came();
            }
            Poll::Ready(Some(Err(fault))) => {
                self.call.ended(fault.code.as_str(), None);
                self.port.look.notify_one();
            }
            Poll::Ready(None) => self.finished(),
            Poll::Pending => {}
        }
        polled
    }

    fn summary(&self) -> Option<RunSummary> {
        self.inner.summary()
    }
}
