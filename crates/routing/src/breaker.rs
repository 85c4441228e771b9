//! A circuit breaker per worker: failures in a row take it out of routing, one probe puts it back. Pure.
//!
//! Only what says "the worker is broken" counts: no connection, a 5xx, a cut stream. A 4xx is the client's doing and a
//! slow prompt is work, so neither trips it, nor does a busy worker that refuses.

use std::time::{Duration, Instant};

use base::Code;
use base::retry::Backoff;

/// Failures in a row that open the breaker.
pub const FAILURES_TO_OPEN: u32 = 3;

/// How long it stays open: long enough to not hammer a broken engine, short enough that a healed one is used again soon.
const OPEN_FOR: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(30), jitter: 0.0 };

/// A probe that nobody reported on is given up after this, so that a lost answer does not close the door for ever.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// Whether an ask may go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Yes.
    Free,
    /// Yes, as the one probe; [`Breaker::begin_probe`] must be called by who sends it.
    Probe,
    /// No, not before this.
    Not {
        /// How long until a probe may go.
        retry_in: Duration,
    },
}

/// What is known of a worker's health from the asks that were sent to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    openings: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    Probing {
        since: Instant,
    },
}

impl Breaker {
    /// Whether an ask may go through at `now`.
    pub fn pass(&self, now: Instant) -> Pass {
        match self.state {
            State::Closed => Pass::Free,
            State::Open { until } if until <= now => Pass::Probe,
            State::Open { until } => Pass::Not { retry_in: until - now },
            State::Probing { since } => match (since + PROBE_LIMIT).checked_duration_since(now) {
                Some(retry_in) if !retry_in.is_zero() => Pass::Not { retry_in },
                _ => Pass::Probe,
            },
        }
    }

    /// The probe was sent.
    pub fn begin_probe(&mut self, now: Instant) {
        if self.pass(now) == Pass::Probe {
            self.state = State::Probing { since: now };
        }
    }

    /// The worker answered (a first token, a health check, a 4xx): it is used again from now on.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// An ask failed in a way that [`Breaker::counts`].
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let was_probe = matches!(self.state, State::Probing { .. });
        if was_probe || (self.state == State::Closed && self.failures >= FAILURES_TO_OPEN) {
            self.state = State::Open { until: now + OPEN_FOR.delay(self.openings, 1.0) };
            self.openings = self.openings.saturating_add(1);
        }
    }

    /// The probe ended without saying anything about the worker (its client left).
    pub fn abandoned(&mut self, now: Instant) {
        if let State::Probing { .. } = self.state {
            self.state = State::Open { until: now };
        }
    }

    /// Whether it lets everything through.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether a failure with this code says that the worker is broken.
    pub const fn counts(code: Code) -> bool {
        matches!(code, Code::EngineFailed | Code::EngineCut | Code::Unreachable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tripped(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        (0..FAILURES_TO_OPEN).for_each(|_| breaker.failed(now));
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_and_not_before() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            breaker.failed(now);
            breaker.failed(now);
            breaker.succeeded();
        }
        assert_eq!(breaker.pass(now), Pass::Free);
        assert_eq!(tripped(now).pass(now), Pass::Not { retry_in: Duration::from_millis(500) });
    }

    #[test]
    fn lets_one_probe_through_and_is_used_at_once_when_it_answers() {
        let now = Instant::now();
        let mut breaker = tripped(now);
        let later = now + Duration::from_millis(500);
        assert_eq!(breaker.pass(later), Pass::Probe);
        breaker.begin_probe(later);
        assert!(matches!(breaker.pass(later), Pass::Not { .. }));
        breaker.succeeded();
        assert_eq!(breaker.pass(later), Pass::Free);
    }

    #[test]
    fn stays_open_longer_each_time_a_probe_fails_but_never_for_ever() {
        let mut now = Instant::now();
        let mut breaker = tripped(now);
        let mut before = Duration::ZERO;
        for _ in 0..20 {
            let Pass::Not { retry_in } = breaker.pass(now) else { panic!("open") };
            assert!(retry_in >= before && retry_in <= Duration::from_secs(30));
            before = retry_in;
            now += retry_in;
            breaker.begin_probe(now);
            breaker.failed(now);
        }
    }

    #[test]
    fn a_probe_that_nobody_reports_on_does_not_close_the_door_for_ever() {
        let now = Instant::now();
        let mut breaker = tripped(now);
        let later = now + Duration::from_secs(1);
        breaker.begin_probe(later);
        assert_eq!(breaker.pass(later + PROBE_LIMIT), Pass::Probe);
        breaker.abandoned(later);
        assert_eq!(breaker.pass(later), Pass::Probe);
    }

    #[test]
    fn what_clients_or_long_prompts_cause_does_not_count() {
        for code in [Code::InvalidArgument, Code::ContextExceeded, Code::DeadlineExceeded, Code::Overloaded] {
            assert!(!Breaker::counts(code), "{code}");
        }
        assert!(Breaker::counts(Code::EngineCut) && Breaker::counts(Code::Unreachable));
    }
}
