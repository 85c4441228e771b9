//! How routing and placement weigh; taken from `[routing]` of the configuration, with what only this node knows.

use std::time::Duration;

use base::config::{Mode, Routing};

/// The knobs of every decision in this crate.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What may leave the house.
    pub mode: Mode,
    /// So many of a hundred asks stay at home, where the mode is hybrid and its owner set a share.
    pub local_percent: Option<u8>,
    /// Share of memory kept free on every worker, 0 to 1.
    pub headroom: f64,
    /// Above this share of processor or GPU use by strangers, other nodes come first.
    pub busy_above: f64,
    /// Most model swaps per minute and worker.
    pub swaps_per_minute: u32,
    /// Longest that an ask waits because another model (or a node with more room) is favoured.
    pub max_wait: Duration,
    /// Asks that may wait at one worker before it counts as full.
    pub queue: u32,
    /// How long a sleeping node takes to wake; `None` when nothing wakes it, then it is not routed.
    pub wake: Option<Duration>,
    /// Tokens that one entry of `AskHead::prefix` stands for.
    pub prefix_block_tokens: u32,
    /// Whether a load is also charged with the time it takes from others (see [`crate::route::Terms::regret`]).
    pub regret: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::LocalOnly,
            local_percent: None,
            headroom: 0.2,
            busy_above: 0.8,
            swaps_per_minute: 6,
            max_wait: Duration::from_secs(30),
            queue: 512,
            wake: None,
            prefix_block_tokens: 256,
            regret: true,
        }
    }
}

impl Settings {
    /// What the configuration says, in the mode that holds now.
    pub fn new(routing: &Routing, mode: Mode, local_percent: Option<u8>) -> Self {
        Self {
            mode,
            local_percent,
            headroom: routing.headroom,
            busy_above: routing.busy_above,
            swaps_per_minute: routing.swaps_per_minute,
            max_wait: routing.max_wait,
            ..Self::default()
        }
    }
}
