//! The tasks as a tree for a terminal.

use std::fmt::Write;

use super::next;
use crate::edit::joined;
use crate::{Status, Task, TaskId, Tasks};

const fn sign(status: Status) -> &'static str {
    match status {
        Status::Pending => "[ ]",
        Status::InProgress => "[>]",
        Status::Review => "[?]",
        Status::Done => "[x]",
        Status::Deferred => "[~]",
        Status::Cancelled => "[-]",
        Status::Blocked => "[!]",
    }
}

/// One line for each task, its parts below it; `<-` names what it waits for and what of that is not finished.
pub fn tree(tasks: &Tasks) -> String {
    let mut text = String::new();
    for task in tasks.top() {
        line(&mut text, tasks, &TaskId::top(task.number), task, "", "");
    }
    if text.is_empty() {
        return "there are no tasks\n".to_owned();
    }
    // On two lines, since a terminal may have 80 columns.
    text.push_str("\n[ ] pending  [>] in progress  [?] review  [x] done\n[~] deferred  [-] cancelled  [!] blocked\n");
    text
}

fn line(text: &mut String, tasks: &Tasks, id: &TaskId, task: &Task, lead: &str, below: &str) {
    let waits = match task.dependencies.is_empty() {
        true => String::new(),
        false => format!("  <- {}", joined(&task.dependencies)),
    };
    let open = next::blocked_by(tasks, id);
    let open = match open.is_empty() || task.status.satisfies() {
        true => String::new(),
        false => format!(" (open: {})", joined(&open)),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{lead}{} {id} {}{waits}{open}", sign(task.status), one_line(&task.title));
    let last = task.subtasks.len();
    for (index, sub) in task.subtasks.iter().enumerate() {
        let (lead, under) = if index + 1 == last { ("`- ", "   ") } else { ("|- ", "|  ") };
        let id = id.child(sub.number);
        line(text, tasks, &id, sub, &format!("{below}{lead}"), &format!("{below}{under}"));
    }
}

/// A title in one line, without characters that a terminal would obey.
fn one_line(title: &str) -> String {
    let plain: String = title.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}
