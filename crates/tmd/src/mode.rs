//! The mode that holds now, since when, and who set it. The policy of `net` reads the same value.
//!
//! A locked node (`privacy.lock`) is local-only for as long as it runs: it refuses to set another mode, and one that the
//! rest of the cluster is set to is noted, shown, and not followed.

pub mod history;
pub mod triggers;
pub mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::config::Mode;
use base::{Code, Fault, Result};
use serde::{Deserialize, Serialize};

/// A mode as it was set; what the store keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetMode {
    /// The mode.
    pub mode: Mode,
    /// When, Unix milliseconds.
    pub since_ms: u64,
    /// The node that it was set at (and the key that it was set with), or `configuration`.
    pub set_by: String,
    /// So many of a hundred asks stay at home, in hybrid; by how hard they look when `None`.
    #[serde(default)]
    pub local_percent: Option<u8>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// The trigger that set it; empty when a person did.
    #[serde(default)]
    pub trigger: String,
    /// Its number among all that were set; 0 for the one of the configuration, and from an older node.
    #[serde(default)]
    pub turn: u64,
    /// The turn that one goes back to from it.
    #[serde(default)]
    pub before: Option<u64>,
}

/// Who set a mode that nobody has set.
pub const CONFIGURATION: &str = "configuration";

impl SetMode {
    /// As a configuration says, from `since_ms` on.
    pub fn configured(mode: Mode, local_percent: Option<u8>, since_ms: u64) -> Self {
        Self {
            mode,
            since_ms,
            set_by: CONFIGURATION.to_owned(),
            local_percent,
            reason: String::new(),
            trigger: String::new(),
            turn: 0,
            before: None,
        }
    }

    /// Whether it is the same act, whatever is known of its turn.
    fn is_same(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.mode, one.since_ms, one.set_by.clone(), one.local_percent);
        of(self) == of(other)
    }

    /// Whether it is the one of the configuration.
    pub fn is_configured(&self) -> bool {
        self.set_by == CONFIGURATION
    }
}

/// The mode of this node.
pub struct ModeState {
    policy: Arc<net::Policy>,
    is_locked: bool,
    held: Mutex<Held>,
}

struct Held {
    now: SetMode,
    not_followed: Option<Mode>,
}

/// What became of a mode that was to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It held before.
    Same,
    /// It holds from now on.
    Changed,
    /// The node is locked.
    NotFollowed,
}

impl ModeState {
    /// As the configuration says.
    pub fn new(policy: Arc<net::Policy>, is_locked: bool, local_percent: Option<u8>) -> Self {
        let now = SetMode::configured(policy.mode(), local_percent, base::time::unix_ms());
        Self { policy, is_locked, held: Mutex::new(Held { now, not_followed: None }) }
    }

    /// The rule of egress that follows it.
    pub fn policy(&self) -> &net::Policy {
        &self.policy
    }

    /// The mode now.
    pub fn get(&self) -> SetMode {
        self.held().now.clone()
    }

    /// Whether it is local-only for as long as the node runs.
    pub fn is_locked(&self) -> bool {
        self.is_locked
    }

    /// What the rest of the cluster is set to, where a locked node does not follow.
    pub fn not_followed(&self) -> Option<Mode> {
        self.held().not_followed
    }

    /// Refuses a mode that this node may not be set to.
    pub fn may_be(&self, mode: Mode) -> Result<()> {
        if !self.is_locked || mode == Mode::LocalOnly {
            return Ok(());
        }
        Err(Fault::new(
            Code::PermissionDenied,
            format!("this node is locked to local-only and cannot be set to {mode}"),
        )
        .hint("set privacy.lock = false in its configuration (and its unit's IPAddressDeny=) and start it again"))
    }

    /// Another mode holds from now on, where it may. Old news that comes late, by its turn, changes nothing.
    pub fn set(&self, mode: SetMode) -> Taken {
        let mut held = self.held();
        let is_old = mode.turn != 0 && mode.turn < held.now.turn;
        if is_old { Taken::Same } else { self.take(&mut held, mode) }
    }

    /// What the store holds: from now on it counts, whatever its turn.
    pub fn set_anyway(&self, mode: SetMode) -> Taken {
        self.take(&mut self.held(), mode)
    }

    fn take(&self, held: &mut Held, mode: SetMode) -> Taken {
        if self.may_be(mode.mode).is_err() {
            held.not_followed = Some(mode.mode);
            return Taken::NotFollowed;
        }
        held.not_followed = None;
        if held.now.is_same(&mode) {
            held.now = mode;
            return Taken::Same;
        }
        self.policy.set_mode(mode.mode);
        held.now = mode;
        Taken::Changed
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use base::config::Privacy;

    use super::*;

    fn state(is_locked: bool) -> (Arc<net::Policy>, ModeState) {
        let privacy = Privacy { mode: Mode::LocalOnly, local_ranges: Vec::new() };
        let policy = Arc::new(net::Policy::new(&privacy).unwrap());
        (policy.clone(), ModeState::new(policy, is_locked, None))
    }

    fn set_to(mode: Mode) -> SetMode {
        SetMode { set_by: "b".to_owned(), ..SetMode::configured(mode, None, 1) }
    }

    #[test]
    fn a_locked_node_stays_local_only_and_knows_what_it_does_not_follow() {
        let (policy, mode) = state(true);
        for other in Mode::ALL.iter().copied().filter(|other| *other != Mode::LocalOnly) {
            assert_eq!(mode.set(set_to(other)), Taken::NotFollowed);
            assert_eq!(
                (policy.mode(), mode.get().mode, mode.not_followed()),
                (Mode::LocalOnly, Mode::LocalOnly, Some(other))
            );
            assert!(mode.may_be(other).unwrap_err().hint.unwrap().contains("privacy.lock = false"));
        }
        assert!(mode.may_be(Mode::LocalOnly).is_ok());
        assert_eq!((mode.set(set_to(Mode::LocalOnly)), mode.not_followed()), (Taken::Changed, None));
    }

    #[test]
    fn late_news_of_an_older_turn_opens_nothing_and_a_store_that_was_restored_is_believed() {
        let (policy, mode) = state(false);
        let at = |turn, mode| SetMode { turn, since_ms: turn, ..set_to(mode) };
        mode.set(at(1, Mode::Hybrid));
        mode.set(at(2, Mode::LocalOnly));
        assert_eq!((mode.set(at(1, Mode::Hybrid)), policy.mode()), (Taken::Same, Mode::LocalOnly));
        // A node of the release before knows no turns.
        assert_eq!((mode.set(set_to(Mode::Hybrid)), policy.mode()), (Taken::Changed, Mode::Hybrid));
        mode.set(at(5, Mode::LocalOnly));
        assert_eq!((mode.set_anyway(at(3, Mode::Hybrid)), policy.mode()), (Taken::Changed, Mode::Hybrid));
    }

    #[test]
    fn a_node_that_is_not_locked_follows() {
        let (policy, mode) = state(false);
        assert_eq!(mode.set(set_to(Mode::Hybrid)), Taken::Changed);
        assert_eq!(mode.set(set_to(Mode::Hybrid)), Taken::Same);
        assert_eq!((policy.mode(), mode.not_followed()), (Mode::Hybrid, None));
    }
}
