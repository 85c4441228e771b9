//! A small cluster as a server tells of it, for the snapshots of every text.

pub mod planning;
pub mod research;

use base::time::rfc3339;
use proto::admin::{
    ActorItem, Candidate, ExplainResponse, FailureItem, GetModeResponse, GpuItem, ListActorsResponse,
    ListFailuresResponse, ListModelsResponse, ListNodesResponse, ListWorkersResponse, ModelItem, ModelPlace, NodeItem,
    RunItem, Term, View, WorkerItem,
};
use serde::Serialize;

use crate::text::List;

/// When the snapshots are taken: 2026-11-20 23:05:00.250 UTC.
pub const NOW: u64 = 1_795_215_900_250;
const GIB: u64 = 1 << 30;

/// JSON, one field a line.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

/// A list that `server` gave at [`NOW`].
pub fn list<T>(server: &str, items: Vec<T>) -> List<T> {
    List { as_of: rfc3339(NOW), ..List::of_now(server, items) }
}

/// A view that is 250 ms old.
pub fn view() -> Option<View> {
    Some(View { node: "grey-area".into(), as_of_unix_ms: NOW - 250, stale_s: 0.0 })
}

pub fn nodes() -> ListNodesResponse {
    let gpu = GpuItem {
        name: "RTX 4090".into(),
        memory_bytes: 24 * GIB,
        memory_used_bytes: 18 * GIB,
        used: 0.42,
        power_w: Some(210.5),
        temperature_c: None,
        fault: String::new(),
    };
    let broken = GpuItem { name: "GTX 1080".into(), fault: "fell off the bus".into(), ..GpuItem::default() };
    let alive = NodeItem {
        name: "grey-area".into(),
        state: "alive".into(),
        incarnation: 7,
        leader: true,
        address: "grey-area:3003".into(),
        version: "0.1.0".into(),
        heard_s: 0.0,
        memory_bytes: 64 * GIB,
        memory_free_bytes: 41 * GIB,
        cpu_used: 0.13,
        gpus: vec![gpu],
        epoch: 12,
        grpc_address: "grey-area:3002".into(),
    };
    let lost = NodeItem {
        name: "sleeper-service".into(),
        state: "lost".into(),
        incarnation: 3,
        leader: false,
        address: "sleeper-service:3003".into(),
        heard_s: 734.0,
        gpus: vec![broken],
        epoch: 0,
        grpc_address: String::new(),
        ..alive.clone()
    };
    ListNodesResponse { view: view(), nodes: vec![alive, lost] }
}

pub fn workers() -> ListWorkersResponse {
    let models = ["llama3.1:8b", "qwen3:14b", "nomic-embed-text", "gemma3:27b"].map(str::to_owned).to_vec();
    let ready = WorkerItem {
        name: "grey-area/ollama".into(),
        node: "grey-area".into(),
        backend: "ollama".into(),
        state: "ready".into(),
        reason: String::new(),
        slots: 4,
        busy: 1,
        queued: 0,
        loaded: models.clone(),
        models,
    };
    let down = WorkerItem {
        name: "sleeper-service/llamacpp".into(),
        node: "sleeper-service".into(),
        backend: "llamacpp".into(),
        state: "down".into(),
        reason: "could not reach engine at 127.0.0.1:8080: connection refused".into(),
        slots: 2,
        ..WorkerItem::default()
    };
    ListWorkersResponse { view: view(), workers: vec![ready, down] }
}

