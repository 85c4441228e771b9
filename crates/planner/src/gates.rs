//! What a plan must keep before anyone sees it: sizes, no circles, nothing twice, every requirement covered.

mod likeness;

use std::collections::HashSet;

use serde::Serialize;

use crate::edit::{MAX_DEPENDENCIES, MAX_TITLE_CHARS, counted};
use crate::graph::{self, Breach};
use crate::requirements::Requirement;
use crate::task::MAX_DEPTH;
use crate::{Task, TaskId, Tasks};

pub(crate) use likeness::Words;
pub use likeness::{NEAR, normal};

/// The most tasks of a plan, at every depth together.
const MOST_TASKS: usize = 10_000;
/// The longest of their texts beside the title, in bytes.
const LONGEST_TEXT: usize = 64 << 10;

/// What was measured in a plan. A figure is a fact; [`Gates::is_passed`] says whether they are good enough.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Gates {
    /// Every task has a number of its own from 1 on and a title.
    pub schema_valid: bool,
    /// What is over a bound, in words.
    pub too_large: Vec<String>,
    /// No task waits for itself, directly or through others.
    pub acyclic: bool,
    /// Dependencies on tasks that are not there.
    pub dangling: u32,
    /// Each dependency that cannot stay, in words: circles, missing and repeated ones.
    #[serde(skip)]
    pub wrong_order: Vec<String>,
    /// Tasks with the same title under the same parent.
    pub duplicates: Vec<(TaskId, TaskId)>,
    /// Tasks that are alike by [`NEAR`] or more, and not the same.
    pub near_duplicates: Vec<(TaskId, TaskId)>,
    /// How many requirements there are.
    pub requirements: u32,
    /// How many of them are a source of some task.
    pub covered: u32,
    /// The names of the others.
    pub uncovered: Vec<String>,
    /// Sources that name a requirement that is not there.
    pub unknown_sources: u32,
    /// How many tasks there are at every depth together.
    pub tasks: u32,
}

/// Measures a plan against the requirements that it is for.
pub fn check(tasks: &Tasks, requirements: &[Requirement]) -> Gates {
    let all: Vec<(TaskId, &Task)> = tasks.walk().collect();
    let distinct: HashSet<&TaskId> = all.iter().map(|(id, _)| id).collect();
    let breaches = graph::check(tasks);
    let wrong_order = breaches.iter().map(ToString::to_string).collect();
    let missing = breaches.iter().filter(|breach| matches!(breach, Breach::Missing { .. })).count();
    let doubled = breaches.iter().filter(|breach| matches!(breach, Breach::Duplicate { .. })).count();
    let (duplicates, near_duplicates) = likeness::pairs(&all);
    let names: HashSet<&str> = requirements.iter().map(|requirement| requirement.name.as_str()).collect();
    let sources = || all.iter().flat_map(|(_, task)| &task.sources).map(|source| source.requirement.as_str());
    let covered: HashSet<&str> = sources().filter(|name| names.contains(name)).collect();
    let is_uncovered = |requirement: &&Requirement| !covered.contains(requirement.name.as_str());
    Gates {
        schema_valid: is_valid(&all, distinct.len()),
        too_large: too_large(&all),
        acyclic: breaches.len() == missing + doubled,
        dangling: count(missing),
        wrong_order,
        duplicates,
        near_duplicates,
        requirements: count(names.len()),
        covered: count(covered.len()),
        uncovered: requirements.iter().filter(is_uncovered).map(|requirement| requirement.name.clone()).collect(),
        unknown_sources: count(sources().filter(|name| !name.is_empty() && !names.contains(name)).count()),
        tasks: count(all.len()),
    }
}

impl Gates {
    /// Whether the plan may be shown as finished.
    pub fn is_passed(&self) -> bool {
        self.reasons().is_empty()
    }

    /// Why not, in words; nothing when it passed.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let mut unless = |is_fine: bool, reason: String| {
            if !is_fine {
                reasons.push(reason);
            }
        };
        unless(self.tasks > 0, "the plan has no task".to_owned());
        unless(self.schema_valid, "a task has no title, no number, or the number of another".to_owned());
        unless(self.unknown_sources == 0, format!("{} sources that are no requirement", self.unknown_sources));
        let twice = self.duplicates.iter().take(FEW).map(|(a, b)| format!("{a} and {b}")).collect::<Vec<_>>();
        unless(
            twice.is_empty(),
            format!("{} of the same task: {}", counted(self.duplicates.len(), "pair"), twice.join(", ")),
        );
        let near = self.near_duplicates.iter().take(FEW).map(|(a, b)| format!("{a} and {b}")).collect::<Vec<_>>();
        unless(
            near.is_empty(),
            format!("{} of almost the same task: {}", counted(self.near_duplicates.len(), "pair"), near.join(", ")),
        );
        let open = self.uncovered.iter().take(FEW).cloned().collect::<Vec<_>>();
        unless(
            open.is_empty(),
            format!("{} without a task: {}", counted(self.uncovered.len(), "requirement"), open.join(", ")),
        );
        reasons.extend(self.wrong_order.iter().take(FEW).cloned());
        reasons.extend(self.too_large.iter().take(FEW).cloned());
        reasons
    }
}

/// So many examples make a reason clear.
const FEW: usize = 10;

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn is_valid(all: &[(TaskId, &Task)], distinct: usize) -> bool {
    let is_whole = |task: &Task| task.number > 0 && task.title.chars().any(|c| !c.is_whitespace());
    distinct == all.len() && all.iter().all(|(_, task)| is_whole(task))
}

fn too_large(all: &[(TaskId, &Task)]) -> Vec<String> {
    let mut found = Vec::new();
    if all.len() > MOST_TASKS {
        found.push(format!("{} tasks, where {MOST_TASKS} is the limit", all.len()));
    }
    for (id, task) in all {
        let mut over = |what: &str, size: usize, limit: usize| {
            if size > limit {
                found.push(format!("task {id}: {what} is {size}, where {limit} is the limit"));
            }
        };
        over("the length of the title", task.title.chars().count(), MAX_TITLE_CHARS);
        over("the size of the description", task.description.len(), LONGEST_TEXT);
        over("the size of the details", task.details.len(), LONGEST_TEXT);
        over("the size of the test strategy", task.test_strategy.len(), LONGEST_TEXT);
        over("the number of dependencies", task.dependencies.len(), MAX_DEPENDENCIES);
        over("the depth", id.depth(), MAX_DEPTH);
    }
    found
}

#[cfg(test)]
mod tests;
