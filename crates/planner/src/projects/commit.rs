//! Writing a change: one transaction, guarded by the tag's record, whatever its size.
//!
//! A change of few tasks puts those. A change of many writes all tasks anew under a new generation, in as many
//! transactions as it takes, which nobody reads until the tag's record names them: that is again one transaction.

use std::time::Duration;

use base::{Code, Fault, Result};
use bytes::Bytes;
use store::{Guard, MAX_TXN_BYTES, MAX_TXN_OPS, Revision, StoreError, Txn};

use super::cache::Tree;
use super::history::{Before, EVENTS_KEPT, Event, UNDO_KEPT, Undo};
use super::record::Tag;
use super::{Projects, Snapshot, names, record};
use crate::{Task, Tasks};

/// Changes of more records than this are written as a new generation; guard, tag, event and undo want room as well, and
/// a move between tags is two changes in one transaction.
const MOST_PUTS: usize = MAX_TXN_OPS / 2 - 8;
/// The same in bytes, of what is written together with what is kept to undo it.
const MOST_BYTES: usize = MAX_TXN_BYTES * 3 / 8;
/// A task with all below it; a record must fit into a transaction.
const MOST_TASK_BYTES: usize = 700 << 10;
/// Generations that stay, the current one among them, so that changes of many tasks can be undone.
const GENERATIONS_KEPT: usize = 3;
/// Keys of changes that are remembered.
const KEYS_KEPT: usize = 64;
/// How often a transaction is sent whose answer gets lost, and how long each time is waited before that.
const SENDINGS: u32 = 3;
const BETWEEN_SENDINGS: Duration = Duration::from_millis(100);

/// A change that was decided on `before` and is not written yet. A `before` of revision 0 of the store is not there yet.
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

/// Why a generation is not written.
enum Unwritten {
    /// A sweep took what was there of a tag that is not there yet.
    Swept,
    Failed(Fault),
}

impl From<Fault> for Unwritten {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl From<StoreError> for Unwritten {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Refused { .. }) { Self::Swept } else { Self::Failed(error.into()) }
    }
}

impl Projects {
    /// Writes all attempts (of different tags of a project) or none, together with what is in `txn`.
    pub(super) async fn write(&self, mut txn: Txn, attempts: Vec<Attempt>) -> Result<Written> {
        let write = record::random();
        let mut after = Vec::new();
        let mut has_generation = false;
        for attempt in attempts {
            let generation = attempt.before.about.generation().to_owned();
            let (next, snapshot) = self.stage(txn, attempt, &write).await?;
            has_generation |= snapshot.about.generation() != generation;
            txn = next;
            after.push(snapshot);
        }
        let Some(first) = after.first() else { return Ok(Written::Done) };
        let event = names::event_key(&first.project, &first.about, first.about.revision);
        let is_committed = self.settle(txn, &event, &write).await?;
        if has_generation && !is_committed {
            for snapshot in &after {
                self.hold(&snapshot.project, &snapshot.tag).await?;
            }
        }
        if has_generation {
            self.sweep(&first.project).await;
        }
        if !is_committed {
            return Ok(Written::Crossed);
        }
        for snapshot in after {
            self.cache.keep(&Tree::new(&snapshot.about, snapshot.tasks));
        }
        Ok(Written::Done)
    }

    /// Adds an attempt to the transaction; gives the snapshot that it makes.
    async fn stage(&self, txn: Txn, attempt: Attempt, write: &str) -> Result<(Txn, Snapshot)> {
        let Attempt { before, tasks, event, draft } = attempt;
        let (project, mut about) = (before.project.clone(), before.about.clone());
        let mut touched = tasks.differing(&before.tasks);
        let (txn, undo) = match small(txn.clone(), &before, &tasks, &touched)? {
            Some(staged) => staged,
            None => {
                touched.clear();
                self.stage_generation(txn, &before, &mut about, &tasks, event.revision).await?
            }
        };
        about.revision = event.revision;
        about.updated_ms = event.at_ms;
        about.held_by.clear();
        about.count(&tasks);
        about.draft_because = draft.unwrap_or(about.draft_because);
        if let Some(key) = &event.key {
            about.keys.push((key.clone(), event.revision));
            let superfluous = about.keys.len().saturating_sub(KEYS_KEPT);
            about.keys.drain(..superfluous);
        }
        let key = names::tag_key(&project, &before.tag);
        let guard = match before.modified {
            Revision(0) => Guard::Absent(key.clone()),
            modified => Guard::ModifiedAt(key.clone(), modified),
        };
        let event = Event { touched, write: write.to_owned(), ..event };
        let written = record::write_about(&about)?;
        let mut txn = txn
            .when(guard)
            .put(names::head_key(&project, &about, about.generation()), written.clone())
            .put(key, written)
            .put(names::event_key(&project, &about, event.revision), record::write(&event)?)
            .put(names::undo_key(&project, &about, event.revision), undo);
        if let Some(old) = event.revision.checked_sub(UNDO_KEPT) {
            txn = txn.delete(names::undo_key(&project, &about, old));
        }
        if let Some(old) = event.revision.checked_sub(EVENTS_KEPT) {
            txn = txn.delete(names::event_key(&project, &about, old));
        }
        Ok((txn, Snapshot { about, tasks, ..before }))
    }

