//! A text as runs of pieces: a run is what stands under one heading, a piece is what is not cut any more.

use std::mem::take;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::Sizing;
use crate::text::{sentences, tokens};
use extract::{Block, Extracted, Shape};

/// A longer heading is none, but a paragraph that looks like one: headings stand above each chunk again.
const MOST_HEADING_BYTES: usize = 200;
/// Deeper headings count as this deep, so that a path stays short.
const MOST_LEVEL: u8 = 6;
/// The begin of a piece decides whether it is cut there; its rest may change without moving the cut.
const DECIDING_BYTES: usize = 48;

/// Pieces with the same headings above them.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub path: Vec<String>,
    /// Of a table that is too long for one chunk, which is a run by itself.
    pub table: Option<Table>,
    pub pieces: Vec<Piece>,
}

#[derive(Debug)]
pub(super) struct Table {
    pub start: u32,
    pub header: String,
}

/// Bytes that stay together.
#[derive(Debug)]
pub(super) struct Piece {
    pub start: u32,
    pub end: u32,
    pub page: Option<u32>,
    pub tokens: u32,
    /// What a cut before it would part.
    pub bound: Bound,
    /// Among equal bounds the highest is cut first.
    pub weight: u64,
}

/// What a cut parts; later ones are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bound {
    Words,
    Sentences,
    /// Of code, behind a blank line.
    Parts,
    Items,
    Blocks,
}

/// The runs of a text, none without a piece.
pub(super) fn runs(extracted: &Extracted, sizing: Sizing) -> Vec<Run> {
    let sizing = Sizing { most_tokens: sizing.most_tokens.max(1), ..sizing };
    let mut reader = Reader { extracted, sizing, path: Vec::new(), bare: None, run: Run::default(), runs: Vec::new() };
    let mut before = None;
    for block in extracted.blocks.iter().filter(|block| !extracted.of(block).trim().is_empty()) {
        match block.shape {
            Shape::Heading(level) if extracted.of(block).len() <= MOST_HEADING_BYTES => reader.heading(block, level),
            Shape::Table if !reader.fits(extracted.of(block)) => reader.table(block),
            shape => reader
                .block(block, if before == Some(shape) && shape == Shape::Item { Bound::Items } else { Bound::Blocks }),
        }
        before = Some(block.shape);
    }
    reader.close();
    reader.bare();
    reader.runs
}

/// A heading without its marks, in one line; the end of a very long title is left out, and shown to be.
pub(super) fn heading(text: &str) -> String {
    let is_rule = |line: &str| line.trim().chars().all(|c| c == '=' || c == '-');
    let words: Vec<&str> = text.lines().filter(|line| !is_rule(line)).flat_map(str::split_whitespace).collect();
    let is_mark = |word: &&str| word.bytes().all(|byte| byte == b'#');
    let begin = usize::from(words.len() > 1 && words.first().is_some_and(is_mark));
    let end = words.len() - usize::from(words.len() > begin + 1 && words.last().is_some_and(is_mark));
    shortened(words.get(begin..end).unwrap_or_default().join(" "))
}

fn shortened(text: String) -> String {
    match text.get(..text.floor_char_boundary(MOST_HEADING_BYTES)) {
        Some(begin) if begin.len() < text.len() => format!("{}…", begin.trim_end()),
        _ => text,
    }
}

struct Reader<'a> {
    extracted: &'a Extracted,
    sizing: Sizing,
    path: Vec<(u8, String)>,
    /// The last heading, while nothing stands under it.
    bare: Option<&'a Block>,
    run: Run,
    runs: Vec<Run>,
}

impl<'a> Reader<'a> {
    /// Whether a text may be one piece.
    fn fits(&self, text: &str) -> bool {
        text.len() <= self.sizing.most_bytes() && tokens(text) <= self.sizing.most_tokens
    }

    fn heading(&mut self, block: &'a Block, level: u8) {
        self.close();
        let level = level.clamp(1, MOST_LEVEL);
        if self.path.last().is_some_and(|(above, _)| *above >= level) {
            self.bare();
        }
        self.path.retain(|(above, _)| *above < level);
        self.path.push((level, heading(self.extracted.of(block))));
        self.bare = Some(block);
    }

    /// A heading with nothing under it is found as a text of its own.
    fn bare(&mut self) {
        if let Some(block) = self.bare.take() {
            self.path.pop();
            self.block(block, Bound::Blocks);
            self.close();
        }
    }

