//! Changes of a task tree: what may be wanted, and the tree with it, or why not.
//!
//! Every edit leaves a tree that keeps the rules: numbers are unique, dependencies lead to tasks that exist, no task waits
//! for itself in any way, sizes are within bounds. One that cannot is refused with nothing changed. What a person might
//! not expect of an edit is told in its notes.

mod apply;
mod changes;
mod json;
mod moving;
mod readdress;
mod refused;
mod status;
mod titles;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Complexity, Extra, Priority, Raw, Source, Status, Task, TaskId, Tasks, words};
pub use apply::{apply, apply_all};
pub(crate) use apply::{counted, joined, listed, stamp_different};
pub use changes::{Changed, Field, changes, clip};
pub use moving::{Moved, move_between};
pub use refused::EditError;
pub(crate) use titles::with_plain_titles;

/// The longest title, in characters.
pub const MAX_TITLE_CHARS: usize = 200;
/// The longest description, details or test strategy, in bytes.
pub const MAX_TEXT_BYTES: usize = 100 << 10;
/// The most tasks of a tag, at every depth together.
pub const MAX_TASKS: usize = 20_000;
/// The most dependencies of a task.
pub const MAX_DEPENDENCIES: usize = 200;

/// A task to be made.
///
/// Its dependencies are addresses in the tree. Among tasks that one edit makes, [`Edit::Append`] reads plain numbers as
/// places in its own list, from 1; the other edits know the numbers that their tasks get.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NewTask {
    /// In one line.
    pub title: String,
    /// In a sentence or two.
    pub description: String,
    /// How.
    pub details: String,
    /// How one sees that it is done.
    pub test_strategy: String,
    /// How much it matters.
    pub priority: Priority,
    /// Where it stands.
    pub status: Status,
    /// What comes before it.
    pub dependencies: Vec<TaskId>,
    /// What it consists of; their dependencies are read as its own are.
    pub subtasks: Vec<NewTask>,
    /// How hard it is.
    pub complexity: Option<Complexity>,
    /// What it covers.
    pub sources: Vec<Source>,
    /// Who made it.
    pub made_by: String,
    /// What nobody here reads.
    pub extra: Extra,
}

/// Fields that become different; `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Fields {
    /// See [`Task::title`].
    pub title: Option<String>,
    /// See [`Task::description`].
    pub description: Option<String>,
    /// See [`Task::details`].
    pub details: Option<String>,
    /// See [`Task::test_strategy`].
    pub test_strategy: Option<String>,
    /// See [`Task::priority`].
    pub priority: Option<Priority>,
    /// See [`Task::complexity`].
    pub complexity: Option<Complexity>,
    /// See [`Task::sources`].
    pub sources: Option<Vec<Source>>,
    /// See [`Task::made_by`].
    pub made_by: Option<String>,
    /// The user's own data, as JSON; `null` takes it away.
    pub metadata: Option<Raw>,
    /// What the task stands for at GitHub, as JSON.
    pub github: Option<Raw>,
}

/// A change that somebody wants.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "edit", rename_all = "kebab-case")]
pub enum Edit {
    /// A new task, at the top or below another one, with the next free number.
    Add {
        /// The one that it becomes a subtask of.
        parent: Option<TaskId>,
        /// What it is.
        task: NewTask,
    },
    /// Fields of a task.
    Change {
        /// Which.
        id: TaskId,
        /// What becomes different.
        fields: Fields,
    },
    /// A note behind a task's details, with its time.
    Note {
        /// Which.
        id: TaskId,
        /// What it says.
        text: String,
    },
    /// Where tasks stand. What is below a task that is done or cancelled ends with it.
    SetStatus {
        /// Which.
        ids: Vec<TaskId>,
        /// Where they stand then.
        status: Status,
    },
    /// Tasks go, with everything below them; nobody waits for them any more.
    Remove {
        /// Which.
        ids: Vec<TaskId>,
    },
    /// Subtasks instead of those that are there.
    ReplaceSubtasks {
        /// Of which task.
        id: TaskId,
        /// The new ones.
        subtasks: Vec<NewTask>,
        /// Those that are done stay, and the new ones come behind them.
        keep_finished: bool,
    },
    /// Subtasks behind those that are there.
    AddSubtasks {
        /// Of which task.
        id: TaskId,
        /// The new ones.
        subtasks: Vec<NewTask>,
    },
    /// Subtasks go.
    ClearSubtasks {
        /// Of which tasks; empty: of all.
        ids: Vec<TaskId>,
    },
    /// A task becomes a subtask.
    Demote {
        /// Which.
        id: TaskId,
        /// Of which one.
        parent: TaskId,
    },
    /// A subtask becomes a task at the top.
    Promote {
        /// Which.
        id: TaskId,
    },
    /// Tasks get other addresses, each of `from` that of `to` in the same place; all references follow.
    Move {
        /// Which.
        from: Vec<TaskId>,
        /// Where to; nobody may be there.
        to: Vec<TaskId>,
    },
    /// A task waits for another one.
    AddDependency {
        /// Which.
        id: TaskId,
        /// For which.
        on: TaskId,
    },
    /// A task does not wait for another one any more.
    RemoveDependency {
        /// Which.
        id: TaskId,
        /// For which.
        on: TaskId,
    },
    /// Everything that is wrong with dependencies goes.
    Fix,
    /// All tasks at once, as they are.
    Replace {
        /// Instead of those that are there.
        tasks: Vec<Task>,
    },
    /// New tasks at the end.
    Append {
        /// Which; see [`NewTask`] for their dependencies.
        tasks: Vec<NewTask>,
    },
}

