//! A model of a power cut: what was synced is there, and of what was written since, any pages.
//!
//! The data is copied when all writes are acknowledged, and again while more are in flight. What a disk may hold after
//! the cut is the first copy, with a random half of the pages that differ taken from the second. A value's file is the
//! exception: its bytes and its name are synced before anything refers to it, so it is taken whole.
//!
//! Where a write was acknowledged before the second copy was complete, a sync lies between the two, and of what it synced
//! nothing may be missing. The model does not know what that was, so such a pair is taken again. A disk that syncs faster
//! than files are copied gives no pair: then that is said, and only what was acknowledged is looked for.
//!
//! `TM_STORE_CUTS` sets how many times.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store::{SharedStore, SledStore, Txn};
use tempfile::TempDir;
use tokio::task::JoinSet;

const PAGE: usize = 4096;
const KEYS: u64 = 40;
/// Pairs of copies for each cut.
const TRIES: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_outlives_a_power_cut() {
    let cuts = std::env::var("TM_STORE_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(15);
    let mut writes = Writes { random: fastrand::Rng::with_seed(11), count: 0, acknowledged: BTreeMap::new() };
    let mut dir = tempfile::tempdir().unwrap();
    let mut without = 0;
    for cut in 0..cuts {
        let opened = SledStore::open(dir.path()).unwrap();
        assert_eq!((opened.set_aside, opened.lost), (None, None), "cut {cut}");
        let store: SharedStore = Arc::new(opened.store);
        // Of the writes in flight at the cut, each may have happened or not.
        let found = check(&store, &writes.acknowledged).await;
        writes.acknowledged.extend(found);
        writes.some(&store, 30).await;
        let mut image = None;
        for _ in 0..TRIES {
            image = writes.cut(&store, &dir.path().join("data")).await;
            if image.is_some() {
                break;
            }
            writes.some(&store, 3).await;
        }
        store.close().await;
        match image {
            Some(image) => dir = image,
            None => without += 1,
        }
    }
    eprintln!("{without} of {cuts} cuts without an image: the disk syncs too fast");
}

struct Writes {
    random: fastrand::Rng,
    count: u64,
    acknowledged: BTreeMap<u64, u64>,
}

impl Writes {
    /// Makes some, one after the other.
    async fn some(&mut self, store: &SharedStore, how_many: usize) {
        for _ in 0..how_many {
            self.count += 1;
            let key = self.random.u64(..KEYS);
            store.commit(write(key, self.count, &mut self.random)).await.unwrap();
            self.acknowledged.insert(key, self.count);
        }
    }

    /// What a disk may hold after a cut in the middle of others; `None` where a sync lies between the copies.
    async fn cut(&mut self, store: &SharedStore, data: &Path) -> Option<TempDir> {
        let images = tempfile::tempdir().unwrap();
        let (synced, written) = (images.path().join("synced"), images.path().join("written"));
        copy(data, &synced);
        let (mut in_flight, is_synced) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        // Each key once: a file that comes and goes between two copies would be missed.
        for key in self.random.choose_multiple(0..KEYS, 20) {
            self.count += 1;
            let (count, txn) = (self.count, write(key, self.count, &mut self.random));
            let (store, is_synced) = (store.clone(), is_synced.clone());
            in_flight.spawn(async move {
                store.commit(txn).await.unwrap();
                is_synced.store(true, Ordering::SeqCst);
                (key, count)
            });
        }
        tokio::time::sleep(Duration::from_millis(self.random.u64(..4))).await;
        // Around the copy of sled's log, so that no file is missed that comes or goes meanwhile.
        copy(&data.join("values"), &written.join("values"));
        copy(data, &written);
        copy(&data.join("values"), &written.join("values"));
        let is_synced = is_synced.load(Ordering::SeqCst);
        let acknowledged = in_flight.join_all().await;
        if is_synced {
            self.acknowledged.extend(acknowledged);
            return None;
        }
        let image = tempfile::tempdir().unwrap();
        mix(&synced, &written, &image.path().join("data"), &mut self.random);
        Some(image)
    }
}

fn write(key: u64, count: u64, random: &mut fastrand::Rng) -> Txn {
    let mut value = count.to_le_bytes().to_vec();
    let longest = [100, 4000, 40_000][random.usize(..3)];
    value.resize(random.usize(8..longest), 1);
    Txn::new().put(format!("k/{key}"), value.clone()).put(format!("twin/{key}"), value)
}

/// Everything acknowledged is there, or something that was in flight after it; and both twins are.
async fn check(store: &SharedStore, acknowledged: &BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
    let listing = store.list("").await.unwrap();
    assert_eq!(listing.damaged, []);
    let number = |prefix: &str, key: &u64| {
        let entry = listing.get(&format!("{prefix}/{key}"));
        entry.map(|entry| u64::from_le_bytes(entry.value[..8].try_into().unwrap()))
    };
    for (key, value) in acknowledged {
        let found = number("k", key);
        assert!(found >= Some(*value), "key {key}: {value} was acknowledged, {found:?} is there");
    }
    let keys = (0..KEYS).filter_map(|key| Some((key, number("k", &key)?)));
    keys.inspect(|(key, value)| assert_eq!(number("twin", key), Some(*value), "half of a transaction")).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            // What vanishes meanwhile was unfinished.
            false => drop(fs::copy(entry.path(), to)),
        }
    }
}

/// `synced` with some of what `written` has beyond it.
fn mix(synced: &Path, written: &Path, to: &Path, random: &mut fastrand::Rng) {
    copy(synced, to);
    for entry in fs::read_dir(written).unwrap() {
        let entry = entry.unwrap();
        let (old, to) = (synced.join(entry.file_name()), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&old).unwrap();
            mix(&old, &entry.path(), &to, random);
            continue;
        }
        if written.ends_with("values") {
            fs::copy(entry.path(), to).unwrap();
            continue;
        }
        if entry.file_name() == "acknowledged" {
            // It is written after a sync, of which this model does not know when it was.
            continue;
        }
        let (old, new) = (fs::read(&old).unwrap_or_default(), fs::read(entry.path()).unwrap());
        fs::write(to, mix_pages(&old, &new, random)).unwrap();
    }
}

fn mix_pages(old: &[u8], new: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut mixed = old.to_vec();
    // The file's length may have reached the disk without its pages: they read as zeros then.
    if new.len() > old.len() && random.bool() {
        mixed.resize(new.len(), 0);
    }
    for (i, page) in new.chunks(PAGE).enumerate() {
        let at = i * PAGE;
        let end = (at + page.len()).min(mixed.len());
        if at < end && random.bool() {
            mixed[at..end].copy_from_slice(&page[..end - at]);
        }
    }
    mixed
}
