//! Nodes, workers and models for the tests of this crate.

use std::sync::Arc;
use std::time::Instant;

use base::Incarnation;
use base::report::{Backend, Machine, ModelReport, NodeReport, NodeState, WorkerReport, WorkerState};

use crate::live::LiveMap;
use crate::model::{Catalogue, Shipped};
use crate::settings::Settings;
use crate::table::Table;

pub const GIB: u64 = 1 << 30;

/// A model in memory, of measured speed.
pub fn model(name: &str) -> ModelReport {
    ModelReport {
        name: name.to_owned(),
        engine_name: name.to_owned(),
        id: format!("sha256:{name}").as_str().into(),
        is_loaded: true,
        size_bytes: 4 * GIB,
        memory_bytes: 5 * GIB,
        context_tokens: 8192,
        capabilities: Vec::new(),
        prefill_tok_s: Some(1000.0),
        decode_tok_s: Some(50.0),
        load_s: Some(10.0),
        output_tokens: Some(100.0),
        quarantined_s: None,
    }
}

/// A node with one idle worker, `engine`, with two slots and memory for two models of [`model`].
pub fn node(name: &str, models: Vec<ModelReport>) -> NodeReport {
    let worker = WorkerReport {
        id: format!("{name}/engine").as_str().into(),
        backend: Backend::Ollama,
        state: WorkerState::Ready,
        reason: String::new(),
        slots: 2,
        busy: 0,
        queued: 0,
        queued_prompt_tokens: 0,
        queued_output_tokens: 0,
        memory_bytes: 14 * GIB,
        models,
        prefixes: Vec::new(),
    };
    NodeReport {
        node: name.into(),
        incarnation: Incarnation(1),
        sequence: 1,
        peer_address: String::new(),
        actors_address: String::new(),
        grpc_address: String::new(),
        is_draining: false,
        leads: None,
        version: String::new(),
        machine: Machine::default(),
        workers: vec![worker],
        research: None,
        features: Vec::new(),
    }
}

/// A catalogue of what the nodes offer, with these roles.
pub fn catalogue(nodes: &[NodeReport], declared: &[base::config::Model], roles: &[(&str, &[&str])]) -> Arc<Catalogue> {
    let owned =
        |(role, models): &(&str, &[&str])| ((*role).to_owned(), models.iter().map(|name| (*name).to_owned()).collect());
    let roles: Vec<(String, Vec<String>)> = roles.iter().map(owned).collect();
    Arc::new(Catalogue::build(&Shipped::load().unwrap(), declared, &roles, nodes))
}

/// A table of living nodes.
pub fn table(nodes: &[NodeReport], live: &LiveMap, settings: &Settings, now: Instant) -> Table {
    table_with(nodes, NodeState::Alive, &catalogue(nodes, &[], &[]), live, settings, now)
}

/// A table of nodes in a state.
pub fn table_with(
    nodes: &[NodeReport],
    state: NodeState,
    catalogue: &Arc<Catalogue>,
    live: &LiveMap,
    settings: &Settings,
    now: Instant,
) -> Table {
    let nodes: Vec<_> = nodes.iter().map(|node| (state, node)).collect();
    Table::build(&nodes, catalogue, live, settings, now)
}
