//! Owning a job: a key that ends with the node's lease, put while nobody else has one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Result;
use base::time::unix_ms;
use store::{Guard, Lease, LeaseId, Revision, StoreError, Txn, framed};

use crate::decide::{Decision, Facts, next_for, turns};
use crate::jobs::{Found, Jobs};
use crate::record::{Owner, Record};
use crate::{JobId, keys};

/// A job that this node owns, to be given to [`Jobs::run`]. Dropped instead, it is taken up again like that of a node
/// that died.
pub struct Claimed {
    pub(crate) id: JobId,
    pub(crate) record: Record,
    /// Since when this node owns it.
    pub(crate) owned_since: Revision,
    pub(crate) lease: Arc<Lease>,
    pub(crate) _hold: Hold,
}

impl Claimed {
    /// Which job.
    pub fn id(&self) -> JobId {
        self.id
    }
}

/// The jobs that this process works on, by which it knows an owner's key of its own that it has forgotten: one that was
/// put although the answer got lost, or could not be deleted.
#[derive(Default)]
pub(crate) struct Held(Mutex<HashSet<JobId>>);

impl Held {
    /// `None` if somebody in this process holds it already.
    fn hold(self: &Arc<Self>, id: JobId) -> Option<Hold> {
        let is_free = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        is_free.then(|| Hold { held: self.clone(), id })
    }

    fn contains(&self, id: JobId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }
}

/// Holds a job until it is dropped.
pub(crate) struct Hold {
    held: Arc<Held>,
    id: JobId,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// What a look at all jobs came to.
pub(crate) enum Look {
    /// One is ours now.
    Claimed(Box<Claimed>),
    /// None is to be had; one will be after that, unless something changes before.
    Nothing { until: Option<Duration> },
}

impl Jobs {
    /// Takes up a job of these kinds that waits or whose node is gone; `None` if there is none. The first part of their
    /// subjects with the fewest jobs under way comes first, then the oldest job. It is owned until it is run to its end
    /// or the lease ends.
    pub async fn claim_next(&self, kinds: &[&str], lease: &Arc<Lease>) -> Result<Option<Claimed>> {
        match self.look(kinds, lease).await? {
            Look::Claimed(claimed) => Ok(Some(*claimed)),
            Look::Nothing { .. } => Ok(None),
        }
    }

    pub(crate) async fn look(&self, kinds: &[&str], lease: &Arc<Lease>) -> Result<Look> {
        let owners = self.owners().await?;
        let cancels = self.store.list(keys::CANCELS).await?;
        let wishes: HashSet<JobId> =
            cancels.entries.iter().filter_map(|entry| keys::id_in(keys::CANCELS, &entry.key)).collect();
        let mut until: Option<Duration> = None;
        let mut all = self.records().await?;
        all.retain(|found| kinds.contains(&&*found.record.kind));
        let jobs: Vec<_> = all.iter().map(|found| (&*found.record.subject, owners.contains_key(&found.id))).collect();
        for found in turns(&jobs).into_iter().filter_map(|at| all.get(at)) {
            let id = found.id;
            if let Some(owner) = owners.get(&id)
                && owner.lease == Some(lease.id())
                && !self.held.contains(id)
            {
                self.let_go(id, owner.since).await?;
                continue;
            }
            let is_cancel_wanted = wishes.contains(&id);
            let facts = Facts { id, record: &found.record, has_owner: owners.contains_key(&id), is_cancel_wanted };
            match next_for(&facts, &self.node, unix_ms()) {
                Decision::Leave => {}
                Decision::Wait(wait) => until = Some(until.map_or(wait, |until| until.min(wait))),
                Decision::Finish(last) => self.finish_found(found, &last).await?,
                Decision::Claim(record) => {
                    if let Some(claimed) = self.claim(found, record, lease).await? {
                        return Ok(Look::Claimed(Box::new(claimed)));
                    }
                }
            }
        }
        Ok(Look::Nothing { until })
    }

    async fn claim(&self, found: &Found, record: Record, lease: &Arc<Lease>) -> Result<Option<Claimed>> {
        let id = found.id;
        let Some(hold) = self.held.hold(id) else { return Ok(None) };
        let (record_key, owner_key) = (keys::record(id), keys::owner(id));
        let owner = framed::write(&owner_key, &Owner { node: self.node.clone(), since_unix_ms: unix_ms() })?;
        let value = framed::write(&record_key, &record)?;
        let txn = Txn::new()
            .when(Guard::Absent(owner_key.clone()))
            .when(Guard::ModifiedAt(record_key.clone(), found.modified))
            .put_leased(owner_key, owner, lease.id())
            .put(record_key, value);
        match self.store.commit(txn).await {
            Ok(owned_since) => Ok(Some(Claimed { id, record, owned_since, lease: lease.clone(), _hold: hold })),
            Err(StoreError::Refused { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn finish_found(&self, found: &Found, last: &Record) -> Result<()> {
        match self.finish_unowned(found.id, found.modified, last).await {
            Ok(_) => {
                tracing::warn!(job = %found.id, kind = found.record.kind, state = ?last.state, "an orphaned job is ended");
                self.tidy_after(found.id).await;
                Ok(())
            }
            Err(StoreError::Refused { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes an owner's key of this node that nobody here stands behind.
    async fn let_go(&self, id: JobId, since: Revision) -> Result<()> {
        let key = keys::owner(id);
        match self.store.commit(Txn::new().when(Guard::CreatedAt(key.clone(), since)).delete(key)).await {
            Ok(_) | Err(StoreError::Refused { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn owners(&self) -> Result<HashMap<JobId, OwnerKey>> {
        let listing = self.store.list(keys::OWNERS).await?;
        // A damaged one counts too: it ends with its lease like the others.
        let of_damaged = listing.damaged.iter().map(|damaged| (&damaged.key, None, damaged.created));
        let entries = listing.entries.iter().map(|entry| (&entry.key, entry.lease, entry.created));
        let all = entries.chain(of_damaged);
        Ok(all
            .filter_map(|(key, lease, since)| Some((keys::id_in(keys::OWNERS, key)?, OwnerKey { lease, since })))
            .collect())
    }
}

/// An owner's key: which lease it ends with, and since when it is there.
struct OwnerKey {
    lease: Option<LeaseId>,
    since: Revision,
}
