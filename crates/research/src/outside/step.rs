//! Keeping a server in step with the records: what differs is decided here, and done a small batch at a time.
//!
//! Only the writer does this. It looks at everything that the server has once, keeps count of it, and looks again when
//! the count is not what the server says. New points are put before old ones are taken out, and those only a pass later,
//! so that a node that still knows the old version finds it meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base::{Fault, Result};
use store::Revision;

use super::points::point;
use super::{Point, PointId, Server};
use crate::blobs::Blobs;
use crate::blocking;
use crate::chunk::Chunk;
use crate::document::State;
use crate::index::{Basis, Indexed, Snapshot};
use crate::names::{CollectionName, DocId};
use crate::search::OpenTexts;
use crate::shelf::Known;
use crate::text::Terms;
use crate::vectors;

/// Points of one call: below a MiB with vectors of a thousand numbers.
const PUT_AT_ONCE: usize = 64;
/// Names of points of one call.
const TAKEN_AT_ONCE: usize = 1_000;
/// Documents whose points are made in one go.
const MADE_AT_ONCE: usize = 64;

/// What this node's side is at one moment.
#[derive(Clone)]
pub struct Here {
    /// The records.
    pub known: Arc<Known>,
    /// Their chunks.
    pub snapshot: Arc<Snapshot>,
    /// Their vectors; `None`: there are none.
    pub vectors: Option<Arc<vectors::Snapshot>>,
    /// Their texts.
    pub blobs: Blobs,
}

/// What the server has, as far as the writer knows.
#[derive(Debug, Default)]
pub struct There {
    documents: HashMap<DocId, Had>,
    /// Points that were too many in the pass before.
    condemned: HashSet<PointId>,
}

/// What the server has of a document.
#[derive(Debug)]
struct Had {
    collection: CollectionName,
    /// What it was made from, where this writer made it.
    basis: Option<Basis>,
    /// The version of which all is there, with all vectors that there can be.
    is_whole_at: Option<u64>,
    /// Each point with its version and how many vectors it has.
    points: HashMap<PointId, (u64, u32)>,
}

/// What a pass came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Points that were put.
    pub put: u64,
    /// Points that were taken out.
    pub taken: u64,
    /// The server has the documents of all records up to this one.
    pub upto: Revision,
}

/// Looks at all that a collection has.
pub async fn look(server: &dyn Server, collection: &str) -> Result<There> {
    let mut there = There::default();
    let mut from = None;
    loop {
        let (placed, next) = server.page(collection, from).await?;
        for one in placed {
            let fresh =
                || Had { collection: one.collection.clone(), basis: None, is_whole_at: None, points: HashMap::new() };
            let had = there.documents.entry(one.document).or_insert_with(fresh);
            had.points.insert(one.id, (one.version, one.vectors));
        }
        if next.is_none() || next <= from {
            return Ok(there);
        }
        from = next;
    }
}

impl There {
    /// How many points there are.
    pub fn count(&self) -> u64 {
        self.documents.values().map(|had| had.points.len() as u64).sum()
    }

    /// Makes the server have what this node has. A fault leaves it unknown what is there: look again.
    pub async fn catch_up(&mut self, server: &dyn Server, collection: &str, here: &Here) -> Result<Pass> {
        let mut pass = Pass::default();
        let mut unmade = HashSet::new();
        let (mut there, of) = (std::mem::take(self), here.clone());
        let decided = blocking(move || Ok((differing(&mut there, &of), there)));
        let differing;
        (differing, *self) = decided.await?;
        for some in differing.chunks(MADE_AT_ONCE) {
            let (some, here) = (some.to_vec(), here.clone());
            let made = blocking(move || Ok(some.into_iter().map(|one| (points(&one, &here), one)).collect::<Vec<_>>()));
            for (points, indexed) in made.await? {
                match points {
                    Ok(points) => pass.put += self.put(server, collection, &indexed, points).await?,
                    Err(fault) => {
                        // Its text is not on this node now. Until it is, each node looks for it in its own index.
                        tracing::debug!(error = %fault, "a document cannot be put into the server of vectors");
                        unmade.insert(indexed.document.id);
                    }
                }
            }
        }
        pass.taken = self.take_condemned(server, collection, here).await?;
        let of = here.clone();
        pass.upto = blocking(move || Ok(upto(&of, &unmade))).await?;
        Ok(pass)
    }

