//! What others do to a cluster: damage its keys, take its etcd before the start, accept and never answer.

use std::time::{Duration, Instant};

use base::Incarnation;
use base::report::NodeState;
use cluster::Member;
use store::Txn;

use crate::bed::{SOON, three, wait, wait_until_all_are};
use crate::etcd::Etcd;

#[test]
fn a_key_that_is_damaged_or_deleted_is_mended_by_its_node() {
    let Some(etcd) = Etcd::start() else { return };
    let (_machines, [a, b, c]) = three(&etcd);
    let life = b.cluster.incarnation();
    let is_mended = || {
        let entry = a.block_on(a.store.get("members/b")).ok().flatten();
        entry.is_some_and(|entry| entry.lease.is_some() && serde_json::from_slice::<Member>(&entry.value).is_ok())
    };
    a.block_on(async { etcd.client().await.put("/test/members/b", "junk", None).await.unwrap() });
    wait("the damaged key is mended", SOON, is_mended);
    a.block_on(a.store.commit(Txn::new().put("members/b", "{}"))).unwrap();
    wait("the senseless key is mended", SOON, is_mended);
    a.block_on(a.store.commit(Txn::new().delete("members/b"))).unwrap();
    wait("the deleted key is mended", SOON, is_mended);
    wait_until_all_are(NodeState::Alive, &[&a, &b, &c]);
    assert_eq!(b.cluster.incarnation(), life);
}

#[test]
fn a_start_without_etcd_finds_the_last_known_members() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (mut machines, nodes) = three(&etcd);
    drop(nodes);
    etcd.kill();
    let nodes = machines.each_mut().map(|machine| machine.start(|| etcd.store()));
    wait_until_all_are(NodeState::Stale, &nodes.each_ref());
    assert!(nodes.iter().all(|node| node.cluster.lead().is_none()));
    etcd.start_again();
    wait_until_all_are(NodeState::Alive, &nodes.each_ref());
    wait("a leader", SOON, || nodes.iter().any(|node| node.cluster.lead().is_some()));
}

#[test]
fn a_peer_that_accepts_and_never_answers_delays_nobody() {
    let Some(etcd) = Etcd::start() else { return };
    let (_machines, [a, b, c]) = three(&etcd);
    let hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ghost = Member {
        node: "ghost".into(),
        incarnation: Incarnation(1),
        peer_address: hole.local_addr().unwrap().to_string(),
        actors_address: String::new(),
        grpc_address: String::new(),
    };
    a.block_on(a.store.commit(Txn::new().put("members/ghost", ghost.to_bytes()))).unwrap();
    wait("the ghost is suspect", SOON, || a.state_of("ghost") == Some(NodeState::Suspect));
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_secs(2) {
        wait_until_all_are(NodeState::Alive, &[&a, &b, &c]);
        std::thread::sleep(Duration::from_millis(10));
    }
    a.block_on(a.store.commit(Txn::new().delete("members/ghost"))).unwrap();
    wait("the ghost is lost", SOON, || a.state_of("ghost") == Some(NodeState::Lost));
}
