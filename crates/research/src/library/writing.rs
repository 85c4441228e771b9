//! What only one node of the cluster does at a time: embed, fold what says the same, finish what was begun to be deleted.
//!
//! The writer is elected, and every record that it writes is guarded by its leadership. Vectors are made by it alone and
//! fetched by the others, so that nothing is embedded twice in the house; a node that takes over has most of them already.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::{Epoch, NodeId, Result};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use store::{Leadership, StoreError};
use tokio_util::sync::CancellationToken;

use super::Library;
use super::folding::Folding;
use crate::blocking;
use crate::chunk::embed_text;
use crate::index::Snapshot;
use crate::models::{Embedder, Embeds};
use crate::names::ChunkHash;
use crate::search::OpenTexts;
use crate::vectors::{Vectors, filling, generations::Generations};

/// Who writes.
pub const ELECTION: &str = "research";
/// Between two looks at what is to be done, where nothing tells that there is something.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Chunks that are embedded or fetched before the live ones are looked at again.
const ROUND: usize = 2_048;
/// Vectors that are asked of another node at once: a few MiB.
const FETCHED_AT_ONCE: usize = 512;
/// A text that every model can embed; tells how many numbers its vectors have.
const PROBE: &str = "How many numbers has a vector?";
/// Vectors of chunks that are gone are swept away when they are more than this share of all.
const SWEPT_FROM: f64 = 0.25;

/// While it lives, this node writes; it is dropped as well where the work is broken off.
struct Writes<'a>(&'a AtomicU64);

impl<'a> Writes<'a> {
    fn begin(writer: &'a AtomicU64, epoch: Epoch) -> Self {
        writer.store(epoch.0, Ordering::Relaxed);
        Self(writer)
    }
}

impl Drop for Writes<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Vectors beside an index: while both are the same, what was found out of them holds.
#[derive(Default)]
struct Beside {
    snapshot: Weak<Snapshot>,
    by: Option<Embedder>,
    vectors: usize,
    refused: usize,
}

impl Beside {
    fn of(snapshot: &Arc<Snapshot>, vectors: &Vectors) -> Self {
        let (snapshot, by, here) = (Arc::downgrade(snapshot), vectors.embedder().clone(), vectors.snapshot());
        Self { snapshot, by: Some(by), vectors: here.len(), refused: here.refusals() }
    }
}

impl PartialEq for Beside {
    fn eq(&self, other: &Self) -> bool {
        self.snapshot.ptr_eq(&other.snapshot)
            && (&self.by, self.vectors, self.refused) == (&other.by, other.vectors, other.refused)
    }
}

