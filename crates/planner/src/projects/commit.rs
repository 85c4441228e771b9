//! Writing a change: one transaction, guarded by the tag's record, whatever its size.
//!
//! A change of few tasks puts those. A change of many writes all tasks anew under a new generation, in as many
//! transactions as it takes, which nobody reads until the tag's record names them: that is again one transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::{Code, Fault, Result};
use bytes::Bytes;
use store::{Guard, MAX_TXN_BYTES, MAX_TXN_OPS, StoreError, Txn};

use super::history::{EVENTS_KEPT, Event, UNDO_KEPT, Undo};
use super::{Mark, Projects, Snapshot, names, record};
use crate::{Task, Tasks};

/// Changes of more records than this are written as a new generation; guard, tag, event and undo want room as well.
const MOST_PUTS: usize = MAX_TXN_OPS / 2 - 8;
/// The same in bytes, of what is written and of what is kept to undo it, for two tags in one transaction.
const MOST_BYTES: usize = MAX_TXN_BYTES / 4;
/// A task with all below it; a record must fit into a transaction.
const MOST_TASK_BYTES: usize = 700 << 10;
/// Generations that stay, the current one among them, so that changes of many tasks can be undone.
const GENERATIONS_KEPT: usize = 3;
/// Keys of changes that are remembered.
const KEYS_KEPT: usize = 64;

/// A change that was decided on `before` and is not written yet.
pub(super) struct Attempt {
    pub before: Snapshot,
    pub tasks: Tasks,
    pub event: Event,
    pub draft: Option<Vec<String>>,
}

/// What became of an attempt.
pub(super) enum Written {
    Done,
    /// Somebody else came first; nothing was written.
    Crossed,
}

impl Projects {
    /// Writes all attempts (of different tags) or none.
    pub(super) async fn write(&self, attempts: Vec<Attempt>) -> Result<Written> {
        self.write_marked(attempts, None).await
    }

    /// The same, unless there is such a mark; it is written with them.
    pub(super) async fn write_marked(&self, attempts: Vec<Attempt>, mark: Option<&Mark>) -> Result<Written> {
        let write = record::random();
        let mut txn = mark.map_or(Ok(Txn::new()), |mark| mark.onto(Txn::new()))?;
        let mut after = Vec::new();
        for attempt in attempts {
            let (next, snapshot) = self.stage(txn, attempt, &write).await?;
            txn = next;
            after.push(snapshot);
        }
        let committed = match self.store.commit(txn).await {
            Ok(revision) => Some(revision),
            Err(StoreError::Refused { .. }) => return Ok(Written::Crossed),
            Err(StoreError::Unclear { why }) => self.was_written(&after, &write, why).await?,
            Err(error) => return Err(error.into()),
        };
        let Some(revision) = committed else { return Ok(Written::Crossed) };
        for snapshot in after {
            self.forget_generations(&snapshot).await;
            self.keep(Snapshot { modified: revision, ..snapshot });
        }
        Ok(Written::Done)
    }

    /// Adds an attempt to the transaction; gives the snapshot that it makes.
    async fn stage(&self, mut txn: Txn, attempt: Attempt, write: &str) -> Result<(Txn, Snapshot)> {
        let Attempt { before, tasks, mut event, draft } = attempt;
        let (project, mut about) = (before.project.clone(), before.about.clone());
        let changed = changed(&before.tasks, &tasks);
        let mut puts: Vec<(u32, Option<Bytes>)> = Vec::new();
        for &number in &changed {
            puts.push((number, tasks.root(number).map(|task| written(task)).transpose()?));
        }
        let undo: Vec<(u32, Option<Arc<Task>>)> =
            changed.iter().map(|&number| (number, before.tasks.root(number).cloned())).collect();
        let undo = Undo::Tasks(undo);
        let undo_bytes = record::write(&undo)?;
        let bytes: usize = puts.iter().filter_map(|(_, value)| value.as_ref()).map(Bytes::len).sum();
        let is_small = puts.len() <= MOST_PUTS && bytes <= MOST_BYTES && undo_bytes.len() <= MOST_BYTES;
        let undo_bytes = if is_small {
            for (number, value) in puts {
                let key = names::task_key(&project, &about, about.generation(), number);
                txn = match value {
                    Some(value) => txn.put(key, value),
                    None => txn.delete(key),
                };
            }
            undo_bytes
        } else {
            let undo = record::write(&Undo::Generation(about.generation().to_owned()))?;
            let generation = record::random();
            self.write_generation(&project, &about, &generation, &tasks).await?;
            about.generations.push(generation);
            undo
        };
        about.revision = event.revision;
        about.updated_ms = event.at_ms;
        about.last_write = write.to_owned();
        about.count(&tasks);
        if let Some(draft) = draft {
            about.draft_because = draft;
        }
        if let Some(key) = event.key.take() {
            about.keys.push((key, event.revision));
            let superfluous = about.keys.len().saturating_sub(KEYS_KEPT);
            about.keys.drain(..superfluous);
        }
        let forgotten = about.generations.len().saturating_sub(GENERATIONS_KEPT);
        about.generations.drain(..forgotten);
        let key = names::tag_key(&project, &before.tag);
        txn = txn
            .when(Guard::ModifiedAt(key.clone(), before.modified))
            .put(key, record::write(&about)?)
            .put(names::event_key(&project, &about, event.revision), record::write(&event)?)
            .put(names::undo_key(&project, &about, event.revision), undo_bytes);
        if let Some(old) = event.revision.checked_sub(UNDO_KEPT) {
            txn = txn.delete(names::undo_key(&project, &about, old));
        }
        if let Some(old) = event.revision.checked_sub(EVENTS_KEPT) {
            txn = txn.delete(names::event_key(&project, &about, old));
        }
        Ok((txn, Snapshot { about, tasks, ..before }))
    }

