//! A large document on its way into the index: cut beside everything else, then written a slice at a time, so that what
//! comes meanwhile is not held up. Nobody finds it before its last slice; its old version is found until then.

use std::ops::Range;
use std::sync::Arc;

use base::BoxFuture;
use extract::Extracted;

use super::text_here;
use crate::blobs::Blobs;
use crate::blocking;
use crate::chunk::{self, Chunk, Sizing};
use crate::document::{Document, State};
use crate::index::{self, Basis, IndexChange, Indexed};
use crate::names::{BlobId, CollectionName, DocId};

/// A text of more characters is written in slices: it takes longer than a batch.
const LARGE_CHARS: u64 = 1 << 20;
/// Chunks of a slice, which takes well below a second.
const SLICE_CHUNKS: usize = 256;

/// A document that is being cut or written.
pub(super) struct Large {
    /// Which.
    pub of: (CollectionName, DocId),
    /// Its text.
    pub text: BlobId,
    basis: Basis,
    key: u64,
    stage: Stage,
}

enum Stage {
    /// Gives `None` where the text is not here.
    Cutting(BoxFuture<'static, Option<Cut>>),
    Writing {
        cut: Cut,
        next: usize,
    },
}

/// A text and its chunks.
pub(super) struct Cut {
    extracted: Extracted,
    chunks: Arc<[Chunk]>,
}

impl Cut {
    /// A document's chunks, with the title that its record has.
    pub(super) fn of(document: &Document, extracted: Extracted, chunk_tokens: u32) -> Self {
        let chunks = chunk::cut(&extracted, &document.meta.title, Sizing::aiming_at(chunk_tokens)).into();
        Self { extracted, chunks }
    }

    /// A change that puts some of the chunks.
    pub(super) fn change(&self, document: Arc<Document>, basis: Basis, slice: Range<usize>) -> IndexChange {
        let from = slice.start;
        let text = |chunk: &Chunk| {
            let text = self.extracted.text.get(chunk.start as usize..chunk.end as usize);
            text.unwrap_or_default().to_owned()
        };
        let texts = self.chunks.get(slice).unwrap_or_default().iter().map(text).collect();
        IndexChange::Put { indexed: Indexed { document, basis, chunks: self.chunks.clone() }, from, texts }
    }

    /// All of its chunks.
    pub(super) fn all(&self) -> Range<usize> {
        0..self.chunks.len()
    }
}

impl Large {
    /// Whether a document is so large.
    pub(super) fn is(document: &Document) -> bool {
        matches!(document.state, State::Ready { chars, .. } if chars > LARGE_CHARS)
    }

    /// Begins to cut one.
    pub(super) fn begin(blobs: Blobs, document: Arc<Document>, text: BlobId, basis: Basis, chunk_tokens: u32) -> Self {
        let (of, key) = ((document.collection.clone(), document.id), index::key(&document, basis));
        let cutting = async move {
            let extracted = text_here(blobs, text).await?;
            blocking(move || Ok(Cut::of(&document, extracted, chunk_tokens))).await.ok()
        };
        Self { of, text, basis, key, stage: Stage::Cutting(Box::pin(cutting)) }
    }

    /// Whether there is something to write.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self.stage, Stage::Writing { .. })
    }

    /// Whether that is what it is made from.
    pub(super) fn is_of(&self, document: &Document, basis: Basis) -> bool {
        index::key(document, basis) == self.key
    }

    /// What takes back what was written of it.
    pub(super) fn abandoned(&self) -> IndexChange {
        IndexChange::Abandon(self.key)
    }

    /// The next slice, by the newest record; and whether it is the last one. `None`: it is not cut yet.
    pub(super) fn next_slice(&mut self, document: Arc<Document>) -> Option<(IndexChange, bool)> {
        let Stage::Writing { cut, next } = &mut self.stage else { return None };
        let all = cut.all().end;
        let slice = *next..all.min(*next + SLICE_CHUNKS);
        *next = slice.end;
        Some((cut.change(document, self.basis, slice.clone()), slice.end == all))
    }
}

/// Waits until the document is cut; for ever where there is nothing to wait for. `false`: its text is not here.
pub(super) async fn cut(large: &mut Option<Large>) -> bool {
    match large {
        Some(Large { stage, .. }) => match stage {
            Stage::Cutting(cutting) => match cutting.await {
                Some(cut) => {
                    *stage = Stage::Writing { cut, next: 0 };
                    true
                }
                None => false,
            },
            Stage::Writing { .. } => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
