//! Speeds of one model at one worker, learned from its runs. Pure; what a run says too little about, it does not change.

use std::time::Duration;

use base::report::ModelReport;
use base::{RunSummary, Usage};

/// Fewer answer tokens say nothing about the speed of answering.
const LEAST_DECODED: u32 = 8;
/// Fewer computed prompt tokens say nothing about the speed of reading: fixed costs are most of the time.
const LEAST_PREFILLED: u32 = 64;
/// After this many tokens an old speed and a new one weigh the same.
const DECODE_HALF: f64 = 512.0;
/// So do they after this many seconds of answering: an engine that became slow brings few tokens to learn it from.
const DECODE_HALF_S: f64 = 30.0;
/// As [`DECODE_HALF`] for prompts, which are longer.
const PREFILL_HALF: f64 = 4096.0;
/// Weight of the newest value where every value counts alike.
const NEWEST: f64 = 0.2;
/// Most that one run may raise a speed: a prompt out of a cache that the engine does not mention looks like a miracle.
const MOST_RISE: f64 = 2.0;
/// Most that one run may lower it: a single stall is no slow engine.
const MOST_FALL: f64 = 4.0;

/// What is known of a model's speed; all `None` before the first run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Prompt tokens per second.
    pub prefill_tok_s: Option<f64>,
    /// Answer tokens per second of one run.
    pub decode_tok_s: Option<f64>,
    /// Seconds to load it.
    pub load_s: Option<f64>,
    /// Tokens of an answer.
    pub output_tokens: Option<f64>,
}

/// A finished run, as its worker saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finished {
    /// What the engine told.
    pub summary: RunSummary,
    /// Whether the engine streamed; else its first byte says nothing.
    pub is_streamed: bool,
    /// How much of the time before the first token was no computing: waiting at the engine, loading the model.
    pub waited: Duration,
    /// Prompt tokens that a prefix cache at the worker is believed to have spared.
    pub believed_cached: u32,
}

impl Rates {
    /// Learns from a run that ended well.
    pub fn note_run(&mut self, run: &Finished) {
        let Some(usage) = run.summary.usage else { return };
        let output = usage.completion_tokens;
        if run.summary.finish.is_some() && output > 0 {
            blend(&mut self.output_tokens, f64::from(output), NEWEST);
        }
        if !run.is_streamed {
            return self.note_whole(run, usage);
        }
        let Some(first_token) = run.summary.first_token else { return };
        // The first token ends the prefill, so `output` tokens take one step less.
        let decoding = run.summary.total.saturating_sub(first_token);
        if output >= LEAST_DECODED {
            note_decoding(&mut self.decode_tok_s, output - 1, decoding.as_secs_f64());
        }
        let computed = usage.prompt_tokens.saturating_sub(usage.cached_tokens.max(run.believed_cached));
        if computed >= LEAST_PREFILLED {
            let step = self.decode_tok_s.map_or(0.0, |speed| 1.0 / speed);
            let prefilling = first_token.saturating_sub(run.waited).as_secs_f64();
            // Where a step of decoding takes as long as all of it, the estimate of the step is the worse of the two.
            let prefilling = if step < prefilling / 2.0 { prefilling - step } else { prefilling };
            note_reading(&mut self.prefill_tok_s, computed, prefilling);
        }
    }

    /// As [`note_run`](Self::note_run), from a run that was made to be measured: how long its answer was, says nothing of
    /// those that clients want.
    pub fn note_probe(&mut self, run: &Finished) {
        let output_tokens = self.output_tokens;
        self.note_run(run);
        self.output_tokens = output_tokens;
    }

    /// Learns from an answer in one piece: what is left of its time beside reading the prompt went into answering, or
    /// beside answering into reading, where there was little to answer.
    fn note_whole(&mut self, run: &Finished, usage: Usage) {
        let computed = usage.prompt_tokens.saturating_sub(usage.cached_tokens.max(run.believed_cached));
        let took = run.summary.total.saturating_sub(run.waited).as_secs_f64();
        if usage.completion_tokens < LEAST_DECODED {
            let answering = self.decode_tok_s.map_or(0.0, |speed| f64::from(usage.completion_tokens) / speed);
            if computed >= LEAST_PREFILLED && answering < took / 2.0 {
                note_reading(&mut self.prefill_tok_s, computed, took - answering);
            }
            return;
        }
        let reading = self.prefill_tok_s.map_or(0.0, |speed| f64::from(computed) / speed);
        let answering = took - reading;
        if answering > 0.0 {
            note_decoding(&mut self.decode_tok_s, usage.completion_tokens, answering);
        }
    }

