//! A search's way to the server: what it is asked, and what of its answer are candidates here.
//!
//! Where the server cannot answer, or its answer cannot be trusted to be whole, the node's own index is searched, and the
//! search says so.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use base::{Fault, Result};
use tokio::runtime::Handle;

use super::{Among, Filled, Near, Placed, Server, Wanted};
use crate::filter::Filter;
use crate::index::{Indexed, Place, Snapshot};
use crate::names::DocId;
use crate::shelf::Known;

/// With more documents than this missing in the server, the node's own index is searched.
const MOST_BEHIND: usize = 2_000;
/// A filter that only documents can tell is asked by their names, up to so many.
const MOST_NAMED: usize = 20_000;
/// So many times as many points are asked for as are wanted, as many as the node's own index looks at by vectors; by words
/// the server weighs a little otherwise.
const DEEPER: usize = 3;

/// A server beside this node's index, for one search.
#[derive(Clone)]
pub struct Aside {
    server: Arc<dyn Server>,
    collection: String,
    behind: Arc<HashSet<DocId>>,
    runtime: Handle,
    /// Why it was not used after all.
    fell_back: Arc<OnceLock<String>>,
}

/// What the server gave, as this node knows it.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Chunks that may fit by their words.
    pub words: Vec<(Place, Arc<Indexed>)>,
    /// Chunks that may fit by their vectors.
    pub vectors: Vec<(Place, Arc<Indexed>)>,
    /// Documents that the server does not have as they are: they are to be searched here.
    pub here: HashSet<DocId>,
}

/// Which of `snapshot`'s documents a server does not have as they are. `None`: too many. Blocks: it goes over all records.
pub fn behind(filled: &Filled, known: &Known, snapshot: &Snapshot) -> Option<HashSet<DocId>> {
    let mut behind = HashSet::new();
    for record in known.all_documents().filter(|record| !filled.has(record.at)) {
        if snapshot.document(record.value.id).is_some() {
            behind.insert(record.value.id);
            if behind.len() > MOST_BEHIND {
                return None;
            }
        }
    }
    Some(behind)
}

impl Aside {
    /// Of a collection that has all but the documents `behind`; to be made on the runtime.
    pub fn new(server: Arc<dyn Server>, collection: String, behind: HashSet<DocId>) -> Self {
        let (behind, fell_back) = (Arc::new(behind), Arc::default());
        Self { server, collection, behind, runtime: Handle::current(), fell_back }
    }

    /// Why the node's own index was searched after all; `None`: it was not.
    pub fn fell_back(&self) -> Option<&str> {
        self.fell_back.get().map(String::as_str)
    }

    /// That, as it goes behind what is said of the search; empty: it was not.
    pub fn told(&self) -> String {
        self.fell_back().map(|why| format!("; no, out of this node's own index: {why}")).unwrap_or_default()
    }

    /// Notes that it was, and why.
    pub fn fall_back(&self, fault: &Fault) {
        tracing::debug!(error = %fault, "the node's own index is searched in place of the server of vectors");
        // The first reason is as good as a later one.
        let _ = self.fell_back.set(fault.full_message());
    }

    /// Candidates for what is wanted by words and by a vector; `passing` are the documents that pass `filter`, where it
    /// holds any back. Blocks.
    pub fn find(&self, asked: Asked<'_>, snapshot: &Snapshot) -> Result<Candidates> {
        let among = among(asked.filter, asked.passing)?;
        let limit = asked.depth.saturating_mul(DEEPER);
        let words = asked.terms.map(super::points::question);
        let wanted = Wanted { words, vector: asked.vector.map(<[f32]>::to_vec), among, limit };
        let near = self.runtime.block_on(self.server.find(&self.collection, &wanted))?;
        known_here(&near, &self.behind, &asked, limit, snapshot)
    }
}

/// What is asked of the server.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The stems of the question; `None`: not by words.
    pub terms: Option<&'a [String]>,
    /// The vector of the question; `None`: not by vectors.
    pub vector: Option<&'a [f32]>,
    /// Where.
    pub filter: &'a Filter,
    /// The documents that pass it; `None`: all.
    pub passing: Option<&'a HashSet<DocId>>,
    /// How many candidates are wanted each way.
    pub depth: usize,
}

/// What of the answer stands here. Of a document that says something else by now, the answer is not believed.
fn known_here(
    near: &Near,
    behind: &HashSet<DocId>,
    asked: &Asked<'_>,
    limit: usize,
    snapshot: &Snapshot,
) -> Result<Candidates> {
    let passes = |id: &DocId| asked.passing.is_none_or(|passing| passing.contains(id));
    let mut here: HashSet<DocId> = behind.iter().filter(|id| passes(id)).copied().collect();
    let mut stands = |placed: &Placed| {
        let indexed = snapshot.document(placed.document).filter(|_| passes(&placed.document))?;
        let chunk = indexed.chunks.get(placed.ordinal as usize);
        if chunk.is_none_or(|chunk| chunk.hash != placed.chunk) {
            here.insert(placed.document);
            return None;
        }
        Some((Place { document: placed.document, ordinal: placed.ordinal }, indexed.clone()))
    };
    let words: Vec<_> = near.words.iter().filter_map(&mut stands).collect();
    let vectors: Vec<_> = near.vectors.iter().filter_map(&mut stands).collect();
    let is_crowded = |found: &[Placed], kept: usize| found.len() >= limit && kept < asked.depth;
    if is_crowded(&near.words, words.len()) || is_crowded(&near.vectors, vectors.len()) {
        return Err(Fault::unavailable("most of what it found is gone by now"));
    }
    Ok(Candidates { words, vectors, here })
}

/// How the server is told which documents pass.
fn among(filter: &Filter, passing: Option<&HashSet<DocId>>) -> Result<Among> {
    let Some(passing) = passing else { return Ok(Among::All) };
    let of_collections = Filter { collections: filter.collections.clone(), ..Filter::default() };
    if *filter == of_collections {
        return Ok(Among::Collections(filter.collections.clone()));
    }
    if passing.len() > MOST_NAMED {
        return Err(Fault::unavailable(format!("{} documents pass the filter, too many to name", passing.len())));
    }
    let mut documents: Vec<DocId> = passing.iter().copied().collect();
    documents.sort_unstable();
    Ok(Among::Documents(documents))
}
