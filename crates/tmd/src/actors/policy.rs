//! What a supervisor does when a child ends: wait a growing while and start it again, until it ended too often; then escalate.
//!
//! Pure: takes the time, gives the reaction.

use std::time::{Duration, Instant};

use base::retry::{Backoff, Intensity};

/// How often a child may come back, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct RestartPolicy {
    /// Delay before each restart.
    pub backoff: Backoff,
    /// At most this many restarts …
    pub limit: usize,
    /// … within this time; one more escalates.
    pub window: Duration,
}

impl RestartPolicy {
    /// For actors that only hold state in memory: back at once, five times in ten seconds.
    pub const QUICK: Self = Self {
        backoff: Backoff { first: Duration::from_millis(2), most: Duration::from_secs(1), jitter: 0.2 },
        limit: 5,
        window: Duration::from_secs(10),
    };
    /// For supervisors: what is below them has failed repeatedly already.
    pub const SUPERVISOR: Self = Self {
        backoff: Backoff { first: Duration::from_millis(50), most: Duration::from_secs(5), jitter: 0.2 },
        limit: 2,
        window: Duration::from_secs(60),
    };
}

/// What to do about a child that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Start it again after this delay.
    Restart(Duration),
    /// Give up: the supervisor's own supervisor must act.
    Escalate,
}

/// The restarts of one child.
#[derive(Clone, Debug)]
pub struct Restarts {
    policy: RestartPolicy,
    recent: Intensity,
    in_a_row: u32,
    last_end: Option<Instant>,
    /// All restarts so far.
    pub total: u32,
}

impl Restarts {
    /// None so far.
    pub fn new(policy: RestartPolicy) -> Self {
        let recent = Intensity::new(policy.limit, policy.window);
        Self { policy, recent, in_a_row: 0, last_end: None, total: 0 }
    }

    /// The child ended at `now`; `chance` is a random number in 0..1.
    pub fn ended(&mut self, now: Instant, chance: f64) -> Reaction {
        let is_calm = self.last_end.is_none_or(|last| now.saturating_duration_since(last) >= self.policy.window);
        if is_calm {
            self.in_a_row = 0;
        }
        self.last_end = Some(now);
        if !self.recent.note(now) {
            return Reaction::Escalate;
        }
        let delay = self.policy.backoff.delay(self.in_a_row, chance);
        self.in_a_row += 1;
        self.total += 1;
        Reaction::Restart(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_keeps_ending_is_given_up_after_its_limit() {
        let now = Instant::now();
        let mut restarts = Restarts::new(RestartPolicy::QUICK);
        let mut delays = Vec::new();
        for _ in 0..5 {
            match restarts.ended(now, 1.0) {
                Reaction::Restart(delay) => delays.push(delay.as_millis()),
                Reaction::Escalate => panic!("escalated before the limit"),
            }
        }
        assert_eq!(delays, [2, 4, 8, 16, 32]);
        assert_eq!(restarts.ended(now, 1.0), Reaction::Escalate);
    }

    #[test]
    fn a_calm_window_forgives() {
        let now = Instant::now();
        let mut restarts = Restarts::new(RestartPolicy::QUICK);
        for _ in 0..5 {
            restarts.ended(now, 1.0);
        }
        let later = now + RestartPolicy::QUICK.window;
        assert_eq!(restarts.ended(later, 1.0), Reaction::Restart(Duration::from_millis(2)));
        assert_eq!(restarts.total, 6);
    }
}
