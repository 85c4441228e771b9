//! How far a job is, and how long it may still take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most bytes of what a job says that it is at.
const MAX_CURRENT_BYTES: usize = 256;

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps that are done.
    pub done: u64,
    /// Steps that are known so far; may still grow.
    pub total: u64,
    /// What it is at, for people.
    pub current: String,
    /// How many seconds the rest takes at the pace of this run; `None` before its first step.
    pub estimate_s: Option<f64>,
}

impl Progress {
    /// `ran` steps were done in the `elapsed` time of this run; those that it found recorded cost nothing and say
    /// nothing.
    pub(crate) fn new(done: u64, total: u64, mut current: String, ran: u64, elapsed: Duration) -> Self {
        current.truncate(current.floor_char_boundary(MAX_CURRENT_BYTES));
        let left = total.saturating_sub(done);
        let estimate_s = (ran > 0).then(|| left as f64 * elapsed.as_secs_f64() / ran as f64);
        Self { done, total, current, estimate_s }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_the_pace_of_this_run_alone() {
        for (done, total, ran, elapsed_s, estimate_s) in [
            (0, 10, 0, 5, None),
            (5, 10, 0, 5, None),
            (5, 10, 5, 10, Some(10.0)),
            (8, 10, 1, 3, Some(6.0)),
            (10, 10, 4, 3, Some(0.0)),
            (12, 10, 4, 3, Some(0.0)),
        ] {
            let progress = Progress::new(done, total, String::new(), ran, Duration::from_secs(elapsed_s));
            assert_eq!(progress.estimate_s, estimate_s, "{done} of {total}");
        }
    }
}
