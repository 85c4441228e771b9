//! A requirements document as it was written: its lines, its sections, and what in it looks odd.
//!
//! Whatever arrives is data. Lines that try to give orders to a model are named to the user and never obeyed.

mod lines;
mod oddities;
mod sections;

use std::fmt;

use base::Fault;
use base::error::Code;
use serde::{Deserialize, Serialize};

pub(crate) use lines::{Mark, is_rule};
pub(crate) use oddities::cells;

/// The largest document that is read.
pub const MAX_BYTES: usize = 16 << 20;

/// A document with its lines marked and its sections found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prd {
    /// The first heading of the document, or its first line.
    pub title: String,
    /// Every line as it stands in the document, without its line break.
    pub lines: Vec<String>,
    /// Flat and in order; together they hold every line exactly once.
    pub sections: Vec<Section>,
    /// What the reader noticed.
    pub oddities: Vec<Oddity>,
    pub(crate) marks: Vec<Mark>,
}

/// A heading with the lines up to the next heading of any level; lines count from 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// The heading without its marks; empty for the text before the first heading.
    pub heading: String,
    /// 1 to 6, and 0 for the text before the first heading.
    pub level: u8,
    /// The headings above it, the outermost first, and its own.
    pub path: Vec<String>,
    /// The line of the heading.
    pub first_line: u32,
    /// The last line before the next heading.
    pub last_line: u32,
}

/// Something in the document that a reader should know of before trusting the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oddity {
    /// The first line that it is about, from 1.
    pub first_line: u32,
    /// The last one.
    pub last_line: u32,
    /// What was seen, and what was made of it.
    pub what: String,
}

impl Oddity {
    pub(crate) fn new(first_line: u32, last_line: u32, what: impl Into<String>) -> Self {
        Self { first_line, last_line, what: what.into() }
    }
}

/// So many oddities help a reader; the rest are counted.
const MOST_ODDITIES: usize = 200;

/// Puts oddities in order and folds those beyond what a person reads.
pub(crate) fn in_order(mut oddities: Vec<Oddity>) -> Vec<Oddity> {
    oddities.sort_by_key(|oddity| (oddity.first_line, oddity.last_line));
    let rest = oddities.split_off(oddities.len().min(MOST_ODDITIES));
    if let (Some(first), Some(last)) = (rest.first(), rest.iter().map(|oddity| oddity.last_line).max()) {
        let what = format!("{} more like these, which are not listed", rest.len());
        oddities.push(Oddity::new(first.first_line, last, what));
    }
    oddities
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", lines_named(self.first_line, self.last_line), self.what)
    }
}

/// Lines of a document for people: `line 3`, `lines 3 to 5`.
pub fn lines_named(first: u32, last: u32) -> String {
    if first == last { format!("line {first}") } else { format!("lines {first} to {last}") }
}

/// Why a document could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrdError {
    /// Nothing but blank space.
    #[error("could not plan from an empty document")]
    Empty,
    /// Not text in an encoding that is read here.
    #[error("could not read the document as text: byte {at} is not text in UTF-8")]
    Binary {
        /// The place of the first byte that is not text, from 0.
        at: usize,
    },
    /// A character that no text has, and that ends one for many programs.
    #[error("could not read the document as text: there is a NUL character at byte {at}")]
    Nul {
        /// The place of the first one, from 0.
        at: usize,
    },
    /// Over [`MAX_BYTES`].
    #[error("could not read the document of {bytes} bytes: the limit is {MAX_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

impl From<PrdError> for Fault {
    fn from(error: PrdError) -> Self {
        let (code, hint) = match error {
            PrdError::Empty => (Code::InvalidArgument, "write down what is wanted, one requirement per line"),
            PrdError::Binary { .. } | PrdError::Nul { .. } => {
                (Code::InvalidArgument, "export it as plain text or Markdown in UTF-8")
            }
            PrdError::TooLarge { .. } => (Code::TooLarge, "split it, or leave attachments and logs out"),
        };
        Fault::new(code, error.to_string()).hint(hint)
    }
}

impl Prd {
    /// Reads a document. The size is looked at before anything else.
    pub fn read(bytes: &[u8]) -> Result<Self, PrdError> {
        let lines: Vec<String> = split(&text(bytes)?);
        let lines::Marked { mut marks, mut oddities } = lines::mark(&lines);
        oddities::mark_logs(&lines, &mut marks, &mut oddities);
        oddities::mark_instructions(&lines, &mut marks, &mut oddities);
        oddities::name_characters(&lines, &mut oddities);
        oddities::name_long_lines(&lines, &mut oddities);
        oddities::name_tables(&lines, &marks, &mut oddities);
        let sections = sections::find(&lines, &mut marks, &mut oddities);
        let titled = sections.iter().find(|section| !section.heading.is_empty());
        let title = match titled {
            Some(section) => section.heading.clone(),
            None => lines.iter().map(|line| line.trim()).find(|line| !line.is_empty()).unwrap_or("").to_owned(),
        };
        Ok(Self { title, lines, sections, oddities: in_order(oddities), marks })
    }

    /// The section that a line (from 1) is in.
    #[cfg(test)]
    pub fn section_at(&self, line: u32) -> usize {
        self.sections.partition_point(|section| section.first_line <= line).saturating_sub(1)
    }

    /// The lines `first` to `last` as they were written.
    #[cfg(test)]
    pub fn excerpt(&self, first: u32, last: u32) -> String {
        let start = (first.max(1) as usize - 1).min(self.lines.len());
        let end = (last as usize).clamp(start, self.lines.len());
        self.lines.get(start..end).unwrap_or_default().join("\n")
    }

    pub(crate) fn mark_at(&self, line: u32) -> Mark {
        self.marks.get((line as usize).saturating_sub(1)).copied().unwrap_or(Mark::Blank)
    }

    pub(crate) fn line(&self, line: u32) -> &str {
        self.lines.get((line as usize).saturating_sub(1)).map_or("", String::as_str)
    }
}

/// The text of a document that has one.
pub fn text(bytes: &[u8]) -> Result<String, PrdError> {
    let text = decode(bytes)?;
    if text.trim().is_empty() { Err(PrdError::Empty) } else { Ok(text) }
}

/// Reads UTF-8 with or without a byte order mark, and UTF-16 with one.
pub fn decode(bytes: &[u8]) -> Result<String, PrdError> {
    if bytes.len() > MAX_BYTES {
        return Err(PrdError::TooLarge { bytes: bytes.len() });
    }
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest, 3),
        _ => utf8(bytes, 0),
    }
}

fn utf8(bytes: &[u8], before: usize) -> Result<String, PrdError> {
    let read = std::str::from_utf8(bytes);
    let valid = read.as_ref().map_or_else(|error| error.valid_up_to(), |text| text.len());
    if let Some(at) = bytes.iter().take(valid).position(|&byte| byte == 0) {
        return Err(PrdError::Nul { at: before + at });
    }
    read.map(str::to_owned).map_err(|_| PrdError::Binary { at: before + valid })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, PrdError> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(pairs.len());
    let mut at = 2;
    for read in char::decode_utf16(pairs.iter().map(|&pair| unit(pair))) {
        match read {
            Ok('\0') => return Err(PrdError::Nul { at }),
            Err(_) => return Err(PrdError::Binary { at }),
            Ok(c) => text.push(c),
        }
        at += read.map_or(2, |c| c.len_utf16() * 2);
    }
    if odd.is_empty() { Ok(text) } else { Err(PrdError::Binary { at }) }
}

fn split(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        lines.extend(line.split('\r').map(str::to_owned));
    }
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

#[cfg(test)]
mod tests;
