//! Jobs as the whole cluster shares them: submitted, listed, cancelled, on any node.
//!
//! A record whose input is too large for one transaction is first put as a draft, which nobody sees, then its parts,
//! then the record as it shall be: so a job that was accepted is whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::time::unix_ms;
use base::{Code, Fault, NodeId, Result};
use bytes::Bytes;
use serde_json::value::to_raw_value;
use store::{Guard, Revision, SharedStore, StoreError, Txn, framed};

use crate::claim::Held;
use crate::large::Large;
use crate::progress::Progress;
use crate::record::{Record, Setbacks};
use crate::{
    Filter, JobId, JobView, MAX_INPUT_BYTES, MAX_NAME_BYTES, MAX_WAITING, NewJob, State, decide, fault, keys, large,
};

/// The jobs of the cluster, as one node sees them. Clones are the same.
#[derive(Clone)]
pub struct Jobs {
    pub(crate) store: SharedStore,
    pub(crate) node: NodeId,
    pub(crate) held: Arc<Held>,
    pub(crate) late_writes: Arc<AtomicU64>,
}

/// A record with its place in the store's history.
pub(crate) struct Found {
    pub id: JobId,
    pub record: Record,
    pub modified: Revision,
}

impl Jobs {
    /// The jobs in `store`; what this node claims carries its name.
    pub fn new(store: SharedStore, node: NodeId) -> Self {
        Self { store, node, held: Arc::default(), late_writes: Arc::default() }
    }

    /// Accepts a job; once this returns it will be done, by whichever node, or be seen to fail. Where the answer of the
    /// store got lost, the fault leaves open whether it was accepted: with a key it can be submitted again.
    pub async fn submit(&self, new: NewJob) -> Result<JobId> {
        check_names(&new)?;
        let input =
            to_raw_value(&new.input).map_err(|error| Fault::internal("could not write the input").because(error))?;
        let bytes = input.get().len();
        if bytes > MAX_INPUT_BYTES {
            return Err(fault::too_large("the input", bytes, MAX_INPUT_BYTES));
        }
        if let Some(known) = self.submitted(&new).await? {
            return Ok(known);
        }
        self.check_room().await?;
        let now = unix_ms();
        let id = JobId::at(now);
        let place = keys::input(id);
        self.put(id, new.into_record(now), large::cut(&place, &place, &input)?).await
    }

    /// The job that was submitted under the same key before; one that does other work is a conflict.
    pub async fn submitted(&self, new: &NewJob) -> Result<Option<JobId>> {
        match &new.key {
            Some(key) => self.known(key, &new.digest).await,
            None => Ok(None),
        }
    }

    /// The job as of now; `None` where there is none, or none any more.
    pub async fn get(&self, id: JobId) -> Result<Option<JobView>> {
        let Some(found) = self.find(id).await? else { return Ok(None) };
        let key = keys::progress(id);
        let progress = self.store.get(&key).await?.map(|entry| framed::read(&key, &entry.value)).transpose()?;
        Ok(Some(found.record.view(id, progress)))
    }

