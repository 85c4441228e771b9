//! Small tables of this node alone, in sled: its identity, the epoch floor, the last known view, cached answers.
//!
//! `put` is cheap and may lose the last half second to a power cut; `put_durable` returns when it cannot be lost.
//! Every value has the store's envelope, so a damaged one is an error and never served; it is sealed where encryption is
//! on. Keys are not.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, OpenError, Opened, Tuning};
use crate::envelope::{self, WriteId};
use crate::sealing::Seal;
use crate::{Damaged, Result, Revision, StoreError};

const TUNING: Tuning = Tuning { cache_bytes: 64 << 20, flush_every_ms: Some(500) };

/// Longer values would leave sled's log for files that it never syncs.
const LONGEST_DURABLE: usize = 16 << 10;

/// The tables of this node.
#[derive(Clone)]
pub struct Local {
    disk: Arc<Disk>,
}

/// One table. Cloning it is cheap, all clones are the same table.
#[derive(Clone)]
pub struct Table {
    tree: sled::Tree,
    /// What its values are sealed for, before their keys.
    place: Arc<str>,
    disk: Arc<Disk>,
}

impl Local {
    /// Opens the tables in `dir`, which is made if it does not exist. Blocks; for start-up.
    pub fn open(dir: &Path) -> Result<Opened<Self>, OpenError> {
        Self::open_sealed(dir, &Seal::default())
    }

    /// As [`Local::open`], with values sealed where `seal` is on.
    pub fn open_sealed(dir: &Path, seal: &Seal) -> Result<Opened<Self>, OpenError> {
        let Opened { store: (disk, ()), set_aside, lost } = Disk::open(dir, TUNING, seal, check)?;
        Ok(Opened { store: Self { disk: Arc::new(disk) }, set_aside, lost })
    }

    /// The table of that name; it is made if it does not exist.
    pub fn table(&self, name: &str) -> Result<Table> {
        let tree = self.disk.db.open_tree(name).map_err(StoreError::failed)?;
        Ok(Table { tree, place: format!("local/{name}/").into(), disk: self.disk.clone() })
    }

    /// Makes all that was put so far survive a power cut.
    pub async fn sync(&self) -> Result<()> {
        sync(self.disk.clone()).await
    }
}

impl Table {
    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let found = self.tree.get(key).map_err(StoreError::failed)?;
        found.map(|sealed| self.opened(key, &sealed)).transpose()
    }

    /// Puts a value; on the disk within a second.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let place = [self.place.as_bytes(), key].concat();
        let sealed = envelope::seal(&self.disk.seal, &place, value, WriteId(0)).map_err(StoreError::failed)?;
        self.tree.insert(key, &sealed[..]).map_err(StoreError::failed).map(drop)
    }

    /// Puts a value of at most 16 KiB; on the disk when this returns.
    pub async fn put_durable(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if value.len() + envelope::OVERHEAD > LONGEST_DURABLE {
            return Err(StoreError::TooLarge { bytes: value.len() });
        }
        self.put(key, value)?;
        sync(self.disk.clone()).await
    }

    /// Removes a key; one that does not exist is fine.
    pub fn remove(&self, key: &[u8]) -> Result<()> {
        self.tree.remove(key).map_err(StoreError::failed).map(drop)
    }

    /// Everything whose key starts with `prefix`, in the order of keys. A damaged value is an error in its place.
    pub fn scan(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(Bytes, Bytes)>> + use<> {
        let table = self.clone();
        self.tree.scan_prefix(prefix).map(move |found| {
            let (key, sealed) = found.map_err(StoreError::failed)?;
            let value = table.opened(&key, &sealed)?;
            Ok((Bytes::copy_from_slice(&key), value))
        })
    }

    /// How many keys there are; counts them.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    fn opened(&self, key: &[u8], sealed: &[u8]) -> Result<Bytes> {
        let place = [self.place.as_bytes(), key].concat();
        let opened = envelope::open(&self.disk.seal, &place, Bytes::copy_from_slice(sealed));
        opened.map(|(value, _)| value).map_err(|reason| {
            let key = String::from_utf8_lossy(key).into_owned();
            StoreError::Damaged(Damaged { key, reason, created: Revision(0), modified: Revision(0) })
        })
    }
}

async fn sync(disk: Arc<Disk>) -> Result<()> {
    match tokio::task::spawn_blocking(move || disk.sync()).await {
        Ok(synced) => synced.map_err(StoreError::failed),
        Err(panic) => Err(StoreError::failed(panic)),
    }
}

/// Reads every key once, so that damage is found now.
fn check(disk: &Disk) -> Result<(), String> {
    for name in disk.db.tree_names() {
        let tree = disk.db.open_tree(name).map_err(|error| error.to_string())?;
        if let Some(Err(error)) = tree.iter().find(|found| found.is_err()) {
            return Err(error.to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_put_durably_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::open(dir.path()).unwrap().store;
        let table = local.table("identity").unwrap();
        table.put_durable(b"epoch", b"7").await.unwrap();
        drop((local, table));
        let table = Local::open(dir.path()).unwrap().store.table("identity").unwrap();
        assert_eq!(table.get(b"epoch").unwrap().unwrap(), &b"7"[..]);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_damaged_value_is_an_error_and_leaves_the_others_readable() {
        let dir = tempfile::tempdir().unwrap();
        let table = Local::open(dir.path()).unwrap().store.table("answers").unwrap();
        table.put(b"a", b"1").unwrap();
        table.tree.insert(b"b", b"junk").unwrap();
        table.put(b"c", b"3").unwrap();
        let found: Vec<_> = table.scan(b"").map(|found| found.is_ok()).collect();
        assert_eq!(found, [true, false, true]);
        assert!(matches!(table.get(b"b"), Err(StoreError::Damaged(_))));
    }
}
