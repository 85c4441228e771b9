//! What a reader should know of: hidden characters, pasted logs, orders to a model, broken tables, endless lines.

use super::lines::number;
use super::{Mark, Oddity, is_rule};
use crate::words;

/// So many log lines in a row are a pasted log, not an example.
const LOG_RUN: usize = 20;
/// A line longer than this was not written by hand.
const LONG_LINE: usize = 2_000;

/// Marks long runs of log lines, in code or outside, and names each run once.
pub(super) fn mark_logs(lines: &[String], marks: &mut [Mark], oddities: &mut Vec<Oddity>) {
    let may_be = |mark: &Mark| matches!(mark, Mark::Text | Mark::Code | Mark::Table);
    let is_log: Vec<bool> = lines.iter().zip(marks.iter()).map(|(line, mark)| may_be(mark) && log(line)).collect();
    for run in runs(&is_log) {
        if run.len() < LOG_RUN {
            continue;
        }
        let (first, last) = (number(run.start), number(run.end - 1));
        let what = format!("{} log lines; only what is marked as a requirement in them is taken", run.len());
        oddities.push(Oddity::new(first, last, what));
        if let Some(part) = marks.get_mut(run) {
            part.fill(Mark::Log);
        }
    }
}

/// Marks lines that speak to a model. They are named, and no requirement is taken from them.
pub(super) fn mark_instructions(lines: &[String], marks: &mut [Mark], oddities: &mut Vec<Oddity>) {
    let speaks: Vec<bool> = lines.iter().map(|line| speaks_to_a_model(line)).collect();
    for run in runs(&speaks) {
        let what = "text that gives orders to a model or a shell; it is not obeyed and no requirement is taken from it";
        oddities.push(Oddity::new(number(run.start), number(run.end - 1), what));
        if let Some(part) = marks.get_mut(run) {
            part.fill(Mark::Instruction);
        }
    }
}

