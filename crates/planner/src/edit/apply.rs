//! Making edits.

use std::collections::HashSet;
use std::sync::Arc;

use super::{
    Applied, Edit, EditError, Fields, MAX_DEPENDENCIES, MAX_TASKS, MAX_TEXT_BYTES, MAX_TITLE_CHARS, NewTask, Stamp,
    titles,
};
use crate::graph::{self, Breach};
use crate::task::{MAX_DEPTH, MAX_NUMBER};
use crate::{Raw, Task, TaskId, Tasks, task};

/// The tree with one edit made.
pub fn apply(tasks: &Tasks, edit: &Edit, stamp: &Stamp) -> Result<Applied, EditError> {
    apply_all(tasks, std::slice::from_ref(edit), stamp)
}

/// The tree with all edits made, one after the other, or the first refusal.
pub fn apply_all(tasks: &Tasks, edits: &[Edit], stamp: &Stamp) -> Result<Applied, EditError> {
    let mut work = Work { tasks: tasks.clone(), stamp, notes: Vec::new(), added: Vec::new() };
    edits.iter().try_for_each(|edit| work.make_checked(edit))?;
    Ok(Applied { tasks: work.tasks, notes: work.notes, added: work.added })
}

pub(super) struct Work<'a> {
    pub(super) tasks: Tasks,
    pub(super) stamp: &'a Stamp,
    pub(super) notes: Vec<String>,
    pub(super) added: Vec<TaskId>,
}

