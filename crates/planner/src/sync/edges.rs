//! Dependencies after a merge: none leads to what one side removed, and none of theirs closes a cycle with ours.
//!
//! What either side had wrong already stays: mending that is for the user, and is asked for.

use std::collections::{HashMap, HashSet};

use super::{Clash, Conflict, Merged, Note};
use crate::{Task, TaskId, Tasks};

pub(super) fn mend(merged: &mut Merged, ours: &Tasks, theirs: &Tasks) {
    drop_dangling(merged, ours, theirs);
    break_cycles(merged, ours, theirs);
}

fn drop_dangling(merged: &mut Merged, ours: &Tasks, theirs: &Tasks) {
    let known: HashSet<TaskId> = merged.tasks.walk().map(|(id, _)| id).collect();
    let was_dangling = |tasks: &Tasks, id: &TaskId, on: &TaskId| depends(tasks, id, on) && tasks.get(on).is_none();
    let dropped: Vec<_> = edges(&merged.tasks)
        .filter(|(id, on)| !known.contains(on) && !was_dangling(ours, id, on) && !was_dangling(theirs, id, on))
        .collect();
    for (task, on) in dropped {
        remove(&mut merged.tasks, &task, &on);
        merged.notes.push(Note::DependencyDropped { task, on });
    }
}

fn break_cycles(merged: &mut Merged, ours: &Tasks, theirs: &Tasks) {
    let (mut graph, alone) = (Graph::of(&merged.tasks), Graph::of(theirs));
    let (knots, their_knots) = (graph.knots(), alone.knots());
    let is_in_one = |graph: &Graph, knots: &[usize], id: &TaskId, on: &TaskId| {
        let knot = |id| graph.places.get(id).and_then(|&place| knots.get(place));
        knot(id).is_some() && knot(id) == knot(on)
    };
    let closing: Vec<_> = edges(&merged.tasks)
        .filter(|(id, on)| is_in_one(&graph, &knots, id, on) && !is_in_one(&alone, &their_knots, id, on))
        .filter(|(id, on)| !depends(ours, id, on))
        .collect();
    closing.iter().for_each(|(id, on)| graph.disconnect(id, on));
    for (task, on) in closing {
        if graph.leads(&on, &task) {
            remove(&mut merged.tasks, &task, &on);
            let title = merged.tasks.get(&task).map(|task| task.title.clone()).unwrap_or_default();
            merged.conflicts.push(Conflict { task, title, clash: Clash::Cycle { on } });
        } else {
            graph.connect(&task, &on);
        }
    }
}

fn edges(tasks: &Tasks) -> impl Iterator<Item = (TaskId, TaskId)> {
    tasks.walk().flat_map(|(id, task)| task.dependencies.iter().map(move |on| (id.clone(), on.clone())))
}

fn depends(tasks: &Tasks, id: &TaskId, on: &TaskId) -> bool {
    tasks.get(id).is_some_and(|task| task.dependencies.contains(on))
}

fn remove(tasks: &mut Tasks, id: &TaskId, on: &TaskId) {
    if let Some(Task { dependencies, .. }) = tasks.get_mut(id) {
        dependencies.retain(|other| other != on);
    }
}

/// What waits for what: a task for its dependencies, and for the subtasks that it consists of.
pub(super) struct Graph {
    places: HashMap<TaskId, usize>,
    waits_for: Vec<Vec<usize>>,
}

impl Graph {
    pub fn of(tasks: &Tasks) -> Self {
        let places: HashMap<_, _> = tasks.walk().enumerate().map(|(place, (id, _))| (id, place)).collect();
        let place = |id: TaskId| places.get(&id).copied();
        let waits_for = tasks.walk().map(|(id, task)| {
            let below = task.subtasks.iter().map(|sub| id.child(sub.number));
            below.chain(task.dependencies.iter().cloned()).filter_map(place).collect()
        });
        let waits_for = waits_for.collect();
        Self { places, waits_for }
    }

    /// For each task a number that it shares with those that it waits for and that wait for it (Kosaraju's two walks).
    pub fn knots(&self) -> Vec<usize> {
        let mut waited_for_by = vec![Vec::new(); self.waits_for.len()];
        for (from, list) in self.waits_for.iter().enumerate() {
            for &to in list {
                waited_for_by.get_mut(to).into_iter().for_each(|list: &mut Vec<usize>| list.push(from));
            }
        }
        let (mut seen, mut finished) = (vec![false; self.waits_for.len()], Vec::new());
        for place in 0..self.waits_for.len() {
            walk(place, &self.waits_for, &mut seen, &mut finished);
        }
        let (mut seen, mut knots) = (vec![false; self.waits_for.len()], vec![0; self.waits_for.len()]);
        while let Some(place) = finished.pop() {
            let mut knot = Vec::new();
            walk(place, &waited_for_by, &mut seen, &mut knot);
            for member in knot {
                knots.get_mut(member).into_iter().for_each(|knot| *knot = place);
            }
        }
        knots
    }

    /// Whether one waits for the other, however indirectly.
    fn leads(&self, from: &TaskId, to: &TaskId) -> bool {
        let (Some(&from), Some(&to)) = (self.places.get(from), self.places.get(to)) else { return false };
        let (mut seen, mut waiting) = (HashSet::from([from]), vec![from]);
        while let Some(place) = waiting.pop() {
            if place == to {
                return true;
            }
            let next = self.waits_for.get(place).into_iter().flatten();
            waiting.extend(next.filter(|&&place| seen.insert(place)));
        }
        false
    }

    fn connect(&mut self, from: &TaskId, to: &TaskId) {
        if let (Some(&from), Some(&to)) = (self.places.get(from), self.places.get(to)) {
            self.waits_for.get_mut(from).into_iter().for_each(|list| list.push(to));
        }
    }

    fn disconnect(&mut self, from: &TaskId, to: &TaskId) {
        if let (Some(&from), Some(to)) = (self.places.get(from), self.places.get(to)) {
            self.waits_for.get_mut(from).into_iter().for_each(|list| list.retain(|place| place != to));
        }
    }
}

/// Visits everything that can be reached from `place` and was not seen; those that are finished first come first.
fn walk(place: usize, edges: &[Vec<usize>], seen: &mut [bool], finished: &mut Vec<usize>) {
    let mut is_new = |place: usize| seen.get_mut(place).is_some_and(|seen| !std::mem::replace(seen, true));
    let mut path = if is_new(place) { vec![(place, 0)] } else { Vec::new() };
    while let Some((place, next)) = path.last_mut() {
        match edges.get(*place).and_then(|list| list.get(*next)) {
            Some(&to) => {
                *next += 1;
                path.extend(is_new(to).then_some((to, 0)));
            }
            None => finished.extend(path.pop().map(|(place, _)| place)),
        }
    }
}
