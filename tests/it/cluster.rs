//! Membership, leadership and the store: nodes and etcd die, sleep and come back; asks do not notice.

use std::time::{Duration, Instant};

use crate::lab::{Face, Lab, SOON, Setup, is_soak, until};
use crate::load::Load;

/// Three nodes with an engine each, of which every one is a gateway.
pub async fn three() -> Lab {
    let mut lab = Lab::cluster().await;
    for name in ["a", "b", "c"] {
        let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
        lab.node(Setup::new(name).worker("engine", "llamacpp", &url)).await;
    }
    for at in 0..3 {
        lab.nodes_are(at, "alive", &["a", "b", "c"], SOON).await;
        lab.workers_are(at, "ready", 3).await;
    }
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ask_fails_while_etcd_is_away() {
    let lab = three().await;
    let (_, epoch) = lab.leader(0, SOON).await;
    let load = Load::start(&lab.gateways());
    load.goes_on(20).await;
    let etcd = &lab.etcd.as_ref().unwrap().child;
    etcd.freeze().unwrap();
    let away_since = Instant::now();
    until("the view is marked stale", SOON, async || {
        lab.nodes[0].view().await.is_ok_and(|answer| answer.view.is_some_and(|view| view.stale_s > 0.0))
    })
    .await;
    // Long enough for every lease to run out.
    let away = Duration::from_secs(if is_soak() { 60 } else { 15 });
    until("the time without etcd", away + SOON, async || away_since.elapsed() >= away).await;
    load.goes_on(20).await;
    for node in &lab.nodes {
        let actors = node.actors().await.unwrap();
        let scheduler = actors.iter().find(|actor| actor.name == "scheduler").unwrap();
        assert!(scheduler.snapshot_json.contains("\"leads\":null"), "{} leads on: {scheduler:?}", node.name);
    }
    // What the store must keep is refused, and does not hang.
    let asked = Instant::now();
    let refused = lab.nodes[0].create_key("later").await.unwrap_err().to_string();
    assert!(asked.elapsed() < Duration::from_secs(4), "after {:?}: {refused}", asked.elapsed());
    assert!(lab.nodes[0].metric("tm_view_stale_seconds").await > 10.0);
    etcd.thaw().unwrap();
    let mut leaders = Vec::new();
    for at in 0..3 {
        lab.nodes_are(at, "alive", &["a", "b", "c"], SOON).await;
        leaders.push(lab.leader(at, SOON).await);
    }
    until("the view is fresh again", SOON, async || lab.nodes[0].metric("tm_view_stale_seconds").await == 0.0).await;
    load.goes_on(20).await;
    load.stop().await;
    assert!(leaders.iter().all(|(_, now)| *now >= epoch), "{leaders:?} after epoch {epoch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_and_its_workers_are_left_at_once() {
    let mut lab = three().await;
    let (name, epoch) = lab.leader(0, SOON).await;
    let leader = lab.place(&name);
    let others: Vec<usize> = (0..3).filter(|&at| at != leader).collect();
    let before = lab.nodes[others[0]].nodes().await.unwrap();
    let incarnation = before.iter().find(|node| node.name == name).unwrap().incarnation;
    let load = Load::start(&[lab.http(others[0]), lab.http(others[1])]);
    load.goes_on(20).await;
    lab.nodes[leader].child.kill().await.unwrap();
    let died = Instant::now();
    until("the next leader", Duration::from_secs(5), async || {
        let nodes = lab.nodes[others[0]].nodes().await.unwrap_or_default();
        nodes.iter().any(|node| node.leader && node.name != name && node.epoch > epoch)
    })
    .await;
    lab.nodes_are(others[0], "lost", &[&name], Duration::from_secs(10)).await;
    load.goes_on(20).await;
    let answers = load.stop().await;
    let late = answers
        .iter()
        .filter(|(began, worker)| *began > died + Duration::from_secs(2) && worker.starts_with(&format!("{name}/")));
    assert_eq!(late.count(), 0, "asks were routed to the lost node");
    lab.nodes[leader].again().await;
    lab.nodes_are(others[0], "alive", &[&name], SOON).await;
    let after = lab.nodes[others[0]].nodes().await.unwrap();
    assert!(after.iter().find(|node| node.name == name).unwrap().incarnation > incarnation);
    lab.workers_are(others[0], "ready", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_slept_does_not_lead_on() {
    let lab = three().await;
    let (name, epoch) = lab.leader(0, SOON).await;
    let (leader, other) = (lab.place(&name), (lab.place(&name) + 1) % 3);
    lab.nodes[leader].child.freeze().unwrap();
    let mut next = (String::new(), 0);
    until("the next leader", Duration::from_secs(8), async || {
        let nodes = lab.nodes[other].nodes().await.unwrap_or_default();
        let found = nodes.iter().find(|node| node.leader && node.name != name);
        next = found.map_or(next.clone(), |node| (node.name.clone(), node.epoch));
        found.is_some()
    })
    .await;
    assert!(next.1 > epoch, "{next:?} after epoch {epoch}");
    lab.nodes[leader].child.thaw().unwrap();
    for at in 0..3 {
        lab.nodes_are(at, "alive", &["a", "b", "c"], SOON).await;
        until("everybody follows the next leader", SOON, async || lab.leader(at, SOON).await == next).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_loses_the_store_and_its_peers_goes_on_with_its_own_engine() {
    let mut lab = three().await;
    let (b, c) = (lab.place("b"), lab.place("c"));
    lab.nodes[b].child.kill().await.unwrap();
    lab.nodes[c].child.kill().await.unwrap();
    lab.etcd.as_mut().unwrap().child.kill().await.unwrap();
    let client = lab.http(lab.place("a"));
    let face = Face::Chat;
    for at in 0..5 {
        let told = client.ask(face.path(), &face.body(&format!("alone {at}"))).await.unwrap();
        assert_eq!(told.text, face.answer(&format!("alone {at}")), "{told:?}");
    }
}