impl Work<'_> {
    /// Makes an edit, unless it breaks a rule that held before it.
    fn make_checked(&mut self, edit: &Edit) -> Result<(), EditError> {
        if !may_break(edit) {
            return self.make(edit);
        }
        let before = self.tasks.clone();
        self.make(edit)?;
        let breaches = graph::check(&self.tasks);
        let known = if breaches.is_empty() { Vec::new() } else { graph::check(&before) };
        match breaches.into_iter().find(|breach| !known.contains(breach)) {
            Some(breach) => Err(EditError::Breach { edit: edit.to_string(), breach }),
            None => Ok(()),
        }
    }

    fn make(&mut self, edit: &Edit) -> Result<(), EditError> {
        match edit {
            Edit::Add { parent, task } => {
                // Whoever names a number that is not there yet does not mean the task itself, which gets it.
                task.dependencies.iter().try_for_each(|on| self.get(on).map(drop))?;
                self.add(parent.as_ref(), std::slice::from_ref(task))
            }
            Edit::Change { id, fields } => self.change(id, fields),
            Edit::Note { id, text } => self.note(id, text),
            Edit::SetStatus { ids, status } => self.set_status(ids, *status),
            Edit::Remove { ids } => self.remove(ids),
            Edit::ReplaceSubtasks { id, subtasks, keep_finished } => {
                self.replace_subtasks(id, subtasks, *keep_finished)
            }
            Edit::AddSubtasks { id, subtasks } => self.add(Some(id), subtasks),
            Edit::ClearSubtasks { ids } => self.clear_subtasks(ids),
            Edit::Demote { id, parent } => {
                let number = self.next_below(parent)?;
                self.moved(&[(id.clone(), parent.child(number))])
            }
            Edit::Promote { id } => {
                if id.depth() == 1 {
                    return Err(EditError::NoMove { why: format!("task {id} is at the top already") });
                }
                self.moved(&[(id.clone(), TaskId::top(self.tasks.next_number()))])
            }
            Edit::Move { from, to } => {
                if from.len() != to.len() || from.is_empty() {
                    let why = format!("{} are named and {} places to go to", from.len(), to.len());
                    return Err(EditError::NoMove { why });
                }
                self.moved(&from.iter().cloned().zip(to.iter().cloned()).collect::<Vec<_>>())
            }
            Edit::AddDependency { id, on } => self.add_dependency(id, on),
            Edit::RemoveDependency { id, on } => self.remove_dependency(id, on),
            Edit::Fix => self.fix(),
            Edit::Replace { tasks } => self.replace(tasks),
            Edit::Append { tasks } => self.append(tasks),
        }
    }

    pub(super) fn get(&self, id: &TaskId) -> Result<&Task, EditError> {
        self.tasks.get(id).ok_or_else(|| EditError::NoTask { id: id.clone() })
    }

    /// The task, to be changed and stamped.
    pub(super) fn get_mut(&mut self, id: &TaskId) -> Result<&mut Task, EditError> {
        let stamp = self.stamp;
        let task = self.place(id)?;
        mark(task, stamp);
        Ok(task)
    }

    fn next_below(&self, parent: &TaskId) -> Result<u32, EditError> {
        Ok(task::next_number(self.get(parent)?.subtasks.iter().map(|sub| sub.number)))
    }

    fn place(&mut self, id: &TaskId) -> Result<&mut Task, EditError> {
        self.tasks.get_mut(id).ok_or_else(|| EditError::NoTask { id: id.clone() })
    }

    fn add(&mut self, parent: Option<&TaskId>, new: &[NewTask]) -> Result<(), EditError> {
        let first = match parent {
            Some(parent) => self.next_below(parent)?,
            None => self.tasks.next_number(),
        };
        let mut made = Vec::new();
        for (new, number) in new.iter().zip(first..) {
            let id = parent.map_or_else(|| TaskId::top(number), |parent| parent.child(number));
            let mut task = Task { number, ..self.made(new) };
            titles::make_plain(&id, &mut task, &mut self.notes);
            self.check_whole(&id, &task)?;
            if self.tasks.get(&id).is_some() {
                return Err(EditError::TooMany { why: format!("there is a task {id} already") });
            }
            self.added.push(id);
            made.push(task);
        }
        self.check_room(made.iter().map(Task::count).sum())?;
        match parent {
            _ if made.is_empty() => {}
            Some(parent) => self.get_mut(parent)?.subtasks.extend(made),
            None => made.into_iter().for_each(|task| self.tasks.put(Arc::new(task))),
        }
        Ok(())
    }

    /// The task of a new one, stamped at every depth.
    fn made(&self, new: &NewTask) -> Task {
        let mut task = Task::from(new);
        stamp_all(&mut task, self.stamp);
        task
    }

    fn check_room(&self, more: usize) -> Result<(), EditError> {
        let count = self.tasks.count() + more;
        match count > MAX_TASKS {
            true => Err(EditError::TooMany { why: format!("there would be {count} in this tag") }),
            false => Ok(()),
        }
    }

    /// Whether texts and depth of a task and of all below it are within bounds.
    pub(super) fn check_whole(&self, id: &TaskId, task: &Task) -> Result<(), EditError> {
        check_texts(id, task)?;
        if id.depth() > MAX_DEPTH {
            return Err(EditError::TooMany { why: format!("task {id} would be {} levels deep", id.depth()) });
        }
        if id.number() > MAX_NUMBER {
            return Err(EditError::TooMany { why: format!("no task can have a number above {MAX_NUMBER}") });
        }
        if task.dependencies.len() > MAX_DEPENDENCIES {
            let why = format!("task {id} would wait for {} others", task.dependencies.len());
            return Err(EditError::TooMany { why });
        }
        let mut numbers = HashSet::new();
        for sub in &task.subtasks {
            let id = id.child(sub.number);
            if sub.number == 0 || !numbers.insert(sub.number) {
                return Err(EditError::Twice { id });
            }
            self.check_whole(&id, sub)?;
        }
        Ok(())
    }

    fn change(&mut self, id: &TaskId, fields: &Fields) -> Result<(), EditError> {
        let mut task = self.get(id)?.clone();
        let fields = fields.clone();
        let Fields { title, description, details, test_strategy, priority, complexity, sources, .. } = fields;
        if let Some(title) = title {
            task.title = title;
            titles::make_own_plain(id, &mut task, &mut self.notes);
        }
        task.description = description.unwrap_or(task.description);
        task.details = details.unwrap_or(task.details);
        task.test_strategy = test_strategy.unwrap_or(task.test_strategy);
        task.priority = priority.unwrap_or(task.priority);
        task.complexity = complexity.or(task.complexity);
        task.sources = sources.unwrap_or(task.sources);
        task.made_by = fields.made_by.unwrap_or(task.made_by);
        for (name, value) in [("metadata", fields.metadata), ("github", fields.github)] {
            if let Some(value) = value {
                set_extra(&mut task, name, value);
            }
        }
        check_texts(id, &task)?;
        if task != *self.get(id)? {
            mark(&mut task, self.stamp);
            *self.place(id)? = task;
        }
        Ok(())
    }

    fn note(&mut self, id: &TaskId, text: &str) -> Result<(), EditError> {
        if text.trim().is_empty() {
            return Err(EditError::BadText { id: id.clone(), field: "note", why: "it is empty".into() });
        }
        let at = self.stamp.updated_at.clone();
        let task = self.get_mut(id)?;
        // The form in which Task Master's own tools write and show notes.
        task.details.push_str(&format!("\n<info added on {at}>\n{}\n</info added on {at}>", text.trim()));
        let task = task.clone();
        check_texts(id, &task)
    }

    fn remove(&mut self, ids: &[TaskId]) -> Result<(), EditError> {
        if ids.is_empty() {
            return Err(EditError::Nothing { edit: "remove tasks" });
        }
        ids.iter().try_for_each(|id| self.get(id).map(drop))?;
        for id in ids {
            // One that was named beside its parent is gone by then.
            let Some(gone) = self.take(id) else { continue };
            if gone.count() > 1 {
                self.notes.push(format!("task {id} went with {}", counted(gone.count() - 1, "subtask")));
            }
        }
        self.forget(|on| ids.iter().any(|id| on.is_within(id)));
        Ok(())
    }

    /// Takes a task out of the tree.
    pub(super) fn take(&mut self, id: &TaskId) -> Option<Task> {
        let Some(parent) = id.parent() else {
            return self.tasks.remove(id.number()).map(Arc::unwrap_or_clone);
        };
        let place = self.tasks.get(&parent)?.subtasks.iter().position(|sub| sub.number == id.number())?;
        let parent = self.get_mut(&parent).ok()?;
        Some(parent.subtasks.remove(place))
    }

    /// Nobody waits for those any more.
    fn forget(&mut self, is_gone: impl Fn(&TaskId) -> bool) {
        let mut waiting: Vec<(TaskId, Vec<TaskId>)> = Vec::new();
        for (id, task) in self.tasks.walk() {
            let gone: Vec<TaskId> = task.dependencies.iter().filter(|on| is_gone(on)).cloned().collect();
            if !gone.is_empty() {
                waiting.push((id, gone));
            }
        }
        for (id, gone) in waiting {
            if let Ok(task) = self.get_mut(&id) {
                task.dependencies.retain(|on| !is_gone(on));
            }
            self.notes.push(format!("task {id} does not wait for {} any more", listed(&gone)));
        }
    }

    fn replace_subtasks(&mut self, id: &TaskId, new: &[NewTask], keep_finished: bool) -> Result<(), EditError> {
        let before = self.get(id)?.clone();
        let goes = |sub: &Task| !(keep_finished && sub.status.satisfies());
        let going: Vec<TaskId> =
            before.subtasks.iter().filter(|sub| goes(sub)).map(|sub| id.child(sub.number)).collect();
        let kept = before.subtasks.len() - going.len();
        if kept > 0 {
            self.notes.push(format!("{} of task {id} stayed", counted(kept, "finished subtask")));
        }
        if !going.is_empty() {
            self.get_mut(id)?.subtasks.retain(|sub| !goes(sub));
            self.forget(|on| going.iter().any(|gone| on.is_within(gone)));
        }
        self.add(Some(id), new)?;
        // One that comes back as it was has not changed.
        let stamp = self.stamp;
        stamp_different(self.get_mut(id)?, Some(&before), stamp);
        Ok(())
    }

    fn clear_subtasks(&mut self, ids: &[TaskId]) -> Result<(), EditError> {
        let ids: Vec<TaskId> = match ids.is_empty() {
            true => self.tasks.top().iter().map(|task| TaskId::top(task.number)).collect(),
            false => ids.to_vec(),
        };
        ids.iter().try_for_each(|id| self.get(id).map(drop))?;
        let cleared: Vec<TaskId> =
            ids.into_iter().filter(|id| self.tasks.get(id).is_some_and(|task| !task.subtasks.is_empty())).collect();
        for id in &cleared {
            self.get_mut(id)?.subtasks.clear();
        }
        self.forget(|on| cleared.iter().any(|id| on != id && on.is_within(id)));
        Ok(())
    }

    fn add_dependency(&mut self, id: &TaskId, on: &TaskId) -> Result<(), EditError> {
        self.get(on)?;
        let task = self.get(id)?;
        if task.dependencies.contains(on) {
            return Err(EditError::IsDependent { id: id.clone(), on: on.clone() });
        }
        if task.dependencies.len() >= MAX_DEPENDENCIES {
            return Err(EditError::TooMany { why: format!("task {id} waits for {MAX_DEPENDENCIES} others already") });
        }
        if let Some(breach) = graph::would_break(&self.tasks, id, on) {
            let edit = Edit::AddDependency { id: id.clone(), on: on.clone() };
            return Err(EditError::Breach { edit: edit.to_string(), breach });
        }
        self.get_mut(id)?.dependencies.push(on.clone());
        Ok(())
    }

    fn remove_dependency(&mut self, id: &TaskId, on: &TaskId) -> Result<(), EditError> {
        if !self.get(id)?.dependencies.contains(on) {
            return Err(EditError::NotDependent { id: id.clone(), on: on.clone() });
        }
        self.get_mut(id)?.dependencies.retain(|other| other != on);
        Ok(())
    }

    fn fix(&mut self) -> Result<(), EditError> {
        for fix in graph::fix(&self.tasks) {
            let task = self.get_mut(&fix.id)?;
            task.dependencies = fix.dependencies.clone();
            self.notes.push(fix.to_string());
        }
        Ok(())
    }

    fn replace(&mut self, tasks: &[Task]) -> Result<(), EditError> {
        let mut new = Tasks::default();
        for task in tasks {
            let id = TaskId::top(task.number);
            if task.number == 0 || new.root(task.number).is_some() {
                return Err(EditError::Twice { id });
            }
            let mut task = task.clone();
            titles::make_plain(&id, &mut task, &mut self.notes);
            self.check_whole(&id, &task)?;
            // What is as it was keeps its version, and its place in memory and in the store.
            match self.tasks.root(task.number) {
                Some(old) if is_same(old, &task) => new.put(old.clone()),
                old => {
                    stamp_different(&mut task, old.map(|old| &**old), self.stamp);
                    new.put(Arc::new(task));
                    self.added.push(id);
                }
            }
        }
        let count = new.count();
        if count > MAX_TASKS {
            return Err(EditError::TooMany { why: format!("there would be {count} in this tag") });
        }
        self.tasks = new;
        Ok(())
    }

    fn append(&mut self, new: &[NewTask]) -> Result<(), EditError> {
        let first = self.tasks.next_number();
        let shifted: Vec<NewTask> = new.iter().map(|task| shift(task, first - 1)).collect();
        for (task, number) in new.iter().zip(first..) {
            if let Some(on) = task.dependencies.iter().find(|on| on.root() as usize > new.len()) {
                let breach = Breach::Missing { id: TaskId::top(number), on: on.clone() };
                return Err(EditError::Breach { edit: format!("append {} tasks", new.len()), breach });
            }
        }
        self.add(None, &shifted)
    }
}

