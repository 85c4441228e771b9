//! Admin lists as JSON: the names of `tmctl --json`.

use base::time::rfc3339;
use proto::admin::{
    AskItem, Candidate, DialledItem, ExplainResponse, FailureItem, GetModeResponse, GpuItem, HealthResponse,
    ListAsksResponse, ListDialledResponse, ListFailuresResponse, ListLoadResponse, ListModelsResponse,
    ListNodesResponse, ListWorkersResponse, LoadPoint, ModelItem, ModelPlace, NodeItem, RunItem, Term, View,
    WatchEventsResponse, WorkerItem,
};
use serde_json::{Value, json};

/// A list with whose view it is and how old.
fn list(view: Option<&View>, items: Vec<Value>) -> Value {
    let mut said = seen_by(view);
    said["items"] = items.into();
    said
}

/// Whose view it is: none when the node does not say.
fn seen_by(view: Option<&View>) -> Value {
    json!({
        "view_of": view.map(|view| view.node.as_str()),
        "as_of": view.map(|view| rfc3339(view.as_of_unix_ms)),
        "stale_s": view.map(|view| view.stale_s),
    })
}

/// Text that is empty where there is none.
fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

pub(super) fn nodes(response: &ListNodesResponse) -> Value {
    list(response.view.as_ref(), response.nodes.iter().map(node).collect())
}

fn node(node: &NodeItem) -> Value {
    json!({
        "name": node.name, "state": node.state, "incarnation": node.incarnation, "leader": node.leader,
        "address": node.address, "grpc_address": node.grpc_address, "version": node.version,
        "heard_s": node.heard_s, "epoch": node.epoch, "cpu_used": node.cpu_used,
        "memory_bytes": node.memory_bytes, "memory_free_bytes": node.memory_free_bytes,
        "gpus": node.gpus.iter().map(gpu).collect::<Vec<_>>(),
    })
}

fn gpu(gpu: &GpuItem) -> Value {
    json!({
        "name": gpu.name, "memory_bytes": gpu.memory_bytes, "memory_used_bytes": gpu.memory_used_bytes,
        "used": gpu.used, "power_w": gpu.power_w, "temperature_c": gpu.temperature_c, "fault": some(&gpu.fault),
    })
}

pub(super) fn workers(response: &ListWorkersResponse) -> Value {
    list(response.view.as_ref(), response.workers.iter().map(worker).collect())
}

fn worker(worker: &WorkerItem) -> Value {
    json!({
        "name": worker.name, "node": worker.node, "backend": worker.backend, "state": worker.state,
        "reason": some(&worker.reason), "slots": worker.slots, "busy": worker.busy, "queued": worker.queued,
        "models": worker.models, "loaded": worker.loaded,
    })
}

pub(super) fn models(response: &ListModelsResponse) -> Value {
    list(response.view.as_ref(), response.models.iter().map(model).collect())
}

fn model(model: &ModelItem) -> Value {
    json!({
        "name": model.name, "id": model.id, "aliases": model.aliases, "tier": some(&model.tier),
        "places": model.places.iter().map(place).collect::<Vec<_>>(),
    })
}

fn place(place: &ModelPlace) -> Value {
    json!({
        "worker": place.worker, "engine_name": place.engine_name, "is_loaded": place.is_loaded,
        "memory_bytes": place.memory_bytes, "size_bytes": place.size_bytes, "context_tokens": place.context_tokens,
        "prefill_tok_s": place.prefill_tok_s, "decode_tok_s": place.decode_tok_s, "load_s": place.load_s,
        "quarantined_s": place.quarantined_s, "capabilities": place.capabilities,
    })
}

pub(super) fn asks(response: &ListAsksResponse) -> Value {
    let mut said = list(response.view.as_ref(), response.asks.iter().map(ask).collect());
    said["running"] = response.running.into();
    said["unreached_nodes"] = response.unreached_nodes.clone().into();
    said
}

fn ask(ask: &AskItem) -> Value {
    json!({
        "ask": ask.ask, "node": ask.node, "client": some(&ask.client), "face": ask.face,
        "asked_model": ask.asked_model, "model": some(&ask.model), "fallback": some(&ask.fallback),
        "worker": some(&ask.worker), "outcome": ask.outcome, "at": rfc3339(ask.at_unix_ms),
        "seconds": ask.seconds, "runs": ask.runs, "tokens": ask.tokens,
    })
}

