//! Keeping a node's index in step with the records: what differs is decided here, and done a small batch at a time.
//!
//! The newest records go first, so that what was acknowledged a moment ago is found at once even while many older
//! documents, or a large one, are still to be indexed. A text that is not on this node is fetched from another one, which holds nobody
//! else up; until it comes, its document waits, and the old version of it is found.

mod large;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::{BoxFuture, Fault, Result};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use store::{Revision, SharedStore, WatchEvent};
use tokio::time::Instant;

use crate::blobs::Blobs;
use crate::document::{Document, State};
use crate::index::{Basis, Index, IndexChange, Indexed, Snapshots};
use crate::names::{BlobId, CollectionName, DocId};
use crate::neighbours::Neighbours;
use crate::shelf::{self, Change, Known, Record};
use crate::{blocking, texts};
use extract::Extracted;
use large::{Cut, Large};

/// Documents of one batch, and about how many bytes of text: a batch takes well below a second.
const BATCH_DOCUMENTS: usize = 256;
const BATCH_BYTES: u64 = 1 << 20;
/// With documents that just came only so many others are indexed, so that those are not waited for.
const BESIDE_NEW: usize = 16;
/// Events that are there already are taken together, so that a batch is worth its commit.
const MOST_EVENTS: usize = 1_000;
/// Texts that are fetched from other nodes at once.
const FETCHED_AT_ONCE: usize = 4;
/// After this, a text that nobody had is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What is to be done about a document.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Todo {
    /// Nothing.
    Nothing,
    /// Its chunks are made from its text.
    Index { text: BlobId, basis: Basis, chunk_tokens: u32 },
    /// Its chunks are good, its record is not.
    Describe,
    /// It shall not be found.
    Remove,
}

/// Decides it, from the record and from what is indexed.
fn decide(known: &Known, record: Option<&Record<Document>>, indexed: Option<&Indexed>) -> Todo {
    let wanted = record.and_then(|record| {
        let collection = known.collection(&record.value.collection)?;
        match &record.value.state {
            State::Ready { text, .. } => Some((&record.value, *text, collection.value.chunk_tokens)),
            State::Failed { .. } | State::Folded { .. } => None,
        }
    });
    match (wanted, indexed) {
        (None, None) => Todo::Nothing,
        (None, Some(_)) => Todo::Remove,
        (Some((document, text, chunk_tokens)), indexed) => {
            let basis = Basis::of(text, &document.meta.title, chunk_tokens);
            match indexed {
                Some(indexed) if indexed.basis == basis && indexed.document == *document => Todo::Nothing,
                // Words are stemmed by the language.
                Some(indexed) if indexed.basis == basis && indexed.document.language == document.language => {
                    Todo::Describe
                }
                _ => Todo::Index { text, basis, chunk_tokens },
            }
        }
    }
}

/// What an indexing node tells of itself.
#[derive(Debug, Default)]
pub struct Progress {
    /// Documents that are not indexed as their records say.
    pub waiting: AtomicU64,
    /// Of those, the ones whose text is not here yet.
    pub without_text: AtomicU64,
    /// Chunks that are indexed and have a vector of the model in use, when they were counted last.
    pub embedded: AtomicU64,
    /// Whether the records have been seen at all.
    pub seen_records: tokio::sync::watch::Sender<bool>,
    /// The index is another one than before.
    pub changed: tokio::sync::Notify,
    /// Why the index waits for room on the disk; empty: it does not.
    pub no_room: tokio::sync::watch::Sender<String>,
}

/// A text that was asked for: for which document, and whether it is here now.
type Fetched = (CollectionName, DocId, BlobId, bool);

