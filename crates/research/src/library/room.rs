//! What the index waits for instead of breaking down, and how long: decided here, without a clock.

use std::time::Duration;

use base::Code;
use base::retry::Backoff;

/// Between two tries to write where there was no room. Whoever makes some waits no longer than the longest.
const PAUSE: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(10), jitter: 0.2 };

/// How long the index waits before it is opened again, after so many tries in a row; `None`: the fault does not go away by
/// itself, and whoever keeps the index decides.
pub(super) fn pause(code: Code, times: u32, chance: f64) -> Option<Duration> {
    (code == Code::StorageFull).then(|| PAUSE.delay(times, chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_waited_for_however_long_and_nothing_else_is() {
        let pauses: Vec<_> = [0, 1, 4, 5, 1_000_000].map(|times| pause(Code::StorageFull, times, 1.0)).into();
        let expected = [500, 1000, 8000, 10_000, 10_000].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(pauses, expected);
        for code in [Code::Internal, Code::Unavailable, Code::PermissionDenied, Code::Conflict] {
            assert_eq!(pause(code, 0, 1.0), None, "{code:?}");
        }
    }
}
