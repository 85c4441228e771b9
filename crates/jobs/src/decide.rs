//! What to do with a job, from what is known of it. Pure.

use std::collections::HashMap;
use std::time::Duration;

use base::retry::Backoff;
use base::{Fault, NodeId};

use crate::record::{Record, Setbacks};
use crate::{JobFault, JobId, MAX_DEATHS, MAX_RETRIES, State, fault};

/// Between tries of a job that failed for a passing reason.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60), jitter: 0.5 };

/// No job waits longer for its next try, whatever a fault asks for; one that claims to is from a clock that is wrong.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What is known of a job.
pub(crate) struct Facts<'a> {
    pub id: JobId,
    pub record: &'a Record,
    pub has_owner: bool,
    pub is_cancel_wanted: bool,
}

/// What to do with it.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    /// Nothing: it is finished, incomplete, or somebody works on it.
    Leave,
    /// Look again after that.
    Wait(Duration),
    /// Own it; this is its record then.
    Claim(Record),
    /// Nobody owns it and nobody shall: this is its last record.
    Finish(Record),
}

/// What a node does that has a place for a job.
pub(crate) fn next_for(facts: &Facts, node: &NodeId, now_unix_ms: u64) -> Decision {
    let Facts { id, record, .. } = *facts;
    if record.state.is_final() || record.is_draft || facts.has_owner {
        return Decision::Leave;
    }
    if facts.is_cancel_wanted {
        return Decision::Finish(finished(record, State::Cancelled, now_unix_ms));
    }
    let is_setback = record.state == State::Running && !record.setbacks.has_advanced;
    let deaths = record.setbacks.deaths + u32::from(is_setback);
    if deaths >= MAX_DEATHS {
        return Decision::Finish(failed(record, &fault::deadly(id), now_unix_ms));
    }
    let wait_ms = record.setbacks.not_before_unix_ms.map_or(0, |at| at.saturating_sub(now_unix_ms));
    let wait = Duration::from_millis(wait_ms);
    if !wait.is_zero() && wait <= LONGEST_WAIT {
        return Decision::Wait(wait);
    }
    let setbacks = Setbacks { deaths, has_advanced: false, not_before_unix_ms: None, ..record.setbacks };
    let (attempts, node) = (record.attempts + 1, Some(node.clone()));
    Decision::Claim(Record { state: State::Running, attempts, node, setbacks, ..record.clone() })
}

/// The places of jobs in the order in which they get their turn: those of the place that has the fewest under way first,
/// then the oldest, so that a place with a thousand jobs does not stand before one with a single job. Each is given with
/// what it is about and whether somebody works on it, the oldest first.
pub(crate) fn turns(jobs: &[(&str, bool)]) -> Vec<usize> {
    let mut under_way: HashMap<&str, usize> = HashMap::new();
    for (subject, _) in jobs.iter().filter(|(_, has_owner)| *has_owner) {
        *under_way.entry(place(subject)).or_default() += 1;
    }
    let mut turns: Vec<usize> = (0..jobs.len()).collect();
    let busy = |at: &usize| jobs.get(*at).and_then(|(subject, _)| under_way.get(place(subject))).copied();
    // Stable: those of one place stay in the order of their age.
    turns.sort_by_cached_key(|at| busy(at).unwrap_or_default());
    turns
}

/// Whose jobs take turns: a subject up to its first `/`.
fn place(subject: &str) -> &str {
    subject.split_once('/').map_or(subject, |(place, _)| place)
}

/// How a run of a job ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With a result.
    Done,
    /// With a fault of the work.
    Failed(Fault),
    /// Somebody wanted it cancelled.
    Cancelled,
    /// The node stops; the job goes on elsewhere.
    Released,
}

/// The record after a run that ended so; `chance` is a random number in 0..1.
pub(crate) fn after(record: &Record, end: &End, now_unix_ms: u64, chance: f64) -> Record {
    match end {
        End::Done => finished(record, State::Done, now_unix_ms),
        End::Cancelled => finished(record, State::Cancelled, now_unix_ms),
        End::Released => Record { state: State::Waiting, ..record.clone() },
        End::Failed(fault) if fault.code.is_retriable() && record.setbacks.retries < MAX_RETRIES => {
            let asked = fault.retry_after.unwrap_or_default();
            let delay = RETRY.delay(record.setbacks.retries, chance).max(asked).min(LONGEST_WAIT);
            let not_before = now_unix_ms.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
            let setbacks = Setbacks {
                retries: record.setbacks.retries + 1,
                not_before_unix_ms: Some(not_before),
                ..Setbacks::default()
            };
            Record { state: State::Waiting, setbacks, ..record.clone() }
        }
        End::Failed(fault) => failed(record, fault, now_unix_ms),
    }
}

/// The record of a job that nobody runs any more, ended in `state`.
pub(crate) fn finished(record: &Record, state: State, now_unix_ms: u64) -> Record {
    Record { state, finished_unix_ms: Some(now_unix_ms), ..record.clone() }
}

fn failed(record: &Record, fault: &Fault, now_unix_ms: u64) -> Record {
    finished(record, State::Failed { fault: JobFault::from(fault) }, now_unix_ms)
}

#[cfg(test)]
mod tests {
    use base::Code;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn record(state: State) -> Record {
        Record {
            kind: "plan".to_owned(),
            subject: "home/master".to_owned(),
            who: "ann".to_owned(),
            key: None,
            digest: None,
            state,
            is_draft: false,
            node: None,
            attempts: 0,
            setbacks: Setbacks::default(),
            created_unix_ms: 1,
            finished_unix_ms: None,
            progress: None,
        }
    }

