//! A store that loses answers, that holds a transaction back until the test lets it go, or that ends its process at one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base::BoxFuture;
use rustix::process::{Signal, getpid, kill_process};
use store::{Entry, Health, Lease, LeaseId, Listing, Result, Revision, SharedStore, Store, StoreError, Txn, Watch};
use tokio::sync::oneshot::{Receiver, Sender, channel};

pub struct StoreWithFaults {
    inner: SharedStore,
    held: Mutex<Option<Held>>,
    /// Transactions that happen, and whose answer gets lost.
    pub answers_lost: AtomicU32,
    /// Transactions of which nothing is heard and that do not happen.
    pub requests_lost: AtomicU32,
    /// Boundaries of transactions until this process is killed; two of each, before it and after it. 0: it is not.
    pub boundaries_to_live: AtomicU32,
}

struct Held {
    prefix: &'static str,
    arrived: Sender<()>,
    go_on: Receiver<()>,
}

impl StoreWithFaults {
    pub fn new(inner: SharedStore) -> Self {
        Self {
            inner,
            held: Mutex::default(),
            answers_lost: AtomicU32::new(0),
            requests_lost: AtomicU32::new(0),
            boundaries_to_live: AtomicU32::new(0),
        }
    }

    /// Holds the next transaction that puts a key with that prefix, or does nothing but delete one: the first one tells
    /// that it arrived, the second one lets it go on.
    pub fn hold_before(&self, prefix: &'static str) -> (Receiver<()>, Sender<()>) {
        let ((arrived, has_arrived), (let_go, go_on)) = (channel(), channel());
        *self.held.lock().unwrap() = Some(Held { prefix, arrived, go_on });
        (has_arrived, let_go)
    }

    async fn commit_with_faults(&self, txn: Txn) -> Result<Revision> {
        let is_meant = |held: &mut Held| {
            let deletes = txn.deletes.iter().filter(|_| txn.puts.is_empty());
            txn.puts.iter().map(|put| &put.key).chain(deletes).any(|key| key.starts_with(held.prefix))
        };
        let held = self.held.lock().unwrap().take_if(is_meant);
        if let Some(held) = held {
            held.arrived.send(()).unwrap();
            held.go_on.await.unwrap();
        }
        let takes = |count: &AtomicU32| {
            count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
        };
        let boundary = || {
            if takes(&self.boundaries_to_live) && self.boundaries_to_live.load(Ordering::SeqCst) == 0 {
                kill_process(getpid(), Signal::KILL).unwrap();
            }
        };
        boundary();
        let unclear = || StoreError::Unclear { why: "the test lost it".into() };
        if takes(&self.requests_lost) {
            return Err(unclear());
        }
        let answer = self.inner.commit(txn).await;
        boundary();
        if takes(&self.answers_lost) { Err(unclear()) } else { answer }
    }
}

impl Store for StoreWithFaults {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        self.inner.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing>> {
        self.inner.list(prefix)
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(self.commit_with_faults(txn))
    }

    fn watch(&self, prefix: &str, from: Option<Revision>) -> Watch {
        self.inner.watch(prefix, from)
    }

    fn lease(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>> {
        self.inner.lease(ttl)
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<()>> {
        self.inner.revoke(lease)
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