impl Library {
    /// Stands for writer, again and again, and does a writer's work while this node is it, until `stop`.
    pub async fn keep_writing(&self, lease_ttl: Duration, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let ended = stop.run_until_cancelled(self.write_once(lease_ttl)).await;
            match ended {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "this node does not write the knowledge base now");
                    let pause = tokio::time::sleep(LOOK_EVERY);
                    stop.run_until_cancelled(pause).await;
                }
            }
        }
    }

    async fn write_once(&self, lease_ttl: Duration) -> Result<(), StoreError> {
        let lease = self.store.lease(lease_ttl).await?;
        let value = Bytes::copy_from_slice(self.node.as_str().as_bytes());
        let leadership = self.store.campaign(ELECTION, value, &lease, Epoch(0)).await?;
        tracing::info!(epoch = leadership.epoch.0, "this node writes the knowledge base");
        let _writes = Writes::begin(&self.writer, leadership.epoch);
        tokio::select! {
            () = leadership.lost() => tracing::warn!("this node does not write the knowledge base any more"),
            () = self.keep_records(&leadership) => {}
            () = self.keep_outside(&leadership) => {}
        }
        Ok(())
    }

    /// The records' side of a writer's work.
    async fn keep_records(&self, leadership: &Leadership) {
        // Another one may have written before: what it did is in the records.
        let mut folding = Folding::default();
        loop {
            if let Err(fault) = self.tidy_records(leadership, &mut folding).await {
                tracing::warn!(error = %fault, "could not tidy the records of the knowledge base");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn tidy_records(&self, leadership: &Leadership, folding: &mut Folding) -> Result<()> {
        let known = self.known.load_full();
        for name in known.going() {
            self.shelf.finish_deleting(name).await?;
        }
        self.fold(leadership, folding).await
    }

    /// Whether this node writes now.
    fn writes(&self) -> bool {
        self.writer.load(Ordering::Relaxed) != 0
    }

    /// The node that writes, as the store says.
    pub(super) async fn who_writes(&self) -> Option<(NodeId, u64)> {
        let own = self.writer.load(Ordering::Relaxed);
        if own != 0 {
            return Some((self.node.clone(), own));
        }
        let leader = self.store.leader(ELECTION).await.ok().flatten()?;
        let node = String::from_utf8(leader.value.to_vec()).ok()?;
        Some((NodeId::new(node), leader.epoch.0))
    }

    /// Gives every chunk that is indexed here its vector, until `stop`: from another node, or by embedding it.
    pub async fn keep_vectors(&self, stop: CancellationToken) {
        let (mut filled, mut counted) = (Beside::default(), Beside::default());
        while !stop.is_cancelled() {
            let changed = self.progress.changed.notified();
            let (note, has_more) = match self.fill_vectors(&mut filled, &stop).await {
                Ok(round) => round,
                Err(fault) => (fault.full_message(), false),
            };
            self.count_embedded(&mut counted).await;
            self.embedding.send_if_modified(|told| {
                let is_new = *told != note;
                if is_new {
                    tracing::info!(note, "embedding");
                    note.clone_into(told);
                }
                is_new
            });
            if has_more {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = changed => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// One round, unless nothing is missing of what is the same as in `filled`; gives what a person should know, or
    /// nothing, and whether there may be more to do at once.
    async fn fill_vectors(&self, filled: &mut Beside, stop: &CancellationToken) -> Result<(String, bool)> {
        let Some(snapshot) = self.snapshots.load_full() else { return Ok((String::new(), false)) };
        let note = self.choose_embedder().await?;
        let Some(vectors) = self.vectors.filled() else { return Ok((note, false)) };
        let before = Beside::of(&snapshot, &vectors);
        if before == *filled {
            return Ok((note, false));
        }
        let (here, of) = (vectors.snapshot(), snapshot.clone());
        let next = move || {
            // Document by document, so that a text is opened once in a round.
            let parts = of.documents().flat_map(|one| one.chunks.iter()).flat_map(|chunk| &chunk.parts);
            Ok(here.missing(parts.map(|part| &part.hash), ROUND))
        };
        let mut missing = blocking(next).await?;
        let is_filled = missing.is_empty();
        if !missing.is_empty() {
            self.fetch_vectors(&vectors, &mut missing).await?;
        }
        if !missing.is_empty() && self.writes() {
            let document = |hash: &ChunkHash| snapshot.places(hash).first().map(|place| place.document);
            let of_one = missing.chunk_by(|one, next| document(one) == document(next)).map(<[ChunkHash]>::to_vec);
            let groups: Vec<Vec<ChunkHash>> = of_one.collect();
            let texts =
                stream::iter(groups).then(|hashes| self.texts_to_embed(&snapshot, hashes)).flat_map(stream::iter);
            filling::fill(&*self.models, &vectors, Box::pin(texts), stop).await?;
        }
        // Whatever came is followed by another round at once.
        if Beside::of(&snapshot, &vectors) == before {
            let (all, of, beside) = (self.vectors.clone(), vectors.clone(), snapshot.clone());
            blocking(move || sweep(&all, &of, &beside)).await?;
        }
        let after = Beside::of(&snapshot, &vectors);
        let has_more = after != before;
        if is_filled {
            *filled = after;
        }
        Ok((note, has_more))
    }

    /// Wants the vectors of the model that embeds now; gives what a person should know of it.
    async fn choose_embedder(&self) -> Result<String> {
        let plan = self.vectors.plan();
        let Embeds { model, note } = self.models.embedder(plan.filled().map(|by| by.model.as_str()));
        let Some(model) = model else {
            return Ok(match &plan.in_use {
                _ if !note.is_empty() => note,
                Some(by) => {
                    let name = self.models.name_of(&by.model);
                    format!("no worker embeds with `{name}` now: until one does, searches go by words alone")
                }
                None => "no model of the cluster embeds: searches go by words alone".to_owned(),
            });
        };
        if plan.filled().is_some_and(|by| by.model == model) {
            return Ok(note);
        }
        let probe = self.models.embed(&model, vec![PROBE.to_owned()]).await?;
        let vectors = self.vectors.clone();
        let by = Embedder { model, dims: probe.by.dims };
        blocking(move || vectors.want(&by)).await?;
        Ok(note)
    }

    /// Counts the chunks all of whose parts have a vector, for whoever wants to know how far it is.
    async fn count_embedded(&self, counted: &mut Beside) {
        let (Some(snapshot), Some(vectors)) = (self.snapshots.load_full(), self.vectors.in_use()) else { return };
        let now = Beside::of(&snapshot, &vectors);
        if now == *counted {
            return;
        }
        let vectors = vectors.snapshot();
        let count = blocking(move || {
            let chunks = snapshot.documents().flat_map(|one| one.chunks.iter());
            Ok(chunks.filter(|chunk| chunk.parts.iter().all(|part| vectors.contains(&part.hash))).count())
        });
        if let Ok(count) = count.await {
            self.progress.embedded.store(count as u64, Ordering::Relaxed);
            *counted = now;
        }
    }

    /// Takes what other nodes have; what is left in `missing` nobody has.
    async fn fetch_vectors(&self, vectors: &Vectors, missing: &mut Vec<ChunkHash>) -> Result<()> {
        for some in missing.clone().chunks(FETCHED_AT_ONCE) {
            let found = self.neighbours.vectors(vectors.embedder(), some.to_vec()).await?;
            if found.is_empty() {
                break;
            }
            missing.retain(|hash| !found.iter().any(|(found, _)| found == hash));
            let vectors = vectors.clone();
            blocking(move || vectors.insert(&found)).await?;
        }
        Ok(())
    }

    /// The texts of parts of one document as they are embedded. One that is gone meanwhile, or whose text is not here, is left
    /// out.
    async fn texts_to_embed(&self, snapshot: &Arc<Snapshot>, hashes: Vec<ChunkHash>) -> Vec<(ChunkHash, String)> {
        let (snapshot, blobs) = (snapshot.clone(), self.blobs.clone());
        let read = move || {
            let mut open = OpenTexts::of(&blobs);
            Ok(hashes.into_iter().filter_map(|hash| text_to_embed(&snapshot, hash, &mut open)).collect())
        };
        let read = blocking(read).await;
        read.inspect_err(|fault| tracing::warn!(error = %fault, "chunks cannot be embedded")).unwrap_or_default()
    }
}

fn text_to_embed(snapshot: &Snapshot, hash: ChunkHash, open: &mut OpenTexts<'_>) -> Option<(ChunkHash, String)> {
    let place = snapshot.places(&hash).first()?;
    let indexed = snapshot.document(place.document)?;
    let chunk = indexed.chunks.get(place.ordinal as usize)?;
    let part = chunk.parts.iter().find(|part| part.hash == hash)?;
    let passage = open.passage(indexed, part.start..part.end);
    let passage = passage.inspect_err(|fault| tracing::warn!(error = %fault, "a chunk cannot be embedded")).ok()?;
    Some((hash, embed_text(&chunk.headings, &passage)))
}

/// Changes over to vectors that are complete, and sweeps away those that nothing needs any more.
fn sweep(generations: &Generations, vectors: &Vectors, snapshot: &Snapshot) -> Result<()> {
    generations.look(snapshot.hashes())?;
    let here = vectors.snapshot();
    let living = snapshot.hashes().filter(|hash| here.contains(hash)).count();
    let gone = here.len().saturating_sub(living);
    if here.len() > 1_000 && gone as f64 > SWEPT_FROM * here.len() as f64 {
        drop(here);
        vectors.keep(|hash| !snapshot.places(hash).is_empty())?;
    }
    Ok(())
}
