//! The one thread that writes: groups of transactions, one sync per group, answers after it.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use base::ByteSize;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::record::{self, Head, Index, LONGEST_INLINE, REVISION_KEY, Stored};
use super::values::ValueId;
use super::{Change, Data};
use crate::envelope::{self, WriteId};
use crate::{Entry, LeaseId, Result, Revision, StoreError, Txn, WatchEvent, entry};

/// The most transactions that share a sync.
const LARGEST_GROUP: usize = 256;

/// With less room than this nothing is put any more: sled must never meet a full disk, because it does not recover from
/// that while it is open.
const RESERVED_BYTES: u64 = 32 << 20;

/// With less than this nothing is deleted either, though that would give room: others take what is left at any moment, and
/// a group of transactions and the segment that it may begin must still fit.
const LAST_BYTES: u64 = 4 << 20;

/// How this store gets room.
const FREE_SPACE: &str = "free space on the disk that `[node] data_dir` is on";

/// What the writer is asked for.
pub(super) enum Request {
    /// Commits a transaction.
    Commit { txn: Txn, reply: oneshot::Sender<Result<Revision>> },
    /// Makes a lease known; `ended` is cancelled when it is revoked.
    Grant { lease: LeaseId, ended: CancellationToken, reply: oneshot::Sender<()> },
    /// Removes the keys of a lease.
    Revoke { lease: LeaseId, reply: oneshot::Sender<Result<Revision>> },
    /// Ends the writer.
    Stop { reply: oneshot::Sender<()> },
}

type Answer = (oneshot::Sender<Result<Revision>>, Result<Revision>);

/// Owns all that only changes with a commit.
pub(super) struct Writer {
    data: Arc<Data>,
    revision: Revision,
    leases: HashMap<LeaseId, Held>,
    files: HashMap<ValueId, usize>,
    group: Group,
    /// Keys of leases that ended while there was no room, even to delete.
    owed: BTreeSet<String>,
}

#[derive(Default)]
struct Held {
    keys: BTreeSet<String>,
    ended: CancellationToken,
}

/// What became of the group at hand so far.
#[derive(Default)]
struct Group {
    changes: Vec<Arc<Change>>,
    unused_files: Vec<ValueId>,
}

impl Writer {
    pub fn new(data: Arc<Data>, index: Index) -> Self {
        let held = |(lease, keys)| (lease, Held { keys, ended: CancellationToken::new() });
        let leases = index.leased.into_iter().map(held).collect();
        Self {
            data,
            revision: index.revision,
            leases,
            files: index.files,
            group: Group::default(),
            owed: BTreeSet::new(),
        }
    }

    /// Removes the keys of leases of an earlier process.
    pub fn remove_leased(&mut self) -> Result<()> {
        for lease in self.leases.keys().copied().collect::<Vec<_>>() {
            self.revoke(lease)?;
        }
        self.settle()
    }

