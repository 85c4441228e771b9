//! From the lines of a page to its paragraphs and headings, by the distances between lines and the sizes of letters.

use std::collections::BTreeMap;

/// A line of a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) text: String,
    /// Where it begins.
    pub(super) x: f64,
    /// How high it stands; up is more.
    pub(super) y: f64,
    /// Of its largest letters.
    pub(super) size: f64,
}

/// Lines that belong together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Paragraph {
    pub(super) text: String,
    pub(super) size: f64,
    pub(super) is_item: bool,
    pub(super) lines: usize,
}

/// A distance above this, in usual distances of the page, divides paragraphs.
const APART: f64 = 1.3;
/// Lines mostly stand this far apart, in sizes of their letters.
const LEADING: f64 = 1.25;
/// Letters larger or smaller by this are of another paragraph.
const OTHER_SIZE: f64 = 1.1;
/// A first line may be so far to the right, in sizes.
const INDENTED: f64 = 0.8;
/// Headings have letters larger than those of most text by this.
const HEADING_SIZE: f64 = 1.15;
/// And no more lines and characters than these.
const HEADING_LINES: usize = 3;
/// Levels of headings that are told apart.
const LEVELS: usize = 6;
/// What items of lists begin with.
const BULLETS: [char; 7] = ['•', '▪', '◦', '‣', '●', '–', '·'];

/// The paragraphs of a page.
pub(super) fn paragraphs(lines: &[Line]) -> Vec<Paragraph> {
    let usual = usual_distance(lines);
    let mut paragraphs: Vec<Paragraph> = Vec::new();
    let mut before: Option<&Line> = None;
    for line in lines {
        let bare = line.text.trim_start_matches(BULLETS).trim_start();
        let is_item = bare.len() < line.text.len();
        match (paragraphs.last_mut(), before) {
            (Some(open), Some(before)) if !is_item && !is_apart(before, line, usual) => open.join(line),
            _ => paragraphs.push(Paragraph { text: bare.to_owned(), size: line.size, is_item, lines: 1 }),
        }
        before = Some(line);
    }
    paragraphs
}

impl Paragraph {
    /// A word that was divided at the end of a line becomes one again.
    fn join(&mut self, line: &Line) {
        let mut end = self.text.chars().rev();
        let is_divided = end.next() == Some('-') && end.next().is_some_and(char::is_lowercase);
        if is_divided && line.text.starts_with(char::is_lowercase) {
            self.text.pop();
        } else {
            self.text.push(' ');
        }
        self.text.push_str(&line.text);
        self.lines += 1;
    }
}

fn is_apart(before: &Line, line: &Line, usual: Option<f64>) -> bool {
    let distance = before.y - line.y;
    let is_other_size = line.size > before.size * OTHER_SIZE || before.size > line.size * OTHER_SIZE;
    let ends = before.text.ends_with(['.', '!', '?', ':', '”', '"']);
    let is_indented = ends && line.x > before.x + INDENTED * line.size && line.x < before.x + 4.0 * line.size;
    // Pieces of one line, such as cells of a table, stay together; further up is the next column.
    let is_far = distance > APART * usual.unwrap_or(line.size * LEADING) || distance < -0.5 * line.size;
    is_far || is_other_size || is_indented
}

/// The distance between lines within a paragraph: what a quarter of all lines stay below, since short pages have more
/// borders of paragraphs than lines in them.
fn usual_distance(lines: &[Line]) -> Option<f64> {
    let mut distances = Vec::new();
    for (one, next) in lines.iter().zip(lines.iter().skip(1)) {
        let distance = one.y - next.y;
        if distance > 0.5 * one.size && distance < 3.0 * one.size && one.size < next.size * OTHER_SIZE {
            distances.push(distance);
        }
    }
    distances.sort_by(f64::total_cmp);
    // With few lines there is nothing usual.
    if distances.len() < 3 { None } else { distances.get(distances.len() / 4).copied() }
}

/// The sizes of letters in a document.
pub(super) struct Sizes {
    /// Of most letters.
    body: u64,
    /// Those of headings, the largest first.
    larger: Vec<u64>,
}

impl Sizes {
    pub(super) fn of<'a>(lines: impl Iterator<Item = &'a Line>) -> Self {
        let mut letters: BTreeMap<u64, usize> = BTreeMap::new();
        for line in lines {
            *letters.entry(rounded(line.size)).or_default() += line.text.len();
        }
        let body = letters.iter().max_by_key(|(_, count)| **count).map_or(0, |(size, _)| *size);
        let larger = letters.keys().rev().copied().filter(|size| *size as f64 >= body as f64 * HEADING_SIZE).collect();
        Self { body, larger }
    }

    /// The level of a heading with letters of that size; `None` for what is none.
    pub(super) fn level(&self, size: f64, lines: usize) -> Option<u8> {
        let size = rounded(size);
        if lines > HEADING_LINES || size <= self.body {
            return None;
        }
        let place = self.larger.iter().position(|larger| *larger == size)?;
        u8::try_from(place.min(LEVELS - 1) + 1).ok()
    }
}

/// In halves of a point: printers round differently.
fn rounded(size: f64) -> u64 {
    (size * 2.0).round().clamp(0.0, 20_000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, x: f64, y: f64, size: f64) -> Line {
        Line { text: text.to_owned(), x, y, size }
    }

    #[test]
    fn lines_close_together_are_a_paragraph_and_divided_words_are_whole() {
        let lines = [
            line("Storage", 50.0, 700.0, 18.0),
            line("The pool is inter-", 50.0, 670.0, 10.0),
            line("national and well-", 50.0, 658.0, 10.0),
            line("Known.", 50.0, 646.0, 10.0),
            line("Another one.", 60.0, 634.0, 10.0),
            line("Far below.", 50.0, 600.0, 10.0),
            line("• an item", 50.0, 588.0, 10.0),
        ];
        let texts: Vec<_> = paragraphs(&lines).into_iter().map(|paragraph| paragraph.text).collect();
        assert_eq!(
            texts,
            ["Storage", "The pool is international and well- Known.", "Another one.", "Far below.", "an item"]
        );
        let sizes = Sizes::of(lines.iter());
        assert_eq!((sizes.level(18.0, 1), sizes.level(10.0, 1), sizes.level(18.0, 9)), (Some(1), None, None));
    }
}
