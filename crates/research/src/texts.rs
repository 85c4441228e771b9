//! The text of a document as a stored file: its structure in front, then the characters as they are, so that a passage
//! is read without reading the rest.
//!
//! `TMT1`, the length of the structure as a little-endian u32, the structure as JSON, the text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use base::{Fault, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::blobs::{Blobs, Part};
use crate::names::BlobId;
use extract::{Block, Extracted, Kind};

const MAGIC: &[u8; 4] = b"TMT1";
const HEAD: usize = 8;
/// More characters than this are not read at once.
pub(crate) const MOST_PASSAGE: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Structure<'a> {
    title: Cow<'a, str>,
    kind: Kind,
    blocks: Cow<'a, [Block]>,
    dated_ms: Option<u64>,
    notes: Cow<'a, [String]>,
}

/// The file of a text.
pub fn write(extracted: &Extracted) -> Result<Bytes> {
    let Extracted { title, kind, text, blocks, dated_ms, notes } = extracted;
    let (kind, dated_ms) = (*kind, *dated_ms);
    let structure = Structure { title: title.into(), kind, blocks: blocks.into(), dated_ms, notes: notes.into() };
    let structure = serde_json::to_vec(&structure)
        .map_err(|error| Fault::internal("could not write the structure of a text").because(error))?;
    let mut file = Vec::with_capacity(HEAD + structure.len() + text.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&(structure.len() as u32).to_le_bytes());
    file.extend_from_slice(&structure);
    file.extend_from_slice(text.as_bytes());
    Ok(file.into())
}

/// The text in a file.
pub fn read(file: &[u8]) -> Result<Extracted> {
    let (head, rest) = file.split_at_checked(HEAD).ok_or_else(damaged)?;
    let (structure, text) = rest.split_at_checked(structure_bytes(head)?).ok_or_else(damaged)?;
    let Structure { title, kind, blocks, dated_ms, notes } =
        serde_json::from_slice(structure).map_err(|error| damaged().because(error))?;
    let text = std::str::from_utf8(text).map_err(|error| damaged().because(error))?.to_owned();
    let (title, blocks, notes) = (title.into_owned(), blocks.into_owned(), notes.into_owned());
    Ok(Extracted { title, kind, text, blocks, dated_ms, notes })
}

/// A text that is open, for reading passages of it.
pub struct Open {
    file: Part,
    /// Where the text begins.
    text: u64,
    /// Characters before bytes of the text, as far as they were counted.
    counted: BTreeMap<u32, u64>,
}

impl Open {
    /// Opens a stored text; `None` where it is not on this node.
    pub fn of(blobs: &Blobs, id: BlobId) -> Result<Option<Self>> {
        let Some(file) = blobs.open_part(id)? else { return Ok(None) };
        let mut head = [0; HEAD];
        file.read_exact_at(&mut head, 0).map_err(|error| damaged().because(error))?;
        let text = (HEAD + structure_bytes(&head)?) as u64;
        Ok(Some(Self { file, text, counted: BTreeMap::new() }))
    }

    /// Bytes of the text, which begin and end between characters.
    pub fn passage(&self, bytes: Range<u32>) -> Result<String> {
        let len = bytes.end.saturating_sub(bytes.start) as usize;
        if len > MOST_PASSAGE {
            return Err(Fault::internal(format!("a passage of {len} bytes is not read at once")));
        }
        let mut passage = vec![0; len];
        let at = self.text + u64::from(bytes.start);
        self.file.read_exact_at(&mut passage, at).map_err(|error| damaged().because(error))?;
        String::from_utf8(passage).map_err(|error| damaged().because(error))
    }

    /// How many characters the first so many bytes are; counts from the nearest place before it that was asked for.
    pub fn chars_before(&mut self, bytes: u32) -> Result<u64> {
        let known = self.counted.range(..=bytes).next_back();
        let (mut done, mut chars) = known.map_or((0, 0), |(bytes, chars)| (*bytes as usize, *chars));
        let mut piece = vec![0; MOST_PASSAGE.min(bytes as usize - done)];
        while done < bytes as usize {
            let len = piece.len().min(bytes as usize - done);
            let piece = piece.get_mut(..len).unwrap_or_default();
            self.file.read_exact_at(piece, self.text + done as u64).map_err(|error| damaged().because(error))?;
            // Every byte that begins a character.
            chars += piece.iter().filter(|byte| **byte & 0xC0 != 0x80).count() as u64;
            done += len;
        }
        self.counted.insert(bytes, chars);
        Ok(chars)
    }
}

fn structure_bytes(head: &[u8]) -> Result<usize> {
    let (magic, len) = head.split_at_checked(MAGIC.len()).ok_or_else(damaged)?;
    let len: [u8; 4] = len.try_into().map_err(|_| damaged())?;
    if magic != MAGIC {
        return Err(damaged());
    }
    Ok(u32::from_le_bytes(len) as usize)
}

fn damaged() -> Fault {
    Fault::internal("the stored text of a document cannot be read")
        .hint("it is fetched from another node, or made anew when the document is added again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use extract::Shape;

    #[test]
    fn a_passage_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let text = "Über Pumpen.\n\nZwei Ventile.".to_owned();
        let block = |start, end| Block { start, end, shape: Shape::Paragraph, page: None };
        let blocks = vec![block(0, 13), block(15, text.len() as u32)];
        let extracted = Extracted { title: "Pumpen".into(), text, blocks, ..Extracted::default() };
        let file = write(&extracted).unwrap();
        assert_eq!(read(&file).unwrap(), extracted);
        let mut open = Open::of(&blobs, blobs.put(&file).unwrap()).unwrap().unwrap();
        assert_eq!(open.passage(15..28).unwrap(), "Zwei Ventile.");
        for (bytes, chars) in [(15, 14), (28, 27), (2, 1), (15, 14), (16, 15), (0, 0)] {
            assert_eq!(open.chars_before(bytes).unwrap(), chars, "{bytes}");
        }
        assert!(open.passage(15..99).is_err());
        assert!(read(&file[..9]).is_err());
        assert!(read(b"TMT1\xff\xff\xff\xff").is_err());
    }
}
