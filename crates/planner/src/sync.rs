//! Brings two versions of a tag together that began as one: by task and by field, without losing what either side did.
//!
//! What only one side changed is taken. What both changed differently stays as it is here, and is told as a conflict
//! with both versions. Tasks that both sides added under one number keep it here; theirs move to free ones.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::{Task, TaskId, Tasks};

mod differences;
mod edges;
mod fields;
mod renumber;

#[cfg(test)]
mod tests;

pub use differences::{Differences, is_most};
pub(crate) use fields::merge_extra;

/// What came of two versions.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// Both in one; top-level tasks that are as they were here are shared with ours.
    pub tasks: Tasks,
    /// Where somebody has to choose.
    pub conflicts: Vec<Conflict>,
    /// What had to be changed for both to fit.
    pub notes: Vec<Note>,
}

/// Something that both sides changed, each in its own way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The task, by its address in the result.
    pub task: TaskId,
    /// What it is called there.
    pub title: String,
    /// What clashes.
    pub clash: Clash,
}

/// In which way two changes clash, and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "clash", rename_all = "kebab-case")]
pub enum Clash {
    /// A field has two new values: ours stays. A value is shown as text, or as JSON where it is none; nothing where
    /// the field is not there.
    Field {
        /// Its name in tasks.json.
        field: String,
        /// What it is here.
        ours: Option<String>,
        /// What it is there.
        theirs: Option<String>,
    },
    /// Removed here, changed there: it stays as it is there.
    RemovedHere,
    /// Changed here, removed there: it stays as it is here.
    RemovedThere,
    /// Their dependency would close a cycle with ours: it is left out.
    Cycle {
        /// The task that it leads to.
        on: TaskId,
    },
}

/// A change that nobody made, but that two sides need to fit together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub enum Note {
    /// Both sides added a task under one number: theirs got another, and what refers to it follows.
    Renumbered {
        /// Its address there.
        from: TaskId,
        /// Its address now.
        to: TaskId,
    },
    /// A dependency on what the other side removed.
    DependencyDropped {
        /// The task that had it.
        task: TaskId,
        /// What it depended on.
        on: TaskId,
    },
}

/// Merges `ours` and `theirs`, which both began as `base`. Revisions (`version`) are those of ours, and 0 or theirs where
/// a task comes from there: whoever stores the result writes them anew.
pub fn merge(base: &Tasks, ours: &Tasks, theirs: &Tasks) -> Merged {
    let moves = renumber::moves(base, ours, theirs);
    let theirs =
        if moves.is_empty() { Cow::Borrowed(theirs) } else { Cow::Owned(renumber::renumbered(theirs, &moves)) };
    let notes = moves.into_iter().map(|(from, to)| Note::Renumbered { from, to }).collect();
    let mut merged = Merged { notes, ..Merged::default() };
    for (number, versions) in by_number(base.top(), ours.top(), theirs.top()) {
        let shared = versions.ours;
        let Some(task) = merged.one(&TaskId::top(number), versions) else { continue };
        match shared.filter(|shared| std::ptr::eq(&***shared, &*task)) {
            Some(shared) => merged.tasks.put(Arc::clone(shared)),
            None => merged.tasks.put(Arc::new(task.into_owned())),
        }
    }
    edges::mend(&mut merged, ours, &theirs);
    merged
}

/// One task as each side has it.
struct Versions<'a, T = Task> {
    base: Option<&'a T>,
    ours: Option<&'a T>,
    theirs: Option<&'a T>,
}

impl<T> Default for Versions<'_, T> {
    fn default() -> Self {
        Self { base: None, ours: None, theirs: None }
    }
}

/// The siblings of three versions by their numbers.
fn by_number<'a, T: Borrow<Task>>(base: &'a [T], ours: &'a [T], theirs: &'a [T]) -> BTreeMap<u32, Versions<'a, T>> {
    let mut all = BTreeMap::<u32, Versions<'a, T>>::new();
    base.iter().for_each(|task| all.entry(task.borrow().number).or_default().base = Some(task));
    ours.iter().for_each(|task| all.entry(task.borrow().number).or_default().ours = Some(task));
    theirs.iter().for_each(|task| all.entry(task.borrow().number).or_default().theirs = Some(task));
    all
}

