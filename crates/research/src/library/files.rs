//! The files of this node beside the records: those that nothing names any more go, those that are missing come back.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::Result;

use super::Library;
use crate::blobs::Blobs;
use crate::blocking;
use crate::index::Snapshot;
use crate::names::BlobId;
use crate::shelf::Known;

/// A file that nothing has named for so long goes. Before, it may belong to a document that is being added, or to a
/// search that began when it was named.
pub const FILES_SWEPT_AFTER: Duration = Duration::from_secs(3600);

/// Since when files are known to be named by nothing.
pub type Unnamed = Arc<Mutex<HashMap<BlobId, Instant>>>;

impl Library {
    /// Takes files away that nothing has named for so long; gives how many.
    pub async fn sweep_files(&self, unnamed_for: Duration) -> Result<usize> {
        let (known, snapshot) = (self.known.load_full(), self.snapshots.load_full());
        if !self.has_seen_records() {
            return Ok(0);
        }
        if !known.unreadable().is_empty() {
            // A newer release may have written them, and what they name is needed.
            tracing::warn!("no files are swept: there are records that this release cannot read");
            return Ok(0);
        }
        let (blobs, unnamed) = (self.blobs.clone(), self.unnamed.clone());
        blocking(move || sweep(&blobs, &named(&known, snapshot.as_deref()), &unnamed, unnamed_for)).await
    }

    /// Fetches files that records name and that are not here, so that any node can be off; gives how many came.
    pub async fn fetch_files(&self) -> Result<usize> {
        let (known, blobs) = (self.known.load_full(), self.blobs.clone());
        let missing = blocking(move || Ok(named(&known, None).into_iter().filter(|id| !blobs.has(*id)).collect()));
        let missing: Vec<BlobId> = missing.await?;
        let mut fetched = 0;
        for id in missing {
            // Whoever has it may be off; it is asked for again another time.
            if let Ok(Some(file)) = self.neighbours.fetch(id).await {
                self.keep_file(file).await?;
                fetched += 1;
            }
        }
        Ok(fetched)
    }

    /// Waits until the records have been seen.
    pub(super) async fn until_seen(&self) {
        // It ends with an error when its sender goes, which is this node's.
        let _ = self.progress.seen_records.subscribe().wait_for(|seen| *seen).await;
    }

    pub(super) fn has_seen_records(&self) -> bool {
        *self.progress.seen_records.borrow()
    }
}

/// What records name, and what is found until the index has caught up with them.
fn named(known: &Known, snapshot: Option<&Snapshot>) -> HashSet<BlobId> {
    let records = known.all_documents().flat_map(|one| [Some(one.value.original), one.value.text()]);
    let indexed = snapshot.into_iter().flat_map(Snapshot::documents).map(|one| one.document.text());
    records.chain(indexed).flatten().collect()
}

fn sweep(
    blobs: &Blobs,
    named: &HashSet<BlobId>,
    unnamed: &Mutex<HashMap<BlobId, Instant>>,
    unnamed_for: Duration,
) -> Result<usize> {
    let now = Instant::now();
    let mut unnamed = unnamed.lock().unwrap_or_else(PoisonError::into_inner);
    let before = std::mem::take(&mut *unnamed);
    let mut swept = 0;
    for id in blobs.all()?.into_iter().filter(|id| !named.contains(id)) {
        let since = before.get(&id).copied().unwrap_or(now);
        if now.duration_since(since) >= unnamed_for && blobs.remove_older(id, unnamed_for)? {
            swept += 1;
        } else {
            unnamed.insert(id, since);
        }
    }
    Ok(swept)
}
