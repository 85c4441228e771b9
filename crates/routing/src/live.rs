//! What this node sent and what has not ended yet: counted before the first byte leaves, so that two asks in the same
//! millisecond do not both see an idle worker.
//!
//! A worker's load is what its last report said, plus what this node began since, minus what ended since. For that the
//! own figures are remembered at the moment a report is first seen ([`WorkerLive::since_report`]). Each ask is counted
//! once per node: by the route that sends it, and at a gate only where it came from a peer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::{Code, Incarnation, ModelId, WorkerId};

use crate::breaker::{Breaker, Pass};

/// Asks that are remembered for what is popular.
const FADE_AFTER: u32 = 1000;

/// Work at a worker. Signed, because the difference of two of them is one too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Asks that run or wait.
    pub asks: i64,
    /// Prompt tokens that are not computed yet.
    pub prompt_tokens: i64,
    /// Answer tokens that are still expected.
    pub output_tokens: i64,
    /// Milliseconds of model loads that were caused and have not ended.
    pub load_ms: i64,
}

impl Load {
    /// The sum, with nothing below zero.
    pub fn plus(self, other: Self) -> Self {
        Self {
            asks: (self.asks + other.asks).max(0),
            prompt_tokens: (self.prompt_tokens + other.prompt_tokens).max(0),
            output_tokens: (self.output_tokens + other.output_tokens).max(0),
            load_ms: (self.load_ms + other.load_ms).max(0),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            asks: self.asks - other.asks,
            prompt_tokens: self.prompt_tokens - other.prompt_tokens,
            output_tokens: self.output_tokens - other.output_tokens,
            // Reports do not tell of loads, so what this node caused is all there is.
            load_ms: self.load_ms,
        }
    }
}

/// What an ask is expected to cost the worker it is sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Prompt tokens that must be computed.
    pub prompt_tokens: u32,
    /// Answer tokens expected.
    pub output_tokens: u32,
    /// Time that the worker spends on loading the model for it; zero when it is in memory.
    pub load: Duration,
}

/// The live figures of every worker that this node ever sent to.
#[derive(Debug, Default)]
pub struct LiveMap {
    workers: Mutex<HashMap<WorkerId, Arc<WorkerLive>>>,
    demand: Mutex<HashMap<ModelId, Arc<Demand>>>,
}

/// How often this node was asked for a model lately.
#[derive(Debug, Default)]
pub struct Demand {
    asks: AtomicU32,
}

impl Demand {
    /// One more ask.
    pub fn note(&self) {
        self.asks.fetch_add(1, Ordering::Relaxed);
    }
}

impl LiveMap {
    /// The figures of a worker; new ones at first sight.
    pub fn worker(&self, id: &WorkerId) -> Arc<WorkerLive> {
        let mut workers = lock(&self.workers);
        if let Some(live) = workers.get(id) {
            return Arc::clone(live);
        }
        Arc::clone(workers.entry(id.clone()).or_default())
    }

    /// The counter of asks for a model.
    pub fn demand(&self, id: &ModelId) -> Arc<Demand> {
        Arc::clone(lock(&self.demand).entry(id.clone()).or_default())
    }

    /// The share of each model in the asks of late, 0 to 1. Counts are halved now and then, so that old ones fade.
    pub fn shares(&self) -> HashMap<ModelId, f64> {
        let demand = lock(&self.demand);
        let count = |demand: &Demand| demand.asks.load(Ordering::Relaxed);
        let all: u32 = demand.values().map(|demand| count(demand)).sum();
        if all > FADE_AFTER {
            demand.values().for_each(|demand| demand.asks.store(count(demand) / 2, Ordering::Relaxed));
        }
        let share = |demand: &Demand| f64::from(count(demand)) / f64::from(all.max(1));
        demand.iter().map(|(id, demand)| (id.clone(), share(demand).min(1.0))).collect()
    }

    /// Forgets idle workers for which `keep` is false, so that departed nodes do not stay in memory.
    pub fn retain(&self, keep: impl Fn(&WorkerId) -> bool) {
        lock(&self.workers).retain(|id, live| keep(id) || live.load().asks > 0);
    }
}

/// What this node has in flight at one worker, and what it learned about its health.
#[derive(Debug, Default)]
pub struct WorkerLive {
    asks: AtomicI64,
    prompt_tokens: AtomicI64,
    output_tokens: AtomicI64,
    load_ms: AtomicI64,
    models: Mutex<HashMap<ModelId, Arc<ModelLive>>>,
    baseline: Mutex<Baseline>,
    is_tripped: AtomicBool,
    breaker: Mutex<Breaker>,
    was_ready: AtomicBool,
}