impl Merged {
    /// The task at `id`, if there is one after all.
    fn one<'a, T: Borrow<Task>>(&mut self, id: &TaskId, versions: Versions<'a, T>) -> Option<Cow<'a, Task>> {
        let [base, ours, theirs] = [versions.base, versions.ours, versions.theirs].map(|task| task.map(T::borrow));
        match (base, ours, theirs) {
            (_, None, None) => None,
            (None, Some(ours), _) => Some(Cow::Borrowed(ours)),
            (None, None, Some(theirs)) => Some(Cow::Borrowed(theirs)),
            (Some(base), Some(ours), None) if says_same(base, ours) => None,
            (Some(_), Some(ours), None) => Some(self.keep(id, ours, Clash::RemovedThere)),
            (Some(base), None, Some(theirs)) if says_same(base, theirs) => None,
            (Some(_), None, Some(theirs)) => Some(self.keep(id, theirs, Clash::RemovedHere)),
            (Some(base), Some(ours), Some(theirs)) if says_same(base, theirs) => Some(Cow::Borrowed(ours)),
            (Some(base), Some(ours), Some(theirs)) => Some(Cow::Owned(self.both(id, base, ours, theirs))),
        }
    }

    fn keep<'a>(&mut self, id: &TaskId, task: &'a Task, clash: Clash) -> Cow<'a, Task> {
        self.conflicts.push(Conflict { task: id.clone(), title: task.title.clone(), clash });
        Cow::Borrowed(task)
    }

    /// A task that all have, and that they changed.
    fn both(&mut self, id: &TaskId, base: &Task, ours: &Task, theirs: &Task) -> Task {
        let mut task = fields::Merge { id, base, ours, theirs, conflicts: &mut self.conflicts }.own_fields();
        for (number, versions) in by_number(&base.subtasks, &ours.subtasks, &theirs.subtasks) {
            task.subtasks.extend(self.one(&id.child(number), versions).map(Cow::into_owned));
        }
        task
    }
}

/// Whether two tasks say the same, with everything below them. When and in which revision they were changed is no matter.
fn says_same(one: &Task, other: &Task) -> bool {
    says_same_itself(one, other)
        && one.subtasks.len() == other.subtasks.len()
        && one.subtasks.iter().zip(&other.subtasks).all(|(one, other)| says_same(one, other))
}

/// The same without what is below them.
fn says_same_itself(one: &Task, other: &Task) -> bool {
    let Task {
        number,
        title,
        description,
        details,
        test_strategy,
        status,
        priority,
        dependencies,
        subtasks: _,
        complexity,
        sources,
        made_by,
        updated_at: _,
        version: _,
        extra,
    } = one;
    let of_other = (&other.number, &other.title, &other.description, &other.details, &other.test_strategy);
    (number, title, description, details, test_strategy) == of_other
        && (status, priority, dependencies) == (&other.status, &other.priority, &other.dependencies)
        && (complexity, sources, made_by, extra) == (&other.complexity, &other.sources, &other.made_by, &other.extra)
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} `{}`: ", self.task, self.title.escape_debug())?;
        let shown = |value: &Option<String>| match value {
            Some(text) => format!("`{}`", text.escape_debug()),
            None => "nothing".to_owned(),
        };
        match &self.clash {
            Clash::Field { field, ours, theirs } => {
                let field = field.escape_debug();
                write!(f, "{field} is {} here and {} there; kept as here", shown(ours), shown(theirs))
            }
            Clash::RemovedHere => f.write_str("removed here but changed there; kept as there"),
            Clash::RemovedThere => f.write_str("changed here but removed there; kept as here"),
            Clash::Cycle { on } => write!(f, "their dependency on {on} would close a cycle with ours; left out"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Renumbered { from, to } => {
                write!(f, "their new task {from} is now {to}: number {} was given here, too", from.number())
            }
            Self::DependencyDropped { task, on } => {
                write!(f, "task {task} no longer depends on {on}, which one side removed")
            }
        }
    }
}
