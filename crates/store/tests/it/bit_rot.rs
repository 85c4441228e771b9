//! One flipped bit in the log at rest: whatever is lost by it is told, and nothing damaged is served.

use std::path::Path;
use std::sync::Arc;

use store::{Revision, SharedStore, SledStore, Txn};

const KEYS: usize = 60;
const WRITES: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_noticed_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(SledStore::open(dir.path()).unwrap().store);
    let mut last = Revision(0);
    for i in 0..WRITES {
        last = store.commit(Txn::new().put(key(i), value(i))).await.unwrap();
    }
    store.close().await;
    drop(store);
    let mut random = fastrand::Rng::with_seed(3);
    let log = std::fs::read(dir.path().join("data/sled/db")).unwrap();
    let used = log.iter().rposition(|byte| *byte != 0).unwrap();
    let mut noticed = 0;
    for _ in 0..20 {
        let bit = (random.usize(..used), random.u8(..8));
        noticed += usize::from(open_with_flipped_bit(dir.path(), &log, bit, last).await);
    }
    assert!(noticed > 0, "no flip hit anything, which proves nothing");
}

fn key(i: usize) -> String {
    format!("k/{}", i % KEYS)
}

fn value(i: usize) -> Vec<u8> {
    vec![u8::try_from(i).unwrap(); 300]
}

/// Whether the damage was noticed; where it was not, everything must be there.
async fn open_with_flipped_bit(from: &Path, log: &[u8], (at, bit): (usize, u8), last: Revision) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let copy = std::process::Command::new("cp").arg("-r").arg(from.join("data")).arg(dir.path()).status();
    assert!(copy.unwrap().success());
    let mut damaged = log.to_vec();
    damaged[at] ^= 1 << bit;
    std::fs::write(dir.path().join("data/sled/db"), &damaged).unwrap();
    let opened = SledStore::open(dir.path()).unwrap();
    let store: SharedStore = Arc::new(opened.store);
    let listing = store.list("").await.unwrap();
    for entry in &listing.entries {
        let written = (0..WRITES).filter(|i| key(*i) == entry.key).any(|i| value(i) == entry.value);
        assert!(written, "`{}` holds what was never written", entry.key);
    }
    let noticed = opened.set_aside.is_some() || opened.lost.is_some() || !listing.damaged.is_empty();
    if !noticed {
        assert_eq!((listing.entries.len(), listing.revision), (KEYS, last), "bit {bit} of byte {at}");
        let latest = |i: &usize| listing.get(&key(*i)).is_some_and(|entry| entry.value == value(*i));
        assert!((WRITES - KEYS..WRITES).all(|i| latest(&i)), "bit {bit} of byte {at}");
    }
    if let Some(lost) = opened.lost {
        assert_eq!(lost.up_to, last);
        let next = store.commit(Txn::new().put("k/new", "x")).await.unwrap();
        assert!(next > last, "a revision was used twice");
    }
    store.close().await;
    noticed
}