/// Asks of this node for one model at one worker.
#[derive(Debug, Default)]
pub struct ModelLive {
    asks: AtomicU32,
    /// Those of them that wait for their first token.
    waiting: AtomicU32,
    /// When the first of those was sent, or one was last answered.
    silent_since: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Baseline {
    report: Option<(Incarnation, u64)>,
    own: Load,
}

impl WorkerLive {
    /// Counts an ask that is about to be sent; it counts until the guard is dropped.
    pub fn begin(self: &Arc<Self>, model: &Arc<ModelLive>, work: Work, now: Instant) -> LiveGuard {
        let load_ms = i64::try_from(work.load.as_millis()).unwrap_or(i64::MAX);
        self.asks.fetch_add(1, Ordering::Relaxed);
        self.prompt_tokens.fetch_add(work.prompt_tokens.into(), Ordering::Relaxed);
        self.output_tokens.fetch_add(work.output_tokens.into(), Ordering::Relaxed);
        self.load_ms.fetch_add(load_ms, Ordering::Relaxed);
        model.begin(now);
        LiveGuard {
            worker: Arc::clone(self),
            model: Arc::clone(model),
            prompt_tokens: work.prompt_tokens,
            output_tokens: work.output_tokens,
            load_ms,
            is_waiting: true,
        }
    }

    /// What this node has in flight there.
    pub fn load(&self) -> Load {
        Load {
            asks: self.asks.load(Ordering::Relaxed),
            prompt_tokens: self.prompt_tokens.load(Ordering::Relaxed),
            output_tokens: self.output_tokens.load(Ordering::Relaxed),
            load_ms: self.load_ms.load(Ordering::Relaxed),
        }
    }

    /// The own load at the time that this report was first seen.
    pub fn baseline(&self, incarnation: Incarnation, sequence: u64) -> Load {
        let mut baseline = lock(&self.baseline);
        if baseline.report != Some((incarnation, sequence)) {
            *baseline = Baseline { report: Some((incarnation, sequence)), own: self.load() };
        }
        baseline.own
    }

    /// What changed since the own load was `baseline`.
    pub fn since_report(&self, baseline: Load) -> Load {
        self.load().minus(baseline)
    }

    /// The figures of a model at this worker.
    pub fn model(&self, id: &ModelId) -> Arc<ModelLive> {
        Arc::clone(lock(&self.models).entry(id.clone()).or_default())
    }

    /// Whether its breaker lets an ask through.
    pub fn pass(&self, now: Instant) -> Pass {
        if self.is_tripped.load(Ordering::Acquire) { lock(&self.breaker).pass(now) } else { Pass::Free }
    }

    /// Tells the breaker that the ask about to be sent is its probe, where it waits for one.
    pub fn begin_probe(&self, now: Instant) {
        self.change_breaker(|breaker| breaker.begin_probe(now));
    }

    /// Notes whether the worker's node says that it works. One that works again is used at once: what failed was before.
    pub fn reported(&self, is_ready: bool) {
        let was_ready = self.was_ready.swap(is_ready, Ordering::Relaxed);
        if is_ready && !was_ready {
            self.succeeded();
        }
    }

    /// The worker answered an ask or a health check.
    pub fn succeeded(&self) {
        self.change_breaker(Breaker::succeeded);
    }

    /// An ask sent to it failed; codes that say nothing about the worker count as an answer given.
    pub fn failed(&self, code: Code, now: Instant) {
        match code {
            Code::Cancelled => self.change_breaker(|breaker| breaker.abandoned(now)),
            code if Breaker::counts(code) => self.change_breaker(|breaker| breaker.failed(now)),
            // A deadline that passed is no proof of life.
            Code::DeadlineExceeded => {}
            _ => self.change_breaker(Breaker::succeeded),
        }
    }

    fn change_breaker(&self, change: impl FnOnce(&mut Breaker)) {
        let mut breaker = lock(&self.breaker);
        change(&mut breaker);
        self.is_tripped.store(!breaker.is_closed(), Ordering::Release);
    }
}

impl ModelLive {
    /// Asks of this node for the model there.
    pub fn asks(&self) -> u32 {
        self.asks.load(Ordering::Relaxed)
    }

    /// How long asks have waited there for a first token without any of them getting one.
    pub fn silent_for(&self, now: Instant) -> Duration {
        let is_waited = self.waiting.load(Ordering::Relaxed) > 0;
        let since = *lock(&self.silent_since);
        since.filter(|_| is_waited).map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn begin(&self, now: Instant) {
        self.asks.fetch_add(1, Ordering::Relaxed);
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            *lock(&self.silent_since) = Some(now);
        }
    }

