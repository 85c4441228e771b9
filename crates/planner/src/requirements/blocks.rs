//! A section cut into what its author meant as one piece: a list item, a table row, a paragraph, a line of a log.

use crate::prd::{Mark, Prd, Section, cells, is_rule};
use crate::words::{self, Class};

use super::roles::{self, Role};

/// A piece of a section. Its text is free of marks; its lines are where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub kind: Kind,
    pub text: String,
    pub first_line: u32,
    pub last_line: u32,
    /// Where in `text` each further line begins; empty for a block of one line.
    pub breaks: Vec<usize>,
}

/// How a piece stands in the document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Item {
        indent: usize,
        /// The number that stands in front of it.
        number: Option<u32>,
    },
    Row {
        cells: Vec<String>,
        head: Vec<String>,
    },
    Paragraph,
    /// A line of a log.
    Log,
    /// A line of a code block.
    Code,
}

impl Block {
    /// Whether it is an item of a list or a row of a table.
    pub fn is_listed(&self) -> bool {
        matches!(self.kind, Kind::Item { .. } | Kind::Row { .. })
    }

    /// The line that a place in the text stands on.
    pub fn line_at(&self, place: usize) -> u32 {
        let further = self.breaks.partition_point(|&at| at <= place);
        self.first_line + u32::try_from(further).unwrap_or_default()
    }
}

/// Cuts a section; its heading is left out.
pub(super) fn cut(prd: &Prd, section: &Section) -> Vec<Block> {
    let mut cutter = Cutter { blocks: Vec::new(), is_open: false, is_scenario: false, head: Vec::new() };
    for line in section.first_line..=section.last_line {
        let text = prd.line(line);
        match prd.mark_at(line) {
            Mark::Text => cutter.text(text, line),
            Mark::Table => cutter.row(prd, text, line),
            Mark::Log => cutter.push(Kind::Log, clean(text), line),
            Mark::Code => cutter.push(Kind::Code, clean(text), line),
            _ => cutter.close(),
        }
    }
    cutter.blocks
}

struct Cutter {
    blocks: Vec<Block>,
    /// Whether the next line of text belongs to the last block.
    is_open: bool,
    /// Whether a step such as `Given …` was met, so that the lines of `When …` and `Then …` are steps too.
    is_scenario: bool,
    head: Vec<String>,
}

impl Cutter {
    fn close(&mut self) {
        self.is_open = false;
        self.is_scenario = false;
        self.head.clear();
    }

    fn push(&mut self, kind: Kind, text: String, line: u32) {
        self.is_open = matches!(kind, Kind::Item { .. } | Kind::Paragraph);
        self.blocks.push(Block { kind, text, first_line: line, last_line: line, breaks: Vec::new() });
    }

    fn text(&mut self, line: &str, number: u32) {
        self.head.clear();
        let line = unquoted(line);
        if line.trim().is_empty() || is_rule(line) {
            return self.close();
        }
        if let Some((indent, rest)) = item(line) {
            let digits = line.trim_start().trim_start_matches('(');
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let item = Kind::Item { indent, number: digits.get(..end).and_then(|digits| digits.parse().ok()) };
            return self.push(item, clean(rest), number);
        }
        let text = clean(line);
        if self.is_step(&text) || line.trim_start().starts_with('<') {
            self.is_open = false;
        }
        if self.is_open && is_named_acceptance(&text) {
            let indent = line.len() - line.trim_start().len();
            return self.push(Kind::Item { indent: indent.saturating_sub(1), number: None }, text, number);
        }
        match self.blocks.last_mut().filter(|_| self.is_open) {
            Some(block) => {
                block.breaks.push(block.text.len() + 1);
                block.text.push(' ');
                block.text.push_str(&text);
                block.last_line = number;
            }
            None => self.push(Kind::Paragraph, text, number),
        }
    }

    /// Whether a line is a step of a scenario, which stands for itself.
    fn is_step(&mut self, text: &str) -> bool {
        if !text.starts_with(char::is_uppercase) {
            return false;
        }
        let head: String = text.split_inclusive(' ').take(2).collect();
        let hits = words::scan(&head);
        let begins = |class| hits.iter().any(|hit| hit.class == class && hit.start == 0);
        self.is_scenario |= begins(Class::Given);
        self.is_scenario && (begins(Class::Given) || begins(Class::Then))
    }

    fn row(&mut self, prd: &Prd, line: &str, number: u32) {
        self.is_open = false;
        if is_rule(line) {
            return;
        }
        let cells: Vec<String> = cells(line).iter().map(|cell| clean(cell)).collect();
        let is_head = self.head.is_empty() && prd.mark_at(number + 1) == Mark::Table && is_rule(prd.line(number + 1));
        if is_head {
            self.head = cells;
            return;
        }
        let text = cells.iter().filter(|cell| !cell.is_empty()).cloned().collect::<Vec<_>>().join(" ");
        let head = self.head.clone();
        self.push(Kind::Row { cells, head }, text, number);
    }
}

/// A line without the marks of the quotes that it is in.
fn unquoted(line: &str) -> &str {
    match line.trim_start().starts_with('>') {
        true => line.trim_start_matches([' ', '\t', '>']),
        false => line,
    }
}

/// Whether a line within an item begins with `Acceptance:` or the like.
fn is_named_acceptance(text: &str) -> bool {
    let head = text.split_once(':').map(|(head, _)| head).filter(|head| head.len() < 40);
    head.is_some_and(|head| roles::of_heading(head) == Some(Role::Acceptance))
}

