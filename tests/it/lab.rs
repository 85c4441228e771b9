//! A small cluster on loopback: etcd, nodes as processes, fake engines as their workers.
//!
//! When a test panics, the last lines of every node are printed. What was started ends with the lab.

mod ask;
mod link;
mod node;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{EtcdStore, SharedStore};
use tests::client::Client;
use tests::etcd::Etcd;
use tests::port::free_port;
use tests::process::FakeEngine;
use tonic::transport::Endpoint;

pub use ask::{Face, chat, deterministic, expected, pieces};
pub use link::{Link, Trouble};
pub use node::{Node, PREFIX, Setup};

/// Nothing that a test waits for takes longer, unless the test says so.
pub const SOON: Duration = Duration::from_secs(15);
/// Between two looks at a state that is waited for.
const POLL: Duration = Duration::from_millis(10);
/// What a node sees is in its routing table this much later, at most.
const ROUTED: Duration = Duration::from_millis(100);
/// The model of every engine, unless it is told otherwise.
pub const MODEL: &str = "fake";

/// Etcd, engines and nodes.
pub struct Lab {
    /// Where the members are; `None` for a single node.
    pub etcd: Option<Etcd>,
    /// In the order of their start.
    pub nodes: Vec<Node>,
    /// In the order of their start.
    pub engines: Vec<FakeEngine>,
    dir: tempfile::TempDir,
}

impl Lab {
    /// For nodes without a cluster: each has its own store.
    pub fn single() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { etcd: None, nodes: Vec::new(), engines: Vec::new(), dir }
    }

    /// For nodes that share an etcd.
    pub async fn cluster() -> Self {
        let mut lab = Self::single();
        lab.etcd = Some(Etcd::start().await.unwrap());
        lab
    }

    /// Starts an engine; gives its URL.
    pub async fn engine(&mut self, speak: &str, args: &[&str]) -> String {
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        self.engines.push(engine(&address, speak, args).await);
        format!("http://{address}")
    }

    /// Starts engine `at` again on its old address, after it was killed.
    pub async fn revive(&mut self, at: usize, speak: &str, args: &[&str]) {
        self.engines[at] = engine(&self.engines[at].address, speak, args).await;
    }

    /// Starts a node and waits until it serves; gives its place in `nodes`.
    pub async fn node(&mut self, setup: Setup) -> usize {
        let etcd = self.etcd.as_ref().map(|etcd| etcd.url.as_str());
        self.nodes.push(Node::start(self.dir.path(), etcd, setup).await.unwrap());
        self.nodes.len() - 1
    }

    /// A gateway without engines and `workers` nodes with one engine each, named `w0`, `w1`...
    pub async fn gateway_and_workers(&mut self, speak: &str, workers: usize, args: &[&str], more: &str) {
        self.node(Setup::new("gateway").more(more)).await;
        for at in 0..workers {
            let url = self.engine(speak, args).await;
            self.node(Setup::new(&format!("w{at}")).worker("engine", speak, &url).more(more)).await;
        }
        self.workers_are(0, "ready", workers).await;
    }

    /// What is in etcd, beside the nodes.
    pub fn store(&self) -> SharedStore {
        let etcd = self.etcd.as_ref().unwrap();
        let config = base::config::Etcd {
            endpoints: vec![etcd.url.clone()],
            prefix: PREFIX.to_owned(),
            lease_ttl: SOON,
            timeout: Duration::from_secs(2),
            user: None,
        };
        let dial: store::etcd::Dial = Arc::new(|url| Ok(Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy()));
        Arc::new(EtcdStore::open(&config, &dial).unwrap())
    }

    /// Asks each node over HTTP.
    pub fn gateways(&self) -> Vec<Client> {
        self.nodes.iter().map(|node| node.client.clone()).collect()
    }

    /// Asks node `at` over HTTP.
    pub fn http(&self, at: usize) -> Client {
        self.nodes[at].client.clone()
    }

    /// Waits until node `at` sees exactly `count` workers in `state`, and routes by that.
    pub async fn workers_are(&self, at: usize, state: &str, count: usize) {
        let node = &self.nodes[at];
        let mut since = None;
        until(&format!("{count} workers {state} at {}", node.name), SOON, async || {
            let workers = node.workers().await.unwrap_or_default();
            let is_so = workers.iter().filter(|worker| worker.state == state).count() == count;
            since = if is_so { since.or(Some(Instant::now())) } else { None };
            since.is_some_and(|since| since.elapsed() >= ROUTED)
        })
        .await;
    }

    /// Waits until node `at` sees `names` in `state`.
    pub async fn nodes_are(&self, at: usize, state: &str, names: &[&str], within: Duration) {
        let node = &self.nodes[at];
        until(&format!("{names:?} {state} at {}", node.name), within, async || {
            let nodes = node.nodes().await.unwrap_or_default();
            names.iter().all(|name| nodes.iter().any(|node| node.name == *name && node.state == state))
        })
        .await;
    }

    /// Waits until node `at` knows exactly one leader; gives its name and epoch.
    pub async fn leader(&self, at: usize, within: Duration) -> (String, u64) {
        let node = &self.nodes[at];
        let mut found = None;
        until(&format!("one leader at {}", node.name), within, async || {
            let nodes = node.nodes().await.unwrap_or_default();
            let leaders: Vec<_> = nodes.iter().filter(|node| node.leader && node.state == "alive").collect();
            found = leaders.first().map(|leader| (leader.name.clone(), leader.epoch));
            leaders.len() == 1
        })
        .await;
        found.unwrap()
    }

    /// The next leader after `(name, epoch)`, as node `at` sees it.
    pub async fn next_leader(&self, at: usize, (name, epoch): &(String, u64), within: Duration) -> (String, u64) {
        let mut next = None;
        until(&format!("a leader after {name} and epoch {epoch}"), within, async || {
            let nodes = self.nodes[at].nodes().await.unwrap_or_default();
            next = nodes.into_iter().find(|node| node.leader && node.name != *name && node.epoch > *epoch);
            next.is_some()
        })
        .await;
        next.map(|node| (node.name, node.epoch)).unwrap()
    }

    /// Every node has said so since its start.
    pub fn all_said(&self, text: &str) {
        for node in &self.nodes {
            assert!(node.child.stderr().contains(text), "{} did not say `{text}`", node.name);
        }
    }

    /// The place of the node called `name`.
    pub fn place(&self, name: &str) -> usize {
        self.nodes.iter().position(|node| node.name == name).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                node.print_log();
            }
        }
    }
}

/// An engine at `address`, whose files are those of every other one of a lab.
async fn engine(address: &str, speak: &str, args: &[&str]) -> FakeEngine {
    let all = [&["--speak", speak, "--digest-seed", "lab", "--listen", address], args].concat();
    FakeEngine::start(&all).await.unwrap()
}

/// Waits until `is_so`; panics with `what` when that takes longer than `within`.
pub async fn until(what: &str, within: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + within;
    while !is_so().await {
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Panics with `what` when `future` takes longer than `within`.
pub async fn bounded<T>(what: &str, within: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(within, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {within:?}: {what}"),
    }
}

/// Whether everything runs in full, not only a sample.
pub fn is_soak() -> bool {
    std::env::var_os("TM_SOAK").is_some()
}
