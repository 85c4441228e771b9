//! The node's own report, and the routing table made of everybody's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::report::{Machine, NodeReport, NodeState};
use base::{Incarnation, NodeId};
use cluster::ClusterView;
use inference::gpu::Probe;
use inference::machine::Sampler;
use routing::model::{Catalogue, Shipped};
use routing::settings::Settings;
use routing::table::Table;

use crate::core::Core;

/// Between two measurements of the machine.
const MEASURE_EVERY: Duration = Duration::from_secs(2);

/// This node's report; identity fields are filled in by `cluster`.
pub fn own_report(core: &Core) -> NodeReport {
    let now = Instant::now();
    let mut workers: Vec<_> = core.ports.values().map(|port| port.report(now)).collect();
    workers.sort_by(|a, b| a.id.cmp(&b.id));
    NodeReport { machine: Machine::clone(&core.machine.load()), workers, ..report_of(&core.node) }
}

/// The report of a node that has nothing to tell.
pub fn report_of(node: &NodeId) -> NodeReport {
    NodeReport {
        node: node.clone(),
        incarnation: Incarnation(0),
        sequence: 0,
        peer_address: String::new(),
        actors_address: String::new(),
        grpc_address: String::new(),
        is_draining: false,
        leads: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: Machine::default(),
        workers: Vec::new(),
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
    let catalogue = Catalogue::build(&core.shipped, &core.config.models, &core.config.roles, reports);
    let table = Table::build(&nodes, &Arc::new(catalogue), &core.live, &settings, now);
    core.live.retain(|worker| nodes.iter().any(|(_, report)| report.node == worker.node()));
    core.table.store(Arc::new(table));
}

/// How routing weighs now.
pub fn settings(core: &Core) -> Settings {
    Settings::new(&core.config.routing, core.mode.get().mode)
}

/// A table without a model, for a node that has not looked around yet.
pub fn empty_table(config: &base::config::Config, shipped: &Shipped, live: &routing::live::LiveMap) -> Table {
    let settings = Settings::new(&config.routing, config.privacy.mode);
    let catalogue = Catalogue::build(shipped, &config.models, &config.roles, std::iter::empty());
    Table::build(&[], &Arc::new(catalogue), live, &settings, Instant::now())
}

/// Measures the machine again and again. Drivers may block, so it is done off the runtime.
pub async fn keep_machine(core: Arc<Core>) {
    let (mut probe, mut sampler) = probes(&core.config);
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
