//! Headings: `#` lines, underlined lines, and numbered or upper case lines in documents that have neither.

use super::lines::number;
use super::{Mark, Oddity, Section};

/// Headings longer than this are named, and cut where they are shown.
const LONG_HEADING: usize = 200;

/// Finds every section and marks the headings' lines.
pub(super) fn find(lines: &[String], marks: &mut [Mark], oddities: &mut Vec<Oddity>) -> Vec<Section> {
    let mut found = marked(lines, marks);
    if found.is_empty() {
        found = bare(lines, marks);
    }
    let mut sections: Vec<Section> = Vec::with_capacity(found.len() + 1);
    if found.first().is_none_or(|heading| heading.index > 0) {
        sections.push(Section { first_line: 1, ..Section::default() });
    }
    let mut above: Vec<(u8, String)> = Vec::new();
    for Heading { index, level, text } in found {
        name(&text, index, oddities);
        above.retain(|(upper, _)| *upper < level);
        above.push((level, text.clone()));
        let path = above.iter().map(|(_, text)| text.clone()).collect();
        sections.push(Section { heading: text, level, path, first_line: number(index), last_line: 0 });
    }
    let mut end = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    for section in sections.iter_mut().rev() {
        section.last_line = end.max(section.first_line);
        end = section.first_line.saturating_sub(1);
    }
    sections
}

struct Heading {
    index: usize,
    level: u8,
    text: String,
}

fn marked(lines: &[String], marks: &mut [Mark]) -> Vec<Heading> {
    let mut found = Vec::new();
    for index in 0..lines.len() {
        if marks.get(index) != Some(&Mark::Text) {
            continue;
        }
        let Some(line) = lines.get(index) else { break };
        let (level, text, taken) = if let Some((level, text)) = atx(line) {
            (level, text, 1)
        } else if let Some(level) = underline(line, lines.get(index + 1), marks.get(index + 1)) {
            (level, line.trim().to_owned(), 2)
        } else {
            continue;
        };
        for mark in marks.iter_mut().skip(index).take(taken) {
            *mark = Mark::Heading;
        }
        found.push(Heading { index, level, text });
    }
    found
}

/// `## Heading ##`, with up to three blanks before it.
fn atx(line: &str) -> Option<(u8, String)> {
    let trimmed = line.trim_start_matches(' ');
    if line.len() - trimmed.len() > 3 {
        return None;
    }
    let level = trimmed.bytes().take_while(|&byte| byte == b'#').count();
    let rest = trimmed.get(level..)?;
    if level == 0 || level > 6 || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let text = rest.trim();
    let shorter = text.trim_end_matches('#');
    let text = if shorter.is_empty() || shorter.ends_with([' ', '\t']) { shorter.trim_end() } else { text };
    Some((u8::try_from(level).ok()?, text.to_owned()))
}

/// A line of `=` or `-` below a line of text. List items and table rows are not underlined.
fn underline(line: &str, below: Option<&String>, mark: Option<&Mark>) -> Option<u8> {
    let below = below.filter(|_| mark == Some(&Mark::Text))?.trim_end();
    let is = |c: char| below.len() >= 2 && below.chars().all(|other| other == c);
    let level = if is('=') {
        1
    } else if is('-') {
        2
    } else {
        return None;
    };
    let trimmed = line.trim();
    let is_item = trimmed.starts_with(['-', '*', '+', '>', '|']) || line.starts_with([' ', '\t']);
    (!is_item && trimmed.contains(char::is_alphanumeric) && trimmed.len() < 300).then_some(level)
}

/// Headings of a document that has no Markdown ones: `2.1 Something`, or `SOMETHING`, alone between blank lines.
fn bare(lines: &[String], marks: &mut [Mark]) -> Vec<Heading> {
    let mut found = Vec::new();
    for index in 0..lines.len() {
        let is = |index: Option<usize>, mark| index.and_then(|index| marks.get(index)) == Some(&mark);
        let opens = index == 0 || is(index.checked_sub(1), Mark::Blank);
        let stands_alone = opens && is(Some(index + 1), Mark::Blank);
        if !is(Some(index), Mark::Text) || !opens {
            continue;
        }
        let Some(line) = lines.get(index).map(|line| line.trim()) else { break };
        let followed = lines.iter().skip(index + 1).find(|line| !line.trim().is_empty()).map(|line| line.trim());
        let has_body = followed.is_some_and(|next| numbered(next).is_none_or(|(deeper, _)| deeper > 1));
        let level = match numbered(line) {
            Some((level, rest)) if is_short(rest) && has_body && (stands_alone || level > 1) => level,
            None if is_upper(line) && is_short(line) => 1,
            _ => continue,
        };
        found.push(Heading { index, level, text: line.to_owned() });
    }
    for heading in &found {
        if let Some(mark) = marks.get_mut(heading.index) {
            *mark = Mark::Heading;
        }
    }
    found
}

/// Splits `2.1. Something`; gives how many numbers there are.
fn numbered(line: &str) -> Option<(u8, &str)> {
    let line = line.trim_start_matches(['§', ' ']);
    let end = line.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = line.split_at(end);
    let number = number.trim_end_matches('.');
    let parts = number.split('.').count();
    let is_right = rest.starts_with([' ', '\t', ')']) && number.split('.').all(|part| matches!(part.len(), 1..=3));
    let rest = rest.trim_start_matches(')').trim();
    if is_right && !rest.is_empty() { Some((u8::try_from(parts.min(6)).ok()?, rest)) } else { None }
}

fn is_short(text: &str) -> bool {
    let ends_plainly = !text.ends_with(['.', ',', ';', ':', '?', '!']);
    ends_plainly && text.len() <= 80 && text.split_whitespace().count() <= 8
}

fn is_upper(text: &str) -> bool {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    letters >= 4 && !text.chars().any(char::is_lowercase) && text.chars().any(char::is_uppercase)
}

fn name(text: &str, index: usize, oddities: &mut Vec<Oddity>) {
    let line = number(index);
    let bare = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace());
    if bare.is_empty() {
        oddities.push(Oddity::new(line, line, "a heading without words"));
    } else if text.chars().count() > LONG_HEADING {
        let long = format!("a heading of {} characters; it is cut where it is shown", text.chars().count());
        oddities.push(Oddity::new(line, line, long));
    }
}
