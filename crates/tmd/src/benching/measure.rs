//! What a measurement asks and what it makes of the answers: lengths of prompts, their texts, speeds, medians. Pure.

use std::time::Duration;

use base::RunSummary;
use base::report::Capability;
use inference::rates::Rates;
use serde::{Deserialize, Serialize};

/// Lengths of prompts that are measured, in tokens, where they fit.
const BUCKETS: [u32; 4] = [128, 512, 2048, 8192];
/// Tokens that a chat's template may put around a prompt, and those by which a guess of its length may be off.
const AROUND: u32 = 96;
/// A context that nobody tells is taken to be this long.
const CONTEXT_UNKNOWN: u32 = 4096;
/// Shorter prompts say nothing about speed.
const LEAST_PROMPT: u32 = 16;
/// Asks of one length: a median needs three.
const MOST_RUNS: usize = 3;
/// No further ask of one length when it would end behind this.
const LONG_ENOUGH: Duration = Duration::from_secs(20);
/// Tokens of the texts of one ask for vectors, as many texts as that gives up to [`MOST_TEXTS`].
const BATCH_TOKENS: u32 = 4096;
const MOST_TEXTS: u32 = 16;
/// Fewer answer tokens say nothing about the speed of writing.
const LEAST_WRITTEN: u32 = 8;
/// A prompt that is expected to take more than this share of the time to the first token is left out.
const RISKY: f64 = 0.8;

/// What a model does with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It answers.
    Writes,
    /// It makes a vector of it.
    Embeds,
}

/// What a model is for, by what its engine tells of it; `None` where nothing here can be measured.
pub fn use_of(can: impl Fn(Capability) -> bool) -> Option<Use> {
    match (can(Capability::Completion), can(Capability::Embedding)) {
        (true, _) => Some(Use::Writes),
        (false, true) => Some(Use::Embeds),
        (false, false) => None,
    }
}

/// The lengths of prompts that fit a context with the answer; half of what there is where none does.
pub fn buckets(used: Use, context_tokens: u32, answer_tokens: u32) -> Vec<u32> {
    let context = if context_tokens == 0 { CONTEXT_UNKNOWN } else { context_tokens };
    let answer = if used == Use::Writes { answer_tokens } else { 0 };
    let room = context.saturating_sub(answer);
    let fitting: Vec<u32> = BUCKETS.into_iter().filter(|bucket| bucket.saturating_add(AROUND) <= room).collect();
    match (fitting.is_empty(), room / 2) {
        (false, _) => fitting,
        (true, half) if half >= LEAST_PROMPT => vec![half],
        (true, _) => Vec::new(),
    }
}

/// How many texts one ask for vectors has.
pub fn texts(tokens: u32) -> u32 {
    (BATCH_TOKENS / tokens.max(1)).clamp(1, MOST_TEXTS)
}

/// Whether `runs` asks of one length, which took `spent`, are enough.
pub fn is_enough(runs: usize, spent: Duration) -> bool {
    let Some(mean) = u32::try_from(runs).ok().and_then(|runs| spent.checked_div(runs)) else { return false };
    runs >= MOST_RUNS || spent + mean > LONG_ENOUGH
}

/// How long a prompt of `tokens` takes by the last speed that was measured, where that is too long to try.
pub fn is_too_long(tokens: u32, last: Option<&Bucket>, first_token: Duration) -> Option<Duration> {
    let speed = last?.prefill_tok_s.filter(|speed| *speed > 0.0)?;
    let expected = Duration::try_from_secs_f64(f64::from(tokens) / speed).ok()?;
    (expected > first_token.mul_f64(RISKY)).then_some(expected)
}

/// A text of `bytes` that no other begins like: what an engine has read before does not help it.
pub fn prompt(seed: u64, bytes: usize) -> String {
    const WORDS: [&str; 32] = [
        "river",
        "stone",
        "the",
        "a",
        "of",
        "light",
        "house",
        "walks",
        "green",
        "before",
        "under",
        "window",
        "song",
        "and",
        "slow",
        "market",
        "paper",
        "seven",
        "north",
        "garden",
        "remembers",
        "cold",
        "bread",
        "to",
        "her",
        "lamp",
        "distance",
        "with",
        "road",
        "quiet",
        "story",
        "morning",
    ];
    const TASK: &str = "\n\nTell a long story out of these words.";
    let mut text = format!("{seed:016x}:");
    let mut state = seed | 1;
    while text.len() + TASK.len() < bytes {
        // Xorshift: the same seed gives the same text, on every machine.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(' ');
        text.push_str(WORDS.get((state >> 32) as usize % WORDS.len()).unwrap_or(&"and"));
    }
    text + TASK
}