/// Keeps one index in step.
pub struct Indexing {
    store: SharedStore,
    blobs: Blobs,
    neighbours: Arc<dyn Neighbours>,
    known: Arc<ArcSwap<Known>>,
    progress: Arc<Progress>,
    /// `None` only while a batch is at work.
    index: Option<Index>,
    snapshots: Snapshots,
    /// By revision, the newest last.
    waiting: BTreeMap<(Revision, DocId), CollectionName>,
    /// The large one that is on its way, and others that wait for it.
    large: Option<Large>,
    put_off: BTreeMap<(Revision, DocId), CollectionName>,
    /// Those whose text is not here, in the same order.
    missing: BTreeMap<(Revision, DocId), (CollectionName, BlobId)>,
    /// Texts that are on their way.
    fetching: FuturesUnordered<BoxFuture<'static, Fetched>>,
    on_their_way: HashSet<BlobId>,
    /// Those that ask for their text again, and when.
    later: HashMap<(CollectionName, DocId), Instant>,
}

impl Indexing {
    /// Keeps `index` in step with `store`, and `known` as well.
    pub fn new(
        store: SharedStore,
        blobs: Blobs,
        neighbours: Arc<dyn Neighbours>,
        known: Arc<ArcSwap<Known>>,
        progress: Arc<Progress>,
        index: Index,
        snapshots: Snapshots,
    ) -> Self {
        Self {
            store,
            blobs,
            neighbours,
            known,
            progress,
            index: Some(index),
            snapshots,
            waiting: BTreeMap::new(),
            large: None,
            put_off: BTreeMap::new(),
            missing: BTreeMap::new(),
            fetching: FuturesUnordered::new(),
            on_their_way: HashSet::new(),
            later: HashMap::new(),
        }
    }

    /// Goes on until the store is closed. A fault is about the index itself: it is opened anew by whoever began this.
    pub async fn run(mut self) -> Result<()> {
        let mut watch = self.store.watch(shelf::ALL, None);
        loop {
            let idle = self.waiting.is_empty() && !self.large.as_ref().is_some_and(Large::is_cut);
            let next_retry = self.later.values().min().copied();
            let event = tokio::select! {
                biased;
                event = watch.next() => match event {
                    Some(event) => Some(event),
                    None => return Ok(()),
                },
                Some(fetched) = self.fetching.next() => {
                    self.take(fetched);
                    None
                }
                is_here = large::cut(&mut self.large) => {
                    if !is_here {
                        self.miss_large();
                    }
                    None
                }
                () = std::future::ready(()), if !idle => None,
                () = until(next_retry), if idle => None,
            };
            let mut most = BATCH_DOCUMENTS;
            if let Some(first) = event {
                let mut events = vec![first];
                while events.len() < MOST_EVENTS
                    && let Some(Some(event)) = futures_util::FutureExt::now_or_never(watch.next())
                {
                    events.push(event);
                }
                let new = self.hear(events);
                if new > 0 {
                    most = most.min(new + BESIDE_NEW);
                }
            }
            self.take_up_again();
            let has_written = self.work(most).await? | self.write_large().await?;
            if has_written || self.waiting.is_empty() {
                self.progress.no_room.send_if_modified(|told| !std::mem::take(told).is_empty());
            }
            self.fetch();
            self.tell();
        }
    }

    /// Takes events of the store; gives how many were about single documents.
    fn hear(&mut self, events: Vec<WatchEvent>) -> usize {
        let mut known = (**self.known.load()).clone();
        let changes: Vec<Change> = events.into_iter().map(|event| known.apply(event)).collect();
        let known = Arc::new(known);
        self.known.store(known.clone());
        let mut new = 0;
        if changes.contains(&Change::All) {
            self.compare_all(&known);
        } else {
            for change in changes {
                if let Change::Document(collection, id) = change {
                    self.compare(&known, collection, id);
                    new += 1;
                }
            }
        }
        // In this order: whoever sees the one does not take the other for nothing.
        self.tell();
        self.progress.seen_records.send_replace(true);
        new
    }

