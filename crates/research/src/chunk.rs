//! Chunks: the pieces of a text that are found, embedded and cited. A text is cut where its structure says so: at
//! headings always, then between blocks, then between sentences, rows or lines. Where there is a choice the content
//! near the place decides, never a count from the begin, so that an edit changes only the chunks around it.

mod pieces;
mod split;

use serde::{Deserialize, Serialize};

use crate::names::ChunkHash;
use crate::texts::MOST_PASSAGE;
use extract::Extracted;

use self::pieces::{Piece, Run, runs};

/// The version of the rules by which texts are cut; a change re-indexes everything.
pub const CHUNKER: u32 = 3;

/// A piece of a document's text: bytes `start..end` of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Counts from 0 in its document.
    pub ordinal: u32,
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// The title and the headings above it, joined by ` › `.
    pub headings: String,
    /// Its first page, where there are pages.
    pub page: Option<u32>,
    /// Where later pages begin in it: first byte, page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<(u32, u32)>,
    /// Of its headings and its text.
    pub hash: ChunkHash,
    /// What is embedded of it, in order; together all of it. A vector of a long text says little of each part, words are
    /// better counted over more of it.
    pub parts: Vec<Part>,
}

/// A part of a chunk that has a vector of its own: bytes `start..end` of the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// Of the headings and its text; parts that are equal share a vector.
    pub hash: ChunkHash,
}

/// So many bytes a token has at most where it is cut: blanks are no tokens, and a passage that is read has a bound.
const BYTES_OF_TOKEN: usize = 64;

/// How long parts are: small models see 256 tokens, and the headings stand before it.
const PARTS: Sizing = Sizing { target_tokens: 140, most_tokens: 200 };

/// How long chunks are, in tokens as [`crate::text::tokens`] counts them, headings apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// About what they are in the middle; half of it is the least where a longer text is cut.
    pub target_tokens: u32,
    /// What none is longer than.
    pub most_tokens: u32,
}

impl Default for Sizing {
    fn default() -> Self {
        Self::aiming_at(310)
    }
}

impl Sizing {
    /// With the most that goes well with that target.
    pub fn aiming_at(target_tokens: u32) -> Self {
        let target_tokens = target_tokens.clamp(16, 100_000);
        Self { target_tokens, most_tokens: target_tokens * 16 / 11 }
    }

    /// The most bytes, blanks within it and all.
    fn most_bytes(self) -> usize {
        (self.most_tokens as usize).saturating_mul(BYTES_OF_TOKEN).min(MOST_PASSAGE)
    }
}

/// The chunks of a text, in order. Every character that is not blank is in exactly one, or in a heading above one.
/// `title` empty: as the text calls itself.
pub fn cut(extracted: &Extracted, title: &str, sizing: Sizing) -> Vec<Chunk> {
    let title = pieces::heading(if title.trim().is_empty() { &extracted.title } else { title });
    let mut chunks = Vec::new();
    for run in runs(extracted, sizing) {
        for range in split::split(&run.pieces, sizing) {
            let pieces = run.pieces.get(range).unwrap_or_default();
            if let (Some(first), Some(last)) = (pieces.first(), pieces.last()) {
                let headings = joined(&title, &run, first.start);
                let text = extracted.text.get(first.start as usize..last.end as usize).unwrap_or_default();
                chunks.push(Chunk {
                    ordinal: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
                    start: first.start,
                    end: last.end,
                    hash: ChunkHash::of(&headings, text),
                    parts: parts(&headings, &extracted.text, pieces),
                    headings,
                    page: first.page,
                    turns: turns(pieces),
                });
            }
        }
    }
    chunks
}

/// Where pages begin behind the first piece.
fn turns(pieces: &[Piece]) -> Vec<(u32, u32)> {
    let pairs = pieces.windows(2).filter_map(|pair| match pair {
        [before, piece] if piece.page != before.page => Some((piece.start, piece.page?)),
        _ => None,
    });
    pairs.collect()
}

/// What is embedded of a part: the headings of its chunk, then its characters.
pub fn embed_text(headings: &str, passage: &str) -> String {
    if headings.is_empty() { passage.to_owned() } else { format!("{headings}\n{passage}") }
}

/// The parts of a chunk that has these pieces, cut by the same rule as chunks are.
fn parts(headings: &str, text: &str, pieces: &[Piece]) -> Vec<Part> {
    let mut parts = Vec::new();
    for range in split::split(pieces, PARTS) {
        let pieces = pieces.get(range).unwrap_or_default();
        if let (Some(first), Some(last)) = (pieces.first(), pieces.last()) {
            let text = text.get(first.start as usize..last.end as usize).unwrap_or_default();
            parts.push(Part { start: first.start, end: last.end, hash: ChunkHash::of(headings, text) });
        }
    }
    parts
}

/// The title and the headings; a heading that only says the title again is left out. Behind the begin of a long table
/// its first row counts as one more.
fn joined(title: &str, run: &Run, start: u32) -> String {
    let is_title = |heading: &str| heading.to_lowercase() == title.to_lowercase();
    let headings = run.path.iter().map(String::as_str).filter(|heading| !is_title(heading));
    let row = run.table.as_ref().filter(|table| start > table.start).map(|table| table.header.as_str());
    let all = std::iter::once(title).chain(headings).chain(row).filter(|part| !part.is_empty());
    all.collect::<Vec<_>>().join(" › ")
}

#[cfg(test)]
mod tests;
