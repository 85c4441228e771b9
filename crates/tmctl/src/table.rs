//! A table of text: columns as wide as they must be, two spaces between, colour only as decoration.

use crate::screen::Style;
use crate::text;

/// How good the news in a cell are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// No news.
    Plain,
    /// As it should be.
    Good,
    /// Not as usual.
    Odd,
    /// Somebody must look.
    Bad,
}

/// One cell.
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// `text` with a tone.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    /// The state of a node, a worker or an actor. The word alone says it; the colour only helps to find it.
    pub fn state(word: &str) -> Self {
        let tone = match word {
            "alive" | "ready" | "running" | "ok" => Tone::Good,
            "lost" | "failed" | "down" | "fail" | "critical" => Tone::Bad,
            _ => Tone::Odd,
        };
        Self::new(text::or_dash(word), tone)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Rows under a heading.
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with this heading and no rows.
    pub fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self::with_heading(heading.into_iter().map(Cell::from).collect())
    }

    /// A table whose columns are known only at run time.
    pub fn with_heading(heading: Vec<Cell>) -> Self {
        Self { rows: vec![heading] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().map(one_line).collect());
    }

    /// The text; `nothing` in its place when there are no rows.
    pub fn render(&self, style: Style, nothing: &str) -> String {
        if self.rows.len() == 1 {
            return format!("{nothing}\n");
        }
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                let width = cell.text.chars().count();
                match widths.get_mut(column) {
                    Some(widest) => *widest = width.max(*widest),
                    None => widths.push(width),
                }
            }
        }
        self.rows.iter().map(|row| render_row(row, &widths, style)).collect()
    }
}

/// A row as it comes, under columns whose widths are known before; one that is wider pushes the rest aside.
pub fn ruled(widths: &[usize], cells: impl IntoIterator<Item = Cell>, style: Style) -> String {
    render_row(&cells.into_iter().map(one_line).collect::<Vec<_>>(), widths, style)
}

/// A cell is one line, whatever a peer put into it.
fn one_line(cell: Cell) -> Cell {
    Cell { text: text::visible(&cell.text).replace(['\n', '\t'], " "), ..cell }
}

fn render_row(row: &[Cell], widths: &[usize], style: Style) -> String {
    let mut line = String::new();
    let mut owed = 0;
    for (cell, width) in row.iter().zip(widths) {
        // Padding comes before the next cell that has text, so that no line ends in spaces.
        if !cell.text.is_empty() {
            line.extend(std::iter::repeat_n(' ', owed));
            owed = 0;
            line.push_str(&paint(cell, style));
        }
        owed += width.saturating_sub(cell.text.chars().count()) + 2;
    }
    line.push('\n');
    line
}

fn paint(cell: &Cell, style: Style) -> String {
    let colour = match cell.tone {
        _ if !style.has_colour => return cell.text.clone(),
        Tone::Plain => return cell.text.clone(),
        Tone::Good => 32,
        Tone::Odd => 33,
        Tone::Bad => 31,
    };
    format!("\u{1b}[{colour}m{}\u{1b}[0m", cell.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(["NAME", "STATE", "NOTE"]);
        table.row(["a-long-name".into(), Cell::state("alive"), "".into()]);
        table.row(["b".into(), Cell::state("lost"), "two\nlines \u{1b}[31m".into()]);
        table
    }

    #[test]
    fn columns_line_up_and_no_line_ends_in_spaces() {
        insta::assert_snapshot!("table", sample().render(Style::default(), "none"));
    }

    #[test]
    fn colour_changes_no_width() {
        let style = Style { has_colour: true, ..Style::default() };
        let painted = sample().render(style, "none");
        assert!(painted.contains("\u{1b}[31mlost\u{1b}[0m"));
        let bare = painted.replace("\u{1b}[32m", "").replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
        assert_eq!(bare, sample().render(Style::default(), "none"));
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(["NAME"]).render(Style::default(), "no workers"), "no workers\n");
    }
}
