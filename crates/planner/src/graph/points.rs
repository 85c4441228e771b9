//! The points of tasks and the edges between them; circles are found in one pass, without recursion.

use std::collections::VecDeque;

use super::Flat;

/// Begin and end of every task; an edge leads from a point to one that must come before it.
pub(super) struct Points {
    before: Vec<Vec<u32>>,
}

/// Points that wait for each other.
pub(super) struct Knots {
    /// Those of several points.
    pub all: Vec<Vec<u32>>,
    /// Every point, each behind those that must come before it, save on knots.
    pub order: Vec<u32>,
    /// The knot of each point that is on one.
    of: Vec<Option<u32>>,
}

pub(super) fn begin(place: usize) -> u32 {
    (place * 2) as u32
}

pub(super) fn end(place: usize) -> u32 {
    (place * 2 + 1) as u32
}

/// The task whose begin or end a point is.
pub(super) fn place(point: u32) -> usize {
    point as usize / 2
}

impl Points {
    pub fn of(flat: &Flat<'_>) -> Self {
        let mut points = Self { before: vec![Vec::new(); flat.len() * 2] };
        for (place, _) in flat.tasks() {
            points.add(end(place), begin(place));
            if let Some(parent) = flat.parent(place) {
                points.add(begin(place), begin(parent));
                points.add(end(parent), end(place));
            }
            flat.needs(place).for_each(|on| points.add(begin(place), end(on)));
        }
        points
    }

    pub fn add(&mut self, from: u32, to: u32) {
        if let Some(before) = self.before.get_mut(from as usize) {
            before.push(to);
        }
    }

    /// Takes all edges between two points away.
    pub fn remove(&mut self, from: u32, to: u32) {
        if let Some(before) = self.before.get_mut(from as usize) {
            before.retain(|other| *other != to);
        }
    }

    fn before(&self, point: u32) -> &[u32] {
        self.before.get(point as usize).map_or(&[], Vec::as_slice)
    }

    /// Tarjan's strongly connected components, with a stack of our own.
    pub fn knots(&self) -> Knots {
        const UNSEEN: u32 = u32::MAX;
        let count = self.before.len();
        let (mut index, mut low) = (vec![UNSEEN; count], vec![0u32; count]);
        let (mut on_stack, mut stack, mut next) = (vec![false; count], Vec::new(), 0u32);
        let mut knots = Knots { all: Vec::new(), order: Vec::with_capacity(count), of: vec![None; count] };
        for root in 0..count as u32 {
            if index.get(root as usize) != Some(&UNSEEN) {
                continue;
            }
            let mut calls: Vec<(u32, usize)> = vec![(root, 0)];
            while let Some((point, edge)) = calls.last_mut() {
                let (point, at) = (*point, *point as usize);
                if *edge == 0 && index[at] == UNSEEN {
                    (index[at], low[at], on_stack[at]) = (next, next, true);
                    next += 1;
                    stack.push(point);
                }
                if let Some(&to) = self.before(point).get(*edge) {
                    *edge += 1;
                    let to_at = to as usize;
                    if index[to_at] == UNSEEN {
                        calls.push((to, 0));
                    } else if on_stack[to_at] {
                        low[at] = low[at].min(index[to_at]);
                    }
                    continue;
                }
                calls.pop();
                if let Some((caller, _)) = calls.last() {
                    let caller = *caller as usize;
                    low[caller] = low[caller].min(low[at]);
                }
                if low[at] == index[at] {
                    let first = stack.iter().rposition(|other| *other == point).unwrap_or_default();
                    let mut knot = stack.split_off(first);
                    knot.reverse();
                    knot.iter().for_each(|point| on_stack[*point as usize] = false);
                    knots.put(knot);
                }
            }
        }
        knots
    }

    /// The shortest way from a point to another one, or round to itself, both named; over points that `may` be met.
    pub fn way(&self, from: u32, to: u32, seen: &mut Seen, may: impl Fn(u32) -> bool) -> Option<Vec<u32>> {
        seen.round += 1;
        let mut open = VecDeque::from([from]);
        while let Some(point) = open.pop_front() {
            seen.steps += self.before(point).len();
            for &next in self.before(point) {
                if next == to {
                    let mut way = vec![to, point];
                    while let Some(before) = way.last().filter(|point| **point != from).copied() {
                        way.push(seen.from(before));
                    }
                    way.reverse();
                    return Some(way);
                }
                if next != from && may(next) && seen.mark(next, point) {
                    open.push_back(next);
                }
            }
        }
        None
    }

    /// Whether the point is a beginning that waits, by a dependency of its own, for an end on its knot.
    pub fn depends(&self, point: u32, knots: &Knots) -> bool {
        point.is_multiple_of(2) && self.before(point).iter().any(|to| to % 2 == 1 && knots.share(point, *to))
    }
}

impl Knots {
    fn put(&mut self, knot: Vec<u32>) {
        self.order.extend(&knot);
        if knot.len() > 1 {
            let number = self.all.len() as u32;
            for point in &knot {
                if let Some(of) = self.of.get_mut(*point as usize) {
                    *of = Some(number);
                }
            }
            self.all.push(knot);
        }
    }

    /// Whether a point is on any.
    pub fn has(&self, point: u32) -> bool {
        self.of.get(point as usize).is_some_and(Option::is_some)
    }

    /// Whether two points are on the same one.
    pub fn share(&self, one: u32, other: u32) -> bool {
        self.has(one) && self.of.get(one as usize) == self.of.get(other as usize)
    }
}

/// What [`Points::way`] remembers; kept between searches, since to clear it would take longer than most of them.
pub(super) struct Seen {
    /// Edges that were looked at in all searches together.
    pub steps: usize,
    round: u32,
    points: Vec<(u32, u32)>,
}

impl Seen {
    pub fn none_of(flat: &Flat<'_>) -> Self {
        Self { steps: 0, round: 0, points: vec![(0, 0); flat.len() * 2] }
    }

    /// Whether it is new in this round.
    fn mark(&mut self, point: u32, from: u32) -> bool {
        let Some(seen) = self.points.get_mut(point as usize).filter(|seen| seen.0 != self.round) else { return false };
        *seen = (self.round, from);
        true
    }

    fn from(&self, point: u32) -> u32 {
        self.points.get(point as usize).map_or(0, |seen| seen.1)
    }
}
