//! How much a key has asked for lately, and whether it may ask for more. Pure.
//!
//! Asks and tokens are counted in slices of time. The slices that are looked at cover the whole window at any instant, so
//! that no window anywhere holds more than the limit; what is counted may be up to one slice older than the window.

use std::collections::VecDeque;
use std::time::Duration;

use base::units::format_duration;
use base::{Code, Fault, KeyLimits};
use serde::{Deserialize, Serialize};

/// An ask is over soon; when is not known.
const ONE_ENDS_WITHIN: Duration = Duration::from_secs(1);

/// A length of time in slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    slice_ms: u64,
    /// Whole slices that make up the window.
    slices: u64,
}

impl Window {
    /// In twelve slices.
    pub const HOUR: Self = Self { slice_ms: 300_000, slices: 12 };
    /// In ten slices.
    pub const MINUTE: Self = Self { slice_ms: 6000, slices: 10 };

    fn slice(self, now_ms: u64) -> u64 {
        now_ms / self.slice_ms
    }

    /// The oldest slice that may still hold something of the window. What lies in the future was written by a clock that is
    /// wrong, and does not count for ever.
    fn counts(self, slice: u64, now_ms: u64) -> bool {
        let now = self.slice(now_ms);
        slice + self.slices >= now && slice <= now + 1
    }

    /// How long until `slice` does not count any more.
    fn leaves_in(self, slice: u64, now_ms: u64) -> Duration {
        let at = (slice + self.slices + 1).saturating_mul(self.slice_ms);
        Duration::from_millis(at.saturating_sub(now_ms))
    }
}

/// What was asked for in one slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64)", into = "(u64, u64, u64)")]
pub struct Slice {
    /// Its number, from the Unix epoch on.
    pub at: u64,
    /// Asks that began.
    pub asks: u64,
    /// Tokens of asks that ended, questions and answers.
    pub tokens: u64,
}

impl From<(u64, u64, u64)> for Slice {
    fn from((at, asks, tokens): (u64, u64, u64)) -> Self {
        Self { at, asks, tokens }
    }
}

impl From<Slice> for (u64, u64, u64) {
    fn from(slice: Slice) -> Self {
        (slice.at, slice.asks, slice.tokens)
    }
}

/// What was asked for within a window, and a little before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent(VecDeque<Slice>);

impl Spent {
    /// Notes an ask, or tokens, or both.
    pub fn note(&mut self, window: Window, asks: u64, tokens: u64, now_ms: u64) {
        let at = window.slice(now_ms);
        self.add(Slice { at, asks, tokens });
        self.0.retain(|slice| window.counts(slice.at, now_ms));
    }

    /// Adds what somebody else counted.
    pub fn take_on(&mut self, other: &Self) {
        other.0.iter().for_each(|slice| self.add(*slice));
    }

    /// Asks and tokens that count now.
    pub fn sum(&self, window: Window, now_ms: u64) -> (u64, u64) {
        let counting = self.0.iter().filter(|slice| window.counts(slice.at, now_ms));
        counting.fold((0, 0), |(asks, tokens), slice| {
            (asks.saturating_add(slice.asks), tokens.saturating_add(slice.tokens))
        })
    }

    /// Whether nothing of it counts any more.
    pub fn is_over(&self, window: Window, now_ms: u64) -> bool {
        !self.0.iter().any(|slice| window.counts(slice.at, now_ms))
    }

    fn add(&mut self, more: Slice) {
        let place = self.0.partition_point(|slice| slice.at < more.at);
        match self.0.get_mut(place).filter(|slice| slice.at == more.at) {
            Some(slice) => {
                slice.asks = slice.asks.saturating_add(more.asks);
                slice.tokens = slice.tokens.saturating_add(more.tokens);
            }
            None => self.0.insert(place, more),
        }
    }

    /// How long until less than `limit` counts; zero when that is so now.
    fn opens_in(&self, window: Window, limit: u64, now_ms: u64, of: impl Fn(&Slice) -> u64) -> Duration {
        let mut counting: Vec<&Slice> = self.0.iter().filter(|slice| window.counts(slice.at, now_ms)).collect();
        counting.sort_unstable_by_key(|slice| slice.at);
        let mut sum = counting.iter().fold(0u64, |sum, slice| sum.saturating_add(of(slice)));
        let mut opens = Duration::ZERO;
        for slice in counting {
            if sum < limit {
                break;
            }
            sum = sum.saturating_sub(of(slice));
            opens = window.leaves_in(slice.at, now_ms);
        }
        opens
    }
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// How much there is, and of what.
    pub limit: (u64, &'static str),
    /// When there is more again.
    pub opens_in: Duration,
}

impl Reached {
    /// As the holder of key `name` is told.
    pub fn fault(self, name: &str) -> Fault {
        let (amount, what) = self.limit;
        let opens = Duration::from_secs(self.opens_in.as_secs_f64().ceil().max(1.0) as u64);
        let message = format!("key `{name}` has had its {amount} {what}");
        Fault::new(Code::Overloaded, message)
            .retry_after(opens)
            .hint(format!("ask again in {}; `tmctl keys list` shows what each key may ask for", format_duration(opens)))
    }
}

/// Whether one more ask may begin, after `hour` in the whole cluster and `minute` here, while `running` do here.
///
/// Tokens are known when an answer ends, so the asks that run then may go over that limit, and no later ones.
pub fn may_begin(limits: &KeyLimits, hour: &Spent, minute: &Spent, running: u32, now_ms: u64) -> Result<(), Reached> {
    let mut reached = Vec::new();
    let mut look = |limit: Option<u64>, what, spent: &Spent, window, of: fn(&Slice) -> u64| {
        let Some(limit) = limit else { return };
        let opens_in = spent.opens_in(window, limit, now_ms, of);
        if !opens_in.is_zero() {
            reached.push(Reached { limit: (limit, what), opens_in });
        }
    };
    look(limits.asks_per_hour, "asks of an hour", hour, Window::HOUR, |slice| slice.asks);
    look(limits.tokens_per_hour, "tokens of an hour", hour, Window::HOUR, |slice| slice.tokens);
    look(limits.asks_per_minute.map(u64::from), "asks of a minute", minute, Window::MINUTE, |slice| slice.asks);
    if let Some(limit) = limits.at_once.filter(|&limit| running >= limit) {
        reached.push(Reached { limit: (limit.into(), "asks at once"), opens_in: ONE_ENDS_WITHIN });
    }
    // Whoever waits for the longest one has waited for all of them.
    reached.into_iter().max_by_key(|reached| reached.opens_in).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
