//! What is different between two versions of a tag, task by task, for whoever is told before or after.

use std::collections::HashMap;

use super::says_same_itself;
use crate::{Task, TaskId, Tasks};

/// Tasks at every depth that came, are different or went, in their order, with their titles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Only after.
    pub added: Vec<(TaskId, String)>,
    /// Both before and after, and not the same.
    pub changed: Vec<(TaskId, String)>,
    /// Only before.
    pub removed: Vec<(TaskId, String)>,
}

impl Differences {
    /// What `after` has otherwise than `before`.
    pub fn of(before: &Tasks, after: &Tasks) -> Self {
        let named = |id: &TaskId, task: &Task| (id.clone(), task.title.clone());
        let mut old: HashMap<TaskId, &Task> = before.walk().collect();
        let mut found = Self::default();
        for (id, task) in after.walk() {
            match old.remove(&id) {
                None => found.added.push(named(&id, task)),
                Some(was) if !std::ptr::eq(was, task) && !says_same_itself(was, task) => {
                    found.changed.push(named(&id, task));
                }
                Some(_) => {}
            }
        }
        found.removed = old.into_iter().map(|(id, task)| named(&id, task)).collect();
        found.removed.sort();
        found
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Whether so many tasks of a tag or a file go that somebody should say yes to it first.
pub const fn is_most(gone: usize, of: usize) -> bool {
    gone * 2 > of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_went_or_changed_is_named_at_every_depth() {
        let with = |title: &str, subtasks: Vec<Task>| Task { subtasks, ..Task::titled(1, title) };
        let before = Tasks::new([with("one", vec![Task::titled(1, "part")]), Task::titled(2, "two")]);
        let touched = Task { version: 9, updated_at: "now".into(), ..Task::titled(1, "part") };
        let after = Tasks::new([with("first", vec![touched, Task::titled(2, "more")])]);
        let told = |list: &[(TaskId, String)]| {
            list.iter().map(|(id, title)| format!("{id} {title}")).collect::<Vec<_>>().join(", ")
        };
        let found = Differences::of(&before, &after);
        assert_eq!(
            [&found.added, &found.changed, &found.removed].map(|list| told(list)),
            ["1.2 more", "1 first", "2 two"]
        );
        assert!(Differences::of(&after, &after).is_empty());
    }
}
