//! This node's part of the knowledge base: what it keeps, what it indexes, and the answers that it gives out of that.
//!
//! A node that keeps documents keeps all of them, so every one gives the same answers, whichever others are on. Adding
//! may be asked of any; the records in the store say what holds.

pub(crate) mod asking;
mod files;
mod folding;
pub(crate) mod grouping;
mod keeping;
mod looking;
mod moving;
mod outside;
mod pages;
mod researching;
mod room;
pub(crate) mod serve;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::report::ResearchReport;
use base::{Code, Fault, NodeId, Result};
use bytes::Bytes;
use jobs::Jobs;
use store::{Seal, SharedStore};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::blobs::Blobs;
use crate::blocking;
use crate::fetch::Fetch;
use crate::folders::Watching;
use crate::index::{Index, Snapshot, Snapshots};
use crate::indexing::{Indexing, Progress};
use crate::intake::Intake;
use crate::intake::checks::MOST_FILE;
use crate::models::{Embedder, Models};
use crate::names::{BlobId, ChunkHash};
use crate::neighbours::{Neighbours, VectorsOf};
use crate::outside::Server;
use crate::shelf::{Known, Shelf};
use crate::vectors::generations::Generations;
use extract::child::Reader;
pub use files::FILES_SWEPT_AFTER;

/// Who had the index open before lets go of it by then.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

/// What a library is made of.
pub struct Parts {
    /// This node.
    pub node: NodeId,
    /// Where its files, its index and its vectors are.
    pub dir: PathBuf,
    /// Where the records are.
    pub store: SharedStore,
    /// Reads documents.
    pub reader: Reader,
    /// The models of the house.
    pub models: Arc<dyn Models>,
    /// The other nodes.
    pub neighbours: Arc<dyn Neighbours>,
    /// A server of vectors that gives candidates; `None`: this node's own index does.
    pub server: Option<Arc<dyn Server>>,
}

/// This node's part of the knowledge base.
pub struct Library {
    node: NodeId,
    dir: PathBuf,
    seal: Seal,
    store: SharedStore,
    shelf: Shelf,
    blobs: Blobs,
    known: Arc<ArcSwap<Known>>,
    snapshots: Snapshots,
    progress: Arc<Progress>,
    intake: Intake,
    models: Arc<dyn Models>,
    neighbours: Arc<dyn Neighbours>,
    vectors: Arc<Generations>,
    jobs: Jobs,
    server: Option<Arc<dyn Server>>,
    unnamed: files::Unnamed,
    /// Which folders of this node may be watched; `None`: none, ever.
    watching: Option<Watching>,
    /// Fetches pages; `None`: this node cannot.
    fetch: Option<Arc<dyn Fetch>>,
    /// The epoch of its leadership, while this node writes; else 0.
    writer: AtomicU64,
    /// What a person should know about the vectors; empty: nothing.
    embedding: watch::Sender<String>,
}

impl Library {
    /// Opens what this node keeps. Blocks; for start-up.
    pub fn open(parts: Parts) -> Result<Self> {
        Self::open_sealed(parts, &Seal::default())
    }

    /// As [`Library::open`], with all that it keeps sealed where `seal` is on.
    pub fn open_sealed(parts: Parts, seal: &Seal) -> Result<Self> {
        let Parts { node, dir, store, reader, models, neighbours, server } = parts;
        let blobs = Blobs::open_sealed(&dir.join("files"), seal)?;
        let vectors = Arc::new(Generations::open_sealed(&dir.join("vectors"), seal)?);
        let (shelf, known) = (Shelf::new(store.clone()), Arc::new(ArcSwap::default()));
        let intake = Intake::new(shelf.clone(), blobs.clone(), reader, known.clone(), neighbours.clone());
        Ok(Self {
            jobs: Jobs::new(store.clone(), node.clone()),
            node,
            dir,
            seal: seal.clone(),
            store,
            shelf,
            blobs,
            known,
            snapshots: Snapshots::default(),
            progress: Arc::default(),
            intake,
            models,
            neighbours,
            vectors,
            server,
            unnamed: files::Unnamed::default(),
            watching: None,
            fetch: None,
            writer: AtomicU64::new(0),
            embedding: watch::Sender::new(String::new()),
        })
    }

    /// Lets folders of this node be watched; see [`Library::keep_folders`].
    pub fn watching(self, watching: Watching) -> Self {
        Self { watching: Some(watching), ..self }
    }

    /// Lets pages be fetched.
    pub fn fetching(self, fetch: Arc<dyn Fetch>) -> Self {
        Self { fetch: Some(fetch), ..self }
    }

