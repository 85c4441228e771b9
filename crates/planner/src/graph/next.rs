//! What comes next, and why.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Flat;
use crate::edit::{counted, listed};
use crate::{Priority, Status, Task, TaskId, Tasks};

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Next {
    /// The task; `None` when nothing can be begun.
    pub chosen: Option<TaskId>,
    /// Why that one, or why none, in sentences.
    pub reasons: Vec<String>,
    /// Others that could be begun, best first.
    pub others: Vec<TaskId>,
}

/// Whether a task may be begun or gone on with: all that it and what it is part of wait for is finished, and what it is
/// part of is neither finished nor put off.
pub fn is_ready(tasks: &Tasks, id: &TaskId) -> bool {
    let above = std::iter::successors(id.parent(), TaskId::parent);
    tasks.get(id).is_some_and(is_open)
        && above.into_iter().all(|id| tasks.get(&id).is_some_and(has_open_parts))
        && blocked_by(tasks, id).is_empty()
}

/// The unfinished tasks that a task waits for, its own and those of what it is part of.
pub fn blocked_by(tasks: &Tasks, id: &TaskId) -> Vec<TaskId> {
    let mut blocking: Vec<TaskId> = Vec::new();
    let mut at = Some(id.clone());
    while let Some(one) = at {
        let on = tasks.get(&one).map(|task| task.dependencies.as_slice()).unwrap_or_default();
        let open = on.iter().filter(|on| tasks.get(on).is_none_or(|task| !task.status.satisfies()));
        blocking.extend(open.cloned());
        at = one.parent();
    }
    blocking.sort();
    blocking.dedup();
    blocking
}

/// How many unfinished tasks wait for each unfinished one by a dependency of their own.
pub fn waiting(tasks: &Tasks) -> BTreeMap<TaskId, usize> {
    let flat = Flat::of(tasks);
    let behind = Behind::of(&flat);
    let awaited = flat.tasks().filter(|(place, task)| !task.status.satisfies() && !behind.directly(*place).is_empty());
    awaited.filter_map(|(place, _)| Some((flat.id(place)?, behind.directly(place).len()))).collect()
}

fn is_open(task: &Task) -> bool {
    matches!(task.status, Status::Pending | Status::InProgress)
}

/// Whether one may work on the parts of a task that stands like this.
fn has_open_parts(task: &Task) -> bool {
    is_open(task) || task.status == Status::Review
}

/// The unfinished tasks that wait for each.
struct Behind<'a> {
    flat: &'a Flat<'a>,
    waiting: Vec<Vec<usize>>,
}

impl<'a> Behind<'a> {
    fn of(flat: &'a Flat<'a>) -> Self {
        let mut waiting = vec![Vec::new(); flat.len()];
        for (place, _) in flat.tasks().filter(|(_, task)| !task.status.satisfies()) {
            for on in flat.needs(place) {
                if let Some(waiting) = waiting.get_mut(on) {
                    waiting.push(place);
                }
            }
        }
        Self { flat, waiting }
    }

    fn directly(&self, place: usize) -> &[usize] {
        self.waiting.get(place).map_or(&[], Vec::as_slice)
    }

    /// How many cannot begin before this one is finished: those that wait for it or for what it is part of, their
    /// subtasks, and whoever waits for any of these.
    fn in_all(&self, place: usize) -> usize {
        let mut holds = vec![false; self.flat.len()];
        let mut is_late = holds.clone();
        let mut late = vec![place];
        while let Some(place) = late.pop() {
            for place in self.flat.up(place) {
                if is_late.get_mut(place).is_none_or(|seen| std::mem::replace(seen, true)) {
                    break;
                }
                for held in self.directly(place).iter().flat_map(|held| self.flat.down(*held)) {
                    if self.is_unfinished(held)
                        && holds.get_mut(held).is_some_and(|seen| !std::mem::replace(seen, true))
                    {
                        late.push(held);
                    }
                }
            }
        }
        holds.into_iter().filter(|held| *held).count()
    }

    fn is_unfinished(&self, place: usize) -> bool {
        self.flat.task(place).is_some_and(|task| !task.status.satisfies())
    }
}

