//! Time as the deciding code sees it: deadlines that shrink, and wall-clock stamps that only people read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock after which an ask is not worth answering. Travels with the ask and only shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// `after` from `now`.
    pub fn after(now: Instant, after: Duration) -> Self {
        // An Instant overflows only beyond centuries; such a deadline is the same as a very late one.
        Self(now.checked_add(after).unwrap_or_else(|| now + Duration::from_secs(86_400 * 365)))
    }

    /// What is left of it at `now`; zero when it has passed.
    pub fn left(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether it has passed at `now`.
    pub fn is_over(self, now: Instant) -> bool {
        self.0 <= now
    }

    /// The earlier of the two.
    pub fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// The point itself, for timers.
    pub fn instant(self) -> Instant {
        self.0
    }
}

/// Milliseconds since the Unix epoch, for what people read (tables, logs). Never used to decide anything.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