    pub fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut group = vec![first];
            while group.len() < LARGEST_GROUP
                && let Ok(request) = requests.try_recv()
            {
                group.push(request);
            }
            if let Some(stopped) = self.write(group) {
                // Only now may whoever waits for the end open the folder again.
                drop((self, requests));
                let _gone = stopped.send(());
                return;
            }
        }
    }

    /// Does a group of requests; gives back the reply of a stop.
    fn write(&mut self, group: Vec<Request>) -> Option<oneshot::Sender<()>> {
        let data = self.data.clone();
        let gate = data.gate.write().unwrap_or_else(PoisonError::into_inner);
        let free = data.free();
        self.pay(free);
        let mut answers: Vec<Answer> = Vec::with_capacity(group.len());
        let mut stopped = None;
        for request in group {
            match request {
                Request::Commit { txn, reply } => answers.push((reply, self.commit(txn, free))),
                Request::Revoke { lease, reply } => answers.push((reply, self.end(lease, free))),
                Request::Grant { lease, ended, reply } => {
                    self.leases.insert(lease, Held { keys: BTreeSet::new(), ended });
                    let _gone = reply.send(());
                }
                Request::Stop { reply } => stopped = Some(reply),
            }
        }
        let settled = self.settle();
        drop(gate);
        for (reply, answer) in answers {
            let answer = answer.and_then(|revision| settled.clone().map(|()| revision));
            // Whoever does not wait any more has chosen not to know.
            let _gone = reply.send(answer);
        }
        stopped
    }

    /// Syncs what the group changed, then shows it.
    fn settle(&mut self) -> Result<()> {
        let group = std::mem::take(&mut self.group);
        if group.changes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.data.disk.sync() {
            // The kernel may have dropped what it could not write, so a second sync would prove nothing.
            self.break_down(format!("could not sync the disk: {error}"));
            return Err(StoreError::Unclear { why: error.to_string() });
        }
        if let Err(error) = self.data.acknowledged.write(self.revision) {
            tracing::warn!(%error, "could not note the last revision; damage would go unnoticed");
        }
        self.data.revision.store(self.revision.0, Ordering::Release);
        for change in group.changes {
            // Without a watch nobody receives it.
            let _nobody = self.data.changes.send(change);
        }
        for file in group.unused_files {
            if !self.files.contains_key(&file) {
                self.data.values.remove(&file);
            }
        }
        Ok(())
    }

    fn revoke(&mut self, lease: LeaseId) -> Result<Revision> {
        let Some(held) = self.leases.remove(&lease) else { return Ok(self.revision) };
        held.ended.cancel();
        self.apply(Txn { deletes: held.keys.into_iter().collect(), ..Txn::default() })
    }

    /// Ends a lease. Without room its keys go later: it must not be the one that makes sled meet a full disk.
    fn end(&mut self, lease: LeaseId, free: u64) -> Result<Revision> {
        let Some(error) = too_little(free, LAST_BYTES) else { return self.revoke(lease) };
        if let Some(held) = self.leases.remove(&lease) {
            held.ended.cancel();
            self.owed.extend(held.keys);
        }
        Err(error)
    }

    /// Removes the keys of leases that ended without room, as soon as there is some.
    fn pay(&mut self, free: u64) {
        if self.owed.is_empty() || too_little(free, LAST_BYTES).is_some() {
            return;
        }
        let deletes = std::mem::take(&mut self.owed).into_iter().collect();
        if let Err(error) = self.apply(Txn { deletes, ..Txn::default() }) {
            tracing::warn!(%error, "could not remove the keys of leases that ended; they go at the next start");
        }
    }

    fn commit(&mut self, txn: Txn, free: u64) -> Result<Revision> {
        if let Some(lease) = txn.puts.iter().filter_map(|put| put.lease).find(|id| !self.leases.contains_key(id)) {
            return Err(StoreError::LeaseLost { lease });
        }
        for guard in &txn.guards {
            let found = self.data.head(guard.key())?.map(|head| (head.created, head.modified));
            if !guard.holds(found) {
                return Err(StoreError::Refused { guard: guard.clone() });
            }
        }
        match no_room_for(&txn, free) {
            Some(error) => Err(error),
            None => self.apply(txn),
        }
    }

    /// Applies a transaction whose guards hold; durable only after [`Writer::settle`].
    fn apply(&mut self, txn: Txn) -> Result<Revision> {
        if let Some(why) = self.data.broken() {
            return Err(StoreError::Broken { why });
        }
        let revision = Revision(self.revision.0 + 1);
        let mut batch = sled::Batch::default();
        let mut events = Vec::with_capacity(txn.puts.len() + txn.deletes.len());
        let mut heads = Vec::with_capacity(events.capacity());
        for key in txn.deletes {
            let Some(old) = self.data.head(&key)? else { continue };
            batch.remove(key.as_bytes());
            heads.push((key.clone(), Some(old), None));
            events.push(WatchEvent::Deleted { key, revision });
        }
        for put in txn.puts {
            let old = self.data.head(&put.key)?;
            let created = old.map_or(revision, |old| old.created);
            let place = entry::place(put.key.as_bytes());
            let sealed = envelope::seal(&self.data.disk.seal, &place, &put.value, WriteId::random());
            let sealed = sealed.map_err(StoreError::failed)?;
            let stored = self.store_value(&sealed).map_err(no_value)?;
            let record = record::write(created, revision, put.lease, &stored);
            heads.push((put.key.clone(), old, Some(Head::read(&record))));
            batch.insert(put.key.as_bytes(), record);
            let entry = Entry { key: put.key, value: put.value, created, modified: revision, lease: put.lease };
            events.push(WatchEvent::Put(entry));
        }
        if events.is_empty() {
            return Ok(self.revision);
        }
        if heads.iter().any(|(_, _, new)| new.is_some_and(|head| head.file.is_some())) {
            // sled may write its log before it is asked to; the files that it refers to must be there by then.
            self.data.values.sync().map_err(no_value)?;
        }
        batch.insert(REVISION_KEY, &revision.0.to_le_bytes());
        if let Err(error) = self.data.disk.db.apply_batch(batch) {
            self.break_down(format!("sled could not write: {error}"));
            return Err(StoreError::Unclear { why: error.to_string() });
        }
        self.revision = revision;
        heads.iter().for_each(|(key, old, new)| self.track(key, old.as_ref(), new.as_ref()));
        self.group.changes.push(Arc::new(Change { revision, events }));
        Ok(revision)
    }

    fn store_value<'a>(&self, sealed: &'a Bytes) -> std::io::Result<Stored<'a>> {
        match sealed.len() <= LONGEST_INLINE {
            true => Ok(Stored::Inline(sealed)),
            false => self.data.values.store(sealed).map(Stored::InFile),
        }
    }

    /// Moves a key from what its old record referred to, to what its new one does.
    fn track(&mut self, key: &str, old: Option<&Head>, new: Option<&Head>) {
        if let Some(file) = new.and_then(|head| head.file) {
            *self.files.entry(file).or_default() += 1;
        }
        if let Some(file) = old.and_then(|head| head.file)
            && let Some(count) = self.files.get_mut(&file)
        {
            *count -= 1;
            if *count == 0 {
                self.files.remove(&file);
                self.group.unused_files.push(file);
            }
        }
        if let Some(held) = old.and_then(|head| head.lease).and_then(|lease| self.leases.get_mut(&lease)) {
            held.keys.remove(key);
        }
        if let Some(lease) = new.and_then(|head| head.lease) {
            self.leases.entry(lease).or_default().keys.insert(key.to_owned());
        }
    }

    fn break_down(&self, why: String) {
        tracing::error!(
            why,
            "the store takes no more writes until tmd is started again; make room first if the disk is full"
        );
        *self.data.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

impl Data {
    /// Why nothing is put at the moment.
    pub(super) fn no_room(&self) -> Option<StoreError> {
        too_little(self.free(), RESERVED_BYTES)
    }

    /// The room on the disk, as far as it tells.
    fn free(&self) -> u64 {
        let room = rustix::fs::statvfs(&self.disk.data);
        room.map_or(u64::MAX, |room| room.f_bavail.saturating_mul(room.f_frsize))
    }
}

/// Why a transaction is not even tried. One that only asks writes nothing, and one that only deletes may take what is kept
/// free for that.
fn no_room_for(txn: &Txn, free: u64) -> Option<StoreError> {
    match (txn.puts.is_empty(), txn.deletes.is_empty()) {
        (true, true) => None,
        (true, false) => too_little(free, LAST_BYTES),
        (false, _) => too_little(free, RESERVED_BYTES),
    }
}

fn too_little(free: u64, kept: u64) -> Option<StoreError> {
    let why = || format!("{} left on the disk, and {} are kept free", ByteSize(free), ByteSize(kept));
    (free < kept).then(|| StoreError::Full { why: why(), hint: FREE_SPACE })
}

/// What became of a transaction whose value could not be written to a file: nothing.
fn no_value(error: std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            StoreError::Full { why: error.to_string(), hint: FREE_SPACE }
        }
        _ => StoreError::failed(error),
    }
}

