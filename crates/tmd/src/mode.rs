//! The mode that holds now, since when, and who set it. The policy of `net` reads the same value.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::config::Mode;
use serde::{Deserialize, Serialize};

/// A mode as it was set; what the store keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetMode {
    /// The mode.
    pub mode: Mode,
    /// When, Unix milliseconds.
    pub since_ms: u64,
    /// The node that it was set at, or `configuration`.
    pub set_by: String,
}

/// Who set a mode that nobody has set.
pub const CONFIGURATION: &str = "configuration";

impl SetMode {
    /// Whether it is the one of the configuration.
    pub fn is_configured(&self) -> bool {
        self.set_by == CONFIGURATION
    }
}

/// The mode of this node.
pub struct ModeState {
    policy: Arc<net::Policy>,
    last: Mutex<SetMode>,
}

impl ModeState {
    /// As the configuration says.
    pub fn new(policy: Arc<net::Policy>) -> Self {
        let last = SetMode { mode: policy.mode(), since_ms: base::time::unix_ms(), set_by: CONFIGURATION.to_owned() };
        Self { policy, last: Mutex::new(last) }
    }

    /// The mode now.
    pub fn get(&self) -> SetMode {
        self.lock().clone()
    }

    /// Another mode holds from now on. `false` when it is the same as before.
    pub fn set(&self, mode: SetMode) -> bool {
        let mut last = self.lock();
        if *last == mode {
            return false;
        }
        self.policy.set_mode(mode.mode);
        *last = mode;
        true
    }

    fn lock(&self) -> MutexGuard<'_, SetMode> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
