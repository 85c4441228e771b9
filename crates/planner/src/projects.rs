//! Projects in the store: every tag's tasks as records, changed by compare-and-set, with a history that can be undone.
//!
//! A tag's record counts its changes. A change guards that record, so two of them never cross: what an edit was checked
//! against is what it is written over. Reading costs one small read while nothing has changed.

mod cache;
mod commit;
mod history;
mod hold;
mod manage;
mod names;
mod once;
mod reading;
mod record;
mod sweep;
mod tags;
mod watching;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use base::{Code, Fault, Result};
use store::{Revision, SharedStore, Txn};

use crate::edit::{self, Changed, Edit, Stamp};
use crate::{Task, TaskId, Tasks};
use cache::Cache;
use commit::{Attempt, Written};
pub use history::{Event, Events};
pub use manage::ProjectChange;
pub use names::{MAIN_TAG, check_project, name_of_folder, tag_of_branch};
pub use once::Mark;
pub use record::{Project, Tag};
pub(crate) use tags::Beside;

/// How often a change is tried again after others came first.
const MOST_ATTEMPTS: u32 = 30;
/// The longest key of a change.
const MOST_KEY_BYTES: usize = 128;
/// Changes of one tag by one node wait for each other here, instead of failing at the store.
const STRIPES: usize = 32;

/// The projects of a store. One for each node; nodes need not know of each other.
pub struct Projects {
    store: SharedStore,
    /// Tells this one's wishes that others wait from those of others.
    node: String,
    cache: Cache,
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
    /// The tag's revision that the caller goes by, where nothing at all may have changed since.
    pub expected_revision: Option<u64>,
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
    pub key: Option<Key>,
}

/// What makes a change happen once in a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Of a step of a job, which may be decided another way when it is tried again.
    Step(String),
    /// Of a client: with other edits it is refused.
    Client(String),
}

