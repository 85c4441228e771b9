//! A text in the making: blocks are put behind each other, and the limits are kept.

use std::ops::Range;

use super::{Block, Extracted, Kind, ReadError, Shape, limits};
use crate::one_line;

/// A text in the making.
pub(super) struct Draft {
    made: Extracted,
    /// The page on which the next blocks stand.
    pub(super) page: Option<u32>,
    untold: usize,
}

impl Draft {
    pub(super) fn new(kind: Kind) -> Self {
        Self { made: Extracted { kind, ..Extracted::default() }, page: None, untold: 0 }
    }

    /// A text that stays as it is, with the parts of it that are blocks; blank ones are left out.
    pub(super) fn whole(kind: Kind, text: String, parts: Vec<(Shape, Range<usize>)>) -> Result<Self, ReadError> {
        let mut draft = Self::new(kind);
        limits::within("bytes of text", text.len(), limits::TEXT_BYTES)?;
        for (shape, part) in parts {
            let Some(piece) = text.get(part.clone()) else { continue };
            // Spaces in front of a line of code belong to it, so only whole blank lines are cut off.
            let body = without_blank_lines(piece);
            if !body.trim().is_empty() {
                let start = part.start + (body.as_ptr() as usize - piece.as_ptr() as usize);
                draft.block(shape, start..start + body.len())?;
            }
        }
        draft.made.text = text;
        Ok(draft)
    }

    /// Puts a block at the end; a blank one is left out.
    pub(super) fn push(&mut self, shape: Shape, text: &str) -> Result<(), ReadError> {
        let text = if shape == Shape::Code { without_blank_lines(text) } else { text.trim() };
        if text.trim().is_empty() {
            return Ok(());
        }
        if !self.made.text.is_empty() {
            let are_items = shape == Shape::Item && self.made.blocks.last().is_some_and(|last| last.shape == shape);
            self.made.text.push_str(if are_items { "\n" } else { "\n\n" });
        }
        limits::within("bytes of text", self.made.text.len().saturating_add(text.len()), limits::TEXT_BYTES)?;
        let start = self.made.text.len();
        self.made.text.push_str(text);
        self.block(shape, start..self.made.text.len())
    }

    fn block(&mut self, shape: Shape, range: Range<usize>) -> Result<(), ReadError> {
        limits::within("blocks of text", self.made.blocks.len() + 1, limits::BLOCKS)?;
        let number = |at: usize| u32::try_from(at).map_err(|_| ReadError::Confused { why: "a long text".to_owned() });
        let (start, end) = (number(range.start)?, number(range.end)?);
        self.made.blocks.push(Block { start, end, shape, page: self.page });
        Ok(())
    }

    /// Says what could not be read.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if self.made.notes.contains(&note) {
            return;
        }
        if self.made.notes.len() < limits::NOTES { self.made.notes.push(note) } else { self.untold += 1 }
    }

    pub(super) fn notes(&mut self, notes: Vec<String>) {
        notes.into_iter().for_each(|note| self.note(note));
    }

    /// Sets the title, unless there is one already.
    pub(super) fn title(&mut self, title: &str) {
        if self.made.title.is_empty() {
            let mut words = one_line(title);
            // A title is shown, not cited: all of it stands in the text as well, or in the document's own fields.
            words.truncate(words.floor_char_boundary(limits::TITLE_BYTES));
            self.made.title = words;
        }
    }

    /// Sets the date, unless there is one already.
    pub(super) fn dated(&mut self, text: &str) {
        self.made.dated_ms = self.made.dated_ms.or_else(|| super::dates::parse(text));
    }

    pub(super) fn finish(mut self) -> Extracted {
        if self.untold > 0 {
            self.made.notes.push(format!("there are {} more notes", self.untold));
        }
        if self.made.title.is_empty() {
            let first = self.made.blocks.iter().find(|block| block.shape == Shape::Heading(1));
            if let Some(heading) = first.map(|block| self.made.of(block).to_owned()) {
                self.title(&heading);
            }
        }
        self.made
    }
}

/// A table in the making: a row a line, cells joined by ` | `.
#[derive(Default)]
pub(super) struct Rows {
    text: String,
    row: Vec<String>,
}

impl Rows {
    pub(super) fn cell(&mut self, text: &str) {
        self.row.push(one_line(text));
    }

    pub(super) fn end_row(&mut self) {
        while self.row.last().is_some_and(String::is_empty) {
            self.row.pop();
        }
        if !self.row.is_empty() {
            self.text.push_str(&self.row.join(" | "));
            self.text.push('\n');
        }
        self.row.clear();
    }

    pub(super) fn text(&mut self) -> String {
        self.end_row();
        std::mem::take(&mut self.text)
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }
}

/// Tables that may stand in each other's cells, each with the text of its open cell.
#[derive(Default)]
pub(super) struct Tables(Vec<(Rows, String)>);

impl Tables {
    pub(super) fn begin(&mut self) {
        self.0.push(Default::default());
    }

    /// The open cell; `None` outside of tables.
    pub(super) fn cell(&mut self) -> Option<&mut String> {
        self.0.last_mut().map(|(_, cell)| cell)
    }

    pub(super) fn end_cell(&mut self) {
        if let Some((rows, cell)) = self.0.last_mut() {
            rows.cell(&std::mem::take(cell));
        }
    }

    pub(super) fn end_row(&mut self) {
        self.0.last_mut().into_iter().for_each(|(rows, _)| rows.end_row());
    }

    /// Ends a table. One in another becomes a part of the cell where it stands.
    pub(super) fn end(&mut self, draft: &mut Draft) -> Result<(), ReadError> {
        let Some((mut rows, _)) = self.0.pop() else { return Ok(()) };
        match self.cell() {
            Some(cell) => cell.push_str(&rows.text()),
            None => draft.push(Shape::Table, &rows.text())?,
        }
        Ok(())
    }
}

/// Without blank lines at both ends and blanks at the end; what is left keeps the indentation of its first line.
fn without_blank_lines(text: &str) -> &str {
    let text = text.trim_end();
    let first = text.find(|letter: char| !letter.is_whitespace()).unwrap_or(text.len());
    let line = text.get(..first).and_then(|blank| blank.rfind('\n')).map_or(0, |at| at + 1);
    text.get(line..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_block_keeps_its_first_indentation() {
        assert_eq!(without_blank_lines("\n  \n    a\n  b\n\n"), "    a\n  b");
        assert_eq!(without_blank_lines("  a"), "  a");
        assert_eq!(without_blank_lines(" \n "), "");
    }

    #[test]
    fn too_many_blocks_are_refused_by_name() {
        let mut draft = Draft::new(Kind::Plain);
        let all: Result<(), _> = (0..=limits::BLOCKS).try_for_each(|_| draft.push(Shape::Paragraph, "a"));
        assert_eq!(all.unwrap_err().to_string(), "it is too large: more than 200000 blocks of text");
    }

    #[test]
    fn rows_leave_out_empty_cells_at_their_ends_only() {
        let mut rows = Rows::default();
        ["a", "", "b\nc", ""].iter().for_each(|cell| rows.cell(cell));
        rows.end_row();
        rows.end_row();
        rows.cell("d");
        assert_eq!(rows.text(), "a |  | b c\nd\n");
    }

    #[test]
    fn a_title_is_cut_on_a_character() {
        let mut draft = Draft::new(Kind::Plain);
        draft.title(&"ä".repeat(400));
        assert_eq!(draft.finish().title, "ä".repeat(250));
    }
}
