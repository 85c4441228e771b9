//! Answers of deterministic asks, kept and given again byte for byte.
//!
//! The key holds the model's identity and the client's exact bytes, so nothing has to be invalidated: another model, or
//! another wish, is another key. A cache that fails is a miss, never an error of the ask.

mod entry;
mod local;
mod redis;
#[cfg(test)]
mod tests;

use std::fmt;

use base::{Ask, BoxFuture, Finish, ModelId, RunSummary, Sampling, Usage};
use bytes::Bytes;
use sha2::{Digest, Sha256};

pub use local::{LocalCache, Shelf};
pub use redis::RedisCache;

/// A larger answer is not kept: lists of many embeddings would push out everything else.
pub const MOST_ENTRY_BYTES: usize = 4 << 20;

/// What an ask is found by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

/// An answer that was given before. Its head follows from the ask that finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// The whole body, in the dialect of the ask.
    pub body: Bytes,
    /// Counts of the run that made it.
    pub usage: Option<Usage>,
    /// Why that run ended.
    pub finish: Option<Finish>,
}

/// A place where answers are kept.
pub trait AnswerCache: Send + Sync {
    /// The answer kept for `key`.
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Option<Cached>>;

    /// Keeps a whole answer for `key`.
    fn put<'a>(&'a self, key: &'a Key, answer: &'a Cached) -> BoxFuture<'a, ()>;
}

impl Key {
    /// The key of an ask that `model` answers; `None` when its answer must be allowed to vary.
    pub fn of(model: &ModelId, ask: &Ask) -> Option<Self> {
        if ask.head.sampling == Sampling::Varying {
            return None;
        }
        let mut hash = Sha256::new();
        let form = if ask.head.stream { "stream" } else { "whole" };
        for part in [model.as_str(), ask.head.dialect.as_str(), form] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(&ask.body);
        Some(Self(hash.finalize().into()))
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Cached {
    /// What giving it again comes to: the counts of the run that made it, and no time.
    pub fn summary(&self) -> RunSummary {
        RunSummary { usage: self.usage, finish: self.finish, ..RunSummary::default() }
    }
}
