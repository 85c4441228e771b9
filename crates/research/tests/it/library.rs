//! Libraries on real stores and real disks: as many as a test wants on one store, with models that follow a script and
//! neighbours that call each other.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base::{BoxFuture, Fault, NodeId, Result};
use bytes::Bytes;
use extract::child::Reader;
use research::filter::Filter;
use research::knowledge::{Added, Found, Mode, Search, Which};
use research::library::{Library, Parts};
use research::models::{Embedded, Embedder, Embeds, Models, Prompt, Reply};
use research::names::BlobId;
use research::neighbours::{Neighbours, VectorsOf};
use research::shelf::{self, Known};
use research::{ChunkHash, CollectionName, DocId, Knowledge, NewDocument};
use store::{SharedStore, SledStore};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What a test waits for takes no longer.
pub const SOON: Duration = Duration::from_secs(30);
/// How long nobody writes after a writer has died.
pub const LEASE: Duration = Duration::from_secs(1);
pub const DIMS: u32 = 24;
pub const MODEL: &str = "scripted";

/// A model that embeds by a hash, and counts what it embedded.
#[derive(Default)]
pub struct Scripted {
    pub texts: AtomicUsize,
    /// Who embeds, where a test says so.
    pub embeds: std::sync::Mutex<Option<Embeds>>,
    /// Who waits gets a number too few in each vector.
    pub is_short_for_who_waits: AtomicBool,
}

/// The vector of a text.
pub fn vector(text: &str) -> Vec<f32> {
    let mut random =
        fastrand::Rng::with_seed(u64::from_le_bytes(BlobId::of(text.as_bytes()).0[..8].try_into().unwrap()));
    (0..DIMS).map(|_| random.f32() - 0.5).collect()
}

impl Models for Scripted {
    fn embedder(&self, _: Option<&str>) -> Embeds {
        self.embeds.lock().unwrap().clone().unwrap_or_else(|| Embeds::with(MODEL))
    }

    fn embed<'a>(&'a self, model: &'a str, texts: Vec<String>) -> BoxFuture<'a, Result<Embedded>> {
        // Questions end so, and those about the model itself.
        self.texts.fetch_add(texts.iter().filter(|text| !text.ends_with('?')).count(), Ordering::SeqCst);
        let vectors = texts.iter().map(|text| vector(text)).collect();
        Box::pin(std::future::ready(Ok(Embedded { by: Embedder { model: model.to_owned(), dims: DIMS }, vectors })))
    }

    fn embed_now<'a>(&'a self, model: &'a str, texts: Vec<String>) -> BoxFuture<'a, Result<Embedded>> {
        Box::pin(async move {
            let mut embedded = self.embed(model, texts).await?;
            if self.is_short_for_who_waits.load(Ordering::SeqCst) {
                for vector in &mut embedded.vectors {
                    vector.pop();
                }
            }
            Ok(embedded)
        })
    }

    fn ask(&self, _: Prompt) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(std::future::ready(Err(Fault::unavailable("nobody writes here"))))
    }

    fn rerank<'a>(&'a self, _: &'a str, _: Vec<String>) -> BoxFuture<'a, Result<Option<Vec<f32>>>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// The other libraries of a test.
#[derive(Default)]
pub struct Beside {
    others: std::sync::Mutex<Vec<std::sync::Weak<Library>>>,
    /// They are asked for files and say nothing.
    pub hangs: AtomicBool,
}

impl Beside {
    fn others(&self) -> Vec<Arc<Library>> {
        self.others.lock().unwrap().iter().filter_map(std::sync::Weak::upgrade).collect()
    }
}

impl Neighbours for Beside {
    fn keep(&self, files: Vec<Bytes>) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move {
            let Some(other) = self.others().pop() else { return Ok(false) };
            for file in files {
                other.keep_file(file).await?;
            }
            Ok(true)
        })
    }

    fn fetch(&self, id: BlobId) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(async move {
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            for other in self.others() {
                if let Some(file) = other.file(id).await? {
                    return Ok(Some(file));
                }
            }
            Ok(None)
        })
    }

    fn holders(&self) -> Vec<(String, String, base::report::ResearchReport)> {
        Vec::new()
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn vectors<'a>(&'a self, by: &'a Embedder, of: Vec<ChunkHash>) -> BoxFuture<'a, Result<VectorsOf>> {
        Box::pin(async move {
            let mut found = Vec::new();
            for other in self.others() {
                found.extend(other.vectors_of(by, &of).await?);
            }
            Ok(found)
        })
    }
}

/// A library at work. Dropping it ends it as the end of its process would, without a word to the store.
pub struct Place {
    pub library: Arc<Library>,
    pub models: Arc<Scripted>,
    pub beside: Arc<Beside>,
    pub stop: CancellationToken,
    loops: JoinSet<()>,
}