    /// Looks at every record and at everything that is indexed.
    fn compare_all(&mut self, known: &Known) {
        self.waiting.clear();
        let Some(snapshot) = self.snapshots.load_full() else { return };
        for record in known.all_documents() {
            let document = &record.value;
            if decide(known, Some(record), snapshot.document(document.id).map(|one| &**one)) != Todo::Nothing {
                self.waiting.insert((record.at, document.id), document.collection.clone());
            }
        }
        for indexed in snapshot.documents() {
            let document = &indexed.document;
            if known.document(&document.collection, document.id).is_none() {
                self.waiting.insert((known.revision(), document.id), document.collection.clone());
            }
        }
    }

    fn compare(&mut self, known: &Known, collection: CollectionName, id: DocId) {
        self.waiting.insert((changed_at(known, &collection, id), id), collection);
    }

    fn take_up_again(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.later.iter().filter(|(_, at)| **at <= now).map(|(of, _)| of.clone()).collect();
        let known = self.known.load_full();
        for (collection, id) in due {
            self.later.remove(&(collection.clone(), id));
            self.compare(&known, collection, id);
        }
    }

    /// Does one batch of at most so many documents; gives whether the disk had room for what was to be written.
    async fn work(&mut self, most: usize) -> Result<bool> {
        let (known, Some(snapshot)) = (self.known.load_full(), self.snapshots.load_full()) else { return Ok(false) };
        let (mut changes, mut to_index, mut bytes) = (Vec::new(), Vec::new(), 0);
        while changes.len() + to_index.len() < most && bytes < BATCH_BYTES {
            let Some(((_, id), collection)) = self.waiting.pop_last() else { break };
            let record = known.document(&collection, id);
            match (decide(&known, record, snapshot.document(id).map(|one| &**one)), record) {
                (Todo::Index { text, basis, chunk_tokens }, Some(record)) if Large::is(&record.value) => {
                    match &self.large {
                        // Before its next slice it is looked whether it still is what is wanted.
                        Some(large) if large.of.1 == id => {}
                        Some(_) => drop(self.put_off.insert((record.at, id), collection)),
                        None => {
                            let (blobs, document) = (self.blobs.clone(), record.value.clone());
                            self.large = Some(Large::begin(blobs, document, text, basis, chunk_tokens));
                        }
                    }
                }
                (Todo::Index { text, basis, chunk_tokens }, Some(record)) => {
                    match text_here(self.blobs.clone(), text).await {
                        Some(extracted) => {
                            bytes += extracted.text.len() as u64;
                            to_index.push((record.value.clone(), extracted, basis, chunk_tokens));
                        }
                        None => drop(self.missing.insert((record.at, id), (collection, text))),
                    }
                }
                (Todo::Describe, Some(record)) => changes.push(IndexChange::Describe(record.value.clone())),
                (Todo::Remove, _) => changes.push(IndexChange::Remove(id)),
                _ => {}
            }
        }
        if changes.is_empty() && to_index.is_empty() {
            return Ok(false);
        }
        let writes = !to_index.is_empty() || changes.iter().any(|change| matches!(change, IndexChange::Remove(_)));
        self.apply(move || {
            changes.extend(to_index.into_iter().map(|(document, text, basis, size)| {
                let cut = Cut::of(&document, text, size);
                cut.change(document, basis, cut.all())
            }));
            changes
        })
        .await?;
        Ok(writes)
    }

    /// Makes changes, which are worked out off the runtime's threads.
    async fn apply(&mut self, changes: impl FnOnce() -> Vec<IndexChange> + Send + 'static) -> Result<()> {
        let Some(mut index) = self.index.take() else {
            return Err(Fault::internal("the index is at work elsewhere"));
        };
        self.index = Some(blocking(move || index.apply(changes()).map(|()| index)).await?);
        self.progress.changed.notify_waiters();
        Ok(())
    }