pub fn models() -> ListModelsResponse {
    let loaded = ModelPlace {
        worker: "grey-area/ollama".into(),
        engine_name: "llama3.1:8b".into(),
        is_loaded: true,
        memory_bytes: 6 * GIB,
        context_tokens: 8192,
        prefill_tok_s: Some(2100.4),
        decode_tok_s: Some(74.6),
        load_s: Some(3.26),
        quarantined_s: None,
        capabilities: vec!["completion".into(), "tools".into()],
        size_bytes: 5 * GIB,
    };
    let cold = ModelPlace {
        worker: "sleeper-service/llamacpp".into(),
        engine_name: "meta-llama-3.1-8b-instruct".into(),
        ..ModelPlace::default()
    };
    let failed = ModelPlace {
        worker: "nas/engine".into(),
        engine_name: "llama-8b.gguf".into(),
        quarantined_s: Some(240),
        ..ModelPlace::default()
    };
    let model = ModelItem {
        name: "llama3.1:8b".into(),
        id: "sha256:46e0c10c039e".into(),
        aliases: vec!["meta-llama-3.1-8b-instruct".into()],
        tier: "standard".into(),
        places: vec![loaded, cold, failed],
    };
    let embedder = ModelItem { name: "nomic-embed-text".into(), id: "nomic-embed-text".into(), ..ModelItem::default() };
    ListModelsResponse { view: view(), models: vec![model, embedder] }
}

pub fn explanation() -> ExplainResponse {
    let terms = |terms: &[(&str, f64)]| -> Vec<Term> {
        terms.iter().map(|&(name, seconds)| Term { name: name.into(), seconds }).collect()
    };
    let run = |worker: &str, outcome: &str, tokens, seconds| RunItem {
        worker: worker.into(),
        outcome: outcome.into(),
        tokens,
        seconds,
    };
    ExplainResponse {
        leaning: "at home, by mode local-only".into(),
        ask: "ask-00000000000000000000000000000007".into(),
        asked_model: "auto".into(),
        model: "llama3.1:8b".into(),
        fallback: "qwen3:14b is on no reachable node".into(),
        chosen: "grey-area/ollama".into(),
        candidates: vec![
            Candidate {
                worker: "grey-area/ollama".into(),
                terms: terms(&[("wait", 0.2), ("load", 0.0), ("prefill", 0.31), ("decode", 4.1)]),
                total_s: 4.61,
                refused_because: String::new(),
            },
            Candidate {
                worker: "nas/engine".into(),
                terms: terms(&[("wait", 0.0), ("load", 41.0), ("prefill", 9.5), ("decode", 62.0), ("wake", 15.0)]),
                total_s: 127.5,
                refused_because: String::new(),
            },
            Candidate {
                worker: "sleeper-service/llamacpp".into(),
                refused_because: "node is suspect: no heartbeat for 3 s".into(),
                ..Candidate::default()
            },
        ],
        runs: vec![run("sleeper-service/llamacpp", "cut", 31, 2.4), run("grey-area/ollama", "done", 120, 5.02)],
        decided_by: "grey-area".into(),
        at_unix_ms: NOW,
        outcome: "done".into(),
    }
}

pub fn failures() -> ListFailuresResponse {
    let mended = FailureItem {
        id: "f-41".into(),
        at_unix_ms: NOW - 60_000,
        subject: "sleeper-service/llamacpp".into(),
        kind: "model-failure".into(),
        severity: "high".into(),
        remedy: "restart-engine".into(),
        outcome: "mended".into(),
        detail: "engine ended with signal 9".into(),
        is_active: false,
    };
    let open = FailureItem {
        id: "f-42".into(),
        subject: "nas".into(),
        kind: "resource-exhaustion".into(),
        severity: "critical".into(),
        remedy: String::new(),
        outcome: String::new(),
        detail: "2 GiB left on /var".into(),
        is_active: true,
        ..mended.clone()
    };
    ListFailuresResponse { view: view(), failures: vec![open, mended], active: 1, recovery_rate: 0.934 }
}

pub fn mode(mode: &str) -> GetModeResponse {
    GetModeResponse { mode: mode.into(), since_unix_ms: NOW, set_by: "laptop".into(), ..GetModeResponse::default() }
}

pub fn actors() -> ListActorsResponse {
    let actor = |name: &str, supervisor: &str, snapshot: &str, restarts| ActorItem {
        name: name.into(),
        supervisor: supervisor.into(),
        state: "running".into(),
        restarts,
        snapshot_json: snapshot.into(),
    };
    let actors = vec![
        actor("root", "", "", 0),
        actor("worker ollama", "workers", "{\"state\":\"ready\",\"busy\":1}", 2),
        actor("odd", "root", "no json", 0),
    ];
    ListActorsResponse { node: "grey-area".into(), actors }
}