#[cfg(test)]
mod tests {
    use base::Fault;

    use super::*;

    #[test]
    fn a_disk_without_room_says_where_to_free_some_and_not_to_come_back_in_a_second() {
        assert!(too_little(RESERVED_BYTES, RESERVED_BYTES).is_none());
        let fault = Fault::from(too_little(4 << 20, RESERVED_BYTES).unwrap());
        assert_eq!(fault.message, "the store is full: 4 MiB left on the disk, and 32 MiB are kept free");
        assert_eq!((fault.hint.as_deref(), fault.retry_after), (Some(FREE_SPACE), None));
    }

    #[test]
    fn what_deletes_may_take_room_that_is_kept_from_puts_and_not_the_last_of_it() {
        let (puts, deletes) = (Txn::new().put("a", "b").delete("c"), Txn::new().delete("a"));
        let asks = Txn::new().when(crate::Guard::Absent("a".to_owned()));
        let refused = |free| [&puts, &deletes, &asks].map(|txn| no_room_for(txn, free).is_some());
        assert_eq!(refused(RESERVED_BYTES), [false, false, false]);
        assert_eq!(refused(RESERVED_BYTES - 1), [true, false, false]);
        assert_eq!(refused(LAST_BYTES), [true, false, false]);
        assert_eq!(refused(LAST_BYTES - 1), [true, true, false]);
    }

    #[test]
    fn a_store_that_broke_down_says_to_make_room_and_to_start_tmd_again() {
        let fault = Fault::from(StoreError::Broken { why: "could not sync the disk: no space left".into() });
        assert_eq!(fault.message, "the store takes no more writes: could not sync the disk: no space left");
        let hint = fault.hint.unwrap();
        assert!(hint.contains("make room") && hint.contains("start tmd again on this node"), "{hint}");
        assert_eq!(fault.retry_after, None);
    }
}
