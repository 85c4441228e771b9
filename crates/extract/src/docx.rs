//! Texts of Word and of what writes its format: `word/document.xml` in a zip archive.

use std::collections::BTreeMap;

use super::archive::Archive;
use super::draft::{Draft, Tables};
use super::xml::{Attributes, Step, walk};
use super::{Extracted, Kind, ReadError, Shape};

pub(super) fn read(bytes: &[u8]) -> Result<Extracted, ReadError> {
    let mut archive = Archive::open(bytes)?;
    let mut draft = Draft::new(Kind::Office);
    core_properties(&mut archive, &mut draft)?;
    let styles = archive.part("word/styles.xml")?.map_or_else(|| Ok(Styles::default()), |part| Styles::read(&part))?;
    let body = archive.needed("word/document.xml")?;
    Body::new(&styles, &mut draft).read(&body)?;
    for notes in ["word/footnotes.xml", "word/endnotes.xml"] {
        if let Some(part) = archive.part(notes)? {
            Body::new(&styles, &mut draft).read(&part)?;
        }
    }
    Ok(draft.finish())
}

/// Title and date as all formats of this family keep them.
pub(super) fn core_properties(archive: &mut Archive<'_>, draft: &mut Draft) -> Result<(), ReadError> {
    let Some(part) = archive.part("docProps/core.xml")? else { return Ok(()) };
    let mut text = String::new();
    let (mut title, mut modified, mut created) = (String::new(), String::new(), String::new());
    walk(&part, |step| {
        match step {
            Step::Open(..) => text.clear(),
            Step::Text(piece) => text.push_str(piece),
            Step::Close("dc:title") => title = std::mem::take(&mut text),
            Step::Close("dcterms:modified") => modified = std::mem::take(&mut text),
            Step::Close("dcterms:created") => created = std::mem::take(&mut text),
            Step::Close(_) => {}
        }
        Ok(())
    })?;
    draft.title(&title);
    draft.dated(&modified);
    draft.dated(&created);
    Ok(())
}

/// What paragraphs of a style are, by the style's id.
#[derive(Default)]
struct Styles(BTreeMap<String, Look>);

/// What the paragraphs of a style are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Title,
    Heading(u8),
    Item,
}

impl Styles {
    /// Names of styles are in English in every file; their ids are in the language of who wrote it.
    fn read(part: &[u8]) -> Result<Self, ReadError> {
        let (mut styles, mut id) = (Self::default(), String::new());
        walk(part, |step| {
            match step {
                Step::Open("w:style", attributes) => id = attributes.get("w:styleId").unwrap_or_default(),
                Step::Open("w:name", attributes) => {
                    let name = attributes.get("w:val").unwrap_or_default().to_ascii_lowercase();
                    if let Some(look) = look_of(&name) {
                        styles.0.insert(id.clone(), look);
                    }
                }
                Step::Open("w:outlineLvl", attributes) => {
                    if let Some(look) = outline(attributes) {
                        styles.0.entry(id.clone()).or_insert(look);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(styles)
    }

    fn look(&self, id: &str) -> Option<Look> {
        self.0.get(id).copied().or_else(|| look_of(&id.to_ascii_lowercase()))
    }
}

fn look_of(name: &str) -> Option<Look> {
    if name == "title" {
        return Some(Look::Title);
    }
    if name.starts_with("list") {
        return Some(Look::Item);
    }
    let level = name.strip_prefix("heading")?.trim().parse().ok()?;
    (1..=9).contains(&level).then_some(Look::Heading(level))
}

fn outline(attributes: &Attributes<'_>) -> Option<Look> {
    let level: u8 = attributes.get("w:val")?.parse().ok()?;
    (level < 9).then_some(Look::Heading(level + 1))
}

/// A paragraph that is being read; in a text box it stands inside another one.
#[derive(Default)]
struct Paragraph {
    text: String,
    look: Option<Look>,
}

struct Body<'a> {
    styles: &'a Styles,
    draft: &'a mut Draft,
    paragraphs: Vec<Paragraph>,
    /// Tables inside each other, each with the text of its open cell.
    tables: Tables,
    /// Inside what stands in the file a second time, for old programs.
    repeated: usize,
    is_text: bool,
}

impl<'a> Body<'a> {
    fn new(styles: &'a Styles, draft: &'a mut Draft) -> Self {
        Self { styles, draft, paragraphs: Vec::new(), tables: Tables::default(), repeated: 0, is_text: false }
    }

    fn read(mut self, part: &[u8]) -> Result<(), ReadError> {
        walk(part, |step| match step {
            Step::Open("mc:Fallback", _) => {
                self.repeated += 1;
                Ok(())
            }
            Step::Close("mc:Fallback") => {
                self.repeated = self.repeated.saturating_sub(1);
                Ok(())
            }
            _ if self.repeated > 0 => Ok(()),
            Step::Open(name, attributes) => {
                self.open(name, attributes);
                Ok(())
            }
            Step::Text(text) => {
                if self.is_text {
                    self.letters(text);
                }
                Ok(())
            }
            Step::Close(name) => self.close(name),
        })
    }

    fn open(&mut self, name: &str, attributes: &Attributes<'_>) {
        let value = || attributes.get("w:val").unwrap_or_default();
        match name {
            "w:p" => self.paragraphs.push(Paragraph::default()),
            "w:t" | "m:t" => self.is_text = true,
            "w:tab" => self.letters(" "),
            "w:br" | "w:cr" => self.letters("\n"),
            "w:noBreakHyphen" => self.letters("-"),
            "w:tbl" => self.tables.begin(),
            "w:pStyle" | "w:numPr" | "w:outlineLvl" => {
                let look = match name {
                    "w:pStyle" => self.styles.look(&value()),
                    "w:outlineLvl" => outline(attributes),
                    _ => Some(Look::Item),
                };
                // A numbered heading is a heading: what its style says comes first, and stays.
                if let Some(paragraph) = self.paragraphs.last_mut() {
                    paragraph.look = paragraph.look.or(look);
                }
            }
            _ => {}
        }
    }

    fn letters(&mut self, text: &str) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.text.push_str(text);
        }
    }

    fn close(&mut self, name: &str) -> Result<(), ReadError> {
        match name {
            "w:t" | "m:t" => self.is_text = false,
            "w:p" => return self.end_paragraph(),
            "w:tc" => self.tables.end_cell(),
            "w:tr" => self.tables.end_row(),
            "w:tbl" => return self.tables.end(self.draft),
            _ => {}
        }
        Ok(())
    }

    fn end_paragraph(&mut self) -> Result<(), ReadError> {
        let Some(Paragraph { text, look }) = self.paragraphs.pop() else { return Ok(()) };
        if let Some(cell) = self.tables.cell() {
            cell.push_str(&text);
            cell.push('\n');
            return Ok(());
        }
        let shape = match look {
            Some(Look::Title) => Shape::Heading(1),
            Some(Look::Heading(level)) => Shape::Heading(level),
            Some(Look::Item) => Shape::Item,
            None => Shape::Paragraph,
        };
        if look == Some(Look::Title) {
            self.draft.title(&text);
        }
        self.draft.push(shape, &text)
    }
}
