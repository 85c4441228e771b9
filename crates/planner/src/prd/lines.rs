//! What kind each line is, as far as lines around it decide: front matter, comments, fenced code, tables.

use super::Oddity;

/// The kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Text,
    Blank,
    Heading,
    /// The opening or closing line of a code block.
    Fence,
    Code,
    Comment,
    FrontMatter,
    /// A line of a long run of log lines.
    Log,
    Table,
    /// It speaks to a model and not to a reader.
    Instruction,
}

/// The lines' marks and what was odd about blocks.
pub(super) struct Marked {
    pub marks: Vec<Mark>,
    pub oddities: Vec<Oddity>,
}

/// Marks blocks in one pass. What is opened and never closed counts as plain text, so that nothing is lost in it.
pub(super) fn mark(lines: &[String]) -> Marked {
    let mut marked = Marked { marks: lines.iter().map(|line| plain(line)).collect(), oddities: Vec::new() };
    let mut at = front_matter(lines, &mut marked);
    let mut hopeless = Hopeless::default();
    while let Some(line) = lines.get(at) {
        let trimmed = line.trim_start();
        if let Some(fence) = Fence::opening(line) {
            at = code(lines, at, fence, &mut hopeless, &mut marked);
        } else if trimmed.starts_with("<!--") {
            at = comment(lines, at, &mut hopeless, &mut marked);
        } else {
            at += 1;
        }
    }
    marked
}

/// Whether a line consists of marks only, such as `---` or `====`.
pub(crate) fn is_rule(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && line.chars().all(|c| matches!(c, '-' | '=' | '*' | '_' | '#' | '~' | ' ' | '+' | '|' | ':'))
}

fn plain(line: &str) -> Mark {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        Mark::Blank
    } else if trimmed.starts_with('|') && trimmed.len() > 1 {
        Mark::Table
    } else {
        Mark::Text
    }
}

/// What is known to have no end in the rest of the document; looking again for each opening would be quadratic.
#[derive(Default)]
struct Hopeless {
    comments: bool,
    backticks: Option<usize>,
    tildes: Option<usize>,
}

impl Hopeless {
    fn fences(&mut self, mark: char) -> &mut Option<usize> {
        if mark == '`' { &mut self.backticks } else { &mut self.tildes }
    }
}

struct Fence {
    mark: char,
    length: usize,
}

impl Fence {
    fn opening(line: &str) -> Option<Self> {
        let trimmed = line.trim_start();
        let mark = trimmed.chars().next().filter(|&c| c == '`' || c == '~')?;
        let length = trimmed.chars().take_while(|&c| c == mark).count();
        let rest = trimmed.get(length..).unwrap_or_default();
        let is_inline = mark == '`' && rest.contains('`');
        (length >= 3 && !is_inline).then_some(Self { mark, length })
    }

    /// Whether a line closes it, and whether it says more than that.
    fn closing(&self, line: &str) -> Option<bool> {
        let trimmed = line.trim();
        let length = trimmed.chars().take_while(|&c| c == self.mark).count();
        let rest = trimmed.get(length..).unwrap_or_default();
        let ends = length >= self.length && (rest.is_empty() || rest.starts_with(char::is_whitespace));
        ends.then_some(!rest.is_empty())
    }
}

fn code(lines: &[String], at: usize, fence: Fence, hopeless: &mut Hopeless, marked: &mut Marked) -> usize {
    let known = hopeless.fences(fence.mark);
    let may_close = known.is_none_or(|length| fence.length < length);
    let mut rest = lines.iter().enumerate().skip(at + 1);
    let end = if may_close { rest.find_map(|(i, line)| Some((i, fence.closing(line)?))) } else { None };
    let Some((end, says_more)) = end else {
        if may_close {
            *known = Some(fence.length);
            let what = "a code block is opened and never closed; what follows is read as text";
            marked.oddities.push(Oddity::new(number(at), number(lines.len() - 1), what));
        }
        set(marked, at, at, Mark::Fence);
        return at + 1;
    };
    if says_more {
        let what = "text behind the end of a code block; the block is taken to end here";
        marked.oddities.push(Oddity::new(number(end), number(end), what));
    }
    set(marked, at, end, Mark::Code);
    set(marked, at, at, Mark::Fence);
    set(marked, end, end, Mark::Fence);
    end + 1
}

fn comment(lines: &[String], at: usize, hopeless: &mut Hopeless, marked: &mut Marked) -> usize {
    let end = if hopeless.comments {
        None
    } else {
        lines.iter().enumerate().skip(at).find_map(|(i, line)| Some((i, line.split_once("-->")?.1)))
    };
    let Some((end, behind)) = end else {
        if !hopeless.comments {
            let what = "a comment is opened and never closed; what follows is read as text";
            marked.oddities.push(Oddity::new(number(at), number(lines.len() - 1), what));
        }
        hopeless.comments = true;
        return at + 1;
    };
    set(marked, at, end, Mark::Comment);
    // Readers of the rendered document do not see it.
    let what = "a comment, which a reader does not see; nothing is taken from it";
    marked.oddities.push(Oddity::new(number(at), number(end), what));
    if !behind.trim().is_empty() {
        set(marked, end, end, Mark::Text);
    }
    end + 1
}

/// Marks a header between two `---` lines, or two `+++` lines, at the very top; gives the line behind it.
fn front_matter(lines: &[String], marked: &mut Marked) -> usize {
    let Some(first) = lines.first().map(|line| line.trim_end()).filter(|line| matches!(*line, "---" | "+++")) else {
        return 0;
    };
    // Longer headers are a document that begins with a rule.
    const LONGEST: usize = 200;
    let mut inside = lines.iter().enumerate().skip(1).take(LONGEST);
    let end = inside.find(|(_, line)| line.trim_end() == first || line.trim_end() == "...").map(|(i, _)| i);
    let looks_right = |end: usize| lines.get(1..end).unwrap_or_default().iter().all(|line| is_setting(line));
    match end.filter(|&end| end > 1 && looks_right(end)) {
        Some(end) => {
            set(marked, 0, end, Mark::FrontMatter);
            end + 1
        }
        None => 0,
    }
}

fn is_setting(line: &str) -> bool {
    let trimmed = line.trim_start();
    let nested = line.starts_with([' ', '\t', '-', '#']) || trimmed.is_empty();
    nested || trimmed.split_once([':', '=']).is_some_and(|(key, _)| !key.trim().contains(' '))
}

fn set(marked: &mut Marked, first: usize, last: usize, mark: Mark) {
    if let Some(part) = marked.marks.get_mut(first..=last) {
        part.fill(mark);
    }
}

/// The number of a line, from 1.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1)
}
