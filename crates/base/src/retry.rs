//! When to try again, and when to stop trying: growing delays with jitter, and limits within a window. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A delay that doubles from `first` up to `most`; `jitter` of it (0 to 1) is left to chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The delay before the first retry.
    pub first: Duration,
    /// The longest delay.
    pub most: Duration,
    /// The share of a delay that is random, so that many do not come back at once.
    pub jitter: f64,
}

impl Backoff {
    /// The delay before retry number `attempt` (0 is the first); `chance` is a random number in 0..1.
    pub fn delay(&self, attempt: u32, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(attempt.min(30)).unwrap_or(u32::MAX));
        let full = doubled.min(self.most);
        full.mul_f64(1.0 - self.jitter.clamp(0.0, 1.0) * (1.0 - chance.clamp(0.0, 1.0)))
    }
}

/// At most `limit` events within `window`; one more is over the limit.
#[derive(Clone, Debug)]
pub struct Intensity {
    limit: usize,
    window: Duration,
    events: VecDeque<Instant>,
}

impl Intensity {
    /// No event so far.
    pub fn new(limit: usize, window: Duration) -> Self {
        Self { limit, window, events: VecDeque::with_capacity(limit + 1) }
    }

    /// Whether one more event at `now` would be within the limit.
    pub fn has_room(&self, now: Instant) -> bool {
        let recent = self.events.iter().filter(|&&event| now.saturating_duration_since(event) < self.window);
        recent.count() < self.limit
    }

    /// Notes an event at `now`; `true` while the limit holds, `false` when this one is over it.
    pub fn note(&mut self, now: Instant) -> bool {
        while self.events.front().is_some_and(|&event| now.duration_since(event) >= self.window) {
            self.events.pop_front();
        }
        if self.events.len() >= self.limit {
            return false;
        }
        self.events.push_back(now);
        true
    }

    /// How many events the window holds, as of the last `note`.
    pub fn count(&self) -> usize {
        self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_its_most() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1), jitter: 0.0 };
        let delays: Vec<u128> = (0..6).map(|attempt| backoff.delay(attempt, 0.5).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.delay(u32::MAX, 1.0), Duration::from_secs(1));
    }

    #[test]
    fn jitter_only_shortens() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1), jitter: 0.5 };
        assert_eq!(backoff.delay(0, 0.0), Duration::from_millis(50));
        assert_eq!(backoff.delay(0, 1.0), Duration::from_millis(100));
    }

    #[test]
    fn intensity_forgets_what_left_the_window() {
        let start = Instant::now();
        let mut intensity = Intensity::new(2, Duration::from_secs(5));
        assert!(intensity.note(start));
        assert!(intensity.note(start + Duration::from_secs(1)));
        assert!(!intensity.note(start + Duration::from_secs(2)));
        assert!(intensity.note(start + Duration::from_secs(5)));
    }
}