    /// Writes a slice of the large document, if there is one that is cut and still wanted; gives whether it did.
    async fn write_large(&mut self) -> Result<bool> {
        let (known, Some(snapshot)) = (self.known.load_full(), self.snapshots.load_full()) else { return Ok(false) };
        let Some(large) = self.large.as_mut().filter(|large| large.is_cut()) else { return Ok(false) };
        let (collection, id) = large.of.clone();
        let record = known.document(&collection, id);
        let wanted = match (decide(&known, record, snapshot.document(id).map(|one| &**one)), record) {
            (Todo::Index { basis, .. }, Some(record)) if large.is_of(&record.value, basis) => Some(&record.value),
            _ => None,
        };
        let (change, is_last) = match wanted.and_then(|document| large.next_slice(document.clone())) {
            Some(slice) => slice,
            None => (large.abandoned(), true),
        };
        if is_last {
            self.large = None;
            self.waiting.append(&mut self.put_off);
            // There may be more to do about it by now, such as another version.
            self.compare(&known, collection, id);
        }
        self.apply(move || vec![change]).await?;
        Ok(true)
    }

    /// The text of the large document is not here: it is asked for, and others go on.
    fn miss_large(&mut self) {
        let Some(Large { of: (collection, id), text, .. }) = self.large.take() else { return };
        self.waiting.append(&mut self.put_off);
        let at = changed_at(&self.known.load(), &collection, id);
        self.missing.insert((at, id), (collection, text));
    }

    /// Asks other nodes for texts that are missing, those of the newest records first.
    fn fetch(&mut self) {
        while self.fetching.len() < FETCHED_AT_ONCE {
            let Some(((_, id), (collection, text))) = self.missing.pop_last() else { return };
            if !self.on_their_way.insert(text) {
                // The same text of another document is on its way: it is asked for again when that has come.
                self.later.insert((collection, id), Instant::now() + ASK_AGAIN);
                continue;
            }
            let (blobs, neighbours) = (self.blobs.clone(), self.neighbours.clone());
            self.fetching.push(Box::pin(async move {
                let is_here = fetch(&*neighbours, blobs, text).await;
                (collection, id, text, is_here)
            }));
        }
    }

    fn take(&mut self, (collection, id, text, is_here): Fetched) {
        self.on_their_way.remove(&text);
        if is_here {
            let known = self.known.load_full();
            self.compare(&known, collection, id);
        } else {
            self.later.insert((collection, id), Instant::now() + ASK_AGAIN);
        }
    }

    fn tell(&self) {
        let without_text = (self.later.len() + self.missing.len() + self.fetching.len()) as u64;
        self.progress.without_text.store(without_text, Ordering::Relaxed);
        let large = usize::from(self.large.is_some()) + self.put_off.len();
        self.progress.waiting.store((self.waiting.len() + large) as u64 + without_text, Ordering::Relaxed);
    }
}

/// When a document became what it is; of one that is gone, now.
fn changed_at(known: &Known, collection: &CollectionName, id: DocId) -> Revision {
    known.document(collection, id).map_or(known.revision(), |record| record.at)
}

/// A text, if it is on this node.
async fn text_here(blobs: Blobs, id: BlobId) -> Option<Extracted> {
    let read = blocking(move || blobs.get(id)?.map(|file| texts::read(&file)).transpose()).await;
    read.inspect_err(|fault| tracing::error!(blob = %id, error = %fault, "a stored text cannot be read")).ok()?
}

/// Takes a text from another node; whether it is here now.
async fn fetch(neighbours: &dyn Neighbours, blobs: Blobs, id: BlobId) -> bool {
    match neighbours.fetch(id).await {
        Ok(Some(file)) => {
            let kept = blocking(move || Ok(blobs.put(&file)? == id)).await;
            kept.inspect_err(|fault| tracing::error!(blob = %id, error = %fault, "a text cannot be kept"))
                .unwrap_or(false)
        }
        Ok(None) => false,
        Err(fault) => {
            tracing::debug!(blob = %id, error = %fault, "could not fetch a text");
            false
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
