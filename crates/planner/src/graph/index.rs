//! The tasks of a tree by their places in a walk through it: looking at all of them then takes one pass.

use std::collections::HashMap;

use crate::{Task, TaskId, Tasks};

/// Every task at every depth; parents stand before their subtasks, as in [`Tasks::walk`].
pub(super) struct Index<'a> {
    tasks: Vec<(&'a Task, Option<usize>)>,
    by_number: HashMap<(Option<usize>, u32), usize>,
}

impl<'a> Index<'a> {
    pub fn of(tasks: &'a Tasks) -> Self {
        let mut index = Self { tasks: Vec::new(), by_number: HashMap::with_capacity(tasks.top().len()) };
        tasks.top().iter().for_each(|task| index.add(task, None));
        index
    }

    fn add(&mut self, task: &'a Task, parent: Option<usize>) {
        let place = self.tasks.len();
        self.tasks.push((task, parent));
        self.by_number.insert((parent, task.number), place);
        task.subtasks.iter().for_each(|sub| self.add(sub, Some(place)));
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Every task with its place.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a Task)> {
        self.tasks.iter().map(|(task, _)| *task).enumerate()
    }

    pub fn task(&self, place: usize) -> Option<&'a Task> {
        self.tasks.get(place).map(|(task, _)| *task)
    }

    pub fn parent(&self, place: usize) -> Option<usize> {
        self.tasks.get(place)?.1
    }

    /// The task, and all that it is part of.
    pub fn up(&self, place: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(place), |place| self.parent(*place))
    }

    /// The tasks that it consists of, themselves without theirs.
    pub fn below(&self, place: usize) -> impl Iterator<Item = usize> {
        let subtasks = self.task(place).map_or(&[] as &[Task], |task| &task.subtasks);
        subtasks.iter().filter_map(move |sub| self.by_number.get(&(Some(place), sub.number)).copied())
    }

    pub fn find(&self, id: &TaskId) -> Option<usize> {
        id.path().iter().try_fold(None, |parent, number| self.by_number.get(&(parent, *number)).copied().map(Some))?
    }

    pub fn id(&self, place: usize) -> Option<TaskId> {
        let mut numbers = self.up(place).filter_map(|place| Some(self.task(place)?.number)).collect::<Vec<_>>();
        let top = TaskId::top(numbers.pop()?);
        Some(numbers.into_iter().rev().fold(top, |id, number| id.child(number)))
    }

    /// Where a task's dependencies lead; what is wrong by itself is left out.
    pub fn needs(&self, place: usize) -> impl Iterator<Item = usize> {
        let dependencies = self.task(place).map_or(&[] as &[TaskId], |task| &task.dependencies);
        let found = dependencies.iter().filter_map(|on| self.find(on));
        found.filter(move |on| !self.is_inside(place, *on))
    }

    /// Whether one of them is the other, or part of it.
    pub fn is_inside(&self, one: usize, other: usize) -> bool {
        self.up(one).any(|place| place == other) || self.up(other).any(|place| place == one)
    }
}
