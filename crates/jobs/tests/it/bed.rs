//! What the suite runs on: stores on sled and on a real etcd, and nodes that share them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::NodeId;
use jobs::{Claimed, JobId, Jobs, NewJob, State};
use store::{Lease, SharedStore, SledStore};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::stores::EtcdProcess;

/// Nothing that a test waits for takes longer.
pub const SOON: Duration = Duration::from_secs(15);

/// Which store.
pub enum Bed {
    Sled,
    Etcd(EtcdProcess),
}

/// Where one case runs: the store as two nodes see it.
pub struct Place {
    pub stores: [SharedStore; 2],
    _dir: Option<TempDir>,
}

impl Bed {
    pub fn place(&self, case: &str) -> Place {
        match self {
            Bed::Sled => {
                let dir = tempfile::tempdir().unwrap();
                let store: SharedStore = Arc::new(SledStore::open(dir.path()).unwrap().store);
                Place { stores: [store.clone(), store], _dir: Some(dir) }
            }
            Bed::Etcd(etcd) => {
                let store = || etcd.store(&format!("/test/{case}"), Duration::from_secs(5));
                Place { stores: [store(), store()], _dir: None }
            }
        }
    }
}

impl Place {
    /// Two nodes.
    pub async fn nodes(&self) -> [Node; 2] {
        let [here, there] = &self.stores;
        [Node::new(here, "here").await, Node::new(there, "there").await]
    }
}

/// A node with its lease.
pub struct Node {
    pub jobs: Jobs,
    pub store: SharedStore,
    pub lease: Arc<Lease>,
}

impl Node {
    pub async fn new(store: &SharedStore, name: &str) -> Self {
        let lease = Arc::new(store.lease(Duration::from_secs(30)).await.unwrap());
        Self { jobs: Jobs::new(store.clone(), NodeId::from(name)), store: store.clone(), lease }
    }

    /// As if its process had ended: its lease does, at once.
    pub async fn dies(&self) {
        self.store.revoke(self.lease.id()).await.unwrap();
    }

    /// As if it had been started again.
    pub async fn comes_back(&mut self) {
        self.lease = Arc::new(self.store.lease(Duration::from_secs(30)).await.unwrap());
    }

    pub async fn submit(&self, input: serde_json::Value) -> JobId {
        self.jobs.submit(new_job(input)).await.unwrap()
    }

    pub async fn claim(&self) -> Option<Claimed> {
        self.jobs.claim_next(&["test"], &self.lease).await.unwrap()
    }

    pub async fn state(&self, id: JobId) -> State {
        self.jobs.get(id).await.unwrap().unwrap().state
    }

    /// Waits until the job is in a state that `is_meant`.
    pub async fn reaches(&self, id: JobId, is_meant: impl Fn(&State) -> bool) {
        let started = Instant::now();
        loop {
            let state = self.state(id).await;
            if is_meant(&state) {
                return;
            }
            assert!(started.elapsed() < SOON, "{id} stays {state:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn new_job(input: serde_json::Value) -> NewJob {
    NewJob { kind: "test".into(), subject: "home/master".into(), who: "ann".into(), input, ..NewJob::default() }
}

/// A token that nobody cancels.
pub fn never() -> CancellationToken {
    CancellationToken::new()
}

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it takes too long")
}
