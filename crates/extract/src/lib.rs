//! From bytes of many kinds to plain text with its structure. What is read is hostile until proved otherwise.
//!
//! [`read`] is pure: nothing is fetched, run or written, and every limit is a constant of [`limits`]. Formats whose
//! parsers may loop, crash or eat memory are read in a process of their own, by [`child::Reader`].

use serde::{Deserialize, Serialize};

mod archive;
pub mod child;
mod code;
mod dates;
mod decode;
mod docx;
mod draft;
mod epub;
mod format;
mod html;
pub mod limits;
mod markdown;
mod odt;
mod pdf;
mod plain;
mod pptx;
mod read_error;
mod sheet;
mod xml;

use format::Format;
pub use read_error::ReadError;

/// The version of the code that reads documents; one that an older version read may be read again.
pub const READER: u32 = 1;

/// What is known of bytes beside themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint<'a> {
    /// Media type, such as `text/markdown`; empty: unknown.
    pub media: &'a str,
    /// Last part of the path that they come from; empty: unknown. It is never used as a path.
    pub name: &'a str,
}

/// All words of a text with one blank between them.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Reads a document. Pure, but for what a parser may do to the memory and the time of its process.
pub fn read(bytes: &[u8], hint: &Hint<'_>) -> Result<Extracted, ReadError> {
    limits::within("bytes of the document", bytes.len(), limits::INPUT_BYTES)?;
    let extracted = match Format::of(bytes, hint)? {
        Format::Plain => plain::read(bytes),
        Format::Rows => plain::rows(bytes),
        Format::Markdown => markdown::read(bytes),
        Format::Html => html::read(bytes, charset_of(hint.media)),
        Format::Pdf => pdf::read(bytes),
        Format::Code => code::read(bytes, hint.name),
        Format::Docx => docx::read(bytes),
        Format::Odt => odt::read(bytes),
        Format::Pptx => pptx::read(bytes),
        Format::Sheet => sheet::read(bytes),
        Format::Epub => epub::read(bytes),
    }?;
    check(&extracted).map_err(|why| ReadError::Confused { why })?;
    if extracted.blocks.is_empty() { Err(ReadError::Empty) } else { Ok(extracted) }
}

/// Whether blocks are in order, on character bounds, not blank and inside the text, with nothing but blanks between
/// them; if not, what is wrong.
pub fn check(extracted: &Extracted) -> Result<(), String> {
    if u32::try_from(extracted.text.len()).is_err() {
        return Err("the text is longer than spans can count".to_owned());
    }
    let mut behind = 0;
    for (at, block) in extracted.blocks.iter().enumerate() {
        let (start, end) = (block.start as usize, block.end as usize);
        let between = extracted.text.get(behind..start).ok_or_else(|| format!("block {at} begins at a wrong place"))?;
        let text = extracted.text.get(start..end).ok_or_else(|| format!("block {at} ends at a wrong place"))?;
        if !between.trim().is_empty() {
            return Err(format!("text before block {at} is in no block"));
        }
        if text.trim().is_empty() {
            return Err(format!("block {at} is blank"));
        }
        behind = end;
    }
    match extracted.text.get(behind..) {
        Some(rest) if rest.trim().is_empty() => Ok(()),
        _ => Err("text at the end is in no block".to_owned()),
    }
}

/// What it is, by its first bytes, where no reader would find a letter in it: a picture, a program, an archive, raw data.
pub fn no_document(bytes: &[u8]) -> Option<&'static str> {
    format::no_document(bytes)
}

/// Whether a document of that name is read as source code, or as data that only makes sense as it stands.
pub fn is_code(name: &str) -> bool {
    format::Format::of_name(name) == Some(format::Format::Code)
}

/// The `charset` of a media type.
fn charset_of(media: &str) -> Option<&str> {
    media.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

/// What kind of document it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text without marks.
    #[default]
    Plain,
    /// CommonMark or GFM.
    Markdown,
    /// A page; only its main content was taken.
    Html,
    /// Pages of text.
    Pdf,
    /// Source code.
    Code,
    /// A text of an office program.
    Office,
    /// Sheets of cells.
    Sheet,
}

/// The text of a document, with its structure. All that is ever cited is a span of `text`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// What it calls itself; empty where it does not.
    pub title: String,
    /// What it was.
    pub kind: Kind,
    /// Every character that can be found and cited.
    pub text: String,
    /// The parts of `text`, in order, without overlap; what lies between them is blank.
    pub blocks: Vec<Block>,
    /// When it says that it was written, Unix milliseconds.
    pub dated_ms: Option<u64>,
    /// What could not be read, and why.
    pub notes: Vec<String>,
}

/// A part of a text: bytes `start..end` of it, on character bounds, not blank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// What it is.
    pub shape: Shape,
    /// Page, from 1, where there are pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
}

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// A heading of that level, from 1.
    Heading(u8),
    /// Sentences.
    Paragraph,
    /// An item of a list.
    Item,
    /// A table, a row a line.
    Table,
    /// Lines that only make sense as they stand; in source code, an item such as a function.
    Code,
}

impl Extracted {
    /// The characters of a block.
    pub fn of(&self, block: &Block) -> &str {
        self.text.get(block.start as usize..block.end as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
