//! What is advised, from a house with a fast small model, a slow large one, a coder, an embedder and one that fails.

use base::{Code, Fault};

use super::*;

const GIB: u64 = 1 << 30;

fn place(worker: &str, model: &str, tier: &str, context_tokens: u32, memory: u64) -> Place {
    let word = if model.contains("embed") { "embedding" } else { "completion" };
    Place {
        model: model.into(),
        aliases: Vec::new(),
        tier: tier.into(),
        worker: worker.into(),
        engine_name: model.into(),
        capabilities: vec![word.into()],
        memory_bytes: memory * GIB,
        context_tokens,
    }
}

fn writes(place: Place, prefill: f64, decode: f64) -> Measured {
    let bucket = |tokens: u32, prefill: f64| BenchBucket {
        tokens,
        prompt_tokens: tokens - 3,
        runs: 3,
        prefill_tok_s: Some(prefill),
        decode_tok_s: Some(decode),
        first_token_s: Some(f64::from(tokens) / prefill),
        ..BenchBucket::default()
    };
    let buckets = vec![bucket(128, prefill / 2.0), bucket(512, prefill), bucket(2048, prefill)];
    Measured { buckets, ..Measured::new(place) }
}

/// What the snapshots show.
pub fn sample() -> Vec<Measured> {
    let mut large = writes(place("grey-area/ollama", "llama3.3:70b", "large", 32_768, 43), 150.0, 6.5);
    large.load_s = Some(21.4);
    let why = "reading it would take 55s, too near to limits.first_token or above";
    large.buckets.push(BenchBucket { tokens: 8192, left_out: why.into(), ..BenchBucket::default() });
    let vectors = BenchBucket {
        tokens: 512,
        prompt_tokens: 510,
        runs: 3,
        prefill_tok_s: Some(21_000.0),
        texts_s: Some(41.2),
        ..BenchBucket::default()
    };
    let embedder = Measured {
        buckets: vec![vectors],
        ..Measured::new(place("nas/ollama", "nomic-embed-text", "specialized", 2048, 0))
    };
    let failure = Fault::new(Code::EngineFailed, "engine `engine` could not load `gemma3:27b`: out of memory");
    let failed = Measured {
        failure: Some(failure.hint("free memory, or take a smaller quantisation")),
        ..Measured::new(place("nas/engine", "gemma3:27b", "large", 8192, 0))
    };
    vec![
        large,
        writes(place("grey-area/ollama", "llama3.1:8b", "standard", 8192, 6), 2100.0, 74.6),
        writes(place("nas/ollama", "llama3.1:8b", "standard", 8192, 6), 90.0, 9.1),
        writes(place("grey-area/ollama", "codellama:13b", "specialized", 4096, 9), 1200.0, 41.0),
        embedder,
        failed,
    ]
}

fn best<'a>(advice: &'a [Advice], work: &str) -> Option<(&'a str, &'a str)> {
    let one = advice.iter().find(|one| one.work == work).unwrap();
    one.best.as_ref().map(|best| (best.model.as_str(), best.worker.as_str()))
}

#[test]
fn the_highest_in_order_that_is_in_time_is_advised() {
    let advice = advise(&sample()).unwrap();
    assert_eq!(best(&advice, "quick answers"), Some(("llama3.1:8b", "grey-area/ollama")), "the large one is too slow");
    assert_eq!(best(&advice, "code"), Some(("codellama:13b", "grey-area/ollama")), "it is made for it");
    assert_eq!(best(&advice, "embeddings"), Some(("nomic-embed-text", "nas/ollama")));
    insta::assert_snapshot!("models_bench_advice", text(&advice, Style::default()));
}

#[test]
fn a_larger_model_is_advised_once_it_is_in_time() {
    let mut all = sample();
    for bucket in &mut all[0].buckets {
        bucket.decode_tok_s = Some(60.0);
        bucket.prefill_tok_s = Some(900.0);
    }
    assert_eq!(best(&advise(&all).unwrap(), "quick answers"), Some(("llama3.3:70b", "grey-area/ollama")));
}

#[test]
fn where_none_is_in_time_the_fastest_is_advised_and_said_to_be_late() {
    let only = [writes(place("nas/ollama", "llama3.3:70b", "large", 32_768, 43), 20.0, 0.5)];
    let advice = advise(&only).unwrap();
    let quick = advice.iter().find(|one| one.work == "quick answers").unwrap().best.as_ref().unwrap();
    assert!(!quick.is_in_time && quick.seconds > 200.0, "{quick:?}");
    assert!(text(&advice, Style::default()).contains("the fastest: none takes 3 s or less"));
}

#[test]
fn a_model_whose_context_is_too_short_is_advised_for_nothing_long() {
    let short = [writes(place("nas/ollama", "llama2:7b", "fast", 4096, 5), 2000.0, 90.0)];
    let advice = advise(&short).unwrap();
    assert_eq!(best(&advice, "conversation"), Some(("llama2:7b", "nas/ollama")));
    assert_eq!(best(&advice, "long documents"), None);
    assert_eq!(best(&advice, "embeddings"), None);
    insta::assert_snapshot!("models_bench_advice_none", text(&advice, Style::default()));
}

#[test]
fn an_engine_that_does_not_count_is_judged_by_its_first_token() {
    let mut silent = writes(place("nas/webui", "mistral:7b", "fast", 8192, 5), 1000.0, 50.0);
    silent.buckets.iter_mut().for_each(|bucket| bucket.prefill_tok_s = None);
    assert_eq!(reading(2048, &silent), Some(2.048));
    assert_eq!(reading(4096, &silent), Some(4.096), "beyond the longest in proportion");
}

#[test]
fn nothing_measured_advises_nothing() {
    let failed = &sample()[5..];
    assert!(advise(failed).unwrap().iter().all(|one| one.best.is_none()));
}
