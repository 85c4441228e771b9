//! The dependencies of top-level tasks as a picture: in columns, each task right of all that it waits for. What only
//! subtasks wait for is a dashed line between the tasks that they are part of. Lines run in the gaps between columns and
//! between rows, so that none is behind a box.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::edit::counted;
use crate::{Status, Task, TaskId, Tasks};

/// More tasks than this make no picture that anybody can read.
const MOST: usize = 1000;
const BOX: (usize, usize) = (240, 60);
const GAP: (usize, usize) = (70, 20);
const MARGIN: usize = 24;
/// Between a box's border and its text.
const INSET: usize = 10;
/// Lines that share a gap between rows lie so far from each other, and so many beside each other.
const LANES: (usize, usize) = (3, 5);
/// Passes that pull each task to the middle of its neighbours, to and fro.
const SWEEPS: usize = 4;
const TITLE_LINES: usize = 2;

/// Fill and border for each status; readable on paper and on light or dark ground, since every box has its own fill.
const fn colours(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Pending => ("#ffffff", "#555555"),
        Status::InProgress => ("#dbeafe", "#1d4ed8"),
        Status::Review => ("#ede9fe", "#6d28d9"),
        Status::Done => ("#dcfce7", "#15803d"),
        Status::Deferred => ("#f3f4f6", "#9ca3af"),
        Status::Cancelled => ("#f3f4f6", "#6b7280"),
        Status::Blocked => ("#fee2e2", "#b91c1c"),
    }
}

/// The picture, as a whole SVG file.
pub fn svg(tasks: &Tasks) -> String {
    let shown: Vec<&Task> = tasks.top().iter().map(|task| &**task).take(MOST).collect();
    let needs = needs(&shown);
    let columns = columns(&needs);
    let places = places(&columns);
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let drawn = columns.len() * BOX.0 + columns.len().saturating_sub(1) * GAP.0;
    let width = MARGIN * 2 + drawn.max(Status::ALL.iter().copied().map(legend_width).sum());
    let height = MARGIN * 2 + rows * (BOX.1 + GAP.1) + 40;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<title>{} and what waits for what</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fafafa\"/>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
         <path d=\"M0 0 L8 4 L0 8 z\" fill=\"#666\"/></marker></defs>\n",
        counted(shown.len(), "task")
    );
    for task in &shown {
        for on in needs.get(&task.number).into_iter().flatten() {
            let is_whole = task.dependencies.contains(&TaskId::top(*on));
            if let (Some(&to), Some(&from)) = (places.get(&task.number), places.get(on)) {
                edge(&mut text, from, to, *on as usize, is_whole);
            }
        }
    }
    for task in &shown {
        if let Some(&(x, y)) = places.get(&task.number) {
            node(&mut text, task, x, y);
        }
    }
    legend(&mut text, height);
    if tasks.top().len() > MOST {
        let more = tasks.top().len() - MOST;
        let _ = writeln!(text, "<text x=\"{MARGIN}\" y=\"14\" fill=\"#b91c1c\">{more} more tasks are not shown</text>");
    }
    text.push_str("</svg>\n");
    text
}

/// What each task waits for, itself or by its subtasks, as top-level tasks that are shown.
fn needs(shown: &[&Task]) -> BTreeMap<u32, BTreeSet<u32>> {
    fn collect(task: &Task, into: &mut BTreeSet<u32>) {
        into.extend(task.dependencies.iter().map(TaskId::root));
        task.subtasks.iter().for_each(|sub| collect(sub, into));
    }
    let mut all: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for task in shown {
        collect(task, all.entry(task.number).or_default());
    }
    let numbers: BTreeSet<u32> = all.keys().copied().collect();
    all.iter_mut().for_each(|(number, needs)| needs.retain(|on| on != number && numbers.contains(on)));
    all
}