/// What to do next, with at most `most` others.
///
/// Parts of what somebody works on come first, then tasks; among those, by priority, by what is begun already, by how
/// many wait for them, by how few they themselves wait for, and by address.
pub fn next(tasks: &Tasks, most: usize) -> Next {
    let flat = Flat::of(tasks);
    let behind = Behind::of(&flat);
    let mut found = candidates(&flat);
    found.sort_by_cached_key(|&(place, task)| {
        let importance = (Reverse(parent(&flat, place).is_some()), Reverse(importance(&flat, place, task)));
        let is_begun = task.status == Status::InProgress;
        (importance, Reverse(is_begun), Reverse(behind.directly(place).len()), task.dependencies.len(), place)
    });
    let Some((&(place, task), others)) = found.split_first() else { return none(tasks) };
    let reasons = reasons(&flat, place, task, behind.in_all(place), others.len());
    let others = others.iter().take(most).filter_map(|(place, _)| flat.id(*place)).collect();
    Next { chosen: flat.id(place), reasons, others }
}

/// Tasks that can be begun or gone on with. Subtasks are when somebody works on their parent, which itself is not then,
/// as long as any of them is open.
fn candidates<'a>(flat: &Flat<'a>) -> Vec<(usize, &'a Task)> {
    let mut may_begin = vec![false; flat.len()];
    let mut found = Vec::new();
    for (place, task) in flat.tasks() {
        let above = parent(flat, place);
        let is_held =
            |on: &TaskId| flat.place(on).and_then(|on| flat.task(on)).is_none_or(|task| !task.status.satisfies());
        let may = flat.parent(place).is_none_or(|parent| may_begin.get(parent) == Some(&true))
            && above.is_none_or(has_open_parts)
            && !task.dependencies.iter().any(is_held);
        if let Some(may_begin) = may_begin.get_mut(place) {
            *may_begin = may;
        }
        let is_turn = above.is_none_or(|parent| parent.status == Status::InProgress);
        let is_done_by_parts = task.status == Status::InProgress && task.subtasks.iter().any(is_open);
        if may && is_turn && is_open(task) && !is_done_by_parts {
            found.push((place, task));
        }
    }
    found
}

fn parent<'a>(flat: &Flat<'a>, place: usize) -> Option<&'a Task> {
    flat.task(flat.parent(place)?)
}

/// A subtask matters at least as much as its parent.
fn importance(flat: &Flat<'_>, place: usize, task: &Task) -> Priority {
    parent(flat, place).map_or(task.priority, |parent| parent.priority.max(task.priority))
}

fn reasons(flat: &Flat<'_>, place: usize, task: &Task, behind: usize, others: usize) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(parent) = flat.parent(place).and_then(|parent| flat.id(parent)) {
        reasons.push(format!("task {parent}, which it is part of, is in progress"));
    }
    if task.status == Status::InProgress {
        reasons.push("it is in progress already".to_owned());
    }
    if !task.subtasks.is_empty() && task.subtasks.iter().all(|sub| sub.status.satisfies()) {
        reasons.push("all its subtasks are finished, so that it may be set to done".to_owned());
    }
    reasons.push(match task.dependencies.len() {
        0 => "it waits for nothing".to_owned(),
        1 => "what it waited for is finished".to_owned(),
        count => format!("all {count} that it waited for are finished"),
    });
    reasons.push(format!("its priority is {}", importance(flat, place, task)));
    match behind {
        0 => {}
        1 => reasons.push("1 task waits for it".to_owned()),
        behind => reasons.push(format!("{behind} tasks wait for it")),
    }
    if others > 0 {
        reasons.push(format!("{} could be begun as well", counted(others, "other task")));
    }
    reasons
}

fn none(tasks: &Tasks) -> Next {
    const MOST: usize = 5;
    let because = |reasons| Next { reasons, ..Next::default() };
    if tasks.is_empty() {
        return because(vec!["there are no tasks".to_owned()]);
    }
    let open: Vec<(TaskId, &Task)> = tasks.walk().filter(|(_, task)| !task.status.satisfies()).collect();
    if open.is_empty() {
        return because(vec!["everything is finished".to_owned()]);
    }
    let why = |(id, task): &(TaskId, &Task)| {
        let by = blocked_by(tasks, id);
        let lost: Vec<TaskId> = by.iter().filter(|on| tasks.get(on).is_none()).cloned().collect();
        match (by.is_empty(), lost.is_empty()) {
            (true, _) => format!("task {id} is {}", task.status),
            (_, true) => format!("task {id} waits for {}", listed(&by)),
            _ => format!("task {id} waits for {}, which does not exist", listed(&lost)),
        }
    };
    let mut reasons: Vec<String> = open.iter().take(MOST).map(why).collect();
    if open.len() > MOST {
        reasons.push(format!("{} more cannot be begun either", open.len() - MOST));
    }
    because(reasons)
}
