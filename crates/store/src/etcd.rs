//! The store in etcd. The client library neither repeats calls, nor leaves dead members, nor re-opens streams: all of
//! that happens here, with one client per member, the last good one first, and a deadline on every call.
//!
//! `members` makes calls, `commit` makes transactions whose outcome stays known, `follow` is a watch, `keep` a lease,
//! `seen` notices an etcd that went back in time, `canary` one whose values are not sealed as this node seals.

mod canary;
mod commit;
mod follow;
mod keep;
mod members;
mod seen;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::BoxFuture;
use base::config::Etcd;
use bytes::Bytes;
use etcd_client::{GetOptions, KeyValue};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::sealing::Seal;
use crate::txn::check_key;
use crate::{
    Damaged, Entry, Health, Lease, LeaseId, Listing, Page, Result, Revision, Store, StoreError, Txn, Watch, entry,
    envelope, lease, watch,
};
use members::Members;
pub use members::{Channel, Dial};
use seen::Seen;

/// Keys per page of a listing: many round trips saved, and still no page of more than 128 MiB.
const PAGE_KEYS: i64 = 128;

/// How long [`Store::close`] waits for leases to be revoked.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A store in etcd.
pub struct EtcdStore {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// What the store's tasks need of it.
struct Shared {
    members: Members,
    /// With a `/` at its end.
    prefix: String,
    timeout: Duration,
    seal: Seal,
    seen: Seen,
    /// The history in which the store was found to be sealed as it should be.
    checked: Mutex<Option<u64>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl EtcdStore {
    /// A store in the etcd of `config`, whose members are reached by the channels that `dial` makes for their URLs.
    ///
    /// Connects when it is first used; only a password file that cannot be read is an error here.
    pub fn open(config: &Etcd, dial: &Dial) -> Result<Self> {
        Self::open_sealed(config, dial, &Seal::default())
    }

    /// As [`EtcdStore::open`], with values sealed where `seal` is on.
    pub fn open_sealed(config: &Etcd, dial: &Dial, seal: &Seal) -> Result<Self> {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            members: Members::new(config, dial)?,
            prefix: format!("{}/", config.prefix.trim_end_matches('/')),
            timeout: config.timeout,
            seal: seal.clone(),
            seen: Seen::new(),
            checked: Mutex::new(None),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        });
        Ok(Self { shared, _stop: stop.drop_guard() })
    }

    /// Whether the store is sealed as this one seals; an empty one is from now on. Every write looks first, too: this is for
    /// a start, which is refused where it is [`StoreError::Mixed`].
    pub async fn check_seal(&self) -> Result<()> {
        let checked = canary::check(&self.shared).await;
        self.shared.seen.note(checked)
    }
}

impl Store for EtcdStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(self.shared.get(key))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing>> {
        Box::pin(self.shared.list(prefix))
    }

    fn page<'a>(&'a self, prefix: &'a str, after: Option<(&'a str, Revision)>) -> BoxFuture<'a, Result<Page>> {
        Box::pin(self.shared.page(prefix, after))
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(commit::commit(&self.shared, txn))
    }

    fn watch(&self, prefix: &str, from: Option<Revision>) -> Watch {
        let (feed, watch) = watch::channel(&self.shared.stop);
        self.shared.tasks.spawn(follow::follow(self.shared.clone(), feed, prefix.to_owned(), from));
        watch
    }

    fn lease(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>> {
        Box::pin(async move {
            let (id, ttl, sent) = keep::grant(&self.shared, ttl).await?;
            let (keeper, lease) = lease::granted(id, ttl, sent, &self.shared.stop);
            self.shared.tasks.spawn(keep::keep(self.shared.clone(), keeper));
            Ok(lease)
        })
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<()>> {
        Box::pin(keep::revoke(&self.shared, lease, self.shared.timeout))
    }

    fn health(&self) -> Health {
        self.shared.seen.health()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.stop.cancel();
            self.shared.tasks.close();
            // What is left then ends with the runtime; its leases end by themselves.
            let _late = tokio::time::timeout(CLOSE_WITHIN, self.shared.tasks.wait()).await;
        })
    }
}

