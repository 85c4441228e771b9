//! The other nodes, as a knowledge base uses them: they keep copies of files, and have vectors that need not be made again.

use base::report::ResearchReport;
use base::{BoxFuture, Result};
use bytes::Bytes;

use crate::models::Embedder;
use crate::names::{BlobId, ChunkHash};

/// Chunks with their vectors.
pub type VectorsOf = Vec<(ChunkHash, Vec<f32>)>;

/// The other nodes that keep documents.
pub trait Neighbours: Send + Sync {
    /// Has one other node keep these files; `true` once they are durable there. `false`: there is no other node in the
    /// cluster that keeps documents. A fault: there is, and none of them can be reached now.
    fn keep(&self, files: Vec<Bytes>) -> BoxFuture<'_, Result<bool>>;

    /// A file that some other node has; `None`: nobody that can be reached has it.
    fn fetch(&self, id: BlobId) -> BoxFuture<'_, Result<Option<Bytes>>>;

    /// The other nodes that keep documents: their names, whether they can be reached, and what they told last.
    fn holders(&self) -> Vec<(String, String, ResearchReport)>;

    /// The names of the other nodes that keep documents, or may: also of those of which nothing was heard yet.
    fn names(&self) -> Vec<String>;

    /// Those of the vectors that another node has.
    fn vectors<'a>(&'a self, by: &'a Embedder, of: Vec<ChunkHash>) -> BoxFuture<'a, Result<VectorsOf>>;
}

/// A node alone.
pub struct Nobody;

impl Neighbours for Nobody {
    fn keep(&self, _: Vec<Bytes>) -> BoxFuture<'_, Result<bool>> {
        Box::pin(std::future::ready(Ok(false)))
    }

    fn fetch(&self, _: BlobId) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn holders(&self) -> Vec<(String, String, ResearchReport)> {
        Vec::new()
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn vectors<'a>(&'a self, _: &'a Embedder, _: Vec<ChunkHash>) -> BoxFuture<'a, Result<VectorsOf>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}
