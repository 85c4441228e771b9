//! How long an answer in one piece may take at a worker before its engine counts as stuck on it. Pure.
//!
//! Such an answer shows nothing until it is whole, so a long one and a stuck one look alike. A slow machine must never
//! lose a long answer for being slow, so the bound is far above what the answer can take by what was measured there:
//! its longest length, at a fraction of the measured speed, and as if every slot of the worker were taken. What was not
//! measured is not assumed: then the ask's own deadline is the only bound.

use std::time::Duration;

/// An engine may be this many times slower than it was measured: on a hot machine, beside a game, under a grammar.
const SLOWER: f64 = 4.0;
/// Without a limit of its own, an answer may be this many times as long as they are on the mean …
const LONGER: f64 = 16.0;
/// … or this many tokens; whichever is more, up to the end of the context.
const LONG_TOKENS: f64 = 4096.0;

/// What an engine has to do for an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Size of the prompt.
    pub prompt_tokens: u32,
    /// The client's limit on an answer.
    pub most_tokens: Option<u32>,
    /// Answers that are wanted at once.
    pub choices: u32,
    /// Length of the model's context there; 0 when not known.
    pub context_tokens: u32,
    /// Whether the model is in memory.
    pub is_loaded: bool,
}

/// What was measured of the model at the worker; `None` is what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Prompt tokens per second.
    pub prefill_tok_s: Option<f64>,
    /// Answer tokens per second of one run.
    pub decode_tok_s: Option<f64>,
    /// Seconds to load it.
    pub load_s: Option<f64>,
    /// Tokens of an answer, on the mean.
    pub output_tokens: Option<f64>,
}

/// How long the engine may take from the moment that it has the ask; never less than `least`. `None` when nothing can be
/// said.
pub fn patience(whole: &Whole, measured: &Measured, slots: u32, least: Duration) -> Option<Duration> {
    let decode_tok_s = measured.decode_tok_s.filter(|speed| speed.is_finite() && *speed > 0.0)?;
    // A prompt is never read slower than an answer is written.
    let prefill_tok_s = measured.prefill_tok_s.unwrap_or(decode_tok_s).max(decode_tok_s);
    let load_s = match measured.load_s {
        None if whole.is_loaded => 0.0,
        // The engine may have let it go since it was looked at.
        load_s => load_s?,
    };
    let answer_s = longest(whole, measured)? * f64::from(whole.choices.max(1)) / decode_tok_s;
    let alone_s = load_s + f64::from(whole.prompt_tokens) / prefill_tok_s + answer_s;
    let most_s = alone_s * SLOWER * f64::from(slots.max(1));
    // What is beyond all numbers is no bound.
    Duration::try_from_secs_f64(most_s).ok()?.checked_add(least)
}

/// The most tokens that one answer can have.
fn longest(whole: &Whole, measured: &Measured) -> Option<f64> {
    let room = match whole.context_tokens {
        0 => None,
        // The prompt's size is an estimate, and may be far too large where it holds images.
        context if whole.prompt_tokens >= context => Some(f64::from(context)),
        context => Some(f64::from(context - whole.prompt_tokens)),
    };
    let usual = || measured.output_tokens.map(|mean| (mean * LONGER).max(LONG_TOKENS));
    let wanted = whole.most_tokens.map(f64::from).or_else(usual);
    match (wanted, room) {
        (Some(wanted), Some(room)) => Some(wanted.min(room)),
        (wanted, room) => wanted.or(room),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_secs(90);
    const WHOLE: Whole =
        Whole { prompt_tokens: 1000, most_tokens: Some(200), choices: 1, context_tokens: 8192, is_loaded: true };
    const MEASURED: Measured = Measured {
        prefill_tok_s: Some(500.0),
        decode_tok_s: Some(20.0),
        load_s: Some(8.0),
        output_tokens: Some(300.0),
    };

    fn seconds(whole: Whole, measured: Measured, slots: u32) -> Option<u64> {
        patience(&whole, &measured, slots, LEAST).map(|patience| patience.as_secs())
    }

    #[test]
    fn an_answer_has_many_times_what_it_takes_at_most() {
        // 8 s of load, 2 s of prompt, 10 s of answer: four times that, and the least.
        assert_eq!(seconds(WHOLE, MEASURED, 1), Some(170));
        assert_eq!(seconds(WHOLE, MEASURED, 4), Some(410), "others may share the engine");
        assert_eq!(seconds(Whole { choices: 3, ..WHOLE }, MEASURED, 1), Some(250));
    }

    #[test]
    fn nothing_is_bounded_by_what_was_not_measured() {
        assert_eq!(seconds(WHOLE, Measured::default(), 4), None);
        assert_eq!(seconds(WHOLE, Measured { decode_tok_s: None, ..MEASURED }, 4), None);
        assert_eq!(seconds(WHOLE, Measured { decode_tok_s: Some(0.0), ..MEASURED }, 4), None);
        let cold = Whole { is_loaded: false, ..WHOLE };
        assert_eq!(seconds(cold, Measured { load_s: None, ..MEASURED }, 4), None, "a load of unknown length");
        let endless = Whole { most_tokens: None, context_tokens: 0, ..WHOLE };
        assert_eq!(seconds(endless, Measured { output_tokens: None, ..MEASURED }, 4), None, "of unknown length");
    }

    #[test]
    fn prompt_of_unknown_speed_is_taken_to_be_read_as_slowly_as_answers_are_written() {
        assert_eq!(seconds(WHOLE, Measured { prefill_tok_s: None, ..MEASURED }, 1), Some(362));
    }

    #[test]
    fn an_answer_without_a_limit_may_fill_the_context_or_be_many_times_as_long_as_usual() {
        let open = Whole { most_tokens: None, ..WHOLE };
        // 16 times 300 tokens.
        assert_eq!(seconds(open, MEASURED, 1), Some(90 + 4 * (10 + 240)));
        assert_eq!(seconds(Whole { context_tokens: 2000, ..open }, MEASURED, 1), Some(90 + 4 * (10 + 50)));
        let terse = Measured { output_tokens: Some(3.0), ..MEASURED };
        assert!(seconds(open, terse, 1) > Some(4 * 200), "short answers so far prove little");
    }

    #[test]
    fn limit_beyond_the_context_counts_as_the_context() {
        let huge = Whole { most_tokens: Some(u32::MAX), context_tokens: 2000, ..WHOLE };
        assert_eq!(seconds(huge, MEASURED, 1), Some(90 + 4 * (10 + 50)));
        assert!(seconds(Whole { context_tokens: 0, ..huge }, MEASURED, u32::MAX).is_none_or(|most| most > 1_000_000));
    }

    #[test]
    fn slow_machine_keeps_its_long_answers() {
        // Two tokens a second on a processor, 4,000 tokens wanted, three others at the same time: 2 hours at full load.
        let slow = Measured { prefill_tok_s: Some(10.0), decode_tok_s: Some(2.0), ..MEASURED };
        let long = Whole { most_tokens: Some(4000), ..WHOLE };
        assert!(seconds(long, slow, 4) > Some(2 * 3600));
    }
}
