//! New numbers for tasks of theirs whose numbers were given to other tasks here.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::{by_number, says_same};
use crate::{Task, TaskId, Tasks};

/// Which of their tasks must move, and where to, in the order of their addresses.
pub(super) fn moves(base: &Tasks, ours: &Tasks, theirs: &Tasks) -> Vec<(TaskId, TaskId)> {
    let mut plan = Plan::default();
    plan.siblings(None, base.top(), ours.top(), theirs.top());
    plan.follow();
    if plan.moving.is_empty() {
        return Vec::new();
    }
    let mut last = plan.last;
    // Who waits for nobody would wait for whoever gets that address.
    let hanging: HashSet<&TaskId> = hanging(ours).chain(hanging(theirs)).collect();
    let free = |from: TaskId| {
        let last = last.entry(from.parent()).or_default();
        loop {
            *last += 1;
            let to = from.parent().map_or_else(|| TaskId::top(*last), |parent| parent.child(*last));
            if !hanging.contains(&to) {
                return (from, to);
            }
        }
    };
    plan.moving.into_iter().map(free).collect()
}

/// What somebody depends on that is not there.
fn hanging(tasks: &Tasks) -> impl Iterator<Item = &TaskId> {
    tasks.walk().flat_map(|(_, task)| &task.dependencies).filter(|on| tasks.get(on).is_none())
}

/// Their tasks under their new addresses, with every reference.
pub(super) fn renumbered(theirs: &Tasks, moves: &[(TaskId, TaskId)]) -> Tasks {
    let moves = moves.iter().map(|(from, to)| (from.clone(), to.number())).collect();
    Tasks::new(theirs.top().iter().map(|task| moved(task, &TaskId::top(task.number), &moves)))
}

fn moved(task: &Task, at: &TaskId, moves: &HashMap<TaskId, u32>) -> Task {
    let mut subtasks: Vec<_> = task.subtasks.iter().map(|sub| moved(sub, &at.child(sub.number), moves)).collect();
    subtasks.sort_by_key(|sub| sub.number);
    Task {
        number: moves.get(at).copied().unwrap_or(task.number),
        dependencies: task.dependencies.iter().map(|on| moved_id(on, moves)).collect(),
        subtasks,
        ..task.clone()
    }
}

/// An address after the moves of the task and of all that it is in.
fn moved_id(id: &TaskId, moves: &HashMap<TaskId, u32>) -> TaskId {
    let number = moves.get(id).copied().unwrap_or(id.number());
    id.parent().map_or_else(|| TaskId::top(number), |parent| moved_id(&parent, moves).child(number))
}

#[derive(Default)]
struct Plan {
    /// What must move.
    moving: BTreeSet<TaskId>,
    /// The last number below each parent, on any side.
    last: HashMap<Option<TaskId>, u32>,
    /// Tasks that both sides added and that say the same.
    twins: Vec<TaskId>,
    /// The twins, by their places, that depend on a task or on something in it.
    dependents: HashMap<TaskId, Vec<usize>>,
}

impl Plan {
    fn siblings<T: Borrow<Task>>(&mut self, parent: Option<&TaskId>, base: &[T], ours: &[T], theirs: &[T]) {
        let all = by_number(base, ours, theirs);
        self.last.extend(all.keys().next_back().map(|last| (parent.cloned(), *last)));
        for (number, versions) in all {
            let (Some(ours), Some(theirs)) = (versions.ours, versions.theirs) else { continue };
            let (ours, theirs) = (ours.borrow(), theirs.borrow());
            let at = parent.map_or_else(|| TaskId::top(number), |parent| parent.child(number));
            match versions.base {
                Some(base) => self.siblings(Some(&at), &base.borrow().subtasks, &ours.subtasks, &theirs.subtasks),
                None if says_same(ours, theirs) => self.twin(at, theirs),
                None => drop(self.moving.insert(at)),
            }
        }
    }

    fn twin(&mut self, at: TaskId, task: &Task) {
        let mut waiting = vec![task];
        while let Some(task) = waiting.pop() {
            waiting.extend(&task.subtasks);
            for on in &task.dependencies {
                let mut within = Some(on.clone());
                while let Some(id) = within {
                    within = id.parent();
                    self.dependents.entry(id).or_default().push(self.twins.len());
                }
            }
        }
        self.twins.push(at);
    }

    /// A twin that depends on what moves is none: the words are the same, but theirs means another task.
    fn follow(&mut self) {
        let mut waiting: Vec<TaskId> = self.moving.iter().cloned().collect();
        while let Some(id) = waiting.pop() {
            for place in self.dependents.remove(&id).unwrap_or_default() {
                waiting.extend(self.twins.get(place).filter(|at| self.moving.insert((*at).clone())).cloned());
            }
        }
    }
}