    async fn put(
        &mut self,
        server: &dyn Server,
        collection: &str,
        indexed: &Indexed,
        points: Vec<Point>,
    ) -> Result<u64> {
        let document = &indexed.document;
        let fresh =
            || Had { collection: document.collection.clone(), basis: None, is_whole_at: None, points: HashMap::new() };
        let had = self.documents.entry(document.id).or_insert_with(fresh);
        let is_whole = points.iter().all(|point| point.vectors.len() == point.parts.len());
        let is_new = |point: &Point| had.points.get(&point.placed.id).is_none_or(|had| *had < value(point));
        let mut wanted: Vec<Point> = points.into_iter().filter(is_new).collect();
        let count = wanted.len() as u64;
        while !wanted.is_empty() {
            let rest = wanted.split_off(wanted.len().min(PUT_AT_ONCE));
            let values: Vec<_> = wanted.iter().map(|point| (point.placed.id, value(point))).collect();
            server.put(collection, document.version, wanted).await?;
            had.points.extend(values);
            wanted = rest;
        }
        had.basis = Some(indexed.basis);
        had.is_whole_at = is_whole.then_some(document.version);
        Ok(count)
    }

    /// Takes out what was too many a pass ago and still is.
    async fn take_condemned(&mut self, server: &dyn Server, collection: &str, here: &Here) -> Result<u64> {
        let (there, of) = (std::mem::take(self), here.clone());
        let decided = blocking(move || Ok((surplus(&there, &of), there)));
        let surplus;
        (surplus, *self) = decided.await?;
        let mut going: HashMap<u64, Vec<(DocId, PointId)>> = HashMap::new();
        for (document, id, version) in &surplus {
            if self.condemned.contains(id) {
                going.entry(*version).or_default().push((*document, *id));
            }
        }
        self.condemned = surplus.into_iter().map(|(_, id, _)| id).collect();
        let mut taken = 0;
        for (version, points) in going {
            for some in points.chunks(TAKEN_AT_ONCE) {
                server.take(collection, version, some.iter().map(|(_, id)| *id).collect()).await?;
                taken += some.len() as u64;
                for (document, id) in some {
                    self.condemned.remove(id);
                    if let Some(had) = self.documents.get_mut(document) {
                        had.points.remove(id);
                    }
                }
            }
        }
        self.documents.retain(|_, had| !had.points.is_empty());
        Ok(taken)
    }

    /// Whether another pass would do something although nothing changed here.
    pub fn has_condemned(&self) -> bool {
        !self.condemned.is_empty()
    }
}

fn value(point: &Point) -> (u64, u32) {
    (point.placed.version, point.placed.vectors)
}

/// The documents that the server does not have as they are here, the oldest first.
fn differing(there: &mut There, here: &Here) -> Vec<Arc<Indexed>> {
    let mut all: Vec<Arc<Indexed>> = Vec::new();
    for indexed in here.snapshot.documents() {
        let document = &indexed.document;
        if is_gone(&document.collection, document.id, here) {
            continue;
        }
        match there.documents.get_mut(&document.id) {
            Some(had) if has_all(had, indexed, here) => had.basis = Some(indexed.basis),
            None if indexed.chunks.is_empty() => {}
            _ => all.push(indexed.clone()),
        }
    }
    all.sort_by_key(|indexed| (indexed.document.changed_ms, indexed.document.id));
    all
}

