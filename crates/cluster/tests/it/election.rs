//! One leader at a time, epochs that grow, and stepping down in time.

use std::time::{Duration, Instant};

use base::Epoch;
use base::report::NodeState;
use store::{StoreError, Txn};

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

#[test]
fn no_two_nodes_lead_at_once_when_the_leader_is_cut_off_from_etcd() {
    let Some(etcd) = Etcd::start() else { return };
    let link = etcd.link();
    let cut = Machine::new("cut").start(|| etcd.store_through(&link));
    wait("it leads", SOON, || cut.cluster.lead().is_some());
    let (held, life) = (cut.cluster.lead().unwrap(), cut.cluster.incarnation());
    let other = Machine::new("other").start(|| etcd.store());
    wait_until_all_are(NodeState::Alive, &[&cut, &other]);
    link.cut();
    let takes_over = || {
        // Asked in this order, a leader that steps down in between cannot be mistaken for a second one.
        let other_leads = other.cluster.lead();
        let cut_leads = cut.cluster.lead().is_some() || held.may_act(Instant::now());
        assert!(!(other_leads.is_some() && cut_leads), "two lead");
        other_leads.is_some()
    };
    wait("the other one takes over", SOON, takes_over);
    assert_eq!(cut.state_of("other"), Some(NodeState::Stale), "it is heard, but nobody vouches for its lease");
    assert!(other.state_of("cut").unwrap().is_routable());
    let refused = other.block_on(other.store.commit(Txn::new().when(held.guard()).put("late", "x")));
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    link.heal();
    wait_until_all_are(NodeState::Alive, &[&cut, &other]);
    wait("a new life", SOON, || other.sees("cut").unwrap().member.incarnation > life);
    assert!(!held.may_act(Instant::now()) && other.cluster.lead().unwrap().epoch() > held.epoch());
}

#[test]
fn an_etcd_that_forgot_everything_cannot_hand_out_an_old_epoch() {
    let Some(mut etcd) = Etcd::start() else { return };
    let mut machine = Machine::new("a");
    let node = machine.start(|| etcd.store());
    for i in 0..50 {
        node.block_on(node.store.commit(Txn::new().put("key", i.to_string()))).unwrap();
    }
    wait("it leads", SOON, || node.cluster.lead().is_some());
    node.block_on(node.cluster.leave());
    drop(node);
    let node = machine.start(|| etcd.store());
    wait("it leads again", SOON, || node.cluster.lead().is_some());
    let before = node.cluster.lead().unwrap().epoch();
    assert!(before.0 > 50, "{before}");
    drop(node);
    etcd.forget_everything();
    let node = machine.start(|| etcd.store());
    wait("it leads on the empty etcd", SOON, || node.cluster.lead().is_some());
    assert!(node.cluster.lead().unwrap().epoch() > before);
}
