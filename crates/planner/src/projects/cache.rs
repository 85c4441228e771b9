//! Trees that are kept in memory to spare reading them. A revision of a tag has the same tasks for ever, so a tree is good
//! for whoever knows from the tag's record that this is the revision.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Tag;
use crate::Tasks;

/// Trees that are kept; the one that nobody wanted for the longest time goes first.
const MOST_TREES: usize = 64;
/// Tasks of all of them together, at every depth: some hundred MiB where they have long texts.
const MOST_TASKS: u64 = 100_000;

/// See the module.
#[derive(Default)]
pub(super) struct Cache {
    /// The one that was wanted last is the last.
    trees: Mutex<VecDeque<Tree>>,
}

struct Tree {
    /// Of the tag, which it keeps when it is renamed.
    id: String,
    revision: u64,
    count: u32,
    tasks: Tasks,
}

impl Cache {
    /// The tasks of a tag as its record tells of them.
    pub fn find(&self, about: &Tag) -> Option<Tasks> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let place = trees.iter().position(|tree| tree.id == about.id && tree.revision == about.revision)?;
        let found = trees.remove(place)?;
        let tasks = found.tasks.clone();
        trees.push_back(found);
        Some(tasks)
    }

    /// Keeps the tasks of a tag instead of older ones.
    pub fn keep(&self, about: &Tag, tasks: &Tasks) {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        if trees.iter().any(|tree| tree.id == about.id && tree.revision > about.revision) {
            return;
        }
        trees.retain(|tree| tree.id != about.id);
        let (id, tasks) = (about.id.clone(), tasks.clone());
        trees.push_back(Tree { id, revision: about.revision, count: about.tasks, tasks });
        let count = |trees: &VecDeque<Tree>| trees.iter().map(|tree| u64::from(tree.count)).sum::<u64>();
        while trees.len() > MOST_TREES || (trees.len() > 1 && count(&trees) > MOST_TASKS) {
            trees.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(id: &str, revision: u64, tasks: u32) -> Tag {
        Tag { id: id.into(), revision, tasks, ..Tag::default() }
    }

    #[test]
    fn only_the_tree_of_that_very_revision_is_found() {
        let (cache, none) = (Cache::default(), Tasks::default());
        cache.keep(&tag("a", 2, 1), &none);
        cache.keep(&tag("a", 1, 1), &none);
        assert!(cache.find(&tag("a", 2, 1)).is_some());
        assert!(cache.find(&tag("a", 1, 1)).is_none() && cache.find(&tag("b", 2, 1)).is_none());
    }

    #[test]
    fn what_was_wanted_last_stays_longest() {
        let (cache, none) = (Cache::default(), Tasks::default());
        for id in 0..=MOST_TREES {
            cache.keep(&tag(&id.to_string(), 1, 1), &none);
            assert!(cache.find(&tag("0", 1, 1)).is_some());
        }
        assert!(cache.find(&tag("1", 1, 1)).is_none());
        cache.keep(&tag("large", 1, MOST_TASKS as u32), &none);
        assert!(cache.find(&tag("0", 1, 1)).is_none() && cache.find(&tag("large", 1, 1)).is_some());
    }
}