    /// Keeps the index in step with the records, until the store is closed; opens the index first. A disk without room is
    /// waited for; see [`Library::no_room`].
    pub async fn keep_index(&self) -> Result<()> {
        let mut times = 0;
        loop {
            let Err(fault) = self.open_and_keep_index().await else { return Ok(()) };
            let told = &self.progress.no_room;
            times = if told.borrow().is_empty() { 0 } else { times + 1 };
            let Some(pause) = room::pause(fault.code, times, fastrand::f64()) else { return Err(fault) };
            tracing::warn!(error = %fault, times, "the index of documents waits for room");
            told.send_replace(format!("{}; {}", fault.full_message(), fault.hint.as_deref().unwrap_or_default()));
            tokio::time::sleep(pause).await;
        }
    }

    /// Why the index waits for room on the disk, as it changes; empty: it does not.
    pub fn no_room(&self) -> watch::Receiver<String> {
        self.progress.no_room.subscribe()
    }

    async fn open_and_keep_index(&self) -> Result<()> {
        let index = self.open_index().await?;
        let (store, blobs, neighbours) = (self.store.clone(), self.blobs.clone(), self.neighbours.clone());
        let (known, progress) = (self.known.clone(), self.progress.clone());
        Indexing::new(store, blobs, neighbours, known, progress, index, self.snapshots.clone()).run().await
    }

    /// Whoever had the index open before, and broke down, may still be ending its last batch.
    async fn open_index(&self) -> Result<Index> {
        let began = Instant::now();
        loop {
            let (dir, snapshots, seal) = (self.dir.join("index"), self.snapshots.clone(), self.seal.clone());
            match blocking(move || Index::open_sealed(&dir, snapshots, &seal)).await {
                Err(fault) if fault.code == Code::Unavailable && began.elapsed() < LET_GO_WITHIN => {
                    tokio::time::sleep(LET_GO_WITHIN / 200).await;
                }
                opened => return opened,
            }
        }
    }

    /// Keeps a file that another node asks to keep.
    pub async fn keep_file(&self, file: Bytes) -> Result<()> {
        if file.len() > MOST_FILE {
            return Err(Fault::new(Code::TooLarge, format!("a file has {} bytes", file.len())));
        }
        let blobs = self.blobs.clone();
        blocking(move || blobs.put(&file).map(drop).map_err(Fault::from)).await
    }

    /// A file, where it is here.
    pub async fn file(&self, id: BlobId) -> Result<Option<Bytes>> {
        let blobs = self.blobs.clone();
        blocking(move || blobs.get(id).map_err(Fault::from)).await
    }

    /// A file, from here or from another node.
    pub async fn file_of_anybody(&self, id: BlobId) -> Result<Option<Bytes>> {
        match self.file(id).await? {
            Some(file) => Ok(Some(file)),
            None => self.neighbours.fetch(id).await,
        }
    }

    /// Those of the vectors that are here.
    pub async fn vectors_of(&self, by: &Embedder, hashes: &[ChunkHash]) -> Result<VectorsOf> {
        let Some(vectors) = self.vectors.of(by) else { return Ok(Vec::new()) };
        let hashes = hashes.to_vec();
        blocking(move || {
            let snapshot = vectors.snapshot();
            let found = hashes.into_iter().filter_map(|hash| snapshot.row(&hash).map(|row| (hash, row)));
            found.map(|(hash, row)| Ok((hash, snapshot.vector(row)?))).collect()
        })
        .await
    }

    /// What this node tells the others of itself.
    pub fn report(&self) -> ResearchReport {
        // First, so that what follows is of the records that it tells of.
        let seen_records = self.has_seen_records();
        let snapshot = self.snapshots.load();
        let of = |count: fn(&Snapshot) -> usize| snapshot.as_deref().map_or(0, |one| count(one) as u64);
        ResearchReport {
            documents: of(Snapshot::document_count),
            chunks: of(Snapshot::chunk_count),
            embedded: self.progress.embedded.load(Ordering::Relaxed),
            bytes: self.known.load().bytes(),
            waiting: self.progress.waiting.load(Ordering::Relaxed),
            seen_records,
        }
    }

    /// What is indexed now, once it is opened. Without the records there is no telling what is missing, but what was
    /// indexed before can be found.
    async fn snapshot(&self) -> Result<Arc<Snapshot>> {
        if self.snapshots.load().is_none() {
            // The index is open before they are seen.
            let _ = self.records().await;
        }
        self.opened_snapshot()
    }

    /// What is indexed now, if it is opened.
    fn opened_snapshot(&self) -> Result<Arc<Snapshot>> {
        self.snapshots.load_full().ok_or_else(|| {
            Fault::unavailable("the index of this node is being opened").retry_after(Duration::from_secs(1))
        })
    }
}
