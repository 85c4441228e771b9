//! Projects in the store: every tag's tasks as records, changed by compare-and-set, with a history that can be undone.
//!
//! A tag's record counts its changes. A change guards that record, so two of them never cross: what an edit was checked
//! against is what it is written over. Reading costs one small read while nothing has changed.

mod commit;
mod history;
mod manage;
mod names;
mod record;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use base::{Code, Fault, Result};
use store::{Revision, SharedStore};

use crate::edit::{self, Changed, Edit, Stamp};
use crate::{Task, TaskId, Tasks};
use commit::{Attempt, Written};
pub use history::{Event, Events};
pub use manage::ProjectChange;
pub use names::{MAIN_TAG, name_of_folder};
pub use record::{Project, Tag};

/// How often a change is tried again after others came first.
const MOST_ATTEMPTS: u32 = 30;
/// Trees that are kept in memory to spare reading them; the oldest goes first.
const MOST_CACHED: usize = 64;
/// Changes of one tag by one node wait for each other here, instead of failing at the store.
const STRIPES: usize = 32;

/// The projects of a store. One for each node; nodes need not know of each other.
pub struct Projects {
    store: SharedStore,
    cache: Mutex<HashMap<(String, String), Snapshot>>,
    turns: [tokio::sync::Mutex<()>; STRIPES],
}

/// The tasks of a tag as they were at one revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which project.
    pub project: String,
    /// Which tag.
    pub tag: String,
    /// What is known of the tag.
    pub about: Tag,
    /// Its tasks.
    pub tasks: Tasks,
    modified: Revision,
}

/// A change of tasks that somebody wants.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// All of them, in this order, or none.
    pub edits: Vec<Edit>,
    /// What the caller believes versions to be.
    pub expected: Vec<(TaskId, u64)>,
    /// Who wants it.
    pub who: String,
    /// What for; empty when nobody said.
    pub why: String,
    /// What to say of it in the history; empty: the edits in words.
    pub what: String,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Marks the tag's plan as a draft for these reasons, or as none; `None` leaves that as it is.
    pub draft: Option<Vec<String>>,
    /// The same key twice does it once: the second time, what the first did is told.
    pub key: Option<String>,
}

/// What became of a [`Wanted`].
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was done (or would be).
    Done(Done),
    /// Somebody else changed a task first; nothing was done.
    Conflict(Box<Conflict>),
}

/// A change that was made.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// The tag's revision by it.
    pub revision: u64,
    /// What is different.
    pub changes: Vec<Changed>,
    /// What else a person should know.
    pub notes: Vec<String>,
    /// Tasks that came to be.
    pub added: Vec<TaskId>,
    /// The tasks by it.
    pub tasks: Tasks,
}

/// Two changes of one task that crossed.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// Which task.
    pub id: TaskId,
    /// The version that the caller went by.
    pub expected: u64,
    /// The task as it is; `None` when it is gone.
    pub theirs: Option<Task>,
    /// What the caller wanted to be different, as far as that can be said.
    pub yours: Vec<Changed>,
}

impl Projects {
    /// The projects in `store`.
    pub fn new(store: SharedStore) -> Self {
        Self { store, cache: Mutex::default(), turns: std::array::from_fn(|_| tokio::sync::Mutex::new(())) }
    }

    /// The tasks of a tag; an empty `tag` is the project's current one.
    pub async fn snapshot(&self, project: &str, tag: &str) -> Result<Snapshot> {
        names::check_project(project)?;
        let tag = self.tag_or_current(project, tag).await?;
        let entry = self.store.get(&names::tag_key(project, &tag)).await?;
        let Some(entry) = entry else { return Err(self.no_tag(project, &tag).await) };
        let cached = self.cached(project, &tag);
        if let Some(snapshot) = cached.filter(|snapshot| snapshot.modified == entry.modified) {
            return Ok(snapshot);
        }
        for _ in 0..MOST_ATTEMPTS {
            let before = self.store.get(&names::tag_key(project, &tag)).await?;
            let Some(before) = before else { return Err(self.no_tag(project, &tag).await) };
            let about: Tag = record::read(&before.key, &before.value)?;
            let listing = self.store.list(&names::tasks_prefix(project, &about)).await?;
            let after = self.store.get(&names::tag_key(project, &tag)).await?;
            if after.is_none_or(|after| after.modified != before.modified) {
                continue;
            }
            if let Some(damaged) = listing.damaged.first() {
                let what =
                    format!("could not read task record `{}` of project `{project}`: {}", damaged.key, damaged.reason);
                return Err(Fault::internal(what).hint("restore it from a backup or an export of the project"));
            }
            let tasks = listing.entries.iter().map(|entry| record::read::<Task>(&entry.key, &entry.value));
            let tasks = Tasks::new(tasks.collect::<Result<Vec<_>>>()?);
            let snapshot =
                Snapshot { project: project.into(), tag: tag.clone(), about, tasks, modified: before.modified };
            self.keep(snapshot.clone());
            return Ok(snapshot);
        }
        Err(contended(project, &tag))
    }

