//! Time as the deciding code sees it: deadlines that shrink, and wall-clock stamps that only people read.

use std::task::{Context, Waker};
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

/// Whom a future beside a stream (a timer, a signal) wakes. Polled with every token, such futures would cost more than
/// the token; polled once per task, they only have to be looked at.
#[derive(Debug, Default)]
pub struct Wakes(Option<Waker>);

impl Wakes {
    /// Whether the future must be polled: it `is_due`, or it does not know the task of `cx` yet.
    pub fn must_poll(&mut self, cx: &Context<'_>, is_due: bool) -> bool {
        let is_known = self.0.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !is_known {
            self.0 = Some(cx.waker().clone());
        }
        is_due || !is_known
    }

    /// The future was set anew and wakes nobody until it is polled.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}

/// Milliseconds since the Unix epoch, for what people read (tables, logs). Never used to decide anything.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_future_is_polled_once_per_task_and_whenever_it_is_due() {
        let (one, other) = (Waker::from(Arc::new(Task)), Waker::from(Arc::new(Task)));
        let (one, other) = (Context::from_waker(&one), Context::from_waker(&other));
        let mut wakes = Wakes::default();
        assert!(wakes.must_poll(&one, false));
        assert!(!wakes.must_poll(&one, false));
        assert!(wakes.must_poll(&one, true));
        assert!(wakes.must_poll(&other, false), "another task");
        wakes.forget();
        assert!(wakes.must_poll(&other, false));
    }
}
