//! Elections on top of any [`Store`]: candidates queue up by creation, the oldest one leads.
//!
//! `elections/NAME/candidates/LEASE` ends with the candidate's lease and holds `epoch u64 · value`; the epoch is 0 until
//! the candidate leads. `elections/NAME/epoch` outlives all of them. Each leader writes an epoch above that, above its
//! key's create revision, and above the floor that its node remembers, in one transaction before it acts. So epochs grow
//! even where etcd came back from an older snapshot and its revisions went back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Epoch;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::lease::LeaseView;
use crate::{Damaged, Entry, Guard, Lease, Result, Revision, SharedStore, Store, StoreError, Txn, WatchEvent};

/// Between attempts of a candidate while the store does not answer.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// What it campaigned with.
    pub value: Bytes,
    /// Its fencing number.
    pub epoch: Epoch,
}

/// A leadership that was won. It lasts until it is resigned or its lease ends.
pub struct Leadership {
    /// Its fencing number: above that of every leadership before.
    pub epoch: Epoch,
    election: String,
    key: String,
    created: Revision,
    /// When it took office: the leader's key and the election's epoch were put in one transaction.
    taken: Revision,
    lease: LeaseView,
    store: SharedStore,
}

impl Leadership {
    /// The guard that every write of this leader carries: it does not hold once another one leads, nor in a store that
    /// was restored to a time before this one took office, where the key may be there as a mere candidate's.
    pub fn guard(&self) -> Guard {
        Guard::ModifiedAt(self.key.clone(), self.taken)
    }

    /// When to step down unless it has moved on by then: before the lease can have ended elsewhere.
    pub fn must_stop_at(&self) -> Instant {
        self.lease.good_until()
    }

    /// Waits until the leadership is over: the lease ended, or what was written when it began is not what is there,
    /// because somebody deleted or damaged it, told of a higher epoch, or restored the store to a time before it.
    pub async fn lost(&self) {
        tokio::select! {
            () = self.lease.lost() => {}
            () = self.overwritten() => {}
        }
    }

    async fn overwritten(&self) {
        let mut watch = self.store.watch(&all_of(&self.election), None);
        let (mut found, epoch_key) = (BTreeMap::new(), epoch_of(&self.election));
        while let Some(event) = watch.next().await {
            apply(&mut found, event);
            let is_ours = |key: &String| found.get(key).is_some_and(|at: &At| at.modified == self.taken);
            if !is_ours(&self.key) || !is_ours(&epoch_key) {
                return;
            }
        }
    }

    /// Lets the next candidate lead at once.
    pub async fn resign(self) -> Result<()> {
        withdraw(&*self.store, self.key.clone(), self.created).await
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").field("epoch", &self.epoch).field("key", &self.key).finish_non_exhaustive()
    }
}

impl dyn Store {
    /// Waits until this candidate leads. `floor` is the highest epoch that this node has seen.
    ///
    /// Goes on while the store is away; ends with [`StoreError::LeaseLost`] when the lease does. Dropping the future
    /// leaves the candidacy in place: campaign again with the same lease, or [`withdraw`](Self::withdraw).
    pub async fn campaign(
        self: &Arc<Self>,
        election: &str,
        value: Bytes,
        lease: &Lease,
        floor: Epoch,
    ) -> Result<Leadership> {
        let candidate = Candidate { store: self.clone(), election, key: key_of(election, lease), value, lease };
        let created = candidate.stand().await?;
        candidate.wait_for_turn(created).await?;
        let (epoch, taken) = candidate.take_office(created, floor).await?;
        let Candidate { key, .. } = candidate;
        let (election, lease, store) = (election.to_owned(), lease.view(), self.clone());
        Ok(Leadership { epoch, election, key, created, taken, lease, store })
    }

    /// Takes back a candidacy (or leadership) of this lease.
    pub async fn withdraw(&self, election: &str, lease: &Lease) -> Result<()> {
        self.commit(Txn::new().delete(key_of(election, lease))).await.map(drop)
    }

    /// Tells of an epoch that somebody saw: whoever leads on a lower one, because the store was restored to a time before
    /// it, takes office anew above it.
    pub async fn raise_epoch(&self, election: &str, floor: Epoch) -> Result<()> {
        let epoch_key = epoch_of(election);
        let (last, unchanged) = last_epoch(self, &epoch_key).await?;
        if last >= floor.0 {
            return Ok(());
        }
        self.commit(Txn::new().when(unchanged).put(epoch_key, write_epoch(floor))).await.map(drop)
    }

    /// Who leads now; `None` where nobody does, or the next one has not taken office yet.
    pub async fn leader(&self, election: &str) -> Result<Option<Leader>> {
        let listing = self.list(&candidates_of(election)).await?;
        let Some(oldest) = listing.entries.iter().min_by_key(|entry| entry.created) else { return Ok(None) };
        let damaged_is_older = listing.damaged.iter().any(|damaged| damaged.created < oldest.created);
        Ok(read_leader(&oldest.value).filter(|_| !damaged_is_older))
    }
}

struct Candidate<'a> {
    store: SharedStore,
    election: &'a str,
    key: String,
    value: Bytes,
    lease: &'a Lease,
}

