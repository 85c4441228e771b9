//! Leaders that are killed, put to sleep or deposed, at the worst moments of their writes: epochs only grow, what was
//! begun is finished by the next one, and what comes late is refused.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use store::{Entry, SharedStore, WatchEvent};
use tokio::task::JoinSet;

use crate::cluster::three;
use crate::lab::{Face, Lab, Link, SOON, Setup, Trouble, is_soak, until};
use crate::load::Load;
use crate::standing::{Standing, are_settled};

/// A leader that dies is replaced within this time, and one that sleeps when its lease has ended, too.
const REPLACED: Duration = Duration::from_secs(8);
/// Where a leader writes what it is about to load.
const PLACEMENT: &str = "placement";
/// Where each leader writes its epoch before it acts.
const EPOCH: &str = "elections/leader/epoch";

/// Everything that leaders wrote, in the order in which it happened.
struct History {
    seen: Arc<Mutex<Vec<Written>>>,
    _following: JoinSet<()>,
    _store: SharedStore,
}

/// A write of a leader.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Written {
    /// It took office on this epoch.
    Epoch(u64),
    /// It wrote a placement on this epoch.
    Placement(u64),
}

impl History {
    fn of(lab: &Lab) -> Self {
        let (store, seen) = (lab.store(), Arc::new(Mutex::new(Vec::new())));
        let mut following = JoinSet::new();
        let (mut watch, all) = (store.watch("", None), seen.clone());
        following.spawn(async move {
            while let Some(event) = watch.next().await {
                let entries = match event {
                    WatchEvent::Put(entry) => vec![entry],
                    WatchEvent::Reset(listing) => listing.entries,
                    _ => continue,
                };
                all.lock().unwrap().extend(entries.iter().filter_map(written));
            }
        });
        Self { seen, _following: following, _store: store }
    }

    fn all(&self) -> Vec<Written> {
        self.seen.lock().unwrap().clone()
    }

    /// The placements that were written on `epoch`, or above it.
    fn placements_from(&self, epoch: u64) -> usize {
        self.all().iter().filter(|one| matches!(one, Written::Placement(on) if *on >= epoch)).count()
    }

    /// Each epoch is above those before it, and nobody wrote on one that was over.
    fn only_grows(&self) {
        let (all, mut now) = (self.all(), None);
        for (at, one) in all.iter().enumerate() {
            match one {
                // The first picture is in the order of keys.
                Written::Placement(_) if now.is_none() => {}
                Written::Placement(on) => assert!(Some(*on) == now, "entry {at} of {all:?}"),
                Written::Epoch(epoch) => {
                    assert!(Some(*epoch) > now, "entry {at} of {all:?}");
                    now = Some(*epoch);
                }
            }
        }
        assert!(now.is_some(), "nobody ever led: {all:?}");
    }
}

fn written(entry: &Entry) -> Option<Written> {
    match entry.key.as_str() {
        EPOCH => Some(Written::Epoch(u64::from_le_bytes(entry.value.as_ref().try_into().ok()?))),
        PLACEMENT => {
            let placement: Value = serde_json::from_slice(&entry.value).ok()?;
            placement["epoch"].as_u64().map(Written::Placement)
        }
        _ => None,
    }
}

/// A cluster whose leader has something to write: a model that must be in memory once, at one of two engines.
struct Planning {
    lab: Lab,
    links: Vec<Link>,
    history: History,
}

impl Planning {
    /// Settled, with the model in memory. `store` is more of each node's table of that name.
    async fn start(store: &str) -> Self {
        let mut lab = Lab::cluster().await;
        let etcd = lab.etcd.as_ref().unwrap().url.clone();
        let history = History::of(&lab);
        let mut links = Vec::new();
        for name in ["a", "b", "c"] {
            links.push(Link::to(&etcd).await.unwrap());
            let mut setup = Setup::new(name).etcd_at(&links.last().unwrap().url).store(store);
            setup = setup.more("[[models]]\nname = \"fake\"\nreplicas = 1");
            if name != "c" {
                let url = lab.engine("ollama", &["--token", "1ms", "--load", "1s"]).await;
                setup = setup.worker("engine", "ollama", &url);
            }
            lab.node(setup).await;
        }
        let planning = Self { lab, links, history };
        planning.is_placed(0).await;
        planning
    }

