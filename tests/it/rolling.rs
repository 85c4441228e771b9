//! An update of a house: one node after the other stops and starts as the next release, under load, and then back. Clients
//! notice nothing.

use std::time::Duration;

use crate::cluster::three;
use crate::lab::{Lab, SOON, until};
use crate::load::Load;

/// A release before this one: it lacks what came since.
const BEFORE: &[&str] = &["--as-version", "0.0.9", "--without-feature", "reload"];

/// Drains a node, stops it, starts it with `flags`, and takes it back in.
async fn replaced(lab: &mut Lab, at: usize, flags: &[&str], version: &str, load: &Load) {
    let name = lab.nodes[at].name.clone();
    let other = (at + 1) % lab.nodes.len();
    lab.nodes[other].done(&["nodes", "drain", &name, "--yes"]).await;
    lab.nodes_are(other, "draining", &[&name], SOON).await;
    until("nothing runs there", SOON, async || {
        let workers = lab.nodes[other].workers().await.unwrap_or_default();
        workers.iter().filter(|worker| worker.node == name).all(|worker| worker.busy == 0)
    })
    .await;
    load.gateway_dies(at);
    lab.nodes[at].child.terminate().unwrap();
    let exit = lab.nodes[at].child.wait(Duration::from_secs(45)).await.unwrap();
    assert_eq!(exit.code(), Some(0), "{name}");
    lab.nodes[at].again_with(flags).await;
    lab.nodes_are(other, "alive", &[&name], SOON).await;
    let nodes = lab.nodes[other].nodes().await.unwrap();
    assert_eq!(nodes.iter().find(|node| node.name == name).unwrap().version, version);
    lab.workers_are(other, "ready", 3).await;
    load.gateway_is(at, lab.http(at)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ask_fails_while_a_house_is_updated_node_by_node_and_back() {
    let own = env!("CARGO_PKG_VERSION");
    let mut lab = three().await;
    // The house begins on the release before.
    let load = Load::start(&lab.gateways());
    load.goes_on(20).await;
    for (flags, version) in [(BEFORE, "0.0.9"), (&[][..], own)] {
        for at in 0..3 {
            replaced(&mut lab, at, flags, version, &load).await;
            load.goes_on(20).await;
            // Whoever leads, of whichever release: a leader there is.
            for seen_by in 0..3 {
                lab.leader(seen_by, SOON).await;
            }
        }
    }
    let answered = load.stop().await;
    for name in ["a", "b", "c"] {
        let by = |worker: &str| worker.starts_with(&format!("{name}/"));
        assert!(answered.iter().any(|(_, worker)| by(worker)), "nothing was answered by {name}");
    }
    for node in &lab.nodes {
        let log = node.child.stderr();
        assert!(!log.contains("refused a message of a peer"), "{}: {log}", node.name);
        assert!(node.failures().await.unwrap().iter().all(|failure| failure.kind != "security"), "{}", node.name);
    }
}
