//! Failures: what went wrong, with what, how bad, and what was done about it. The list that `tmctl failures` shows.

use std::collections::VecDeque;
use std::fmt;

use base::{NodeId, WorkerId};
use serde::{Deserialize, Serialize};

/// The list keeps this many; the oldest go first.
const KEPT: usize = 1000;
/// The same trouble again within this time is the same failure, counted.
const SAME_WITHIN_MS: u64 = 60_000;
/// A failed run that was not followed by another one for so long was a passing one.
const QUIET_MS: u64 = 600_000;

/// What a failure is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A worker and its engine.
    Worker(WorkerId),
    /// A model at a worker.
    Model { worker: WorkerId, model: String },
    /// A node.
    Node(NodeId),
    /// An actor of a node.
    Actor { node: NodeId, actor: String },
    /// Something that a client named.
    Other(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(worker) => write!(f, "worker {worker}"),
            Self::Model { worker, model } => write!(f, "model {model} at {worker}"),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Actor { node, actor } => write!(f, "actor {node}/{actor}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The type of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// A process or an actor ended.
    SystemError,
    /// Slower than it was.
    PerformanceDegradation,
    /// Out of memory, disk, slots.
    ResourceExhaustion,
    /// A model does not load or answers junk.
    ModelFailure,
    /// Another machine cannot be reached.
    Network,
    /// Somebody tried what is not theirs.
    Security,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Handled; worth knowing.
    Low,
    /// Less of something works.
    Medium,
    /// Something does not work.
    High,
    /// The owner must act.
    Critical,
}

/// What became of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It goes on.
    Active,
    /// The remedy's check passed.
    Recovered,
    /// It went away by itself.
    Passed,
    /// The remedy did not help and was taken back.
    NotHelped,
}

/// Something that was seen to go wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// `fail-` and a number, unique on its node.
    pub id: String,
    /// When it was seen first, Unix milliseconds.
    pub at_ms: u64,
    /// When it was seen last, Unix milliseconds.
    pub last_ms: u64,
    /// How often it was seen.
    pub count: u32,
    /// What it is about.
    pub subject: Subject,
    /// Its type.
    pub kind: FailureKind,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen, for people.
    pub detail: String,
    /// What was done; empty when nothing was.
    pub remedy: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// A failure as it is reported; the log makes a [`Failure`] of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// What it is about.
    pub subject: Subject,
    /// Its type.
    pub kind: FailureKind,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen.
    pub detail: String,
}

/// The failures of a node, newest last, bounded.
#[derive(Default)]
pub struct FailureLog {
    failures: VecDeque<Failure>,
    next: u64,
}

impl FailureLog {
    /// Notes a sighting at `now_ms`. Gives the failure's id, and whether it is a new one.
    pub fn note(&mut self, sighting: Sighting, now_ms: u64) -> (String, bool) {
        let is_same = |failure: &&mut Failure| {
            failure.outcome == Outcome::Active
                && failure.subject == sighting.subject
                && failure.kind == sighting.kind
                && now_ms.saturating_sub(failure.last_ms) <= SAME_WITHIN_MS
        };
        if let Some(failure) = self.failures.iter_mut().rev().find(is_same) {
            failure.last_ms = now_ms;
            failure.count += 1;
            failure.severity = failure.severity.max(sighting.severity);
            failure.detail = sighting.detail;
            return (failure.id.clone(), false);
        }
        if self.failures.len() == KEPT {
            self.failures.pop_front();
        }
        self.next += 1;
        let id = format!("fail-{}", self.next);
        self.failures.push_back(Failure {
            id: id.clone(),
            at_ms: now_ms,
            last_ms: now_ms,
            count: 1,
            subject: sighting.subject,
            kind: sighting.kind,
            severity: sighting.severity,
            detail: sighting.detail,
            remedy: String::new(),
            outcome: Outcome::Active,
        });
        (id, true)
    }

    /// Notes what was done about a failure.
    pub fn treated(&mut self, id: &str, remedy: &str) {
        if let Some(failure) = self.failures.iter_mut().rev().find(|failure| failure.id == id) {
            remedy.clone_into(&mut failure.remedy);
        }
    }

    /// Notes what became of a failure.
    pub fn ended(&mut self, id: &str, outcome: Outcome) {
        if let Some(failure) = self.failures.iter_mut().rev().find(|failure| failure.id == id) {
            failure.outcome = outcome;
        }
    }

