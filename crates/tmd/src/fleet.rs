//! The node's own report, and the routing table made of everybody's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::config::Store;
use base::report::{Machine, NodeReport, NodeState, WorkerState};
use base::{Incarnation, NodeId};
use cluster::ClusterView;
use inference::gpu::Probe;
use inference::machine::Sampler;
use routing::model::{Catalogue, Shipped};
use routing::settings::Settings;
use routing::table::Table;

use crate::core::Core;
use crate::features::Release;
use crate::mode::SetMode;

/// Between two measurements of the machine.
const MEASURE_EVERY: Duration = Duration::from_secs(2);

/// This node's report; identity fields are filled in by `cluster`.
pub fn own_report(core: &Core) -> NodeReport {
    let now = Instant::now();
    let mut workers: Vec<_> = core.ports.load().values().map(|port| port.report(now)).collect();
    workers.sort_by(|a, b| a.id.cmp(&b.id));
    let research = core.own_library().map(|library| library.report());
    NodeReport {
        machine: Machine::clone(&core.machine.load()),
        workers,
        research,
        version: core.source.release.version.clone(),
        features: core.source.release.features.clone(),
        ..report_of(&core.node)
    }
}

/// The report of a node that has nothing to tell.
pub fn report_of(node: &NodeId) -> NodeReport {
    let Release { version, features } = Release::own();
    NodeReport {
        node: node.clone(),
        incarnation: Incarnation(0),
        sequence: 0,
        peer_address: String::new(),
        actors_address: String::new(),
        grpc_address: String::new(),
        is_draining: false,
        leads: None,
        version,
        features,
        machine: Machine::default(),
        workers: Vec::new(),
        research: None,
    }
}

/// Makes the routing table anew out of the view and this node's own state.
pub fn make_table(core: &Core, view: &ClusterView, now: Instant) {
    // Drawn with a sequence number of its own: what is in flight since is counted from this picture on.
    let own = core.cluster().map_or_else(|_| own_report(core), |cluster| cluster.own_report());
    let mut nodes: Vec<(NodeState, &NodeReport)> = Vec::with_capacity(view.nodes.len());
    for node in &view.nodes {
        match &node.report {
            _ if node.member.node == view.me => nodes.push((node.state, &own)),
            Some(report) => nodes.push((node.state, report)),
            None => {}
        }
    }
    let settings = settings(core);
    let reports = nodes.iter().map(|(_, report)| *report);
    let config = core.config.load();
    let catalogue = Catalogue::build(&core.shipped, &config.models, &config.roles, reports);
    let table = Table::build(&nodes, &Arc::new(catalogue), &core.live, &settings, now);
    core.live.retain(|worker| nodes.iter().any(|(_, report)| report.node == worker.node()));
    core.table.store(Arc::new(table));
    if has_seen_everybody(view, &own, matches!(config.store, Store::Etcd(_))) {
        core.looked_around();
    }
}

/// Whether all that may offer a model were seen: own engines were looked at, and every other node was heard. A cluster of
/// which the store has told nothing yet looks like this node alone.
fn has_seen_everybody(view: &ClusterView, own: &NodeReport, is_clustered: bool) -> bool {
    let mut others = view.nodes.iter().filter(|node| node.member.node != view.me).peekable();
    own.workers.iter().all(|worker| worker.state != WorkerState::Starting)
        && (others.peek().is_some() || !is_clustered)
        && others.all(|node| node.report.is_some())
}

/// How routing weighs now.
pub fn settings(core: &Core) -> Settings {
    let SetMode { mode, local_percent, .. } = core.mode.get();
    Settings::new(&core.config.load().routing, mode, local_percent)
}

/// A table without a model, for a node that has not looked around yet.
pub fn empty_table(config: &base::config::Config, shipped: &Shipped, live: &routing::live::LiveMap) -> Table {
    let settings = Settings::new(&config.routing, config.privacy.mode, config.privacy_local_percent);
    let catalogue = Catalogue::build(shipped, &config.models, &config.roles, std::iter::empty());
    Table::build(&[], &Arc::new(catalogue), live, &settings, Instant::now())
}

/// Measures the machine again and again. Drivers may block, so it is done off the runtime.
pub async fn keep_machine(core: Arc<Core>) {
    let (mut probe, mut sampler) = probes(&core.config.load());
    loop {
        let measured = tokio::task::spawn_blocking(move || {
            let machine = sampler.read(probe.read());
            (probe, sampler, machine)
        });
        let machine;
        (probe, sampler, machine) = match measured.await {
            Ok(measured) => measured,
            Err(error) => {
                tracing::error!(%error, "measuring the machine failed");
                return;
            }
        };
        core.machine.store(Arc::new(machine));
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

/// What measures the machine.
pub fn probes(config: &base::config::Config) -> (Probe, Sampler) {
    (Probe::open(config.nvml.as_deref()), Sampler::new(PathBuf::from(&config.node.data_dir)))
}

#[cfg(test)]
mod tests {
    use base::report::{Backend, WorkerReport};
    use cluster::{Member, NodeView};

    use super::*;

    fn own(state: WorkerState) -> NodeReport {
        let worker = WorkerReport {
            id: base::WorkerId::of(&NodeId::from("me"), "engine"),
            backend: Backend::Ollama,
            state,
            reason: String::new(),
            slots: 1,
            busy: 0,
            queued: 0,
            queued_prompt_tokens: 0,
            queued_output_tokens: 0,
            memory_bytes: 0,
            models: Vec::new(),
            prefixes: Vec::new(),
        };
        NodeReport { workers: vec![worker], ..report_of(&NodeId::from("me")) }
    }

    /// The view of `me` and of other nodes, each heard or not.
    fn view(others: &[bool]) -> ClusterView {
        let node = |(name, report): (&str, Option<NodeReport>)| NodeView {
            state: NodeState::Suspect,
            member: Member {
                node: NodeId::from(name),
                incarnation: Incarnation(1),
                peer_address: String::new(),
                actors_address: String::new(),
                grpc_address: String::new(),
            },
            report: report.map(Arc::new),
            heard: None,
        };
        let other = |&is_heard: &bool| ("other", is_heard.then(|| report_of(&NodeId::from("other"))));
        let nodes = others.iter().map(other).chain([("me", None)]).map(node).collect();
        ClusterView { nodes, ..ClusterView::alone(NodeId::from("me")) }
    }

    #[test]
    fn everybody_is_seen_once_own_engines_were_looked_at_and_every_other_node_heard() {
        let (ready, starting) = (own(WorkerState::Ready), own(WorkerState::Starting));
        for (others, own, is_clustered, wanted) in [
            (&[] as &[bool], &ready, false, true),
            (&[], &own(WorkerState::Down), false, true),
            (&[], &starting, false, false),
            (&[], &ready, true, false),
            (&[true], &ready, true, true),
            (&[true], &starting, true, false),
            (&[false], &ready, true, false),
            (&[true, false], &ready, true, false),
        ] {
            assert_eq!(has_seen_everybody(&view(others), own, is_clustered), wanted, "{others:?} {own:?}");
        }
    }
}
