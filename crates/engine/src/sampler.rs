//! The choice of the next token. Its randomness is a function of the seed and the place in the answer, so that a run
//! that goes on in the middle draws what the interrupted one would have drawn.

use base::{Fault, Result};
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;
use llama_cpp_2::token::logit_bias::LlamaLogitBias;
use proto::engine::Sampling;

use crate::grammar::Grammar;

/// What llama.cpp's own programs take where nobody says otherwise.
const TEMPERATURE: f32 = 0.8;
const TOP_K: u32 = 40;
const TOP_P: f32 = 0.95;
const MIN_P: f32 = 0.05;
const LAST_N: i32 = 64;
/// More biases than this are no request but an attack.
const MOST_BIASES: usize = 1024;

/// Chooses the tokens of one answer.
pub struct Sampler {
    /// What bends the distribution before one token is drawn; `None` where there is nothing to bend.
    chain: Option<LlamaSampler>,
    is_greedy: bool,
    seed: u64,
    /// Tokens that penalties look back.
    window: usize,
    grammar: Option<Grammar>,
}

impl Sampler {
    /// As asked for; refuses what makes no sense.
    pub fn new(asked: &Sampling, vocabulary: i32, context_tokens: u32, grammar: Option<Grammar>) -> Result<Self> {
        check(asked)?;
        let is_greedy = asked.temperature == Some(0.0);
        let seed = asked.seed.unwrap_or_else(seed_of_the_moment);
        // llama.cpp makes room for as many as it is told, and takes a negative number for none.
        let window = match asked.repeat_last_n.unwrap_or(LAST_N) {
            -1 => context_tokens,
            tokens => tokens.unsigned_abs().min(context_tokens),
        };
        let chain = chain(asked, vocabulary, window, is_greedy);
        Ok(Self { chain, is_greedy, seed, window: window as usize, grammar })
    }

    /// Tokens of the prompt, for penalties on repetition.
    pub fn has_read(&mut self, prompt: &[LlamaToken]) {
        let tail = prompt.len().saturating_sub(self.window);
        if let Some(chain) = &mut self.chain {
            chain.accept_many(prompt.get(tail..).unwrap_or_default());
        }
    }

    /// The token at place `place` of the answer, by the model's `logits`.
    pub fn choose(&mut self, logits: &[f32], place: usize) -> Result<LlamaToken> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(no_numbers());
        }
        let allowed = self.grammar.as_mut().map(Grammar::allowed).transpose()?;
        let candidate = |(id, logit): (usize, &f32)| {
            LlamaTokenData::new(LlamaToken(i32::try_from(id).unwrap_or(i32::MAX)), *logit, 0.0)
        };
        let is_allowed = |id: usize| {
            allowed.as_ref().is_none_or(|allowed| allowed.is_allowed(u32::try_from(id).unwrap_or(u32::MAX)))
        };
        let Some(chain) = &mut self.chain else {
            let best = logits.iter().enumerate().filter(|(id, _)| is_allowed(*id)).map(candidate);
            return best.reduce(higher).map(|best| best.id()).ok_or_else(nothing_left);
        };
        let data: Vec<_> = logits.iter().enumerate().filter(|(id, _)| is_allowed(*id)).map(candidate).collect();
        if data.is_empty() {
            return Err(nothing_left());
        }
        let mut candidates = LlamaTokenDataArray::new(data, false);
        candidates.apply_sampler(chain);
        let chosen = if self.is_greedy {
            candidates.data.iter().copied().reduce(higher).map(|best| best.id())
        } else {
            draw(&candidates.data, uniform(self.seed, place as u64))
        };
        chosen.ok_or_else(nothing_left)
    }

    /// `token` is the next one.
    pub fn accept(&mut self, token: LlamaToken) -> Result<()> {
        if let Some(chain) = &mut self.chain {
            chain.accept(token);
        }
        self.grammar.as_mut().map_or(Ok(()), |grammar| grammar.accept(token.0.cast_unsigned()))
    }

    /// Whether the grammar lets nothing follow.
    pub fn is_over(&self) -> bool {
        self.grammar.as_ref().is_some_and(Grammar::is_over)
    }
}

/// Whether the same request gives the same answer again.
pub fn is_repeatable(asked: &Sampling) -> bool {
    asked.temperature == Some(0.0) || asked.seed.is_some()
}

