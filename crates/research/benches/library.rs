//! What a whole library costs: documents taken in and indexed, questions over 100,000 chunks beside the words alone and
//! the vectors alone, an edit of one paragraph, a second look at what is there, and the memory of it all.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and may stop at the first fault"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::{BoxFuture, Fault, NodeId, Result};
use extract::child::Reader;
use research::knowledge::{Mode, Search};
use research::library::{Library, Parts};
use research::models::{Embedded, Embedder, Embeds, Models, Prompt, Reply};
use research::neighbours::Nobody;
use research::{CollectionName, Knowledge, NewDocument};
use store::{SharedStore, SledStore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const DIMS: usize = 384;
/// Chunks of the large library.
const CHUNKS: u64 = 100_000;
const DOCUMENT_PARAGRAPHS: usize = 60;
const BATCH: usize = 32;
const QUESTIONS: usize = 200;

/// Vectors by the words of a text, so that texts about the same are near: no model, but the same work around it.
#[derive(Default)]
struct ByWords {
    embedded: AtomicU64,
}

impl Models for ByWords {
    fn embedder(&self, _: Option<&str>) -> Embeds {
        Embeds::with("by-words")
    }

    fn embed<'a>(&'a self, model: &'a str, texts: Vec<String>) -> BoxFuture<'a, Result<Embedded>> {
        self.embedded.fetch_add(texts.len() as u64, Ordering::Relaxed);
        let vectors = texts.iter().map(|text| vector_of(text)).collect();
        let by = Embedder { model: model.to_owned(), dims: DIMS as u32 };
        Box::pin(std::future::ready(Ok(Embedded { by, vectors })))
    }

    fn ask(&self, _: Prompt) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(std::future::ready(Err(Fault::unavailable("nobody writes in a bench"))))
    }

    fn rerank<'a>(&'a self, _: &'a str, _: Vec<String>) -> BoxFuture<'a, Result<Option<Vec<f32>>>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

fn vector_of(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0f32; DIMS];
    for word in text.split_whitespace() {
        let mut random = fastrand::Rng::with_seed(word.bytes().fold(7, |sum, byte| sum * 31 + u64::from(byte)));
        for _ in 0..8 {
            vector[random.usize(..DIMS)] += random.f32() - 0.5;
        }
    }
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt().max(1e-6);
    vector.iter_mut().for_each(|number| *number /= length);
    vector
}

/// Words that are as frequent as in a language: few often, many seldom.
struct Words(Vec<String>);

impl Words {
    fn new(random: &mut fastrand::Rng) -> Self {
        let letters = "etaoinshrdlucmfwypvbgk".as_bytes();
        let word = |random: &mut fastrand::Rng| {
            let length = 3 + random.usize(..7);
            (0..length).map(|_| char::from(letters[random.usize(..letters.len())])).collect()
        };
        Self((0..30_000).map(|_| word(random)).collect())
    }

    fn one(&self, random: &mut fastrand::Rng) -> &str {
        let place = (self.0.len() as f64).powf(random.f64()) as usize;
        &self.0[place.min(self.0.len() - 1)]
    }

    fn paragraph(&self, random: &mut fastrand::Rng) -> String {
        let mut text = String::new();
        for _ in 0..4 + random.usize(..6) {
            for at in 0..8 + random.usize(..12) {
                text.push_str(if at == 0 { "The " } else { " " });
                text.push_str(self.one(random));
            }
            text.push_str(". ");
        }
        text
    }

