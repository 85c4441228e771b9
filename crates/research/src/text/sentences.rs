//! Sentences, as people would underline them. A mark ends one where a blank follows and what comes next can begin one;
//! abbreviations, initials, ordinals and decimals do not. Lines end one where they were meant to: before items, headings
//! and rows, after a blank line, and where the next word would have fitted on the line.

mod abbreviations;

use std::ops::Range;

use self::abbreviations::{Use, is_starter, use_of};

/// A line that had room for so many more characters than the next word has was ended on purpose.
const ROOM: usize = 12;
const MARKS: [char; 4] = ['.', '!', '?', '…'];
/// These end a sentence without a blank behind them.
const WIDE_MARKS: [char; 5] = ['。', '！', '？', '｡', '।'];

/// The bytes of each sentence, in order, trimmed; all between them is blank.
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    for part in passages(text) {
        let mut start = part.start;
        for end in ends(text.get(part.clone()).unwrap_or_default()) {
            push(&mut all, text, start..part.start + end);
            start = part.start + end;
        }
        push(&mut all, text, start..part.end);
    }
    all
}

/// Adds a range without the blanks around it; nothing where it is all blank.
fn push(all: &mut Vec<Range<usize>>, text: &str, range: Range<usize>) {
    let part = text.get(range.clone()).unwrap_or_default();
    let start = range.start + part.len() - part.trim_start().len();
    let end = start + part.trim().len();
    if start < end {
        all.push(start..end);
    }
}

/// Runs of lines that no sentence goes beyond.
fn passages(text: &str) -> Vec<Range<usize>> {
    let mut passages = Vec::new();
    let mut start = 0;
    let mut lines = lines(text).peekable();
    let (mut width, mut begins) = (0, true);
    while let Some(line) = lines.next() {
        let shown = text.get(line.clone()).unwrap_or_default();
        if begins {
            width = paragraph_width(text.get(line.start..).unwrap_or_default());
        }
        begins = shown.trim().is_empty();
        let next = lines.peek().and_then(|next| text.get(next.clone()));
        if next.is_none_or(|next| is_meant(shown, next, width)) {
            passages.push(start..line.end);
            start = line.end;
        }
    }
    passages
}

fn lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        at += line.len();
        at - line.len()..at
    })
}

/// Characters of the longest of the lines up to the next blank one.
fn paragraph_width(text: &str) -> usize {
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    lines.map(|line| line.trim_end().chars().count()).max().unwrap_or(0)
}

/// Whether the end of `line` was meant, rather than wrapped, before `next`.
fn is_meant(line: &str, next: &str, width: usize) -> bool {
    let (line, next) = (line.trim_end(), next.trim());
    if line.trim().is_empty() || next.is_empty() || is_heading(line) || line.ends_with(['|', ';', '{', '}']) {
        return true;
    }
    if is_item(next) || is_heading(next) || next.starts_with(['|', '>']) || next.starts_with("```") {
        return true;
    }
    let word = next.split_whitespace().next().map_or(0, |word| word.chars().count());
    let had_room = line.chars().count() + 1 + word + ROOM <= width;
    let goes_on = line.ends_with([',', '-', '(', '–', '—']) || next.starts_with(|c: char| c.is_lowercase());
    had_room && !goes_on
}

fn is_heading(line: &str) -> bool {
    let line = line.trim_start();
    let behind = line.trim_start_matches('#');
    behind.len() < line.len() && line.len() - behind.len() <= 6 && behind.starts_with(' ')
}

/// Whether a line begins as an item: `- x`, `* x`, `• x`, `1. x`, `2) x`.
fn is_item(line: &str) -> bool {
    let behind = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = line.len() - behind.len();
    let mark =
        if digits == 0 { line.strip_prefix(['-', '*', '+', '•', '–']) } else { behind.strip_prefix(['.', ')']) };
    digits <= 3 && mark.is_some_and(|rest| rest.starts_with(' '))
}

/// Where sentences end in a run of lines, in bytes.
fn ends(text: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut start = 0;
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(is_mark)).map(|at| from + at) {
        let mark = Mark::read(text, start, at);
        from = mark.end;
        if mark.is_end() {
            ends.push(mark.end);
            start = mark.end;
        }
    }
    ends
}

fn is_mark(c: char) -> bool {
    MARKS.contains(&c) || WIDE_MARKS.contains(&c)
}