impl Place {
    /// Opens a library, which does nothing yet.
    pub async fn open(name: &str, dir: &Path, store: SharedStore) -> Self {
        let (models, beside) = (Arc::new(Scripted::default()), Arc::new(Beside::default()));
        let started = Instant::now();
        let library = loop {
            let parts = Parts {
                node: NodeId::new(name),
                dir: dir.to_owned(),
                store: store.clone(),
                reader: Reader::new("none".into(), Vec::new(), 4),
                models: models.clone(),
                neighbours: beside.clone(),
                server: None,
            };
            // What was open in this process lets go when its last thread has ended.
            match Library::open(parts) {
                Ok(library) => break Arc::new(library),
                Err(fault) => assert!(started.elapsed() < SOON, "{fault:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self { library, models, beside, stop: CancellationToken::new(), loops: JoinSet::new() }
    }

    /// Opens a library that does everything a node's does.
    pub async fn start(name: &str, dir: &Path, store: SharedStore) -> Self {
        Self::open(name, dir, store).await.indexing().embedding().writing()
    }

    pub fn indexing(mut self) -> Self {
        let library = self.library.clone();
        self.loops.spawn(async move {
            library.keep_index().await.unwrap();
        });
        self
    }

    pub fn embedding(mut self) -> Self {
        let (library, stop) = (self.library.clone(), self.stop.clone());
        self.loops.spawn(async move { library.keep_vectors(stop).await });
        self
    }

    pub fn writing(mut self) -> Self {
        let (library, stop) = (self.library.clone(), self.stop.clone());
        self.loops.spawn(async move { library.keep_writing(LEASE, stop).await });
        self
    }

    /// Ends its work in order, and lets go of its folder.
    pub async fn end(mut self) {
        self.stop.cancel();
        self.loops.shutdown().await;
    }

    /// Ends its work, and leaves the library as it is.
    pub async fn deaf(mut self) -> Self {
        self.loops.shutdown().await;
        self
    }

    pub async fn add(&self, collection: &str, documents: Vec<NewDocument>) -> Result<Vec<Added>> {
        self.library.add(name(collection), documents).await
    }

    /// Adds one document, which must work.
    pub async fn add_one(&self, source: &str, text: impl Into<String>) -> Added {
        self.add("house", vec![document(source, text)]).await.unwrap().remove(0)
    }

    /// Removes a document; nothing happens where there is none.
    pub async fn remove(&self, source: &str) {
        let which = Which { documents: vec![source.to_owned()], ..Which::default() };
        match self.library.remove(name("house"), which).await {
            Ok(_) => {}
            Err(fault) => assert_eq!(fault.code, base::Code::NotFound, "{fault:?}"),
        }
    }

    /// The sources of what is found by words, best first.
    pub async fn found(&self, words: &str) -> Vec<String> {
        let found = self.search(words, Filter::default()).await.unwrap();
        found.hits.into_iter().map(|hit| hit.source).collect()
    }

    pub async fn search(&self, words: &str, filter: Filter) -> Result<Found> {
        let search = Search { question: words.to_owned(), filter, limit: 1_000, mode: Mode::Text, ..Search::default() };
        self.library.search(search).await
    }

    /// Waits until its index is as the records say.
    pub async fn is_in_step(&self) {
        until("the index is in step", async || {
            let report = self.library.report();
            report.seen_records && report.waiting == 0
        })
        .await;
    }
}

/// Lets them know each other.
pub fn introduce(places: &[&Place]) {
    for (at, place) in places.iter().enumerate() {
        let others = places.iter().enumerate().filter(|(other, _)| *other != at);
        *place.beside.others.lock().unwrap() = others.map(|(_, other)| Arc::downgrade(&other.library)).collect();
    }
}

pub fn name(collection: &str) -> CollectionName {
    CollectionName::parse(collection).unwrap()
}

pub fn id(source: &str) -> DocId {
    DocId::of(&name("house"), source)
}

pub fn document(source: &str, text: impl Into<String>) -> NewDocument {
    NewDocument { source: source.to_owned(), bytes: text.into().into(), ..NewDocument::default() }
}

/// Words without a digit, always the same ones for the same seed.
pub fn words(seed: u64, count: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut word = || (0..7).map(|_| random.char('a'..='z')).collect::<String>();
    let mut text = String::new();
    for at in 0..count {
        text.push_str(&word());
        text.push_str(if at % 12 == 11 { ".\n\n" } else { " " });
    }
    text
}

/// All records, as they are now.
pub async fn records(store: &SharedStore) -> Known {
    let mut known = Known::default();
    let first = store.watch(shelf::ALL, None).next().await.unwrap();
    known.apply(first);
    assert!(known.unreadable().is_empty(), "{:?}", known.unreadable());
    known
}

/// A store on a disk, with the folder in which all of a test is.
pub fn sled() -> (SharedStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(SledStore::open(&dir.path().join("store")).unwrap().store);
    (store, dir)
}

/// Waits for a state, within a bound.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
