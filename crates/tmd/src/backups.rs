//! The cluster's backups: taken out of the store and the files of documents as one stream of frames, put back into an
//! empty cluster, and made by themselves where the configuration says so.
//!
//! What belongs to the moment is in none: members, elections, what is placed where, what nodes tell of their
//! journals and of what keys spent, and whatever ends with a lease.

mod export;
mod import;
mod picture;
pub mod scheduled;

use std::io::{self, Read};
use std::sync::Arc;

use ::research::BlobId;
use ::research::neighbours::Neighbours;
use api::FrameStream;
use backup::look::Pieces;
use base::{BoxFuture, Code, Fault, Result};
use bytes::Bytes;
use futures_util::stream;
use proto::backup::ImportResponse;
use store::Entry;
use tokio::sync::mpsc;

use crate::core::Core;
use crate::research::{HouseNeighbours, keeps_none};

/// Pieces of a backup that wait to be sent, or to be read.
const WAITING_PIECES: usize = 8;

/// What a running cluster makes of itself, which means nothing in another one.
const OF_THE_MOMENT: [&str; 8] =
    ["members/", "elections/", "placement", "canary", "settings/cookie", "backups/", "audit/", "spent/"];

/// Whether an entry belongs into a backup.
fn is_kept(entry: &Entry) -> bool {
    entry.lease.is_none() && is_kept_key(&entry.key)
}

fn is_kept_key(key: &str) -> bool {
    !OF_THE_MOMENT.iter().any(|known| match known.strip_suffix('/') {
        Some(_) => key.starts_with(known),
        None => key == *known,
    })
}

/// The backups of a node's cluster.
pub struct HouseBackups(pub Arc<Core>);

impl api::Backups for HouseBackups {
    fn export(&self) -> FrameStream {
        Box::pin(stream_of(exported(&self.0)))
    }

    fn may_import(&self) -> BoxFuture<'_, Result<ImportResponse>> {
        Box::pin(import::may_import(&self.0))
    }

    fn import(&self, frames: FrameStream) -> BoxFuture<'_, Result<ImportResponse>> {
        Box::pin(import::import(&self.0, frames))
    }
}

/// A file of a document: of this node's own, or of whichever node keeps documents.
async fn file_of(core: &Arc<Core>, id: BlobId) -> Result<Option<Bytes>> {
    match core.own_library() {
        Some(library) => library.file_of_anybody(id).await,
        None => neighbours(core)?.fetch(id).await,
    }
}

/// Keeps a file of a document here, or at a node that keeps documents.
async fn keep_file(core: &Arc<Core>, file: Bytes) -> Result<()> {
    match core.library() {
        Ok(library) => library.keep_file(file).await.map(drop),
        // Of files that a house without such a node cannot keep, none is acknowledged.
        Err(nowhere) => match neighbours(core)?.keep(vec![file]).await? {
            true => Ok(()),
            false => Err(nowhere),
        },
    }
}

/// Whether files of documents can be had: here, or by a node that keeps them.
fn has_files(core: &Arc<Core>) -> bool {
    let others = || HouseNeighbours(Arc::downgrade(core)).are_at_hand();
    core.own_library().is_some() || others().unwrap_or_default()
}

/// The nodes that keep documents, for one that does not. None at hand is no reason to say that the files are gone.
fn neighbours(core: &Arc<Core>) -> Result<HouseNeighbours> {
    match has_files(core) {
        true => Ok(HouseNeighbours(Arc::downgrade(core))),
        false => {
            let fault = keeps_none(core);
            Err(Fault::new(Code::Unavailable, fault.message).hint(fault.hint.unwrap_or_default()))
        }
    }
}

/// The pieces of a backup as they are made; it ends when the receiver is dropped.
fn exported(core: &Arc<Core>) -> mpsc::Receiver<Result<Bytes>> {
    let (pieces, made) = mpsc::channel(WAITING_PIECES);
    let core_of = core.clone();
    core.tasks.spawn(async move {
        let stop = core_of.stop.clone();
        let ended = stop.run_until_cancelled(export::export(&core_of, &pieces)).await;
        // Stopped or not: without its end it is no backup, whoever reads it.
        if let Some(Err(fault)) = ended {
            tracing::warn!(error = %fault.full_message(), "a backup broke off");
            // Whoever is gone does not want to know.
            let _ = pieces.send(Err(fault)).await;
        }
    });
    made
}

fn stream_of(made: mpsc::Receiver<Result<Bytes>>) -> impl futures_util::Stream<Item = Result<Bytes>> + Send {
    stream::unfold(made, |mut made| async move { made.recv().await.map(|piece| (piece, made)) })
}

/// The same as one stream of bytes, for a thread that may block.
fn bytes_of(mut made: mpsc::Receiver<Result<Bytes>>) -> impl Read + Send {
    Pieces::new(move || made.blocking_recv().transpose().map_err(|fault| io::Error::other(fault.full_message())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_moment_is_in_no_backup() {
        for key in ["members/nas", "elections/leader/epoch", "placement", "canary", "settings/cookie", "backups/last"] {
            assert!(!is_kept_key(key), "{key}");
        }
        for key in ["projects/about/a", "jobs/records/1", "settings/keys/laptop", "settings/mode", "placements"] {
            assert!(is_kept_key(key), "{key}");
        }
    }
}
