//! The queue beside an embedder that fails in the ways of real ones.

use std::collections::BTreeMap;
use std::sync::Mutex;

use base::BoxFuture;
use futures_util::stream;
use tempfile::TempDir;

use super::*;
use crate::models::{Embedder, Embeds, Prompt, Reply};

/// An embedder whose vectors are made of the first bytes of a text.
#[derive(Default)]
struct Engine {
    /// What it answers instead, call by call, before it works.
    faults: Mutex<VecDeque<Fault>>,
    /// The most bytes of a text, and the code with which it refuses a longer one.
    limit: Option<(usize, Code)>,
    /// How many texts each call had.
    calls: Mutex<Vec<usize>>,
    /// What it calls itself; empty: as it is asked.
    name: String,
    /// How many numbers it says that it gives; 0: as many as it gives.
    dims: u32,
}

fn vector(text: &str) -> Vec<f32> {
    match text {
        "nothing" => vec![0.0; 4],
        _ => [1, 2, 3, 5].map(|place| f32::from(text.as_bytes()[place % text.len()])).to_vec(),
    }
}

impl Models for Engine {
    fn embedder(&self, _: Option<&str>) -> Embeds {
        Embeds::with("minilm")
    }

    fn embed<'a>(&'a self, model: &'a str, texts: Vec<String>) -> BoxFuture<'a, Result<Embedded>> {
        self.calls.lock().unwrap().push(texts.len());
        let fault = self.faults.lock().unwrap().pop_front();
        let fault = fault.or_else(|| {
            let (bytes, code) = self.limit?;
            texts.iter().any(|text| text.len() > bytes).then(|| Fault::new(code, "the input is too long"))
        });
        let name = if self.name.is_empty() { model } else { &self.name };
        let by = Embedder { model: name.to_owned(), dims: if self.dims == 0 { 4 } else { self.dims } };
        let vectors = texts.iter().map(|text| vector(text)).collect();
        Box::pin(std::future::ready(fault.map_or(Ok(Embedded { by, vectors }), Err)))
    }

    fn ask(&self, _: Prompt) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(std::future::ready(Err(Fault::unavailable("nobody answers questions"))))
    }

    fn rerank<'a>(&'a self, _: &'a str, _: Vec<String>) -> BoxFuture<'a, Result<Option<Vec<f32>>>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

struct Bed {
    vectors: Vectors,
    stop: CancellationToken,
    _dir: TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let by = Embedder { model: "minilm".to_owned(), dims: 4 };
        let vectors = Vectors::open(&dir.path().join("minilm"), by).unwrap();
        Self { vectors, stop: CancellationToken::new(), _dir: dir }
    }

    async fn fill(&self, engine: &Engine, texts: &[&str]) -> Result<()> {
        let wanted = stream::iter(texts.iter().map(|text| (hash(text), (*text).to_owned())));
        fill(engine, &self.vectors, wanted, &self.stop).await
    }

    /// Each text with its vector's row, or the reason why it has none.
    fn without(&self, texts: &[&str]) -> BTreeMap<String, Option<String>> {
        let snapshot = self.vectors.snapshot();
        let without = texts.iter().filter(|text| !snapshot.contains(&hash(text)));
        without.map(|text| ((*text).to_owned(), snapshot.refused(&hash(text)).map(str::to_owned))).collect()
    }
}

fn hash(text: &str) -> ChunkHash {
    ChunkHash::of("", text)
}

fn calls(engine: &Engine) -> Vec<usize> {
    engine.calls.lock().unwrap().clone()
}

