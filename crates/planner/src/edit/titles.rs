//! Titles are one line of what is seen: whatever door a task comes by, what hides in its title or turns the text around
//! it is left out, and that is said.

use std::sync::Arc;

use crate::{Task, TaskId, Tasks, words};

/// Leaves out what is not seen of the titles of a task and of all below it.
pub(super) fn make_plain(id: &TaskId, task: &mut Task, notes: &mut Vec<String>) {
    make_own_plain(id, task, notes);
    for sub in &mut task.subtasks {
        make_plain(&id.child(sub.number), sub, notes);
    }
}

/// The same of a task alone.
pub(super) fn make_own_plain(id: &TaskId, task: &mut Task, notes: &mut Vec<String>) {
    if is_plain(&task.title) {
        return;
    }
    task.title = words::seen(task.title.chars()).trim().to_owned();
    notes.push(format!(
        "the title of task {id} had line breaks, or characters that are not seen or turn text around: they were left out"
    ));
}

/// The tree with such titles only, and what was left out.
pub(crate) fn with_plain_titles(mut tasks: Tasks) -> (Tasks, Vec<String>) {
    let mut notes = Vec::new();
    let odd: Vec<Arc<Task>> = tasks.top().iter().filter(|task| !is_plain_whole(task)).cloned().collect();
    for task in odd {
        let mut task = Arc::unwrap_or_clone(task);
        make_plain(&TaskId::top(task.number), &mut task, &mut notes);
        tasks.put(Arc::new(task));
    }
    (tasks, notes)
}

fn is_plain_whole(task: &Task) -> bool {
    is_plain(&task.title) && task.subtasks.iter().all(is_plain_whole)
}

fn is_plain(title: &str) -> bool {
    title.chars().all(words::is_seen)
}
