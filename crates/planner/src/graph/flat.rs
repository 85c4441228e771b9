//! All tasks in one list, so that an address is found, and a parent known, without building addresses.

use crate::{Task, TaskId, Tasks};

/// Tasks at every depth by their places: parents before their parts, as in [`Tasks::walk`].
pub(super) struct Flat<'a> {
    nodes: Vec<Node<'a>>,
    /// The places of the top-level tasks, in the order of their numbers.
    top: Vec<usize>,
}

struct Node<'a> {
    task: &'a Task,
    parent: Option<usize>,
    /// The place behind all of its parts.
    end: usize,
}

impl<'a> Flat<'a> {
    pub fn of(tasks: &'a Tasks) -> Self {
        let mut flat = Self { nodes: Vec::with_capacity(tasks.top().len()), top: Vec::new() };
        for task in tasks.top() {
            flat.top.push(flat.nodes.len());
            flat.add(task, None);
        }
        flat
    }

    fn add(&mut self, task: &'a Task, parent: Option<usize>) {
        let place = self.nodes.len();
        self.nodes.push(Node { task, parent, end: place + 1 });
        for sub in &task.subtasks {
            self.add(sub, Some(place));
        }
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

    /// Where the task with that address stands.
    pub fn place(&self, id: &TaskId) -> Option<usize> {
        let (root, below) = id.path().split_first()?;
        let number = |place: &usize| self.nodes.get(*place).map_or(0, |node| node.task.number);
        let mut place = *self.top.get(self.top.binary_search_by_key(root, number).ok()?)?;
        for number in below {
            let end = self.nodes.get(place)?.end;
            let mut part = place + 1;
            loop {
                let node = self.nodes.get(part).filter(|_| part < end)?;
                if node.task.number == *number {
                    break;
                }
                part = node.end;
            }
            place = part;
        }
        Some(place)
    }

    /// Whether a task is another one or lies below it.
    pub fn is_within(&self, place: usize, other: usize) -> bool {
        self.nodes.get(other).is_some_and(|node| (other..node.end).contains(&place))
    }

    /// The address of the task at a place.
    pub fn id(&self, place: usize) -> Option<TaskId> {
        let node = self.nodes.get(place)?;
        Some(match node.parent {
            None => TaskId::top(node.task.number),
            Some(parent) => self.id(parent)?.child(node.task.number),
        })
    }
}
