//! What comes next, and why.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::flat::Flat;
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

/// Whether a task may be begun or gone on with: all that it and what it is part of wait for is finished.
pub fn is_ready(tasks: &Tasks, id: &TaskId) -> bool {
    tasks.get(id).is_some_and(is_open) && blocked_by(tasks, id).is_empty()
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

/// How many unfinished tasks wait for each, directly or through others.
pub fn waiting(tasks: &Tasks) -> BTreeMap<TaskId, usize> {
    let flat = Flat::of(tasks);
    let mut behind = Behind::of(&flat);
    let counts = flat.tasks().map(|(place, _)| (place, behind.count(place))).filter(|(_, count)| *count > 0);
    counts.filter_map(|(place, count)| Some((flat.id(place)?, count))).collect()
}

/// Unfinished tasks by those that they wait for.
struct Behind {
    waiting: Vec<Vec<usize>>,
    seen: Vec<usize>,
    open: Vec<usize>,
}

impl Behind {
    /// What has more than so many behind it comes first, whatever the exact number.
    const ENOUGH: usize = 200;

    fn of(flat: &Flat<'_>) -> Self {
        let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); flat.len()];
        for (place, task) in flat.tasks().filter(|(_, task)| !task.status.satisfies()) {
            for on in task.dependencies.iter().filter_map(|on| flat.place(on)) {
                if flat.task(on).is_some_and(|task| !task.status.satisfies())
                    && let Some(list) = waiting.get_mut(on)
                {
                    list.push(place);
                }
            }
        }
        Self { waiting, seen: vec![usize::MAX; flat.len()], open: Vec::new() }
    }

    fn count(&mut self, place: usize) -> usize {
        self.open.clear();
        self.open.push(place);
        let mut count = 0;
        while let Some(at) = self.open.pop().filter(|_| count < Self::ENOUGH) {
            for &next in self.waiting.get(at).into_iter().flatten() {
                if let Some(seen) = self.seen.get_mut(next).filter(|seen| **seen != place) {
                    *seen = place;
                    count += 1;
                    self.open.push(next);
                }
            }
        }
        count
    }
}

fn is_open(task: &Task) -> bool {
    matches!(task.status, Status::Pending | Status::InProgress)
}

/// What to do next, with at most `most` others.
///
/// Parts of what somebody works on come first, then tasks; among those, by priority, by how many wait for them, by how
/// few they themselves wait for, and by address.
pub fn next(tasks: &Tasks, most: usize) -> Next {
    let flat = Flat::of(tasks);
    let mut candidates = candidates(&flat);
    candidates.sort_by_key(Candidate::rank);
    let mut best = candidates.iter();
    let Some((first, id)) = best.next().and_then(|first| Some((first, flat.id(first.place)?))) else {
        return none(tasks);
    };
    let others: Vec<TaskId> = best.take(most).filter_map(|other| flat.id(other.place)).collect();
    let mut reasons = Vec::new();
    if let Some(parent) = id.parent() {
        reasons.push(format!("task {parent}, which it is part of, is in progress"));
    }
    if first.task.status == Status::InProgress {
        reasons.push("it is in progress already".to_owned());
    }
    reasons.push(match first.task.dependencies.len() {
        0 => "it waits for nothing".to_owned(),
        1 => "what it waited for is finished".to_owned(),
        count => format!("all {count} that it waited for are finished"),
    });
    reasons.push(format!("its priority is {}", first.priority()));
    if first.behind > 0 {
        reasons.push(format!("{} wait for it", crate::edit::counted(first.behind, "task")));
    }
    if !others.is_empty() {
        reasons.push(format!("{} could be begun as well", crate::edit::counted(others.len(), "other task")));
    }
    Next { chosen: Some(id), reasons, others }
}

/// A task at the top, or a part of one that is in progress, that could be begun or gone on with.
struct Candidate<'a> {
    place: usize,
    task: &'a Task,
    parent: Option<&'a Task>,
    behind: usize,
}

impl Candidate<'_> {
    fn priority(&self) -> Priority {
        self.task.priority.max(self.parent.map_or(Priority::Low, |parent| parent.priority))
    }

    fn rank(&self) -> impl Ord + use<> {
        (
            self.parent.is_none(),
            Reverse(self.priority()),
            Reverse(self.task.status == Status::InProgress),
            Reverse(self.behind),
            self.task.dependencies.len(),
            self.place,
        )
    }
}

fn candidates<'a>(flat: &Flat<'a>) -> Vec<Candidate<'a>> {
    let mut behind = Behind::of(flat);
    let mut blocked = Vec::with_capacity(flat.len());
    let mut found = Vec::new();
    for (place, task) in flat.tasks() {
        let parent = flat.parent(place);
        let is_open_on = |on: &TaskId| {
            let on = flat.place(on).and_then(|on| flat.task(on));
            on.is_none_or(|task| !task.status.satisfies())
        };
        // A part waits for all that the whole waits for, and the whole stands before it.
        let is_parent_blocked = parent.and_then(|parent| blocked.get(parent)).copied().unwrap_or(false);
        let is_blocked = is_parent_blocked || task.dependencies.iter().any(is_open_on);
        blocked.push(is_blocked);
        let parent = parent.and_then(|parent| flat.task(parent));
        // Whoever has open parts is gone on with by doing those.
        let goes_on_in_parts = task.status == Status::InProgress && task.subtasks.iter().any(is_open);
        let is_for_itself = parent.is_none_or(|parent| parent.status == Status::InProgress);
        if is_open(task) && !is_blocked && is_for_itself && !goes_on_in_parts {
            found.push(Candidate { place, task, parent, behind: behind.count(place) });
        }
    }
    found
}

fn none(tasks: &Tasks) -> Next {
    if tasks.is_empty() {
        return Next { reasons: vec!["there are no tasks".into()], ..Next::default() };
    }
    let open: Vec<(TaskId, &Task)> = tasks.walk().filter(|(_, task)| !task.status.satisfies()).collect();
    if open.is_empty() {
        return Next { reasons: vec!["everything is finished".into()], ..Next::default() };
    }
    let reasons = open.iter().take(5).map(|(id, task)| {
        let by = blocked_by(tasks, id);
        match by.is_empty() {
            true => format!("task {id} is {}", task.status),
            false => format!("task {id} waits for {}", crate::edit::listed(&by)),
        }
    });
    Next { reasons: reasons.collect(), ..Next::default() }
}