    async fn write_generation(
        &self,
        project: &str,
        about: &record::Tag,
        generation: &str,
        tasks: &Tasks,
    ) -> Result<()> {
        let (mut txn, mut ops, mut bytes) = (Txn::new(), 0, 0);
        for task in tasks.top() {
            let value = written(task)?;
            if ops == MAX_TXN_OPS - 1 || bytes + value.len() > MAX_TXN_BYTES - (MAX_TXN_BYTES >> 4) {
                self.store.commit(std::mem::take(&mut txn)).await?;
                (ops, bytes) = (0, 0);
            }
            (ops, bytes) = (ops + 1, bytes + value.len());
            txn = txn.put(names::task_key(project, about, generation, task.number), value);
        }
        if ops > 0 {
            self.store.commit(txn).await?;
        }
        Ok(())
    }

    /// After an answer got lost: whether the write happened. `None`: it did not, and cannot any more.
    async fn was_written(&self, after: &[Snapshot], write: &str, why: String) -> Result<Option<store::Revision>> {
        let Some(first) = after.first() else { return Ok(None) };
        let entry = self.store.get(&names::tag_key(&first.project, &first.tag)).await?;
        let Some(entry) = entry else { return Ok(None) };
        let about: record::Tag = record::read(&entry.key, &entry.value)?;
        if about.last_write == write {
            return Ok(Some(entry.modified));
        }
        if about.revision >= first.about.revision {
            return Ok(None);
        }
        // It may still be on its way.
        Err(StoreError::Unclear { why }.into())
    }

    /// Deletes generations that nobody can read any more, also those of writers that died. A failure costs room only.
    async fn forget_generations(&self, snapshot: &Snapshot) {
        if snapshot.about.generations.len() < GENERATIONS_KEPT {
            return;
        }
        let deleted = async {
            let all = names::generations_prefix(&snapshot.project, &snapshot.about);
            let kept = |key: &str| {
                let generation = key.strip_prefix(&all).and_then(|rest| rest.split('/').next());
                generation.is_some_and(|generation| snapshot.about.generations.iter().any(|kept| kept == generation))
            };
            let listing = self.store.list(&all).await?;
            let old = listing.entries.into_iter().map(|entry| entry.key).filter(|key| !kept(key)).collect();
            self.delete_all(old).await
        };
        if let Err(error) = deleted.await {
            tracing::warn!(%error, project = snapshot.project, "could not delete old records of tasks");
        }
    }

    /// Deletes keys, in as many transactions as that takes.
    pub(super) async fn delete_all(&self, keys: Vec<String>) -> Result<()> {
        for some in keys.chunks(MAX_TXN_OPS) {
            self.store.commit(some.iter().fold(Txn::new(), |txn, key| txn.delete(key.clone()))).await?;
        }
        Ok(())
    }
}

/// The numbers of the top-level tasks that came, went or changed.
fn changed(before: &Tasks, after: &Tasks) -> BTreeSet<u32> {
    let differs = |one: &Tasks, other: &Tasks| -> Vec<u32> {
        let is_same = |task: &Arc<Task>| other.root(task.number).is_some_and(|same| Arc::ptr_eq(task, same));
        one.top().iter().filter(|task| !is_same(task)).map(|task| task.number).collect()
    };
    differs(before, after).into_iter().chain(differs(after, before)).collect()
}

fn written(task: &Task) -> Result<Bytes> {
    let value = record::write(task)?;
    if value.len() > MOST_TASK_BYTES {
        let what = format!("could not store task {}: with its subtasks it has {} bytes", task.number, value.len());
        return Err(Fault::new(Code::TooLarge, what).hint(format!(
            "at most {MOST_TASK_BYTES} bytes are possible: make some of its subtasks tasks of their own"
        )));
    }
    Ok(value)
}