/// Turns places in a list, from 1, into the addresses that come of them.
fn shift(task: &NewTask, by: u32) -> NewTask {
    let moved = |on: &TaskId| on.moved(1, &TaskId::top(on.root() + by));
    NewTask {
        dependencies: task.dependencies.iter().map(moved).collect(),
        subtasks: task.subtasks.iter().map(|sub| shift(sub, by)).collect(),
        ..task.clone()
    }
}

pub(super) fn mark(task: &mut Task, stamp: &Stamp) {
    task.version = stamp.version;
    task.updated_at.clone_from(&stamp.updated_at);
}

fn stamp_all(task: &mut Task, stamp: &Stamp) {
    mark(task, stamp);
    task.subtasks.iter_mut().for_each(|sub| stamp_all(sub, stamp));
}

/// Stamps what is different from `old`; the rest keeps what it had there.
pub(crate) fn stamp_different(task: &mut Task, old: Option<&Task>, stamp: &Stamp) {
    for sub in &mut task.subtasks {
        let old = old.and_then(|old| old.subtasks.iter().find(|old| old.number == sub.number));
        stamp_different(sub, old, stamp);
    }
    match old {
        Some(old) if is_same(old, task) => {
            task.version = old.version;
            task.updated_at.clone_from(&old.updated_at);
        }
        _ => mark(task, stamp),
    }
}