    fn answered(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        *lock(&self.silent_since) = Some(Instant::now());
    }
}

/// An ask in flight; dropping it says that it ended, however it did.
#[derive(Debug)]
pub struct LiveGuard {
    worker: Arc<WorkerLive>,
    model: Arc<ModelLive>,
    prompt_tokens: u32,
    output_tokens: u32,
    load_ms: i64,
    is_waiting: bool,
}

impl LiveGuard {
    /// The first token came: the model is in memory and the prompt is computed.
    pub fn first_token(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.model.answered();
        }
        self.worker.prompt_tokens.fetch_sub(std::mem::take(&mut self.prompt_tokens).into(), Ordering::Relaxed);
        self.worker.load_ms.fetch_sub(std::mem::take(&mut self.load_ms), Ordering::Relaxed);
    }
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.first_token();
        self.worker.output_tokens.fetch_sub(self.output_tokens.into(), Ordering::Relaxed);
        self.worker.asks.fetch_sub(1, Ordering::Relaxed);
        self.model.asks.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Figures stay usable when a thread died while it held them: they are counters, not invariants.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(prompt_tokens: u32, output_tokens: u32) -> Work {
        Work { prompt_tokens, output_tokens, load: Duration::from_secs(1) }
    }

    #[test]
    fn an_ask_counts_until_its_guard_is_dropped() {
        let worker = LiveMap::default().worker(&"a/w".into());
        let model = worker.model(&"m".into());
        let mut guard = worker.begin(&model, work(100, 20), Instant::now());
        assert_eq!(worker.load(), Load { asks: 1, prompt_tokens: 100, output_tokens: 20, load_ms: 1000 });
        guard.first_token();
        guard.first_token();
        assert_eq!(worker.load(), Load { asks: 1, prompt_tokens: 0, output_tokens: 20, load_ms: 0 });
        drop(guard);
        assert_eq!((worker.load(), model.asks()), (Load::default(), 0));
    }

    #[test]
    fn only_what_changed_since_a_report_is_added_to_it() {
        let worker = LiveMap::default().worker(&"a/w".into());
        let model = worker.model(&"m".into());
        let first = worker.begin(&model, work(100, 20), Instant::now());
        let baseline = worker.baseline(Incarnation(1), 7);
        let _second = worker.begin(&model, work(50, 10), Instant::now());
        drop(first);
        // Seen again, the same report keeps its baseline.
        assert_eq!(worker.baseline(Incarnation(1), 7), baseline);
        let since = worker.since_report(baseline);
        assert_eq!((since.asks, since.prompt_tokens, since.output_tokens), (0, -50, -10));
        let reported = Load { asks: 1, prompt_tokens: 100, output_tokens: 20, load_ms: 0 };
        assert_eq!(reported.plus(since).prompt_tokens, 50);
        assert_eq!(worker.baseline(Incarnation(1), 8).asks, 1);
    }

    #[test]
    fn silence_grows_until_an_ask_is_answered() {
        let (worker, begin) = (LiveMap::default().worker(&"a/w".into()), Instant::now());
        let model = worker.model(&"m".into());
        let at = |s| begin + Duration::from_secs(s);
        assert_eq!(model.silent_for(at(0)), Duration::ZERO, "nobody waits");
        let mut first = worker.begin(&model, work(1, 1), at(0));
        let second = worker.begin(&model, work(1, 1), at(90));
        assert_eq!(model.silent_for(at(100)), Duration::from_secs(100));
        first.first_token();
        assert!(model.silent_for(at(100)) <= Duration::from_secs(100));
        assert!(model.silent_for(at(100)) > Duration::from_secs(90), "the second one still waits");
        drop(second);
        assert_eq!(model.silent_for(at(200)), Duration::ZERO, "the first one is being answered");
    }

    #[test]
    fn a_worker_that_works_again_is_used_at_once() {
        let now = Instant::now();
        let worker = LiveMap::default().worker(&"a/w".into());
        worker.reported(true);
        (0..3).for_each(|_| worker.failed(Code::EngineCut, now));
        worker.reported(true);
        assert!(matches!(worker.pass(now), Pass::Not { .. }), "its node has not noticed yet");
        worker.reported(false);
        worker.reported(true);
        assert_eq!(worker.pass(now), Pass::Free);
    }

    #[test]
    fn a_client_error_proves_that_the_worker_lives() {
        let now = Instant::now();
        let worker = LiveMap::default().worker(&"a/w".into());
        (0..3).for_each(|_| worker.failed(Code::EngineFailed, now));
        assert!(matches!(worker.pass(now), Pass::Not { .. }));
        worker.failed(Code::InvalidArgument, now);
        assert_eq!(worker.pass(now), Pass::Free);
    }
}
