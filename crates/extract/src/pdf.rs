//! PDF: text by pages. The crates below panic on much that is broken, and follow references in circles, so that this is
//! only run in a process of its own; what they do within a page costs that page alone.

mod lines;
mod page;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::{Dictionary, Document, Object, ObjectId, decode_text_string, dictionary, output_doc};

use super::draft::Draft;
use super::{Extracted, Kind, ReadError, Shape, limits};
use lines::{Line, Paragraph};

/// A page number or a running head stands on more than half of so many pages at least.
const RUNNING_PAGES: usize = 3;
/// Words longer than this on the average are words whose spaces were lost; German and Finnish stay below 9.
const MOST_WORD_CHARS: usize = 16;
/// More letters than one in so many that nobody can name are worth a note.
const CHARS_PER_UNKNOWN: usize = 50;
/// At most so many pages are named in a note.
const NAMED_PAGES: usize = 12;

pub(super) fn read(bytes: &[u8]) -> Result<Extracted, ReadError> {
    let mut document = open(bytes)?;
    let pages = document.get_pages();
    limits::within("pages", pages.len(), limits::PAGES)?;
    if pages.is_empty() {
        return Err(ReadError::broken("PDF", "it has no pages"));
    }
    let mut draft = Draft::new(Kind::Pdf);
    about(&document, &mut draft);
    let mut lines = BTreeMap::new();
    let (mut empty, mut damaged) = (Vec::new(), Vec::new());
    for (page, id) in &pages {
        keep_only(&mut document, *id);
        match read_page(&document)? {
            Ok(found) if found.is_empty() => empty.push(*page),
            Ok(found) => drop(lines.insert(*page, found)),
            Err(why) => damaged.push((*page, why)),
        }
    }
    if lines.is_empty() {
        return Err(match damaged.first() {
            Some((page, why)) => ReadError::broken("PDF", format!("page {page} could not be read: {why}")),
            None => ReadError::Scanned { pages: pages.len() as u64 },
        });
    }
    note_pages(&mut draft, "hold no text", &empty);
    note_pages(&mut draft, "could not be read", &damaged.iter().map(|(page, _)| *page).collect::<Vec<_>>());
    if drop_running_heads(&mut lines) {
        draft.note("page numbers and lines that stand at the edge of most pages were left out");
    }
    write(&lines, &mut draft)?;
    let mut read = draft.finish();
    judge(&mut read);
    Ok(read)
}

fn open(bytes: &[u8]) -> Result<Document, ReadError> {
    let refused = |error: &pdf_extract::Error| {
        let text = error.to_string();
        let is_locked = ["password", "decrypt", "encrypt"].iter().any(|word| text.to_lowercase().contains(word));
        if is_locked { ReadError::Encrypted } else { ReadError::broken("PDF", text) }
    };
    let mut document = Document::load_mem(bytes).map_err(|error| refused(&error))?;
    // Many are encrypted with no password, only to forbid printing.
    if document.is_encrypted() {
        document.decrypt("").map_err(|_| ReadError::Encrypted)?;
    }
    Ok(document)
}

/// Title and date that the document tells of itself.
fn about(document: &Document, draft: &mut Draft) {
    let info: Option<&Dictionary> = document.trailer.get(b"Info").ok().and_then(|info| match info {
        Object::Reference(id) => document.get_dictionary(*id).ok(),
        other => other.as_dict().ok(),
    });
    let told = |key: &[u8]| info.and_then(|info| decode_text_string(info.get(key).ok()?).ok());
    if let Some(title) = told(b"Title") {
        // What printer drivers write there is no title.
        let is_made = title.starts_with("Microsoft Word - ") || title.eq_ignore_ascii_case("untitled");
        if !is_made {
            draft.title(title.trim_matches(['\0', ' ']));
        }
    }
    for key in [&b"ModDate"[..], b"CreationDate"] {
        if let Some(date) = told(key) {
            draft.dated(&date);
        }
    }
}

