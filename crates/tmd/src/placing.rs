//! Models brought into memory and out of it: by the leader's plan, by an owner's hand, for another node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::report::{NodeReport, NodeState};
use base::{Code, Epoch, Fault, ModelId, Result, WorkerId};
use cluster::Lead;
use inference::backend::load_within;
use routing::placement::{Action, Demand, Move, Plan, plan};
use serde::Serialize;
use store::Txn;

use crate::core::{Core, Seen};
use crate::desk::admin::reports;
use crate::failures::{FailureKind, Severity, Sighting, Subject};
use crate::fleet;

/// The key of the last placement below the store's prefix.
const PLACEMENT: &str = "placement";
/// No load may take longer, whatever its size.
const LOAD_AT_MOST: Duration = Duration::from_secs(6 * 3600);
/// How long a model that was placed stays in memory without an ask.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// A placement as the store keeps it.
#[derive(Serialize)]
struct Placement<'a> {
    epoch: Epoch,
    at_ms: u64,
    moves: Vec<MoveNote<'a>>,
    unplaced: Vec<(&'a str, &'a str)>,
}

#[derive(Serialize)]
struct MoveNote<'a> {
    load: bool,
    worker: &'a WorkerId,
    model: &'a ModelId,
    reason: &'a str,
}

/// Plans as the leader of `lead` and carries the plan out. Gives how many moves were made.
pub async fn plan_and_move(core: &Arc<Core>, lead: &Lead, now: Instant) -> Result<usize> {
    let nodes = reports(core);
    let nodes: Vec<(NodeState, &NodeReport)> =
        nodes.iter().filter_map(|(node, report)| Some((node.state, report.as_ref()?))).collect();
    let table = core.table.load_full();
    // Swaps are bounded at each worker's gate as well; what the plan adds starts from none.
    let plan = plan(&nodes, table.catalogue(), &demand(&nodes), &HashMap::new(), &fleet::settings(core));
    for unplaced in &plan.unplaced {
        tracing::debug!(model = unplaced.model, reason = unplaced.reason, "model fits nowhere");
    }
    if plan.moves.is_empty() {
        return Ok(0);
    }
    write(core, lead, &plan).await?;
    let (mut made, mut failed) = (0, HashMap::new());
    for step in &plan.moves {
        // A leader that is deposed in the middle leaves the rest to the next one.
        if !lead.may_act(Instant::now()) {
            return Ok(made);
        }
        // What comes next at a worker counts on the move before it; other workers must not wait for this one for good.
        if failed.contains_key(&step.worker) {
            continue;
        }
        match carry_out(core, step, lead.epoch()).await {
            Ok(()) => made += 1,
            Err(fault) if fault.code == Code::StaleEpoch => return Err(fault),
            Err(fault) => {
                failed.insert(&step.worker, fault);
            }
        }
    }
    tracing::info!(moves = made, failed = failed.len(), took = ?now.elapsed(), "placement carried out");
    failed.into_values().next().map_or(Ok(made), Err)
}

/// The plan is written before it is carried out, in a transaction that only the present leader can make.
async fn write(core: &Core, lead: &Lead, plan: &Plan) -> Result<()> {
    let moves = plan.moves.iter().map(|step| MoveNote {
        load: step.action == Action::Load,
        worker: &step.worker,
        model: &step.model,
        reason: &step.reason,
    });
    let placement = Placement {
        epoch: lead.epoch(),
        at_ms: base::time::unix_ms(),
        moves: moves.collect(),
        unplaced: plan.unplaced.iter().map(|unplaced| (unplaced.model.as_str(), unplaced.reason.as_str())).collect(),
    };
    let value = serde_json::to_vec(&placement)
        .map_err(|error| Fault::internal("could not write the placement").because(error))?;
    match core.store.commit(Txn::new().when(lead.guard()).put(PLACEMENT, value)).await {
        Ok(_) => Ok(()),
        Err(store::StoreError::Refused { .. }) => {
            core.metrics.stale_write_refused();
            Err(Fault::new(Code::StaleEpoch, format!("epoch {} is over; another node leads", lead.epoch())))
        }
        Err(error) => Err(error.into()),
    }
}

async fn carry_out(core: &Arc<Core>, step: &Move, epoch: Epoch) -> Result<()> {
    let load = step.action == Action::Load;
    tracing::info!(worker = %step.worker, model = step.engine_name, load, reason = step.reason, "places a model");
    place(core, &step.worker, &step.engine_name, load, epoch.0).await.map(drop)
}

