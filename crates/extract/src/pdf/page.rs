//! A page of a PDF as its letters come: each with a place and a size, in the order in which they are painted.

use pdf_extract::{MediaBox, OutputDev, OutputError, Transform};

use super::super::limits;
use super::lines::Line;
use crate::one_line;

/// A gap wider than this, in sizes of the letters, is a space. Tight print goes down to 0.16.
const SPACE: f64 = 0.15;
/// A letter further up or down than this, in sizes, stands on another line; what is raised a little doesn't.
const LINE: f64 = 0.5;

/// So many dots in a row, with or without spaces, lead from a title to its page.
const LEADER_DOTS: usize = 5;

/// Letters of a page.
#[derive(Default)]
pub(super) struct Page {
    lines: Vec<Line>,
    chars: usize,
    /// Where the last letter ended.
    end: f64,
    is_word_begun: bool,
}

impl Page {
    pub(super) fn chars(&self) -> usize {
        self.chars
    }

    /// Lines that have words.
    pub(super) fn lines(mut self) -> Vec<Line> {
        for line in &mut self.lines {
            line.text = one_line(&without_leaders(&line.text));
        }
        self.lines.retain(|line| !line.text.is_empty());
        self.lines
    }

    fn letter(&mut self, letter: &str, x: f64, y: f64, size: f64) {
        let is_same_line = self.lines.last().is_some_and(|line| {
            let away = (y - line.y).abs();
            // Back to the left on the same height is another column, or a line that is painted in pieces.
            away <= LINE * size.max(line.size) && (x >= self.end - size * 2.0 || away < 0.01)
        });
        match self.lines.last_mut() {
            Some(line) if is_same_line => {
                if self.is_word_begun && x > self.end + SPACE * size {
                    line.text.push(' ');
                }
                line.text.push_str(letter);
                line.size = line.size.max(size);
            }
            _ => self.lines.push(Line { text: letter.to_owned(), x, y, size }),
        }
    }
}

impl OutputDev for Page {
    fn begin_page(&mut self, _: u32, _: &MediaBox, _: Option<(f64, f64, f64, f64)>) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn output_character(
        &mut self,
        place: &Transform,
        width: f64,
        _: f64,
        font_size: f64,
        letter: &str,
    ) -> Result<(), OutputError> {
        self.chars += letter.chars().count();
        if self.chars > limits::PAGE_CHARS {
            return Err(OutputError::IoError(std::io::Error::other("too many characters")));
        }
        // The size of letters is the length of an upright unit, whichever way the page is turned.
        let size = font_size.abs() * place.m21.hypot(place.m22);
        let across = font_size.abs() * place.m11.hypot(place.m12);
        if [size, across, place.m31, place.m32, width].iter().all(|number| number.is_finite()) {
            self.letter(named(letter), place.m31, place.m32, size);
            self.end = place.m31 + width * across;
            self.is_word_begun = false;
        }
        Ok(())
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        self.is_word_begun = true;
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}

/// The dots between a title and its page in a table of contents become one sign.
fn without_leaders(text: &str) -> String {
    let (mut short, mut run) = (String::with_capacity(text.len()), String::new());
    let end = |run: &mut String, short: &mut String| {
        let is_leader = run.matches('.').count() >= LEADER_DOTS;
        short.push_str(if is_leader { " … " } else { run });
        run.clear();
    };
    for letter in text.chars() {
        if letter == '.' || (letter == ' ' && !run.is_empty()) {
            run.push(letter);
        } else {
            end(&mut run, &mut short);
            short.push(letter);
        }
    }
    end(&mut run, &mut short);
    short
}

/// Letters that are printed as one are still several.
fn named(letter: &str) -> &str {
    match letter {
        "\u{fb00}" => "ff",
        "\u{fb01}" => "fi",
        "\u{fb02}" => "fl",
        "\u{fb03}" => "ffi",
        "\u{fb04}" => "ffl",
        // A hyphen that shows only at the end of a line, and other letters that are not printed.
        "\u{ad}" => "-",
        letter if letter.chars().all(|letter| letter.is_control()) => " ",
        letter => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_become_one_sign_and_sentences_stay() {
        assert_eq!(one_line(&without_leaders("2.1 Pools. . . . . . 7")), "2.1 Pools … 7");
        assert_eq!(without_leaders("Wait... Then. Stop."), "Wait... Then. Stop.");
    }
}
