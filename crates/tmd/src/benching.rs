//! How fast a model is at a worker, measured by an owner's order on the node that has the worker.
//!
//! Asks go through the worker's own port, so that its rates learn from them; medians are kept on the disk, and the next
//! life begins with them. A measurement is nobody's hurry: it asks only while the worker is idle, one ask at a time, and
//! drops what it asks as soon as a client's ask comes.

mod kept;
mod measure;
mod running;

use std::sync::Arc;
use std::time::Duration;

use api::BenchStream;
use base::report::WorkerState;
use base::{Code, Fault, ModelId, Result, WorkerId};
use futures_util::StreamExt;
use proto::admin::BenchModelRequest;
use proto::node;
use routing::model::Capabilities;
use store::Table;
use tokio::sync::Semaphore;

use crate::core::Core;
use crate::shelving::{elsewhere, incomplete, within, worker_named};
use crate::worker::port::{OfferedModel, Port};
use measure::Use;
use running::Running;

/// Until another node says its first word.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);
/// When somebody who was refused may come back.
const COME_BACK: Duration = Duration::from_secs(60);
/// Tokens of an answer when nobody says how many; enough for a speed, and soon over on a slow machine.
const ANSWER_TOKENS: u32 = 64;
const FEWEST_TOKENS: u32 = 16;
const MOST_TOKENS: u32 = 1024;

/// The measurements of a node.
pub struct Benching {
    /// Two at once would measure each other.
    one: Arc<Semaphore>,
    kept: Table,
}

impl Benching {
    /// What is measured is kept in `kept`.
    pub fn new(kept: Table) -> Self {
        Self { one: Arc::new(Semaphore::new(1)), kept }
    }
}

/// Lets the workers of this node begin with what an earlier life measured.
pub fn recall(core: &Core) {
    core.ports.load().values().for_each(|port| recall_at(core, port));
}

/// The same for one of them.
pub fn recall_at(core: &Core, port: &Port) {
    let measured = kept::of_worker(&core.benching.kept, &port.id);
    port.recall(measured.into_iter().map(|(model, measured)| (model, measured.rates())).collect());
}

/// How fast a model was measured to write at a worker of this node.
pub fn measured_speed(core: &Core, worker: &WorkerId, model: &ModelId) -> Option<f64> {
    kept::of(&core.benching.kept, worker, model).rates().decode_tok_s
}

/// Measures at a worker, wherever that is.
pub async fn bench(core: &Arc<Core>, mut order: BenchModelRequest) -> Result<BenchStream> {
    let worker = worker_named(core, &order.worker)?;
    order.worker = worker.to_string();
    let Some(node) = elsewhere(core, worker.node().as_str())? else { return bench_here(core, order) };
    let mut client = core.peers.client_of(core, &node)?;
    let request = node::BenchModelRequest { order: Some(order) };
    let told = within(&node, BEGINS_WITHIN, client.bench_model(request)).await?;
    Ok(Box::pin(told.map(move |told| match told {
        Ok(told) => told.told.ok_or_else(|| incomplete(&node)),
        Err(status) => Err(proto::from_status(&status)),
    })))
}

/// Measures at a worker of this node.
pub fn bench_here(core: &Arc<Core>, order: BenchModelRequest) -> Result<BenchStream> {
    let port = core.port(&WorkerId::from(order.worker.as_str()))?;
    let (model, used) = measurable(core, &port, &order.model)?;
    let tokens = if order.tokens == 0 { ANSWER_TOKENS } else { order.tokens };
    let tokens = tokens.clamp(FEWEST_TOKENS, MOST_TOKENS);
    let buckets = measure::buckets(used, model.engine.context_tokens, tokens);
    if buckets.is_empty() {
        let message =
            format!("no prompt fits the {} tokens of context of `{}`", model.engine.context_tokens, model.name);
        return Err(Fault::invalid(message).hint("give fewer tokens with --tokens, or give the model a longer context"));
    }
    let permit = core.benching.one.clone().try_acquire_owned().map_err(|_| {
        Fault::new(Code::Overloaded, "another measurement is running on this node")
            .hint("wait until it is done, then try again")
            .retry_after(COME_BACK)
    })?;
    let running = Running::new(core.clone(), port, model, used, tokens, &buckets, permit);
    Ok(Box::pin(futures_util::stream::unfold(Some(running), |running| async move {
        let mut running = running?;
        let told = running.next().await?;
        let rest = told.is_ok().then_some(running);
        Some((told, rest))
    })))
}

/// The model at the worker and what it does, when it can be measured now.
fn measurable(core: &Core, port: &Port, named: &str) -> Result<(OfferedModel, Use)> {
    if port.config.backend.is_external() {
        return Err(Fault::new(Code::NotSupported, format!("worker `{}` is outside the house", port.id))
            .hint("only workers of the house are measured: each ask to others leaves the house and may cost money"));
    }
    let facts = port.facts();
    if facts.state != WorkerState::Ready {
        return Err(Fault::unavailable(format!("worker `{}` is {}: {}", port.id, facts.state, facts.reason))
            .hint("`tmctl workers` shows when it is ready"));
    }
    let is_it = |model: &&OfferedModel| model.engine.name == named || model.name == named;
    let model = facts.models.iter().find(is_it).ok_or_else(|| {
        Fault::new(Code::ModelNotFound, format!("worker `{}` does not offer model `{named}`", port.id))
            .hint("`tmctl models` shows which worker has which model")
    })?;
    let table = core.table.load();
    let known = table.catalogue().find(&model.name).map(|found| table.catalogue().get(found.model).capabilities);
    let can = match model.engine.capabilities.as_slice() {
        [] => known.unwrap_or(Capabilities::UNKNOWN),
        told => Capabilities::of(told),
    };
    let used = measure::use_of(|capability| can.has(capability)).ok_or_else(|| {
        Fault::new(Code::NotSupported, format!("`{}` neither writes nor makes vectors", model.name))
            .hint("rerankers are not measured yet")
    })?;
    Ok((model.clone(), used))
}
