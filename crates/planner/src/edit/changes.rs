//! What is different between two trees, for histories and for whoever is asked before a change is made.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::joined;
use crate::{Task, TaskId, Tasks};

/// A field of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// All of it: it came, or it went.
    Task,
    /// See [`Task::title`].
    Title,
    /// See [`Task::description`].
    Description,
    /// See [`Task::details`].
    Details,
    /// See [`Task::test_strategy`].
    TestStrategy,
    /// See [`Task::status`].
    Status,
    /// See [`Task::priority`].
    Priority,
    /// See [`Task::dependencies`].
    Dependencies,
    /// See [`Task::complexity`].
    Complexity,
    /// See [`Task::sources`].
    Sources,
    /// See [`Task::extra`].
    Extra,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Task => "task",
            Self::Title => "title",
            Self::Description => "description",
            Self::Details => "details",
            Self::TestStrategy => "test strategy",
            Self::Status => "status",
            Self::Priority => "priority",
            Self::Dependencies => "dependencies",
            Self::Complexity => "complexity",
            Self::Sources => "sources",
            Self::Extra => "other fields",
        })
    }
}

/// One difference; a task that came has nothing before, one that went has nothing after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Of which task.
    pub id: TaskId,
    /// Of which field.
    pub field: Field,
    /// As it was; of a whole task, its title.
    pub before: String,
    /// As it is.
    pub after: String,
}

impl Changed {
    /// Whether a task went.
    pub fn is_removed(&self) -> bool {
        self.field == Field::Task && self.after.is_empty()
    }

    /// With texts of at most `most` characters. Of longer ones the place where they part is shown.
    pub fn clipped(&self, most: usize) -> Self {
        let is_long = |text: &str| text.chars().nth(most).is_some();
        let alike = if is_long(&self.before) || is_long(&self.after) { self.alike() } else { 0 };
        let shown = |text: &str| match text.get(alike..) {
            Some(rest) if alike > 0 => clip(&format!("…{rest}"), most),
            _ => clip(text, most),
        };
        Self { before: shown(&self.before), after: shown(&self.after), ..self.clone() }
    }

    /// The bytes that both texts begin with, less a few words that show where one is.
    fn alike(&self) -> usize {
        const CONTEXT: usize = 20;
        let pairs = self.before.char_indices().zip(self.after.chars());
        let same = pairs.take_while(|((_, before), after)| before == after).map(|((at, _), _)| at);
        same.collect::<Vec<_>>().iter().rev().nth(CONTEXT).copied().unwrap_or_default()
    }
}

/// A text of at most `most` characters, marked where it was cut.
pub fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default().trim_end()),
        None => text.to_owned(),
    }
}

/// How much of a text a line shows.
const SHOWN: usize = 60;

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one_line = |text: &str| clip(&text.split_whitespace().collect::<Vec<_>>().join(" "), SHOWN);
        let (id, before, after) = (&self.id, one_line(&self.before), one_line(&self.after));
        match self.field {
            Field::Task if self.before.is_empty() => write!(f, "{id}: new: {after}"),
            Field::Task => write!(f, "{id}: removed: {before}"),
            // What was added to a long text stands at its end.
            Field::Details if self.after.starts_with(&self.before) && !self.before.is_empty() => {
                let added = self.after.get(self.before.len()..).unwrap_or_default();
                write!(f, "{id}: details: added `{}`", one_line(added))
            }
            field if before.is_empty() => write!(f, "{id}: {field}: `{after}`"),
            field if after.is_empty() => write!(f, "{id}: {field}: removed `{before}`"),
            field => write!(f, "{id}: {field}: `{before}` -> `{after}`"),
        }
    }
}

/// Every difference, in the order of addresses.
pub fn changes(before: &Tasks, after: &Tasks) -> Vec<Changed> {
    let mut found = Vec::new();
    for number in after.differing(before) {
        let [old, new] = [before, after].map(|tasks| tasks.root(number).map(|task| &**task));
        compare(&TaskId::top(number), old, new, &mut found);
    }
    found
}

fn compare(id: &TaskId, old: Option<&Task>, new: Option<&Task>, found: &mut Vec<Changed>) {
    let mut push = |field, before: String, after: String| {
        if before != after {
            found.push(Changed { id: id.clone(), field, before, after });
        }
    };
    match (old, new) {
        (Some(old), Some(new)) => {
            push(Field::Title, old.title.clone(), new.title.clone());
            push(Field::Description, old.description.clone(), new.description.clone());
            push(Field::Details, old.details.clone(), new.details.clone());
            push(Field::TestStrategy, old.test_strategy.clone(), new.test_strategy.clone());
            push(Field::Status, old.status.to_string(), new.status.to_string());
            push(Field::Priority, old.priority.to_string(), new.priority.to_string());
            push(Field::Dependencies, joined(&old.dependencies), joined(&new.dependencies));
            push(Field::Complexity, complexity(old), complexity(new));
            push(Field::Sources, sources(old), sources(new));
            push(Field::Extra, extra(old), extra(new));
        }
        (old, new) => {
            let title = |task: Option<&Task>| task.map(|task| task.title.clone()).unwrap_or_default();
            push(Field::Task, title(old), title(new));
        }
    }
    let subtasks = |task: Option<&Task>| {
        task.into_iter().flat_map(|task| task.subtasks.iter().map(|sub| sub.number)).collect::<Vec<_>>()
    };
    let numbers: BTreeSet<u32> = subtasks(old).into_iter().chain(subtasks(new)).collect();
    for number in numbers {
        let of = |task: Option<&Task>| -> Option<usize> { task?.subtasks.iter().position(|sub| sub.number == number) };
        let (old_sub, new_sub) = (of(old), of(new));
        let old_sub = old_sub.and_then(|place| old?.subtasks.get(place));
        let new_sub = new_sub.and_then(|place| new?.subtasks.get(place));
        compare(&id.child(number), old_sub, new_sub, found);
    }
}

fn complexity(task: &Task) -> String {
    let Some(complexity) = &task.complexity else { return String::new() };
    format!("{} ({})", complexity.score, complexity.reasoning)
}

fn sources(task: &Task) -> String {
    let one = |source: &crate::Source| format!("{} {}-{}", source.requirement, source.first_line, source.last_line);
    task.sources.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn extra(task: &Task) -> String {
    task.extra.iter().map(|(name, value)| format!("{name}: {}", value.0.get())).collect::<Vec<_>>().join(", ")
}