/// Makes a document one of a single page: to find one among many, all would be gone over for each. What a page inherits it
/// still finds in its parent.
fn keep_only(document: &mut Document, page: ObjectId) {
    // Objects of a file are numbered from 1.
    let (catalog, tree): (ObjectId, ObjectId) = ((0, 0), (0, 1));
    document.set_object(tree, dictionary! { "Type" => "Pages", "Kids" => vec![page.into()], "Count" => 1 });
    document.set_object(catalog, dictionary! { "Type" => "Catalog", "Pages" => tree });
    document.trailer.set("Root", catalog);
}

/// The lines of the only page; the inner error costs this page only.
fn read_page(document: &Document) -> Result<Result<Vec<Line>, String>, ReadError> {
    let mut page = page::Page::default();
    let done = catch_unwind(AssertUnwindSafe(|| output_doc(document, &mut page)));
    limits::within("characters on a page", page.chars(), limits::PAGE_CHARS)?;
    Ok(match done {
        Ok(Ok(())) => Ok(page.lines()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(super::child::told_by(panic.as_ref())),
    })
}

fn note_pages(draft: &mut Draft, what: &str, pages: &[u32]) {
    if pages.is_empty() {
        return;
    }
    let named: Vec<String> = pages.iter().take(NAMED_PAGES).map(u32::to_string).collect();
    let more = pages.len().saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    draft.note(format!("pages {}{more} {what}", named.join(", ")));
}

/// Takes away what stands as the first or last line of most pages, whatever its digits, and page numbers alone. Twice: a
/// page number often stands above or below such a line.
fn drop_running_heads(pages: &mut BTreeMap<u32, Vec<Line>>) -> bool {
    let first = drop_edges(pages);
    drop_edges(pages) || first
}

fn drop_edges(pages: &mut BTreeMap<u32, Vec<Line>>) -> bool {
    let mut counts: BTreeMap<(bool, String), usize> = BTreeMap::new();
    for lines in pages.values() {
        for (is_last, line) in [(false, lines.first()), (true, lines.last())] {
            if let Some(shape) = line.map(without_digits) {
                *counts.entry((is_last, shape)).or_default() += 1;
            }
        }
    }
    let least = RUNNING_PAGES.max(pages.len() / 2 + 1);
    let is_long = pages.len() >= RUNNING_PAGES;
    let is_running = |is_last, line: Option<&Line>| {
        line.map(without_digits).is_some_and(|shape| {
            let is_number = shape.trim().is_empty();
            (is_number && is_long) || counts.get(&(is_last, shape)).is_some_and(|count| *count >= least)
        })
    };
    let mut is_any = false;
    for lines in pages.values_mut() {
        let (is_foot, is_head) = (is_running(true, lines.last()), is_running(false, lines.first()));
        if is_foot {
            lines.pop();
        }
        if is_head && !lines.is_empty() {
            lines.remove(0);
        }
        is_any |= is_foot || is_head;
    }
    is_any
}

fn without_digits(line: &Line) -> String {
    line.text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

fn write(pages: &BTreeMap<u32, Vec<Line>>, draft: &mut Draft) -> Result<(), ReadError> {
    let sizes = lines::Sizes::of(pages.values().flatten());
    for (number, lines) in pages {
        draft.page = Some(*number);
        for Paragraph { text, size, is_item, lines } in lines::paragraphs(lines) {
            let shape = match sizes.level(size, lines) {
                Some(level) => Shape::Heading(level),
                None if is_item => Shape::Item,
                None => Shape::Paragraph,
            };
            draft.push(shape, &text)?;
        }
    }
    Ok(())
}

/// Says where letters or spaces seem to be lost.
fn judge(read: &mut Extracted) {
    let is_unknown = |letter: &char| matches!(letter, '\u{fffd}' | '\u{e000}'..='\u{f8ff}');
    let (letters, unknown) = read
        .text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .fold((0, 0), |(all, bad), letter| (all + 1, bad + usize::from(is_unknown(&letter))));
    if unknown > letters / CHARS_PER_UNKNOWN {
        read.notes.push(format!("{unknown} of {letters} characters have no known letter"));
    }
    // Chinese, Japanese and Thai have no spaces to lose.
    let spaced = read.text.chars().filter(|letter| letter.is_alphabetic() && *letter < '\u{e00}').count();
    let words = read.text.split_whitespace().count();
    if spaced > letters / 2 && letters > MOST_WORD_CHARS * words {
        read.notes.push("the spaces between words seem to be lost".to_owned());
    }
}
