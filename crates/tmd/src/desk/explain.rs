//! Why asks went where they went: the last decisions of this node with every candidate, kept in a ring.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::{AskHead, AskId, Face, NodeId, WorkerId};
use proto::admin::{AskItem, Candidate, ExplainResponse, RunItem, Term};
use routing::route::{Explained, Route};
use routing::table::Table;
use routing::{Leaning, Side};

/// Decisions kept; the oldest go first.
const KEPT: usize = 4096;

/// The last decisions.
#[derive(Default)]
pub struct Ring(Mutex<VecDeque<Arc<Record>>>);

/// One ask's decisions and runs; filled while the ask goes on.
pub struct Record {
    ask: AskId,
    at_unix_ms: u64,
    begun: Instant,
    face: Face,
    client: Arc<str>,
    asked_model: Arc<str>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    model: Arc<str>,
    fallback: Option<String>,
    candidates: Vec<Explained>,
    leaning: Option<Leaning>,
    answers_on: Option<Side>,
    chosen: Option<WorkerId>,
    runs: Vec<RunNote>,
    /// What became of it, and after how long; `None` while it runs.
    ended: Option<(String, Duration)>,
}

/// Which of an ask's runs.
#[derive(Clone, Copy, Debug)]
pub struct RunNumber(usize);

struct RunNote {
    worker: WorkerId,
    begun: Instant,
    outcome: Option<(String, u32, Duration)>,
}

impl Ring {
    /// Begins the record of an ask.
    pub fn begin(&self, head: &AskHead) -> Arc<Record> {
        let record = Arc::new(Record {
            ask: head.id,
            at_unix_ms: base::time::unix_ms(),
            begun: Instant::now(),
            face: head.face,
            client: head.client.clone(),
            asked_model: head.model.clone(),
            inner: Mutex::default(),
        });
        let mut ring = lock(&self.0);
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(record.clone());
        record
    }

    /// The record of an ask, while it is kept.
    pub fn find(&self, ask: AskId) -> Option<Arc<Record>> {
        lock(&self.0).iter().rev().find(|record| record.ask == ask).cloned()
    }

    /// At most `limit` asks: those that run, then those that ended, each newest first.
    pub fn newest(&self, limit: usize) -> Vec<Arc<Record>> {
        // Cloned, so that asks which begin need not wait for the looks at all of them.
        let all: Vec<Arc<Record>> = lock(&self.0).iter().rev().cloned().collect();
        let (running, ended): (Vec<_>, Vec<_>) = all.into_iter().partition(|record| record.is_running());
        running.into_iter().chain(ended).take(limit).collect()
    }
}

impl Record {
    /// The model that answers, and why another than the one asked for.
    pub fn model(&self, model: &Arc<str>, fallback: Option<&str>) {
        let mut inner = lock(&self.inner);
        inner.model = model.clone();
        inner.fallback = fallback.map(str::to_owned);
    }

    /// A decision. The first one's candidates are kept; later ones (after a failure) only change who was chosen.
    pub fn route(&self, table: &Table, route: &Route) {
        let mut inner = lock(&self.inner);
        inner.chosen = route.chosen.as_ref().map(|chosen| chosen.worker.clone());
        inner.leaning = inner.leaning.or(Some(route.leaning));
        inner.answers_on = route.chosen.as_ref().map(|chosen| chosen.side);
        if inner.candidates.is_empty() {
            inner.candidates = route.explain(table);
        }
    }

    /// A run began. Two may go on at a time, so it is told apart by its number.
    pub fn run_began(&self, worker: &WorkerId, now: Instant) -> RunNumber {
        let runs = &mut lock(&self.inner).runs;
        runs.push(RunNote { worker: worker.clone(), begun: now, outcome: None });
        RunNumber(runs.len() - 1)
    }

    /// A run ended.
    pub fn run_ended(&self, number: RunNumber, outcome: &str, tokens: u32, now: Instant) {
        if let Some(run) = lock(&self.inner).runs.get_mut(number.0).filter(|run| run.outcome.is_none()) {
            run.outcome = Some((outcome.to_owned(), tokens, now.saturating_duration_since(run.begun)));
        }
    }

    /// The ask ended.
    pub fn ended(&self, outcome: &str) {
        lock(&self.inner).ended = Some((outcome.to_owned(), self.begun.elapsed()));
    }

    /// The side that the ask leaned to, and whether whoever was chosen last is on it; `None` where nobody was looked for.
    pub fn leaned(&self) -> Option<(Side, bool)> {
        let inner = lock(&self.inner);
        let side = inner.leaning?.side();
        Some((side, inner.answers_on == Some(side)))
    }