/// What is written into every task that an edit changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// RFC 3339.
    pub updated_at: String,
    /// The revision of the tag that the edit makes.
    pub version: u64,
}

/// A tree with an edit made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// The tree.
    pub tasks: Tasks,
    /// What a person might not expect.
    pub notes: Vec<String>,
    /// Tasks that came to be, without those below them.
    pub added: Vec<TaskId>,
}

/// What becomes of dependencies that lead to or from tasks which move to another tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependencies {
    /// Nothing moves while there are any.
    Refuse,
    /// What the moved tasks wait for moves as well.
    Move,
    /// They go.
    Cut,
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { parent: None, task } => write!(f, "add `{}`", words::seen(task.title.chars())),
            Self::Add { parent: Some(parent), task } => {
                write!(f, "add `{}` below {parent}", words::seen(task.title.chars()))
            }
            Self::Change { id, .. } => write!(f, "change {id}"),
            Self::Note { id, .. } => write!(f, "add a note to {id}"),
            Self::SetStatus { ids, status } => write!(f, "set {} to {status}", joined(ids)),
            Self::Remove { ids } => write!(f, "remove {}", joined(ids)),
            Self::ReplaceSubtasks { id, subtasks, .. } => write!(f, "split {id} anew into {}", subtasks.len()),
            Self::AddSubtasks { id, subtasks } => write!(f, "add {} subtasks to {id}", subtasks.len()),
            Self::ClearSubtasks { ids } if ids.is_empty() => f.write_str("remove all subtasks"),
            Self::ClearSubtasks { ids } => write!(f, "remove the subtasks of {}", joined(ids)),
            Self::Demote { id, parent } => write!(f, "make {id} a subtask of {parent}"),
            Self::Promote { id } => write!(f, "make {id} a task of its own"),
            Self::Move { from, to } => write!(f, "move {} to {}", joined(from), joined(to)),
            Self::AddDependency { id, on } => write!(f, "let {id} wait for {on}"),
            Self::RemoveDependency { id, on } => write!(f, "let {id} not wait for {on}"),
            Self::Fix => f.write_str("fix the dependencies"),
            Self::Replace { tasks } => write!(f, "replace all tasks by {}", tasks.len()),
            Self::Append { tasks } => write!(f, "append {} tasks", tasks.len()),
        }
    }
}

impl From<&Task> for NewTask {
    /// Everything but number, version and time.
    fn from(task: &Task) -> Self {
        Self {
            title: task.title.clone(),
            description: task.description.clone(),
            details: task.details.clone(),
            test_strategy: task.test_strategy.clone(),
            priority: task.priority,
            status: task.status,
            dependencies: task.dependencies.clone(),
            subtasks: task.subtasks.iter().map(Self::from).collect(),
            complexity: task.complexity.clone(),
            sources: task.sources.clone(),
            made_by: task.made_by.clone(),
            extra: task.extra.clone(),
        }
    }
}

impl From<&NewTask> for Task {
    /// With subtasks numbered from 1, and no number of its own yet.
    fn from(new: &NewTask) -> Self {
        let numbered = new.subtasks.iter().zip(1..).map(|(sub, number)| Task { number, ..Task::from(sub) });
        Self {
            title: new.title.clone(),
            description: new.description.clone(),
            details: new.details.clone(),
            test_strategy: new.test_strategy.clone(),
            priority: new.priority,
            status: new.status,
            dependencies: new.dependencies.clone(),
            subtasks: numbered.collect(),
            complexity: new.complexity.clone(),
            sources: new.sources.clone(),
            made_by: new.made_by.clone(),
            extra: new.extra.clone(),
            ..Self::default()
        }
    }
}
