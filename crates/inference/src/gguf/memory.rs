//! What a model takes in memory: an estimate from its header, and how wrong that was where it has run.

use serde::{Deserialize, Serialize};

use super::{Header, Kind};

/// Tokens of a prompt that are computed at once.
const BATCH: u64 = 512;
/// Numbers in the cache of keys and values are F16.
const KV_BYTES: u64 = 2;
/// Numbers that are computed with are F32.
const COMPUTE_BYTES: u64 = 4;
/// Vectors of a batch that are alive at once, in the widest place of a layer.
const LIVE_VECTORS: u64 = 6;
/// The program itself, its vocabulary and its own buffers.
const PROGRAM_BYTES: u64 = 32 << 20;

/// Memory by what it is for, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Weights.
    pub weights_bytes: u64,
    /// Keys, values and state of all that runs at once.
    pub kv_bytes: u64,
    /// What a batch needs while it is computed, and the program itself.
    pub compute_bytes: u64,
}

impl Memory {
    /// All of it.
    pub const fn total(&self) -> u64 {
        self.weights_bytes.saturating_add(self.kv_bytes).saturating_add(self.compute_bytes)
    }
}

impl Header {
    /// What it takes with `slots` asks at once of up to `context_tokens` each. Layers with a window count in full, as an
    /// engine keeps them that goes on behind a prompt that it saw before.
    pub fn memory(&self, context_tokens: u32, slots: u32) -> Memory {
        self.memory_by(context_tokens, slots, |_| None)
    }

    /// Likewise, for an engine that keeps no more than the window of layers that have one.
    pub fn memory_windowed(&self, context_tokens: u32, slots: u32) -> Memory {
        self.memory_by(context_tokens, slots, |layer| {
            let window = self.sliding_window.as_ref()?;
            window.layers.get(layer as usize).copied().unwrap_or(false).then_some(window.tokens)
        })
    }

    fn memory_by(&self, context_tokens: u32, slots: u32, window: impl Fn(u32) -> Option<u32>) -> Memory {
        // An encoder knows no places beyond those that it was trained on.
        let has_end = self.is_encoder && self.context_tokens > 0;
        let context = if has_end { context_tokens.min(self.context_tokens) } else { context_tokens };
        let (context, slots) = (u64::from(context), u64::from(slots.max(1)));
        let all_tokens = context * slots;
        let mut kv_bytes = u128::from(self.state_bytes) * u128::from(slots);
        let layers = if self.is_encoder { 0 } else { self.layers };
        let pair = u64::from(self.key_length) + u64::from(self.value_length);
        for layer in 0..layers {
            let tokens = match window(layer) {
                Some(window) => (u64::from(window) * slots + BATCH).next_multiple_of(256).min(all_tokens),
                None => all_tokens,
            };
            let numbers = u128::from(self.kv_heads.at(layer)) * u128::from(pair) * u128::from(tokens);
            kv_bytes += numbers * u128::from(KV_BYTES);
        }
        Memory {
            weights_bytes: self.tensor_bytes,
            kv_bytes: u64::try_from(kv_bytes).unwrap_or(u64::MAX),
            compute_bytes: self.compute_bytes(context, all_tokens),
        }
    }

    fn compute_bytes(&self, context: u64, all_tokens: u64) -> u64 {
        // An encoder computes a text as a whole.
        let batch = if self.is_encoder { context.max(BATCH) } else { BATCH };
        let embedding = u64::from(self.embedding_length);
        let scores = if self.kind == Kind::Chat { u64::from(self.vocabulary) } else { 0 };
        // Scores of all tokens come last, when nothing of a layer is alive any more.
        let widest = scores.max(2 * u64::from(self.feed_forward_length)).max(embedding);
        let seen = if self.is_encoder { context } else { all_tokens };
        // A mask says for each token of the batch what it may see: once as F32, once as F16.
        let mask = u128::from(batch) * u128::from(seen) * 6;
        let vectors = u128::from(batch) * u128::from(widest + LIVE_VECTORS * embedding) * u128::from(COMPUTE_BYTES);
        u64::try_from(vectors + mask + u128::from(PROGRAM_BYTES)).unwrap_or(u64::MAX)
    }
}

/// How far the estimate of one model is from what it was seen to take, on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    ratio: f64,
}

impl Default for Correction {
    fn default() -> Self {
        Self { ratio: 1.0 }
    }
}

impl Correction {
    const LEAST: f64 = 0.5;
    const MOST: f64 = 2.0;
    /// How much one smaller sight weighs. A greater one counts at once: to believe too little ends in no memory at all.
    const WEIGHT: f64 = 0.25;

    /// Learns from a model that runs, and was estimated at `estimated_bytes` without correction.
    pub fn learn(&mut self, estimated_bytes: u64, seen_bytes: u64) {
        if estimated_bytes == 0 || seen_bytes == 0 {
            return;
        }
        let seen = (seen_bytes as f64 / estimated_bytes as f64).clamp(Self::LEAST, Self::MOST);
        let weight = if seen > self.ratio { 1.0 } else { Self::WEIGHT };
        self.ratio += (seen - self.ratio) * weight;
    }

    /// The estimate as it is now believed.
    pub fn corrected(&self, estimated_bytes: u64) -> u64 {
        // Damaged values that were stored are brought back into the bounds; a float is cut at the ends of the number.
        let ratio = if self.ratio.is_nan() { 1.0 } else { self.ratio.clamp(Self::LEAST, Self::MOST) };
        (estimated_bytes as f64 * ratio) as u64
    }
}