#[test]
fn what_is_done_about_a_fault_depends_on_whose_it_is() {
    let table = [
        (Code::Unavailable, 32, 9, Next::Wait),
        (Code::ModelNotFound, 1, 9, Next::Wait),
        (Code::Overloaded, 1, 9, Next::Wait),
        (Code::ContextExceeded, 2, 1, Next::Halve),
        (Code::ContextExceeded, 1, 1, Next::Refuse),
        (Code::InvalidArgument, 2, 1, Next::Halve),
        (Code::InvalidArgument, 1, 1, Next::Suspect),
        (Code::EngineFailed, 32, 2, Next::Wait),
        (Code::EngineFailed, 32, 3, Next::Halve),
        (Code::EngineFailed, 1, 3, Next::Suspect),
        (Code::PermissionDenied, 32, 1, Next::End),
        (Code::Internal, 1, 1, Next::End),
    ];
    for (code, texts, times, next) in table {
        assert_eq!(after(code, texts, times), next, "{code} at {texts} texts, {times} times");
    }
}

#[tokio::test]
async fn every_text_gets_its_own_vector_in_batches_and_none_twice() {
    let (bed, engine) = (Bed::new(), Engine::default());
    let texts: Vec<String> = (0..70).map(|number| format!("text {number}")).collect();
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.push("text 69");
    bed.fill(&engine, &texts).await.unwrap();
    assert_eq!(calls(&engine), [32, 32, 6]);
    let snapshot = bed.vectors.snapshot();
    for text in &texts {
        let found = snapshot.vector(snapshot.row(&hash(text)).unwrap()).unwrap();
        assert_eq!(found, unit(&vector(text), 4).unwrap());
    }
    assert_eq!(snapshot.len(), 70);
    bed.fill(&engine, &texts).await.unwrap();
    assert_eq!(calls(&engine), [32, 32, 6]);
}