/// A mark with what is around it.
struct Mark<'a> {
    /// The sentence so far, up to the mark.
    before: &'a str,
    /// The marks themselves.
    marks: &'a str,
    /// All behind the marks and what they close.
    behind: &'a str,
    /// Behind the marks and the quotes and brackets that they close.
    end: usize,
    /// Whether there are such quotes or brackets.
    closes: bool,
}

impl<'a> Mark<'a> {
    fn read(text: &'a str, start: usize, at: usize) -> Self {
        let rest = text.get(at..).unwrap_or_default();
        let after_marks = rest.trim_start_matches(is_mark);
        let behind = after_marks.trim_start_matches(['"', '\'', '”', '’', '»', ')', ']', '」', '』', '*', '“']);
        Self {
            before: text.get(start..at).unwrap_or_default(),
            marks: rest.get(..rest.len() - after_marks.len()).unwrap_or_default(),
            behind,
            end: text.len() - behind.len(),
            closes: behind.len() < after_marks.len(),
        }
    }

    fn is_end(&self) -> bool {
        if self.marks.contains(WIDE_MARKS) {
            return true;
        }
        let next = self.behind.trim_start();
        if next.is_empty() {
            return true;
        }
        if next.len() == self.behind.len() || self.before.trim().is_empty() {
            return false;
        }
        let word = first_word(next);
        if !can_begin(next, word) {
            return false;
        }
        self.marks != "." || self.closes && !self.before.ends_with(char::is_uppercase) || self.point_ends(word)
    }

    /// Whether a single point is a full stop rather than a part of what stands before it.
    fn point_ends(&self, next: &str) -> bool {
        let last = self.before.rsplit(char::is_whitespace).next().unwrap_or_default();
        let word = last.trim_start_matches(['(', '[', '"', '“', '„', '«', '‘', '*', '\'']);
        let earlier = self.before.strip_suffix(last).unwrap_or_default().trim();
        if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
            // `1. Install` is an item, `am 3. Oktober` a date.
            let previous = earlier.rsplit(char::is_whitespace).next().unwrap_or_default();
            let is_item = earlier.is_empty();
            let is_date = word.len() <= 2 && abbreviations::is_ordinal(previous, next);
            return !is_item && !is_date;
        }
        if is_initials(word) {
            // `vitamin C. The` ends, `J. Smith`, `U.S. Army` and `Smith J. Lee` do not.
            return is_starter(next) && !earlier.is_empty() || word.len() == 1 && is_after_word(earlier, next);
        }
        match use_of(word) {
            Use::Before => false,
            Use::BeforeNumber => !next.starts_with(|c: char| c.is_ascii_digit()),
            Use::Anywhere => is_starter(next),
            Use::None => true,
        }
    }
}

/// A single letter behind a small word, such as `type C.`, ends where what follows is no name.
fn is_after_word(earlier: &str, next: &str) -> bool {
    let previous = earlier.rsplit(char::is_whitespace).next().unwrap_or_default();
    let is_small = previous.len() > 2 && previous.chars().all(char::is_lowercase);
    is_small && next.len() > 1 && !matches!(previous, "and" | "und" | "von" | "van" | "der" | "del" | "par" | "por")
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start_matches(|c: char| !c.is_alphanumeric() && !c.is_whitespace());
    text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | ';' | ')' | '.')).next().unwrap_or_default()
}

/// Whether a sentence can begin so: not with a small letter, unless it is a name such as `mRNA`, `p53` or `β-amyloid`, and
/// not with a mark that goes on.
fn can_begin(next: &str, word: &str) -> bool {
    let first = next.chars().next().unwrap_or(' ');
    if matches!(first, ',' | ';' | ':' | ')' | ']' | '}' | '=' | '<' | '>' | '%' | '&' | '/' | '–' | '+' | '.') {
        return false;
    }
    let Some(letter) = word.chars().next().filter(|letter| letter.is_lowercase()) else { return true };
    !letter.is_ascii() && word.contains('-')
        || first == letter && word.chars().any(|c| c.is_uppercase() || c.is_ascii_digit())
}

/// `J`, `U.S`, `I.-S`: capitals with points.
fn is_initials(word: &str) -> bool {
    let mut parts = word.split(['.', '-']).filter(|part| !part.is_empty()).peekable();
    parts.peek().is_some()
        && parts.all(|part| {
            let mut chars = part.chars();
            chars.next().is_some_and(char::is_uppercase) && chars.next().is_none()
        })
}

#[cfg(test)]
mod tests;