    fn decide(record: &Record, has_owner: bool, is_cancel_wanted: bool) -> Decision {
        next_for(&Facts { id: JobId::at(1), record, has_owner, is_cancel_wanted }, &NodeId::from("here"), NOW)
    }

    fn with(state: State, deaths: u32, not_before_unix_ms: Option<u64>) -> Record {
        Record { setbacks: Setbacks { deaths, not_before_unix_ms, ..Setbacks::default() }, ..record(state) }
    }

    fn told(decision: &Decision) -> String {
        match decision {
            Decision::Leave => "leave".to_owned(),
            Decision::Wait(wait) => format!("wait {} ms", wait.as_millis()),
            Decision::Claim(record) => format!("claim after {} deaths", record.setbacks.deaths),
            Decision::Finish(record) => match &record.state {
                State::Failed { fault } => format!("fail: {}", fault.code),
                State::Cancelled => "cancel".to_owned(),
                state => panic!("{state:?}"),
            },
        }
    }

    #[test]
    fn what_is_decided_follows_from_state_owner_and_wish() {
        use State::{Cancelled, Done, Running, Waiting};
        let setbacks = Setbacks { has_advanced: true, ..Setbacks::default() };
        let advanced = Record { setbacks, ..record(Running) };
        let limit = u64::try_from(LONGEST_WAIT.as_millis()).unwrap();
        for (record, has_owner, is_cancel_wanted, decided) in [
            (record(Waiting), false, false, "claim after 0 deaths"),
            (record(Waiting), false, true, "cancel"),
            (record(Waiting), true, false, "leave"),
            (Record { is_draft: true, ..record(Waiting) }, false, true, "leave"),
            (with(Waiting, 0, Some(NOW)), false, false, "claim after 0 deaths"),
            (with(Waiting, 0, Some(NOW + 1)), false, false, "wait 1 ms"),
            (with(Waiting, 0, Some(NOW + 1)), false, true, "cancel"),
            (with(Waiting, 0, Some(NOW + limit)), false, false, "wait 300000 ms"),
            (with(Waiting, 0, Some(NOW + limit + 1)), false, false, "claim after 0 deaths"),
            (with(Waiting, 2, None), false, false, "claim after 2 deaths"),
            (record(Running), true, false, "leave"),
            (record(Running), true, true, "leave"),
            (record(Running), false, false, "claim after 1 deaths"),
            (record(Running), false, true, "cancel"),
            (with(Running, 1, None), false, false, "claim after 2 deaths"),
            (with(Running, 2, None), false, false, "fail: internal"),
            (with(Running, 2, None), true, false, "leave"),
            (advanced.clone(), false, false, "claim after 0 deaths"),
            (record(Done), false, true, "leave"),
            (record(Cancelled), false, false, "leave"),
        ] {
            let is = told(&decide(&record, has_owner, is_cancel_wanted));
            assert_eq!(is, decided, "{record:?} owner {has_owner} cancel {is_cancel_wanted}");
        }
    }

    #[test]
    fn a_place_with_many_jobs_does_not_stand_before_others() {
        let many = [("a/x do", true), ("a/y do", false), ("b/x do", true), ("a/x do", true), ("c/x do", false)];
        assert_eq!(turns(&many), [4, 2, 0, 1, 3]);
        assert_eq!(turns(&[("a/x", false), ("a/x", false), ("b", false)]), [0, 1, 2]);
    }

    #[test]
    fn a_claim_counts_and_names_the_node() {
        let Decision::Claim(claimed) = decide(&with(State::Waiting, 1, Some(NOW - 1)), false, false) else { panic!() };
        assert_eq!((claimed.state, claimed.attempts), (State::Running, 1));
        assert_eq!(claimed.node, Some(NodeId::from("here")));
        assert_eq!(claimed.setbacks, Setbacks { deaths: 1, ..Setbacks::default() });
    }

    #[test]
    fn a_passing_fault_is_tried_again_later_and_later_but_not_for_ever() {
        let mut job = record(State::Running);
        let mut delays = Vec::new();
        for _ in 0..MAX_RETRIES {
            job = after(&job, &End::Failed(Fault::unavailable("no engine")), NOW, 1.0);
            assert_eq!(job.state, State::Waiting);
            delays.push(job.setbacks.not_before_unix_ms.unwrap() - NOW);
        }
        assert_eq!(delays, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        job = after(&job, &End::Failed(Fault::unavailable("no engine")), NOW, 1.0);
        let State::Failed { fault } = job.state else { panic!("{:?}", job.state) };
        assert_eq!((fault.code, job.finished_unix_ms), (Code::Unavailable, Some(NOW)));
    }

    #[test]
    fn a_fault_says_when_it_may_be_tried_again_within_reason() {
        for (asked_s, waits_ms) in [(0, 1000), (30, 30_000), (86_400, 300_000)] {
            let fault = Fault::unavailable("busy").retry_after(Duration::from_secs(asked_s));
            let waiting = after(&record(State::Running), &End::Failed(fault), NOW, 1.0);
            assert_eq!(waiting.setbacks.not_before_unix_ms, Some(NOW + waits_ms), "{asked_s} s");
        }
    }

    #[test]
    fn other_ends_are_final_except_a_release() {
        let job = record(State::Running);
        let wrong = after(&job, &End::Failed(Fault::invalid("no prd")), NOW, 1.0);
        assert!(matches!(wrong.state, State::Failed { .. }));
        assert_eq!(after(&job, &End::Done, NOW, 1.0).state, State::Done);
        assert_eq!(after(&job, &End::Cancelled, NOW, 1.0).finished_unix_ms, Some(NOW));
        assert_eq!(after(&job, &End::Released, NOW, 1.0), Record { state: State::Waiting, ..job });
    }
}
