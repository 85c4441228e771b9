//! The durable truth of the cluster behind one trait: etcd, or sled on a single node.
//!
//! Both drivers pass the same conformance suite (`tests/it/conformance.rs`). Callers see their own bytes: versions,
//! checksums, retries, other endpoints and re-opened streams stay inside. Node-local tables are in [`local`].

mod disk;
mod election;
mod entry;
mod envelope;
mod error;
pub mod etcd;
pub mod framed;
mod lease;
pub mod local;
pub mod sealing;
pub mod single;
mod txn;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::BoxFuture;

pub use disk::{Lost, OpenError, Opened};
pub use election::{Leader, Leadership};
pub use entry::{Damaged, Entry, LeaseId, Listing, Page, Revision};
pub use error::StoreError;
pub use etcd::EtcdStore;
pub use lease::Lease;
pub use local::{Local, Table};
pub use sealing::Seal;
pub use single::SledStore;
pub use txn::{Guard, MAX_TXN_BYTES, MAX_TXN_OPS, Put, Txn};
pub use watch::{Watch, WatchEvent};

/// The result of a call to a store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A store that many parts of a node share.
pub type SharedStore = Arc<dyn Store>;

/// Keys and values with revisions, guarded transactions, watches and leases.
///
/// Elections are built on these in [`election`]: `store.campaign(…)`, `store.leader(…)`. Every call ends by its deadline.
pub trait Store: Send + Sync + 'static {
    /// The entry of `key`, as of now. A damaged value is an error here; it can be overwritten or deleted.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>>;

    /// All entries whose keys start with `prefix`, as of one revision, in the order of their keys.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing>>;

    /// Everything whose keys start with `prefix`, in pages of one picture: with `after` as the last key of the page before (or
    /// empty) and that page's revision, the next one. A store may give all in the first one. An old revision may be forgotten.
    fn page<'a>(&'a self, prefix: &'a str, after: Option<(&'a str, Revision)>) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            match after {
                None => Ok(Page { listing: self.list(prefix).await?, has_more: false }),
                Some(_) => Err(StoreError::invalid("this store gives all that it holds in one page")),
            }
        })
    }

    /// Does all of `txn` or nothing. `Ok` means durable: on the disk, and on a majority where there are several.
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision>>;

    /// Every change below `prefix`, without gaps and in order, until it is dropped; see [`Watch`].
    ///
    /// With `from`, the caller already holds the state as of that revision: what came after it follows, and a `Reset`
    /// only where the store no longer knows that.
    fn watch(&self, prefix: &str, from: Option<Revision>) -> Watch;

    /// A lease that the store keeps alive until it is dropped or lost. A store may raise a very short `ttl`.
    fn lease(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>>;

    /// Ends a lease, whoever owns it: its keys go, its owner finds it lost. A lease that is gone already is fine.
    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<()>>;

    /// How the store does, from what the last calls met. Costs nothing.
    fn health(&self) -> Health;

    /// Ends watches, revokes leases, and waits for both within a bound; for the end of a process.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What the last calls to a store met.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether the last call was answered.
    pub reachable: bool,
    /// Since when `reachable` is what it is.
    pub since: Instant,
    /// Why the last call that failed did.
    pub last_error: Option<String>,
    /// Why nothing can be put, while there is no room.
    pub full: Option<String>,
    /// Why nothing can be written until the node is started again, and what to do before.
    pub broken: Option<String>,
    /// The newest revision seen.
    pub revision: Revision,
    /// The id of the etcd cluster, once it has answered; `None` on a single node.
    pub cluster: Option<u64>,
}