impl Candidate<'_> {
    /// Creates the candidate's key, or finds the one of an earlier attempt.
    async fn stand(&self) -> Result<Revision> {
        loop {
            let txn = Txn::new().when(Guard::Absent(self.key.clone()));
            let txn = txn.put_leased(self.key.clone(), write_leader(Epoch(0), &self.value), self.lease.id());
            let stood = match self.store.commit(txn).await {
                Err(StoreError::Refused { .. }) => self.created().await,
                stood => stood.map(Some),
            };
            match stood {
                Ok(Some(created)) => return Ok(created),
                Ok(None) => {}
                Err(error) => self.pause_after(error).await?,
            }
        }
    }

    async fn created(&self) -> Result<Option<Revision>> {
        match self.store.get(&self.key).await {
            Ok(entry) => Ok(entry.map(|entry| entry.created)),
            Err(StoreError::Damaged(damaged)) => Ok(Some(damaged.created)),
            Err(error) => Err(error),
        }
    }

    /// Waits until every older candidate is gone. Whoever is the oldest once stays it while its key exists.
    async fn wait_for_turn(&self, created: Revision) -> Result<()> {
        let mut watch = self.store.watch(&candidates_of(self.election), None);
        let mut candidates = BTreeMap::new();
        loop {
            tokio::select! {
                event = watch.next() => match event {
                    Some(event) => apply(&mut candidates, event),
                    None => return Err(StoreError::Unavailable { why: "the store was closed".to_owned() }),
                },
                () = self.lease.lost() => return Err(self.lease.view().lost_error()),
            }
            if candidates.get(&self.key).is_none_or(|at: &At| at.created != created) {
                return Err(self.lease.view().lost_error());
            }
            if candidates.values().all(|other| other.created >= created) {
                return Ok(());
            }
        }
    }

    /// Settles on an epoch and writes it, while the key still is what it was.
    async fn take_office(&self, created: Revision, floor: Epoch) -> Result<(Epoch, Revision)> {
        loop {
            match self.try_take_office(created, floor).await {
                Ok(taken) => return Ok(taken),
                Err(StoreError::Refused { guard: Guard::CreatedAt(..) }) => return Err(self.lease.view().lost_error()),
                Err(StoreError::Refused { .. }) => {}
                Err(error) => self.pause_after(error).await?,
            }
        }
    }

    async fn try_take_office(&self, created: Revision, floor: Epoch) -> Result<(Epoch, Revision)> {
        let epoch_key = epoch_of(self.election);
        let (last, unchanged) = last_epoch(&*self.store, &epoch_key).await?;
        let epoch = Epoch(created.0.max(last + 1).max(floor.0 + 1));
        let txn = Txn::new()
            .when(Guard::CreatedAt(self.key.clone(), created))
            .when(unchanged)
            .put(epoch_key, write_epoch(epoch))
            .put_leased(self.key.clone(), write_leader(epoch, &self.value), self.lease.id());
        self.store.commit(txn).await.map(|taken| (epoch, taken))
    }

    /// Waits a moment where `error` may pass, else gives it back.
    async fn pause_after(&self, error: StoreError) -> Result<()> {
        if !error.is_transient() {
            return Err(error);
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_EVERY) => Ok(()),
            () = self.lease.lost() => Err(self.lease.view().lost_error()),
        }
    }
}

async fn withdraw(store: &dyn Store, key: String, created: Revision) -> Result<()> {
    let txn = Txn::new().when(Guard::CreatedAt(key.clone(), created)).delete(key);
    match store.commit(txn).await {
        // Somebody else holds it by now, or nobody does: either way it is not ours any more.
        Ok(_) | Err(StoreError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The last epoch that was told, and what holds while it is the last. A damaged one counts as none.
async fn last_epoch(store: &dyn Store, epoch_key: &str) -> Result<(u64, Guard)> {
    match store.get(epoch_key).await {
        Ok(None) => Ok((0, Guard::Absent(epoch_key.to_owned()))),
        Ok(Some(entry)) => Ok((read_epoch(&entry.value), Guard::ModifiedAt(epoch_key.to_owned(), entry.modified))),
        Err(StoreError::Damaged(damaged)) => Ok((0, Guard::ModifiedAt(epoch_key.to_owned(), damaged.modified))),
        Err(error) => Err(error),
    }
}

/// The revisions of a key.
#[derive(Clone, Copy)]
struct At {
    created: Revision,
    modified: Revision,
}

fn apply(found: &mut BTreeMap<String, At>, event: WatchEvent) {
    let of_entry = |entry: Entry| (entry.key, At { created: entry.created, modified: entry.modified });
    let of_damaged = |damaged: Damaged| (damaged.key, At { created: damaged.created, modified: damaged.modified });
    match event {
        WatchEvent::Reset(listing) => {
            let entries = listing.entries.into_iter().map(of_entry);
            *found = entries.chain(listing.damaged.into_iter().map(of_damaged)).collect();
        }
        WatchEvent::Put(entry) => found.extend([of_entry(entry)]),
        WatchEvent::Damaged(damaged) => found.extend([of_damaged(damaged)]),
        WatchEvent::Deleted { key, .. } => drop(found.remove(&key)),
    }
}

fn all_of(election: &str) -> String {
    format!("elections/{election}/")
}

fn epoch_of(election: &str) -> String {
    format!("elections/{election}/epoch")
}

fn candidates_of(election: &str) -> String {
    format!("elections/{election}/candidates/")
}

fn key_of(election: &str, lease: &Lease) -> String {
    format!("{}{}", candidates_of(election), lease.id())
}

fn write_leader(epoch: Epoch, value: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(8 + value.len());
    bytes.put_u64_le(epoch.0);
    bytes.put_slice(value);
    bytes.freeze()
}

fn read_leader(stored: &Bytes) -> Option<Leader> {
    let mut value = stored.clone();
    let epoch = Epoch(value.try_get_u64_le().ok()?);
    (epoch.0 > 0).then_some(Leader { value, epoch })
}

fn write_epoch(epoch: Epoch) -> Bytes {
    Bytes::copy_from_slice(&epoch.0.to_le_bytes())
}

fn read_epoch(mut stored: &[u8]) -> u64 {
    stored.try_get_u64_le().unwrap_or(0)
}
