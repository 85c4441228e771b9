//! A run of a job on this node, from the moment it is owned to what becomes of it.
//!
//! Every write of it carries the owner's key as a guard. The last one puts the result and the state, and deletes that
//! key, in one transaction; so what a run still has under way then is refused.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::time::unix_ms;
use base::{Fault, Result};
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::Value;
use serde_json::value::to_raw_value;
use store::{Guard, Lease, Revision, SharedStore, StoreError, Txn, WatchEvent, framed};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::claim::Claimed;
use crate::decide::{End, after};
use crate::large::Large;
use crate::patience::patiently;
use crate::progress::Progress;
use crate::record::{Record, Setbacks};
use crate::{Context, Input, JobId, Jobs, MAX_RESULT_BYTES, State, fault, keys, large};

/// Between two writes of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What the parts of a run share.
pub(crate) struct Run {
    pub id: JobId,
    pub store: SharedStore,
    /// As it was claimed.
    pub record: Record,
    pub started: Instant,
    /// Steps that were asked for.
    pub asked: AtomicUsize,
    /// Steps that were done and recorded, other than found.
    pub ran: AtomicU64,
    pub progress: watch::Sender<Option<Progress>>,
    pub ending: CancellationToken,
    why: OnceLock<Interruption>,
    owner: Guard,
    late_writes: Arc<AtomicU64>,
}

/// Why a run ends before its work does.
#[derive(Clone, Copy, Debug)]
enum Interruption {
    Cancelled,
    Lost,
    Stopped,
}

impl Jobs {
    /// Does the work of a claimed job and records what became of it, which is given back: `Waiting` where it failed for
    /// a passing reason, or `stop` was cancelled, and it is free again. A fault only where that could not be recorded:
    /// this node lost the job, or the store is away for too long.
    ///
    /// The work is dropped where it stands when the job is cancelled, lost or stopped. Dropping the future leaves the
    /// job to whoever claims it next.
    pub async fn run<W, F>(&self, claimed: Claimed, stop: &CancellationToken, work: W) -> Result<State>
    where
        W: FnOnce(Context, Input) -> F,
        F: Future<Output = Result<Value>>,
    {
        let Claimed { id, record, owned_since, lease, _hold } = claimed;
        let run = Arc::new(Run {
            id,
            store: self.store.clone(),
            record,
            started: Instant::now(),
            asked: AtomicUsize::new(0),
            ran: AtomicU64::new(0),
            progress: watch::Sender::new(None),
            ending: CancellationToken::new(),
            why: OnceLock::new(),
            owner: Guard::CreatedAt(keys::owner(id), owned_since),
            late_writes: self.late_writes.clone(),
        });
        let _ending = run.ending.clone().drop_guard();
        let ended = {
            let work = async {
                let result = work(Context(run.clone()), run.input().await?).await?;
                run.put_result_parts(&result).await
            };
            tokio::select! {
                biased;
                why = run.interrupted(&lease, stop) => Err(why),
                () = run.write_progress() => Err(Interruption::Lost),
                result = AssertUnwindSafe(work).catch_unwind() => {
                    Ok(result.unwrap_or_else(|_panic| Err(fault::panicked(id))))
                }
            }
        };
        // Work may end by the very fault that says that the job is lost.
        self.conclude(&run, run.why.get().copied().map_or(ended, Err)).await
    }

    async fn conclude(&self, run: &Run, ended: Result<Result<Large>, Interruption>) -> Result<State> {
        let (mut end, result) = match ended {
            Err(why) => {
                run.interrupt(why);
                let end = match why {
                    Interruption::Lost => return Err(fault::lost(run.id)),
                    Interruption::Cancelled => End::Cancelled,
                    Interruption::Stopped => End::Released,
                };
                (end, None)
            }
            Ok(Err(fault)) => (End::Failed(fault), None),
            Ok(Ok(result)) => (End::Done, Some(result.head)),
        };
        loop {
            let record = run.record_after(&end);
            match run.end(&record, result.clone().filter(|_| record.state == State::Done), &end).await {
                Ok(_) => {}
                // It shall not wait for another run.
                Err(StoreError::Refused { guard: Guard::Absent(_) }) => {
                    end = End::Cancelled;
                    continue;
                }
                // Ours may have happened, although the answer got lost.
                Err(StoreError::Refused { .. }) if self.has_become(run.id, &record).await? => {}
                Err(error) => return Err(run.explain(error)),
            }
            tracing::info!(job = %run.id, kind = record.kind, state = ?record.state, "a run of a job ended");
            if record.state.is_final() {
                self.tidy_after(run.id).await;
            }
            return Ok(record.state);
        }
    }

    /// Whether `record` is how this very attempt ended.
    async fn has_become(&self, id: JobId, record: &Record) -> Result<bool> {
        let found = self.find(id).await?;
        Ok(found.is_some_and(|is| (is.record.attempts, is.record.state) == (record.attempts, record.state.clone())))
    }
}

impl Run {
    /// Commits `txn` if this node still owns the job; waits for a store that is away.
    pub async fn commit(&self, mut txn: Txn) -> store::Result<Revision> {
        // First, so that it is the one that a refusal names.
        txn.guards.insert(0, self.owner.clone());
        patiently(StoreError::is_transient, || self.store.commit(txn.clone())).await
    }