/// Whether all chunks are there as they are here, with as many vectors.
fn has_all(had: &Had, indexed: &Indexed, here: &Here) -> bool {
    let embedded = |chunk: &Chunk| match &here.vectors {
        Some(vectors) => chunk.parts.iter().filter(|part| vectors.contains(&part.hash)).count() as u32,
        None => 0,
    };
    let id = indexed.document.id;
    let is_there = |chunk: &Chunk| {
        let had = had.points.get(&name(id, chunk));
        had.is_some_and(|(version, vectors)| *version >= indexed.document.version && *vectors >= embedded(chunk))
    };
    let is_known = had.basis == Some(indexed.basis) && had.is_whole_at == Some(indexed.document.version);
    is_known || indexed.chunks.iter().all(is_there)
}

/// The points that no document has any more, with the version up to which they may be taken out.
fn surplus(there: &There, here: &Here) -> Vec<(DocId, PointId, u64)> {
    let mut surplus = Vec::new();
    for (id, had) in &there.documents {
        if is_gone(&had.collection, *id, here) {
            surplus.extend(had.points.iter().map(|(point, (version, _))| (*id, *point, *version)));
        } else if let Some(indexed) = here.snapshot.document(*id).filter(|indexed| had.basis == Some(indexed.basis)) {
            // Only where this pass has put what is wanted; else the old points are all that there is.
            if had.points.len() > indexed.chunks.len() {
                let wanted: HashSet<PointId> = indexed.chunks.iter().map(|chunk| name(*id, chunk)).collect();
                let others = had.points.keys().filter(|point| !wanted.contains(point));
                surplus.extend(others.map(|point| (*id, *point, indexed.document.version)));
            }
        }
    }
    surplus
}

/// Whether the records say that a document is not to be found; that it is not indexed here yet says nothing.
fn is_gone(collection: &CollectionName, id: DocId, here: &Here) -> bool {
    let record = here.known.document(collection, id);
    !record.is_some_and(|record| matches!(record.value.state, State::Ready { .. }))
}

fn name(document: DocId, chunk: &Chunk) -> PointId {
    PointId::of(document, chunk.ordinal, chunk.hash)
}

/// Up to which record all documents are indexed here, and so are in the server after a pass.
fn upto(here: &Here, unmade: &HashSet<DocId>) -> Revision {
    let mut upto = here.known.revision();
    for record in here.known.all_documents() {
        let document = &record.value;
        let is_ready = matches!(document.state, State::Ready { .. });
        let is_as_it_is =
            |indexed: &Arc<Indexed>| Arc::ptr_eq(&indexed.document, document) || indexed.document == *document;
        let is_there = here.snapshot.document(document.id).is_some_and(is_as_it_is) && !unmade.contains(&document.id);
        if is_ready && !is_there {
            upto = upto.min(Revision(record.at.0.saturating_sub(1)));
        }
    }
    upto
}

/// A document's points. Blocks.
fn points(indexed: &Indexed, here: &Here) -> Result<Vec<Point>> {
    let (mut open, mut terms) = (OpenTexts::of(&here.blobs), Terms::new(&indexed.document.language));
    let mut points = Vec::with_capacity(indexed.chunks.len());
    for chunk in indexed.chunks.iter() {
        let text = open.passage(indexed, chunk.start..chunk.end)?;
        let mut own = Vec::new();
        if let Some(vectors) = &here.vectors {
            for row in chunk.parts.iter().filter_map(|part| vectors.row(&part.hash)) {
                own.push(vectors.vector(row)?);
            }
        }
        points.push(point(&indexed.document, chunk, &text, &mut terms, own));
    }
    Ok(points)
}

/// The server has another number of points than were put: somebody else writes there, or it lost some.
pub fn miscounted(server: &dyn Server, found: u64, put: u64) -> Fault {
    Fault::unavailable(format!(
        "{} has {found} points where {put} were put; all of them are compared",
        server.address()
    ))
}
