//! What becomes of an engine process, decided from what is known of it. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::backend::load_within;

/// After the first death; each further one within the window doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const MOST_WAIT: Duration = Duration::from_secs(30);
/// So many deaths within the window, and the model is left alone for as long.
const DEATHS: usize = 5;
/// See [`DEATHS`].
pub const WINDOW: Duration = Duration::from_secs(600);
/// Signs of life come twice a second, also from a process that computes; without any for this long it is frozen.
const SILENCE: Duration = Duration::from_secs(10);
/// A step may take this long whatever the last ones took: the first one may read a prompt on a slow machine.
const LEAST_STEP: Duration = Duration::from_secs(120);
/// And so many times what the last ones took.
const STEPS_OF_PATIENCE: f64 = 20.0;

/// The deaths of one model's processes.
#[derive(Clone, Debug, Default)]
pub struct Deaths(VecDeque<Instant>);

/// What follows a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is started again after this.
    Restart(Duration),
    /// It is left alone for this long; other nodes may do better.
    Quarantine(Duration),
}

impl Deaths {
    /// One more at `now`. The first is likely a bad ask or a lack of memory that has passed: it costs no wait.
    pub fn another(&mut self, now: Instant) -> Next {
        self.0.retain(|death| now.saturating_duration_since(*death) < WINDOW);
        self.0.push_back(now);
        match self.0.len() {
            1 => Next::Restart(Duration::ZERO),
            many if many >= DEATHS => {
                // After the quarantine it begins with a clean record.
                self.0.clear();
                Next::Quarantine(WINDOW)
            }
            some => {
                let doublings = u32::try_from(some - 2).unwrap_or(u32::MAX);
                Next::Restart(FIRST_WAIT.saturating_mul(2u32.saturating_pow(doublings)).min(MOST_WAIT))
            }
        }
    }
}

/// Whether a process that was last heard `silent` ago is frozen.
pub fn is_frozen(silent: Duration) -> bool {
    silent > SILENCE
}

/// Whether a process hangs whose present step takes `step` and whose last ones took `mean_step`.
pub fn is_hung(step: Duration, mean_step: Duration) -> bool {
    step > LEAST_STEP.max(mean_step.mul_f64(STEPS_OF_PATIENCE))
}

/// Whether a model of `memory_bytes` that has been loading `since` then will never be there.
pub fn is_too_long(since: Duration, memory_bytes: u64) -> bool {
    since > load_within(memory_bytes)
}

/// A model in memory, as room is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Its name.
    pub name: String,
    /// What it takes; 0 when it is not in memory.
    pub memory_bytes: u64,
    /// Whether asks run on it.
    pub is_used: bool,
    /// When the last one came.
    pub used_at: Option<Instant>,
}

/// Who leaves so that `needed` bytes fit into `room`: idle ones, those first that were used longest ago, and no more than
/// must. `None` when even that is not enough, unless nobody else is there: a model larger than the room may try alone.
pub fn who_leaves(residents: &[Resident], needed: u64, room: u64) -> Option<Vec<String>> {
    let mut present: Vec<&Resident> = residents.iter().filter(|resident| resident.memory_bytes > 0).collect();
    present.sort_by_key(|resident| resident.used_at);
    let mut taken: u64 = present.iter().map(|resident| resident.memory_bytes).sum();
    let mut leave = Vec::new();
    for resident in present.iter().filter(|resident| !resident.is_used) {
        if taken.saturating_add(needed) <= room {
            break;
        }
        taken -= resident.memory_bytes;
        leave.push(resident.name.clone());
    }
    (taken.saturating_add(needed) <= room || taken == 0).then_some(leave)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_the_fifth_death_within_ten_minutes_is_a_quarantine() {
        let (mut deaths, start) = (Deaths::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let waits = [0, 200, 400, 800].map(|ms| Next::Restart(Duration::from_millis(ms)));
        for (place, wait) in waits.into_iter().enumerate() {
            assert_eq!(deaths.another(at(place as u64)), wait);
        }
        assert_eq!(deaths.another(at(599)), Next::Quarantine(WINDOW));
        assert_eq!(deaths.another(at(1300)), waits[0], "a clean record afterwards");
    }

    #[test]
    fn deaths_of_long_ago_do_not_count() {
        let (mut deaths, start) = (Deaths::default(), Instant::now());
        for minutes in [0, 11, 22, 33, 44, 55] {
            assert_eq!(deaths.another(start + Duration::from_secs(60 * minutes)), Next::Restart(Duration::ZERO));
        }
    }

    #[test]
    fn silence_long_steps_and_long_loads_have_bounds() {
        let seconds = Duration::from_secs;
        assert!(!is_frozen(seconds(9)) && is_frozen(seconds(11)));
        assert!(!is_hung(seconds(119), Duration::ZERO) && is_hung(seconds(121), Duration::ZERO));
        assert!(!is_hung(seconds(199), seconds(10)) && is_hung(seconds(201), seconds(10)));
        assert!(!is_too_long(seconds(400), 10 << 30) && is_too_long(seconds(501), 10 << 30));
    }

    fn resident(name: &str, memory_bytes: u64, is_used: bool, used: u64) -> Resident {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        let used_at = Some(*START + Duration::from_secs(used));
        Resident { name: name.to_owned(), memory_bytes, is_used, used_at }
    }

    #[test]
    fn idle_models_leave_in_the_order_of_their_last_use_and_only_as_many_as_must() {
        let residents = [resident("new", 3, false, 9), resident("old", 3, false, 1), resident("busy", 3, true, 0)];
        let leave = |needed| who_leaves(&residents, needed, 10);
        assert_eq!(leave(1), Some(Vec::new()));
        assert_eq!(leave(4), Some(vec!["old".to_owned()]));
        assert_eq!(leave(7), Some(vec!["old".to_owned(), "new".to_owned()]));
        assert_eq!(leave(8), None);
        assert_eq!(who_leaves(&[], 11, 10), Some(Vec::new()), "alone it may try");
    }
}
