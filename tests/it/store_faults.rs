//! An etcd that is slow, silent, compacted, damaged or restored from an older state: asks go on, nobody leads twice, and
//! every node comes back to what etcd holds.

use std::time::{Duration, Instant};

use serde_json::json;
use store::Txn;
use tests::etcd::Etcd;

use crate::lab::{Lab, Link, PREFIX, SOON, Setup, Trouble, is_soak, until};
use crate::load::Load;
use crate::standing::{Standing, are_settled};

/// A change in the store that no watch tells of is found within this time.
const DRIFT_FOUND: Duration = Duration::from_secs(30);
/// The shortest lease that a node may have; the other tests need no time more.
const SHORT_LEASE: &str = "lease_ttl = \"2s\"";

/// Three nodes with an engine each, and a link to etcd each. `store` is more of their table of that name.
async fn linked(store: &str) -> (Lab, Vec<Link>) {
    let mut lab = Lab::cluster().await;
    let etcd = lab.etcd.as_ref().unwrap().url.clone();
    let mut links = Vec::new();
    for name in ["a", "b", "c"] {
        let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
        let link = Link::to(&etcd).await.unwrap();
        lab.node(Setup::new(name).worker("engine", "llamacpp", &url).etcd_at(&link.url).store(store)).await;
        links.push(link);
    }
    are_settled(&lab).await;
    (lab, links)
}