    fn document(&self, random: &mut fastrand::Rng, paragraphs: usize) -> String {
        (0..paragraphs).fold(String::new(), |text, at| {
            let heading =
                if at % 12 == 0 { format!("## Part {at} of {}\n\n", self.one(random)) } else { String::new() };
            text + &heading + &self.paragraph(random) + "\n\n"
        })
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let mut random = fastrand::Rng::with_seed(11);
    let words = Words::new(&mut random);
    let dir = tempfile::tempdir().unwrap();
    let models = Arc::new(ByWords::default());
    let library = Arc::new(open(dir.path(), models.clone()));
    let (stop, loops) = (CancellationToken::new(), TaskTracker::new());
    let (indexed, stops) = (library.clone(), stop.clone());
    loops.spawn(async move { stops.run_until_cancelled(indexed.keep_index()).await });
    take_in(&library, &words, &mut random).await;
    let (writer, filler) = (library.clone(), library.clone());
    let (stops, stops_too) = (stop.clone(), stop.clone());
    loops.spawn(async move { writer.keep_writing(Duration::from_secs(5), stops).await });
    loops.spawn(async move { filler.keep_vectors(stops_too).await });
    embed(&library).await;
    println!("resident: {:.0} MB", resident_mb());
    ask(&library, &words, &mut random).await;
    edit(&library, &models, &words, &mut random).await;
    stop.cancel();
    loops.close();
    loops.wait().await;
    drop(library);
    let start = Instant::now();
    let library = open(dir.path(), models);
    let opened = start.elapsed();
    let first = async {
        while library.search(search("the first", Mode::Text)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        start.elapsed()
    };
    tokio::select! {
        first = first => println!("opened in {:.0} ms, answers after {:.0} ms", ms(opened), ms(first)),
        _ = library.keep_index() => unreachable!("the store is open"),
    }
}

fn open(dir: &Path, models: Arc<ByWords>) -> Library {
    // The one before may be about to let go of its lock.
    let store = std::iter::repeat_with(|| SledStore::open(&dir.join("store")))
        .take(500)
        .find_map(|opened| opened.inspect_err(|_| std::thread::sleep(Duration::from_millis(10))).ok());
    let store: SharedStore = Arc::new(store.unwrap().store);
    let reader = Reader::new("false".into(), Vec::new(), 4);
    let (node, neighbours) = (NodeId::new("bench"), Arc::new(Nobody));
    Library::open(Parts { node, dir: dir.join("research"), store, reader, models, neighbours, server: None }).unwrap()
}

/// Documents of some twenty chunks each, until there are enough; the time until all are found.
async fn take_in(library: &Library, words: &Words, random: &mut fastrand::Rng) {
    let house = CollectionName::parse("house").unwrap();
    let mut spent = Duration::ZERO;
    let (mut number, mut bytes) = (0, 0);
    while library.report().chunks < CHUNKS {
        let documents: Vec<NewDocument> = (0..BATCH)
            .map(|_| {
                number += 1;
                let text = words.document(random, DOCUMENT_PARAGRAPHS);
                bytes += text.len();
                NewDocument { source: format!("file:/d/{number}.md"), bytes: text.into(), ..NewDocument::default() }
            })
            .collect();
        let start = Instant::now();
        library.add(house.clone(), documents).await.unwrap();
        spent += start.elapsed();
    }
    let start = Instant::now();
    while library.report().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    spent += start.elapsed();
    let chunks = library.report().chunks as f64;
    println!(
        "taken in, kept, indexed: {number} documents, {:.0} MB, {chunks} chunks in {:.1} s: {:.0} chunks/s, {:.1} MB/s",
        bytes as f64 / 1e6,
        spent.as_secs_f64(),
        chunks / spent.as_secs_f64(),
        bytes as f64 / 1e6 / spent.as_secs_f64(),
    );
}

async fn embed(library: &Library) {
    let start = Instant::now();
    loop {
        let view = library.collections().await.unwrap();
        if view.iter().all(|one| one.embedded >= one.chunks) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let vectors = library.report().embedded;
    println!(
        "{vectors} vectors made and kept in {:.1} s (the model itself costs next to nothing here)",
        start.elapsed().as_secs_f64()
    );
}

async fn ask(library: &Library, words: &Words, random: &mut fastrand::Rng) {
    let questions: Vec<String> =
        (0..QUESTIONS).map(|_| (0..5).map(|_| words.one(random)).collect::<Vec<_>>().join(" ")).collect();
    for (name, mode) in
        [("words and vectors", Mode::Hybrid), ("words alone", Mode::Text), ("vectors alone", Mode::Dense)]
    {
        let mut times = Vec::new();
        for question in &questions {
            let start = Instant::now();
            let found = library.search(search(question, mode)).await.unwrap();
            times.push(ms(start.elapsed()));
            assert!(!found.hits.is_empty());
        }
        times.sort_by(f64::total_cmp);
        println!(
            "ten hits of {} chunks by {name}: p50 {:.1} ms, p99 {:.1} ms",
            library.report().chunks,
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
}

/// One paragraph of a document of a thousand chunks, then everything once more as it is.
async fn edit(library: &Library, models: &ByWords, words: &Words, random: &mut fastrand::Rng) {
    let house = CollectionName::parse("house").unwrap();
    let paragraphs: Vec<String> = (0..1_000).map(|_| words.paragraph(random)).collect();
    let long = |paragraphs: &[String]| {
        let bytes = paragraphs.join("\n\n").into();
        vec![NewDocument { source: "file:/long.md".into(), bytes, ..NewDocument::default() }]
    };
    let before = library.report().chunks;
    library.add(house.clone(), long(&paragraphs)).await.unwrap();
    embed(library).await;
    let (chunks, embedded) = (library.report().chunks - before, models.embedded.load(Ordering::Relaxed));
    let mut edited = paragraphs.clone();
    edited[500] = "The xylophone of the zeppelin was tuned anew.".to_owned();
    let start = Instant::now();
    library.add(house.clone(), long(&edited)).await.unwrap();
    while library.search(search("xylophone zeppelin", Mode::Text)).await.unwrap().hits.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let visible = start.elapsed();
    embed(library).await;
    let again = models.embedded.load(Ordering::Relaxed) - embedded;
    // The question of a search by words is not embedded; what is left is of the edit.
    println!("one paragraph of {chunks} chunks changed: found after {:.0} ms, {again} parts embedded", ms(visible));
    let start = Instant::now();
    let added = library.add(house, long(&edited)).await.unwrap();
    println!(
        "the same again: {:?} after {:.0} ms, {} embedded",
        added[0].outcome,
        ms(start.elapsed()),
        models.embedded.load(Ordering::Relaxed) - embedded - again
    );
}

fn search(question: &str, mode: Mode) -> Search {
    Search { question: question.to_owned(), mode, ..Search::default() }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1e3
}
