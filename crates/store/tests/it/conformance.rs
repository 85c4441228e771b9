//! The suite that every store passes. One case per claim; all cases of a store share its processes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base::Epoch;
use store::{
    Guard, Leadership, Lease, MAX_TXN_BYTES, MAX_TXN_OPS, Revision, Seal, SharedStore, StoreError, Txn, Watch,
    WatchEvent,
};
use tokio::task::JoinSet;

use crate::bed::{Bed, sealed};
use crate::etcd_process::Cluster;

const TTL: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(10);

macro_rules! cases {
    ($($case:ident)*) => {
        async fn conforms(bed: &Bed) {
            $(
                println!("case {}", stringify!($case));
                $case(bed, bed.store(stringify!($case)), stringify!($case)).await;
            )*
        }
    };
}

cases! {
    what_was_put_is_read_back
    a_transaction_happens_as_a_whole_or_not_at_all
    each_guard_refuses_and_is_named
    sizes_and_keys_are_refused_before_anything_is_sent
    a_listing_of_many_pages_is_one_picture
    a_watch_misses_nothing_under_writers_and_compactions
    a_watch_goes_on_from_a_revision
    a_damaged_value_is_reported_and_the_others_are_served
    a_revoked_lease_is_noticed_and_its_keys_are_gone
    a_dropped_lease_takes_its_keys_along
    a_lease_stays_good_as_long_as_it_is_held
    candidates_lead_in_the_order_of_their_coming
    a_late_write_of_a_deposed_leader_is_refused
    an_epoch_never_falls_below_the_floor
    a_candidate_whose_lease_is_lost_gives_up
    a_leader_whose_office_is_not_as_it_took_it_takes_it_anew
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sled_conforms() {
    conforms(&Bed::sled(&Seal::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_sled_conforms() {
    conforms(&Bed::sled(&sealed())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_etcd_conforms() {
    let Some(cluster) = Cluster::start(1).await else { return };
    conforms(&Bed::Etcd { cluster, seal: sealed() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_of_one_member_conforms() {
    let Some(cluster) = Cluster::start(1).await else { return };
    conforms(&Bed::Etcd { cluster, seal: Seal::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_of_three_members_conforms() {
    let Some(cluster) = Cluster::start(3).await else { return };
    conforms(&Bed::Etcd { cluster, seal: Seal::default() }).await;
}

async fn what_was_put_is_read_back(_: &Bed, store: SharedStore, case: &str) {
    let key = format!("{case}/key");
    assert_eq!(store.get(&key).await.unwrap(), None);
    for value in [vec![], b"small".to_vec(), vec![1; 20_000], vec![2; 900_000]] {
        let revision = store.commit(Txn::new().put(&key, value.clone())).await.unwrap();
        let entry = store.get(&key).await.unwrap().unwrap();
        assert_eq!((&entry.value[..], entry.modified, entry.lease), (&value[..], revision, None));
    }
    let created = store.get(&key).await.unwrap().unwrap().created;
    store.commit(Txn::new().delete(&key)).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), None);
    let again = store.commit(Txn::new().put(&key, "again")).await.unwrap();
    let entry = store.get(&key).await.unwrap().unwrap();
    assert!(entry.created == again && again > created);
}

async fn a_transaction_happens_as_a_whole_or_not_at_all(_: &Bed, store: SharedStore, case: &str) {
    let key = |name: &str| format!("{case}/{name}");
    store.commit(Txn::new().put(key("old"), "1")).await.unwrap();
    let txn = || Txn::new().when(Guard::Absent(key("new"))).put(key("new"), "2").delete(key("old"));
    let revision = store.commit(txn()).await.unwrap();
    let listing = store.list(case).await.unwrap();
    assert_eq!(listing.entries.len(), 1);
    assert_eq!((&listing.entries[0].key, listing.entries[0].created), (&key("new"), revision));
    store.commit(txn().put(key("third"), "3")).await.unwrap_err();
    assert_eq!(store.list(case).await.unwrap().entries, listing.entries);
}

async fn each_guard_refuses_and_is_named(_: &Bed, store: SharedStore, case: &str) {
    let key = format!("{case}/key");
    let first = store.commit(Txn::new().put(&key, "1")).await.unwrap();
    let second = store.commit(Txn::new().put(&key, "2")).await.unwrap();
    let holds = [Guard::CreatedAt(key.clone(), first), Guard::ModifiedAt(key.clone(), second)];
    let breaks = [
        Guard::Absent(key.clone()),
        Guard::ModifiedAt(key.clone(), first),
        Guard::CreatedAt(key.clone(), second),
        Guard::ModifiedAt(format!("{case}/none"), first),
    ];
    for broken in breaks {
        let txn = Txn { guards: holds.to_vec(), ..Txn::default() };
        let txn = txn.when(broken.clone()).put(format!("{case}/other"), "x");
        match store.commit(txn).await {
            Err(StoreError::Refused { guard }) => assert_eq!(guard, broken),
            other => panic!("{broken}: {other:?}"),
        }
    }
    let txn = Txn { guards: holds.to_vec(), ..Txn::default() };
    store.commit(txn.put(&key, "3")).await.unwrap();
}

async fn sizes_and_keys_are_refused_before_anything_is_sent(_: &Bed, store: SharedStore, case: &str) {
    let many = (0..=MAX_TXN_OPS).fold(Txn::new(), |txn, i| txn.put(format!("{case}/{i}"), "x"));
    assert!(matches!(store.commit(many).await, Err(StoreError::TooManyOps { .. })));
    let large = Txn::new().put(format!("{case}/large"), vec![0; MAX_TXN_BYTES]);
    assert!(matches!(store.commit(large).await, Err(StoreError::TooLarge { .. })));
    for key in ["", "/absolute", "nul\0"] {
        assert!(matches!(store.commit(Txn::new().put(key, "x")).await, Err(StoreError::Invalid { .. })), "{key:?}");
        assert!(matches!(store.get(key).await, Err(StoreError::Invalid { .. })), "{key:?}");
    }
    let full = (0..MAX_TXN_OPS).fold(Txn::new(), |txn, i| txn.put(format!("{case}/{i}"), vec![1; 8000]));
    store.commit(full).await.unwrap();
}

async fn a_listing_of_many_pages_is_one_picture(_: &Bed, store: SharedStore, case: &str) {
    for hundred in 0..3 {
        let keys = (0..100).map(|i| format!("{case}/{hundred}{i:02}"));
        store.commit(keys.fold(Txn::new(), |txn, key| txn.put(key, "x"))).await.unwrap();
    }
    let last = store.commit(Txn::new().put(format!("{case}x"), "outside")).await.unwrap();
    let listing = store.list(&format!("{case}/")).await.unwrap();
    assert_eq!((listing.entries.len(), listing.revision >= last), (300, true));
    assert!(listing.entries.is_sorted_by(|a, b| a.key < b.key));
}

/// What a watch has told so far, checked as it comes.
#[derive(Default)]
struct Follower {
    state: BTreeMap<String, (Revision, Vec<u8>)>,
    seen: BTreeSet<Revision>,
    resets: Vec<Revision>,
    at: Revision,
}

impl Follower {
    fn apply(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Reset(listing) => {
                assert!(listing.revision >= self.at, "a reset went back");
                let entries = listing.entries.into_iter();
                self.state = entries.map(|entry| (entry.key, (entry.modified, entry.value.to_vec()))).collect();
                self.resets.push(listing.revision);
                self.at = listing.revision;
            }
            WatchEvent::Put(entry) => {
                self.note(entry.modified);
                self.state.insert(entry.key, (entry.modified, entry.value.to_vec()));
            }
            WatchEvent::Deleted { key, revision } => {
                self.note(revision);
                assert!(self.state.remove(&key).is_some(), "`{key}` was deleted twice");
            }
            WatchEvent::Damaged(damaged) => panic!("{damaged:?}"),
        }
    }

    fn note(&mut self, revision: Revision) {
        assert!(revision >= self.at, "revision {revision} came after {}", self.at);
        self.at = revision;
        self.seen.insert(revision);
    }

    async fn follow_to(&mut self, watch: &mut Watch, revision: Revision) {
        while self.at < revision {
            let event = tokio::time::timeout(SOON, watch.next()).await.expect("the watch stands still");
            self.apply(event.expect("the watch ended"));
        }
    }
}

async fn a_watch_misses_nothing_under_writers_and_compactions(bed: &Bed, store: SharedStore, case: &str) {
    let prefix = format!("{case}/");
    let mut watch = store.watch(&prefix, None);
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (store, prefix) = (store.clone(), prefix.clone());
        writers.spawn(async move {
            let mut revisions = Vec::new();
            for i in 0..80 {
                let key = format!("{prefix}{}", fastrand::u8(..20));
                let txn = match fastrand::u8(..4) {
                    0 => Txn::new().delete(key).put(format!("{prefix}last-delete"), "x"),
                    _ => Txn::new().put(key, format!("{writer}:{i}")),
                };
                revisions.push(store.commit(txn).await.unwrap());
            }
            revisions
        });
    }
    let mut follower = Follower::default();
    let mut acknowledged = BTreeSet::new();
    let mut compactions = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            written = writers.join_next() => match written {
                Some(revisions) => acknowledged.extend(revisions.unwrap()),
                None => break,
            },
            event = watch.next() => follower.apply(event.unwrap()),
            _ = compactions.tick() => bed.compact(case).await,
        }
    }
    let last = store.commit(Txn::new().put(format!("{prefix}the-end"), "x")).await.unwrap();
    follower.follow_to(&mut watch, last).await;
    let reset = follower.resets.last().copied().unwrap();
    let missed: Vec<_> = acknowledged.iter().filter(|r| **r > reset && !follower.seen.contains(r)).collect();
    assert!(missed.is_empty(), "missed {missed:?}, resets {:?}", follower.resets);
    let listing = store.list(&prefix).await.unwrap();
    let state = listing.entries.into_iter().map(|entry| (entry.key, (entry.modified, entry.value.to_vec())));
    assert_eq!(follower.state, state.collect());
    let ended = Instant::now();
    while watch.is_stale() {
        assert!(ended.elapsed() < SOON, "the watch stays stale");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn a_watch_goes_on_from_a_revision(bed: &Bed, store: SharedStore, case: &str) {
    let key = |i: u8| format!("{case}/{i}");
    store.commit(Txn::new().put(key(1), "x")).await.unwrap();
    let from = store.list(case).await.unwrap().revision;
    store.commit(Txn::new().put(key(2), "x")).await.unwrap();
    let mut follower = Follower::default();
    follower.state.insert(key(1), (from, b"x".to_vec()));
    let mut watch = store.watch(case, Some(from));
    let last = store.commit(Txn::new().put(key(3), "x")).await.unwrap();
    follower.follow_to(&mut watch, last).await;
    assert!(follower.state.keys().eq(&[key(1), key(2), key(3)]));
    if matches!(bed, Bed::Etcd { .. }) {
        assert_eq!(follower.resets, [], "etcd still knew the history");
    }
}

async fn a_damaged_value_is_reported_and_the_others_are_served(bed: &Bed, store: SharedStore, case: &str) {
    let (bad, good) = (format!("{case}/bad"), format!("{case}/good"));
    store.commit(Txn::new().put(&good, "x")).await.unwrap();
    bed.put_junk(case, &bad).await;
    match store.get(&bad).await {
        Err(StoreError::Damaged(damaged)) => assert_eq!(damaged.key, bad),
        other => panic!("{other:?}"),
    }
    let listing = store.list(case).await.unwrap();
    assert_eq!((listing.entries.len(), listing.damaged.len()), (1, 1));
    let mut watch = store.watch(case, None);
    assert!(matches!(watch.next().await, Some(WatchEvent::Reset(seen)) if seen.damaged == listing.damaged));
    let unchanged = Guard::ModifiedAt(bad.clone(), listing.damaged[0].modified);
    store.commit(Txn::new().when(unchanged).put(&bad, "repaired")).await.unwrap();
    assert!(matches!(watch.next().await, Some(WatchEvent::Put(entry)) if entry.value == "repaired"));
}

async fn a_revoked_lease_is_noticed_and_its_keys_are_gone(_: &Bed, store: SharedStore, case: &str) {
    let key = format!("{case}/key");
    let lease = store.lease(TTL).await.unwrap();
    store.commit(Txn::new().put_leased(&key, "x", lease.id())).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().unwrap().lease, Some(lease.id()));
    store.revoke(lease.id()).await.unwrap();
    tokio::time::timeout(SOON, lease.lost()).await.unwrap();
    assert!(lease.is_lost());
    assert_eq!(store.get(&key).await.unwrap(), None);
    match store.commit(Txn::new().put_leased(&key, "x", lease.id())).await {
        Err(StoreError::LeaseLost { lease: lost }) => assert_eq!(lost, lease.id()),
        other => panic!("{other:?}"),
    }
    store.revoke(lease.id()).await.unwrap();
}

async fn a_dropped_lease_takes_its_keys_along(_: &Bed, store: SharedStore, case: &str) {
    let (key, kept) = (format!("{case}/key"), format!("{case}/kept"));
    let lease = store.lease(Duration::from_secs(600)).await.unwrap();
    let both = Txn::new().put_leased(&key, "x", lease.id()).put_leased(&kept, "x", lease.id());
    store.commit(both).await.unwrap();
    store.commit(Txn::new().put(&kept, "taken off the lease")).await.unwrap();
    let mut watch = store.watch(case, None);
    watch.next().await.unwrap();
    drop(lease);
    let event = tokio::time::timeout(SOON, watch.next()).await.unwrap();
    assert!(matches!(event, Some(WatchEvent::Deleted { key: gone, .. }) if gone == key));
    assert!(store.get(&kept).await.unwrap().is_some());
}

async fn a_lease_stays_good_as_long_as_it_is_held(_: &Bed, store: SharedStore, case: &str) {
    let key = format!("{case}/key");
    let lease = store.lease(TTL).await.unwrap();
    store.commit(Txn::new().put_leased(&key, "x", lease.id())).await.unwrap();
    let until = Instant::now() + lease.ttl() * 3 / 2;
    while Instant::now() < until {
        assert!(lease.good_until() > Instant::now(), "it was not renewed in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!lease.is_lost());
    assert!(store.get(&key).await.unwrap().is_some());
}

async fn campaign(store: &SharedStore, election: &str, name: &'static str, lease: &Lease, floor: u64) -> Leadership {
    let won = store.campaign(election, name.into(), lease, Epoch(floor));
    tokio::time::timeout(SOON, won).await.expect("nobody won").unwrap()
}

async fn candidates_lead_in_the_order_of_their_coming(_: &Bed, store: SharedStore, case: &str) {
    let lease = store.lease(TTL).await.unwrap();
    let first = campaign(&store, case, "first", &lease, 0).await;
    let (leases, mut turns) = (tokio::sync::mpsc::channel(4), tokio::sync::mpsc::channel(4));
    let mut candidates = JoinSet::new();
    let mut watch = store.watch(&format!("elections/{case}/candidates/"), None);
    watch.next().await.unwrap();
    for name in ["second", "third"] {
        let (store, election, turns, leases) = (store.clone(), case.to_owned(), turns.0.clone(), leases.0.clone());
        candidates.spawn(async move {
            let lease = store.lease(TTL).await.unwrap();
            let leadership = campaign(&store, &election, name, &lease, 0).await;
            turns.send((name, leadership)).await.unwrap();
            leases.send(lease).await.unwrap();
        });
        watch.next().await.unwrap();
    }
    assert_eq!(store.leader(case).await.unwrap().unwrap().value, "first");
    assert!(turns.1.try_recv().is_err());
    let mut epoch = first.epoch;
    first.resign().await.unwrap();
    for expected in ["second", "third"] {
        let (name, leadership) = tokio::time::timeout(SOON, turns.1.recv()).await.unwrap().unwrap();
        assert_eq!(name, expected);
        assert!(leadership.epoch > epoch);
        epoch = leadership.epoch;
        let leader = store.leader(case).await.unwrap().unwrap();
        assert_eq!((&leader.value[..], leader.epoch), (expected.as_bytes(), epoch));
        leadership.resign().await.unwrap();
    }
    assert_eq!(store.leader(case).await.unwrap(), None);
}

async fn a_late_write_of_a_deposed_leader_is_refused(_: &Bed, store: SharedStore, case: &str) {
    let (old_lease, new_lease) = (store.lease(TTL).await.unwrap(), store.lease(TTL).await.unwrap());
    let old = campaign(&store, case, "old", &old_lease, 0).await;
    let write = |leadership: &Leadership| Txn::new().when(leadership.guard()).put(format!("{case}/plan"), "x");
    store.commit(write(&old)).await.unwrap();
    assert!(old.must_stop_at() > Instant::now());
    store.revoke(old_lease.id()).await.unwrap();
    tokio::time::timeout(SOON, old.lost()).await.unwrap();
    let new = campaign(&store, case, "new", &new_lease, 0).await;
    assert!(new.epoch > old.epoch);
    match store.commit(write(&old)).await {
        Err(StoreError::Refused { guard }) => assert_eq!(guard, old.guard()),
        other => panic!("{other:?}"),
    }
    store.commit(write(&new)).await.unwrap();
}

async fn an_epoch_never_falls_below_the_floor(_: &Bed, store: SharedStore, case: &str) {
    const FLOOR: u64 = 1_000_000_000;
    let lease = store.lease(TTL).await.unwrap();
    let first = campaign(&store, case, "first", &lease, FLOOR).await;
    assert!(first.epoch > Epoch(FLOOR));
    let epoch = first.epoch;
    first.resign().await.unwrap();
    // The next one's node has never heard of that floor.
    assert!(campaign(&store, case, "second", &lease, 0).await.epoch > epoch);
}

async fn a_candidate_whose_lease_is_lost_gives_up(_: &Bed, store: SharedStore, case: &str) {
    let (leader_lease, lease) = (store.lease(TTL).await.unwrap(), store.lease(TTL).await.unwrap());
    let leader = campaign(&store, case, "leader", &leader_lease, 0).await;
    let waiting = store.campaign(case, "waiting".into(), &lease, Epoch(0));
    let (won, revoked) = tokio::join!(tokio::time::timeout(SOON, waiting), store.revoke(lease.id()));
    revoked.unwrap();
    assert!(matches!(won.unwrap(), Err(StoreError::LeaseLost { .. })));
    leader.resign().await.unwrap();
}

async fn a_leader_whose_office_is_not_as_it_took_it_takes_it_anew(bed: &Bed, store: SharedStore, case: &str) {
    const SEEN: Epoch = Epoch(1_000_000_000);
    let lease = store.lease(TTL).await.unwrap();
    let mut leadership = campaign(&store, case, "leader", &lease, 0).await;
    let (key, epoch_key) = (format!("elections/{case}/candidates/{}", lease.id()), format!("elections/{case}/epoch"));
    for damaged in [&key, &epoch_key] {
        bed.put_junk(case, damaged).await;
        tokio::time::timeout(SOON, leadership.lost()).await.expect("it leads on with a damaged key");
        let again = campaign(&store, case, "leader", &lease, leadership.epoch.0).await;
        assert!(again.epoch > leadership.epoch);
        assert_eq!(store.leader(case).await.unwrap().map(|leader| leader.epoch), Some(again.epoch));
        assert!(store.commit(Txn::new().when(leadership.guard())).await.is_err(), "it could still write");
        leadership = again;
    }
    store.raise_epoch(case, leadership.epoch).await.unwrap();
    assert!(tokio::time::timeout(TTL / 4, leadership.lost()).await.is_err(), "it lost an office that nobody touched");
    store.raise_epoch(case, SEEN).await.unwrap();
    tokio::time::timeout(SOON, leadership.lost()).await.expect("it leads below an epoch that somebody saw");
    assert!(campaign(&store, case, "leader", &lease, 0).await.epoch > SEEN);
}
