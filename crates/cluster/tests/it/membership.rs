//! Joining, falling silent, coming back, leaving.

use std::time::{Duration, Instant};

use base::report::{NodeReport, NodeState};
use store::SledStore;

use crate::bed::{Machine, SOON, SUSPECT_AFTER, TTL, three, wait, wait_until_all_are};
use crate::etcd::Etcd;

#[test]
fn a_killed_node_is_suspect_then_lost_and_comes_back_as_another_life() {
    let Some(etcd) = Etcd::start() else { return };
    let (mut machines, [a, b, c]) = three(&etcd);
    assert!(a.sees("b").unwrap().report.is_some() && a.sees("a").unwrap().report.is_none());
    let before = c.cluster.incarnation();
    drop(c);
    let suspect = wait("suspect", SOON, || a.state_of("c") != Some(NodeState::Alive));
    assert!(suspect < SUSPECT_AFTER + Duration::from_millis(500), "{suspect:?}");
    assert_eq!(a.state_of("c"), Some(NodeState::Suspect), "its lease is still there");
    wait("lost", TTL + Duration::from_secs(3), || a.state_of("c") == Some(NodeState::Lost));
    machines[2].moves();
    let c = machines[2].start(|| etcd.store());
    wait_until_all_are(NodeState::Alive, &[&a, &b, &c]);
    assert!(a.sees("c").unwrap().member.incarnation > before);
}

#[test]
fn a_node_that_leaves_is_seen_to_long_before_its_lease_would_end() {
    let Some(etcd) = Etcd::start() else { return };
    let (_machines, [a, b, c]) = three(&etcd);
    wait("a leader", SOON, || [&a, &b, &c].iter().any(|node| node.cluster.lead().is_some()));
    let mut nodes = [a, b, c];
    nodes.sort_by_key(|node| node.cluster.lead().is_none());
    let [leader, b, c] = &nodes;
    let (name, lead) = (leader.name(), leader.cluster.lead().unwrap());
    leader.block_on(leader.cluster.leave());
    assert!(leader.cluster.lead().is_none() && !lead.may_act(std::time::Instant::now()));
    let members = leader.block_on(leader.store.list(cluster::MEMBERS)).unwrap();
    assert!(members.get(&format!("{}{name}", cluster::MEMBERS)).is_none(), "its key is gone");
    let seen =
        wait("draining", SOON, || [b, c].iter().all(|node| node.state_of(name.as_str()) == Some(NodeState::Draining)));
    assert!(seen < Duration::from_millis(500), "{seen:?}");
    let next = wait("the next leader", SOON, || [b, c].iter().any(|node| node.cluster.lead().is_some()));
    assert!(next < TTL / 2, "{next:?}");
    assert!(leader.cluster.lead().is_none());
}

#[test]
fn a_membership_that_is_cancelled_gives_its_lease_back() {
    let Some(etcd) = Etcd::start() else { return };
    let (_machines, [a, b, c]) = three(&etcd);
    c.membership.cancel();
    let gone = wait("no key", SOON, || b.block_on(b.store.get("members/c")).unwrap().is_none());
    assert!(gone < TTL / 2, "{gone:?}");
    wait("no lead", SOON, || c.cluster.lead().is_none());
    wait("stale", SOON, || a.state_of("c") == Some(NodeState::Stale));
}

#[test]
fn a_revoked_lease_makes_a_new_life() {
    let Some(etcd) = Etcd::start() else { return };
    let (_machines, [a, b, c]) = three(&etcd);
    let before = c.cluster.incarnation();
    let key = a.block_on(a.store.get("members/c")).unwrap().unwrap();
    a.block_on(a.store.revoke(key.lease.unwrap())).unwrap();
    wait("a new life", SOON, || a.sees("c").unwrap().member.incarnation > before);
    wait_until_all_are(NodeState::Alive, &[&a, &b, &c]);
    assert_eq!(a.sees("c").unwrap().member.incarnation, c.cluster.incarnation());
}

#[test]
fn a_name_belongs_to_the_machine_that_has_it_until_that_one_leaves() {
    let Some(etcd) = Etcd::start() else { return };
    let (_machines, [a, b, c]) = three(&etcd);
    let address = a.sees("c").unwrap().member.peer_address;
    let mut other = Machine::new("c");
    let impostor = other.start(|| etcd.store());
    wait("the impostor looks around", SOON, || impostor.state_of("a") == Some(NodeState::Alive));
    wait("it is no member", SOON, || impostor.state_of("c") == Some(NodeState::Stale));
    wait_until_all_are(NodeState::Alive, &[&a, &b]);
    assert_eq!(a.sees("c").unwrap().member.peer_address, address);
    c.block_on(c.cluster.leave());
    drop(c);
    wait("the other machine takes over", SOON, || a.sees("c").unwrap().member.peer_address != address);
    wait("it is a member", SOON, || impostor.state_of("c") == Some(NodeState::Alive));
}

#[test]
fn a_single_node_is_alive_and_leads_on_sled() {
    let mut machine = Machine::new("alone");
    let dir = machine.dir("store");
    let open = || std::sync::Arc::new(SledStore::open(&dir).unwrap().store) as store::SharedStore;
    let node = machine.start(open);
    wait_until_all_are(NodeState::Alive, &[&node]);
    wait("it leads", SOON, || node.cluster.lead().is_some());
    let first = node.cluster.lead().unwrap();
    wait("it says so", SOON, || node.cluster.view().leader == Some((node.name(), first.epoch())));
    assert_eq!(node.cluster.own_report().leads, Some(first.epoch()));
    node.block_on(node.cluster.leave());
    assert!(node.cluster.lead().is_none());
    node.block_on(node.store.close());
    drop((first, node));
    let again = machine.start(open);
    wait("it leads again", SOON, || again.cluster.lead().is_some());
    assert_eq!(again.cluster.incarnation().0, 2);
}

#[test]
fn an_evicted_or_draining_node_is_not_routed_to_until_that_is_taken_back() {
    let mut machine = Machine::new("here");
    let dir = machine.dir("store");
    let node = machine.start(|| std::sync::Arc::new(SledStore::open(&dir).unwrap().store));
    let mut report = NodeReport { node: "there".into(), ..node.cluster.own_report() };
    report.peer_address.clear();
    let mut hear = |is_draining| {
        report.sequence += 1;
        report.is_draining = is_draining;
        node.cluster.heard(report.clone());
        node.state_of("there").unwrap()
    };
    assert_eq!(hear(false), NodeState::Stale);
    node.cluster.evict("there".into(), Instant::now() + SOON);
    assert_eq!(hear(false), NodeState::Suspect);
    node.cluster.readmit(&"there".into());
    assert_eq!(hear(false), NodeState::Stale);
    assert_eq!(hear(true), NodeState::Draining);
    assert_eq!(hear(false), NodeState::Stale);
    node.cluster.set_draining(true);
    assert_eq!(node.state_of("here"), Some(NodeState::Draining));
    assert!(node.cluster.own_report().is_draining);
}
