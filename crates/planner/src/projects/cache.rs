//! Trees that are kept in memory to spare reading them. A revision of a tag has the same tasks for ever, so a tree is good
//! for whoever knows from the tag's record which revision it is.

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

/// The tasks of a tag at one of its revisions.
#[derive(Clone)]
pub(super) struct Tree {
    /// Of the tag, which it keeps when it is renamed.
    pub id: String,
    pub generation: String,
    pub revision: u64,
    pub tasks: Tasks,
    count: u32,
}

impl Tree {
    pub fn new(about: &Tag, tasks: Tasks) -> Self {
        let (id, generation) = (about.id.clone(), about.generation().to_owned());
        Self { id, generation, revision: about.revision, count: about.tasks, tasks }
    }
}

impl Cache {
    /// The newest tree of a tag that is kept.
    pub fn find(&self, about: &Tag) -> Option<Tree> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let place = trees.iter().position(|tree| tree.id == about.id)?;
        let found = trees.remove(place)?;
        trees.push_back(found.clone());
        Some(found)
    }

    /// Keeps a tree instead of an older one of its tag.
    pub fn keep(&self, tree: &Tree) {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        if trees.iter().any(|kept| kept.id == tree.id && kept.revision >= tree.revision) {
            return;
        }
        trees.retain(|kept| kept.id != tree.id);
        trees.push_back(tree.clone());
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

    fn keep(cache: &Cache, about: &Tag) {
        cache.keep(&Tree::new(about, Tasks::default()));
    }

    #[test]
    fn the_newest_tree_of_a_tag_is_kept() {
        let cache = Cache::default();
        keep(&cache, &tag("a", 2, 1));
        keep(&cache, &tag("a", 1, 1));
        assert_eq!(cache.find(&tag("a", 3, 1)).map(|tree| tree.revision), Some(2));
        assert!(cache.find(&tag("b", 2, 1)).is_none());
    }

    #[test]
    fn what_was_wanted_last_stays_longest() {
        let cache = Cache::default();
        for id in 0..=MOST_TREES {
            keep(&cache, &tag(&id.to_string(), 1, 1));
            assert!(cache.find(&tag("0", 1, 1)).is_some());
        }
        assert!(cache.find(&tag("1", 1, 1)).is_none());
        keep(&cache, &tag("large", 1, MOST_TASKS as u32));
        assert!(cache.find(&tag("0", 1, 1)).is_none() && cache.find(&tag("large", 1, 1)).is_some());
    }
}
