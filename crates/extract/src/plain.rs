//! Text without marks, and rows of values: both stay as they are, only blank lines divide them.

use std::ops::Range;

use super::draft::Draft;
use super::{Extracted, Kind, ReadError, Shape, decode, limits};

/// Paragraphs between blank lines.
pub(super) fn read(bytes: &[u8]) -> Result<Extracted, ReadError> {
    whole(bytes, Kind::Plain, Shape::Paragraph)
}

/// Values divided by commas or tabs, a row a line.
pub(super) fn rows(bytes: &[u8]) -> Result<Extracted, ReadError> {
    whole(bytes, Kind::Sheet, Shape::Table)
}

fn whole(bytes: &[u8], kind: Kind, shape: Shape) -> Result<Extracted, ReadError> {
    limits::letters(bytes)?;
    let decoded = decode::decode(bytes, None)?;
    let parts = between_blank_lines(&decoded.text).into_iter().map(|part| (shape, part)).collect();
    let mut draft = Draft::whole(kind, decoded.text, parts)?;
    draft.notes(decoded.notes);
    Ok(draft.finish())
}

/// Runs of lines that are not blank.
fn between_blank_lines(text: &str) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        if line.trim().is_empty() {
            if start < at {
                parts.push(start..at);
            }
            start = end;
        }
        at = end;
    }
    if start < at {
        parts.push(start..at);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(extracted: &Extracted) -> Vec<&str> {
        extracted.blocks.iter().map(|block| extracted.of(block)).collect()
    }

    #[test]
    fn blank_lines_divide_paragraphs_and_the_text_stays() {
        let text = "\n\nOne\ntwo.\r\n \t\r\nThree.\n\n\n  Four\n";
        let read = read(text.as_bytes()).unwrap();
        assert_eq!(blocks(&read), ["One\ntwo.", "Three.", "  Four"]);
        assert_eq!(read.text, text.replace('\r', ""));
        assert_eq!((read.title.as_str(), read.kind), ("", Kind::Plain));
    }

    #[test]
    fn rows_are_tables() {
        let read = rows(b"name,size\nnas,4 TB\n").unwrap();
        assert_eq!(blocks(&read), ["name,size\nnas,4 TB"]);
        assert_eq!((read.kind, read.blocks[0].shape), (Kind::Sheet, Shape::Table));
    }
}
