//! Changes that are made once for ever: with each, in the same transaction, a mark is written that must not be there.
//!
//! Whoever repeats a change, on whichever node and after whichever crash, finds its mark; a mark without its change, or a
//! change without its mark, is never seen.

use base::{Code, Result};
use serde::{Deserialize, Serialize};
use store::{Guard, MAX_TXN_OPS, Txn};

use super::{Done, MOST_ATTEMPTS, Projects, Wanted, contended, names, pause, record};
use crate::Tasks;

/// Marks that are deleted at once, at most; the others wait for the next time.
const MOST_FORGOTTEN: usize = 32 * MAX_TXN_OPS;

/// Says that something was done.
#[derive(Clone, Debug)]
pub struct Mark {
    key: String,
    value: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Value {
    at_ms: u64,
}

impl Mark {
    /// A mark for `what` among those of `kind`; the two are part of a key.
    pub fn new(kind: &str, what: &str) -> Self {
        let value = Value { at_ms: base::time::unix_ms() };
        Self { key: format!("{}{what}", names::marks_prefix(kind)), value }
    }

    /// Adds to a transaction that it is the first with this mark.
    pub(super) fn onto(&self, txn: Txn) -> Result<Txn> {
        Ok(txn.when(Guard::Absent(self.key.clone())).put(self.key.clone(), record::write(&self.value)?))
    }
}

impl Projects {
    /// Makes the change that `decide` wants of the tasks as they are, unless one with this mark was made before: then
    /// `None`. Decided anew each time that others came first, so that no version need be expected. Without an edit, only
    /// the mark is written. What else a person should know stands behind the change, and comes back in its notes.
    pub async fn change_once(
        &self,
        project: &str,
        tag: &str,
        mark: &Mark,
        decide: impl Fn(&Tasks) -> (Wanted, Vec<String>) + Send + Sync,
    ) -> Result<Option<Done>> {
        let tag = self.tag_or_current(project, tag).await?;
        let _turn = self.turn(project, &tag).await;
        let done = self.once_in_turn(project, &tag, mark, decide).await;
        if !matches!(done, Ok(Some(_))) {
            self.release(project, &tag).await;
        }
        done
    }

    async fn once_in_turn(
        &self,
        project: &str,
        tag: &str,
        mark: &Mark,
        decide: impl Fn(&Tasks) -> (Wanted, Vec<String>) + Send + Sync,
    ) -> Result<Option<Done>> {
        for attempt in 0..MOST_ATTEMPTS {
            // Not one's own: a write whose answer got lost is settled where it is written.
            if self.store.get(&mark.key).await?.is_some() {
                return Ok(None);
            }
            let before = self.before(project, tag).await?;
            let (wanted, notes) = decide(&before.tasks);
            let (mut done, is_written) = match wanted.edits.is_empty() {
                true => {
                    let unchanged = Txn::new().when(Guard::ModifiedAt(names::tag_key(project, tag), before.modified));
                    let is_written = self.is_committed(mark.onto(unchanged)?).await?;
                    (Done { revision: before.about.revision, tasks: before.tasks, ..Done::default() }, is_written)
                }
                false => self.attempt(before, &wanted, Some(mark)).await?,
            };
            done.notes.extend(notes);
            if is_written {
                return Ok(Some(done));
            }
            pause(attempt).await;
        }
        // Nobody's edit stands against this one, so that it is no conflict to be looked at.
        let mut fault = contended(project, tag).retry_after(std::time::Duration::from_secs(1));
        fault.code = Code::Unavailable;
        Err(fault)
    }

    /// Deletes marks of `kind` from before `before_ms`.
    pub async fn forget_marks(&self, kind: &str, before_ms: u64) -> Result<usize> {
        let listing = self.store.list(&names::marks_prefix(kind)).await?;
        let is_old = |entry: &&store::Entry| {
            // What nobody can read is of no use either.
            serde_json::from_slice::<Value>(&entry.value).map_or(true, |value| value.at_ms < before_ms)
        };
        let old: Vec<_> = listing.entries.iter().filter(is_old).take(MOST_FORGOTTEN).collect();
        let mut forgotten = 0;
        for some in old.chunks(MAX_TXN_OPS) {
            // One that came anew in the meantime stays.
            let txn = some.iter().fold(Txn::new(), |txn, entry| {
                txn.when(Guard::ModifiedAt(entry.key.clone(), entry.modified)).delete(entry.key.clone())
            });
            if self.is_committed(txn).await? {
                forgotten += some.len();
            }
        }
        Ok(forgotten)
    }
}
