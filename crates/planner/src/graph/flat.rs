//! All tasks in one list, so that an address is found, and a parent known, without building addresses.

use std::collections::HashMap;

use crate::{Task, TaskId, Tasks};

/// Tasks at every depth by their places: parents before their parts, as in [`Tasks::walk`].
pub(super) struct Flat<'a> {
    nodes: Vec<Node<'a>>,
    /// Places by the place of the parent and the number.
    places: HashMap<(Option<usize>, u32), usize>,
}

struct Node<'a> {
    task: &'a Task,
    parent: Option<usize>,
    /// The place behind all of its parts.
    end: usize,
}

impl<'a> Flat<'a> {
    pub fn of(tasks: &'a Tasks) -> Self {
        let count = tasks.count();
        let mut flat = Self { nodes: Vec::with_capacity(count), places: HashMap::with_capacity(count) };
        tasks.top().iter().for_each(|task| flat.add(task, None));
        flat
    }

    fn add(&mut self, task: &'a Task, parent: Option<usize>) {
        let place = self.nodes.len();
        self.nodes.push(Node { task, parent, end: place + 1 });
        self.places.insert((parent, task.number), place);
        task.subtasks.iter().for_each(|sub| self.add(sub, Some(place)));
        let end = self.nodes.len();
        if let Some(node) = self.nodes.get_mut(place) {
            node.end = end;
        }
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Every task with its place.
    pub fn tasks(&self) -> impl Iterator<Item = (usize, &'a Task)> {
        self.nodes.iter().map(|node| node.task).enumerate()
    }

    pub fn task(&self, place: usize) -> Option<&'a Task> {
        self.nodes.get(place).map(|node| node.task)
    }

    pub fn parent(&self, place: usize) -> Option<usize> {
        self.nodes.get(place)?.parent
    }

    /// The task, and all that it is part of.
    pub fn up(&self, place: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(place), |place| self.parent(*place))
    }

    /// The task, and all that is part of it.
    pub fn down(&self, place: usize) -> std::ops::Range<usize> {
        place..self.nodes.get(place).map_or(place, |node| node.end)
    }

    /// Where the task with that address stands.
    pub fn place(&self, id: &TaskId) -> Option<usize> {
        id.path().iter().try_fold(None, |parent, number| self.places.get(&(parent, *number)).copied().map(Some))?
    }

    /// The address of the task at a place.
    pub fn id(&self, place: usize) -> Option<TaskId> {
        let node = self.nodes.get(place)?;
        Some(match node.parent {
            None => TaskId::top(node.task.number),
            Some(parent) => self.id(parent)?.child(node.task.number),
        })
    }

    /// Where a task's dependencies lead; what is wrong by itself is left out.
    pub fn needs(&self, place: usize) -> impl Iterator<Item = usize> {
        let dependencies = self.task(place).map_or(&[] as &[TaskId], |task| &task.dependencies);
        let found = dependencies.iter().filter_map(|on| self.place(on));
        found.filter(move |on| !self.is_inside(place, *on))
    }

    /// Whether one of them is the other, or part of it.
    pub fn is_inside(&self, one: usize, other: usize) -> bool {
        let is_within = |place, other: usize| self.down(other).contains(&place);
        is_within(one, other) || is_within(other, one)
    }
}