pub(super) fn explanation(told: &ExplainResponse) -> Value {
    json!({
        "ask": told.ask, "leaning": some(&told.leaning), "asked_model": told.asked_model, "model": some(&told.model),
        "fallback": some(&told.fallback), "chosen": some(&told.chosen), "decided_by": told.decided_by,
        "at": rfc3339(told.at_unix_ms), "outcome": told.outcome,
        "candidates": told.candidates.iter().map(candidate).collect::<Vec<_>>(),
        "runs": told.runs.iter().map(run).collect::<Vec<_>>(),
    })
}

fn candidate(candidate: &Candidate) -> Value {
    let term = |term: &Term| json!({ "name": term.name, "seconds": term.seconds });
    json!({
        "worker": candidate.worker, "total_s": candidate.total_s,
        "refused_because": some(&candidate.refused_because),
        "terms": candidate.terms.iter().map(term).collect::<Vec<_>>(),
    })
}

fn run(run: &RunItem) -> Value {
    json!({ "worker": run.worker, "outcome": run.outcome, "tokens": run.tokens, "seconds": run.seconds })
}

pub(super) fn failures(response: &ListFailuresResponse) -> Value {
    let mut said = list(response.view.as_ref(), response.failures.iter().map(failure).collect());
    said["active"] = response.active.into();
    said["recovery_rate"] = response.recovery_rate.into();
    said
}

fn failure(failure: &FailureItem) -> Value {
    json!({
        "id": failure.id, "at": rfc3339(failure.at_unix_ms), "subject": failure.subject, "kind": failure.kind,
        "severity": failure.severity, "remedy": some(&failure.remedy), "outcome": failure.outcome,
        "detail": failure.detail, "is_active": failure.is_active,
    })
}

pub(super) fn health(response: &HealthResponse) -> Value {
    let mut said = seen_by(response.view.as_ref());
    said["verdict"] = response.verdict.clone().into();
    said["reasons"] = response.reasons.clone().into();
    said
}

pub(super) fn mode(response: &GetModeResponse) -> Value {
    json!({
        "mode": response.mode, "since": rfc3339(response.since_unix_ms), "set_by": some(&response.set_by),
        "local_percent": response.local_percent, "reason": some(&response.reason),
        "is_locked": response.is_locked, "not_followed": some(&response.not_followed),
        "modes": base::config::Mode::ALL.iter().map(|mode| mode.as_str()).collect::<Vec<_>>(),
    })
}

pub(super) fn load(response: &ListLoadResponse) -> Value {
    let node = |load: &proto::admin::NodeLoad| json!({ "node": load.node, "points": load.points.iter().map(point).collect::<Vec<_>>() });
    let mut said = list(response.view.as_ref(), response.nodes.iter().map(node).collect());
    said["every_s"] = response.every_s.into();
    said
}

fn point(point: &LoadPoint) -> Value {
    let gpu = |gpu: &proto::admin::GpuPoint| json!({ "used": gpu.used, "memory_used_bytes": gpu.memory_used_bytes });
    json!({
        "at_ms": point.at_unix_ms, "cpu_used": point.cpu_used, "memory_used_bytes": point.memory_used_bytes,
        "slots": point.slots, "busy": point.busy, "queued": point.queued,
        "gpus": point.gpus.iter().map(gpu).collect::<Vec<_>>(),
    })
}

pub(super) fn dialled(response: &ListDialledResponse) -> Value {
    let mut said = list(response.view.as_ref(), response.items.iter().map(destination).collect());
    let counts = response.counts.iter().map(|count| json!({ "verdict": count.verdict, "count": count.count }));
    said["counts"] = counts.collect::<Vec<_>>().into();
    said
}

fn destination(item: &DialledItem) -> Value {
    json!({
        "purpose": item.purpose, "host": item.host, "port": item.port, "verdict": item.verdict,
        "count": item.count, "last": rfc3339(item.last_unix_ms),
    })
}

pub(super) fn event(event: &WatchEventsResponse) -> Value {
    json!({ "at": rfc3339(event.at_unix_ms), "kind": event.kind, "subject": event.subject, "text": event.text })
}