impl Shared {
    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        check_key(key)?;
        let found = self.range(self.full_key(key).into_bytes(), GetOptions::new(), self.deadline()).await?;
        match found.kvs.first() {
            None => Ok(None),
            Some(kv) => self.read(kv).map(Some).map_err(StoreError::Damaged),
        }
    }

    /// One picture of everything below `prefix`, in pages of the same revision.
    async fn list(&self, prefix: &str) -> Result<Listing> {
        let deadline = self.deadline();
        let end = end_of_prefix(self.full_key(prefix).as_bytes());
        let mut start = self.full_key(prefix).into_bytes();
        let mut listing = Listing::default();
        loop {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE_KEYS);
            let options = match listing.revision {
                Revision(0) => options,
                Revision(first_page) => options.with_revision(first_page.cast_signed()),
            };
            let page = match self.range(start.clone(), options, deadline).await {
                Err(StoreError::Failed { .. }) if listing.revision.0 > 0 && Instant::now() < deadline => {
                    // The revision of the first page was compacted meanwhile: begin again.
                    start = self.full_key(prefix).into_bytes();
                    listing = Listing::default();
                    continue;
                }
                page => page?,
            };
            if listing.revision.0 == 0 {
                listing.revision = page.revision;
            }
            page.kvs.iter().for_each(|kv| listing.push(self.read(kv)));
            let Some(last) = page.kvs.last().filter(|_| page.more) else { return Ok(listing) };
            start = [last.key(), b"\0"].concat();
        }
    }

    /// One page of everything below `prefix`, each with the whole deadline of a call.
    async fn page(&self, prefix: &str, after: Option<(&str, Revision)>) -> Result<Page> {
        let first = self.full_key(prefix).into_bytes();
        let options = GetOptions::new().with_range(end_of_prefix(&first)).with_limit(PAGE_KEYS);
        let (start, options) = match after {
            None => (first, options),
            Some(("", at)) => (first, options.with_revision(at.0.cast_signed())),
            Some((last, at)) => {
                ([self.full_key(last).as_bytes(), b"\0"].concat(), options.with_revision(at.0.cast_signed()))
            }
        };
        let found = self.range(start, options, self.deadline()).await?;
        let revision = after.map_or(found.revision, |(_, at)| at);
        let mut listing = Listing { revision, ..Listing::default() };
        found.kvs.iter().for_each(|kv| listing.push(self.read(kv)));
        Ok(Page { listing, has_more: found.more })
    }

    /// The store's revision now, as a majority knows it.
    async fn revision(&self) -> Result<Revision> {
        let options = GetOptions::new().with_count_only();
        self.range(self.full_key("").into_bytes(), options, self.deadline()).await.map(|page| page.revision)
    }

    async fn range(&self, start: Vec<u8>, options: GetOptions, deadline: Instant) -> Result<Range> {
        let mark = self.seen.mark();
        let answer = self
            .members
            .call(deadline, |client| {
                let (start, options) = (start.clone(), options.clone());
                async move { members::kv(&client).get(start, Some(options)).await }
            })
            .await;
        let mut found = self.seen.note(answer)?;
        let revision = self.seen.answered(mark, found.header())?;
        Ok(Range { more: found.more(), kvs: found.take_kvs(), revision })
    }

    fn read(&self, kv: &KeyValue) -> std::result::Result<Entry, Damaged> {
        let created = Revision(kv.create_revision().cast_unsigned());
        let modified = Revision(kv.mod_revision().cast_unsigned());
        let full_key = String::from_utf8_lossy(kv.key());
        let key = full_key.strip_prefix(&self.prefix).unwrap_or(&full_key).to_owned();
        if std::str::from_utf8(kv.key()).is_err() {
            return Err(Damaged { key, reason: "the key is not UTF-8".to_owned(), created, modified });
        }
        match envelope::open(&self.seal, &entry::place(key.as_bytes()), Bytes::copy_from_slice(kv.value())) {
            Ok((value, _)) => {
                let lease = (kv.lease() != 0).then(|| LeaseId(kv.lease().cast_unsigned()));
                Ok(Entry { key, value, created, modified, lease })
            }
            Err(reason) => Err(Damaged { key, reason, created, modified }),
        }
    }
}

struct Range {
    kvs: Vec<KeyValue>,
    more: bool,
    revision: Revision,
}

/// The first key after all keys that start with `prefix`, which ends in no 0xff because it is UTF-8.
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}
