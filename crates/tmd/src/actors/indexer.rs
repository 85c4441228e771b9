//! The actor `indexer`. Owns: this node's index of documents, its vectors, its watched folders, and its candidacy as the writer of the records.
//! Supervised by `root`. Talks to: the store, and through `library` to other nodes and the cluster's models.
//! Never: answers questions; those read the last snapshot, also while this actor starts again.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorMessage;
use research::library::{FILES_SWEPT_AFTER, Library};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Loops;
use crate::core::{Core, Seen};
use crate::failures::{FailureKind, Severity, Sighting, Subject};

/// How long nobody else writes after a writer has died.
const LEASE: Duration = Duration::from_secs(5);
/// Between two looks for files that are missing, or that no record names.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Messages of the indexer.
#[derive(RactorMessage)]
pub enum IndexerMessage {
    /// One of its loops ended.
    LoopEnded(String),
    /// A picture of the actor.
    Snapshot(RpcReplyPort<String>),
    /// Only with the feature `faults`: panic.
    #[cfg(feature = "faults")]
    Panic,
}

/// The actor.
pub struct Indexer;

/// What it holds; dropping it ends its loops.
pub struct IndexerState {
    library: Arc<Library>,
    _loops: JoinSet<()>,
    _end: DropGuard,
}

impl Actor for Indexer {
    type Msg = IndexerMessage;
    type State = IndexerState;
    type Arguments = Arc<Core>;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, core: Arc<Core>) -> Result<Self::State, ActorProcessingErr> {
        let library = core.library()?.clone();
        let stop: CancellationToken = core.stop.child_token();
        let mut loops = Loops::new();
        let [index, vectors, records, files, rounds, folders] = [(); 6].map(|()| library.clone());
        let node_stops = core.stop.clone();
        loops.run("index", async move {
            match index.keep_index().await {
                // The store closes only when the node stops.
                Ok(()) => node_stops.cancelled().await,
                Err(fault) => tracing::error!(error = ?fault, "the index of documents cannot be kept"),
            }
        });
        let [of_vectors, of_records, of_folders, of_rounds] = [(); 4].map(|()| stop.clone());
        loops.serve("vectors", async move { vectors.keep_vectors(of_vectors).await });
        loops.serve("records", async move { records.keep_writing(LEASE, of_records).await });
        loops.serve("folders", async move { folders.keep_folders(of_folders).await });
        loops.serve("rounds", rounds.serve_loops(LEASE, of_rounds));
        loops.run("files", keep_files(files));
        loops.run("room", tell_of_room(core.clone(), library.no_room()));
        let loops = loops.watch(myself, IndexerMessage::LoopEnded);
        Ok(IndexerState { library, _loops: loops, _end: stop.drop_guard() })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            IndexerMessage::LoopEnded(why) => return Err(why.into()),
            IndexerMessage::Snapshot(reply) => {
                let report = state.library.report();
                let picture = json!({
                    "documents": report.documents, "chunks": report.chunks, "embedded": report.embedded,
                    "waiting": report.waiting,
                });
                let _ = reply.send(picture.to_string());
            }
            #[cfg(feature = "faults")]
            IndexerMessage::Panic => crate::faults::panic_now(),
        }
        Ok(())
    }
}

/// Tells the node's owner of an index that waits for room on the disk, and when it goes on.
async fn tell_of_room(core: Arc<Core>, mut no_room: watch::Receiver<String>) {
    let subject = || Subject::Other("index of documents".to_owned());
    loop {
        let why = no_room.borrow_and_update().clone();
        if why.is_empty() {
            core.degrade("index", None);
            core.tell(Seen::Works(subject()));
        } else {
            core.degrade("index", Some(why.clone()));
            core.tell(Seen::Wrong(Sighting {
                subject: subject(),
                kind: FailureKind::ResourceExhaustion,
                severity: Severity::High,
                detail: why,
            }));
        }
        if no_room.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Fetches files that records name, and takes those away that none does.
async fn keep_files(library: Arc<Library>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match library.fetch_files().await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "fetched files of documents from other nodes"),
            Err(fault) => tracing::warn!(error = %fault, "could not keep files of documents"),
        }
        match library.sweep_files(FILES_SWEPT_AFTER).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "swept files of documents that are gone"),
            Err(fault) => tracing::warn!(error = %fault, "could not sweep the files of documents"),
        }
    }
}
