//! Where tasks stand: what ends with its parent, and what a person should know about it.

use super::EditError;
use super::apply::{Work, counted, listed};
use crate::{Status, Task, TaskId, graph};

impl Work<'_> {
    pub(super) fn set_status(&mut self, ids: &[TaskId], status: Status) -> Result<(), EditError> {
        if ids.is_empty() {
            return Err(EditError::Nothing { edit: "set a status" });
        }
        ids.iter().try_for_each(|id| self.get(id).map(drop))?;
        for id in ids {
            self.set_one(id, status)?;
        }
        for id in ids {
            self.tell_of_parent(id, status);
            self.tell_of_waiting(id, status);
        }
        Ok(())
    }

    fn set_one(&mut self, id: &TaskId, status: Status) -> Result<(), EditError> {
        if self.get(id)?.status != status {
            self.get_mut(id)?.status = status;
        }
        if !status.satisfies() {
            return Ok(());
        }
        let open: Vec<TaskId> = open_below(id, self.get(id)?);
        for sub in &open {
            self.get_mut(sub)?.status = status;
        }
        if !open.is_empty() {
            let count = counted(open.len(), "subtask");
            self.tell(format!("{count} of task {id} became {status} with it: {}", listed(&open)));
        }
        Ok(())
    }

    /// A parent neither ends nor is opened again by itself; whoever did that to a subtask may want it to.
    fn tell_of_parent(&mut self, id: &TaskId, status: Status) {
        let Some(parent) = id.parent() else { return };
        let Some(task) = self.tasks.get(&parent) else { return };
        match (status.satisfies(), task.status.satisfies()) {
            (true, false) if task.subtasks.iter().all(|sub| sub.status.satisfies()) => {
                self.tell(format!("all subtasks of task {parent} are finished; it may be set to done"));
            }
            (false, true) => {
                let note = format!("task {parent} is {}, though its subtask {id} is {status} now", task.status);
                self.tell(note);
            }
            _ => {}
        }
    }

    /// Nobody is kept from beginning early, but told.
    fn tell_of_waiting(&mut self, id: &TaskId, status: Status) {
        if !matches!(status, Status::InProgress | Status::Review | Status::Done) {
            return;
        }
        let open = graph::blocked_by(&self.tasks, id);
        if !open.is_empty() {
            self.tell(format!("task {id} is {status}, though it waits for {}", listed(&open)));
        }
    }

    fn tell(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// The tasks below one that are not finished.
fn open_below(id: &TaskId, task: &Task) -> Vec<TaskId> {
    let below = task.subtasks.iter().flat_map(|sub| {
        let id = id.child(sub.number);
        let own = (!sub.status.satisfies()).then(|| id.clone());
        own.into_iter().chain(open_below(&id, sub))
    });
    below.collect()
}
