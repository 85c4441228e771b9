//! The dependencies of top-level tasks as a picture: in columns, each task right of all that it waits for.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::{Status, Task, TaskId, Tasks};

/// More tasks than this make no picture that anybody can read.
const MOST: usize = 1000;
const BOX: (usize, usize) = (220, 46);
const GAP: (usize, usize) = (70, 18);
const MARGIN: usize = 24;
/// Passes that pull each task to the middle of its neighbours, to and fro.
const SWEEPS: usize = 4;
const TITLE_CHARS: usize = 30;

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
    let columns = columns(&shown);
    let places = places(&columns);
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let width = MARGIN * 2 + columns.len() * BOX.0 + columns.len().saturating_sub(1) * GAP.0;
    let height = MARGIN * 2 + rows * (BOX.1 + GAP.1) + 40;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<title>{} tasks and what they wait for</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fafafa\"/>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
         <path d=\"M0 0 L8 4 L0 8 z\" fill=\"#666\"/></marker></defs>\n",
        shown.len()
    );
    for task in &shown {
        for on in task.dependencies.iter().map(TaskId::root) {
            if let (Some(&to), Some(&from)) = (places.get(&task.number), places.get(&on)) {
                edge(&mut text, from, to);
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

/// Tasks by the longest way to them, each column ordered so that edges are short.
fn columns(shown: &[&Task]) -> Vec<Vec<u32>> {
    let by_number: BTreeMap<u32, &Task> = shown.iter().map(|task| (task.number, *task)).collect();
    let needs = |task: &Task| -> Vec<u32> {
        let needs = task.dependencies.iter().map(TaskId::root);
        needs.filter(|on| *on != task.number && by_number.contains_key(on)).collect()
    };
    let mut column: BTreeMap<u32, usize> = by_number.keys().map(|number| (*number, 0)).collect();
    // As many rounds as the longest way has steps; a circle, which cannot be drawn from left to right, ends it.
    for _ in 0..shown.len() {
        let mut is_moved = false;
        for task in by_number.values() {
            let least = needs(task).iter().filter_map(|on| column.get(on)).max().map_or(0, |before| before + 1);
            if column.get(&task.number).is_some_and(|now| *now < least) && least < shown.len() {
                column.insert(task.number, least);
                is_moved = true;
            }
        }
        if !is_moved {
            break;
        }
    }
    let mut columns: Vec<Vec<u32>> = vec![Vec::new(); column.values().max().map_or(0, |last| last + 1)];
    for (number, place) in &column {
        if let Some(list) = columns.get_mut(*place) {
            list.push(*number);
        }
    }
    let mut near: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for task in by_number.values() {
        for on in needs(task) {
            near.entry(task.number).or_default().push(on);
            near.entry(on).or_default().push(task.number);
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
                if rows.is_empty() { 0 } else { rows.iter().sum::<usize>() * 100 / rows.len() }
            };
            list.sort_by_cached_key(|number| (middle(number), *number));
        }
    }
    columns
}

fn places(columns: &[Vec<u32>]) -> BTreeMap<u32, (usize, usize)> {
    let place = |(column, list): (usize, &Vec<u32>)| -> Vec<(u32, (usize, usize))> {
        let x = MARGIN + column * (BOX.0 + GAP.0);
        list.iter().enumerate().map(|(row, number)| (*number, (x, MARGIN + row * (BOX.1 + GAP.1)))).collect()
    };
    columns.iter().enumerate().flat_map(place).collect()
}

fn edge(text: &mut String, from: (usize, usize), to: (usize, usize)) {
    let (x1, y1, x2, y2) = (from.0 + BOX.0, from.1 + BOX.1 / 2, to.0, to.1 + BOX.1 / 2);
    let (near, far) = (x1 + GAP.0 / 2, x2.saturating_sub(GAP.0 / 2));
    let _ = writeln!(
        text,
        "<path d=\"M{x1} {y1} C{near} {y1} {far} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#666\" marker-end=\"url(#tip)\"/>"
    );
}

fn node(text: &mut String, task: &Task, x: usize, y: usize) {
    let (fill, border) = colours(task.status);
    let finished = task.subtasks.iter().filter(|sub| sub.status.satisfies()).count();
    let parts = match task.subtasks.len() {
        0 => String::new(),
        all => format!(", {finished} of {all} parts"),
    };
    let (width, height) = BOX;
    let _ = writeln!(
        text,
        "<g><title>{}: {}</title><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{fill}\" \
         stroke=\"{border}\" stroke-width=\"1.5\"/><text x=\"{}\" y=\"{}\" fill=\"#111\">{} {}</text>\
         <text x=\"{}\" y=\"{}\" fill=\"{border}\" font-size=\"10\">{}, {}{parts}</text></g>",
        task.number,
        escaped(&task.title),
        x + 10,
        y + 19,
        task.number,
        escaped(&crate::edit::clip(&task.title, TITLE_CHARS)),
        x + 10,
        y + 35,
        task.status,
        task.priority,
    );
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
        x += 40 + status.as_str().len() * 7;
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
