//! How long one routing decision takes: medians of plain loops, with the table built once as in the daemon.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and may stop at the first fault"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use base::report::{Backend, Machine, ModelReport, NodeReport, NodeState, WorkerReport, WorkerState};
use base::{Incarnation, NodeId, WorkerId};
use routing::{Catalogue, LiveMap, Request, Settings, Shipped, Table, choose, route};

const ROUNDS: usize = 2001;
const MODELS: usize = 20;

fn main() {
    for nodes in [3, 50, 1000] {
        let reports: Vec<NodeReport> = (0..nodes).map(node).collect();
        let views: Vec<_> = reports.iter().map(|report| (NodeState::Alive, report)).collect();
        let catalogue = Arc::new(Catalogue::build(&Shipped::load().unwrap(), &[], &[], &reports));
        let (live, settings, now) = (LiveMap::default(), Settings::default(), Instant::now());
        let build = median_us(21, || drop(black_box(Table::build(&views, &catalogue, &live, &settings, now))));
        let table = Table::build(&views, &catalogue, &live, &settings, now);
        let prefix: Vec<u64> = (0..32).collect();
        let decide = || {
            let seed = Request { prefix: &prefix, ..Request::new(catalogue.find("m7").unwrap().model, 8000) };
            let choice = choose(&table, black_box("m7"), &seed, now).unwrap();
            let chosen = route(&table, &Request { model: choice.model, ..seed }, now).chosen.unwrap();
            drop(black_box(chosen.begin(now)));
        };
        println!(
            "{nodes:>5} nodes x {MODELS} models: decision {:.1} us, table {build:.0} us",
            median_us(ROUNDS, decide)
        );
    }
}

fn median_us(rounds: usize, mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[rounds / 2]
}

fn node(index: usize) -> NodeReport {
    let node = NodeId::new(format!("node-{index}"));
    let models = (0..MODELS).map(|model| ModelReport {
        name: format!("m{model}"),
        engine_name: format!("m{model}"),
        id: format!("sha256:{model}").as_str().into(),
        is_loaded: (model + index).is_multiple_of(3),
        size_bytes: 4 << 30,
        memory_bytes: 5 << 30,
        context_tokens: 32_768,
        capabilities: Vec::new(),
        prefill_tok_s: Some(1000.0 + index as f64),
        decode_tok_s: Some(40.0),
        load_s: Some(10.0),
        output_tokens: Some(200.0),
        quarantined_s: None,
    });
    let worker = WorkerReport {
        id: WorkerId::of(&node, "engine"),
        backend: Backend::Ollama,
        state: WorkerState::Ready,
        reason: String::new(),
        slots: 4,
        busy: index as u32 % 5,
        queued: index as u32 % 3,
        queued_prompt_tokens: 500,
        queued_output_tokens: 900,
        memory_bytes: 48 << 30,
        models: models.collect(),
        prefixes: (0..(index as u64 % 64) * 4).collect(),
    };
    NodeReport {
        node,
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