    fn table(&mut self, block: &'a Block) {
        self.close();
        let first = self.extracted.of(block).lines().next().unwrap_or_default();
        let cells = first.split(['|', '\t']).map(str::trim).filter(|cell| !cell.is_empty());
        let header = shortened(cells.collect::<Vec<_>>().join(" | "));
        self.run.table = Some(Table { start: block.start, header });
        self.block(block, Bound::Blocks);
        self.close();
    }

    fn block(&mut self, block: &'a Block, bound: Bound) {
        self.bare = None;
        let text = self.extracted.of(block);
        if self.fits(text) {
            self.piece(block, 0..text.len(), bound);
            return;
        }
        let parts = match block.shape {
            Shape::Table | Shape::Code => lines(text),
            Shape::Paragraph | Shape::Item | Shape::Heading(_) => {
                sentences(text).into_iter().map(|range| (range, Bound::Sentences)).collect()
            }
        };
        for (at, (part, inner)) in parts.into_iter().enumerate() {
            let bound = if at == 0 { bound } else { inner };
            let shown = text.get(part.clone()).unwrap_or_default();
            if self.fits(shown) {
                self.piece(block, part, bound);
                continue;
            }
            for (at, (word, tokens)) in words(shown, self.sizing.most_tokens).into_iter().enumerate() {
                let bound = if at == 0 { bound } else { Bound::Words };
                self.piece_of(block, part.start + word.start..part.start + word.end, bound, tokens);
            }
        }
    }

    fn piece(&mut self, block: &Block, range: Range<usize>, bound: Bound) {
        let tokens = tokens(self.extracted.of(block).get(range.clone()).unwrap_or_default());
        self.piece_of(block, range, bound, tokens);
    }

    fn piece_of(&mut self, block: &Block, range: Range<usize>, bound: Bound, tokens: u32) {
        let text = self.extracted.of(block).get(range.clone()).unwrap_or_default();
        let begin = text.as_bytes().get(..DECIDING_BYTES).unwrap_or(text.as_bytes());
        // A block's bytes are counted in 32 bits, so that those of its parts are too.
        let place = |at: usize| block.start.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
        self.run.pieces.push(Piece {
            start: place(range.start),
            end: place(range.end),
            page: block.page,
            tokens,
            bound,
            weight: xxh3_64(begin),
        });
    }

    /// Ends the run.
    fn close(&mut self) {
        let mut run = take(&mut self.run);
        if !run.pieces.is_empty() {
            run.path = self.path.iter().map(|(_, heading)| heading.clone()).collect();
            self.runs.push(run);
        }
    }
}

/// Lines without the blank ones; code is better cut where a line at the margin follows a blank one.
fn lines(text: &str) -> Vec<(Range<usize>, Bound)> {
    let mut at = 0;
    let mut after_blank = false;
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        let shown = line.trim_end();
        if !shown.is_empty() {
            let is_part = after_blank && !line.starts_with(char::is_whitespace);
            lines.push((at..at + shown.len(), if is_part { Bound::Parts } else { Bound::Sentences }));
        }
        after_blank = shown.is_empty();
        at += line.len();
    }
    lines
}

/// Words and their tokens; those that are longer than a chunk, in parts of so many characters, which never make more
/// tokens. A long word makes more than its parts by themselves, so each counts what it adds to the one before it.
fn words(text: &str, most_tokens: u32) -> Vec<(Range<usize>, u32)> {
    let mut all = Vec::new();
    let mut start = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let shown = word.trim_end();
        let of_all = tokens(shown);
        if of_all <= most_tokens {
            if !shown.is_empty() {
                all.push((start..start + shown.len(), of_all));
            }
        } else {
            let mut bounds: Vec<usize> = shown.char_indices().step_by(most_tokens as usize).map(|(at, _)| at).collect();
            bounds.push(shown.len());
            let of = |from: usize, to: usize| tokens(shown.get(from..to).unwrap_or_default());
            let mut before = None;
            for (from, to) in bounds.iter().copied().zip(bounds.iter().skip(1).copied()) {
                // One more, since either side was rounded.
                let added = before.map_or(0, |before| of(before, to).saturating_sub(of(before, from)) + 1);
                all.push((start + from..start + to, of(from, to).max(added)));
                before = Some(from);
            }
        }
        start += word.len();
    }
    all
}