/// Whether two tasks say the same, whenever they were written.
pub(crate) fn is_same(one: &Task, other: &Task) -> bool {
    let Task { number, title, description, details, test_strategy, status, priority, .. } = one;
    let Task { dependencies, complexity, sources, made_by, extra, subtasks, version: _, updated_at: _, .. } = one;
    (number, status, priority) == (&other.number, &other.status, &other.priority)
        && (title, description, details) == (&other.title, &other.description, &other.details)
        && (test_strategy, made_by) == (&other.test_strategy, &other.made_by)
        && (dependencies, sources) == (&other.dependencies, &other.sources)
        && (complexity, extra) == (&other.complexity, &other.extra)
        && subtasks.len() == other.subtasks.len()
        && one.subtasks.iter().zip(&other.subtasks).all(|(one, other)| is_same(one, other))
}

/// Whether an edit can break a rule that held before: only what brings edges or changes addresses does. One dependency is
/// looked at by itself.
fn may_break(edit: &Edit) -> bool {
    match edit {
        Edit::Demote { .. } | Edit::Promote { .. } | Edit::Move { .. } | Edit::Replace { .. } => true,
        Edit::Add { task, .. } => has_edges(task),
        Edit::ReplaceSubtasks { subtasks: new, .. }
        | Edit::AddSubtasks { subtasks: new, .. }
        | Edit::Append { tasks: new } => new.iter().any(has_edges),
        Edit::Change { .. }
        | Edit::Note { .. }
        | Edit::SetStatus { .. }
        | Edit::Remove { .. }
        | Edit::ClearSubtasks { .. }
        | Edit::AddDependency { .. }
        | Edit::RemoveDependency { .. }
        | Edit::Fix => false,
    }
}

