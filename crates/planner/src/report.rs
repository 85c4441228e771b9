//! Tasks as Markdown: a report on progress, a file for each task, a list for a README.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::edit::joined;
use crate::graph::{self, blocked_by};
use crate::prd::lines_named;
use crate::{Status, Task, TaskId, Tasks};

/// Marks between which a README has its list of tasks.
pub const BEGIN: &str = "<!-- tasks: begin -->";
/// See [`BEGIN`].
pub const END: &str = "<!-- tasks: end -->";

/// How far a project is, what stands in the way, and what comes next.
pub fn progress(name: &str, tasks: &Tasks, draft_because: &[String]) -> String {
    let counts = tasks.by_status();
    let all = counts.values().sum::<u32>();
    let finished = counts.iter().filter(|(status, _)| status.satisfies()).map(|(_, count)| count).sum::<u32>();
    let percent = (finished * 100).checked_div(all).unwrap_or(0);
    let mut text =
        format!("# Progress of {}\n\n{finished} of {all} tasks are finished ({percent} %).\n", escaped(name));
    for reason in draft_because {
        let _ = writeln!(text, "\nThe plan is a draft: {}.", escaped(reason));
    }
    text.push_str("\n| status | tasks |\n|---|---|\n");
    for (status, count) in &counts {
        let _ = writeln!(text, "| {status} | {count} |");
    }
    section(&mut text, "Next", next_lines(tasks));
    let path = longest_way(tasks);
    if path.len() > 1 {
        let way: Vec<String> = path.iter().map(ToString::to_string).collect();
        section(
            &mut text,
            "The longest way to the end",
            vec![format!("{} tasks one after the other: {}", path.len(), way.join(" -> "))],
        );
    }
    let waiting = tasks.walk().filter(|(_, task)| !task.status.satisfies()).filter_map(|(id, task)| {
        let by = blocked_by(tasks, &id);
        let why = match (task.status, by.is_empty()) {
            (Status::Blocked, true) => "is blocked".to_owned(),
            (_, true) => return None,
            (_, false) => format!("waits for {}", joined(&by)),
        };
        Some(format!("{id} {} {why}", escaped(&task.title)))
    });
    section(&mut text, "Waiting", waiting.collect());
    let hard = tasks.walk().filter_map(|(id, task)| {
        let complexity = task.complexity.as_ref().filter(|_| !task.status.satisfies())?;
        (complexity.score >= 7).then(|| format!("{id} {} ({} of 10)", escaped(&task.title), complexity.score))
    });
    section(&mut text, "Hard ones", hard.collect());
    text
}

fn next_lines(tasks: &Tasks) -> Vec<String> {
    let next = graph::next(tasks, 2);
    let title = |id: &TaskId| tasks.get(id).map_or_else(String::new, |task| format!("{id} {}", escaped(&task.title)));
    let first = next.chosen.iter().map(|id| format!("{}: {}", title(id), next.reasons.join(", ")));
    let mut lines: Vec<String> = first.chain(next.others.iter().map(title)).collect();
    if lines.is_empty() {
        lines = next.reasons;
    }
    lines
}

fn section(text: &mut String, heading: &str, lines: Vec<String>) {
    const MOST: usize = 50;
    if lines.is_empty() {
        return;
    }
    let _ = write!(text, "\n## {heading}\n\n");
    for line in lines.iter().take(MOST) {
        let _ = writeln!(text, "- {line}");
    }
    if lines.len() > MOST {
        let _ = writeln!(text, "- and {} more", lines.len() - MOST);
    }
}

/// The longest chain of unfinished top-level tasks that wait for each other.
fn longest_way(tasks: &Tasks) -> Vec<TaskId> {
    let mut best: BTreeMap<u32, (usize, Option<u32>)> = BTreeMap::new();
    let is_open = |number: u32| tasks.root(number).is_some_and(|task| !task.status.satisfies());
    for id in graph::order(tasks).into_iter().filter(|id| id.depth() == 1 && is_open(id.number())) {
        let Some(task) = tasks.get(&id) else { continue };
        let before = task.dependencies.iter().map(TaskId::root).filter(|on| is_open(*on));
        let before = before.filter_map(|on| best.get(&on).map(|(length, _)| (*length, on))).max();
        best.insert(id.number(), before.map_or((1, None), |(length, on)| (length + 1, Some(on))));
    }
    let mut at = best
        .iter()
        .max_by_key(|(number, (length, _))| (*length, std::cmp::Reverse(**number)))
        .map(|(number, _)| *number);
    let mut way = Vec::new();
    while let Some(number) = at {
        way.push(TaskId::top(number));
        at = best.get(&number).and_then(|(_, before)| *before);
    }
    way.reverse();
    way
}

