//! The server of vectors beside this node: kept in step while this node writes, and asked for candidates by searches.

use std::sync::{Arc, Weak};
use std::time::Duration;

use base::Result;
use store::{Leadership, Revision};

use super::Library;
use crate::blocking;
use crate::index::Snapshot;
use crate::outside::aside::{Aside, behind};
use crate::outside::step::{Here, There, look, miscounted};
use crate::outside::{Filled, Server, Standing, collection_of};
use crate::shelf::Known;
use crate::vectors;

/// Between two passes. What was added meanwhile is found by each node's own index.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// After a pass that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// So many passes without a change later the points are counted again: a server may lose some.
const COUNTED_EVERY: u32 = 30;

/// What the writer knows of the server.
#[derive(Default)]
struct Kept {
    /// In which of its collections.
    collection: String,
    /// `None`: it is to be looked at.
    there: Option<There>,
    /// The wish to compare that was done last.
    asked_ms: u64,
    /// What the last pass saw; nothing is to be done while it is the same.
    seen: (Revision, Weak<Snapshot>, usize),
    /// Passes since the points were counted.
    uncounted: u32,
    /// Whether collections that nobody uses any more were deleted.
    is_tidy: bool,
}

impl Library {
    /// What this node searches by now, for people.
    pub(super) fn index_now(&self) -> String {
        let Some(server) = &self.server else { return "embedded".to_owned() };
        let (known, address) = (self.known.load(), server.address());
        match &known.standing().filled {
            _ if known.standing().unwanted => format!("embedded; Qdrant at {address} is not wanted now"),
            Some(filled) if filled.collection == self.outside_collection(&**server) => format!("Qdrant at {address}"),
            _ => format!("embedded, until Qdrant at {address} is filled"),
        }
    }

    /// The server's collection of the vectors in use.
    pub(super) fn outside_collection(&self, server: &dyn Server) -> String {
        collection_of(server.prefix(), self.vectors.in_use().as_ref().map(vectors::Vectors::embedder))
    }

    /// The server for a search of `snapshot`, and what is to be said of it.
    pub(super) async fn aside(&self, snapshot: &Arc<Snapshot>) -> Result<(Option<Aside>, String)> {
        let Some(server) = &self.server else { return Ok((None, String::new())) };
        let (known, address) = (self.known.load_full(), server.address());
        let Standing { unwanted, filled, .. } = known.standing().clone();
        if unwanted {
            return Ok((None, String::new()));
        }
        let collection = self.outside_collection(&**server);
        let Some(filled) = filled.filter(|filled| filled.collection == collection) else {
            return Ok((None, format!("; Qdrant at {address} is being filled")));
        };
        let snapshot = snapshot.clone();
        Ok(match blocking(move || Ok(behind(&filled, &known, &snapshot))).await? {
            Some(behind) => {
                let aside = Aside::new(server.clone(), collection, behind);
                (Some(aside), format!("; candidates out of Qdrant at {address}"))
            }
            None => (None, format!("; Qdrant at {address} lacks many documents")),
        })
    }

