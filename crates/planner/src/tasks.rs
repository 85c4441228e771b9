//! The tasks of a tag. Cheap to clone: what an edit leaves alone is shared with what was before.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Status, Task, TaskId, task};

/// Top-level tasks in the order of their numbers, each number once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tasks {
    list: Vec<Arc<Task>>,
}

impl Tasks {
    /// Puts tasks in order. Of two with one number the later one wins; who reads foreign data refuses those before.
    pub fn new(tasks: impl IntoIterator<Item = Task>) -> Self {
        let mut all = Self::default();
        tasks.into_iter().for_each(|task| all.put(Arc::new(task)));
        all
    }

    /// The top-level tasks.
    pub fn top(&self) -> &[Arc<Task>] {
        &self.list
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The top-level task `number`.
    pub fn root(&self, number: u32) -> Option<&Arc<Task>> {
        let place = self.list.binary_search_by_key(&number, |task| task.number).ok()?;
        self.list.get(place)
    }

    /// The task at `id`, at any depth.
    pub fn get(&self, id: &TaskId) -> Option<&Task> {
        let (root, below) = id.path().split_first()?;
        let mut task: &Task = self.root(*root)?;
        for number in below {
            task = task.subtasks.iter().find(|sub| sub.number == *number)?;
        }
        Some(task)
    }

    /// Puts a top-level task in its place, instead of the one with its number.
    pub fn put(&mut self, task: Arc<Task>) {
        match self.list.binary_search_by_key(&task.number, |other| other.number) {
            Ok(place) => {
                if let Some(old) = self.list.get_mut(place) {
                    *old = task;
                }
            }
            Err(place) => self.list.insert(place, task),
        }
    }

    /// Takes a top-level task out.
    pub fn remove(&mut self, number: u32) -> Option<Arc<Task>> {
        let place = self.list.binary_search_by_key(&number, |task| task.number).ok()?;
        Some(self.list.remove(place))
    }

    /// The task at `id`, to be changed. Copies its top-level task if others share it.
    pub fn get_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        let (root, below) = id.path().split_first()?;
        let place = self.list.binary_search_by_key(root, |task| task.number).ok()?;
        let mut task = Arc::make_mut(self.list.get_mut(place)?);
        for number in below {
            task = task.subtasks.iter_mut().find(|sub| sub.number == *number)?;
        }
        Some(task)
    }

    /// The next free number at the top.
    pub fn next_number(&self) -> u32 {
        task::next_number(self.list.iter().map(|task| task.number))
    }

    /// Every task at every depth with its address, parents before their subtasks.
    pub fn walk(&self) -> Walk<'_> {
        let mut waiting: Vec<_> = self.list.iter().map(|task| (TaskId::top(task.number), &**task)).collect();
        waiting.reverse();
        Walk { waiting }
    }

    /// How many tasks there are at every depth together.
    pub fn count(&self) -> usize {
        self.list.iter().map(|task| task.count()).sum()
    }

    /// How many of them stand where.
    pub fn by_status(&self) -> BTreeMap<Status, u32> {
        fn add(task: &Task, counts: &mut BTreeMap<Status, u32>) {
            *counts.entry(task.status).or_default() += 1;
            task.subtasks.iter().for_each(|sub| add(sub, counts));
        }
        let mut counts = BTreeMap::new();
        self.list.iter().for_each(|task| add(task, &mut counts));
        counts
    }

    /// The numbers of the top-level tasks that came, went or changed since `before`, in order. What both share is as it was.
    pub fn differing(&self, before: &Self) -> Vec<u32> {
        let (mut old, mut new) = (before.list.iter().peekable(), self.list.iter().peekable());
        let mut numbers = Vec::new();
        while let Some(number) = [old.peek(), new.peek()].into_iter().flatten().map(|task| task.number).min() {
            let (was, is) = (old.next_if(|task| task.number == number), new.next_if(|task| task.number == number));
            if !was.zip(is).is_some_and(|(was, is)| Arc::ptr_eq(was, is)) {
                numbers.push(number);
            }
        }
        numbers
    }
}

/// See [`Tasks::walk`].
pub struct Walk<'a> {
    waiting: Vec<(TaskId, &'a Task)>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (TaskId, &'a Task);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, task) = self.waiting.pop()?;
        self.waiting.extend(task.subtasks.iter().rev().map(|sub| (id.child(sub.number), sub)));
        Some((id, task))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_meets_every_task_once_parents_first() {
        let mut first = Task::titled(1, "one");
        first.subtasks = vec![Task::titled(1, "sub"), Task::titled(4, "other")];
        let tasks = Tasks::new([Task::titled(2, "two"), first]);
        let met: Vec<_> = tasks.walk().map(|(id, _)| id.to_string()).collect();
        assert_eq!(met, ["1", "1.1", "1.4", "2"]);
        assert_eq!(tasks.count(), 4);
    }

    #[test]
    fn an_edit_shares_what_it_leaves_alone() {
        let before = Tasks::new([Task::titled(1, "one"), Task::titled(2, "two")]);
        let mut after = before.clone();
        if let Some(task) = after.get_mut(&TaskId::top(2)) {
            task.title = "changed".into();
        }
        assert!(Arc::ptr_eq(&before.top()[0], &after.top()[0]));
        assert_eq!((before.top()[1].title.as_str(), after.top()[1].title.as_str()), ("two", "changed"));
    }

    #[test]
    fn what_came_went_or_changed_differs() {
        let before = Tasks::new((1..=4).map(|number| Task::titled(number, "as it was")));
        let mut after = before.clone();
        assert!(after.differing(&before).is_empty());
        after.remove(1);
        after.put(Arc::new(Task::titled(3, "changed")));
        after.put(Arc::new(Task::titled(7, "new")));
        assert_eq!(after.differing(&before), [1, 3, 7]);
        assert_eq!(before.differing(&after), [1, 3, 7]);
    }
}