/// Tasks by the longest way to them, each column ordered so that edges are short.
fn columns(needs: &BTreeMap<u32, BTreeSet<u32>>) -> Vec<Vec<u32>> {
    let mut near = needs.clone();
    for (number, needs) in needs {
        for on in needs {
            near.entry(*on).or_default().insert(*number);
        }
    }
    let mut columns: Vec<Vec<u32>> = Vec::new();
    for (number, column) in depths(needs, &near) {
        columns.resize_with(columns.len().max(column + 1), Vec::new);
        if let Some(list) = columns.get_mut(column) {
            list.push(number);
        }
    }
    for _ in 0..SWEEPS {
        let rows: BTreeMap<u32, usize> =
            columns.iter().flat_map(|list| list.iter().enumerate().map(|(row, number)| (*number, row))).collect();
        for list in &mut columns {
            let middle = |number: &u32| {
                let rows: Vec<usize> =
                    near.get(number).into_iter().flatten().filter_map(|near| rows.get(near).copied()).collect();
                // In hundredths, so that it can be ordered.
                (rows.iter().sum::<usize>() * 100).checked_div(rows.len()).unwrap_or(0)
            };
            list.sort_by_cached_key(|number| (middle(number), *number));
        }
    }
    columns
}

/// How many tasks stand before each on the longest way to it. Where all that is left waits for each other (subtasks of
/// two tasks may), the first of it goes ahead.
fn depths(needs: &BTreeMap<u32, BTreeSet<u32>>, near: &BTreeMap<u32, BTreeSet<u32>>) -> BTreeMap<u32, usize> {
    let mut left: BTreeMap<u32, usize> = needs.iter().map(|(number, needs)| (*number, needs.len())).collect();
    let mut free: BTreeSet<u32> = left.iter().filter(|(_, count)| **count == 0).map(|(number, _)| *number).collect();
    let mut depths: BTreeMap<u32, usize> = BTreeMap::new();
    while let Some(number) = free.pop_first().or_else(|| left.keys().next().copied()) {
        left.remove(&number);
        let before = needs.get(&number).into_iter().flatten().filter_map(|on| depths.get(on));
        depths.insert(number, before.max().map_or(0, |before| before + 1));
        for behind in near.get(&number).into_iter().flatten() {
            let waits = needs.get(behind).is_some_and(|needs| needs.contains(&number));
            if let Some(count) = left.get_mut(behind).filter(|_| waits) {
                *count -= 1;
                if *count == 0 {
                    free.insert(*behind);
                }
            }
        }
    }
    depths
}

fn places(columns: &[Vec<u32>]) -> BTreeMap<u32, (usize, usize)> {
    let place = |(column, list): (usize, &Vec<u32>)| -> Vec<(u32, (usize, usize))> {
        let x = MARGIN + column * (BOX.0 + GAP.0);
        list.iter().enumerate().map(|(row, number)| (*number, (x, MARGIN + row * (BOX.1 + GAP.1)))).collect()
    };
    columns.iter().enumerate().flat_map(place).collect()
}

/// A line from what is waited for; dashed when only parts of the tasks wait, or are waited for. To the next column it goes
/// straight; else along the gap between two rows, which no box stands in. Lines of one `source` share a lane there.
fn edge(text: &mut String, from: (usize, usize), to: (usize, usize), source: usize, is_whole: bool) {
    let (x1, y1, x2, y2) = (from.0 + BOX.0, from.1 + BOX.1 / 2, to.0, to.1 + BOX.1 / 2);
    let dashes = if is_whole { "" } else { " stroke-dasharray=\"5 3\"" };
    let way = if x1 + GAP.0 == x2 {
        let middle = x1 + GAP.0 / 2;
        format!("C{middle} {y1} {middle} {y2} {x2} {y2}")
    } else {
        // Where the line goes back, there may be no gap to the left or to the right, only the margin.
        let reach = if x2 > x1 { GAP.0 } else { MARGIN };
        let (out, back) = (x1 + reach, x2.saturating_sub(reach));
        let (near, far) = (x1 + reach / 2, x2.saturating_sub(reach / 2));
        let beside = GAP.1 / 2 - LANES.0 * (LANES.1 / 2) + source % LANES.1 * LANES.0;
        let lane = if y2 > y1 { to.1 - GAP.1 + beside } else { to.1 + BOX.1 + beside };
        format!("C{near} {y1} {near} {lane} {out} {lane} H{back} C{far} {lane} {far} {y2} {x2} {y2}")
    };
    let _ =
        writeln!(text, "<path d=\"M{x1} {y1} {way}\" fill=\"none\" stroke=\"#666\"{dashes} marker-end=\"url(#tip)\"/>");
}