    /// Ends every active failure of a subject that works again. Gives how many there were.
    pub fn subject_works(&mut self, subject: &Subject) -> usize {
        let active = self.failures.iter_mut().filter(|f| f.outcome == Outcome::Active && &f.subject == subject);
        let mut ended = 0;
        for failure in active {
            failure.outcome = if failure.remedy.is_empty() { Outcome::Passed } else { Outcome::Recovered };
            ended += 1;
        }
        ended
    }

    /// How many go on, by how bad they are.
    pub fn active_by_severity(&self) -> [(Severity, usize); 4] {
        [Severity::Low, Severity::Medium, Severity::High, Severity::Critical].map(|severity| {
            let is_it = |failure: &&Failure| failure.outcome == Outcome::Active && failure.severity == severity;
            (severity, self.failures.iter().filter(is_it).count())
        })
    }

    /// Ends what nobody reports the end of: single failed runs, once none came for a while.
    pub fn pass_quiet(&mut self, now_ms: u64) {
        let is_quiet = |failure: &&mut Failure| {
            failure.outcome == Outcome::Active
                && failure.severity == Severity::Low
                && now_ms.saturating_sub(failure.last_ms) >= QUIET_MS
        };
        self.failures.iter_mut().filter(is_quiet).for_each(|failure| failure.outcome = Outcome::Passed);
    }

    /// All that are kept, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Failure> {
        self.failures.iter().rev()
    }

    /// How many go on.
    pub fn active(&self) -> usize {
        self.failures.iter().filter(|failure| failure.outcome == Outcome::Active).count()
    }

    /// Share of ended failures that ended well; 1 when none ended.
    pub fn recovery_rate(&self) -> f64 {
        let ended = self.failures.iter().filter(|failure| failure.outcome != Outcome::Active);
        let (all, well) = ended.fold((0u32, 0u32), |(all, well), failure| {
            (all + 1, well + u32::from(failure.outcome != Outcome::NotHelped))
        });
        if all == 0 { 1.0 } else { f64::from(well) / f64::from(all) }
    }
}

/// Reads a word of the wire, as serde writes it.
pub fn parse_word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

/// Writes a word for the wire.
pub fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(worker: &str) -> Sighting {
        Sighting {
            subject: Subject::Worker(worker.into()),
            kind: FailureKind::SystemError,
            severity: Severity::Medium,
            detail: "engine ended".into(),
        }
    }

    #[test]
    fn the_same_trouble_is_one_failure_until_it_ends() {
        let mut log = FailureLog::default();
        assert_eq!(log.note(down("n/a"), 1000), ("fail-1".into(), true));
        assert_eq!(log.note(down("n/a"), 2000), ("fail-1".into(), false));
        assert_eq!(log.note(down("n/b"), 2000), ("fail-2".into(), true));
        log.treated("fail-1", "restart-worker");
        assert_eq!(log.subject_works(&Subject::Worker("n/a".into())), 1);
        assert_eq!(log.note(down("n/a"), 3000), ("fail-3".into(), true));
        assert_eq!(log.active(), 2);
        assert_eq!(log.newest_first().last().map(|f| (f.count, f.outcome)), Some((2, Outcome::Recovered)));
    }

    #[test]
    fn the_rate_counts_only_what_ended() {
        let mut log = FailureLog::default();
        assert_eq!(log.recovery_rate(), 1.0);
        log.note(down("n/a"), 0);
        log.note(down("n/b"), 0);
        log.note(down("n/c"), 0);
        log.ended("fail-1", Outcome::Recovered);
        log.ended("fail-2", Outcome::NotHelped);
        assert_eq!(log.recovery_rate(), 0.5);
    }

    #[test]
    fn a_failed_run_passes_when_none_follows_and_a_worker_that_is_down_does_not() {
        let mut log = FailureLog::default();
        log.note(down("n/a"), 0);
        log.note(Sighting { severity: Severity::Low, ..down("n/b") }, 0);
        log.pass_quiet(QUIET_MS - 1);
        assert_eq!(log.active(), 2);
        log.pass_quiet(QUIET_MS);
        let outcomes: Vec<_> = log.newest_first().map(|failure| failure.outcome).collect();
        assert_eq!(outcomes, [Outcome::Passed, Outcome::Active]);
    }

    #[test]
    fn the_list_is_bounded() {
        let mut log = FailureLog::default();
        for n in 0..KEPT + 10 {
            log.note(down(&format!("n/{n}")), 0);
        }
        assert_eq!(log.newest_first().count(), KEPT);
    }

    #[test]
    fn words_are_those_of_the_contract() {
        assert_eq!(word(FailureKind::PerformanceDegradation), "performance-degradation");
        assert_eq!(parse_word::<Severity>("critical"), Some(Severity::Critical));
        assert_eq!(parse_word::<Severity>("awful"), None);
    }
}
