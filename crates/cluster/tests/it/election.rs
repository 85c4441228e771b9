//! One leader at a time, epochs that grow, and stepping down in time.

use std::time::{Duration, Instant};

use base::Epoch;
use base::report::NodeState;

use crate::bed::{Machine, Node, SOON, TTL, three, wait, wait_until_all_are};
use crate::etcd::Etcd;

/// The leader among `nodes`, once the others have heard of it.
fn leader(nodes: &[Node]) -> (usize, Epoch) {
    let found = || {
        let i = nodes.iter().position(|node| node.cluster.lead().is_some())?;
        let epoch = nodes[i].cluster.lead()?.epoch();
        let told = Some((nodes[i].name(), epoch));
        nodes.iter().all(|node| node.cluster.view().leader == told).then_some((i, epoch))
    };
    wait("all know the leader", SOON, || found().is_some());
    found().unwrap()
}

#[test]
fn the_next_leader_follows_within_two_lease_times_with_a_higher_epoch() {
    let Some(etcd) = Etcd::start() else { return };
    let (_machines, nodes) = three(&etcd);
    let mut nodes = Vec::from(nodes);
    let (mut i, mut epoch) = leader(&nodes);
    while nodes.len() > 1 {
        assert_eq!(nodes.iter().filter(|node| node.cluster.lead().is_some()).count(), 1);
        drop(nodes.remove(i));
        let took = wait("the next leader", SOON, || nodes.iter().any(|node| node.cluster.lead().is_some()));
        assert!(took < TTL * 2, "{took:?}");
        let next = leader(&nodes);
        assert!(next.1 > epoch, "{} after {epoch}", next.1);
        (i, epoch) = next;
    }
}

#[test]
fn a_leader_whose_etcd_is_frozen_steps_down_before_its_lease_can_have_ended() {
    let Some(etcd) = Etcd::start() else { return };
    let node = Machine::new("a").start(|| etcd.store());
    wait("it leads", SOON, || node.cluster.lead().is_some());
    let lead = node.cluster.lead().unwrap();
    etcd.freeze();
    let frozen = Instant::now();
    wait("it steps down", SOON, || node.cluster.lead().is_none());
    // The lease ends a TTL after a renewal at the earliest, and that was sent before the freeze.
    assert!(frozen.elapsed() < TTL, "{:?}", frozen.elapsed());
    assert!(!lead.may_act(Instant::now()));
    assert!(node.cluster.view().stale_since.is_some());
    etcd.thaw();
    wait("it leads again", SOON, || node.cluster.lead().is_some());
    assert!(node.cluster.lead().unwrap().epoch() >= lead.epoch());
    assert!(!lead.may_act(Instant::now()), "who held the old one asks for the new one");
}

#[test]
fn without_etcd_nodes_are_stale_but_routable_and_come_back_as_they_were() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (_machines, nodes) = three(&etcd);
    let (i, epoch) = leader(&nodes);
    let lives = nodes.each_ref().map(|node| node.cluster.incarnation());
    etcd.kill();
    wait_until_all_are(NodeState::Stale, &nodes.each_ref());
    wait("the leader steps down", TTL, || nodes[i].cluster.lead().is_none());
    // Longer than the lease: heartbeats alone keep everybody routable.
    let watched = Instant::now();
    while watched.elapsed() < TTL {
        wait_until_all_are(NodeState::Stale, &nodes.each_ref());
        std::thread::sleep(Duration::from_millis(20));
    }
    etcd.start_again();
    wait_until_all_are(NodeState::Alive, &nodes.each_ref());
    assert_eq!(nodes.each_ref().map(|node| node.cluster.incarnation()), lives);
    wait("the leader acts again", SOON, || nodes[i].cluster.lead().is_some());
    assert_eq!(nodes[i].cluster.lead().unwrap().epoch(), epoch);
}
