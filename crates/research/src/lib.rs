//! A knowledge base of the house: documents become chunks and an index, questions become answers that name their sources.
//!
//! The truth is small: a record of each document in the store (`shelf`), and its bytes and text in content-addressed
//! files (`blobs`). Everything that a search reads is derived from it by each holder, and can be made anew: chunks
//! (`chunk`), the text index (`index`), vectors (`vectors`). What a sentence of an answer says it cites is checked by the
//! program, never by a model (`answer`). Models are behind a port (`models`); without any, answers are sentences as they
//! stand in the sources.

pub mod address;
pub mod answer;
pub mod blobs;
pub mod bounds;
pub mod chunk;
pub mod clusters;
pub mod document;
pub mod fetch;
pub mod filter;
pub mod folders;
pub mod hit;
pub mod index;
pub mod indexing;
pub mod intake;
pub mod knowledge;
pub mod library;
pub mod likeness;
pub mod models;
pub mod names;
pub mod neighbours;
pub mod outside;
#[cfg(feature = "qdrant")]
pub mod qdrant;
pub mod rounds;
pub mod search;
pub mod shelf;
pub mod text;
pub mod texts;
pub mod vectors;
pub mod wire;

pub use document::{Document, Meta, NewDocument, NewMeta, State};
pub use knowledge::Knowledge;
pub use names::{BlobId, ChunkHash, CollectionName, DocId};

/// Whether the operating system says that there is no room on the disk.
fn is_full_disk(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// Does work that blocks, off the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> base::Result<T> + Send + 'static) -> base::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => Err(base::Fault::internal("work on documents broke off").because(panic)),
    }
}
