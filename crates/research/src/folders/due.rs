//! When a folder is looked through next. Pure: takes the time, never tells it.

use std::time::Duration;

use tokio::time::Instant;

/// After a change nothing is done until it has been quiet for so long.
const SETTLE: Duration = Duration::from_millis(300);
/// What never becomes quiet is looked at after this all the same.
const LONGEST_SETTLE: Duration = Duration::from_secs(3);
/// Looking takes at most one part in so many of the time, whatever changes.
const REST: u32 = 4;
/// The least rest between two looks.
const LEAST_REST: Duration = Duration::from_millis(500);

/// When one folder is due.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    regular: Instant,
    touched: Option<(Instant, Instant)>,
    rests_until: Instant,
}

impl Due {
    /// At once.
    pub fn now(now: Instant) -> Self {
        Self { regular: now, touched: None, rests_until: now }
    }

    /// Something changed in it.
    pub fn touch(&mut self, now: Instant) {
        let first = self.touched.map_or(now, |(first, _)| first);
        self.touched = Some((first, now));
    }

    /// It was looked through, from `begun` until `now`; what changed meanwhile is touched again.
    pub fn looked(&mut self, begun: Instant, now: Instant, every: Duration) {
        let took = now.saturating_duration_since(begun);
        self.rests_until = now + (took * REST).max(LEAST_REST);
        self.regular = now + every;
        self.touched = None;
    }

    /// When it is to be looked at.
    pub fn at(&self) -> Instant {
        let touched = self.touched.map(|(first, last)| (last + SETTLE).min(first + LONGEST_SETTLE));
        touched.map_or(self.regular, |touched| touched.min(self.regular)).max(self.rests_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(300);

    fn looked(took: Duration) -> (Due, Instant) {
        let begun = Instant::now();
        let now = begun + took;
        let mut due = Due::now(begun);
        due.looked(begun, now, EVERY);
        (due, now)
    }

    #[test]
    fn a_change_is_looked_at_when_it_is_quiet_and_not_much_later() {
        let (mut due, looked) = looked(Duration::from_millis(1));
        assert_eq!(due.at(), looked + EVERY);
        let first = looked + Duration::from_secs(10);
        due.touch(first);
        assert_eq!(due.at(), first + SETTLE);
        for ms in (0..60_000).step_by(100) {
            due.touch(first + Duration::from_millis(ms));
        }
        assert_eq!(due.at(), first + LONGEST_SETTLE);
    }

    #[test]
    fn a_folder_that_takes_long_to_look_through_is_left_alone_for_longer() {
        let (mut due, looked) = looked(Duration::from_secs(5));
        due.touch(looked);
        assert_eq!(due.at(), looked + Duration::from_secs(20));
    }

    #[test]
    fn changes_never_put_off_the_regular_look() {
        let (mut due, looked) = looked(Duration::from_millis(1));
        due.touch(looked + EVERY - Duration::from_millis(1));
        assert_eq!(due.at(), looked + EVERY);
    }
}
