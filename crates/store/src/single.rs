//! The store of a single node, in sled.
//!
//! One thread writes: it takes all transactions that wait, applies them, syncs once, and only then answers them and
//! shows their changes. Leases live in this process: they are renewed as long as it runs, and their keys are removed
//! when it starts again.

mod acknowledged;
mod follow;
mod record;
mod values;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base::BoxFuture;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::disk::{Disk, OpenError, Opened, Tuning};
use crate::sealing::Seal;
use crate::txn::check_key;
use crate::{
    Entry, Health, Lease, LeaseId, Listing, Result, Revision, Store, StoreError, Txn, Watch, WatchEvent, lease, watch,
};
use acknowledged::Acknowledged;
use record::Head;
use values::Values;
use writer::{Request, Writer};

const TUNING: Tuning = Tuning { cache_bytes: 64 << 20, flush_every_ms: None };

/// Transactions that wait for the writer; more wait for a place.
const WAITING_REQUESTS: usize = 256;

/// Changes that a slow watch may lag behind before it starts over.
const WAITING_CHANGES: usize = 256;

/// A disk that takes longer than this is as good as away.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long [`Store::close`] waits for watches and leases.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The store of a single node.
pub struct SledStore {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    data: Arc<Data>,
    requests: mpsc::Sender<Request>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What readers and the writer share.
struct Data {
    disk: Disk,
    values: Values,
    acknowledged: Acknowledged,
    /// Held by the writer from the first change of a group until it is synced, so that nobody reads what a power cut
    /// could take back.
    gate: RwLock<()>,
    revision: AtomicU64,
    changes: broadcast::Sender<Arc<Change>>,
    /// Why the disk is not written any more, and since when.
    broken: Mutex<Option<String>>,
    opened: Instant,
}

/// The events of one commit.
struct Change {
    revision: Revision,
    events: Vec<WatchEvent>,
}

impl SledStore {
    /// Opens the store in `dir`, which is made if it does not exist. Blocks; start-up calls it before anything else.
    ///
    /// A store that was dropped lets go of `dir` a moment later; one that was closed before, at once.
    pub fn open(dir: &Path) -> Result<Opened<Self>, OpenError> {
        Self::open_sealed(dir, &Seal::default())
    }

    /// As [`SledStore::open`], with values sealed where `seal` is on.
    pub fn open_sealed(dir: &Path, seal: &Seal) -> Result<Opened<Self>, OpenError> {
        let Opened { store: (disk, index), set_aside, .. } = Disk::open(dir, TUNING, seal, record::load)?;
        let lost = index.lost;
        let failed = |source| OpenError::Io { path: dir.to_owned(), source };
        let data = Arc::new(Data {
            acknowledged: Acknowledged::open(&disk.data).map_err(failed)?,
            values: Values::new(disk.data.join("values")),
            gate: RwLock::new(()),
            revision: AtomicU64::new(index.revision.0),
            changes: broadcast::Sender::new(WAITING_CHANGES),
            broken: Mutex::new(None),
            opened: Instant::now(),
            disk,
        });
        let (requests, waiting) = mpsc::channel(WAITING_REQUESTS);
        let mut writer = Writer::new(data.clone(), index);
        writer.remove_leased().map_err(|error| failed(std::io::Error::other(error)))?;
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(waiting))
            .map_err(failed)?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared { data, requests, stop: stop.clone(), tasks: TaskTracker::new() });
        Ok(Opened { store: Self { shared, _stop: stop.drop_guard() }, set_aside, lost })
    }
}

impl Store for SledStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(async move {
            check_key(key)?;
            let key = key.to_owned();
            self.shared.data.read(move |data| data.entry(&key)).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing>> {
        Box::pin(self.shared.data.list(prefix.to_owned()))
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move {
            txn.check()?;
            self.shared.ask(|reply| Request::Commit { txn, reply }).await?
        })
    }

    fn watch(&self, prefix: &str, from: Option<Revision>) -> Watch {
        let (feed, watch) = watch::channel(&self.shared.stop);
        self.shared.tasks.spawn(follow::follow(self.shared.data.clone(), feed, prefix.to_owned(), from));
        watch
    }

    fn lease(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>> {
        Box::pin(async move {
            let id = LeaseId(fastrand::u64(1..));
            let ended = CancellationToken::new();
            self.shared.ask(|reply| Request::Grant { lease: id, ended: ended.clone(), reply }).await?;
            let (keeper, lease) = lease::granted(id, ttl, Instant::now(), &self.shared.stop);
            self.shared.tasks.spawn(follow::keep(self.shared.clone(), keeper, ended));
            Ok(lease)
        })
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.shared.revoke(lease))
    }

    fn health(&self) -> Health {
        let data = &self.shared.data;
        let broken = data.broken();
        Health {
            reachable: broken.is_none(),
            since: data.opened,
            broken: broken.clone().map(|why| base::Fault::from(StoreError::Broken { why })).map(|fault| {
                let hint = fault.hint.unwrap_or_default();
                format!("{}; {hint}", fault.message)
            }),
            last_error: broken,
            full: data.no_room().map(|error| error.to_string()),
            revision: data.revision(),
            cluster: None,
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.stop.cancel();
            self.shared.tasks.close();
            // Nothing is lost where this is late: what was answered is on the disk.
            let _late = tokio::time::timeout(CLOSE_WITHIN, self.shared.tasks.wait()).await;
            let _gone = self.shared.ask(|reply| Request::Stop { reply }).await;
        })
    }
}

impl Shared {
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let closed = |why: &str| StoreError::Unavailable { why: why.to_owned() };
        let asked = async {
            self.requests.send(request(reply)).await.map_err(|_| closed("the store was closed"))?;
            answer.await.map_err(|_| closed("the store was closed"))
        };
        match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::Unclear { why: "the disk does not answer".to_owned() }),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.ask(|reply| Request::Revoke { lease, reply }).await?.map(drop)
    }
}

impl Data {
    fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    fn broken(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads on a thread that may block, while nothing is written.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Data) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let data = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _gate = data.gate.read().unwrap_or_else(PoisonError::into_inner);
            read(&data)
        });
        match tokio::time::timeout(ANSWER_WITHIN, reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(panic)) => Err(StoreError::failed(panic)),
            Err(_) => Err(StoreError::Unavailable { why: "the disk does not answer".to_owned() }),
        }
    }

    fn entry(&self, key: &str) -> Result<Option<Entry>> {
        let Some(record) = self.disk.db.get(key).map_err(StoreError::failed)? else { return Ok(None) };
        record::read(&self.disk.seal, key.as_bytes(), &record, &self.values).map(Some).map_err(StoreError::Damaged)
    }

    fn head(&self, key: &str) -> Result<Option<Head>> {
        let record = self.disk.db.get(key).map_err(StoreError::failed)?;
        Ok(record.map(|record| Head::read(&record)))
    }

    async fn list(self: &Arc<Self>, prefix: String) -> Result<Listing> {
        self.read(move |data| {
            let mut listing = Listing { revision: data.revision(), ..Listing::default() };
            for found in data.disk.db.scan_prefix(&prefix) {
                let (key, record) = found.map_err(StoreError::failed)?;
                if !record::is_internal(&key) {
                    listing.push(record::read(&data.disk.seal, &key, &record, &data.values));
                }
            }
            Ok(listing)
        })
        .await
    }
}
