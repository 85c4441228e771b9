//! What etcd has shown of itself so far: how far its history goes, and whether it answers.
//!
//! An answer of a majority is never older than one before it. Where it is (smaller revision or raft term, or another
//! cluster id), etcd was restored from an older snapshot: every watch starts over with a `Reset`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use etcd_client::ResponseHeader;
use tokio::sync::watch;

use crate::{Health, Result, Revision, StoreError};

/// The memory of one store.
pub(super) struct Seen {
    state: Mutex<State>,
    /// Counts the times that etcd went back.
    histories: watch::Sender<u64>,
}

/// How far the history went when a call began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    cluster: Option<u64>,
    revision: u64,
    term: u64,
}

struct State {
    mark: Mark,
    reachable: bool,
    since: Instant,
    last_error: Option<String>,
    full: Option<String>,
}

impl Seen {
    pub fn new() -> Self {
        let state =
            State { mark: Mark::default(), reachable: false, since: Instant::now(), last_error: None, full: None };
        Self { state: Mutex::new(state), histories: watch::Sender::new(0) }
    }

    /// To be taken before a call, and compared with its answer.
    pub fn mark(&self) -> Mark {
        self.state().mark
    }

    /// Notes the answer of a majority to a call that began at `mark`.
    pub fn answered(&self, mark: Mark, header: Option<&ResponseHeader>) -> Result<Revision> {
        let Some(header) = header else { return Err(StoreError::failed("etcd's answer has no header")) };
        let now = Mark {
            cluster: Some(header.cluster_id()),
            revision: header.revision().cast_unsigned(),
            term: header.raft_term(),
        };
        let other_cluster = mark.cluster.is_some_and(|cluster| Some(cluster) != now.cluster);
        let mut state = self.state();
        if other_cluster || now.revision < mark.revision || now.term < mark.term {
            tracing::warn!(before = ?mark, now = ?now, "etcd went back in its history; starting over from what it holds");
            state.mark = now;
            self.histories.send_modify(|count| *count += 1);
        } else {
            state.mark.cluster = now.cluster;
            state.mark.revision = state.mark.revision.max(now.revision);
            state.mark.term = state.mark.term.max(now.term);
        }
        Ok(Revision(now.revision))
    }

    /// Notes whether a call was answered at all.
    pub fn note<T>(&self, result: Result<T>) -> Result<T> {
        let mut state = self.state();
        if let Err(error) = &result {
            if matches!(error, StoreError::Unavailable { .. } | StoreError::Unclear { .. }) {
                state.set_reachable(false);
            }
            if matches!(error, StoreError::Full { .. }) {
                state.full = Some(error.to_string());
            }
            state.last_error = Some(error.to_string());
        } else {
            state.set_reachable(true);
        }
        drop(state);
        result
    }

    /// Notes that something could be put: there is room.
    pub fn had_room(&self) {
        self.state().full = None;
    }

    /// Changes whenever etcd went back.
    pub fn histories(&self) -> watch::Receiver<u64> {
        self.histories.subscribe()
    }

    /// How often etcd went back.
    pub fn history(&self) -> u64 {
        *self.histories.borrow()
    }

    pub fn health(&self) -> Health {
        let state = self.state();
        Health {
            broken: None,
            reachable: state.reachable,
            since: state.since,
            last_error: state.last_error.clone(),
            full: state.full.clone(),
            revision: Revision(state.mark.revision),
            cluster: state.mark.cluster,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set_reachable(&mut self, reachable: bool) {
        if self.reachable != reachable {
            self.reachable = reachable;
            self.since = Instant::now();
        }
    }
}
