//! Groups of the documents of a collection: what they are compared by is gathered here, `clusters` does the rest.

use std::sync::Arc;

use base::Result;

use super::Library;
use super::serve::no_collection;
use crate::blobs::Blobs;
use crate::clusters::{self, Member, TEXT_BYTES};
use crate::index::Indexed;
use crate::knowledge::Clusters;
use crate::names::CollectionName;
use crate::search::{LeftOut, OpenTexts};
use crate::texts::MOST_PASSAGE;
use crate::{blocking, bounds, vectors};

/// The most groups that may be wished for.
pub(crate) const MOST_GROUPS: u32 = 200;

/// A document with what it is compared by.
struct Gathered {
    indexed: Arc<Indexed>,
    text: String,
    vector: Option<Vec<f32>>,
}

impl Library {
    /// Groups the documents of a collection.
    pub(super) async fn group(&self, collection: CollectionName, count: u32, svg: bool) -> Result<Clusters> {
        bounds::clusters(count)?;
        if self.records().await?.collection(&collection).is_none() {
            return Err(no_collection(&collection));
        }
        let (snapshot, blobs) = (self.snapshot().await?, self.blobs.clone());
        let vectors = self.vectors.in_use().map(|vectors| vectors.snapshot());
        blocking(move || {
            let (mut all, mut left_out) = (Vec::new(), LeftOut::default());
            for indexed in snapshot.documents().filter(|one| one.document.collection == collection) {
                match gather(indexed, vectors.as_deref(), &blobs) {
                    Ok(gathered) => all.push(gathered),
                    Err(fault) => left_out.add(&fault),
                }
            }
            let members: Vec<Member> = all.iter().map(member).collect();
            let mut groups = clusters::group(&members, (count > 0).then_some(count as usize));
            if let Some(note) = left_out.note() {
                groups.method = format!("{}; {note}", groups.method);
            }
            if svg {
                groups.svg = clusters::svg(&groups);
            }
            Ok(groups)
        })
        .await
    }
}

fn gather(indexed: &Arc<Indexed>, vectors: Option<&vectors::Snapshot>, blobs: &Blobs) -> Result<Gathered> {
    let start = indexed.chunks.first().map_or(0, |chunk| chunk.start);
    let ends = indexed.chunks.iter().map(|chunk| chunk.end);
    // Between two chunks may be any number of blanks.
    let mut ends = ends.take_while(|end| (end - start) as usize <= MOST_PASSAGE).peekable();
    let mut end = start;
    while let Some(next) = ends.next_if(|_| ((end - start) as usize) < TEXT_BYTES) {
        end = next;
    }
    let text = OpenTexts::of(blobs).passage(indexed, start..end)?;
    let mut vector: Option<Vec<f32>> = None;
    for part in indexed.chunks.iter().flat_map(|chunk| &chunk.parts) {
        let Some((vectors, row)) = vectors.and_then(|vectors| Some((vectors, vectors.row(&part.hash)?))) else {
            continue;
        };
        // It is left out, as long as it cannot be read.
        let Ok(own) = vectors.vector(row) else { continue };
        match &mut vector {
            Some(sum) => sum.iter_mut().zip(&own).for_each(|(sum, number)| *sum += number),
            None => vector = Some(own),
        }
    }
    Ok(Gathered { indexed: indexed.clone(), text, vector })
}

fn member(one: &Gathered) -> Member<'_> {
    let document = &one.indexed.document;
    Member {
        id: document.id,
        source: &document.source,
        title: &document.meta.title,
        text: &one.text,
        language: &document.language,
        vector: one.vector.as_deref(),
    }
}
