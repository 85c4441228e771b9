//! The points of tasks and the edges between them; circles found in one pass, without recursion.

use std::collections::{BTreeMap, VecDeque};

use super::Breach;
use super::flat::Flat;
use crate::TaskId;

/// Begin and end of every task; an edge leads from a point to one that must come before it.
pub(super) struct Cycles<'a> {
    flat: &'a Flat<'a>,
    before: Vec<Vec<u32>>,
}

fn begin(place: usize) -> u32 {
    (place * 2) as u32
}

fn end(place: usize) -> u32 {
    (place * 2 + 1) as u32
}

impl<'a> Cycles<'a> {
    /// Of all tasks. What leads nowhere or inside is wrong by itself and left out.
    pub fn of(flat: &'a Flat<'a>) -> Self {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); flat.len() * 2];
        let mut add = |from: u32, to: u32| {
            if let Some(list) = before.get_mut(from as usize) {
                list.push(to);
            }
        };
        for (place, task) in flat.tasks() {
            add(end(place), begin(place));
            if let Some(parent) = flat.parent(place) {
                add(begin(place), begin(parent));
                add(end(parent), end(place));
            }
            for on in task.dependencies.iter().filter_map(|on| flat.place(on)) {
                if !flat.is_within(place, on) && !flat.is_within(on, place) {
                    add(begin(place), end(on));
                }
            }
        }
        Self { flat, before }
    }

    fn before(&self, point: u32) -> &[u32] {
        self.before.get(point as usize).map_or(&[], Vec::as_slice)
    }

    /// One circle for each knot of tasks that wait for each other: the shortest through its first task.
    pub fn found(&self) -> Vec<Breach> {
        let (knots, _) = self.knots();
        let mut found: Vec<Breach> = knots.iter().map(|knot| self.circle(knot)).collect();
        found.sort_by(|one, other| one.id().cmp(other.id()));
        found
    }

    /// Places of tasks by their ends, each behind all that must come before; those on circles are left out.
    pub fn order(&self) -> Vec<usize> {
        let (knots, order) = self.knots();
        let stuck: std::collections::HashSet<u32> = knots.into_iter().flatten().collect();
        let ends = order.into_iter().filter(|point| point % 2 == 1 && !stuck.contains(point));
        ends.map(|point| point as usize / 2).collect()
    }

    /// Tarjan's strongly connected components with a stack of our own: those of several points, and all points in an
    /// order in which each comes behind those that must come before it.
    fn knots(&self) -> (Vec<Vec<u32>>, Vec<u32>) {
        const UNSEEN: u32 = u32::MAX;
        let count = self.before.len();
        let (mut index, mut low) = (vec![UNSEEN; count], vec![0u32; count]);
        let (mut on_stack, mut stack, mut next) = (vec![false; count], Vec::new(), 0u32);
        let (mut knots, mut order) = (Vec::new(), Vec::with_capacity(count));
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
                    let mut knot = Vec::new();
                    while let Some(top) = stack.pop() {
                        on_stack[top as usize] = false;
                        knot.push(top);
                        if top == point {
                            break;
                        }
                    }
                    order.extend(knot.iter().copied());
                    if knot.len() > 1 {
                        knots.push(knot);
                    }
                }
            }
        }
        (knots, order)
    }

    /// The shortest way from the first task of a knot back to itself, as the tasks that are on it.
    fn circle(&self, knot: &[u32]) -> Breach {
        let members: std::collections::HashSet<u32> = knot.iter().copied().collect();
        let first = knot.iter().copied().filter(|point| self.depends(*point, &members)).min().unwrap_or_default();
        let mut came_from: BTreeMap<u32, u32> = BTreeMap::new();
        let mut open = VecDeque::from([first]);
        let mut last = first;
        'search: while let Some(point) = open.pop_front() {
            for &to in self.before(point).iter().filter(|to| members.contains(to)) {
                if to == first {
                    last = point;
                    break 'search;
                }
                if !came_from.contains_key(&to) && to != first {
                    came_from.insert(to, point);
                    open.push_back(to);
                }
            }
        }
        let mut points = vec![last];
        while let Some(&point) = points.last().and_then(|point| came_from.get(point)) {
            points.push(point);
        }
        points.reverse();
        let mut path: Vec<TaskId> = Vec::new();
        for point in points {
            let Some(id) = self.flat.id(point as usize / 2) else { continue };
            if path.last() != Some(&id) {
                path.push(id);
            }
        }
        if path.len() > 1 && path.first() == path.last() {
            path.pop();
        }
        Breach::Cycle { path }
    }

    /// Whether the point is a beginning that waits, by a dependency of its own, for an end in the knot.
    fn depends(&self, point: u32, members: &std::collections::HashSet<u32>) -> bool {
        point.is_multiple_of(2) && self.before(point).iter().any(|to| to % 2 == 1 && members.contains(to))
    }
}