/// Looks for a time at who leads; every node that knows a leader must know this one.
async fn nobody_else_leads(lab: &Lab, leader: &(String, u64), lasting: Duration, mut meanwhile: impl AsyncFnMut()) {
    let begun = Instant::now();
    while begun.elapsed() < lasting {
        for node in &lab.nodes {
            let nodes = node.nodes().await.unwrap();
            let seen = nodes.into_iter().find(|node| node.leader).map(|node| (node.name, node.epoch));
            assert_eq!(seen.as_ref(), Some(leader), "at {} after {:?}", node.name, begun.elapsed());
        }
        meanwhile().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_takes_two_seconds_for_a_write_changes_no_leader_and_fails_no_ask() {
    let lasting = Duration::from_secs(if is_soak() { 60 } else { 9 });
    // The lease and the deadlines that a node has when it is told none.
    let (lab, links) = linked("").await;
    let (standing, leader) = (Standing::before(&lab).await, lab.leader(0, SOON).await);
    let load = Load::start(&lab.gateways());
    links.iter().for_each(|link| link.suffers(Trouble::SlowWrites(Duration::from_secs(2))));
    load.goes_on(20).await;
    nobody_else_leads(&lab, &leader, lasting, async || {
        // A write ends by its deadline of 2 s, whether it could be made or not.
        let begun = Instant::now();
        let made = lab.nodes[0].create_key(&format!("slow-{}", fastrand::u32(..))).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{made:?} after {:?}", begun.elapsed());
    })
    .await;
    links.iter().for_each(|link| link.suffers(Trouble::None));
    // A disk that stands still holds up reads and renewals as well.
    let etcd = &lab.etcd.as_ref().unwrap().child;
    nobody_else_leads(&lab, &leader, lasting / 2, async || {
        etcd.freeze().unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        etcd.thaw().unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    })
    .await;
    load.goes_on(20).await;
    load.stop().await;
    until("a key can be made again", SOON, async || lab.nodes[0].create_key("fast").await.is_ok()).await;
    standing.holds(&lab).await;
    assert_eq!(lab.leader(0, SOON).await, leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_silent_watches_hide_is_found_within_half_a_minute() {
    let (mut lab, links) = linked(SHORT_LEASE).await;
    let (standing, store) = (Standing::before(&lab).await, lab.store());
    let load = Load::start(&lab.gateways());
    links.iter().for_each(Link::silence_watches);
    let silent = Instant::now();
    // Both are told by watches only: who writes them here tells no node.
    let ghost = json!({
        "node": "ghost", "incarnation": 1, "peer_address": "127.0.0.1:1", "actors_address": "", "grpc_address": "",
    });
    let mode = json!({"mode": "local-preferred", "since_ms": 1, "set_by": "ghost"});
    let both = Txn::new().put("members/ghost", ghost.to_string()).put("settings/mode", mode.to_string());
    store.commit(both).await.unwrap();
    for node in &lab.nodes {
        until("the hidden member and mode", DRIFT_FOUND, async || {
            let nodes = node.nodes().await.unwrap_or_default();
            nodes.iter().any(|node| node.name == "ghost")
                && node.mode().await.is_ok_and(|mode| mode == "local-preferred")
        })
        .await;
    }
    assert!(silent.elapsed() < DRIFT_FOUND, "found after {:?}", silent.elapsed());
    lab.all_said("the stream has stalled");
    store.commit(Txn::new().delete("members/ghost")).await.unwrap();
    // Whoever waits for its turn to lead waits on a watch, too.
    let leader = lab.leader(0, SOON).await;
    let (killed, other) = (lab.place(&leader.0), (lab.place(&leader.0) + 1) % 3);
    links.iter().for_each(Link::silence_watches);
    load.gateway_dies(killed);
    lab.nodes[killed].child.kill().await.unwrap();
    lab.next_leader(other, &leader, DRIFT_FOUND).await;
    lab.nodes[killed].again().await;
    load.gateway_is(killed, lab.http(killed)).await;
    load.goes_on(20).await;
    load.stop().await;
    standing.holds(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_history_was_compacted_away_has_the_members_and_keys_of_the_others() {
    let rounds = if is_soak() { 30 } else { 3 };
    let (lab, links) = linked(SHORT_LEASE).await;
    let (standing, store) = (Standing::before(&lab).await, lab.store());
    let url = lab.etcd.as_ref().unwrap().url.clone();
    let mut admin = etcd_client::Client::connect([url], None).await.unwrap();
    let load = Load::start(&lab.gateways());
    for round in 0..rounds {
        let cut = round % 3;
        let other = (cut + 1) % 3;
        links[cut].suffers(Trouble::Cut);
        // Everything that happens now is forgotten before the node asks for it.
        let (kept, gone) = (format!("kept-{round}"), format!("ghost-{round}"));
        lab.nodes[other].create_key(&kept).await.unwrap();
        let mode = if round % 2 == 0 { "local-preferred" } else { "local-only" };
        let mode_text = json!({"mode": mode, "since_ms": 1, "set_by": "somebody"}).to_string();
        let ghost = format!("members/{gone}");
        store.commit(Txn::new().put(&ghost, "{}").put("settings/mode", mode_text)).await.unwrap();
        let last = store.commit(Txn::new().delete(&ghost)).await.unwrap();
        admin.compact(last.0.cast_signed(), None).await.unwrap();
        links[cut].suffers(Trouble::None);
        for node in &lab.nodes {
            until("the mode that was missed", SOON, async || node.mode().await.is_ok_and(|now| now == mode)).await;
            assert!(!node.nodes().await.unwrap().iter().any(|node| node.name == gone));
        }
        assert!(lab.nodes[cut].child.stderr().contains("compacted up to revision"), "nothing was forgotten");
        until("the key that was missed", SOON, async || {
            lab.nodes[cut].keys().await.is_ok_and(|keys| keys.contains(&kept))
        })
        .await;
    }
    load.goes_on(20).await;
    load.stop().await;
    standing.holds(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_keys_are_mended_or_left_out_and_their_owner_can_repair_them() {
    let (lab, _links) = linked(SHORT_LEASE).await;
    let (standing, store) = (Standing::before(&lab).await, lab.store());
    let url = lab.etcd.as_ref().unwrap().url.clone();
    let mut admin = etcd_client::Client::connect([url], None).await.unwrap();
    let load = Load::start(&lab.gateways());
    lab.nodes[0].create_key("good").await.unwrap();
    lab.nodes[0].create_key("bad").await.unwrap();
    lab.nodes[0].set_mode("local-preferred").await.unwrap();
    let (leader, _) = lab.leader(0, SOON).await;
    let candidates = store.list("elections/leader/candidates/").await.unwrap();
    let candidacy = candidates.entries.iter().min_by_key(|entry| entry.created).unwrap().key.clone();
    let keys = [
        format!("members/{leader}"),
        candidacy,
        "elections/leader/epoch".to_owned(),
        "settings/mode".to_owned(),
        "settings/modes".to_owned(),
        "settings/keys/bad".to_owned(),
        "placement".to_owned(),
    ];
    // No envelope at all; one of a version to come; ours, around a value that lacks a field or is none.
    let unknown_version: &[u8] = &[0xff; 40];
    for key in &keys {
        for junk in [b"".as_slice(), b"\0\xff junk", unknown_version] {
            admin.put(format!("{PREFIX}/{key}"), junk, None).await.unwrap();
            load.goes_on(3).await;
        }
        for junk in ["{\"version\": 99}", "not JSON"] {
            store.commit(Txn::new().put(key, junk)).await.unwrap();
            load.goes_on(3).await;
        }
    }
    are_settled(&lab).await;
    for node in &lab.nodes {
        assert_eq!(node.mode().await.unwrap(), "local-preferred", "the last good one holds at {}", node.name);
        assert_eq!(node.metric("tm_actor_restarts_total").await, 0.0, "an actor of {} crashed", node.name);
        let keys = node.keys().await.unwrap();
        assert!(keys.contains(&"good".to_owned()) && keys.contains(&"bad".to_owned()), "{keys:?}");
    }
    // What a person would do about it.
    lab.nodes[0].revoke_key("bad").await.unwrap();
    lab.nodes[0].create_key("bad").await.unwrap();
    lab.nodes[0].set_mode("local-only").await.unwrap();
    for node in &lab.nodes {
        until("the mode is set", SOON, async || node.mode().await.is_ok_and(|mode| mode == "local-only")).await;
    }
    load.goes_on(20).await;
    load.stop().await;
    standing.holds(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_leader_of_etcd_changes_no_leader_of_ours() {
    let mut members = Etcd::members(3).await.unwrap();
    let urls: Vec<String> = members.iter().map(|member| member.url.clone()).collect();
    let mut lab = Lab::single();
    for name in ["a", "b", "c"] {
        let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
        // The lease that a node has when it is told none.
        let setup = Setup::new(name).worker("engine", "llamacpp", &url).store("");
        lab.node(urls.iter().fold(setup, |setup, url| setup.etcd_at(url))).await;
    }
    let (standing, leader) = (Standing::before(&lab).await, lab.leader(0, SOON).await);
    let lives = lab.nodes[0].nodes().await.unwrap().into_iter().map(|node| node.incarnation).collect::<Vec<_>>();
    let load = Load::start(&lab.gateways());
    load.goes_on(20).await;
    let mut killed = None;
    for (at, url) in urls.iter().enumerate() {
        let mut client = etcd_client::Client::connect([url], None).await.unwrap();
        let status = client.status().await.unwrap();
        killed = (status.leader() == status.header().unwrap().member_id()).then_some(at).or(killed);
    }
    members[killed.unwrap()].child.kill().await.unwrap();
    let died = Instant::now();
    until("a key is made again", Duration::from_secs(3), async || {
        lab.nodes[0].create_key(&format!("made-{}", fastrand::u32(..))).await.is_ok()
    })
    .await;
    eprintln!("a key was made {:?} after the death", died.elapsed());
    nobody_else_leads(&lab, &leader, Duration::from_secs(6), async || {}).await;
    load.goes_on(20).await;
    load.stop().await;
    let now = lab.nodes[0].nodes().await.unwrap().into_iter().map(|node| node.incarnation).collect::<Vec<_>>();
    assert_eq!(now, lives, "a lease was lost");
    standing.holds(&lab).await;
}

/// Looks at every node whether it takes somebody for the leader on an epoch below `floor`.
async fn nobody_leads_below(lab: &Lab, floor: u64) {
    for node in &lab.nodes {
        let nodes = node.nodes().await.unwrap_or_default();
        let old = nodes.iter().find(|node| node.leader && node.epoch < floor);
        assert!(old.is_none(), "{} follows {old:?} after epoch {floor}", node.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_goes_back_in_time_brings_no_old_epoch_back() {
    let mut lab = crate::cluster::three().await;
    let standing = Standing::before(&lab).await;
    let first = lab.leader(0, SOON).await;
    lab.nodes[0].create_key("early").await.unwrap();
    let backup = lab.etcd.as_ref().unwrap().backup().unwrap();
    // After the backup the leadership passes on, a life of a node ends, and much is written.
    let (killed, other) = (lab.place(&first.0), (lab.place(&first.0) + 1) % 3);
    lab.nodes[killed].child.kill().await.unwrap();
    let second = lab.next_leader(other, &first, SOON).await;
    lab.nodes[killed].again().await;
    lab.nodes_are(other, "alive", &[&first.0], SOON).await;
    lab.nodes[other].create_key("late").await.unwrap();
    let store = lab.store();
    for at in 0..200 {
        store.commit(Txn::new().put("much", at.to_string())).await.unwrap();
    }
    let load = Load::start(&lab.gateways());
    load.goes_on(20).await;
    lab.etcd.as_mut().unwrap().restore(&backup).await.unwrap();
    let mut third = None;
    until("all follow a leader of after the restore", SOON, async || {
        nobody_leads_below(&lab, second.1).await;
        let mut leaders = Vec::new();
        for node in &lab.nodes {
            let nodes = node.nodes().await.unwrap_or_default();
            leaders.push(nodes.into_iter().find(|node| node.leader).map(|node| node.epoch));
        }
        third = leaders[0].filter(|epoch| *epoch > second.1 && leaders.iter().all(|other| *other == Some(*epoch)));
        third.is_some()
    })
    .await;
    load.goes_on(20).await;
    load.stop().await;
    are_settled(&lab).await;
    lab.all_said("etcd went back in its history");
    for node in &lab.nodes {
        assert_eq!(node.keys().await.unwrap(), ["early"], "{} is not where etcd is", node.name);
    }
    // The same while nobody runs: only what nodes keep themselves knows of the epochs since.
    for node in &mut lab.nodes {
        node.child.kill().await.unwrap();
    }
    lab.etcd.as_mut().unwrap().restore(&backup).await.unwrap();
    for node in &mut lab.nodes {
        node.again().await;
    }
    let third = third.unwrap();
    until("a leader of after the second restore", SOON, async || {
        nobody_leads_below(&lab, third).await;
        lab.nodes[0].nodes().await.unwrap_or_default().iter().any(|node| node.leader && node.epoch > third)
    })
    .await;
    standing.holds(&lab).await;
}
