//! What becomes of finished jobs: their record and result stay, as long as they are among the newest [`MAX_FINISHED`];
//! input and steps go at once, drafts that nobody completed after a while.

use std::cmp::Reverse;

use base::time::unix_ms;
use base::{Code, Fault, Result};
use store::{Guard, MAX_TXN_OPS, StoreError, Txn};

use crate::jobs::{Found, Jobs};
use crate::{JobId, MAX_FINISHED, fault, keys};

/// A draft that is older was left behind by a node that died while it accepted the job.
const OLDEST_DRAFT_MS: u64 = 3_600_000;

impl Jobs {
    /// Removes a finished job and its result.
    pub async fn remove(&self, id: JobId) -> Result<()> {
        let found = self.find(id).await?.ok_or_else(|| fault::unknown(id))?;
        if !found.record.state.is_final() {
            let fault = Fault::new(Code::Conflict, format!("job `{id}` is not finished"));
            return Err(fault.hint("cancel it first"));
        }
        self.erase(found).await
    }

    /// Tidies up after `id`, which is finished, and after others that are old. What fails here, whoever finishes the
    /// next job does.
    pub(crate) async fn tidy_after(&self, id: JobId) {
        if let Err(fault) = self.erase_work(id).await {
            tracing::debug!(job = %id, %fault, "could not remove the steps of a finished job");
        }
        if let Err(fault) = self.erase_old().await {
            tracing::debug!(%fault, "could not remove old jobs");
        }
    }

    async fn erase_old(&self) -> Result<()> {
        let records = self.records().await?;
        let now = unix_ms();
        let is_left_behind =
            |found: &Found| found.record.is_draft && now.saturating_sub(found.record.created_unix_ms) > OLDEST_DRAFT_MS;
        let (drafts, records): (Vec<_>, Vec<_>) = records.into_iter().partition(|found| found.record.is_draft);
        let mut finished: Vec<_> = records.into_iter().filter(|found| found.record.state.is_final()).collect();
        finished.sort_by_key(|found| Reverse(found.record.finished_unix_ms));
        let old = finished.into_iter().skip(MAX_FINISHED);
        for found in drafts.into_iter().filter(is_left_behind).chain(old) {
            self.erase(found).await?;
        }
        Ok(())
    }

    /// The record goes last, so that what an erasing that was cut short leaves is found again.
    async fn erase(&self, found: Found) -> Result<()> {
        self.erase_work(found.id).await?;
        self.erase_below(&keys::result(found.id)).await?;
        let record_key = keys::record(found.id);
        let mut txn = Txn::new().when(Guard::ModifiedAt(record_key.clone(), found.modified)).delete(record_key);
        if let Some(key) = found.record.key.filter(|_| !found.record.is_draft) {
            txn = txn.delete(keys::idempotency(&key));
        }
        match self.store.commit(txn).await {
            // Somebody else did it at the same time.
            Ok(_) | Err(StoreError::Refused { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn erase_work(&self, id: JobId) -> Result<()> {
        for place in [keys::input(id), keys::steps(id), keys::step_parts(id)] {
            self.erase_below(&place).await?;
        }
        Ok(())
    }

    async fn erase_below(&self, prefix: &str) -> Result<()> {
        let listing = self.store.list(prefix).await?;
        let damaged = listing.damaged.into_iter().map(|damaged| damaged.key);
        let keys: Vec<String> = listing.entries.into_iter().map(|entry| entry.key).chain(damaged).collect();
        for some in keys.chunks(MAX_TXN_OPS) {
            self.store.commit(some.iter().fold(Txn::new(), Txn::delete)).await?;
        }
        Ok(())
    }
}
