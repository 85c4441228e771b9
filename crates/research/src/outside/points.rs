//! What stands in a point: its name, its words as numbers, its vectors. Pure.
//!
//! Words are weighed as the nodes' own index weighs them: stems of headings and text, those of the headings once more, and
//! stems side by side. How telling a stem is the server counts itself.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use super::{Placed, Point, PointId, Sparse};
use crate::chunk::Chunk;
use crate::document::Document;
use crate::index::{PAIRS_WEIGHT, TITLE_WEIGHT, pairs};
use crate::names::{ChunkHash, DocId};
use crate::text::Terms;

/// BM25: how soon more of the same stem says nothing new, how much long chunks are held back, what is usual.
const K1: f32 = 1.2;
const B: f32 = 0.75;
const USUAL_STEMS: [f32; 3] = [180.0, 6.0, 180.0];

/// Where a stem was seen; the same stem is another word in each.
#[derive(Clone, Copy)]
enum Seen {
    Anywhere,
    InHeadings,
    SideBySide,
}

impl PointId {
    /// The name of a chunk at a place.
    pub fn of(document: DocId, ordinal: u32, chunk: ChunkHash) -> Self {
        let mut hash = Sha256::new();
        hash.update(document.0);
        hash.update(ordinal.to_le_bytes());
        hash.update(chunk.0);
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        // The bits that a UUID of one's own making (version 8) has.
        let id = u128::from_be_bytes(id) & !(0xf << 76) & !(0b11 << 62);
        Self(id | (8 << 76) | (0b10 << 62))
    }

    /// As UUIDs are written.
    pub fn uuid(self) -> String {
        let hex = format!("{:032x}", self.0);
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
    }

    /// Reads a UUID.
    pub fn parse(uuid: &str) -> Option<Self> {
        let hex: String = uuid.chars().filter(|c| *c != '-').collect();
        (hex.len() == 32).then(|| u128::from_str_radix(&hex, 16).ok().map(Self)).flatten()
    }
}

/// The point of a chunk; `text` are its characters, `vectors` those of its parts that are there.
pub fn point(document: &Document, chunk: &Chunk, text: &str, terms: &mut Terms, vectors: Vec<Vec<f32>>) -> Point {
    Point {
        placed: Placed {
            id: PointId::of(document.id, chunk.ordinal, chunk.hash),
            document: document.id,
            collection: document.collection.clone(),
            ordinal: chunk.ordinal,
            chunk: chunk.hash,
            version: document.version,
            vectors: vectors.len() as u32,
        },
        span: (chunk.start, chunk.end),
        parts: chunk.parts.iter().map(|part| part.hash).collect(),
        words: words(&terms.telling(&chunk.headings), &terms.telling(text)),
        vectors,
    }
}

/// What a chunk of these stems weighs by each of them.
fn words(title: &[String], body: &[String]) -> Sparse {
    let side_by_side: Vec<String> = pairs(title).chain(pairs(body)).collect();
    let all = [
        (Seen::Anywhere, title.iter().chain(body).map(String::as_str).collect::<Vec<_>>()),
        (Seen::InHeadings, title.iter().map(String::as_str).collect()),
        (Seen::SideBySide, side_by_side.iter().map(String::as_str).collect()),
    ];
    let mut weights = BTreeMap::new();
    for ((seen, stems), usual) in all.into_iter().zip(USUAL_STEMS) {
        let mut counts: BTreeMap<&str, f32> = BTreeMap::new();
        stems.iter().for_each(|stem| *counts.entry(stem).or_default() += 1.0);
        let length = K1 * (1.0 - B + B * stems.len() as f32 / usual);
        for (stem, count) in counts {
            *weights.entry(place(seen, stem)).or_default() += count * (K1 + 1.0) / (count + length);
        }
    }
    sparse(weights)
}

/// What a question of these stems, in their order, looks for.
pub fn question(terms: &[String]) -> Sparse {
    let mut weights: BTreeMap<u32, f32> = BTreeMap::new();
    for term in terms {
        *weights.entry(place(Seen::Anywhere, term)).or_default() += 1.0;
        *weights.entry(place(Seen::InHeadings, term)).or_default() += TITLE_WEIGHT;
    }
    for pair in pairs(terms) {
        *weights.entry(place(Seen::SideBySide, &pair)).or_default() += PAIRS_WEIGHT;
    }
    sparse(weights)
}

fn sparse(weights: BTreeMap<u32, f32>) -> Sparse {
    let (indices, values) = weights.into_iter().unzip();
    Sparse { indices, values }
}

/// Two stems of a million share a place by chance one in four thousand times; they are taken for one, which only makes
/// a candidate that the exact scores put to its place.
fn place(seen: Seen, stem: &str) -> u32 {
    let mark = match seen {
        Seen::Anywhere => "",
        Seen::InHeadings => "\0h",
        Seen::SideBySide => "\0s",
    };
    xxh3_64(format!("{stem}{mark}").as_bytes()) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::models::Embedder;
    use crate::outside::collection_of;

    fn stems(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn score(question: &Sparse, chunk: &Sparse) -> f32 {
        let of = |index| chunk.indices.iter().position(|at| at == index).and_then(|at| chunk.values.get(at));
        question.indices.iter().zip(&question.values).map(|(index, weight)| weight * of(index).unwrap_or(&0.0)).sum()
    }

    #[test]
    fn a_chunk_that_says_more_of_the_question_is_nearer() {
        let asked = question(&stems("failed disk"));
        let with = |title: &str, body: &str| score(&asked, &words(&stems(title), &stems(body)));
        let alone = with("", "disk green blue");
        assert!(alone > 0.0 && with("", "network cable") == 0.0);
        assert!(with("disk", "green blue") > alone, "headings weigh more");
        assert!(with("", "failed disk blue") > with("", "disk blue failed"), "side by side weighs more");
        assert!(with("", &"disk ".repeat(50)) < 3.0 * alone, "the same again says little");
        assert!(with("", &format!("disk {}", "other ".repeat(500))) < alone, "long chunks are held back");
    }

    #[test]
    fn vectors_of_two_embedders_never_meet() {
        let by = |model: &str, dims| Embedder { model: model.to_owned(), dims };
        let names = [
            collection_of("house", None),
            collection_of("house", Some(&by("one", 384))),
            collection_of("house", Some(&by("two", 384))),
            collection_of("house", Some(&by("one", 768))),
            collection_of("lab", Some(&by("one", 384))),
        ];
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_is_written(document: [u8; 12], ordinal: u32, chunk: [u8; 16]) {
            let id = PointId::of(DocId(document), ordinal, ChunkHash(chunk));
            let uuid = id.uuid();
            prop_assert_eq!(PointId::parse(&uuid), Some(id));
            prop_assert_eq!((uuid.len(), uuid.chars().nth(14)), (36, Some('8')));
            prop_assert_ne!(PointId::of(DocId(document), ordinal ^ 1, ChunkHash(chunk)), id);
        }

        #[test]
        fn places_are_in_order_and_each_stands_once(title in "[a-e ]{0,20}", body in "[a-e ]{0,60}") {
            let words = words(&stems(&title), &stems(&body));
            prop_assert!(words.indices.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(words.values.iter().all(|value| value.is_finite() && *value > 0.0));
        }
    }
}
