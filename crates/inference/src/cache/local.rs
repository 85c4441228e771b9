//! The cache of one node: a table that survives restarts, bounded in time and in size, the oldest out first.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{BoxFuture, ByteSize, Result, time};
use bytes::Bytes;

use super::{AnswerCache, Cached, Key, MOST_ENTRY_BYTES, entry};

/// A durable table of this node. A call takes well under a millisecond and need not be on disk when it returns.
pub trait Shelf: Send + Sync {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;
    /// Sets the value of `key`.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()>;
    /// Removes `key`; one that is not there is removed already.
    fn remove(&self, key: &[u8]) -> Result<()>;
    /// Shows every key with its value.
    fn scan(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<()>;
}

/// Answers on a [`Shelf`].
pub struct LocalCache<S> {
    shelf: S,
    ttl: Duration,
    most: ByteSize,
    index: Mutex<Index>,
}

/// What is on the shelf, in the order in which it came there.
#[derive(Debug, Default)]
struct Index {
    by_age: BTreeSet<(u64, Key)>,
    sizes: HashMap<Key, (u64, u64)>,
    bytes: u64,
}

impl<S: Shelf> LocalCache<S> {
    /// Looks through `shelf`, and removes what is too old, damaged or too much.
    pub fn open(shelf: S, ttl: Duration, most: ByteSize) -> Result<Self> {
        let mut index = Index::default();
        let mut useless = Vec::new();
        let now_ms = time::unix_ms();
        shelf.scan(&mut |key, value| {
            let entry = entry::read(Bytes::copy_from_slice(value)).filter(|entry| is_fresh(entry.kept_ms, now_ms, ttl));
            match (Key::from_bytes(key), entry) {
                (Some(key), Some(entry)) => index.add(key, entry.kept_ms, value.len() as u64),
                _ => useless.push(key.to_vec()),
            }
        })?;
        useless.extend(index.evict(most).iter().map(|key| key.as_bytes().to_vec()));
        for key in useless {
            shelf.remove(&key)?;
        }
        Ok(Self { shelf, ttl, most, index: Mutex::new(index) })
    }

    /// Bytes kept now.
    pub fn size(&self) -> ByteSize {
        ByteSize(self.index().bytes)
    }

    pub(super) fn get_at(&self, key: &Key, now_ms: u64) -> Result<Option<Cached>> {
        let entry = self.shelf.get(key.as_bytes())?.and_then(entry::read);
        match entry {
            Some(entry) if is_fresh(entry.kept_ms, now_ms, self.ttl) => Ok(Some(entry.answer)),
            Some(_) => {
                self.index().remove(key);
                self.shelf.remove(key.as_bytes())?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    pub(super) fn put_at(&self, key: &Key, answer: &Cached, now_ms: u64) -> Result<()> {
        let value = entry::write(now_ms, answer);
        if value.len() > MOST_ENTRY_BYTES || value.len() as u64 > self.most.0 {
            return Ok(());
        }
        self.shelf.put(key.as_bytes(), &value)?;
        let evicted = {
            let mut index = self.index();
            index.add(*key, now_ms, value.len() as u64);
            index.evict(self.most)
        };
        evicted.iter().try_for_each(|key| self.shelf.remove(key.as_bytes()))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // A panic while it is held leaves counts that are off by one entry: the bound is a little wrong, no more.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Shelf> AnswerCache for LocalCache<S> {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Option<Cached>> {
        Box::pin(async {
            self.get_at(key, time::unix_ms()).unwrap_or_else(|error| {
                tracing::warn!(%error, "answer cache cannot be read");
                None
            })
        })
    }

    fn put<'a>(&'a self, key: &'a Key, answer: &'a Cached) -> BoxFuture<'a, ()> {
        Box::pin(async {
            if let Err(error) = self.put_at(key, answer, time::unix_ms()) {
                tracing::warn!(%error, "answer cache cannot be written");
            }
        })
    }
}

impl Shelf for store::Table {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.get(key)?)
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.put(key, value)?)
    }

    fn remove(&self, key: &[u8]) -> Result<()> {
        Ok(self.remove(key)?)
    }

    fn scan(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        for found in self.scan(&[]) {
            match found {
                Ok((key, value)) => each(&key, &value),
                // A lost answer is a miss; it must not keep the others from being used.
                Err(error) => tracing::warn!(%error, "answer cache has a damaged entry"),
            }
        }
        Ok(())
    }
}

impl Index {
    fn add(&mut self, key: Key, kept_ms: u64, size: u64) {
        self.remove(&key);
        self.by_age.insert((kept_ms, key));
        self.sizes.insert(key, (kept_ms, size));
        self.bytes += size;
    }

    fn remove(&mut self, key: &Key) {
        if let Some((kept_ms, size)) = self.sizes.remove(key) {
            self.by_age.remove(&(kept_ms, *key));
            self.bytes -= size;
        }
    }

    /// Forgets the oldest until no more than `most` is left, and tells what it forgot.
    fn evict(&mut self, most: ByteSize) -> Vec<Key> {
        let mut evicted = Vec::new();
        while self.bytes > most.0
            && let Some(&(_, key)) = self.by_age.first()
        {
            self.remove(&key);
            evicted.push(key);
        }
        evicted
    }
}

/// Wall-clock time is all that survives a restart. An entry from the future (the clock was set back) is not trusted.
fn is_fresh(kept_ms: u64, now_ms: u64, ttl: Duration) -> bool {
    now_ms.checked_sub(kept_ms).is_some_and(|age_ms| u128::from(age_ms) < ttl.as_millis())
}
