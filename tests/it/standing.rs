//! What holds after every fault, whichever it was: all are ready again by themselves and new asks succeed, nobody has
//! panicked, and nobody holds more than before.

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::lab::{Lab, SOON, bounded, chat, until};
use crate::load::ANSWERED_WITHIN;

/// What a node may hold more than before, in KiB: allocators keep what was used once.
pub const MEMORY_MORE: u64 = 60 << 10;
/// Descriptors that come and go by themselves.
pub const DESCRIPTORS_MORE: usize = 8;
/// New asks after the fault, of which at most one in a hundred may fail.
const PROBES: usize = 100;
/// Clients that make them.
const PROBING: usize = 4;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub memory_kib: u64,
    pub descriptors: usize,
}

impl Held {
    /// What the process holds now.
    pub fn by(pid: u32) -> Result<Self> {
        let memory_kib = status_kib(pid, "VmRSS:")?;
        Ok(Self { memory_kib, descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() })
    }
}

/// The most that a process holds of memory from now on.
pub struct Peak {
    pid: u32,
    begin_kib: u64,
}

impl Peak {
    /// The peak begins anew at what is held now.
    pub fn from_now(pid: u32) -> Result<Self> {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        Ok(Self { pid, begin_kib: status_kib(pid, "VmHWM:")? })
    }

    /// How far it rose since.
    pub fn grown_kib(&self) -> Result<u64> {
        Ok(status_kib(self.pid, "VmHWM:")?.saturating_sub(self.begin_kib))
    }
}

fn status_kib(pid: u32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

/// What the nodes of a settled lab held.
pub struct Standing(Vec<(u32, Held)>);

impl Standing {
    /// Before the fault. The same asks as after it open the connections that stay open.
    pub async fn before(lab: &Lab) -> Self {
        are_settled(lab).await;
        answer_new_asks(lab).await;
        let pids = lab.nodes.iter().map(|node| node.child.pid());
        Self(pids.map(|pid| (pid, Held::by(pid).unwrap())).collect())
    }

    /// After it. A node that was started again meanwhile holds what it holds.
    pub async fn holds(self, lab: &Lab) {
        are_settled(lab).await;
        answer_new_asks(lab).await;
        for node in &lab.nodes {
            let said = node.child.stderr();
            let panic = said.lines().find(|line| line.contains("panicked at"));
            assert!(panic.is_none(), "{} says {panic:?}", node.name);
            let pid = node.child.pid();
            let Some((_, before)) = self.0.iter().find(|(known, _)| *known == pid) else { continue };
            until(&format!("{} holds no more than {before:?}", node.name), SOON, async || {
                let now = Held::by(pid).unwrap();
                now.descriptors <= before.descriptors + DESCRIPTORS_MORE
                    && now.memory_kib <= before.memory_kib + MEMORY_MORE
            })
            .await;
        }
    }
}

/// Every node sees every node alive, every worker ready, and all see the same leader.
pub async fn are_settled(lab: &Lab) {
    let names: Vec<&str> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
    for at in 0..lab.nodes.len() {
        lab.nodes_are(at, "alive", &names, SOON).await;
        lab.workers_are(at, "ready", lab.engines.len()).await;
    }
    until("all see one leader", SOON, async || {
        let mut leaders = Vec::new();
        for node in &lab.nodes {
            let nodes = node.nodes().await.unwrap_or_default();
            leaders.push(nodes.into_iter().find(|node| node.leader).map(|node| (node.name, node.epoch)));
        }
        leaders[0].is_some() && leaders.iter().all(|leader| *leader == leaders[0])
    })
    .await;
}

/// By a few clients, so that the connections that stay open are few, too.
async fn answer_new_asks(lab: &Lab) {
    let mut clients = JoinSet::new();
    for client in 0..PROBING {
        let gateways = lab.gateways();
        clients.spawn(async move {
            let mut good = 0;
            for at in 0..PROBES / PROBING {
                let ask = chat(&format!("ask {at} of {client}"), false);
                let reply = gateways[(at + client) % gateways.len()].post_json("/v1/chat/completions", &ask);
                let reply = bounded("a new answer", ANSWERED_WITHIN, reply).await;
                good += usize::from(reply.is_ok_and(|reply| reply.status == 200));
            }
            good
        });
    }
    let good: usize = clients.join_all().await.into_iter().sum();
    assert!(good * 100 >= PROBES * 99, "{good} of {PROBES} new asks were answered");
}