/// Names runs of lines with control, direction or invisible characters.
pub(super) fn name_characters(lines: &[String], oddities: &mut Vec<Oddity>) {
    type Kind = (&'static str, fn(char) -> bool);
    const KINDS: [Kind; 4] = [
        ("control characters", |c| c.is_control() && c != '\t'),
        ("characters that change the direction of text", is_bidi),
        ("invisible characters", is_invisible),
        ("characters that could not be decoded before", |c| c == '\u{fffd}'),
    ];
    for (name, is_one) in KINDS {
        let has: Vec<bool> = lines.iter().map(|line| !is_plain(line) && line.chars().any(is_one)).collect();
        for run in runs(&has) {
            let what = format!("{name}; they are left out of titles");
            oddities.push(Oddity::new(number(run.start), number(run.end - 1), what));
        }
    }
    let is_masked: Vec<bool> = lines.iter().map(|line| !is_plain(line) && has_masked_word(line)).collect();
    for run in runs(&is_masked) {
        let what = "words with letters of another script that look like Latin ones; they are read as those";
        oddities.push(Oddity::new(number(run.start), number(run.end - 1), what));
    }
}

fn has_masked_word(line: &str) -> bool {
    line.to_lowercase().split(|c: char| !c.is_alphanumeric()).any(words::is_masked)
}

/// Names lines of a length that nobody reads.
pub(super) fn name_long_lines(lines: &[String], oddities: &mut Vec<Oddity>) {
    for (index, line) in lines.iter().enumerate() {
        if line.len() > LONG_LINE {
            let what = format!("a line of {} characters", line.chars().count());
            oddities.push(Oddity::new(number(index), number(index), what));
        }
    }
}

/// Names tables whose rows have differing numbers of cells, or no rule below their head.
pub(super) fn name_tables(lines: &[String], marks: &[Mark], oddities: &mut Vec<Oddity>) {
    let is_table: Vec<bool> = marks.iter().map(|mark| *mark == Mark::Table).collect();
    for run in runs(&is_table) {
        let rows = lines.get(run.clone()).unwrap_or_default();
        let counts: Vec<usize> = rows.iter().map(|row| cells(row).len()).collect();
        let is_even = counts.iter().all(|count| Some(count) == counts.first());
        let has_rule = rows.get(1).is_some_and(|row| is_rule(row) && row.contains('-'));
        if rows.len() > 1 && !(is_even && has_rule) {
            let what = "a broken table; its rows are read as far as they make sense";
            oddities.push(Oddity::new(number(run.start), number(run.end - 1), what));
        }
    }
}

/// The cells of a table row. A `\|` belongs to its cell.
pub(crate) fn cells(row: &str) -> Vec<String> {
    let row = row.trim();
    let row = row.strip_prefix('|').unwrap_or(row);
    let mut cells = vec![String::new()];
    let mut is_escaped = false;
    for c in row.chars() {
        match (c, cells.last_mut()) {
            ('|', _) if !is_escaped => cells.push(String::new()),
            (c, Some(cell)) => cell.push(c),
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    if cells.len() > 1 && cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    cells.iter().map(|cell| cell.trim().replace("\\|", "|")).collect()
}

/// Characters that show nothing, such as a zero-width space.
fn is_invisible(c: char) -> bool {
    !words::is_seen(c) && !c.is_control() && !is_bidi(c)
}

/// Characters that turn the direction in which text is shown.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

/// Printable ASCII and tabs only; most lines are, and are done with at once.
fn is_plain(line: &str) -> bool {
    line.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// Whether a line begins as log lines do: a date or a time, or a level in brackets.
fn log(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches('[');
    let shape: String = line.chars().take(16).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let is_date = shape.starts_with("0000-00-00") || shape.starts_with("0000/00/00");
    let is_time = shape.starts_with("00:00:00");
    let is_syslog =
        shape.get(3..).is_some_and(|rest| rest.starts_with(" 00 00:00:00") || rest.starts_with("  0 00:00:00"));
    let has_level = ["DEBUG", "INFO", "WARN", "ERROR", "TRACE", "FATAL"].iter().any(|level| line.starts_with(level));
    (is_date && line.len() > 20) || is_time || is_syslog || has_level
}

/// Words that only someone who wants to steer a model writes at the beginning of a line.
const ORDERS: &[&str] = &[
    "ignore all previous",
    "ignore previous instructions",
    "ignore the previous",
    "ignore the above",
    "ignore all instructions",
    "disregard all",
    "disregard previous",
    "disregard the above",
    "forget all previous",
    "forget everything",
    "you are no longer",
    "you are now a",
    "reveal your system prompt",
    "print your system prompt",
    "reply with the single word",
    "ignoriere alle",
    "vergiss alle",
    "ignora todas las instrucciones",
    "ignora las instrucciones",
    "ignore toutes les instructions",
    "ignorez toutes les instructions",
    "oublie toutes les instructions",
];

/// Whose words follow, in a transcript; in a list, `System:` is as likely a heading.
const SPEAKERS: &[&str] = &["system:", "assistant:"];

/// Verbs that begin such an order, whatever stands between them and what a model was told before.
const DISMISSALS: &[&str] =
    &["ignore", "disregard", "forget", "override", "ignoriere", "vergiss", "ignora", "olvida", "oublie"];

/// What a model was told before, as far as a word needs.
const DISMISSED: &[&str] = &["instruction", "prompt", "anweisung", "instruccion", "consigne"];

/// Marks of prompt formats, template engines and shells that no requirement needs.
const TOKENS: &[&str] = &[
    "<|im_",
    "<|start",
    "<|end",
    "<|eot",
    "[inst]",
    "[/inst]",
    "<<sys>>",
    "</tasks>",
    "<system>",
    "</system>",
    "<think>",
    "{{#if",
    "{{prdcontent",
    "${jndi:",
    "$(touch",
    "$(curl",
    "$(rm ",
    "; drop table",
    "| sh\"",
    "<script",
    "javascript:",
];

fn speaks_to_a_model(line: &str) -> bool {
    let trimmed = line.trim_start_matches(|c: char| !c.is_alphanumeric());
    let starts = |text: &str, with: &str| text.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with));
    let begins = |order: &str| starts(trimmed, order);
    // A tag in front closes what a model is thought to have been told before.
    let tagged =
        line.trim_start_matches([' ', '\t', '-', '*', '+']).strip_prefix('<').and_then(|tag| tag.split_once('>'));
    let says = tagged.map_or(line, |(_, behind)| behind).trim_start();
    let is_speech = SPEAKERS.iter().any(|speaker| starts(says, speaker));
    if is_speech || ORDERS.iter().any(|order| begins(order)) {
        return true;
    }
    if DISMISSALS.iter().any(|verb| begins(verb)) {
        let lower = trimmed.to_lowercase();
        if DISMISSED.iter().any(|word| lower.contains(word)) {
            return true;
        }
    }
    // Every token has one of these.
    if !line.bytes().any(|byte| matches!(byte, b'<' | b'[' | b'{' | b'$' | b'|' | b':')) {
        return false;
    }
    let lower = line.to_ascii_lowercase();
    TOKENS.iter().any(|token| lower.contains(token))
}

fn runs(is: &[bool]) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for index in is.iter().enumerate().filter(|(_, is)| **is).map(|(index, _)| index) {
        match found.last_mut().filter(|run| run.end == index) {
            Some(run) => run.end = index + 1,
            None => found.push(index..index + 1),
        }
    }
    found
}
