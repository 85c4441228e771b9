//! Tasks get other addresses in their tag; whoever refers to them follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::EditError;
use super::apply::{Work, counted, mark};
use crate::{Task, TaskId};

impl Work<'_> {
    /// Gives tasks other addresses, all at once; whoever refers to them follows.
    pub(super) fn moved(&mut self, pairs: &[(TaskId, TaskId)]) -> Result<(), EditError> {
        for (from, to) in pairs {
            self.get(from)?;
            if to.is_within(from) {
                return Err(EditError::NoMove { why: format!("task {from} cannot go into itself, to {to}") });
            }
            if pairs.iter().filter(|(other, _)| other == from).count() > 1 {
                return Err(EditError::NoMove { why: format!("task {from} is named twice") });
            }
            if pairs.iter().any(|(other, _)| other != from && other.is_within(from)) {
                return Err(EditError::NoMove { why: format!("task {from} and one below it cannot move at once") });
            }
        }
        let mut taken = Vec::new();
        for (from, to) in pairs {
            let task = self.take(from).ok_or_else(|| EditError::NoTask { id: from.clone() })?;
            taken.push((from, to, task));
        }
        for (from, to, task) in taken {
            if self.tasks.get(to).is_some() {
                return Err(EditError::Taken { from: from.clone(), to: to.clone() });
            }
            let mut task = Task { number: to.number(), ..task };
            mark(&mut task, self.stamp);
            self.check_whole(to, &task)?;
            match to.parent() {
                None => self.tasks.put(Arc::new(task)),
                Some(parent) => {
                    let parent = self.get_mut(&parent)?;
                    let place = parent.subtasks.partition_point(|sub| sub.number < to.number());
                    parent.subtasks.insert(place, task);
                }
            }
            self.added.push(to.clone());
        }
        self.follow(pairs);
        pairs.iter().for_each(|(_, to)| self.forget_own_parts(to));
        Ok(())
    }

    /// Whoever waited for a task that is a part of it now waits for it as it is.
    fn forget_own_parts(&mut self, to: &TaskId) {
        let mut at = to.parent();
        while let Some(id) = at {
            let waits = |on: &TaskId| on.is_within(to);
            if let Some(on) =
                self.tasks.get(&id).and_then(|task| task.dependencies.iter().find(|on| waits(on)).cloned())
                && let Ok(task) = self.get_mut(&id)
            {
                task.dependencies.retain(|on| !waits(on));
                self.notes.push(format!("task {id} need not wait for {on} by a dependency: it is part of it now"));
            }
            at = id.parent();
        }
    }

    /// Lets references follow their tasks.
    fn follow(&mut self, pairs: &[(TaskId, TaskId)]) {
        let new_place = |on: &TaskId| {
            let (from, to) = pairs.iter().find(|(from, _)| on.is_within(from))?;
            Some(on.moved(from.depth(), to))
        };
        let mut followed = BTreeMap::new();
        for (id, task) in self.tasks.walk() {
            if task.dependencies.iter().any(|on| new_place(on).is_some()) {
                let on = task.dependencies.iter().map(|on| new_place(on).unwrap_or_else(|| on.clone()));
                followed.insert(id, on.collect::<Vec<_>>());
            }
        }
        if !followed.is_empty() {
            self.notes.push(format!("references of {} followed", counted(followed.len(), "task")));
        }
        for (id, dependencies) in followed {
            if let Ok(task) = self.get_mut(&id) {
                task.dependencies = dependencies;
            }
        }
    }
}