fn demand(nodes: &[(NodeState, &NodeReport)]) -> HashMap<ModelId, Demand> {
    // Waiting asks are reported per worker; they count for the models that the worker has in memory.
    let mut demand: HashMap<ModelId, Demand> = HashMap::new();
    for worker in nodes.iter().flat_map(|(_, node)| &node.workers) {
        for model in worker.models.iter().filter(|model| model.is_loaded) {
            let of = demand.entry(model.id.clone()).or_default();
            of.running += worker.busy;
            of.waiting += worker.queued;
        }
    }
    demand
}

/// Places by an owner's hand; where no worker is named, the emptiest one that offers the model.
pub async fn place_by_hand(core: &Arc<Core>, worker: &str, model: &str, load: bool) -> Result<(WorkerId, f64)> {
    let (worker, engine_name) = find(core, worker, model, load)?;
    let seconds = place(core, &worker, &engine_name, load, 0).await?;
    Ok((worker, seconds))
}

fn find(core: &Core, worker: &str, model: &str, load: bool) -> Result<(WorkerId, String)> {
    let table = core.table.load();
    let wanted = table.catalogue().find(model).map(|found| found.model);
    let nodes = reports(core);
    let routable = nodes.iter().filter(|(node, _)| node.state.is_routable()).filter_map(|(_, report)| report.as_ref());
    let mut places: Vec<_> = routable
        .flat_map(|report| &report.workers)
        .filter(|one| worker.is_empty() || one.id.as_str() == worker || one.id.name() == worker)
        .flat_map(|one| one.models.iter().map(move |model| (one, model)))
        .filter(|(_, one)| {
            one.engine_name == model
                || (wanted.is_some() && table.catalogue().find(&one.name).map(|f| f.model) == wanted)
        })
        .collect();
    // Where it is (or is not yet) what is asked for comes last, the least busy first.
    places.sort_by_key(|(worker, model)| (model.is_loaded == load, worker.busy + worker.queued));
    match places.first() {
        Some((worker, model)) => Ok((worker.id.clone(), model.engine_name.clone())),
        None => Err(Fault::new(
            Code::NotFound,
            format!("no worker {}offers model `{model}`", if worker.is_empty() { "" } else { "of that name " }),
        )
        .hint("`tmctl models` shows which worker has which model")),
    }
}

/// Places at a worker wherever it is. Gives the seconds that it took.
async fn place(core: &Arc<Core>, worker: &WorkerId, engine_name: &str, load: bool, epoch: u64) -> Result<f64> {
    if worker.node() == core.node {
        place_here(core, worker.name(), engine_name, load, epoch).await
    } else {
        core.peers.place(core, worker, engine_name, load, epoch, LOAD_AT_MOST).await
    }
}

/// Places at a worker of this node. An order of an epoch older than the one known is refused.
pub async fn place_here(core: &Arc<Core>, worker: &str, engine_name: &str, load: bool, epoch: u64) -> Result<f64> {
    let known = core.cluster()?.view().leader.as_ref().map_or(0, |(_, epoch)| epoch.0);
    if epoch != 0 && epoch < known {
        core.metrics.stale_write_refused();
        return Err(Fault::new(Code::StaleEpoch, format!("epoch {epoch} is over, epoch {known} holds")));
    }
    let port = core.port(&WorkerId::of(&core.node, worker))?;
    let facts = port.facts();
    let model = facts.models.iter().find(|model| model.engine.name == engine_name).ok_or_else(|| {
        Fault::new(Code::ModelNotFound, format!("worker `{}` does not offer model `{engine_name}`", port.id))
    })?;
    let within = load_within(model.engine.size_bytes).min(LOAD_AT_MOST);
    let begun = Instant::now();
    let placed = match load {
        true => port.backend.load(engine_name, Some(KEEP), begun + within).await,
        false => port.backend.unload(engine_name, begun + within).await,
    };
    port.look.notify_one();
    match placed {
        Ok(()) => {
            if load && !model.engine.is_loaded {
                port.note_load(engine_name, begun.elapsed());
            }
            core.happened("model", &model.name, format!("{} at {}", if load { "loaded" } else { "unloaded" }, port.id));
            Ok(begun.elapsed().as_secs_f64())
        }
        // An engine that cannot be reached says nothing about the model; its worker tells of it.
        Err(fault) if fault.code == Code::Unreachable => Err(fault),
        Err(fault) => {
            let subject = Subject::Model { worker: port.id.clone(), model: model.name.clone() };
            let (kind, severity) = (FailureKind::ModelFailure, Severity::Medium);
            core.tell(Seen::Wrong(Sighting { subject, kind, severity, detail: fault.full_message() }));
            Err(fault)
        }
    }
}