    /// Learns from a load that ended well.
    pub fn note_load(&mut self, took: Duration) {
        blend(&mut self.load_s, took.as_secs_f64(), NEWEST);
    }

    /// Writes what is known into a report; what is not known stays as it is there.
    pub fn fill(&self, report: &mut ModelReport) {
        for (value, field) in [
            (self.prefill_tok_s, &mut report.prefill_tok_s),
            (self.decode_tok_s, &mut report.decode_tok_s),
            (self.load_s, &mut report.load_s),
            (self.output_tokens, &mut report.output_tokens),
        ] {
            *field = value.or(*field);
        }
    }
}

fn note_reading(mean: &mut Option<f64>, tokens: u32, seconds: f64) {
    note_speed(mean, tokens, seconds, f64::from(tokens) / PREFILL_HALF);
}

fn note_decoding(mean: &mut Option<f64>, tokens: u32, seconds: f64) {
    note_speed(mean, tokens, seconds, (f64::from(tokens) / DECODE_HALF).max(seconds / DECODE_HALF_S));
}

/// After `halves` of 1, the old speed and this one weigh the same.
fn note_speed(mean: &mut Option<f64>, tokens: u32, seconds: f64, halves: f64) {
    // Frames that were waiting in a socket come all at once; a microsecond per token is no engine.
    if seconds < f64::from(tokens) * 1e-6 {
        return;
    }
    let speed = f64::from(tokens) / seconds;
    let speed = mean.map_or(speed, |mean| speed.clamp(mean / MOST_FALL, mean * MOST_RISE));
    blend(mean, speed, 1.0 - 0.5_f64.powf(halves));
}

