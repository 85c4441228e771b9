//! Tasks move to another tag, where they get new numbers. Dependencies do not cross tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::apply::mark;
use super::{Dependencies, EditError, MAX_TASKS, Stamp};
use crate::task::MAX_NUMBER;
use crate::{Task, TaskId, Tasks};

/// Two trees after a move between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// The one that the tasks left.
    pub from: Tasks,
    /// The one that has them now.
    pub to: Tasks,
    /// Their addresses there, in the order in which they were named, then those that came along.
    pub ids: Vec<TaskId>,
    /// What a person might not expect.
    pub notes: Vec<String>,
}

/// Moves top-level tasks from one tree to the end of another; each tree with its own stamp.
pub fn move_between(
    from: &Tasks,
    to: &Tasks,
    ids: &[TaskId],
    dependencies: Dependencies,
    (from_stamp, to_stamp): (&Stamp, &Stamp),
) -> Result<Moved, EditError> {
    if ids.is_empty() {
        return Err(EditError::Nothing { edit: "move tasks to another tag" });
    }
    for id in ids {
        if from.get(id).is_none() {
            return Err(EditError::NoTask { id: id.clone() });
        }
        if id.depth() > 1 {
            let why = format!("task {id} is a subtask; make it a task of its own first");
            return Err(EditError::NoMove { why });
        }
    }
    let mut moving: Vec<u32> = Vec::new();
    ids.iter().map(TaskId::root).for_each(|number| {
        if !moving.contains(&number) {
            moving.push(number)
        }
    });
    let mut notes = Vec::new();
    if dependencies == Dependencies::Move {
        let mut next = 0;
        while let Some(task) = moving.get(next).and_then(|number| from.root(*number)) {
            let needed = needs(task).into_iter().map(|on| on.root()).filter(|number| from.root(*number).is_some());
            for number in needed {
                if !moving.contains(&number) {
                    notes.push(format!("task {number} came along: {} waits for it", task.number));
                    moving.push(number);
                }
            }
            next += 1;
        }
    }
    let crossing = crossing(from, &moving);
    if dependencies == Dependencies::Refuse && !crossing.is_empty() {
        return Err(EditError::Crosses { edges: crossing });
    }
    notes.extend(crossing.iter().map(|(id, on)| format!("task {id} does not wait for {on} any more")));
    if to.next_number() as usize + moving.len() > MAX_NUMBER as usize {
        return Err(EditError::TooMany { why: format!("no task can have a number above {MAX_NUMBER}") });
    }
    let places: BTreeMap<u32, u32> = moving.iter().copied().zip(to.next_number()..).collect();
    if let Some(taken) = places.values().find(|number| to.root(**number).is_some()) {
        return Err(EditError::TooMany { why: format!("there is a task {taken} in the other tag already") });
    }
    let mut taken_in = to.clone();
    let mut new_ids = Vec::new();
    for (task, place) in places.iter().filter_map(|(number, place)| Some((from.root(*number)?, place))) {
        taken_in.put(Arc::new(Task { number: *place, ..at_new_places(task, &places, to_stamp) }));
    }
    new_ids.extend(moving.iter().filter_map(|number| places.get(number)).map(|place| TaskId::top(*place)));
    let count = taken_in.count();
    if count > MAX_TASKS {
        return Err(EditError::TooMany { why: format!("there would be {count} in the other tag") });
    }
    let mut left = from.clone();
    moving.iter().for_each(|number| drop(left.remove(*number)));
    for (id, on) in crossing.iter().filter(|(id, _)| !moving.contains(&id.root())) {
        if let Some(task) = left.get_mut(id) {
            task.dependencies.retain(|other| other != on);
            mark(task, from_stamp);
        }
    }
    Ok(Moved { from: left, to: taken_in, ids: new_ids, notes })
}

/// Everything that a task or one below it waits for.
fn needs(task: &Task) -> Vec<TaskId> {
    task.dependencies.iter().cloned().chain(task.subtasks.iter().flat_map(needs)).collect()
}

/// Who waits for whom across the border.
fn crossing(from: &Tasks, moving: &[u32]) -> Vec<(TaskId, TaskId)> {
    let mut edges = Vec::new();
    for (id, task) in from.walk() {
        let goes = moving.contains(&id.root());
        let other_side = |on: &&TaskId| moving.contains(&on.root()) != goes;
        edges.extend(task.dependencies.iter().filter(other_side).map(|on| (id.clone(), on.clone())));
    }
    edges
}

/// The task with all below it, waiting for the others at their new places.
fn at_new_places(task: &Task, places: &BTreeMap<u32, u32>, stamp: &Stamp) -> Task {
    let moved = |on: &TaskId| places.get(&on.root()).map(|place| on.moved(1, &TaskId::top(*place)));
    let mut task = Task {
        dependencies: task.dependencies.iter().filter_map(moved).collect(),
        subtasks: task.subtasks.iter().map(|sub| at_new_places(sub, places, stamp)).collect(),
        ..task.clone()
    };
    mark(&mut task, stamp);
    task
}