    /// Makes a change, or says what it would do. Tried again while others come first, unless a version was expected.
    pub async fn change(&self, project: &str, tag: &str, wanted: &Wanted) -> Result<Outcome> {
        let tag = self.tag_or_current(project, tag).await?;
        let _turn = self.turn(project, &tag).await;
        for attempt in 0..MOST_ATTEMPTS {
            let before = self.snapshot(project, &tag).await?;
            if let Some(done) = self.done_before(&before, wanted).await? {
                return Ok(Outcome::Done(done));
            }
            if let Some(conflict) = conflict(&before, wanted) {
                return Ok(Outcome::Conflict(Box::new(conflict)));
            }
            let now = base::time::unix_ms();
            let revision = before.about.revision + 1;
            let stamp = Stamp { updated_at: base::time::rfc3339(now), version: revision };
            let applied = edit::apply_all(&before.tasks, &wanted.edits, &stamp)?;
            let changes = edit::changes(&before.tasks, &applied.tasks);
            let done = Done { revision, changes, notes: applied.notes, added: applied.added, tasks: applied.tasks };
            if wanted.dry_run {
                return Ok(Outcome::Done(done));
            }
            let event = Event::new(revision, now, wanted, &done.changes);
            let attempted = Attempt { before, tasks: done.tasks.clone(), event, draft: wanted.draft.clone() };
            match self.write(vec![attempted]).await? {
                Written::Done => return Ok(Outcome::Done(done)),
                Written::Crossed => pause(attempt).await,
            }
        }
        Err(contended(project, &tag))
    }

    /// Moves tasks to another tag of the project; gives their ids there, and what else happened.
    pub async fn move_to_tag(
        &self,
        project: &str,
        tag: &str,
        to_tag: &str,
        ids: &[TaskId],
        dependencies: edit::Dependencies,
        who: &str,
    ) -> Result<(Vec<TaskId>, Vec<String>)> {
        let tag = self.tag_or_current(project, tag).await?;
        if tag == to_tag {
            return Err(Fault::invalid(format!("could not move tasks: they are in tag `{tag}` already")));
        }
        for attempt in 0..MOST_ATTEMPTS {
            let (from, to) = (self.snapshot(project, &tag).await?, self.snapshot(project, to_tag).await?);
            let now = base::time::unix_ms();
            let stamp = |about: &Tag| Stamp { updated_at: base::time::rfc3339(now), version: about.revision + 1 };
            let stamps = (stamp(&from.about), stamp(&to.about));
            let moved = edit::move_between(&from.tasks, &to.tasks, ids, dependencies, (&stamps.0, &stamps.1))?;
            let attempted = [
                (from, moved.from, format!("moved to tag `{to_tag}`")),
                (to, moved.to, format!("moved from tag `{tag}`")),
            ];
            let attempted = attempted.map(|(before, tasks, what)| {
                let changes = edit::changes(&before.tasks, &tasks);
                let wanted = Wanted { who: who.into(), what, ..Wanted::default() };
                Attempt {
                    event: Event::new(before.about.revision + 1, now, &wanted, &changes),
                    before,
                    tasks,
                    draft: None,
                }
            });
            match self.write(attempted.into()).await? {
                Written::Done => return Ok((moved.ids, moved.notes)),
                Written::Crossed => pause(attempt).await,
            }
        }
        Err(contended(project, &tag))
    }

    async fn turn(&self, project: &str, tag: &str) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        (project, tag).hash(&mut hasher);
        let stripe = self.turns.get(hasher.finish() as usize % STRIPES)?;
        Some(stripe.lock().await)
    }

    fn cached(&self, project: &str, tag: &str) -> Option<Snapshot> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(&(project.to_owned(), tag.to_owned())).cloned()
    }

    fn keep(&self, snapshot: Snapshot) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MOST_CACHED {
            let oldest = cache.iter().min_by_key(|(_, kept)| kept.about.updated_ms).map(|(key, _)| key.clone());
            oldest.map(|key| cache.remove(&key));
        }
        cache.insert((snapshot.project.clone(), snapshot.tag.clone()), snapshot);
    }
}

/// The first task whose version is not the expected one.
fn conflict(before: &Snapshot, wanted: &Wanted) -> Option<Conflict> {
    let differs = |(id, expected): &&(TaskId, u64)| before.tasks.get(id).map(|task| task.version) != Some(*expected);
    let (id, expected) = wanted.expected.iter().find(differs)?;
    let stamp = Stamp { updated_at: String::new(), version: before.about.revision + 1 };
    // What cannot be applied any more cannot be shown as a difference, and the caller has it anyway.
    let applied = edit::apply_all(&before.tasks, &wanted.edits, &stamp).ok();
    let yours = applied.map(|applied| edit::changes(&before.tasks, &applied.tasks)).unwrap_or_default();
    Some(Conflict { id: id.clone(), expected: *expected, theirs: before.tasks.get(id).cloned(), yours })
}

fn contended(project: &str, tag: &str) -> Fault {
    Fault::new(
        Code::Conflict,
        format!("could not change tag `{tag}` of project `{project}`: others change it all the time"),
    )
    .hint("try again in a moment")
}

/// Lets another node, which came first, come first once more rather than meet again.
async fn pause(attempt: u32) {
    let most_ms = 4u64 << attempt.min(6);
    tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(1..=most_ms))).await;
}