fn blend(mean: &mut Option<f64>, value: f64, weight: f64) {
    *mean = Some(mean.map_or(value, |mean| mean + (value - mean) * weight));
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Finish;
    use proptest::prelude::*;

    fn run(prompt: u32, output: u32, first_ms: u64, total_ms: u64) -> Finished {
        let usage = Some(Usage { prompt_tokens: prompt, completion_tokens: output, cached_tokens: 0 });
        let (first, total) = (Duration::from_millis(first_ms), Duration::from_millis(total_ms));
        let summary = RunSummary { usage, first_token: Some(first), total, finish: Some(Finish::Stop) };
        Finished { summary, is_streamed: true, waited: Duration::ZERO, believed_cached: 0 }
    }

    fn learned(runs: &[Finished]) -> Rates {
        let mut rates = Rates::default();
        runs.iter().for_each(|run| rates.note_run(run));
        rates
    }

    #[test]
    fn an_answer_in_one_piece_tells_how_fast_it_was_written() {
        let whole = Finished { is_streamed: false, ..run(10, 100, 0, 2_000) };
        let speed = learned(&[whole]).decode_tok_s.unwrap();
        assert!((speed - 50.0).abs() < 1.0, "{speed}");
        assert_eq!(learned(&[Finished { is_streamed: false, ..run(10, 3, 0, 2_000) }]).decode_tok_s, None);
    }

    #[test]
    fn a_word_in_one_piece_tells_how_fast_the_prompt_was_read() {
        let word = Finished { is_streamed: false, ..run(100, 1, 0, 500) };
        assert_eq!(learned(&[word]).prefill_tok_s, Some(200.0));
        // Where writing the word takes all the time, it says nothing about reading.
        let slow_writer = Finished { is_streamed: false, ..run(100, 20, 0, 2_000) };
        assert_eq!(learned(&[slow_writer, word]).decode_tok_s, Some(10.0));
        assert_eq!(learned(&[slow_writer, Finished { is_streamed: false, ..run(100, 5, 0, 500) }]).prefill_tok_s, None);
    }

    #[test]
    fn a_word_weighs_no_more_than_its_prompt_is_long() {
        let word = Finished { is_streamed: false, ..run(100, 1, 0, 500) };
        let prefill_tok_s = learned(&[run(4096, 1, 2048, 2048), word]).prefill_tok_s.unwrap();
        assert!(prefill_tok_s > 1900.0, "{prefill_tok_s}");
    }

    #[test]
    fn first_run_sets_both_speeds() {
        let rates = learned(&[run(1000, 101, 500, 2500)]);
        assert_eq!((rates.decode_tok_s, rates.output_tokens), (Some(50.0), Some(101.0)));
        // 500 ms hold the prompt and the first step of 20 ms.
        assert_eq!(rates.prefill_tok_s.map(f64::round), Some(2083.0));
    }

    #[test]
    fn tiny_runs_say_nothing_about_speed() {
        let before = learned(&[run(1000, 101, 500, 2500)]);
        let mut after = before;
        after.note_run(&run(3, 1, 400, 401));
        assert_eq!((after.decode_tok_s, after.prefill_tok_s), (before.decode_tok_s, before.prefill_tok_s));
        assert!(after.output_tokens < before.output_tokens);
    }

    #[test]
    fn waiting_and_cached_prompt_are_left_out() {
        let waited = Finished { waited: Duration::from_millis(9500), ..run(1000, 1, 10_000, 10_000) };
        assert_eq!(learned(&[waited]).prefill_tok_s, Some(2000.0));
        let cached = Finished { believed_cached: 990, ..run(1000, 1, 20, 20) };
        assert_eq!(learned(&[cached]).prefill_tok_s, None);
    }

    #[test]
    fn cut_run_says_nothing_about_length() {
        let mut cut = run(1000, 50, 500, 1500);
        cut.summary.finish = None;
        assert_eq!(learned(&[cut]).output_tokens, None);
    }

    #[test]
    fn a_probe_says_nothing_about_length() {
        let mut rates = learned(&[run(1000, 101, 500, 2500)]);
        rates.note_probe(&run(1000, 9, 500, 2500));
        assert_eq!(rates.output_tokens, Some(101.0));
        assert!(rates.prefill_tok_s.unwrap() > 2083.0, "{rates:?}");
    }

    #[test]
    fn one_miracle_does_not_spoil_what_was_learned() {
        let rates = learned(&[run(4096, 1, 4096, 4096), run(4096, 1, 5, 5)]);
        assert!(rates.prefill_tok_s.unwrap() <= 1500.0, "{rates:?}");
    }

    #[test]
    fn an_engine_that_became_slow_is_known_as_slow_after_a_few_answers() {
        let mut rates = learned(&[run(10, 1001, 0, 10_000)]);
        let slow = run(10, 31, 0, 30_000);
        rates.note_run(&slow);
        assert!(rates.decode_tok_s.unwrap() > 50.0, "one stall is no slow engine: {rates:?}");
        (0..4).for_each(|_| rates.note_run(&slow));
        assert!(rates.decode_tok_s.unwrap() < 15.0, "{rates:?}");
    }

    #[test]
    fn report_keeps_what_is_not_known() {
        let mut rates = Rates::default();
        rates.note_load(Duration::from_secs(4));
        let mut report = ModelReport {
            name: String::new(),
            engine_name: String::new(),
            id: base::ModelId::from("m"),
            is_loaded: false,
            size_bytes: 0,
            memory_bytes: 0,
            context_tokens: 0,
            capabilities: Vec::new(),
            prefill_tok_s: Some(7.0),
            decode_tok_s: None,
            load_s: None,
            output_tokens: None,
            quarantined_s: None,
        };
        rates.fill(&mut report);
        assert_eq!((report.prefill_tok_s, report.load_s, report.decode_tok_s), (Some(7.0), Some(4.0), None));
    }

    proptest! {
        #[test]
        fn learned_speeds_stay_finite_and_positive(
            runs in prop::collection::vec((0..9000_u32, 0..3000_u32, 0..90_000_u64, 0..90_000_u64), 0..20),
        ) {
            let runs: Vec<Finished> = runs.into_iter().map(|(p, o, first, total)| run(p, o, first, total)).collect();
            let rates = learned(&runs);
            for value in [rates.prefill_tok_s, rates.decode_tok_s, rates.output_tokens].into_iter().flatten() {
                prop_assert!(value.is_finite() && value > 0.0, "{:?}", rates);
            }
        }
    }
}