    fn is_running(&self) -> bool {
        lock(&self.inner).ended.is_none()
    }

    /// In short, for a list of asks.
    pub fn item(&self, node: &NodeId) -> AskItem {
        let inner = lock(&self.inner);
        let (outcome, took) = inner.told(self.begun);
        let tokens = inner.runs.iter().filter_map(|run| run.outcome.as_ref()).map(|(_, tokens, _)| *tokens);
        AskItem {
            ask: self.ask.to_string(),
            node: node.to_string(),
            client: self.client.to_string(),
            face: self.face.as_str().to_owned(),
            asked_model: self.asked_model.to_string(),
            model: inner.model.to_string(),
            fallback: inner.fallback.clone().unwrap_or_default(),
            worker: inner.chosen.as_ref().map(ToString::to_string).unwrap_or_default(),
            outcome,
            at_unix_ms: self.at_unix_ms,
            seconds: took.as_secs_f64(),
            runs: u32::try_from(inner.runs.len()).unwrap_or(u32::MAX),
            tokens: tokens.fold(0, u32::saturating_add),
        }
    }

    /// For a person.
    pub fn explain(&self, decided_by: &NodeId) -> ExplainResponse {
        let inner = lock(&self.inner);
        ExplainResponse {
            ask: self.ask.to_string(),
            asked_model: self.asked_model.to_string(),
            model: inner.model.to_string(),
            fallback: inner.fallback.clone().unwrap_or_default(),
            chosen: inner.chosen.as_ref().map(ToString::to_string).unwrap_or_default(),
            candidates: inner.candidates.iter().map(candidate).collect(),
            runs: inner.runs.iter().map(run).collect(),
            decided_by: decided_by.to_string(),
            at_unix_ms: self.at_unix_ms,
            outcome: inner.told(self.begun).0,
            leaning: inner.leaning.map(|leaning| leaning.to_string()).unwrap_or_default(),
        }
    }
}

impl Inner {
    /// What became of the ask that began then, and how long it took so far.
    fn told(&self, begun: Instant) -> (String, Duration) {
        self.ended.clone().unwrap_or_else(|| ("running".to_owned(), begun.elapsed()))
    }
}

fn candidate(explained: &Explained) -> Candidate {
    let term = |(name, seconds): (&str, f64)| Term { name: name.to_owned(), seconds };
    Candidate {
        worker: explained.worker.to_string(),
        terms: explained.terms.named().into_iter().map(term).collect(),
        total_s: explained.total_s,
        refused_because: explained.refused_because.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn run(run: &RunNote) -> RunItem {
    let (outcome, tokens, took) = match &run.outcome {
        Some((outcome, tokens, took)) => (outcome.clone(), *tokens, *took),
        None => ("running".to_owned(), 0, run.begun.elapsed()),
    };
    RunItem { worker: run.worker.to_string(), outcome, tokens, seconds: took.as_secs_f64() }
}

/// Records stay readable when a thread died while it wrote one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use base::Dialect;
    use base::time::Deadline;

    use super::*;

    fn head() -> AskHead {
        AskHead::plain(Dialect::OpenAiChat, Deadline::after(Instant::now(), Duration::from_secs(1)))
    }

    #[test]
    fn those_that_run_come_before_newer_ones_that_ended() {
        let ring = Ring::default();
        let asks: Vec<_> = (0..4).map(|_| ring.begin(&head())).collect();
        asks[1].ended("ok");
        asks[3].ended("cancelled");
        let told: Vec<_> = ring.newest(3).iter().map(|record| (record.ask, record.item(&"n".into()).outcome)).collect();
        let running = || "running".to_owned();
        assert_eq!(told, [(asks[2].ask, running()), (asks[0].ask, running()), (asks[3].ask, "cancelled".to_owned())]);
    }

    #[test]
    fn the_end_of_a_run_is_noted_at_that_run_while_another_goes_on() {
        let (now, record) = (Instant::now(), Ring::default().begin(&head()));
        let slow = record.run_began(&"n/slow".into(), now);
        let hedge = record.run_began(&"n/hedge".into(), now);
        record.run_ended(slow, "cancelled", 0, now);
        record.run_ended(hedge, "ok", 7, now);
        let runs = record.explain(&"n".into()).runs;
        let told: Vec<_> = runs.iter().map(|run| (run.worker.as_str(), run.outcome.as_str(), run.tokens)).collect();
        assert_eq!(told, [("n/slow", "cancelled", 0), ("n/hedge", "ok", 7)]);
    }
}