/// What one ask told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// As the engine counted.
    pub prompt_tokens: Option<f64>,
    prefill_tok_s: Option<f64>,
    decode_tok_s: Option<f64>,
    first_token_s: Option<f64>,
    texts_s: Option<f64>,
}

impl Sample {
    /// Of a streamed answer.
    pub fn of_answer(summary: &RunSummary) -> Self {
        let first_token_s = summary.first_token.map(|first| first.as_secs_f64());
        let (Some(usage), Some(first_s)) = (summary.usage, first_token_s) else {
            return Self { first_token_s, ..Self::default() };
        };
        // The first token ends the prefill, so the others take one step less.
        let steps = usage.completion_tokens.saturating_sub(1);
        let written = (usage.completion_tokens >= LEAST_WRITTEN).then_some(steps);
        let decode_tok_s = written.and_then(|steps| speed(steps, summary.total.as_secs_f64() - first_s));
        let step_s = decode_tok_s.map_or(0.0, |speed| 1.0 / speed);
        let reading_s = if step_s < first_s / 2.0 { first_s - step_s } else { first_s };
        Self {
            prompt_tokens: Some(f64::from(usage.prompt_tokens)),
            prefill_tok_s: speed(usage.prompt_tokens.saturating_sub(usage.cached_tokens), reading_s),
            decode_tok_s,
            first_token_s,
            texts_s: None,
        }
    }

    /// Of an answer with the vectors of `texts`.
    pub fn of_vectors(summary: &RunSummary, texts: u32) -> Self {
        let total_s = summary.total.as_secs_f64();
        let tokens = summary.usage.map(|usage| usage.prompt_tokens);
        Self {
            prompt_tokens: tokens.map(|tokens| f64::from(tokens) / f64::from(texts.max(1))),
            prefill_tok_s: tokens.and_then(|tokens| speed(tokens, total_s)),
            texts_s: speed(texts, total_s),
            ..Self::default()
        }
    }
}

fn speed(count: u32, seconds: f64) -> Option<f64> {
    // What was waiting in a socket comes all at once; a microsecond for each is no engine.
    (count > 0 && seconds > f64::from(count) * 1e-6).then(|| f64::from(count) / seconds)
}

/// The medians over the asks with prompts of one length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// The wanted length.
    pub tokens: u32,
    /// As the engine counted; 0 when it did not.
    pub prompt_tokens: u32,
    /// Over how many asks.
    pub runs: u32,
    /// Prompt tokens per second.
    pub prefill_tok_s: Option<f64>,
    /// Answer tokens per second.
    pub decode_tok_s: Option<f64>,
    /// Seconds until the first token.
    pub first_token_s: Option<f64>,
    /// Texts per second, of an embedder.
    pub texts_s: Option<f64>,
}

impl Bucket {
    /// Of these asks.
    pub fn of(tokens: u32, samples: &[Sample]) -> Self {
        let of = |value: fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(value).collect());
        Self {
            tokens,
            prompt_tokens: of(|sample| sample.prompt_tokens).map_or(0, |tokens| tokens.round() as u32),
            runs: u32::try_from(samples.len()).unwrap_or(u32::MAX),
            prefill_tok_s: of(|sample| sample.prefill_tok_s),
            decode_tok_s: of(|sample| sample.decode_tok_s),
            first_token_s: of(|sample| sample.first_token_s),
            texts_s: of(|sample| sample.texts_s),
        }
    }
}

/// All that was measured of a model at a worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Unix milliseconds of the last of it.
    pub at_ms: u64,
    /// Seconds of a load.
    pub load_s: Option<f64>,
    /// One for each length, shortest first.
    pub buckets: Vec<Bucket>,
}

impl Measured {
    /// Adds a bucket, in place of an older one of that length.
    pub fn put(&mut self, bucket: Bucket) {
        self.buckets.retain(|older| older.tokens != bucket.tokens);
        self.buckets.push(bucket);
        self.buckets.sort_by_key(|bucket| bucket.tokens);
    }

    /// What a worker begins with that has learned nothing itself. Routing knows one speed for prompts of every length, so
    /// it is the middle one.
    pub fn rates(&self) -> Rates {
        let of = |value: fn(&Bucket) -> Option<f64>| {
            let usable = |value: &f64| value.is_finite() && *value > 0.0;
            median(self.buckets.iter().filter_map(value).filter(usable).collect())
        };
        Rates {
            prefill_tok_s: of(|bucket| bucket.prefill_tok_s),
            decode_tok_s: of(|bucket| bucket.decode_tok_s),
            load_s: self.load_s.filter(|load| load.is_finite() && *load >= 0.0),
            output_tokens: None,
        }
    }
}

/// The middle one; of an even number the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests;
