//! The index when it is outgrown: a server of vectors beside the nodes gives candidates in place of their own index.
//!
//! What is true stays where it is: records, files, chunks, exact scores. The server has a point for each chunk and says
//! only which ones are worth a look; a point that this node's chunks do not know is no candidate, and documents that the
//! server does not have yet are looked for here. So an answer is the same with the server, without it, and while it lags.
//! [`Server`] is what such a server must do; `qdrant` does it.

pub mod aside;
pub mod points;
pub mod step;

use base::{BoxFuture, Result};
use serde::{Deserialize, Serialize};
use store::Revision;
use xxhash_rust::xxh3::xxh3_64;

use crate::models::Embedder;
use crate::names::{ChunkHash, CollectionName, DocId};

/// The version of what stands in a point; a change makes all of them anew, in a collection of another name.
const SCHEMA: u32 = 1;

/// A server of vectors. Every call ends by a deadline of its own.
pub trait Server: Send + Sync + 'static {
    /// Where it is, for people.
    fn address(&self) -> &str;

    /// What the names of all collections of this house begin with; others are never touched.
    fn prefix(&self) -> &str;

    /// Makes a collection where there is none of that name; vectors have so many numbers, `None`: there are only words.
    fn make<'a>(&'a self, collection: &'a str, dims: Option<u32>) -> BoxFuture<'a, Result<()>>;

    /// The collections of this house.
    fn collections(&self) -> BoxFuture<'_, Result<Vec<String>>>;

    /// Deletes a collection.
    fn delete<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Puts points of one version of their document; one that is there of a later version stays as it is.
    fn put<'a>(&'a self, collection: &'a str, version: u64, points: Vec<Point>) -> BoxFuture<'a, Result<()>>;

    /// Takes points out that are of no later version than that.
    fn take<'a>(&'a self, collection: &'a str, version: u64, ids: Vec<PointId>) -> BoxFuture<'a, Result<()>>;

    /// How many points there are.
    fn count<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// The next points by their ids, from one on, and where to go on; `None`: that was all.
    fn page<'a>(&'a self, collection: &'a str, from: Option<PointId>) -> BoxFuture<'a, Result<(Vec<Placed>, Next)>>;

    /// The best points by words and by vectors.
    fn find<'a>(&'a self, collection: &'a str, wanted: &'a Wanted) -> BoxFuture<'a, Result<Near>>;
}

/// Where a listing goes on.
pub type Next = Option<PointId>;

/// A point's name: of a document, a place in it, and what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointId(pub u128);

/// A chunk as the server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Where it stands.
    pub placed: Placed,
    /// Bytes of the document's text.
    pub span: (u32, u32),
    /// What has a vector of its own in it.
    pub parts: Vec<ChunkHash>,
    /// Its words.
    pub words: Sparse,
    /// The vectors of its parts, as far as there are any.
    pub vectors: Vec<Vec<f32>>,
}

/// What a point says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its name.
    pub id: PointId,
    /// Of which document.
    pub document: DocId,
    /// In which collection of the knowledge base.
    pub collection: CollectionName,
    /// Counts from 0 in its document.
    pub ordinal: u32,
    /// What stands there.
    pub chunk: ChunkHash,
    /// Of which version of its document.
    pub version: u64,
    /// How many of its parts have their vectors in it.
    pub vectors: u32,
}

/// Numbers at some of very many places, in the order of the places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sparse {
    /// The places, each once.
    pub indices: Vec<u32>,
    /// The number at each.
    pub values: Vec<f32>,
}

/// What is looked for. `None`: not that way.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// By words.
    pub words: Option<Sparse>,
    /// By a vector.
    pub vector: Option<Vec<f32>>,
    /// Among which documents.
    pub among: Among,
    /// The most points of each way.
    pub limit: usize,
}

/// Which points may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Among {
    /// All.
    All,
    /// Those of these collections.
    Collections(Vec<CollectionName>),
    /// Those of these documents.
    Documents(Vec<DocId>),
}

/// What was found, best first.
#[derive(Clone, Debug, Default)]
pub struct Near {
    /// By words.
    pub words: Vec<Placed>,
    /// By the vector.
    pub vectors: Vec<Placed>,
}

/// What the store says of the server: whether it is wanted, and what is known to be in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Searches stay with the nodes' own indexes, and the server is emptied.
    pub unwanted: bool,
    /// When somebody last asked to compare all of it, Unix milliseconds.
    pub asked_ms: u64,
    /// What is in it; `None`: nobody knows.
    pub filled: Option<Filled>,
}

/// What is in the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// In which of its collections.
    pub collection: String,
    /// The documents of all records up to this revision are.
    pub upto: u64,
    /// So many points.
    pub points: u64,
    /// The wish to compare that was done last.
    pub asked_ms: u64,
}

impl Filled {
    /// Whether a record of that revision is in it.
    pub fn has(&self, at: Revision) -> bool {
        at.0 <= self.upto
    }
}

/// The collection of the vectors of an embedder, or of words alone. Vectors of two embedders never meet.
pub fn collection_of(prefix: &str, by: Option<&Embedder>) -> String {
    let whose = by.map(|by| format!("{}/{}", by.dims, by.model)).unwrap_or_default();
    format!("{prefix}-{:016x}", xxh3_64(format!("{SCHEMA}/{whose}").as_bytes()))
}

#[cfg(test)]
mod tests;
