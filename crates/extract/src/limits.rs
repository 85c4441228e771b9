//! How much a document may be, and may become. Over a limit a document is refused with the limit's name: half a text
//! that looks whole would be worse than none.

use super::ReadError;

/// Bytes of a document as it comes.
pub const INPUT_BYTES: usize = 64 << 20;
/// Bytes that all parts of an archive are unpacked to, together.
pub const UNPACKED_BYTES: usize = 256 << 20;
/// How many times larger than packed a part of an archive may be; real texts in XML stay below 100.
pub const UNPACKED_RATIO: u64 = 500;
/// Below this a part is unpacked whatever its ratio: a short file of equal rows packs very well, and harms nobody.
pub const UNPACKED_UNRATED_BYTES: u64 = 4 << 20;
/// Parts of an archive.
pub const ARCHIVE_PARTS: usize = 20_000;
/// Bytes of text that come out.
pub const TEXT_BYTES: usize = 16 << 20;
/// Blocks of text.
pub const BLOCKS: usize = 200_000;
/// Elements inside each other. Browsers stop at 512 as well.
pub const DEPTH: usize = 512;
/// Nodes of a page's tree.
pub const NODES: usize = 1_000_000;
/// Pages of a PDF.
pub const PAGES: usize = 20_000;
/// Characters of a page of a PDF.
pub const PAGE_CHARS: usize = 1_000_000;
/// Notes of a document; the last one says how many more there were.
pub const NOTES: usize = 32;
/// Bytes of a title.
pub const TITLE_BYTES: usize = 500;

/// A fault that names the limit, if there are more than it allows.
pub(super) fn within(what: &'static str, are: usize, limit: usize) -> Result<(), ReadError> {
    if are > limit { Err(ReadError::TooMuch { what: what.to_owned(), limit: limit as u64 }) } else { Ok(()) }
}

/// Whether bytes that are letters, and nothing else, can become a text; letters take two bytes at most as ASCII does.
pub(super) fn letters(bytes: &[u8]) -> Result<(), ReadError> {
    within("bytes of text", bytes.len() / 2, TEXT_BYTES)
}