    /// Keeps the server in step, as long as this node leads.
    pub(super) async fn keep_outside(&self, leadership: &Leadership) {
        let Some(server) = &self.server else { return std::future::pending().await };
        let mut kept = Kept::default();
        let mut told = String::new();
        loop {
            let pause = match self.pass(&**server, leadership, &mut kept).await {
                Ok(()) => {
                    told.clear();
                    PASS_EVERY
                }
                Err(fault) => {
                    // After a call that failed nobody knows what came of it.
                    kept.there = None;
                    let message = fault.full_message();
                    if told != message {
                        tracing::warn!(error = %fault, "could not keep the server of vectors in step");
                        told = message;
                    }
                    AGAIN_AFTER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn pass(&self, server: &dyn Server, leadership: &Leadership, kept: &mut Kept) -> Result<()> {
        if !self.has_seen_records() {
            return Ok(());
        }
        let known = self.known.load_full();
        let Some(snapshot) = self.snapshots.load_full() else { return Ok(()) };
        if known.standing().unwanted {
            return empty(server, kept).await;
        }
        let collection = self.outside_collection(server);
        if kept.collection != collection || kept.asked_ms < known.standing().asked_ms {
            *kept = Kept { collection, asked_ms: known.standing().asked_ms, ..Kept::default() };
        }
        let mut there = match kept.there.take() {
            Some(there) => there,
            None => self.look(server, leadership, kept).await?,
        };
        let vectors = self.vectors.in_use().map(|vectors| vectors.snapshot());
        let count = vectors.as_ref().map_or(0, |vectors| vectors.len());
        let is_same = kept.seen.0 == known.revision()
            && kept.seen.1.as_ptr() == Arc::as_ptr(&snapshot)
            && kept.seen.2 == count
            && !there.has_condemned();
        kept.uncounted += 1;
        if !is_same || kept.uncounted >= COUNTED_EVERY {
            let here = Here { known, snapshot, vectors, blobs: self.blobs.clone() };
            let pass = there.catch_up(server, &kept.collection, &here).await?;
            let found = server.count(&kept.collection).await?;
            if found != there.count() {
                self.write_filled(leadership, None).await?;
                return Err(miscounted(server, found, there.count()));
            }
            let filled = Filled {
                collection: kept.collection.clone(),
                upto: pass.upto.0,
                points: found,
                asked_ms: kept.asked_ms,
            };
            if is_news(&here.known, &filled) {
                self.write_filled(leadership, Some(filled)).await?;
            }
            kept.seen = (here.known.revision(), Arc::downgrade(&here.snapshot), count);
            kept.uncounted = 0;
        }
        kept.there = Some(there);
        tidy(server, kept).await
    }

    /// Looks at all that the server has. Where that is not what was known to be in it, nobody relies on it any more.
    async fn look(&self, server: &dyn Server, leadership: &Leadership, kept: &mut Kept) -> Result<There> {
        let dims = self.vectors.in_use().map(|vectors| vectors.embedder().dims);
        server.make(&kept.collection, dims).await?;
        let there = look(server, &kept.collection).await?;
        kept.seen = Default::default();
        let standing = self.known.load().standing().clone();
        if standing.filled.is_some_and(|filled| filled.collection != kept.collection || filled.points != there.count())
        {
            self.write_filled(leadership, None).await?;
        }
        Ok(there)
    }

    /// Writes down what is in the server. Where somebody changed their mind meanwhile, the next pass sees it.
    async fn write_filled(&self, leadership: &Leadership, filled: Option<Filled>) -> Result<()> {
        let (standing, had) = self.shelf.standing().await?;
        if standing.unwanted || standing.filled == filled {
            return Ok(());
        }
        let standing = Standing { filled, ..standing };
        self.shelf.put_standing(&standing, had, Some(leadership.guard())).await.map(drop)
    }
}

/// Whether it is worth writing down: not each record that is no document's.
fn is_news(known: &Known, filled: &Filled) -> bool {
    let Some(before) = &known.standing().filled else { return true };
    let is_same = Filled { upto: before.upto, ..filled.clone() } == *before;
    !is_same || known.all_documents().any(|record| filled.has(record.at) && !before.has(record.at))
}

/// Deletes everything, where the server is not wanted.
async fn empty(server: &dyn Server, kept: &mut Kept) -> Result<()> {
    kept.there = None;
    kept.collection.clear();
    kept.is_tidy = false;
    for collection in server.collections().await? {
        tracing::info!(collection, "a collection of the server of vectors is deleted: it is not wanted now");
        server.delete(&collection).await?;
    }
    Ok(())
}

/// Deletes the collections of embedders that are not in use any more.
async fn tidy(server: &dyn Server, kept: &mut Kept) -> Result<()> {
    if kept.is_tidy {
        return Ok(());
    }
    for collection in server.collections().await? {
        if collection != kept.collection {
            tracing::info!(
                collection,
                "a collection of the server of vectors is deleted: its vectors are not used now"
            );
            server.delete(&collection).await?;
        }
    }
    kept.is_tidy = true;
    Ok(())
}