    pub async fn put_parts(&self, parts: Vec<(String, Bytes)>) -> Result<()> {
        for (key, part) in parts {
            self.commit(Txn::new().put(key, part)).await.map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    /// With the first step that a run records, what went wrong before is over: that goes with `txn`.
    pub fn with_advance(&self, txn: Txn) -> Result<Txn> {
        if self.has_advanced() {
            return Ok(txn);
        }
        let key = keys::record(self.id);
        let setbacks = Setbacks { has_advanced: true, ..Setbacks::default() };
        let record = Record { setbacks, ..self.record.clone() };
        let value = framed::write(&key, &record)?;
        Ok(txn.put(key, value))
    }

    /// The fault for a write that failed. One that was refused for the owner's key ends the run.
    pub fn explain(&self, error: StoreError) -> Fault {
        if !matches!(&error, StoreError::Refused { guard } if *guard == self.owner) {
            return error.into();
        }
        self.late_writes.fetch_add(1, Ordering::Relaxed);
        self.interrupt(Interruption::Lost);
        tracing::warn!(job = %self.id, "a late write to a job was refused");
        fault::lost(self.id)
    }

    /// Why steps end, once they do.
    pub fn why_it_ended(&self) -> Fault {
        match self.why.get() {
            Some(Interruption::Cancelled) => fault::cancelled(self.id),
            Some(Interruption::Lost) => fault::lost(self.id),
            Some(Interruption::Stopped) | None => fault::over(self.id),
        }
    }

    fn interrupt(&self, why: Interruption) {
        // The first reason counts.
        let _earlier = self.why.set(why);
        self.ending.cancel();
    }

    async fn interrupted(&self, lease: &Lease, stop: &CancellationToken) -> Interruption {
        tokio::select! {
            biased;
            () = self.ending.cancelled() => self.why.get().copied().unwrap_or(Interruption::Stopped),
            () = lease.lost() => Interruption::Lost,
            () = self.cancel_is_wanted() => Interruption::Cancelled,
            () = stop.cancelled() => Interruption::Stopped,
        }
    }

    async fn cancel_is_wanted(&self) {
        let mut watch = self.store.watch(&keys::cancel(self.id), None);
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Reset(listing) if listing.entries.is_empty() && listing.damaged.is_empty() => {}
                WatchEvent::Deleted { .. } => {}
                WatchEvent::Reset(_) | WatchEvent::Put(_) | WatchEvent::Damaged(_) => return,
            }
        }
        // The store was closed: nobody can want anything any more.
        std::future::pending().await
    }

    /// Ends only when this node has lost the job.
    async fn write_progress(&self) {
        let (mut news, key) = (self.progress.subscribe(), keys::progress(self.id));
        while news.changed().await.is_ok() {
            let Ok(value) = framed::write(&key, &*news.borrow_and_update()) else { continue };
            let written = self.store.commit(Txn::new().when(self.owner.clone()).put(key.clone(), value)).await;
            match written.map_err(|error| self.explain(error)) {
                Err(fault) if self.ending.is_cancelled() => {
                    return tracing::debug!(job = %self.id, %fault, "lost a job");
                }
                Err(fault) => tracing::debug!(job = %self.id, %fault, "could not write progress; the next one follows"),
                Ok(_) => {}
            }
            tokio::time::sleep(PROGRESS_EVERY).await;
        }
    }

    async fn input(&self) -> Result<Input> {
        let key = keys::input(self.id);
        let read = patiently(|fault: &Fault| fault.code.is_retriable(), || large::read(&*self.store, &key)).await?;
        read.map(Input).ok_or_else(|| Fault::internal(format!("`{key}` is missing")))
    }

    /// Puts all of a result that does not fit into the transaction that ends the job.
    async fn put_result_parts(&self, value: &Value) -> Result<Large> {
        let json = to_raw_value(value).map_err(|error| Fault::internal("could not write the result").because(error))?;
        if json.get().len() > MAX_RESULT_BYTES {
            return Err(fault::too_large("the result of the job", json.get().len(), MAX_RESULT_BYTES));
        }
        let key = keys::result(self.id);
        let mut large = large::cut(&key, &format!("{key}/{:016x}", fastrand::u64(..)), &json)?;
        self.put_parts(std::mem::take(&mut large.parts)).await?;
        Ok(large)
    }

    fn has_advanced(&self) -> bool {
        self.ran.load(Ordering::Relaxed) > 0
    }

    fn record_after(&self, end: &End) -> Record {
        let mut record = self.record.clone();
        if self.has_advanced() {
            record.setbacks = Setbacks::default();
        }
        let mut record = after(&record, end, unix_ms(), fastrand::f64());
        if record.state.is_final() {
            record.progress = self.progress.borrow().clone();
        }
        record
    }

    /// Puts what became of the job and gives it out of hand.
    async fn end(&self, record: &Record, result: Option<Bytes>, end: &End) -> store::Result<Revision> {
        let (record_key, cancel_key) = (keys::record(self.id), keys::cancel(self.id));
        let unwritable = |error: framed::FramedError| StoreError::Failed { why: error.to_string() };
        let value = framed::write(&record_key, record).map_err(unwritable)?;
        let mut txn = Txn::new().put(record_key, value).delete(keys::owner(self.id));
        txn = match record.state.is_final() {
            true => txn.delete(cancel_key).delete(keys::progress(self.id)),
            false => txn.when(Guard::Absent(cancel_key)),
        };
        if let Some(result) = result {
            txn = txn.put(keys::result(self.id), result);
        }
        match end {
            // A node that stops does not wait; the end of its lease has the same effect.
            End::Released => self.store.commit(txn.when(self.owner.clone())).await,
            _ => self.commit(txn).await,
        }
    }
}
