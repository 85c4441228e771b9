//! Tasks as material for questions, and the shapes in which models write tasks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::edit::joined;
use crate::model::material;
use crate::schema::{list, number, object, one_of, text};
use crate::{NewTask, Priority, Task, TaskId, Tasks};

/// Characters of a list of tasks in a question; a small model's context has room for that and for its answer.
const MOST_LIST_CHARS: usize = 9000;
/// Characters of one task in a question.
const MOST_TASK_CHARS: usize = 8000;

/// A task as a model writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Written {
    pub title: String,
    pub description: String,
    pub details: String,
    pub test_strategy: String,
    #[serde(default)]
    pub priority: Priority,
    #[serde(default)]
    pub complexity: u8,
    /// Names of requirements that it covers.
    #[serde(default)]
    pub requirements: Vec<String>,
    /// Places in the list, from 1, of those that come before it.
    #[serde(default)]
    pub after: Vec<u32>,
    /// Ids of other tasks that it needs.
    #[serde(default)]
    pub dependencies: Vec<TaskId>,
}

impl Written {
    /// The task of it, with nothing around it.
    pub fn into_new(self, made_by: &str) -> NewTask {
        NewTask {
            title: self.title,
            description: self.description,
            details: self.details,
            test_strategy: self.test_strategy,
            priority: self.priority,
            made_by: made_by.to_owned(),
            ..NewTask::default()
        }
    }
}

/// The fields of text that every written task has.
pub(super) fn fields() -> [(&'static str, Value); 4] {
    [
        ("title", text(5, 120)),
        ("description", text(10, 600)),
        // Clients of Task Master take no fewer characters.
        ("details", text(20, 2500)),
        ("test_strategy", text(5, 1000)),
    ]
}

/// The schema of a task that is written anew.
pub(super) fn whole_task() -> Value {
    let [title, description, details, test_strategy] = fields();
    object([title, description, details, test_strategy, ("priority", priorities())])
}

pub(super) fn priorities() -> Value {
    one_of(Priority::ALL.iter().map(|priority| priority.as_str()))
}

/// The schema of the subtasks of a task.
pub(super) fn subtasks(least: u32, most: u32) -> Value {
    let [title, description, details, test_strategy] = fields();
    let after = ("after", list(number(1, u64::from(most)), 0, most as usize));
    let one = object([title, description, details, test_strategy, after, ("complexity", number(1, 10))]);
    object([("subtasks", list(one, least as usize, most as usize))])
}

/// `1 task`, `exactly 3 tasks`, `2 to 5 tasks`.
pub(super) fn count(least: u32, most: u32, one: &str) -> String {
    match (least, most) {
        (1, 1) => format!("exactly one {one}"),
        (least, most) if least == most => format!("exactly {most} {one}s"),
        (least, most) => format!("{least} to {most} {one}s"),
    }
}

/// The part of a question that says what to watch for; nothing where nobody said.
pub(super) fn watch_for(wishes: &[&str]) -> String {
    let said: Vec<&str> = wishes.iter().map(|wish| wish.trim()).filter(|wish| !wish.is_empty()).collect();
    match said.is_empty() {
        true => String::new(),
        false => format!("\nWatch for:\n{}", material(1, said.iter().flat_map(|wish| wish.lines()))),
    }
}

/// A task with all its fields, as numbered lines.
pub(super) fn whole(id: &TaskId, task: &Task) -> String {
    let subtasks: Vec<String> =
        task.subtasks.iter().map(|sub| format!("{}: {} ({})", id.child(sub.number), sub.title, sub.status)).collect();
    let head = format!("Task {id}: {}\nstatus {}, priority {}", task.title, task.status, task.priority);
    let parts = [
        ("Description", task.description.as_str()),
        ("Details", &task.details),
        ("Test strategy", &task.test_strategy),
        ("Subtasks", &subtasks.join("\n")),
    ];
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
    let all = parts.fold(head, |all, (name, text)| format!("{all}\n{name}:\n{text}"));
    let cut: String = all.chars().take(MOST_TASK_CHARS).collect();
    let note = if cut.len() < all.len() { "\n(the rest of the task is left out here)" } else { "" };
    format!("{}{note}", material(1, cut.lines()))
}

/// Tasks as one line each; those that do not fit are counted.
pub(super) fn lines(tasks: &Tasks, chosen: impl Fn(&TaskId, &Task) -> bool) -> String {
    let (mut listed, mut chars, mut left_out) = (Vec::new(), 0, 0);
    for (id, task) in tasks.walk().filter(|(id, task)| chosen(id, task)) {
        let needs = match task.dependencies.is_empty() {
            true => String::new(),
            false => format!(", needs {}", joined(&task.dependencies)),
        };
        let line = format!("{id}: {} ({}, {}{needs})", task.title, task.status, task.priority);
        chars += line.len();
        match chars <= MOST_LIST_CHARS {
            true => listed.push(line),
            false => left_out += 1,
        }
    }
    let more = if left_out > 0 { format!("({left_out} more are left out here)\n") } else { String::new() };
    format!("{}{more}", material(1, listed.iter().map(String::as_str)))
}
