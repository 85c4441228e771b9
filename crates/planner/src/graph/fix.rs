//! How wrong dependencies are put right: by taking away as few as possible.

use std::collections::BTreeMap;
use std::fmt;

use super::{Breach, Flat, Points, Seen, alone, begin, circle, end};
use crate::{TaskId, Tasks};

/// How many edges are looked at to find out what may stay: a tenth of a second.
const MOST_STEPS: usize = 10_000_000;

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

/// What must go so that nothing is wrong, and not one dependency more.
///
/// Every circle has a dependency that leads ahead, on a task further down: all others, together with the levels, lead
/// from later tasks to earlier ones. To wait for a later task is also the likeliest mistake in a circle. So those on
/// circles are taken out and put back one at a time, the shortest first; what would close a circle again stays out. Only
/// in a knot of a great many circles some stay out untried, since to try all would take minutes.
pub fn fix(tasks: &Tasks) -> Vec<Fix> {
    let flat = Flat::of(tasks);
    let mut because: BTreeMap<usize, Vec<Breach>> = BTreeMap::new();
    for (place, breach) in alone(&flat) {
        because.entry(place).or_default().push(breach);
    }
    let mut cut: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, on, breach) in circles_cut(&flat) {
        because.entry(place).or_default().push(breach);
        cut.entry(place).or_default().push(on);
    }
    let fixed = because.into_iter().filter_map(|(place, because)| {
        let cut = cut.get(&place).map_or(&[] as &[usize], Vec::as_slice);
        Some(Fix { id: flat.id(place)?, dependencies: kept(&flat, place, cut), because })
    });
    fixed.collect()
}

/// What a task still waits for: everything that is there, is no part of it, was not said before, and is not cut.
fn kept(flat: &Flat<'_>, place: usize, cut: &[usize]) -> Vec<TaskId> {
    let mut kept: BTreeMap<usize, usize> = BTreeMap::new();
    for (position, on) in flat.needs(place).enumerate().filter(|(_, on)| !cut.contains(on)) {
        kept.entry(on).or_insert(position);
    }
    let mut kept: Vec<(usize, usize)> = kept.into_iter().map(|(on, position)| (position, on)).collect();
    kept.sort_unstable();
    kept.into_iter().filter_map(|(_, on)| flat.id(on)).collect()
}

/// The dependencies that stay out: of whom, on whom, and the circle that each would close.
fn circles_cut(flat: &Flat<'_>) -> Vec<(usize, usize, Breach)> {
    let mut points = Points::of(flat);
    let knots = points.knots();
    let mut ahead: Vec<(usize, usize, usize)> = Vec::new();
    for (place, _) in flat.tasks().filter(|(place, _)| knots.has(begin(*place))) {
        let on_knot = flat.needs(place).filter(|on| *on > place && knots.share(begin(place), end(*on)));
        ahead.extend(on_knot.map(|on| (on - place, place, on)));
    }
    ahead.sort_unstable();
    ahead.dedup();
    ahead.iter().for_each(|(_, place, on)| points.remove(begin(*place), end(*on)));
    let mut seen = Seen::none_of(flat);
    let mut cut = Vec::new();
    for (_, place, on) in ahead {
        let (from, to) = (begin(place), end(on));
        if seen.steps > MOST_STEPS {
            cut.push((place, on, circle(flat, &[from, to])));
            continue;
        }
        match points.way(to, from, &mut seen, |point| knots.share(from, point)) {
            Some(back) => cut.push((place, on, circle(flat, &[&[from], back.as_slice()].concat()))),
            None => points.add(from, to),
        }
    }
    cut
}