    /// Writes all tasks as a new generation, which the transaction lets the tag's record name; gives what undoes that.
    async fn stage_generation(
        &self,
        mut txn: Txn,
        before: &Snapshot,
        about: &mut Tag,
        tasks: &Tasks,
        revision: u64,
    ) -> Result<(Txn, Bytes)> {
        let undo = Undo::Generation { name: about.generation().to_owned(), left: tasks.top().len() };
        let generation = record::generation(revision);
        let loose = names::loose_key(&before.project, &about.id, &generation);
        let named = Txn::new().put(loose.clone(), Bytes::new());
        // Every transaction names the generation as loose, whatever a sweep did meanwhile. A tag that is not there yet may
        // be a dead writer's, so a sweep takes all of it, and puts the loose record first: then nothing follows.
        let begin = match before.modified {
            Revision(0) => {
                let guard = Guard::ModifiedAt(loose.clone(), self.repeated(named).await?);
                txn = txn.when(guard.clone());
                Txn::new().when(guard)
            }
            _ => named,
        };
        match self.write_generation(&before.project, about, &generation, &begin, tasks).await {
            // The transaction has the same guard, and is refused as well.
            Ok(()) | Err(Unwritten::Swept) => {}
            Err(Unwritten::Failed(fault)) => return Err(fault),
        }
        txn = txn.delete(loose);
        about.generations.push(generation);
        let superfluous = about.generations.len().saturating_sub(GENERATIONS_KEPT);
        for old in about.generations.drain(..superfluous) {
            txn = txn.put(names::loose_key(&before.project, &about.id, &old), Bytes::new());
        }
        Ok((txn, record::write(&undo)?))
    }

    async fn write_generation(
        &self,
        project: &str,
        about: &Tag,
        generation: &str,
        begin: &Txn,
        tasks: &Tasks,
    ) -> std::result::Result<(), Unwritten> {
        // What is too large is refused before anything is written.
        let values = tasks.top().iter().map(|task| Ok((task.number, written(task)?))).collect::<Result<Vec<_>>>()?;
        let (mut txn, mut bytes) = (begin.clone(), 0);
        for (number, value) in values {
            if txn.puts.len() == MAX_TXN_OPS || bytes + value.len() > MAX_TXN_BYTES - (MAX_TXN_BYTES >> 4) {
                self.repeated(std::mem::replace(&mut txn, begin.clone())).await?;
                bytes = 0;
            }
            bytes += value.len();
            txn = txn.put(names::task_key(project, about, generation, number), value);
        }
        Ok(self.repeated(txn).await.map(drop)?)
    }

    /// Commits what may happen twice.
    async fn repeated(&self, txn: Txn) -> std::result::Result<Revision, StoreError> {
        for _ in 1..SENDINGS {
            match self.store.commit(txn.clone()).await {
                Err(StoreError::Unclear { .. }) => tokio::time::sleep(BETWEEN_SENDINGS).await,
                answer => return answer,
            }
        }
        self.store.commit(txn).await
    }

    /// Commits a change once, also where answers get lost: its guard refuses it the second time, and its event tells
    /// whose the first one was. `false`: it did not happen, and cannot any more.
    async fn settle(&self, txn: Txn, event: &str, write: &str) -> Result<bool> {
        let mut unclear = None;
        for _ in 0..SENDINGS {
            match self.store.commit(txn.clone()).await {
                Ok(_) => return Ok(true),
                Err(StoreError::Refused { .. }) if unclear.is_none() => return Ok(false),
                Err(StoreError::Refused { .. }) => {
                    let Some(entry) = self.store.get(event).await? else { return Ok(false) };
                    return Ok(record::read::<Event>(&entry.key, &entry.value)?.write == write);
                }
                Err(error @ StoreError::Unclear { .. }) => unclear = Some(error),
                Err(StoreError::Unavailable { .. }) if unclear.is_some() => {}
                Err(error) => return Err(unclear.unwrap_or(error).into()),
            }
            tokio::time::sleep(BETWEEN_SENDINGS).await;
        }
        let why = "it was sent several times".to_owned();
        Err(unclear.unwrap_or(StoreError::Unclear { why }).into())
    }
}

/// Adds a change of few tasks to the transaction, and gives what undoes it; `None` when it is too large for that.
fn small(mut txn: Txn, before: &Snapshot, tasks: &Tasks, numbers: &[u32]) -> Result<Option<(Txn, Bytes)>> {
    if numbers.len() > MOST_PUTS {
        return Ok(None);
    }
    let mut bytes = 0;
    let mut undo = Vec::new();
    for &number in numbers {
        let key = names::task_key(&before.project, &before.about, before.about.generation(), number);
        let after = tasks.root(number);
        undo.push(Before { number, task: before.tasks.root(number).cloned(), is_gone: after.is_none() });
        txn = match after {
            None => txn.delete(key),
            Some(task) => {
                let value = written(task)?;
                bytes += value.len();
                txn.put(key, value)
            }
        };
    }
    let undo = record::write(&Undo::Tasks(undo))?;
    Ok((bytes + undo.len() <= MOST_BYTES).then_some((txn, undo)))
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
