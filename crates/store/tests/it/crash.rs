//! kill -9 at random instants: this test binary runs itself as a writer, ends it, and looks what is left.
//!
//! `TM_STORE_CRASHES` sets how many times (1000 in the soak), `TM_STORE_SEED` when.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::Epoch;
use store::{Seal, SharedStore, SledStore, Store, StoreError, Txn};

use crate::bed::sealed;

const DIR: &str = "TM_STORE_CRASH_DIR";
const WRITES: &str = "TM_STORE_CRASH_WRITES";
const SEALED: &str = "TM_STORE_CRASH_SEALED";
const WRITERS: u64 = 4;

#[test]
fn every_acknowledged_write_outlives_a_kill() {
    outlives_kills(&Seal::default());
}

#[test]
fn every_acknowledged_write_of_a_sealed_store_outlives_a_kill() {
    outlives_kills(&sealed());
}

fn outlives_kills(seal: &Seal) {
    let crashes = std::env::var("TM_STORE_CRASHES").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let seed = std::env::var("TM_STORE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(7);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut writes = 0;
    for _ in 0..crashes {
        writes += write_until_killed(dir.path(), seal, &mut acknowledged, random.u64(5..250));
        let opened = SledStore::open_sealed(dir.path(), seal).unwrap();
        assert_eq!((opened.set_aside, opened.lost), (None, None));
        check(Arc::new(opened.store), &acknowledged);
    }
    println!("{writes} writes were acknowledged");
    assert!(writes > crashes, "too little was written to prove anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_ends_with_its_process_and_epochs_go_on_growing() {
    let (dir, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store: SharedStore = Arc::new(SledStore::open(dir.path()).unwrap().store);
    let lease = store.lease(Duration::from_secs(600)).await.unwrap();
    let before = store.campaign("scheduler", "me".into(), &lease, Epoch(0)).await.unwrap();
    store.commit(Txn::new().put_leased("leased", "x", lease.id()).put("kept", "x")).await.unwrap();
    // What a process leaves that ends without a word.
    let copied = Command::new("cp").arg("-r").arg(dir.path().join("data")).arg(after.path()).status();
    assert!(copied.unwrap().success());
    let store: SharedStore = Arc::new(SledStore::open(after.path()).unwrap().store);
    assert!(store.get("leased").await.unwrap().is_none());
    assert!(store.get("kept").await.unwrap().is_some());
    let lease = store.lease(Duration::from_secs(600)).await.unwrap();
    let again = store.campaign("scheduler", "me".into(), &lease, Epoch(0)).await.unwrap();
    assert!(again.epoch > before.epoch);
    let late = store.commit(Txn::new().when(before.guard()).put("late", "x")).await;
    assert!(matches!(late, Err(StoreError::Refused { .. })));
}

/// Runs the writer, kills it so many milliseconds after its first acknowledgement, and notes what it acknowledged.
fn write_until_killed(dir: &std::path::Path, seal: &Seal, acknowledged: &mut BTreeMap<u64, u64>, after_ms: u64) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    if seal.is_on() {
        command.env(SEALED, "yes");
    }
    let mut child = command
        .args(["--exact", "crash::writer_that_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut writes = 0;
    let mut note = |line: String| {
        // The first one stands behind what the test harness prints on its line.
        let Some((_, ack)) = line.split_once("ack ") else { return false };
        let (writer, count) = ack.split_once(' ').unwrap();
        acknowledged.insert(writer.parse().unwrap(), count.parse().unwrap());
        writes += 1;
        true
    };
    while !note(lines.next().expect("the writer ended by itself")) {}
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(after_ms));
        child.kill().unwrap();
        child.wait().unwrap();
    });
    for line in lines {
        note(line);
    }
    killer.join().unwrap();
    writes
}

/// As the kernel sees it: between two acknowledgements of one writer, the log was synced.
#[test]
fn the_log_is_synced_before_each_acknowledgement() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=fdatasync,write", "-s", "16", "-o"]).arg(&trace);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", "crash::writer_that_is_killed", "--nocapture"]);
    let store = dir.path().join("store");
    let Ok(status) = command.env(DIR, &store).env(WRITES, "20").stdout(Stdio::null()).status() else {
        println!("skipped: strace is not installed");
        return;
    };
    if !status.success() {
        println!("skipped: strace may not trace here");
        return;
    }
    let mut synced = [true; WRITERS as usize];
    let mut acknowledged = 0;
    for line in std::fs::read_to_string(&trace).unwrap().lines() {
        if line.contains("fdatasync") && line.ends_with("= 0") {
            synced = [true; WRITERS as usize];
        } else if let Some((_, ack)) = line.split_once("\"ack ") {
            let writer = ack[..1].parse::<usize>().unwrap();
            assert!(std::mem::take(&mut synced[writer]), "acknowledged without a sync: {line}");
            acknowledged += 1;
        }
    }
    assert!(acknowledged >= 20, "only {acknowledged} acknowledgements were seen");
}

fn check(store: SharedStore, acknowledged: &BTreeMap<u64, u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (writer, count) in acknowledged {
            let left = read(&store, &format!("{writer}/left")).await;
            assert!(left >= *count, "writer {writer}: {count} was acknowledged, {left} is there");
            assert_eq!(left, read(&store, &format!("{writer}/right")).await, "half of a transaction is there");
        }
        assert!(store.list("").await.unwrap().damaged.is_empty());
        store.close().await;
    });
}

async fn read(store: &SharedStore, key: &str) -> u64 {
    let entry = store.get(key).await.unwrap().unwrap();
    u64::from_le_bytes(entry.value[..8].try_into().unwrap())
}

/// Only does something when it is started by one of the tests above.
#[test]
fn writer_that_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let seal = if std::env::var_os(SEALED).is_some() { sealed() } else { Seal::default() };
        let store: Arc<dyn Store> = Arc::new(SledStore::open_sealed(dir.as_ref(), &seal).unwrap().store);
        let mut writers = tokio::task::JoinSet::new();
        (0..WRITERS).for_each(|writer| drop(writers.spawn(write(store.clone(), writer))));
        writers.join_all().await;
    });
}

async fn write(store: SharedStore, writer: u64) {
    let mut count = match store.get(&format!("{writer}/left")).await.unwrap() {
        Some(_) => read(&store, &format!("{writer}/left")).await,
        None => 0,
    };
    let last = std::env::var(WRITES).map_or(u64::MAX, |writes| writes.parse().unwrap());
    while count < last {
        count += 1;
        let mut value = count.to_le_bytes().to_vec();
        let longest = [100, 4000, 40_000][fastrand::usize(..3)];
        value.resize(fastrand::usize(8..longest), 1);
        let txn = Txn::new().put(format!("{writer}/left"), value.clone()).put(format!("{writer}/right"), value);
        store.commit(txn).await.unwrap();
        println!("ack {writer} {count}");
    }
}
