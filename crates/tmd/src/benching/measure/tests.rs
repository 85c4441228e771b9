//! Lengths, texts, speeds and medians.

use base::Usage;
use proptest::prelude::*;

use super::*;

fn summary(prompt: u32, cached: u32, written: u32, first_ms: u64, total_ms: u64) -> RunSummary {
    let usage = Some(Usage { prompt_tokens: prompt, completion_tokens: written, cached_tokens: cached });
    let (first, total) = (Duration::from_millis(first_ms), Duration::from_millis(total_ms));
    RunSummary { usage, first_token: Some(first), total, finish: None }
}

fn bucket(tokens: u32, prefill_tok_s: f64, decode_tok_s: f64) -> Bucket {
    Bucket {
        tokens,
        prefill_tok_s: Some(prefill_tok_s),
        decode_tok_s: Some(decode_tok_s),
        runs: 3,
        ..Bucket::default()
    }
}

#[test]
fn prompts_fit_the_context_with_the_answer() {
    for (used, context, answer, wanted) in [
        (Use::Writes, 32_768, 64, &[128_u32, 512, 2048, 8192] as &[u32]),
        (Use::Writes, 8192, 64, &[128, 512, 2048]),
        (Use::Writes, 0, 64, &[128, 512, 2048]),
        (Use::Writes, 1024, 512, &[128]),
        (Use::Writes, 256, 64, &[96]),
        (Use::Writes, 64, 64, &[]),
        (Use::Embeds, 512, 64, &[128]),
        (Use::Embeds, 8192, 64, &[128, 512, 2048]),
    ] {
        assert_eq!(buckets(used, context, answer), wanted, "{used:?} {context} {answer}");
    }
}

#[test]
fn an_embedder_gets_fewer_texts_when_they_are_long() {
    assert_eq!([128, 512, 2048, 8192, 0].map(texts), [16, 8, 2, 1, 16]);
}

#[test]
fn three_asks_are_enough_and_fewer_when_they_are_slow() {
    let seconds = Duration::from_secs;
    assert!(!is_enough(0, seconds(0)));
    assert!(!is_enough(2, seconds(1)));
    assert!(is_enough(3, seconds(1)));
    assert!(is_enough(1, seconds(11)), "the next would end behind the limit");
}

#[test]
fn a_prompt_that_would_run_into_the_limit_is_left_out() {
    let last = bucket(512, 100.0, 10.0);
    let limit = Duration::from_secs(60);
    assert_eq!(is_too_long(2048, Some(&last), limit), None);
    assert_eq!(is_too_long(8192, Some(&last), limit).map(|left| left.as_secs()), Some(81));
    assert_eq!(is_too_long(8192, None, limit), None, "nothing is known");
}

#[test]
fn speeds_are_of_what_was_computed() {
    // 1000 of 1100 tokens are read in 500 ms, which end with the first step; 100 further steps take two seconds.
    let sample = Sample::of_answer(&summary(1100, 100, 101, 520, 2520));
    assert_eq!(sample.decode_tok_s, Some(50.0));
    assert_eq!(sample.prefill_tok_s.map(f64::round), Some(2000.0));
    assert_eq!(sample.prompt_tokens, Some(1100.0));
    let short = Sample::of_answer(&summary(1100, 100, 3, 500, 600));
    assert_eq!((short.decode_tok_s, short.prefill_tok_s), (None, Some(2000.0)));
}

#[test]
fn an_engine_that_does_not_count_still_tells_its_first_token() {
    let silent = RunSummary { usage: None, ..summary(0, 0, 0, 250, 900) };
    let sample = Sample::of_answer(&silent);
    assert_eq!((sample.first_token_s, sample.prefill_tok_s), (Some(0.25), None));
}

#[test]
fn vectors_are_counted_by_texts() {
    let sample = Sample::of_vectors(&summary(1024, 0, 0, 0, 500), 8);
    assert_eq!((sample.texts_s, sample.prefill_tok_s, sample.prompt_tokens), (Some(16.0), Some(2048.0), Some(128.0)));
}

#[test]
fn the_middle_one_stands_for_all() {
    assert_eq!(median(vec![]), None);
    assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(vec![4.0, 1.0, 9.0, 2.0]), Some(3.0));
    let samples = [120, 1000, 100].map(|total| Sample::of_vectors(&summary(128, 0, 0, 0, total), 1));
    let bucket = Bucket::of(128, &samples);
    assert_eq!((bucket.runs, bucket.texts_s.map(f64::round)), (3, Some(8.0)));
}

#[test]
fn a_worker_begins_with_the_middle_of_what_was_measured() {
    let mut measured = Measured { load_s: Some(4.0), ..Measured::default() };
    for (tokens, prefill) in [(2048, 800.0), (128, 400.0), (512, 900.0), (512, 1000.0)] {
        measured.put(bucket(tokens, prefill, 50.0));
    }
    assert_eq!(measured.buckets.iter().map(|bucket| bucket.tokens).collect::<Vec<_>>(), [128, 512, 2048]);
    let rates = measured.rates();
    assert_eq!((rates.prefill_tok_s, rates.decode_tok_s, rates.load_s), (Some(800.0), Some(50.0), Some(4.0)));
    let junk = Measured { load_s: Some(f64::NAN), buckets: vec![bucket(128, 0.0, f64::INFINITY)], at_ms: 0 };
    assert_eq!(junk.rates(), Rates::default());
}

proptest! {
    #[test]
    fn two_texts_differ_from_their_first_bytes_on(one: u64, other: u64, bytes in 0..20_000_usize) {
        prop_assume!(one != other);
        let (first, second) = (prompt(one, bytes), prompt(other, bytes));
        prop_assert_ne!(first.get(..16), second.get(..16));
        prop_assert!(first.len() >= bytes && first.len() < bytes + 80, "{} of {}", first.len(), bytes);
        prop_assert_eq!(&first, &prompt(one, bytes));
    }
}
