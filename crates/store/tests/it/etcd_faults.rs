//! What etcd does to its clients, done to the store: killed, frozen, restarted, restored, and guarded by a password.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Epoch;
use etcd_client::{AlarmAction, AlarmType};
use store::{Revision, SharedStore, StoreError, Txn, Watch, WatchEvent};

use crate::etcd_process::{Cluster, open};

const TTL: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(15);

async fn put(store: &SharedStore, key: &str) -> Result<Revision, StoreError> {
    store.commit(Txn::new().put(key, "x")).await
}

async fn next(watch: &mut Watch) -> WatchEvent {
    tokio::time::timeout(SOON, watch.next()).await.expect("the watch stands still").expect("the watch ended")
}

/// Waits until a put succeeds.
async fn put_in_the_end(store: &SharedStore, key: &str) -> Duration {
    let started = Instant::now();
    while put(store, key).await.is_err() {
        assert!(started.elapsed() < SOON, "no put succeeds any more");
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_of_etcd_costs_less_than_three_seconds() {
    let Some(mut cluster) = Cluster::start(3).await else { return };
    let store = cluster.store("/test");
    let lease = store.lease(TTL).await.unwrap();
    let mut watch = store.watch("k/", None);
    next(&mut watch).await;
    put(&store, "k/before").await.unwrap();
    next(&mut watch).await;
    let killed = Instant::now();
    cluster.kill(cluster.leader().await);
    put_in_the_end(&store, "k/after").await;
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
    for i in 0..100 {
        put(&store, &format!("k/{i}")).await.unwrap();
    }
    // Nothing is skipped and nothing starts over: the stream goes on at another member.
    assert!(matches!(next(&mut watch).await, WatchEvent::Put(entry) if entry.key == "k/after"));
    for i in 0..100 {
        assert!(matches!(next(&mut watch).await, WatchEvent::Put(entry) if entry.key == format!("k/{i}")));
    }
    assert!(!lease.is_lost());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_to_a_frozen_etcd_ends_by_its_deadline() {
    let Some(cluster) = Cluster::start(3).await else { return };
    let store = cluster.store("/test");
    let lease = store.lease(TTL).await.unwrap();
    put(&store, "key").await.unwrap();
    cluster.freeze_all();
    let bound = cluster.config("").timeout + Duration::from_millis(500);
    let started = Instant::now();
    let (got, listed, committed, leased) =
        tokio::join!(store.get("key"), store.list(""), put(&store, "key"), store.lease(TTL));
    assert!(started.elapsed() < bound, "{:?}", started.elapsed());
    assert!(matches!(got, Err(StoreError::Unavailable { .. })), "{got:?}");
    assert!(matches!(listed, Err(StoreError::Unavailable { .. })), "{listed:?}");
    assert!(matches!(committed, Err(StoreError::Unclear { .. })), "{committed:?}");
    assert!(matches!(leased, Err(StoreError::Unavailable { .. })), "{leased:?}");
    assert!(!store.health().reachable);
    tokio::time::sleep_until((lease.good_until() + Duration::from_millis(1)).into()).await;
    assert!(lease.good_until() < Instant::now(), "nobody acknowledged a renewal");
    cluster.thaw_all();
    put_in_the_end(&store, "key").await;
    assert!(store.health().reachable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_watch_is_opened_again() {
    let Some(cluster) = Cluster::start(1).await else { return };
    let store = cluster.store("/test");
    let mut watch = store.watch("k/", None);
    next(&mut watch).await;
    put(&store, "k/before").await.unwrap();
    next(&mut watch).await;
    cluster.freeze_all();
    let started = Instant::now();
    while !watch.is_stale() {
        assert!(started.elapsed() < SOON, "a frozen etcd went unnoticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.thaw_all();
    assert!(matches!(next(&mut watch).await, WatchEvent::Reset(listing) if listing.entries.len() == 1));
    put(&store, "k/after").await.unwrap();
    assert!(matches!(next(&mut watch).await, WatchEvent::Put(entry) if entry.key == "k/after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_its_majority_leaves_no_watch_believing_it() {
    let Some(mut cluster) = Cluster::start(3).await else { return };
    let store = cluster.store("/test");
    let mut watch = store.watch("k/", None);
    next(&mut watch).await;
    put(&store, "k/before").await.unwrap();
    next(&mut watch).await;
    assert!(!watch.is_stale());
    // The store's first choice stays alone.
    cluster.kill(1);
    cluster.kill(2);
    let started = Instant::now();
    while !watch.is_stale() {
        assert!(started.elapsed() < SOON, "the lonely member passes for good");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    put(&store, "k/never").await.unwrap_err();
    cluster.start_member(1);
    put_in_the_end(&store, "k/after").await;
    loop {
        match next(&mut watch).await {
            WatchEvent::Put(entry) if entry.key == "k/after" => break,
            // A put without a majority may still happen once there is one; that is what `Unclear` says.
            WatchEvent::Put(entry) => assert_eq!(entry.key, "k/never"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_refuses_writes_serves_reads_and_goes_on_once_there_is_room() {
    let Some(cluster) = Cluster::start(1).await else { return };
    let store = cluster.store("/test");
    put(&store, "key").await.unwrap();
    let mut admin = cluster.client().await;
    admin.alarm(AlarmAction::Activate, AlarmType::Nospace, None).await.unwrap();
    assert!(matches!(put(&store, "other").await, Err(StoreError::Full { .. })));
    assert!(store.get("key").await.unwrap().is_some());
    assert!(store.health().full.is_some());
    admin.alarm(AlarmAction::Deactivate, AlarmType::Nospace, None).await.unwrap();
    put(&store, "other").await.unwrap();
    assert!(store.health().full.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_and_lease_outlive_a_restart_of_etcd() {
    let Some(mut cluster) = Cluster::start(1).await else { return };
    let store = cluster.store("/test");
    let lease = store.lease(TTL).await.unwrap();
    store.commit(Txn::new().put_leased("k/leased", "x", lease.id())).await.unwrap();
    let mut watch = store.watch("k/", None);
    next(&mut watch).await;
    cluster.kill(0);
    // The first put may have left on the dying connection; a connection that is refused leaves nothing unclear.
    put(&store, "k/never").await.unwrap_err();
    let refused = put(&store, "k/never").await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    cluster.start_member(0);
    put_in_the_end(&store, "k/after").await;
    assert!(matches!(next(&mut watch).await, WatchEvent::Put(entry) if entry.key == "k/after"));
    let restarted = Instant::now();
    while restarted.elapsed() < lease.ttl() * 3 / 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!lease.is_lost());
    }
    assert!(lease.good_until() > Instant::now());
    assert!(store.get("k/leased").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_lost_its_history_resets_watches_and_keeps_the_epoch_floor() {
    let Some(mut cluster) = Cluster::start(1).await else { return };
    let store = cluster.store("/test");
    let lease = store.lease(TTL).await.unwrap();
    for i in 0..50 {
        put(&store, &format!("k/{i}")).await.unwrap();
    }
    let leadership = store.campaign("scheduler", "me".into(), &lease, Epoch(0)).await.unwrap();
    let mut watch = store.watch("k/", None);
    next(&mut watch).await;
    cluster.kill(0);
    cluster.forget_everything(0);
    cluster.start_member(0);
    put_in_the_end(&store, "k/new").await;
    loop {
        // The first picture may be from before the put.
        match next(&mut watch).await {
            WatchEvent::Reset(listing) if listing.entries.is_empty() => {}
            WatchEvent::Reset(listing) => break assert_eq!(listing.entries[0].key, "k/new"),
            WatchEvent::Put(entry) => break assert_eq!(entry.key, "k/new"),
            other => panic!("{other:?}"),
        }
    }
    tokio::time::timeout(SOON, lease.lost()).await.unwrap();
    let lease = store.lease(TTL).await.unwrap();
    let again = store.campaign("scheduler", "me".into(), &lease, leadership.epoch).await.unwrap();
    assert!(again.epoch > leadership.epoch);
    assert!(matches!(
        store.commit(Txn::new().when(leadership.guard()).put("k/late", "x")).await,
        Err(StoreError::Refused { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_used_and_its_token_renewed_after_a_restart() {
    let Some(mut cluster) = Cluster::start(1).await else { return };
    let mut admin = cluster.client().await;
    admin.user_add("root", "secret", None).await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.auth_enable().await.unwrap();
    let mut config = cluster.config("/test");
    assert!(matches!(
        open_shared(&config).get("key").await,
        Err(StoreError::Denied { .. } | StoreError::Invalid { .. })
    ));
    let file = cluster.dir().join("password");
    std::fs::write(&file, "wrong\n").unwrap();
    config.user = Some(("root".to_owned(), file.clone()));
    assert!(matches!(open_shared(&config).get("key").await, Err(StoreError::Denied { .. })));
    std::fs::write(&file, "secret\n").unwrap();
    let store = open_shared(&config);
    let lease = store.lease(TTL).await.unwrap();
    let mut watch = store.watch("k/", None);
    next(&mut watch).await;
    cluster.kill(0);
    cluster.start_member(0);
    put_in_the_end(&store, "k/after").await;
    assert!(matches!(next(&mut watch).await, WatchEvent::Put(entry) if entry.key == "k/after"));
    let restarted = Instant::now();
    while lease.good_until() < restarted + lease.ttl() {
        assert!(restarted.elapsed() < SOON, "the lease is not renewed any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn open_shared(config: &base::config::Etcd) -> SharedStore {
    Arc::new(open(config))
}
