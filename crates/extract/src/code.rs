//! Source code: the text stays as it is, and each block is a top-level item with the comments above it.
//!
//! The rule knows no language. An item begins at a line with the least indentation of all, behind a blank line or behind
//! the end of another item, once as many braces are closed as were opened. Where that rule is wrong, only the borders of
//! blocks are; nothing is lost.

use std::ops::Range;

use super::draft::Draft;
use super::{Extracted, Kind, ReadError, Shape, decode, limits};
use crate::one_line;

/// Braces of code that this rule misreads, such as those in quotes over several lines, are given up on behind so many lines.
const MOST_OPEN_LINES: usize = 400;

/// Reads source code; `name` becomes its title.
pub(super) fn read(bytes: &[u8], name: &str) -> Result<Extracted, ReadError> {
    limits::letters(bytes)?;
    let decoded = decode::decode(bytes, None)?;
    let parts = items(&decoded.text).into_iter().map(|part| (Shape::Code, part)).collect();
    let mut draft = Draft::whole(Kind::Code, decoded.text, parts)?;
    draft.notes(decoded.notes);
    draft.title(&one_line(name));
    Ok(draft.finish())
}

fn items(text: &str) -> Vec<Range<usize>> {
    let is_blank = |line: &str| line.trim().is_empty();
    let least = text.lines().filter(|line| !is_blank(line)).map(indentation).min().unwrap_or(0);
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    let (mut open, mut lines) = (0_i64, 0);
    // Whether the line before ends an item, or is blank.
    let mut may_begin = false;
    for line in text.split_inclusive('\n') {
        let is_outer = !is_blank(line) && indentation(line) == least;
        let closes = line.trim_start().starts_with(['}', ')', ']']) || line.trim_start().starts_with("end");
        if may_begin && is_outer && !closes && (open <= 0 || lines > MOST_OPEN_LINES) {
            parts.push(start..at);
            (start, open, lines) = (at, 0, 0);
        }
        open += braces(line);
        may_begin = is_blank(line) || (is_outer && closes && open <= 0);
        at += line.len();
        lines += 1;
    }
    parts.push(start..at);
    parts
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// How many more braces a line opens than it closes; those within quotes don't count.
fn braces(line: &str) -> i64 {
    let (mut open, mut quote, mut is_escaped) = (0, None, false);
    for byte in line.bytes() {
        match (byte, quote) {
            _ if is_escaped => is_escaped = false,
            (b'\\', _) => is_escaped = true,
            (b'"' | b'`', None) => quote = Some(byte),
            (byte, Some(begun)) if byte == begun => quote = None,
            (b'{', None) => open += 1,
            (b'}', None) => open -= 1,
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &str) -> Vec<String> {
        let read = read(text.as_bytes(), "a.x").unwrap();
        super::super::check(&read).unwrap();
        assert_eq!(read.text, text);
        read.blocks.iter().map(|block| read.of(block).to_owned()).collect()
    }

    #[test]
    fn functions_keep_their_comments_and_their_blank_lines() {
        let rust = "// Licence\n\nuse a;\nuse b;\n\n/// Does it.\nfn one() {\n    a();\n\n    b();\n}\n\n#[test]\nfn two() {}\n";
        assert_eq!(
            blocks(rust),
            [
                "// Licence",
                "use a;\nuse b;",
                "/// Does it.\nfn one() {\n    a();\n\n    b();\n}",
                "#[test]\nfn two() {}"
            ]
        );
    }

    #[test]
    fn languages_without_braces_are_divided_by_indentation() {
        let python =
            "import a\n\nclass B:\n    x = 1\n\n    def c(self):\n        pass\n\n# about d\ndef d():\n    '{'\n";
        assert_eq!(
            blocks(python),
            ["import a", "class B:\n    x = 1\n\n    def c(self):\n        pass", "# about d\ndef d():\n    '{'"]
        );
        assert_eq!(blocks("def a\n  1\nend\ndef b\n  2\nend\n"), ["def a\n  1\nend", "def b\n  2\nend"]);
    }

    #[test]
    fn a_body_without_indentation_stays_with_its_function() {
        assert_eq!(
            blocks("int a() {\n\nint x;\n\nreturn 0;\n}\nint b;\n"),
            ["int a() {\n\nint x;\n\nreturn 0;\n}", "int b;"]
        );
    }

    #[test]
    fn a_brace_that_is_never_closed_ends_somewhere() {
        let text = format!("x = {{\n\n{}", "y\n\n".repeat(600));
        assert!(blocks(&text).len() > 100);
    }

    #[test]
    fn an_excerpt_is_divided_at_its_own_indentation() {
        assert_eq!(
            blocks("    fn a() {\n    }\n\n    fn b() {\n    }\n"),
            ["    fn a() {\n    }", "    fn b() {\n    }"]
        );
    }
}