#[tokio::test]
async fn long_texts_go_in_smaller_batches() {
    let (bed, engine) = (Bed::new(), Engine::default());
    let texts: Vec<String> = (0..5).map(|number| format!("{number}").repeat(10_000)).collect();
    let longest = "x".repeat(3 * MOST_BYTES);
    let texts: Vec<&str> = texts.iter().map(String::as_str).chain([longest.as_str()]).collect();
    bed.fill(&engine, &texts).await.unwrap();
    assert_eq!(calls(&engine), [2, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_refused_costs_its_neighbours_nothing_and_is_not_asked_again() {
    for code in [Code::ContextExceeded, Code::InvalidArgument, Code::EngineFailed] {
        let bed = Bed::new();
        let engine = Engine { limit: Some((20, code)), ..Engine::default() };
        let texts = ["one", "two", "a text that is far too long for it", "three", "four"];
        bed.fill(&engine, &texts).await.unwrap();
        let reason = Some("the input is too long".to_owned());
        assert_eq!(bed.without(&texts), BTreeMap::from([(texts[2].to_owned(), reason)]), "{code}");
        assert_eq!((bed.vectors.snapshot().len(), bed.vectors.snapshot().refusals()), (4, 1));
        let before = calls(&engine).len();
        bed.fill(&engine, &texts).await.unwrap();
        assert_eq!(calls(&engine).len(), before, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_embedder_that_is_broken_makes_no_text_refused() {
    let bed = Bed::new();
    let texts = ["one", "two"];
    let broken = Engine { limit: Some((0, Code::EngineFailed)), ..Engine::default() };
    let start = tokio::time::Instant::now();
    let fault = bed.fill(&broken, &texts).await.unwrap_err();
    assert!(start.elapsed() > Duration::from_secs(1), "it should wait first");
    assert_eq!((fault.code, fault.full_message()), (Code::EngineFailed, "the input is too long".to_owned()));
    let no_embedder = Engine { limit: Some((0, Code::InvalidArgument)), ..Engine::default() };
    assert_eq!(bed.fill(&no_embedder, &texts).await.unwrap_err().code, Code::InvalidArgument);
    assert_eq!(bed.without(&texts), texts.map(|text| (text.to_owned(), None)).into());
}

#[tokio::test(start_paused = true)]
async fn an_embedder_that_is_away_is_waited_for() {
    let bed = Bed::new();
    let away = || Fault::unavailable("the embedder is away");
    let later = || away().retry_after(Duration::from_secs(5));
    let engine = Engine { faults: Mutex::new([away(), later(), away()].into()), ..Engine::default() };
    let start = tokio::time::Instant::now();
    bed.fill(&engine, &["one", "two"]).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(5) && start.elapsed() < Duration::from_secs(8));
    assert_eq!(calls(&engine), [2, 2, 2, 2]);
    assert_eq!(bed.vectors.snapshot().len(), 2);
}

#[tokio::test]
async fn a_model_that_became_another_one_under_its_name_is_a_fault_and_adds_nothing() {
    let bed = Bed::new();
    let other = |name: &str, dims| Engine { name: name.to_owned(), dims, ..Engine::default() };
    for engine in [other("minilm:v2", 4), other("minilm", 8)] {
        let fault = bed.fill(&engine, &["one"]).await.unwrap_err();
        assert_eq!(fault.code, Code::Conflict, "{fault:?}");
    }
    assert!(bed.vectors.snapshot().is_empty());
}

#[tokio::test]
async fn a_vector_that_points_nowhere_is_a_refusal_of_its_text_alone() {
    let (bed, engine) = (Bed::new(), Engine::default());
    bed.fill(&engine, &["one", "nothing", "two"]).await.unwrap();
    let reason = bed.without(&["one", "nothing", "two"]).remove("nothing").unwrap().unwrap();
    insta::assert_snapshot!(
        reason,
        @"the vector that the embedder gave is none: all its numbers are 0, so that it points nowhere"
    );
    assert_eq!(bed.vectors.snapshot().len(), 2);
}

#[tokio::test]
async fn it_stops_when_it_is_told_to() {
    let (bed, engine) = (Bed::new(), Engine::default());
    let (stop, vectors) = (bed.stop.clone(), bed.vectors.clone());
    let endless = stream::iter(0_u64..).map(move |number| {
        if vectors.snapshot().len() > 100 {
            stop.cancel();
        }
        (hash(&number.to_string()), number.to_string())
    });
    fill(&engine, &bed.vectors, endless, &bed.stop).await.unwrap();
    assert!(bed.vectors.snapshot().len() > 100);
}

#[tokio::test]
async fn a_text_that_comes_alone_does_not_wait_for_a_full_batch() {
    let (bed, engine) = (Bed::new(), Engine::default());
    let first = stream::iter([(hash("one"), "one".to_owned())]);
    let wanted = first.chain(stream::pending());
    let added = async {
        while bed.vectors.snapshot().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        filled = fill(&engine, &bed.vectors, wanted, &bed.stop) => panic!("the stream has no end: {filled:?}"),
        () = added => {}
    }
}

#[tokio::test]
async fn texts_that_have_to_be_read_first_still_go_together() {
    let (bed, engine) = (Bed::new(), Engine::default());
    let texts = (0..70).map(|number| format!("text {number}"));
    let read = stream::iter(texts).then(|text| async move {
        tokio::task::yield_now().await;
        (hash(&text), text)
    });
    fill(&engine, &bed.vectors, Box::pin(read), &bed.stop).await.unwrap();
    assert_eq!(calls(&engine), [32, 32, 6]);
}

#[tokio::test(start_paused = true)]
async fn an_embedder_that_is_gone_is_told_of_after_a_few_tries() {
    for gone in [Code::Unavailable, Code::ModelNotFound, Code::EngineFailed] {
        let bed = Bed::new();
        let engine = Engine { limit: Some((0, gone)), ..Engine::default() };
        let filled = tokio::time::timeout(Duration::from_secs(60), bed.fill(&engine, &["one"])).await;
        assert_eq!(filled.expect("it should end").unwrap_err().code, gone);
        assert_eq!(bed.without(&["one"]), [("one".to_owned(), None)].into());
    }
}