fn chain(asked: &Sampling, vocabulary: i32, window: u32, is_greedy: bool) -> Option<LlamaSampler> {
    let mut parts = Vec::new();
    let biases: Vec<_> =
        asked.logit_bias.iter().map(|(id, bias)| LlamaLogitBias::new(LlamaToken(id.cast_signed()), *bias)).collect();
    if !biases.is_empty() {
        parts.push(LlamaSampler::logit_bias(vocabulary, &biases));
    }
    let repeat = asked.repeat_penalty.unwrap_or(1.0);
    let (often, present) = (asked.frequency_penalty.unwrap_or(0.0), asked.presence_penalty.unwrap_or(0.0));
    if repeat != 1.0 || often != 0.0 || present != 0.0 {
        parts.push(LlamaSampler::penalties(vocabulary, window.cast_signed(), repeat, often, present));
    }
    if !is_greedy {
        let top_k = asked.top_k.unwrap_or(TOP_K);
        if top_k > 0 {
            parts.push(LlamaSampler::top_k(i32::try_from(top_k).unwrap_or(i32::MAX)));
        }
        if let Some(typical) = asked.typical_p.filter(|typical| *typical < 1.0) {
            parts.push(LlamaSampler::typical(typical, 1));
        }
        parts.push(LlamaSampler::top_p(asked.top_p.unwrap_or(TOP_P), 1));
        parts.push(LlamaSampler::min_p(asked.min_p.unwrap_or(MIN_P), 1));
        parts.push(LlamaSampler::temp(asked.temperature.unwrap_or(TEMPERATURE)));
    }
    (!parts.is_empty()).then(|| LlamaSampler::chain(parts, true))
}

fn check(asked: &Sampling) -> Result<()> {
    let numbers = [
        ("temperature", asked.temperature, 0.0, 100.0),
        ("top_p", asked.top_p, 0.0, 1.0),
        ("min_p", asked.min_p, 0.0, 1.0),
        ("typical_p", asked.typical_p, 0.0, 1.0),
        ("repeat_penalty", asked.repeat_penalty, 0.01, 100.0),
        ("frequency_penalty", asked.frequency_penalty, -100.0, 100.0),
        ("presence_penalty", asked.presence_penalty, -100.0, 100.0),
    ];
    for (name, value, least, most) in numbers {
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            return Err(Fault::invalid(format!("`{name}` is not between {least} and {most}"))
                .hint(format!("leave `{name}` out, or give a number in that range")));
        }
    }
    if asked.repeat_last_n.is_some_and(|tokens| tokens < -1) {
        return Err(
            Fault::invalid("`repeat_last_n` is below -1").hint("give a number of tokens, or -1 for the whole context")
        );
    }
    if asked.logit_bias.len() > MOST_BIASES || asked.logit_bias.values().any(|bias| bias.is_nan()) {
        return Err(Fault::invalid(format!(
            "`logit_bias` has more than {MOST_BIASES} entries, or one that is no number"
        ))
        .hint("give fewer, each between -100 and 100"));
    }
    Ok(())
}

fn higher(one: LlamaTokenData, other: LlamaTokenData) -> LlamaTokenData {
    if other.logit() > one.logit() { other } else { one }
}

fn no_numbers() -> Fault {
    Fault::new(base::Code::EngineFailed, "the model computed what is no number: its weights are damaged")
        .hint("get the file again")
}

fn nothing_left() -> Fault {
    Fault::new(
        base::Code::EngineFailed,
        "no token can follow here: the schema and the other settings exclude each other",
    )
    .hint("loosen the schema or leave out `logit_bias`")
}

/// The candidate that `at`, between 0 and 1, falls on.
fn draw(candidates: &[LlamaTokenData], at: f64) -> Option<LlamaToken> {
    let best = candidates.iter().map(|candidate| candidate.logit()).fold(f32::NEG_INFINITY, f32::max);
    let weight = |candidate: &LlamaTokenData| f64::from(candidate.logit() - best).exp();
    let total: f64 = candidates.iter().map(weight).sum();
    let mut left = at * total;
    for candidate in candidates {
        left -= weight(candidate);
        if left < 0.0 {
            return Some(candidate.id());
        }
    }
    candidates.last().map(|candidate| candidate.id())
}

/// A number between 0 and 1 that depends on both in every bit (the mixing of SplitMix64).
fn uniform(seed: u64, place: u64) -> f64 {
    let mut mixed = seed ^ place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
        mixed = (mixed ^ (mixed >> shift)).wrapping_mul(factor);
    }
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn seed_of_the_moment() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds its hashers from the system, once per thread, and counts on.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(logits: &[f32]) -> Vec<LlamaTokenData> {
        (0..).zip(logits).map(|(id, logit)| LlamaTokenData::new(LlamaToken(id), *logit, 0.0)).collect()
    }

    #[test]
    fn draws_follow_the_distribution_and_depend_on_seed_and_place_alone() {
        let candidates = candidates(&[0.0, 2f32.ln(), f32::NEG_INFINITY]);
        let counts = (0..3000u64).fold([0u32; 3], |mut counts, place| {
            let drawn = draw(&candidates, uniform(7, place)).unwrap();
            assert_eq!(Some(drawn), draw(&candidates, uniform(7, place)));
            counts[drawn.0 as usize] += 1;
            counts
        });
        assert!((950..1050).contains(&counts[0]) && counts[2] == 0, "{counts:?}");
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let asked = Sampling { top_p: Some(1.5), ..Sampling::default() };
        assert!(check(&asked).unwrap_err().message.contains("top_p"));
        let asked = Sampling { temperature: Some(f32::NAN), ..Sampling::default() };
        assert!(check(&asked).is_err());
    }
}
