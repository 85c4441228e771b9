//! Splitting a task along the parts that it names.

use crate::{Source, Task, TaskId};

use super::NAME;
use super::fields::{self, title};

/// So many subtasks are made without being told a number.
const USUAL_MOST: usize = 7;

/// Splits a task into subtasks numbered from 1. They name each other in their dependencies as `1`, `2` and so on, by
/// number only; whoever puts them below a task writes that task's address in front.
///
/// A task's own parts come first: its stated requirements, then the items and sentences of its texts. Where those do
/// not suffice, steps that every piece of work has are added, and their details say that they are derived; there are
/// few such steps, so that fewer subtasks than wished may come back.
pub fn expand(task: &Task, number: Option<u32>) -> Vec<Task> {
    let parts = parts(task);
    let wanted = match number {
        Some(number) => number.clamp(1, 100) as usize,
        None if parts.len() >= 2 => parts.len().min(USUAL_MOST),
        None => fields::complexity(task).recommended_subtasks.clamp(2, 5) as usize,
    };
    let mut subtasks: Vec<Task> = Vec::with_capacity(wanted);
    if parts.len() > wanted {
        for place in 0..wanted {
            let (from, to) = (place * parts.len() / wanted, (place + 1) * parts.len() / wanted);
            subtasks.extend(parts.get(from..to).map(|parts| of_parts(task, parts)));
        }
    } else {
        let parts = if parts.len() < 2 { &[] } else { parts.as_slice() };
        subtasks.extend(parts.iter().map(|part| of_parts(task, std::slice::from_ref(part))));
        subtasks.extend(steps(task, wanted - parts.len(), parts.is_empty()));
    }
    let mut before = Vec::new();
    for (number, subtask) in (1..).zip(&mut subtasks) {
        subtask.number = number;
        if subtask.details.starts_with(DERIVED) {
            subtask.dependencies = std::mem::take(&mut before);
        }
        before.push(TaskId::top(number));
    }
    fields::distinguish(&mut subtasks);
    subtasks
}

/// What the details of a step begin with that the document does not name.
const DERIVED: &str = "Derived";

/// A part of a task: its text, and the requirement's place when it is one.
#[derive(Clone)]
struct Part {
    text: String,
    source: Option<Source>,
}

fn parts(task: &Task) -> Vec<Part> {
    let lines: Vec<&str> = task.details.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
    if lines.len() >= 2 {
        let sourced = lines.len() == task.sources.len();
        let text =
            |line: &str| if sourced { line.rsplit_once(" (R").map_or(line, |(text, _)| text) } else { line }.to_owned();
        let of = |(place, line): (usize, &&str)| Part {
            text: text(line),
            source: task.sources.get(place).filter(|_| sourced).cloned(),
        };
        return lines.iter().enumerate().map(of).collect();
    }
    let clauses = said(task.description.split([';', '\n']).flat_map(|clause| clause.split(". ")));
    if clauses.len() >= 2 {
        return clauses;
    }
    // Three things with commas between them are a list, two are a sentence.
    let listed = said(task.description.split(", "));
    if listed.len() >= 3 { listed } else { clauses }
}

fn said<'a>(clauses: impl Iterator<Item = &'a str>) -> Vec<Part> {
    let bare = clauses.map(|clause| clause.trim().trim_start_matches(['-', '*', ' ']).trim_start_matches("and "));
    let told = bare.filter(|clause| clause.split_whitespace().count() >= 2);
    told.map(|text| Part { text: text.to_owned(), source: None }).collect()
}

fn of_parts(task: &Task, parts: &[Part]) -> Task {
    let text = match parts {
        [one] => one.text.clone(),
        all => all.iter().map(|part| part.text.trim_end_matches(['.', ';'])).collect::<Vec<_>>().join("; "),
    };
    Task {
        title: title(&text),
        description: text,
        details: format!("A part of “{}”.", task.title),
        test_strategy: "Derived, the part names no acceptance: show that it holds by itself.".to_owned(),
        priority: task.priority,
        sources: parts.iter().filter_map(|part| part.source.clone()).collect(),
        made_by: NAME.to_owned(),
        ..Task::default()
    }
}

/// Steps of any piece of work, in their order; behind stated parts only those that are left to do then.
fn steps(task: &Task, count: usize, is_alone: bool) -> Vec<Task> {
    const STEPS: [(&str, &str); 5] = [
        ("Settle what is wanted of", "Write down what is unclear in the task and have it answered."),
        ("Design", "Decide how it is done and what it touches."),
        ("Build", "Do it as it was decided."),
        ("Test", "Check it by the task's test strategy."),
        ("Document and hand over", "Write down what a user and an operator need to know."),
    ];
    let chosen: &[usize] = match (count, is_alone) {
        (0, _) => &[],
        (1, true) => &[2],
        (2, true) => &[2, 3],
        (3, true) => &[1, 2, 3],
        (4, true) => &[1, 2, 3, 4],
        (_, true) => &[0, 1, 2, 3, 4],
        (1, false) => &[3],
        (_, false) => &[3, 4],
    };
    chosen
        .iter()
        .filter_map(|&step| STEPS.get(step))
        .map(|(verb, what)| Task {
            title: title(&format!("{verb}: {}", task.title)),
            description: (*what).to_owned(),
            details: format!("{DERIVED}: a usual step, the task itself does not name it."),
            test_strategy: task.test_strategy.clone(),
            priority: task.priority,
            made_by: NAME.to_owned(),
            ..Task::default()
        })
        .collect()
}