    /// The jobs that `filter` admits, the oldest first. One that cannot be read is left out; asked for by
    /// its id, it says why.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<JobView>> {
        let progress = self.store.list(keys::PROGRESS).await?.entries;
        let mut progress: HashMap<JobId, Progress> = progress
            .iter()
            .filter_map(|entry| {
                // Without its progress a job is still worth showing.
                Some((keys::id_in(keys::PROGRESS, &entry.key)?, framed::read(&entry.key, &entry.value).ok()?))
            })
            .collect();
        let found = self.records().await?.into_iter().filter(|found| !found.record.is_draft);
        let views = found.map(|Found { id, record, .. }| record.view(id, progress.remove(&id)));
        Ok(views.filter(|job| filter.admits(job)).collect())
    }

    /// What a job that is done gave; `None` for all others.
    pub async fn result(&self, id: JobId) -> Result<Option<serde_json::Value>> {
        let key = keys::result(id);
        let Some(json) = large::read(&*self.store, &key).await? else { return Ok(None) };
        let unreadable = |error| Fault::internal(format!("could not read `{key}`")).because(error);
        serde_json::from_str(json.get()).map(Some).map_err(unreadable)
    }

    /// Ends a job. One that waits is cancelled when this returns; one that runs will be, wherever it does, even if that
    /// node dies; one that is finished stays as it is. Gives back where it stands.
    pub async fn cancel(&self, id: JobId) -> Result<State> {
        loop {
            let Found { record, modified, .. } = self.find(id).await?.ok_or_else(|| fault::unknown(id))?;
            if record.state.is_final() {
                return Ok(record.state);
            }
            let owner_key = keys::owner(id);
            let (cancelled, state) = match self.store.get(&owner_key).await? {
                Some(owner) => {
                    let key = keys::cancel(id);
                    let wish = framed::write(&key, &unix_ms())?;
                    let txn = Txn::new().when(Guard::CreatedAt(owner_key, owner.created)).put(key, wish);
                    (self.store.commit(txn).await, record.state)
                }
                None => {
                    let last = decide::finished(&record, State::Cancelled, unix_ms());
                    (self.finish_unowned(id, modified, &last).await, State::Cancelled)
                }
            };
            match cancelled {
                Ok(_) => {
                    if state.is_final() {
                        self.tidy_after(id).await;
                    }
                    return Ok(state);
                }
                // It was taken up, let go of or finished meanwhile.
                Err(StoreError::Refused { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How many writes were refused because this node did not own the job any more.
    pub fn late_writes(&self) -> u64 {
        self.late_writes.load(Ordering::Relaxed)
    }

    /// Puts the last record of a job that nobody owns, if that is still so.
    pub(crate) async fn finish_unowned(&self, id: JobId, modified: Revision, last: &Record) -> store::Result<Revision> {
        let key = keys::record(id);
        let value = framed::write(&key, last).map_err(|error| StoreError::Failed { why: error.to_string() })?;
        let txn = Txn::new()
            .when(Guard::Absent(keys::owner(id)))
            .when(Guard::ModifiedAt(key.clone(), modified))
            .put(key, value)
            .delete(keys::cancel(id))
            .delete(keys::progress(id));
        self.store.commit(txn).await
    }

    /// The record of a job that was accepted.
    pub(crate) async fn find(&self, id: JobId) -> Result<Option<Found>> {
        let key = keys::record(id);
        let Some(entry) = self.store.get(&key).await? else { return Ok(None) };
        let record: Record = framed::read(&key, &entry.value)?;
        Ok((!record.is_draft).then_some(Found { id, record, modified: entry.modified }))
    }

    /// All records that can be read, drafts too, the oldest first.
    pub(crate) async fn records(&self) -> Result<Vec<Found>> {
        let listing = self.store.list(keys::RECORDS).await?;
        for damaged in &listing.damaged {
            tracing::debug!(key = damaged.key, reason = damaged.reason, "a job cannot be read");
        }
        let mut records = Vec::with_capacity(listing.entries.len());
        for entry in listing.entries {
            let Some(id) = keys::id_in(keys::RECORDS, &entry.key) else { continue };
            match framed::read(&entry.key, &entry.value) {
                Ok(record) => records.push(Found { id, record, modified: entry.modified }),
                Err(error) => tracing::debug!(job = %id, %error, "a job cannot be read"),
            }
        }
        Ok(records)
    }

    /// The job that an idempotency key stands for, if it does the work of that digest.
    async fn known(&self, key: &str, digest: &str) -> Result<Option<JobId>> {
        let place = keys::idempotency(key);
        let Some(entry) = self.store.get(&place).await? else { return Ok(None) };
        let id: JobId = framed::read(&place, &entry.value)?;
        let other = self.find(id).await?.and_then(|found| found.record.digest).is_some_and(|known| known != digest);
        if other { Err(fault::other_work(id)) } else { Ok(Some(id)) }
    }

    async fn check_room(&self) -> Result<()> {
        let waiting = self.records().await?.iter().filter(|found| found.record.state == State::Waiting).count();
        if waiting >= MAX_WAITING {
            return Err(fault::too_many_waiting(waiting));
        }
        Ok(())
    }

    async fn put(&self, id: JobId, record: Record, input: Large) -> Result<JobId> {
        let record_key = keys::record(id);
        let is_new = match input.parts.is_empty() {
            true => Guard::Absent(record_key.clone()),
            false => Guard::ModifiedAt(record_key.clone(), self.put_draft(id, &record, input.parts).await?),
        };
        let value = framed::write(&record_key, &record)?;
        let mut txn = Txn::new().when(is_new).put(record_key, value).put(keys::input(id), input.head);
        let Some(key) = record.key else {
            self.store.commit(txn).await?;
            return Ok(id);
        };
        let digest = record.digest.unwrap_or_default();
        let key_key = keys::idempotency(&key);
        txn = txn.when(Guard::Absent(key_key.clone())).put(key_key.clone(), framed::write(&key_key, &id)?);
        match self.store.commit(txn).await {
            Ok(_) => Ok(id),
            // Somebody else submitted it at the same time; a draft of ours goes with the old drafts.
            Err(StoreError::Refused { guard: Guard::Absent(refused) }) if refused == key_key => {
                let known = self.known(&key, &digest).await?;
                known.ok_or_else(|| Fault::new(Code::Conflict, "the same job is being removed").hint("submit it again"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Puts all that does not fit into the transaction that accepts the job.
    async fn put_draft(&self, id: JobId, record: &Record, parts: Vec<(String, Bytes)>) -> Result<Revision> {
        let key = keys::record(id);
        let draft = framed::write(&key, &Record { is_draft: true, ..record.clone() })?;
        let drafted = self.store.commit(Txn::new().when(Guard::Absent(key.clone())).put(key.clone(), draft)).await?;
        for (part_key, part) in parts {
            let is_draft = Guard::ModifiedAt(key.clone(), drafted);
            self.store.commit(Txn::new().when(is_draft).put(part_key, part)).await?;
        }
        Ok(drafted)
    }
}

impl NewJob {
    fn into_record(self, now_unix_ms: u64) -> Record {
        Record {
            kind: self.kind,
            subject: self.subject,
            who: self.who,
            digest: self.key.as_ref().map(|_| self.digest),
            key: self.key,
            state: State::Waiting,
            is_draft: false,
            node: None,
            attempts: 0,
            setbacks: Setbacks::default(),
            created_unix_ms: now_unix_ms,
            finished_unix_ms: None,
            progress: None,
        }
    }
}

fn check_names(new: &NewJob) -> Result<()> {
    let key = new.key.as_deref();
    let texts = [("kind", Some(&*new.kind)), ("subject", Some(&*new.subject)), ("who", Some(&*new.who)), ("key", key)];
    for (what, text) in texts {
        let text = text.unwrap_or_default();
        if text.len() > MAX_NAME_BYTES {
            return Err(fault::too_large(&format!("the job's {what}"), text.len(), MAX_NAME_BYTES));
        }
    }
    if new.kind.is_empty() || key.is_some_and(|key| key.is_empty() || key.contains('\0')) {
        return Err(
            Fault::invalid("a job has a kind, and its key is not empty").hint("name the kind, or leave out the key")
        );
    }
    Ok(())
}