    /// Takes the model out of every engine's memory, so that the leader must place it anew.
    async fn forget(&self) {
        for engine in &self.lab.engines {
            let unload = json!({"model": "fake", "keep_alive": 0});
            assert_eq!(engine.client.post_json("/api/generate", &unload).await.unwrap().status, 200);
        }
    }

    /// Waits until a worker that node `at` sees has the model in memory.
    async fn is_placed(&self, at: usize) {
        until("the model is placed", SOON, async || {
            let workers = self.lab.nodes[at].workers().await.unwrap_or_default();
            workers.iter().any(|worker| worker.state == "ready" && !worker.loaded.is_empty())
        })
        .await;
    }

    async fn loads(&self) -> u64 {
        let mut loads = 0;
        for engine in &self.lab.engines {
            loads += engine.stats().await.unwrap()["loads"].as_u64().unwrap();
        }
        loads
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_only_grow_and_asks_go_on_while_every_leader_is_killed() {
    const EVERY: Duration = Duration::from_secs(3);
    let kills = if is_soak() { 40 } else { 6 };
    let mut lab = three().await;
    let (standing, history) = (Standing::before(&lab).await, History::of(&lab));
    let load = Load::start(&lab.gateways());
    let mut slowest = Duration::ZERO;
    for _ in 0..kills {
        let leader = lab.leader(0, SOON).await;
        let (killed, other) = (lab.place(&leader.0), (lab.place(&leader.0) + 1) % 3);
        load.goes_on(10).await;
        load.gateway_dies(killed);
        lab.nodes[killed].child.kill().await.unwrap();
        let died = Instant::now();
        lab.next_leader(other, &leader, REPLACED).await;
        slowest = slowest.max(died.elapsed());
        load.goes_on(10).await;
        lab.nodes[killed].again().await;
        load.gateway_is(killed, lab.http(killed)).await;
        lab.nodes_are(other, "alive", &[&leader.0], SOON).await;
        until("the next kill is due", SOON, async || died.elapsed() >= EVERY).await;
    }
    load.stop().await;
    eprintln!("the slowest of {kills} next leaders came after {slowest:?}");
    assert!(history.all().iter().filter(|one| matches!(one, Written::Epoch(_))).count() > kills);
    history.only_grows();
    standing.holds(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_a_leader_that_slept_is_refused_once_the_next_one_has_acted() {
    let slept = if is_soak() { Duration::from_secs(30) } else { Duration::ZERO };
    // Whoever sent the write must still wait for its answer, however late that comes.
    let planning = Planning::start("lease_ttl = \"2s\"\ntimeout = \"90s\"").await;
    let lab = &planning.lab;
    let standing = Standing::before(lab).await;
    let leader = lab.leader(0, SOON).await;
    let (old, other) = (lab.place(&leader.0), (lab.place(&leader.0) + 1) % 3);
    planning.links[old].suffers(Trouble::HeldWrites);
    planning.forget().await;
    until("the leader's plan is on its way to etcd", SOON, async || planning.links[old].held() > 0).await;
    lab.nodes[old].child.freeze().unwrap();
    let frozen = Instant::now();
    let next = lab.next_leader(other, &leader, REPLACED).await;
    until("the next one has acted", SOON, async || planning.history.placements_from(next.1) > 0).await;
    until("it slept long enough", slept + SOON, async || frozen.elapsed() >= slept).await;
    lab.nodes[old].child.thaw().unwrap();
    planning.links[old].suffers(Trouble::None);
    until("its late write is refused, and counted", SOON, async || {
        lab.nodes[old].metric("tm_stale_writes_refused_total").await == 1.0
    })
    .await;
    standing.holds(lab).await;
    planning.history.only_grows();
}

/// Where in the placing of a model its leader dies.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The plan has left the leader, and is not in etcd yet.
    Unwritten,
    /// It is in etcd, and the leader does not know.
    Written,
    /// A worker was told to load.
    Sent,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placement_is_finished_by_the_next_leader_wherever_in_it_the_last_one_dies() {
    let mut planning = Planning::start("lease_ttl = \"2s\"").await;
    let standing = Standing::before(&planning.lab).await;
    for step in [Step::Unwritten, Step::Written, Step::Sent] {
        let leader = planning.lab.leader(0, SOON).await;
        let (killed, other) = (planning.lab.place(&leader.0), (planning.lab.place(&leader.0) + 1) % 3);
        let (link, loads) = (&planning.links[killed], planning.loads().await);
        let before = planning.history.placements_from(leader.1);
        match step {
            Step::Unwritten => link.suffers(Trouble::HeldWrites),
            Step::Written => link.suffers(Trouble::HeldAnswers),
            Step::Sent => {}
        }
        planning.forget().await;
        match step {
            Step::Unwritten | Step::Written => until("a write is held", SOON, async || link.held() > 0).await,
            // A load takes a second, and begins as soon as the plan is written.
            Step::Sent => {
                until("the plan", SOON, async || planning.history.placements_from(leader.1) > before).await;
            }
        }
        planning.lab.nodes[killed].child.kill().await.unwrap();
        // What was on its way arrives although nobody waits for it: the leader is dead, its lease is not.
        planning.links[killed].suffers(Trouble::None);
        planning.lab.next_leader(other, &leader, REPLACED).await;
        planning.is_placed(other).await;
        let told = planning.lab.http(other).ask(Face::Chat.path(), &Face::Chat.body("placed?")).await.unwrap();
        assert_eq!(told.text, Face::Chat.answer("placed?"), "{step:?}: {told:?}");
        planning.lab.nodes[killed].again().await;
        planning.lab.nodes_are(other, "alive", &[&leader.0], SOON).await;
        let loads = planning.loads().await - loads;
        assert!((1..=2).contains(&loads), "{step:?}: {loads} loads for one model and one death");
    }
    standing.holds(&planning.lab).await;
    planning.history.only_grows();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_lease_is_revoked_by_hand_comes_back_as_another_life() {
    let lab = three().await;
    let (standing, history, store) = (Standing::before(&lab).await, History::of(&lab), lab.store());
    let leader = lab.leader(0, SOON).await;
    let follower = lab.nodes.iter().map(|node| node.name.clone()).find(|name| *name != leader.0).unwrap();
    let load = Load::start(&lab.gateways());
    load.goes_on(20).await;
    for name in [&follower, &leader.0] {
        let incarnation = async |at: usize| {
            let nodes = lab.nodes[at].nodes().await.unwrap_or_default();
            nodes.iter().find(|node| node.name == *name).map_or(0, |node| node.incarnation)
        };
        let before = incarnation(0).await;
        let key = store.get(&format!("members/{name}")).await.unwrap().unwrap();
        store.revoke(key.lease.unwrap()).await.unwrap();
        for at in 0..3 {
            until("a new life", SOON, async || incarnation(at).await > before).await;
            lab.nodes_are(at, "alive", &[name.as_str()], SOON).await;
        }
    }
    let other = (lab.place(&leader.0) + 1) % 3;
    until("another leadership", SOON, async || lab.leader(other, SOON).await.1 > leader.1).await;
    load.goes_on(20).await;
    load.stop().await;
    history.only_grows();
    standing.holds(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ask_fails_while_one_node_after_the_other_is_stopped() {
    let mut lab = three().await;
    let standing = Standing::before(&lab).await;
    // The leader first: its followers stop as workers, and it stops as both.
    let (leader, _) = lab.leader(0, SOON).await;
    let first = lab.place(&leader);
    for stopped in [first, (first + 1) % 3, (first + 2) % 3] {
        let others = [(stopped + 1) % 3, (stopped + 2) % 3];
        let load = Load::start(&others.map(|at| lab.http(at)));
        load.goes_on(20).await;
        lab.nodes[stopped].child.terminate().unwrap();
        let exit = lab.nodes[stopped].child.wait(Duration::from_secs(30)).await.unwrap();
        assert_eq!(exit.code(), Some(0));
        load.goes_on(20).await;
        lab.nodes[stopped].again().await;
        are_settled(&lab).await;
        load.stop().await;
    }
    standing.holds(&lab).await;
}