fn has_edges(task: &NewTask) -> bool {
    !task.dependencies.is_empty() || task.subtasks.iter().any(has_edges)
}

fn check_texts(id: &TaskId, task: &Task) -> Result<(), EditError> {
    let bad = |field, why: String| Err(EditError::BadText { id: id.clone(), field, why });
    if task.title.trim().is_empty() {
        return bad("title", "it is empty".into());
    }
    let chars = task.title.chars().count();
    if chars > MAX_TITLE_CHARS {
        return bad("title", format!("it has {chars} characters"));
    }
    let texts =
        [("description", &task.description), ("details", &task.details), ("test strategy", &task.test_strategy)];
    for (field, text) in texts {
        if text.len() > MAX_TEXT_BYTES {
            return bad(field, format!("it has {} bytes", text.len()));
        }
    }
    Ok(())
}

fn set_extra(task: &mut Task, name: &str, value: Raw) {
    let is_null = value.0.get() == "null";
    match task.extra.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) if !is_null => *old = value,
        None if !is_null => task.extra.push((name.to_owned(), value)),
        _ => task.extra.retain(|(known, _)| known != name),
    }
}

pub(crate) fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// All of them.
pub(crate) fn joined(ids: &[TaskId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The first ones; the others are counted.
pub(crate) fn listed(ids: &[TaskId]) -> String {
    match ids.split_at_checked(10) {
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", joined(first), rest.len()),
        _ => joined(ids),
    }
}