impl Key {
    /// Its text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Step(key) | Self::Client(key) => key,
        }
    }
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
        let turns = std::array::from_fn(|_| tokio::sync::Mutex::new(()));
        Self { store, node: record::random(), cache: Cache::default(), turns }
    }

    /// Makes a change, or says what it would do. Tried again while others come first, unless a version was expected.
    pub async fn change(&self, project: &str, tag: &str, wanted: &Wanted) -> Result<Outcome> {
        if let Some(key) = wanted.key.as_ref().map(Key::as_str).filter(|key| key.len() > MOST_KEY_BYTES) {
            let what = format!("could not take a key of {} bytes for a change", key.len());
            return Err(Fault::invalid(what).hint(format!("use at most {MOST_KEY_BYTES} bytes")));
        }
        let tag = self.tag_or_current(project, tag).await?;
        let _turn = self.turn(project, &tag).await;
        let outcome = self.change_in_turn(project, &tag, wanted).await;
        if !matches!(outcome, Ok(Outcome::Done(_))) {
            self.release(project, &tag).await;
        }
        outcome
    }

    async fn change_in_turn(&self, project: &str, tag: &str, wanted: &Wanted) -> Result<Outcome> {
        for attempt in 0..MOST_ATTEMPTS {
            let before = self.before(project, tag).await?;
            if let Some(done) = self.done_before(&before, wanted).await? {
                return Ok(Outcome::Done(done));
            }
            if let Some(conflict) = conflict(&before, wanted) {
                return Ok(Outcome::Conflict(Box::new(conflict)));
            }
            let (done, is_over) = self.attempt(before, wanted, None).await?;
            if is_over {
                return Ok(Outcome::Done(done));
            }
            pause(attempt).await;
        }
        Err(contended(project, tag))
    }

    /// Decides a change of the tasks as they were, and writes it, with a mark that must not be there. Not over is it where
    /// others came first.
    async fn attempt(&self, before: Snapshot, wanted: &Wanted, mark: Option<&Mark>) -> Result<(Done, bool)> {
        let now = base::time::unix_ms();
        let revision = before.about.revision + 1;
        let stamp = Stamp { updated_at: base::time::rfc3339(now), version: revision };
        let applied = edit::apply_all(&before.tasks, &wanted.edits, &stamp)?;
        let changes = edit::changes(&before.tasks, &applied.tasks);
        let done = Done { revision, changes, notes: applied.notes, added: applied.added, tasks: applied.tasks };
        if wanted.dry_run {
            return Ok((done, true));
        }
        let is_wanted_anyway = wanted.draft.is_some() || wanted.key.is_some() || mark.is_some();
        if !is_wanted_anyway && done.changes.is_empty() && done.tasks.differing(&before.tasks).is_empty() {
            return Ok((Done { revision: before.about.revision, ..done }, true));
        }
        let txn = mark.map_or_else(|| Ok(Txn::new()), |mark| mark.onto(Txn::new()))?;
        let event = Event::new(now, wanted, &done)?;
        let (tasks, draft) = (done.tasks.clone(), wanted.draft.clone());
        let written = self.write(txn, vec![Attempt { before, tasks, event, draft }]).await?;
        Ok((done, matches!(written, Written::Done)))
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
        let to_tag = self.tag_or_current(project, to_tag).await?;
        if tag == to_tag {
            return Err(Fault::invalid(format!("could not move tasks: they are in tag `{tag}` already"))
                .hint("name another tag; `tmctl tasks tags` lists them"));
        }
        let moved = self.move_between(project, (&tag, &to_tag), ids, dependencies, who).await;
        if moved.is_err() {
            self.release(project, &tag).await;
            self.release(project, &to_tag).await;
        }
        moved
    }

    async fn move_between(
        &self,
        project: &str,
        (tag, to_tag): (&str, &str),
        ids: &[TaskId],
        dependencies: edit::Dependencies,
        who: &str,
    ) -> Result<(Vec<TaskId>, Vec<String>)> {
        for attempt in 0..MOST_ATTEMPTS {
            let (from, to) = (self.before(project, tag).await?, self.before(project, to_tag).await?);
            let now = base::time::unix_ms();
            let stamp = |about: &Tag| Stamp { updated_at: base::time::rfc3339(now), version: about.revision + 1 };
            let stamps = (stamp(&from.about), stamp(&to.about));
            let moved = edit::move_between(&from.tasks, &to.tasks, ids, dependencies, (&stamps.0, &stamps.1))?;
            let attempted = [
                (from, moved.from, format!("moved to tag `{to_tag}`")),
                (to, moved.to, format!("moved from tag `{tag}`")),
            ];
            let attempted = attempted.into_iter().map(|(before, tasks, what)| {
                let changes = edit::changes(&before.tasks, &tasks);
                let wanted = Wanted { who: who.into(), what, ..Wanted::default() };
                let done = Done { revision: before.about.revision + 1, changes, ..Done::default() };
                Ok(Attempt { event: Event::new(now, &wanted, &done)?, before, tasks, draft: None })
            });
            match self.write(Txn::new(), attempted.collect::<Result<_>>()?).await? {
                Written::Done => return Ok((moved.ids, moved.notes)),
                Written::Crossed => pause(attempt).await,
            }
        }
        Err(contended(project, tag))
    }

    async fn turn(&self, project: &str, tag: &str) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        (project, tag).hash(&mut hasher);
        let stripe = self.turns.get(hasher.finish() as usize % STRIPES)?;
        Some(stripe.lock().await)
    }
}

/// The first task whose version is not the expected one.
fn conflict(before: &Snapshot, wanted: &Wanted) -> Option<Conflict> {
    if let Some(expected) = wanted.expected_revision.filter(|revision| *revision != before.about.revision) {
        let newer = before.tasks.walk().find(|(_, task)| task.version > expected);
        let (id, theirs) = newer.map_or_else(|| (TaskId::top(1), None), |(id, task)| (id, Some(task.clone())));
        return Some(Conflict { id, expected, theirs, yours: Vec::new() });
    }
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
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=most_ms))).await;
}