fn node(text: &mut String, task: &Task, x: usize, y: usize) {
    let (fill, border) = colours(task.status);
    let finished = task.subtasks.iter().filter(|sub| sub.status.satisfies()).count();
    let parts = match task.subtasks.len() {
        0 => String::new(),
        all => format!(", {finished} of {all} parts"),
    };
    let (width, height) = BOX;
    let room = BOX.0 - 2 * INSET;
    let titled: String = (0..)
        .zip(lines(&format!("{} {}", task.number, task.title), room))
        .map(|(line, text)| {
            let (x, y) = (x + INSET, y + 19 + line * 15);
            format!("<text x=\"{x}\" y=\"{y}\" fill=\"#111\">{}</text>", escaped(&text))
        })
        .collect();
    let _ = writeln!(
        text,
        "<g><title>{}: {}</title><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{fill}\" \
         stroke=\"{border}\" stroke-width=\"1.5\"/>{titled}\
         <text x=\"{}\" y=\"{}\" fill=\"{border}\" font-size=\"10\">{}, {}{parts}</text></g>",
        task.number,
        escaped(&task.title),
        x + INSET,
        y + BOX.1 - 10,
        task.status,
        task.priority,
    );
}

/// A title in at most so many lines as fit into a box, each at most `room` wide; marked where it was cut.
fn lines(title: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut words = title.split_whitespace().peekable();
    while lines.len() < TITLE_LINES && words.peek().is_some() {
        let mut line = String::new();
        while let Some(word) = words.peek() {
            let longer = if line.is_empty() { (*word).to_owned() } else { format!("{line} {word}") };
            if !line.is_empty() && width(&longer) > room {
                break;
            }
            line = longer;
            words.next();
        }
        lines.push(line);
    }
    let has_more = words.peek().is_some();
    let last = lines.len().saturating_sub(1);
    let fit = |(place, line): (usize, String)| {
        if has_more && place == last { cut(&(line + "…"), room) } else { cut(&line, room) }
    };
    lines.into_iter().enumerate().map(fit).collect()
}

/// A line that is not wider than `room`.
fn cut(line: &str, room: usize) -> String {
    if width(line) <= room {
        return line.to_owned();
    }
    let mut kept: Vec<char> = line.trim_end_matches(['…', ' ']).chars().collect();
    while width(&format!("{}…", kept.iter().collect::<String>())) > room && kept.pop().is_some() {}
    format!("{}…", kept.into_iter().collect::<String>().trim_end())
}

/// How wide a text is drawn at most, by the widths of DejaVu Sans: other fonts that `sans-serif` stands for are narrower.
fn width(text: &str) -> usize {
    let hundredths = |char: char| match char {
        'i' | 'j' | 'l' | '\'' | 'I' | '|' | '.' | ',' | ' ' => 32,
        'f' | 't' | 'r' | ':' | ';' | '!' | '(' | ')' | '[' | ']' | '/' | '-' => 41,
        'm' | 'M' | 'W' | '@' | '%' | '…' | '—' => 100,
        'w' | '+' | '=' | '<' | '>' | '~' | 'O' | 'Q' | 'G' | 'D' | 'N' | 'H' | '&' => 84,
        'A'..='Z' => 70,
        '\u{300}'..='\u{36f}' => 0,
        char if char < '\u{1100}' => 64,
        char if char < '\u{10000}' => 100,
        _ => 140,
    };
    let size = 12;
    (text.chars().map(hundredths).sum::<usize>() * size).div_ceil(100)
}

/// How much room a status takes in the legend.
fn legend_width(status: Status) -> usize {
    40 + status.as_str().len() * 7
}

fn legend(text: &mut String, height: usize) {
    let mut x = MARGIN;
    let y = height - MARGIN;
    for status in Status::ALL {
        let (fill, border) = colours(*status);
        let _ = write!(
            text,
            "<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" rx=\"3\" fill=\"{fill}\" stroke=\"{border}\"/>\
             <text x=\"{}\" y=\"{y}\" fill=\"#333\" font-size=\"10\">{status}</text>",
            y - 10,
            x + 17,
        );
        x += legend_width(*status);
    }
    text.push('\n');
}

fn escaped(text: &str) -> String {
    let plain = text.chars().filter(|char| !char.is_control());
    plain.fold(String::new(), |mut all, char| {
        match char {
            '&' => all.push_str("&amp;"),
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '"' => all.push_str("&quot;"),
            char => all.push(char),
        }
        all
    })
}
