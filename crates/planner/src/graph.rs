//! Who waits for whom: what is wrong with it, in which order things can be done, and what comes next.
//!
//! A task begins when all that it waits for is finished, and not before the task that it is part of may begin; it is
//! finished when all its parts are. So each task has two points, begin and end, and the rules are edges between them: a
//! circle among those is a plan that nobody can carry out, whatever the levels that it goes through.

mod fix;
mod flat;
mod next;
mod points;
mod svg;
mod text;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use crate::{TaskId, Tasks};
pub use fix::{Fix, fix};
use flat::Flat;
pub use next::{Next, blocked_by, is_ready, next, waiting};
use points::{Points, Seen, begin, end, place};
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
    let mut breaches = alone(&flat).into_iter().map(|(_, breach)| breach).collect::<Vec<_>>();
    breaches.extend(circles(&flat));
    breaches
}

/// Dependencies that are wrong by themselves, each with the place of its task.
fn alone(flat: &Flat<'_>) -> Vec<(usize, Breach)> {
    let mut breaches = Vec::new();
    for (place, task) in flat.tasks().filter(|(_, task)| !task.dependencies.is_empty()) {
        let mut seen = HashSet::new();
        for on in &task.dependencies {
            let found = flat.place(on);
            let is_inside = found.is_some_and(|on| flat.is_inside(place, on));
            let is_new = seen.insert(on);
            if is_new && found.is_some() && !is_inside {
                continue;
            }
            let Some(id) = flat.id(place) else { continue };
            let on = on.clone();
            breaches.push((
                place,
                match () {
                    () if !is_new => Breach::Duplicate { id, on },
                    () if found == Some(place) => Breach::Itself { id },
                    () if is_inside => Breach::Inside { id, on },
                    () => Breach::Missing { id, on },
                },
            ));
        }
    }
    breaches
}

/// One circle for each knot of tasks that wait for each other: the shortest through its first task that waits.
fn circles(flat: &Flat<'_>) -> Vec<Breach> {
    let points = Points::of(flat);
    let knots = points.knots();
    let mut seen = Seen::none_of(flat);
    let firsts = knots.all.iter().filter_map(|knot| knot.iter().copied().filter(|p| points.depends(*p, &knots)).min());
    let mut firsts = firsts.collect::<Vec<_>>();
    firsts.sort_unstable();
    let way = |first: u32| points.way(first, first, &mut seen, |point| knots.share(first, point));
    firsts.into_iter().filter_map(way).map(|way| circle(flat, &way)).collect()
}

/// The tasks on a way that ends where it began.
fn circle(flat: &Flat<'_>, way: &[u32]) -> Breach {
    let mut places: Vec<usize> = way.iter().map(|point| place(*point)).collect();
    places.dedup();
    if places.len() > 1 && places.first() == places.last() {
        places.pop();
    }
    Breach::Cycle { path: places.into_iter().filter_map(|place| flat.id(place)).collect() }
}

/// What would be wrong if a task, which is there, also waited for another one, which is there.
pub fn would_break(tasks: &Tasks, id: &TaskId, on: &TaskId) -> Option<Breach> {
    let flat = Flat::of(tasks);
    let (from, to) = (flat.place(id)?, flat.place(on)?);
    let (id, on) = (id.clone(), on.clone());
    match () {
        () if from == to => Some(Breach::Itself { id }),
        () if flat.is_inside(from, to) => Some(Breach::Inside { id, on }),
        () => {
            let back = Points::of(&flat).way(end(to), begin(from), &mut Seen::none_of(&flat), |_| true)?;
            Some(circle(&flat, &[&[begin(from)], back.as_slice()].concat()))
        }
    }
}

/// All tasks, each behind those that it waits for; what is on a circle is left out.
pub fn order(tasks: &Tasks) -> Vec<TaskId> {
    let flat = Flat::of(tasks);
    let knots = Points::of(&flat).knots();
    let ends = knots.order.iter().filter(|point| *point % 2 == 1 && !knots.has(**point));
    ends.filter_map(|point| flat.id(place(*point))).collect()
}
