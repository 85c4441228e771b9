//! What comes next, and why.

use std::collections::{BTreeMap, HashMap};

use crate::{Status, Task, TaskId, Tasks};

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
    let all: Vec<(TaskId, &Task)> = tasks.walk().filter(|(_, task)| !task.status.satisfies()).collect();
    let places: HashMap<&TaskId, usize> = all.iter().enumerate().map(|(place, (id, _))| (id, place)).collect();
    let mut behind: Vec<Vec<usize>> = vec![Vec::new(); all.len()];
    for (place, (_, task)) in all.iter().enumerate() {
        for on in task.dependencies.iter().filter_map(|on| places.get(on)) {
            behind[*on].push(place);
        }
    }
    let mut seen = vec![usize::MAX; all.len()];
    let mut counts = BTreeMap::new();
    // Bounded: what has very many behind it comes first whatever the exact number.
    const ENOUGH: usize = 200;
    for (place, (id, _)) in all.iter().enumerate().filter(|(place, _)| !behind[*place].is_empty()) {
        let (mut open, mut count) = (vec![place], 0);
        while let Some(at) = open.pop().filter(|_| count < ENOUGH) {
            for &next in &behind[at] {
                if seen[next] != place {
                    seen[next] = place;
                    count += 1;
                    open.push(next);
                }
            }
        }
        counts.insert(id.clone(), count);
    }
    counts
}

fn is_open(task: &Task) -> bool {
    matches!(task.status, Status::Pending | Status::InProgress)
}

/// What to do next, with at most `most` others.
///
/// Parts of what somebody works on come first, then tasks; among those, by priority, by how many wait for them, by how
/// few they themselves wait for, and by address.
pub fn next(tasks: &Tasks, most: usize) -> Next {
    let waiting = waiting(tasks);
    let behind = |id: &TaskId| waiting.get(id).copied().unwrap_or(0);
    let mut parts: Vec<(TaskId, &Task)> = Vec::new();
    let mut whole: Vec<(TaskId, &Task)> = Vec::new();
    for (id, task) in tasks.walk() {
        if !is_open(task) || !blocked_by(tasks, &id).is_empty() {
            continue;
        }
        let is_in_progress =
            id.parent().and_then(|parent| tasks.get(&parent)).is_some_and(|parent| parent.status == Status::InProgress);
        match (id.depth(), is_in_progress) {
            // Whoever has open parts is done by doing those.
            (_, true) if !task.subtasks.iter().any(is_open) || task.status == Status::Pending => parts.push((id, task)),
            (1, _) if !(task.status == Status::InProgress && task.subtasks.iter().any(is_open)) => {
                whole.push((id, task))
            }
            _ => {}
        }
    }
    let rank = |(id, task): &(TaskId, &Task)| {
        let importance = std::cmp::Reverse(task.priority.max(part_of(tasks, id)));
        (
            importance,
            std::cmp::Reverse(task.status == Status::InProgress),
            std::cmp::Reverse(behind(id)),
            task.dependencies.len(),
            id.clone(),
        )
    };
    parts.sort_by_cached_key(rank);
    whole.sort_by_cached_key(rank);
    let from_parts = !parts.is_empty();
    let mut all = parts.into_iter().chain(whole);
    let Some((id, task)) = all.next() else { return none(tasks) };
    let others: Vec<TaskId> = all.map(|(id, _)| id).take(most).collect();
    let mut reasons = Vec::new();
    if let Some(parent) = id.parent().filter(|_| from_parts) {
        reasons.push(format!("task {parent}, which it is part of, is in progress"));
    }
    if task.status == Status::InProgress {
        reasons.push("it is in progress already".to_owned());
    }
    reasons.push(match task.dependencies.len() {
        0 => "it waits for nothing".to_owned(),
        count => format!("all {count} that it waited for are finished"),
    });
    reasons.push(format!("its priority is {}", task.priority.max(part_of(tasks, &id))));
    if behind(&id) > 0 {
        reasons.push(format!("{} wait for it", crate::edit::counted(behind(&id), "task")));
    }
    if !others.is_empty() {
        reasons.push(format!("{} could be begun as well", crate::edit::counted(others.len(), "other task")));
    }
    Next { chosen: Some(id), reasons, others }
}

/// The priority of what a task is part of.
fn part_of(tasks: &Tasks, id: &TaskId) -> crate::Priority {
    id.parent().and_then(|parent| tasks.get(&parent)).map_or(crate::Priority::Low, |parent| parent.priority)
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