/// Splits a list item into how far it is set in and what it says; a checkbox is left out.
fn item(line: &str) -> Option<(usize, &str)> {
    let rest = line.trim_start();
    let indent = line.len() - rest.len();
    let behind = match rest.chars().next()? {
        c @ ('-' | '*' | '+' | '•' | '–' | '·' | '◦' | '▪') => rest.strip_prefix(c)?,
        _ => ordered(rest)?,
    };
    if !(behind.is_empty() || behind.starts_with([' ', '\t'])) {
        return None;
    }
    let behind = behind.trim_start();
    let boxes = ["[ ]", "[x]", "[X]", "[-]", "☐", "☑", "☒"];
    let unboxed = boxes.iter().find_map(|&mark| behind.strip_prefix(mark)).unwrap_or(behind);
    Some((indent, unboxed.trim()))
}

/// What stands behind `1.`, `1)`, `(1)`, `a)` or `2.3.`.
fn ordered(rest: &str) -> Option<&str> {
    let inner = rest.strip_prefix('(').unwrap_or(rest);
    let digits = inner.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(inner.len());
    let (number, behind) = inner.split_at(digits);
    if number.is_empty() {
        let mut chars = inner.chars();
        let is_letter = chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(')');
        return is_letter.then(|| inner.get(2..)).flatten();
    }
    if !number.starts_with(|c: char| c.is_ascii_digit()) || number.len() > 8 {
        return None;
    }
    match behind.strip_prefix(')') {
        Some(behind) => Some(behind),
        None => number.ends_with('.').then_some(behind),
    }
}

/// A text without Markdown's marks and without characters that only confuse; letters stay byte for byte.
pub(super) fn clean(text: &str) -> String {
    let text = without_tags(text);
    let plain = words::seen(text.chars());
    let plain = plain.replace("**", "").replace("__", "");
    let mut out = String::with_capacity(plain.len());
    let mut rest = plain.as_str();
    while let Some((before, behind)) = rest.split_once("](") {
        let Some((open, label)) = before.rsplit_once('[') else {
            out.push_str(before);
            out.push_str("](");
            rest = behind;
            continue;
        };
        let Some((_, after)) = behind.split_once(')') else { break };
        out.push_str(open.strip_suffix('!').unwrap_or(open));
        out.push_str(label);
        rest = after;
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// HTML that a document may be written in. Other words in angle brackets are somebody's placeholders, and stay.
const TAGS: &[&str] = &[
    "a",
    "b",
    "blockquote",
    "br",
    "center",
    "code",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "em",
    "font",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "kbd",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "section",
    "small",
    "span",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "u",
    "ul",
];

/// A line without HTML's tags and comments, and without the end of a comment that an earlier line began.
fn without_tags(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = match (line.find("-->"), line.find("<!--")) {
        (Some(end), begin) if begin.is_none_or(|begin| begin > end) => line.get(end + 3..).unwrap_or_default(),
        _ => line,
    };
    while let Some(at) = rest.find('<') {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        let end = tag_end(behind).unwrap_or_default();
        // A tag parts words; a bracket that is none stays.
        out.push(if end > 0 { ' ' } else { '<' });
        rest = behind.get(end.max(1)..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Where the tag or comment ends that a text begins with.
fn tag_end(text: &str) -> Option<usize> {
    /// Longer ones are no tags; looking on from every bracket would take the square of a line's length.
    const LONGEST: usize = 400;
    let (near, _) = text.split_at(text.floor_char_boundary(LONGEST));
    if near.starts_with("<!--") {
        return near.find("-->").map(|end| end + 3);
    }
    let inner = near.trim_start_matches(['<', '/']);
    let name = inner.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let is_tag = TAGS.iter().any(|tag| tag.eq_ignore_ascii_case(name));
    near.find('>').filter(|_| is_tag).map(|end| end + 1)
}

/// Cuts a paragraph into sentences with their places.
pub(super) fn sentences(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let ends = match c {
            '。' | '！' | '？' => true,
            '.' | '!' | '?' => {
                chars.peek().is_some_and(|(_, next)| next.is_whitespace()) && !is_short_form(text, start, at)
            }
            _ => false,
        };
        if ends {
            let end = at + c.len_utf8();
            found.extend(text.get(start..end).map(|sentence| (start, sentence)));
            start = end;
        }
    }
    found.extend(text.get(start..).map(|sentence| (start, sentence)));
    let mut kept = Vec::with_capacity(found.len());
    for (start, sentence) in found {
        let blank = sentence.len() - sentence.trim_start().len();
        if !sentence.trim().is_empty() {
            kept.push((start + blank, sentence.trim()));
        }
    }
    kept
}

/// Whether the full stop at `at` ends an abbreviation and not a sentence.
fn is_short_form(text: &str, start: usize, at: usize) -> bool {
    const SHORT: &[&str] = &[
        "e.g", "i.e", "vs", "cf", "approx", "no", "nr", "ca", "bzw", "z.b", "z", "b", "d.h", "usw", "p", "ej", "p.ej",
        "dr", "mr",
    ];
    let word = text.get(start..at).unwrap_or_default().rsplit([' ', '(']).next().unwrap_or_default();
    let is_listed = SHORT.iter().any(|short| short.eq_ignore_ascii_case(word));
    let follows = text.get(at + 1..).unwrap_or_default().trim_start().chars().next();
    is_listed || follows.is_some_and(char::is_lowercase)
}
