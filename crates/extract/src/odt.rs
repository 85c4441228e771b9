//! Texts of LibreOffice and its relatives: `content.xml` in a zip archive.

use super::archive::Archive;
use super::draft::{Draft, Tables};
use super::xml::{Attributes, Step, walk};
use super::{Extracted, Kind, ReadError, Shape};

/// A run of spaces that is written as a number may not be longer.
const MOST_SPACES: usize = 64;

pub(super) fn read(bytes: &[u8]) -> Result<Extracted, ReadError> {
    let mut archive = Archive::open(bytes)?;
    refuse_encrypted(&mut archive)?;
    let mut draft = Draft::new(Kind::Office);
    if let Some(part) = archive.part("meta.xml")? {
        about(&part, &mut draft)?;
    }
    let content = archive.needed("content.xml")?;
    let mut body = Body { draft: &mut draft, open: Vec::new(), tables: Tables::default(), lists: 0, skipped: 0 };
    walk(&content, |step| body.step(step))?;
    Ok(draft.finish())
}

/// Only the manifest of an OpenDocument says that its parts are encrypted.
pub(super) fn refuse_encrypted(archive: &mut Archive<'_>) -> Result<(), ReadError> {
    let manifest = archive.part("META-INF/manifest.xml")?.unwrap_or_default();
    let is_encrypted = String::from_utf8_lossy(&manifest).contains("encryption-data");
    if is_encrypted { Err(ReadError::Encrypted) } else { Ok(()) }
}

fn about(part: &[u8], draft: &mut Draft) -> Result<(), ReadError> {
    let mut text = String::new();
    walk(part, |step| {
        match step {
            Step::Open(..) => text.clear(),
            Step::Text(piece) => text.push_str(piece),
            Step::Close("dc:title") => draft.title(&text),
            Step::Close("dc:date") => draft.dated(&text),
            Step::Close(_) => {}
        }
        Ok(())
    })
}

struct Body<'a> {
    draft: &'a mut Draft,
    /// Paragraphs inside each other, as in notes and text boxes.
    open: Vec<(Shape, String)>,
    tables: Tables,
    lists: usize,
    /// Inside what is no text of the document: deleted text, comments.
    skipped: usize,
}

impl Body<'_> {
    fn step(&mut self, step: Step<'_>) -> Result<(), ReadError> {
        match step {
            Step::Open("text:tracked-changes" | "office:annotation", _) => self.skipped += 1,
            Step::Close("text:tracked-changes" | "office:annotation") => self.skipped = self.skipped.saturating_sub(1),
            _ if self.skipped > 0 => {}
            Step::Open(name, attributes) => self.open(name, attributes),
            Step::Text(text) => self.letters(text),
            Step::Close(name) => return self.close(name),
        }
        Ok(())
    }

    fn open(&mut self, name: &str, attributes: &Attributes<'_>) {
        match name {
            "text:h" => {
                let level = attributes.get("text:outline-level").and_then(|level| level.parse().ok());
                let level = level.filter(|level| (1..=10).contains(level)).unwrap_or(1);
                self.open.push((Shape::Heading(level), String::new()));
            }
            "text:p" => {
                let shape = if self.lists > 0 { Shape::Item } else { Shape::Paragraph };
                self.open.push((shape, String::new()));
            }
            "text:list" => self.lists += 1,
            "text:tab" => self.letters(" "),
            "text:line-break" => self.letters("\n"),
            "text:s" => {
                let count = attributes.get("text:c").and_then(|count| count.parse().ok()).unwrap_or(1);
                self.letters(&" ".repeat(count.min(MOST_SPACES)));
            }
            "table:table" => self.tables.begin(),
            _ => {}
        }
    }

    fn letters(&mut self, text: &str) {
        if let Some((_, open)) = self.open.last_mut() {
            open.push_str(text);
        }
    }

    fn close(&mut self, name: &str) -> Result<(), ReadError> {
        match name {
            "text:h" | "text:p" => {
                let Some((shape, text)) = self.open.pop() else { return Ok(()) };
                let Some(cell) = self.tables.cell() else { return self.draft.push(shape, &text) };
                cell.push_str(&text);
                cell.push('\n');
            }
            "text:list" => self.lists = self.lists.saturating_sub(1),
            "table:table-cell" => self.tables.end_cell(),
            "table:table-row" => self.tables.end_row(),
            "table:table" => return self.tables.end(self.draft),
            _ => {}
        }
        Ok(())
    }
}
