//! How hard an ask looks, from its kind, its needs and its size alone; nobody reads the prompt for it.

use base::{Kind, Needs};

use super::Tier;

/// Below this a small model is enough.
const STANDARD_FROM: f64 = 0.35;
/// From here on the largest model is worth its time.
const LARGE_FROM: f64 = 0.65;
/// Prompts up to this size tell nothing about difficulty; from there each doubling counts.
const SHORT_PROMPT_TOKENS: f64 = 512.0;
/// This many doublings count in full.
const DOUBLINGS: f64 = 5.0;

/// Estimated complexity, 0 to 1.
pub fn complexity(kind: Kind, needs: Needs, prompt_tokens: u32) -> f64 {
    let by_kind = match kind {
        Kind::General => 0.2,
        Kind::CodeGeneration | Kind::Optimization => 0.45,
        Kind::Research | Kind::Analysis => 0.5,
        Kind::Planning => 0.6,
        Kind::Embedding | Kind::Rerank => return 0.0,
    };
    let doublings = (f64::from(prompt_tokens.max(1)) / SHORT_PROMPT_TOKENS).log2().clamp(0.0, DOUBLINGS);
    let by_needs = if needs.tools { 0.1 } else { 0.0 } + if needs.schema { 0.05 } else { 0.0 };
    (by_kind + 0.3 * doublings / DOUBLINGS + by_needs).min(1.0)
}

/// The tier for a complexity.
pub fn tier(complexity: f64) -> Tier {
    match complexity {
        score if score >= LARGE_FROM => Tier::Large,
        score if score >= STANDARD_FROM => Tier::Standard,
        _ => Tier::Fast,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_question_is_fast_and_a_plan_with_a_schema_is_large() {
        let tier_of = |kind, needs, tokens| tier(complexity(kind, needs, tokens));
        let schema = Needs { schema: true, ..Needs::default() };
        assert_eq!(tier_of(Kind::General, Needs::default(), 40), Tier::Fast);
        assert_eq!(tier_of(Kind::General, Needs::default(), 8000), Tier::Standard);
        assert_eq!(tier_of(Kind::Planning, schema, 2000), Tier::Large);
        assert_eq!(tier_of(Kind::Research, Needs::default(), 300), Tier::Standard);
    }

    #[test]
    fn more_prompt_is_never_simpler() {
        for kind in Kind::ALL {
            let scores: Vec<f64> =
                [1, 600, 5000, 100_000, u32::MAX].map(|tokens| complexity(*kind, Needs::default(), tokens)).to_vec();
            assert!(scores.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] <= 1.0), "{kind}: {scores:?}");
        }
    }
}
