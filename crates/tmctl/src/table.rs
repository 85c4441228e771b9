//! A table of text: columns as wide as they must be, two spaces between, colour only as decoration. On a terminal a line
//! never wraps: the longest texts of it are shortened.

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
        let shown = fitting(&widths, style.width);
        self.rows.iter().map(|row| render_row(&shortened(row, &shown), &shown, style)).collect()
    }
}

/// A row as it comes, under columns whose widths are known before; one that is wider pushes the rest aside.
pub fn ruled(widths: &[usize], cells: impl IntoIterator<Item = Cell>, style: Style) -> String {
    let row: Vec<Cell> = cells.into_iter().map(one_line).collect();
    let taken: Vec<usize> = row.iter().zip(widths).map(|(cell, width)| cell.text.chars().count().max(*width)).collect();
    let row = shortened(&row, &fitting(&taken, style.width));
    render_row(&row, widths, style)
}

/// Lines of a tree that fit on the terminal: of a long one, what stands before the ids that it waits for is shortened.
pub fn fitting_lines(text: &str, style: Style) -> String {
    let Some(width) = style.width else { return text.to_owned() };
    let fit = |line: &str| {
        let open = line.rfind(OPEN).filter(|_| line.ends_with(')'));
        let (head, tail) = line.split_at(line.rfind(ARROW).or(open).unwrap_or(line.len()));
        let room = width.saturating_sub(tail.chars().count()).max(LEAST);
        clip(&(clip(head, room) + tail), width)
    };
    text.lines().map(|line| fit(line) + "\n").collect()
}

/// What a tree of tasks has before the ids that a task waits for.
const ARROW: &str = "  <- ";
/// And before those that its parents wait for.
const OPEN: &str = " (open: ";
/// No text is made shorter than this.
const LEAST: usize = 8;

/// The widths by which a row fits on the terminal. The widest gives way first; the first column never does, since it
/// names what the row is about.
fn fitting(widths: &[usize], terminal: Option<usize>) -> Vec<usize> {
    let mut widths = widths.to_vec();
    let Some(terminal) = terminal else { return widths };
    let room = terminal.saturating_sub(widths.len().saturating_sub(1) * 2);
    while widths.iter().sum::<usize>() > room {
        // Of the equally wide the last, which is the least important.
        let Some(widest) = widths.iter_mut().skip(1).filter(|width| **width > LEAST).max_by_key(|width| **width) else {
            break;
        };
        *widest -= 1;
    }
    widths
}

fn shortened(row: &[Cell], widths: &[usize]) -> Vec<Cell> {
    row.iter().zip(widths).map(|(cell, width)| Cell { text: clip(&cell.text, *width), tone: cell.tone }).collect()
}

/// A text of at most `most` characters, marked where it was cut.
pub fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// A cell is one line, whatever a peer put into it.
fn one_line(cell: Cell) -> Cell {
    Cell { text: text::one_line(&cell.text), ..cell }
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
    fn on_a_terminal_the_longest_text_gives_way_and_elsewhere_nothing_does() {
        let title = "Keep a snapshot of every hour for two days, and one of every day for a month";
        let mut table = Table::new(["ID", "STATUS", "TITLE", "WHY"]);
        table.row(["job-00000000000000001".into(), "pending".into(), title.into(), "it is asked for".into()]);
        let lines = |width| table.render(Style { width, ..Style::default() }, "none");
        assert!(lines(None).contains(title));
        let narrow = lines(Some(60));
        insta::assert_snapshot!("table_narrow", narrow);
        assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
        let cells = || [Cell::from("1"), title.into(), "x".into()];
        let ruled = |width| ruled(&[2, 10, 3], cells(), Style { width, ..Style::default() });
        assert!(ruled(None).contains(title) && ruled(Some(40)).trim_end().chars().count() <= 40, "{}", ruled(Some(40)));
        // Too narrow for anything: it wraps, and names what it is about.
        assert!(lines(Some(10)).contains("job-00000000000000001"));
    }

    #[test]
    fn lines_of_a_tree_keep_what_is_waited_for() {
        let tree = "[ ] 1 A long title of a task that is wide\n|- [ ] 1.1 Another long title, of a part  <- 2, 3 (open: 3)\n\
                    `- [ ] 1.2 The last one of these parts (open: 3)\n\nx\n";
        let style = |width| Style { width, ..Style::default() };
        assert_eq!(fitting_lines(tree, style(None)), tree);
        let narrow = "[ ] 1 A long title of a task that i…\n|- [ ] 1.1 Anoth…  <- 2, 3 (open: 3)\n\
                      `- [ ] 1.2 The last one o… (open: 3)\n\nx\n";
        assert_eq!(fitting_lines(tree, style(Some(36))), narrow);
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(["NAME"]).render(Style::default(), "no workers"), "no workers\n");
    }
}
