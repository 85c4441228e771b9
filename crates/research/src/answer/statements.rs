//! What can be cited of a passage, each by itself: a sentence, an item, a row of a table, a few lines of code.

use std::ops::Range;

use crate::text::{sentences, words};

/// What stands between the cells of a row.
const CELLS: &str = " | ";
/// A piece with fewer words says nothing by itself, and goes with what stands before it on its line.
const LEAST_WORDS: usize = 3;
/// The most words of a cell that is a name.
const MOST_NAME_WORDS: usize = 3;
/// The most lines of code that are cited together.
const MOST_CODE_LINES: usize = 8;

/// The bytes of each statement, in order; what lies between them is blank.
pub fn statements(text: &str) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    let mut code_lines = 0;
    for range in pieces(text) {
        let piece = text.get(range.clone()).unwrap_or_default();
        let is_code = is_code(piece);
        let lines = piece.lines().count();
        if let Some(last) = all.last_mut() {
            let between = text.get(last.end..range.start).unwrap_or_default();
            let goes_on = is_code && code_lines > 0 && between.matches('\n').count() == 1;
            let is_scrap = !between.contains('\n') && words(piece).take(LEAST_WORDS).count() < LEAST_WORDS;
            // What announces something says it together with the first of what follows.
            let is_announced = text.get(last.clone()).is_some_and(|last| last.ends_with([':', '：']));
            if goes_on && code_lines + lines <= MOST_CODE_LINES || is_scrap || is_announced {
                last.end = range.end;
                code_lines = if is_code { code_lines + lines } else { 0 };
                continue;
            }
        }
        code_lines = if is_code { lines } else { 0 };
        all.push(range);
    }
    all
}

/// Rows line by line, all else by sentences.
fn pieces(text: &str) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let (mut begin, mut at, mut names_at, mut rows) = (0, 0, None, 0);
    for line in text.split_inclusive('\n') {
        let range = at..at + line.len();
        at = range.end;
        if line.contains(CELLS) {
            let names = names_at.take();
            add_sentences(text, begin..names.unwrap_or(range.start), &mut pieces);
            begin = range.end;
            // What only names the cells below it is cited with the first row of them.
            let is_names = is_header(line, text.get(range.end..).unwrap_or_default()) && rows == 0;
            rows += 1;
            if is_names {
                (begin, names_at) = (range.start, Some(range.start));
            } else {
                add_trimmed(text, names.unwrap_or(range.start)..range.end, &mut pieces);
            }
        } else {
            rows = 0;
        }
    }
    add_sentences(text, begin..text.len(), &mut pieces);
    pieces
}

/// Whether a row only names what stands below it: nothing but short cells, and another row follows.
fn is_header(row: &str, behind: &str) -> bool {
    let is_name =
        |cell: &str| cell.split_whitespace().count() <= MOST_NAME_WORDS && !cell.contains(|c: char| c.is_ascii_digit());
    let next = behind.lines().next().unwrap_or_default();
    next.contains(CELLS) && row.split(CELLS).all(is_name)
}

fn add_sentences(text: &str, within: Range<usize>, pieces: &mut Vec<Range<usize>>) {
    let part = text.get(within.clone()).unwrap_or_default();
    pieces.extend(sentences(part).into_iter().map(|range| within.start + range.start..within.start + range.end));
}

fn add_trimmed(text: &str, range: Range<usize>, pieces: &mut Vec<Range<usize>>) {
    let line = text.get(range.clone()).unwrap_or_default();
    let start = range.start + line.len() - line.trim_start().len();
    pieces.push(start..start + line.trim().len());
}

/// Whether it ends as lines of code do, and prose never does.
fn is_code(piece: &str) -> bool {
    piece.trim_end().ends_with(['{', '}', ';'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<&str> {
        statements(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn sentences_items_and_rows_are_cited_by_themselves() {
        assert_eq!(
            all("The NAS has four bays. It sleeps at night!"),
            ["The NAS has four bays.", "It sleeps at night!"]
        );
        assert_eq!(all("- two pumps run\n- one valve is shut"), ["- two pumps run", "- one valve is shut"]);
        assert_eq!(
            all("Node | Disks\nnas | 4\npi | 1\n\nAll of them run."),
            ["Node | Disks\nnas | 4", "pi | 1", "All of them run."]
        );
        assert_eq!(
            all("Who | Where\nAnna | Bonn\nBob | Rome\nEve | Oslo"),
            ["Who | Where\nAnna | Bonn", "Bob | Rome", "Eve | Oslo"]
        );
    }

    #[test]
    fn what_announces_something_is_cited_with_it() {
        assert_eq!(all("Begin like this:\n\nmake test\n\nThen wait."), ["Begin like this:\n\nmake test", "Then wait."]);
    }

    #[test]
    fn a_scrap_goes_with_what_stands_before_it() {
        assert_eq!(all("They met in 1912. Ibid. It was cold then."), ["They met in 1912. Ibid.", "It was cold then."]);
    }

    #[test]
    fn lines_of_code_stay_together_and_not_without_end() {
        let code = "fn main() {\n    let a = 1;\n    run(a);\n}\n\nfn run(a: u8) {\n    start(a);\n}";
        assert_eq!(all(code), ["fn main() {\n    let a = 1;\n    run(a);\n}", "fn run(a: u8) {\n    start(a);\n}"]);
        let long = "    step();\n".repeat(20);
        assert!(all(&long).iter().all(|part| part.lines().count() <= MOST_CODE_LINES));
    }

    proptest::proptest! {
        #[test]
        fn every_letter_is_in_one_statement(text in "([a-zA-Zäß. ;{}|\\n]|\\PC){0,80}") {
            let mut behind = 0;
            for range in statements(&text) {
                proptest::prop_assert!(range.start >= behind && range.end > range.start);
                proptest::prop_assert!(text.get(behind..range.start).unwrap().trim().is_empty());
                behind = range.end;
            }
            proptest::prop_assert!(text.get(behind..).unwrap().trim().is_empty());
        }
    }
}
