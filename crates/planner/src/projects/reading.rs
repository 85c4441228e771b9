//! Reading the tasks of a tag.
//!
//! While nothing changed since the last time, that costs one small read. After few small changes the tasks that they
//! touched are read, which their events name; so a reader gets along with others that write all the time.

use std::sync::Arc;

use base::Result;
use store::{Entry, Revision};

use super::cache::Tree;
use super::history::Event;
use super::record::{self, Tag};
use super::{MOST_ATTEMPTS, Projects, Snapshot, contended, names};
use crate::{Task, Tasks};

/// After more changes than this, all tasks are read.
const MOST_CAUGHT_UP: u64 = 32;
/// The same after so many tries to catch up with those who change something meanwhile.
const MOST_TRIES: u32 = 3;

impl Projects {
    /// The tasks of a tag; an empty `tag` is the project's current one.
    pub async fn snapshot(&self, project: &str, tag: &str) -> Result<Snapshot> {
        names::check_project(project)?;
        let tag = self.tag_or_current(project, tag).await?;
        let key = names::tag_key(project, &tag);
        let mut known: Option<Tree> = None;
        for attempt in 0..MOST_ATTEMPTS {
            let Some(entry) = self.store.get(&key).await? else { return Err(self.no_tag(project, &tag).await) };
            let about = record::tag(&tag, &entry)?;
            let near = known.take().or_else(|| self.cache.find(&about)).filter(|tree| tree.is_near(&about));
            let found = match near {
                Some(tree) if tree.revision == about.revision => Some((about, tree.tasks, entry.modified)),
                Some(tree) if attempt < MOST_TRIES => {
                    // It may hold a part of what came meanwhile, which the next round tells by the tag's record.
                    known = Some(Tree::new(&about, self.caught_up(project, &about, tree).await?));
                    None
                }
                _ => self.listed(project, about, &entry).await?,
            };
            if let Some((about, tasks, modified)) = found {
                self.cache.keep(&Tree::new(&about, tasks.clone()));
                return Ok(Snapshot { project: project.into(), tag, about, tasks, modified });
            }
        }
        Err(contended(project, &tag))
    }

    /// All tasks as of one revision, be it newer than the one of the tag's record; `None` when they lie elsewhere by now.
    async fn listed(&self, project: &str, about: Tag, entry: &Entry) -> Result<Option<(Tag, Tasks, Revision)>> {
        let (head, tasks) = self.generation(project, &about, about.generation()).await?;
        let Some(head) = head else {
            // Nothing was ever written, or a sweep is there.
            return Ok((about.revision == 0).then_some((about, tasks, entry.modified)));
        };
        let at = record::tag(&about.name, &head)?;
        // The tag's own record may have got a new name, or a wish, since then.
        let is_same = at.revision == about.revision;
        Ok(Some(if is_same { (about, tasks, entry.modified) } else { (at, tasks, head.modified) }))
    }

    /// The tasks of a generation, with the copy of the tag's record as of the same revision.
    pub(super) async fn generation(&self, project: &str, about: &Tag, name: &str) -> Result<(Option<Entry>, Tasks)> {
        let prefix = names::generation_prefix(project, &about.id, name);
        let mut listing = self.store.list(&prefix).await?;
        let head = names::head_key(project, about, name);
        let head = listing.entries.iter().position(|entry| entry.key == head);
        let head = head.map(|place| listing.entries.remove(place));
        let tasks = record::read_all::<Task>(&prefix, &listing)?;
        Ok((head, Tasks::new(tasks.into_iter().map(|(_, task)| task))))
    }

    /// The tasks with what small changes since then touched read anew.
    async fn caught_up(&self, project: &str, about: &Tag, tree: Tree) -> Result<Tasks> {
        let mut tasks = tree.tasks;
        for revision in tree.revision + 1..=about.revision {
            let event = self.store.get(&names::event_key(project, about, revision)).await?;
            // Gone with the tag, which the next round tells.
            let Some(event) = event else { return Ok(tasks) };
            for number in record::read::<Event>(&event.key, &event.value)?.touched {
                let key = names::task_key(project, about, about.generation(), number);
                match self.store.get(&key).await? {
                    Some(entry) => tasks.put(record::read::<Arc<Task>>(&entry.key, &entry.value)?),
                    None => drop(tasks.remove(number)),
                }
            }
        }
        Ok(tasks)
    }
}

impl Tree {
    /// Whether it is the one that a tag's record tells of, or only few small changes older.
    fn is_near(&self, about: &Tag) -> bool {
        self.id == about.id
            && self.generation == about.generation()
            && (self.revision..=self.revision + MOST_CAUGHT_UP).contains(&about.revision)
    }
}
