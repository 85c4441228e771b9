//! Who waits for whom: what is wrong with it, in which order things can be done, and what comes next.
//!
//! A task begins when all that it waits for is finished, and not before the task that it is part of may begin; it is
//! finished when all its parts are. So each task has two points, begin and end, and the rules are edges between them: a
//! circle among those is a plan that nobody can carry out, whatever the levels that it goes through.

mod cycles;
mod flat;
mod next;
mod svg;
mod text;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use crate::{TaskId, Tasks};
use cycles::Cycles;
use flat::Flat;
pub use next::{Next, blocked_by, is_ready, next, waiting};
pub use svg::svg;
pub use text::tree;

/// Something that is wrong with dependencies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Breach {
    /// A task waits for one that is not there.
    Missing {
        /// Who waits.
        id: TaskId,
        /// For whom.
        on: TaskId,
    },
    /// A task waits for itself.
    Itself {
        /// Which.
        id: TaskId,
    },
    /// A task names another one twice.
    Duplicate {
        /// Who waits.
        id: TaskId,
        /// For whom.
        on: TaskId,
    },
    /// A task waits for one that it is part of, or for a part of itself.
    Inside {
        /// Who waits.
        id: TaskId,
        /// For whom.
        on: TaskId,
    },
    /// Tasks wait for each other, directly or through what they are part of.
    Cycle {
        /// Each waits for the next one, and the last for the first.
        path: Vec<TaskId>,
    },
}

impl Breach {
    /// Whose dependency it is; of a circle, the first one's.
    pub fn id(&self) -> &TaskId {
        static NOBODY: std::sync::LazyLock<TaskId> = std::sync::LazyLock::new(|| TaskId::top(1));
        match self {
            Self::Missing { id, .. } | Self::Itself { id } | Self::Duplicate { id, .. } | Self::Inside { id, .. } => id,
            Self::Cycle { path } => path.first().unwrap_or(&NOBODY),
        }
    }

    /// A word for it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Itself { .. } => "self",
            Self::Duplicate { .. } => "duplicate",
            Self::Inside { .. } => "ancestor",
            Self::Cycle { .. } => "cycle",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { id, on } => write!(f, "task {id} waits for {on}, which does not exist"),
            Self::Itself { id } => write!(f, "task {id} waits for itself"),
            Self::Duplicate { id, on } => write!(f, "task {id} names {on} twice"),
            Self::Inside { id, on } if id.is_within(on) => write!(f, "task {id} waits for {on}, which it is part of"),
            Self::Inside { id, on } => write!(f, "task {id} waits for {on}, which is part of it"),
            Self::Cycle { path } => {
                let names: Vec<String> = path.iter().chain(path.first()).map(ToString::to_string).collect();
                write!(f, "tasks wait for each other in a circle: {}", names.join(" -> "))
            }
        }
    }
}

/// Everything that is wrong: first what concerns one dependency, by address, then circles.
pub fn check(tasks: &Tasks) -> Vec<Breach> {
    let flat = Flat::of(tasks);
    let mut breaches = Vec::new();
    for (place, task) in flat.tasks().filter(|(_, task)| !task.dependencies.is_empty()) {
        let Some(id) = flat.id(place) else { continue };
        let mut seen = HashSet::new();
        for on in &task.dependencies {
            if !seen.insert(on) {
                breaches.push(Breach::Duplicate { id: id.clone(), on: on.clone() });
            } else {
                breaches.extend(wrong_with(&id, on, flat.place(on).is_some()));
            }
        }
    }
    breaches.extend(Cycles::of(&flat).found());
    breaches
}

/// What is wrong with one dependency by itself.
fn wrong_with(id: &TaskId, on: &TaskId, is_there: bool) -> Option<Breach> {
    match () {
        () if id == on => Some(Breach::Itself { id: id.clone() }),
        () if !is_there => Some(Breach::Missing { id: id.clone(), on: on.clone() }),
        () if id.is_within(on) || on.is_within(id) => Some(Breach::Inside { id: id.clone(), on: on.clone() }),
        () => None,
    }
}

/// What [`fix`] would do to one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Which.
    pub id: TaskId,
    /// What it waits for then.
    pub dependencies: Vec<TaskId>,
    /// What is taken away, and why.
    pub because: Vec<Breach>,
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because: Vec<String> = self.because.iter().map(ToString::to_string).collect();
        write!(f, "task {}: dependencies taken away: {}", self.id, because.join("; "))
    }
}

/// The least that must go so that nothing is wrong.
///
/// Of a circle, the dependency goes that leads furthest ahead in the order of addresses: to wait for a later task is the
/// likeliest mistake in it.
pub fn fix(tasks: &Tasks) -> Vec<Fix> {
    let mut fixed = tasks.clone();
    let mut because: Vec<(TaskId, Breach)> = Vec::new();
    for breach in check(tasks) {
        match &breach {
            Breach::Missing { id, on } | Breach::Inside { id, on } => take(&mut fixed, id, on, true),
            Breach::Itself { id } => take(&mut fixed, id, id, true),
            Breach::Duplicate { id, on } => take(&mut fixed, id, on, false),
            Breach::Cycle { .. } => continue,
        }
        because.push((breach.id().clone(), breach));
    }
    // Each round takes an edge of every circle that is left, so this ends.
    loop {
        let circles: Vec<Breach> =
            check(&fixed).into_iter().filter(|breach| matches!(breach, Breach::Cycle { .. })).collect();
        if circles.is_empty() {
            break;
        }
        for circle in circles {
            let Breach::Cycle { path } = &circle else { continue };
            let Some((id, on)) = worst_edge(&fixed, path) else { continue };
            take(&mut fixed, &id, &on, true);
            because.push((id, circle));
        }
    }
    let mut fixes: Vec<Fix> = Vec::new();
    for (id, breach) in because {
        match fixes.iter_mut().find(|fix| fix.id == id) {
            Some(fix) => fix.because.push(breach),
            None => {
                let dependencies = fixed.get(&id).map(|task| task.dependencies.clone()).unwrap_or_default();
                fixes.push(Fix { id, dependencies, because: vec![breach] });
            }
        }
    }
    fixes.sort_by(|one, other| one.id.cmp(&other.id));
    fixes
}

/// Takes one mention of `on` away, the last one, or all.
fn take(tasks: &mut Tasks, id: &TaskId, on: &TaskId, all: bool) {
    let Some(task) = tasks.get_mut(id) else { return };
    if all {
        task.dependencies.retain(|other| other != on);
    } else if let Some(place) = task.dependencies.iter().rposition(|other| other == on) {
        task.dependencies.remove(place);
    }
}

/// The dependency on a circle that leads furthest ahead.
fn worst_edge(tasks: &Tasks, path: &[TaskId]) -> Option<(TaskId, TaskId)> {
    let pairs = path.iter().zip(path.iter().cycle().skip(1));
    let edges = pairs.filter_map(|(id, on)| {
        // The step may go through what one of them is part of, or through a part of it.
        let task = tasks.get(id)?;
        let direct = task.dependencies.iter().find(|other| *other == on)?;
        Some((id.clone(), direct.clone()))
    });
    edges.max_by(|(id, on), (other_id, other_on)| on.cmp(other_on).then_with(|| other_id.cmp(id)))
}

/// All tasks, each behind those that it waits for; what is on a circle is left out.
pub fn order(tasks: &Tasks) -> Vec<TaskId> {
    let flat = Flat::of(tasks);
    Cycles::of(&flat).order().into_iter().filter_map(|place| flat.id(place)).collect()
}
