//! What to do about a failure: pure. Every remedy has a precondition, a check, a rollback, and a budget per subject.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use base::retry::Intensity;
use base::{NodeId, WorkerId};

use crate::failures::{Failure, FailureKind, Severity, Subject};

/// Something that recovery can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// End the engine and start it again, or connect anew where it is a neighbour.
    RestartWorker(WorkerId),
    /// Do not use a model at a worker for a while.
    Quarantine { worker: WorkerId, model: String, for_: Duration },
    /// Plan the placement anew, so that the model gets another home.
    Replace { model: Option<String> },
    /// Leave a node out of routing for a while although it answers.
    Evict { node: NodeId, for_: Duration },
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RestartWorker(_) => f.write_str("restart-worker"),
            Self::Quarantine { for_, .. } => write!(f, "quarantine {}", base::units::format_duration(*for_)),
            Self::Replace { .. } => f.write_str("replace-model"),
            Self::Evict { for_, .. } => write!(f, "evict-node {}", base::units::format_duration(*for_)),
        }
    }
}

/// What the chooser knows besides the failure.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Workers that own their engine's process here, so that a restart can help.
    pub own_engine: bool,
    /// Whether the subject works right now: then nothing is to be done.
    pub works_again: bool,
    /// Other nodes that could take over.
    pub other_nodes: usize,
    /// Other workers that take asks for the same model.
    pub other_places: usize,
    /// How often a quarantine of the same pair was needed before, in a row.
    pub quarantines_before: u32,
}

/// A remedy with the time after which it must have helped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// What to do.
    pub remedy: Remedy,
    /// When to look whether it helped; if it did not, it is taken back and the failure stays.
    pub check_after: Duration,
}

/// The first quarantine of a pair; doubles each time.
const FIRST_QUARANTINE: Duration = Duration::from_secs(30);
/// The longest one.
const LONGEST_QUARANTINE: Duration = Duration::from_secs(3600);

/// What to do about `failure`; `None` when no remedy fits, or its precondition does not hold.
pub fn choose(failure: &Failure, facts: &Facts) -> Option<Treatment> {
    if facts.works_again || failure.severity == Severity::Low {
        return None;
    }
    let treat = |remedy, check_s| Some(Treatment { remedy, check_after: Duration::from_secs(check_s) });
    match (&failure.subject, failure.kind) {
        (Subject::Worker(worker), FailureKind::SystemError | FailureKind::PerformanceDegradation)
            if facts.own_engine =>
        {
            treat(Remedy::RestartWorker(worker.clone()), 30)
        }
        (Subject::Worker(_), _) if facts.other_nodes > 0 => treat(Remedy::Replace { model: None }, 60),
        // The only place of a model is not closed: an ask that may fail is better than one that must.
        (Subject::Model { worker, model }, _) if facts.other_places > 0 => {
            let for_ = FIRST_QUARANTINE
                .saturating_mul(1u32.checked_shl(facts.quarantines_before.min(16)).unwrap_or(u32::MAX))
                .min(LONGEST_QUARANTINE);
            treat(Remedy::Quarantine { worker: worker.clone(), model: model.clone(), for_ }, for_.as_secs() + 30)
        }
        (Subject::Node(node), FailureKind::Network | FailureKind::Security) if facts.other_nodes > 0 => {
            let for_ = if failure.kind == FailureKind::Security { 3600 } else { 30 };
            treat(Remedy::Evict { node: node.clone(), for_: Duration::from_secs(for_) }, for_ + 10)
        }
        (Subject::Node(_), _) if facts.other_nodes > 0 => treat(Remedy::Replace { model: None }, 60),
        _ => None,
    }
}

/// Remedies per subject and hour; a subject over its budget is left to the owner.
pub struct Budget {
    per_hour: u32,
    spent: HashMap<Subject, Intensity>,
}

impl Budget {
    /// `per_hour` remedies for each subject.
    pub fn new(per_hour: u32) -> Self {
        Self { per_hour, spent: HashMap::new() }
    }

    /// Takes one remedy for `subject`; `false` when there is none left this hour.
    pub fn take(&mut self, subject: &Subject, now: Instant) -> bool {
        if self.per_hour == 0 {
            return false;
        }
        let limit = self.per_hour as usize;
        let spent = self.spent.entry(subject.clone());
        spent.or_insert_with(|| Intensity::new(limit, Duration::from_secs(3600))).note(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failures::Outcome;

    fn failure(subject: Subject, kind: FailureKind) -> Failure {
        Failure {
            id: "fail-1".into(),
            at_ms: 0,
            last_ms: 0,
            count: 1,
            subject,
            kind,
            severity: Severity::Medium,
            detail: String::new(),
            remedy: String::new(),
            outcome: Outcome::Active,
        }
    }

    #[test]
    fn what_works_again_is_left_alone() {
        let failure = failure(Subject::Worker("n/a".into()), FailureKind::SystemError);
        let facts = Facts { own_engine: true, works_again: true, ..Facts::default() };
        assert_eq!(choose(&failure, &facts), None);
    }

    #[test]
    fn only_an_engine_that_we_own_is_restarted() {
        let failure = failure(Subject::Worker("n/a".into()), FailureKind::SystemError);
        let own = choose(&failure, &Facts { own_engine: true, ..Facts::default() });
        assert_eq!(own.map(|t| t.remedy), Some(Remedy::RestartWorker("n/a".into())));
        let neighbour = choose(&failure, &Facts { other_nodes: 1, ..Facts::default() });
        assert_eq!(neighbour.map(|t| t.remedy), Some(Remedy::Replace { model: None }));
        assert_eq!(choose(&failure, &Facts::default()), None, "nobody else could take over");
    }

    #[test]
    fn a_quarantine_doubles_up_to_an_hour() {
        let failure = failure(Subject::Model { worker: "n/a".into(), model: "m".into() }, FailureKind::ModelFailure);
        let after = |quarantines_before| match choose(
            &failure,
            &Facts { quarantines_before, other_places: 1, ..Facts::default() },
        ) {
            Some(Treatment { remedy: Remedy::Quarantine { for_, .. }, .. }) => for_.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!([after(0), after(1), after(2), after(40)], [30, 60, 120, 3600]);
        assert_eq!(choose(&failure, &Facts::default()), None, "nobody else has the model");
    }

    #[test]
    fn a_subject_over_its_budget_gets_nothing_more_this_hour() {
        let now = Instant::now();
        let mut budget = Budget::new(2);
        let subject = Subject::Node("n".into());
        assert!(budget.take(&subject, now) && budget.take(&subject, now));
        assert!(!budget.take(&subject, now));
        assert!(budget.take(&Subject::Node("other".into()), now));
        assert!(budget.take(&subject, now + Duration::from_secs(3600)));
        assert!(!Budget::new(0).take(&subject, now));
    }
}
