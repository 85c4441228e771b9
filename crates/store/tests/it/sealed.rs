//! A sealed store from outside: what a thief of the disk finds, what another key gets, and that plain and sealed values
//! are never mixed.

use std::path::Path;
use std::sync::Arc;

use store::{Guard, Local, OpenError, Seal, SharedStore, SledStore, Store, StoreError, Txn};

use crate::bed::sealed;
use crate::etcd_process::{Cluster, open_sealed};

/// Stands nowhere by chance.
const CANARY: &str = "the-heron-stands-in-the-shallow-water";

fn other_key() -> Seal {
    Seal::with_keys([8; 32], &[])
}

/// Whether any file below `dir` holds the canary.
fn is_readable_below(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => is_readable_below(&path),
            false => std::fs::read(&path).unwrap().windows(CANARY.len()).any(|part| part == CANARY.as_bytes()),
        }
    })
}

/// A small value and one that goes into a file.
fn secrets() -> Txn {
    Txn::new().put("tasks/1", CANARY).put("tasks/2", CANARY.repeat(1000))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_shows_nothing_of_sealed_values_and_all_of_plain_ones() {
    for seal in [Seal::default(), sealed()] {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open_sealed(&dir.path().join("store"), &seal).unwrap().store;
        store.commit(secrets()).await.unwrap();
        store.close().await;
        drop(store);
        let local = Local::open_sealed(&dir.path().join("local"), &seal).unwrap().store;
        local.table("answers").unwrap().put_durable(b"1", CANARY.as_bytes()).await.unwrap();
        drop(local);
        assert_eq!(is_readable_below(dir.path()), !seal.is_on());
        let store = SledStore::open_sealed(&dir.path().join("store"), &seal).unwrap().store;
        assert_eq!(store.get("tasks/1").await.unwrap().unwrap().value, CANARY);
        let local = Local::open_sealed(&dir.path().join("local"), &seal).unwrap().store;
        assert_eq!(local.table("answers").unwrap().get(b"1").unwrap().unwrap(), CANARY);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sled_refuses_another_key_and_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open_sealed(dir.path(), &sealed()).unwrap().store;
    store.commit(secrets()).await.unwrap();
    store.close().await;
    drop(store);
    assert!(matches!(SledStore::open_sealed(dir.path(), &other_key()), Err(OpenError::OtherKey { .. })));
    assert!(matches!(SledStore::open(dir.path()), Err(OpenError::Mixed { is_sealed: true, .. })));
    let store = SledStore::open_sealed(dir.path(), &sealed()).unwrap().store;
    assert_eq!(store.list("tasks/").await.unwrap().entries.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_shows_nothing_and_refuses_another_key_and_none() {
    let Some(cluster) = Cluster::start(1).await else { return };
    let config = cluster.config("/sealed");
    let store = open_sealed(&config, &sealed());
    store.check_seal().await.unwrap();
    store.commit(secrets()).await.unwrap();
    assert_eq!(open_sealed(&config, &sealed()).get("tasks/1").await.unwrap().unwrap().value, CANARY);

    for seal in [other_key(), Seal::default()] {
        let stranger = open_sealed(&config, &seal);
        assert!(matches!(stranger.check_seal().await, Err(StoreError::Mixed { .. })));
        assert!(matches!(stranger.commit(Txn::new().put("mine", "x")).await, Err(StoreError::Mixed { .. })));
        assert!(matches!(stranger.get("tasks/1").await, Err(StoreError::Damaged(_))));
        assert_eq!(stranger.list("tasks/").await.unwrap().damaged.len(), 2);
    }
    assert_eq!(store.get("mine").await.unwrap(), None);
    assert!(!is_readable_below(cluster.dir()));
    cluster.store("/plain").commit(secrets()).await.unwrap();
    assert!(is_readable_below(cluster.dir()), "the search finds nothing at all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_values_in_etcd_are_not_sealed_over() {
    let Some(cluster) = Cluster::start(1).await else { return };
    cluster.store("/plain").commit(secrets()).await.unwrap();
    let late = cluster.sealed_store("/plain", &sealed());
    assert!(matches!(late.commit(Txn::new().put("mine", "x")).await, Err(StoreError::Mixed { .. })));
    let plain = cluster.store("/plain").list("").await.unwrap();
    assert_eq!((plain.entries.len(), plain.damaged.len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_was_moved_to_another_key_is_found() {
    let Some(cluster) = Cluster::start(1).await else { return };
    let store = cluster.sealed_store("/sealed", &sealed());
    store.commit(Txn::new().put("a", "of a").put("b", "of b")).await.unwrap();
    let mut client = cluster.client().await;
    let of_a = client.get("/sealed/a", None).await.unwrap().kvs()[0].value().to_vec();
    client.put("/sealed/b", of_a, None).await.unwrap();
    match store.get("b").await {
        Err(StoreError::Damaged(damaged)) => assert!(damaged.reason.contains("moved"), "{}", damaged.reason),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.get("a").await.unwrap().unwrap().value, "of a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_key_reads_what_the_old_one_sealed_and_guards_hold_across_it() {
    let Some(cluster) = Cluster::start(1).await else { return };
    let before = cluster.sealed_store("/sealed", &sealed());
    let at = before.commit(Txn::new().put("a", "1")).await.unwrap();
    let both: SharedStore = Arc::new(open_sealed(&cluster.config("/sealed"), &Seal::with_keys([8; 32], &[[7; 32]])));
    assert_eq!(both.get("a").await.unwrap().unwrap().value, "1");
    both.commit(Txn::new().when(Guard::ModifiedAt("a".to_owned(), at)).put("a", "2")).await.unwrap();
    let after = cluster.sealed_store("/sealed", &other_key());
    assert_eq!(after.get("a").await.unwrap().unwrap().value, "2");
    after.commit(Txn::new().put("b", "1")).await.unwrap();
}
