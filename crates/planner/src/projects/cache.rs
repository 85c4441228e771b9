//! Trees that are kept in memory to spare reading them. A tree is good as long as its tag's record is the one that it was
//! read by; whoever asks says which that is.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use store::Revision;

use super::Snapshot;

/// Trees that are kept; the one that nobody wanted for the longest time goes first.
const MOST_TREES: usize = 64;
/// Tasks of all of them together, at every depth: some hundred MiB where they have long texts.
const MOST_TASKS: u64 = 100_000;

/// See the module.
#[derive(Default)]
pub(super) struct Cache {
    /// The one that was wanted last is the last.
    trees: Mutex<VecDeque<Snapshot>>,
}

impl Cache {
    /// The tree of a tag, if it is the one as of `modified`.
    pub fn find(&self, project: &str, tag: &str, modified: Revision) -> Option<Snapshot> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let place = trees.iter().position(|tree| tree.is_of(project, tag) && tree.modified == modified)?;
        let found = trees.remove(place)?;
        trees.push_back(found.clone());
        Some(found)
    }

    /// Keeps a tree instead of an older one of its tag.
    pub fn keep(&self, snapshot: &Snapshot) {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let is_newer =
            |tree: &Snapshot| tree.is_of(&snapshot.project, &snapshot.tag) && tree.modified > snapshot.modified;
        if trees.iter().any(is_newer) {
            return;
        }
        trees.retain(|tree| !tree.is_of(&snapshot.project, &snapshot.tag));
        trees.push_back(snapshot.clone());
        let tasks = |trees: &VecDeque<Snapshot>| trees.iter().map(|tree| u64::from(tree.about.tasks)).sum::<u64>();
        while trees.len() > MOST_TREES || (trees.len() > 1 && tasks(&trees) > MOST_TASKS) {
            trees.pop_front();
        }
    }
}

impl Snapshot {
    fn is_of(&self, project: &str, tag: &str) -> bool {
        (self.project.as_str(), self.tag.as_str()) == (project, tag)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tag;
    use super::*;
    use crate::Tasks;

    fn tree(tag: &str, modified: u64, tasks: u32) -> Snapshot {
        let about = Tag { tasks, ..Tag::default() };
        Snapshot { project: "p".into(), tag: tag.into(), about, tasks: Tasks::default(), modified: Revision(modified) }
    }

    #[test]
    fn only_the_tree_of_that_very_revision_is_found() {
        let cache = Cache::default();
        cache.keep(&tree("a", 2, 1));
        cache.keep(&tree("a", 1, 1));
        assert!(cache.find("p", "a", Revision(2)).is_some());
        assert!(cache.find("p", "a", Revision(1)).is_none() && cache.find("p", "b", Revision(2)).is_none());
    }

    #[test]
    fn what_was_wanted_last_stays_longest() {
        let cache = Cache::default();
        for tag in 0..=MOST_TREES {
            cache.keep(&tree(&tag.to_string(), 1, 1));
            assert!(cache.find("p", "0", Revision(1)).is_some());
        }
        assert!(cache.find("p", "1", Revision(1)).is_none());
        cache.keep(&tree("large", 1, MOST_TASKS as u32));
        assert!(cache.find("p", "0", Revision(1)).is_none() && cache.find("p", "large", Revision(1)).is_some());
    }
}