/// A file for each top-level task: its name, and its text.
pub fn files(tasks: &Tasks) -> Vec<(String, String)> {
    let file = |task: &std::sync::Arc<Task>| {
        let mut text = String::new();
        one(&mut text, &TaskId::top(task.number), task, 1);
        (format!("task_{:03}.md", task.number), text)
    };
    tasks.top().iter().map(file).collect()
}

fn one(text: &mut String, id: &TaskId, task: &Task, level: usize) {
    let waits = if task.dependencies.is_empty() { "none".to_owned() } else { joined(&task.dependencies) };
    let hashes = "#".repeat(level.min(6));
    let _ = write!(
        text,
        "{hashes} {id} {}\n\n- status: {}\n- priority: {}\n- dependencies: {waits}\n",
        escaped(&task.title),
        task.status,
        task.priority
    );
    for source in &task.sources {
        let lines = lines_named(source.first_line, source.last_line);
        let _ = writeln!(text, "- covers {} ({lines})", escaped(&source.requirement));
    }
    for (heading, part) in [("", &task.description), ("Details", &task.details), ("Test strategy", &task.test_strategy)]
    {
        if part.is_empty() {
            continue;
        }
        let heading = if heading.is_empty() { String::new() } else { format!("**{heading}**\n\n") };
        let _ = write!(text, "\n{heading}{}\n", part.trim());
    }
    for sub in &task.subtasks {
        text.push('\n');
        one(text, &id.child(sub.number), sub, level + 1);
    }
}

/// The list of tasks for a README, between its marks.
pub fn readme_block(tasks: &Tasks) -> String {
    let mut text = format!("{BEGIN}\n");
    for (id, task) in tasks.walk() {
        let tick = if task.status == Status::Done { "x" } else { " " };
        let status = match task.status {
            Status::Pending | Status::Done => String::new(),
            status => format!(" ({status})"),
        };
        let _ = writeln!(text, "{}- [{tick}] {id} {}{status}", "  ".repeat(id.depth() - 1), escaped(&task.title));
    }
    text.push_str(END);
    text.push('\n');
    text
}

/// Text that Markdown takes as text.
fn escaped(text: &str) -> String {
    let special = |char: char| matches!(char, '<' | '>' | '`' | '*' | '_' | '[' | ']' | '|' | '\\');
    text.chars().filter(|char| !char.is_control()).fold(String::new(), |mut all, char| {
        if special(char) {
            all.push('\\');
        }
        all.push(char);
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tasks {
        let mut one = Task { status: Status::Done, ..Task::titled(1, "Lay pipes") };
        one.subtasks = vec![Task { status: Status::Done, ..Task::titled(1, "Dig") }];
        let two = Task { dependencies: vec![TaskId::top(1)], ..Task::titled(2, "Connect <pump>") };
        let three = Task { dependencies: vec![TaskId::top(2)], ..Task::titled(3, "Water") };
        Tasks::new([one, two, three])
    }

    #[test]
    fn a_report_tells_how_far_it_is_and_what_waits() {
        insta::assert_snapshot!(progress("garden", &sample(), &[]), @r"
        # Progress of garden

        2 of 4 tasks are finished (50 %).

        | status | tasks |
        |---|---|
        | pending | 2 |
        | done | 2 |

        ## Next

        - 2 Connect \<pump\>: what it waited for is finished, its priority is medium, 1 task waits for it

        ## The longest way to the end

        - 2 tasks one after the other: 2 -> 3

        ## Waiting

        - 3 Water waits for 2
        ");
    }

    #[test]
    fn a_list_for_a_readme_stands_between_its_marks() {
        let list = readme_block(&sample());
        assert!(list.starts_with(&format!("{BEGIN}\n- [x] 1 Lay pipes\n  - [x] 1.1 Dig\n- [ ] 2")), "{list}");
        assert!(list.ends_with(&format!("\n{END}\n")), "{list}");
    }
}
