//! Which model should be in memory where: the leader's plan, as moves from what is to what is wanted. Pure, idempotent.
//!
//! Wanted are the declared replicas of each model, and one more where asks wait. A move is only made when it fits (with
//! headroom, by measured sizes), pushes out nothing that is busy or wanted, and stays within the bound on swaps. A plan
//! for the state that an earlier plan leads to is empty.

use std::cmp::Reverse;
use std::collections::HashMap;

use base::report::{ModelReport, NodeReport, NodeState, WorkerReport, WorkerState};
use base::{ByteSize, ModelId, WorkerId};

use crate::model::Catalogue;
use crate::rates::memory_bytes;
use crate::settings::Settings;

/// What to do with a model at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Bring it into memory.
    Load,
    /// Take it out of memory.
    Unload,
}

/// A step from what is to what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// What to do.
    pub action: Action,
    /// Where.
    pub worker: WorkerId,
    /// With which model, by identity.
    pub model: ModelId,
    /// What the worker's engine calls it.
    pub engine_name: String,
    /// Why, for people.
    pub reason: String,
}

/// What clients want of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Asks that run for it, in the whole cluster.
    pub running: u32,
    /// Asks that wait for it.
    pub waiting: u32,
}

/// A model that could not be placed, and why; shown to the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplaced {
    /// Its catalogue name.
    pub model: String,
    /// Why, with the numbers.
    pub reason: String,
}

/// What a planning round came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Unloads come before the load that they make room for.
    pub moves: Vec<Move>,
    /// What is wanted but fits nowhere.
    pub unplaced: Vec<Unplaced>,
}

/// A worker while it is planned for.
struct Place<'a> {
    report: &'a WorkerReport,
    /// By index into the report's models.
    loaded: Vec<bool>,
    usable: Option<u64>,
    swaps_left: u32,
}

/// A worker that can take a model, and what must go there for it.
struct Fit {
    at: usize,
    model: usize,
    evicted: Vec<usize>,
    free: u64,
}

/// Plans the moves from the reports of all nodes to what `catalogue` and `demand` want. `swapped` counts the swaps of
/// the last minute per worker, which bound those that may come.
pub fn plan(
    nodes: &[(NodeState, &NodeReport)],
    catalogue: &Catalogue,
    demand: &HashMap<ModelId, Demand>,
    swapped: &HashMap<WorkerId, u32>,
    settings: &Settings,
) -> Plan {
    let mut places = places(nodes, swapped, settings);
    let mut plan = Plan::default();
    for (name, wanted, declared) in wanted(catalogue, &places, demand) {
        let wanted_here = wanted.saturating_sub(replicas(&places, catalogue, name));
        for _ in 0..wanted_here {
            match place_one(&mut places, catalogue, name, demand, declared) {
                Ok(moves) => plan.moves.extend(moves),
                Err(reason) => {
                    plan.unplaced.push(Unplaced { model: name.to_owned(), reason });
                    break;
                }
            }
        }
    }
    plan
}

fn places<'a>(
    nodes: &[(NodeState, &'a NodeReport)],
    swapped: &HashMap<WorkerId, u32>,
    settings: &Settings,
) -> Vec<Place<'a>> {
    let routable = nodes.iter().filter(|(state, node)| state.is_routable() && !node.is_draining);
    routable
        .flat_map(|(_, node)| &node.workers)
        .filter(|worker| worker.state == WorkerState::Ready && !worker.backend.is_external())
        .map(|report| Place {
            report,
            loaded: report.models.iter().map(|model| model.is_loaded).collect(),
            usable: usable(report, settings),
            swaps_left: settings.swaps_per_minute.saturating_sub(swapped.get(&report.id).copied().unwrap_or(0)),
        })
        .collect()
}

/// Memory less headroom; `None` when the worker does not know its memory, then its engine decides.
fn usable(report: &WorkerReport, settings: &Settings) -> Option<u64> {
    let share = 1.0 - settings.headroom.clamp(0.0, 0.9);
    (report.memory_bytes > 0).then_some((report.memory_bytes as f64 * share) as u64)
}

/// Models with the number of replicas wanted, the most wanted first: declared ones, then by demand, then by name.
fn wanted<'a>(
    catalogue: &'a Catalogue,
    places: &[Place<'_>],
    demand: &HashMap<ModelId, Demand>,
) -> Vec<(&'a str, u32, bool)> {
    let mut wanted: Vec<(bool, u32, &str, u32)> = Vec::new();
    for (index, model) in catalogue.models() {
        let of_it = |report: &ModelReport| catalogue.find(&report.name).is_some_and(|found| found.model == index);
        let offered = places.iter().filter(|place| place.report.models.iter().any(of_it)).count() as u32;
        let waiting: u32 =
            identities(places, of_it).iter().filter_map(|id| demand.get(id)).map(|demand| demand.waiting).sum();
        let declared = if model.is_declared() { model.replicas } else { 0 };
        let replicas = declared.max(u32::from(waiting > 0)).min(offered.max(declared.min(1)));
        if replicas > 0 {
            wanted.push((!model.is_declared(), u32::MAX - waiting, &model.name, replicas));
        }
    }
    wanted.sort();
    wanted.into_iter().map(|(is_undeclared, _, name, replicas)| (name, replicas, !is_undeclared)).collect()
}

fn identities(places: &[Place<'_>], of_it: impl Fn(&ModelReport) -> bool) -> Vec<ModelId> {
    let models = places.iter().flat_map(|place| &place.report.models);
    let mut ids: Vec<ModelId> = models.filter(|model| of_it(model)).map(|model| model.id.clone()).collect();
    ids.sort();
    ids.dedup();
    ids
}

fn is_named(catalogue: &Catalogue, report: &ModelReport, name: &str) -> bool {
    catalogue.find(&report.name).is_some_and(|found| &*catalogue.get(found.model).name == name)
}

fn replicas(places: &[Place<'_>], catalogue: &Catalogue, name: &str) -> u32 {
    let has = |place: &&Place<'_>| {
        let models = place.report.models.iter().zip(&place.loaded);
        models.into_iter().any(|(model, &is_loaded)| is_loaded && is_named(catalogue, model, name))
    };
    places.iter().filter(has).count() as u32
}

/// Loads one more replica at the worker where it costs least, or says why no worker can take it.
fn place_one(
    places: &mut [Place<'_>],
    catalogue: &Catalogue,
    name: &str,
    demand: &HashMap<ModelId, Demand>,
    is_declared: bool,
) -> Result<Vec<Move>, String> {
    let mut fits: Vec<Fit> = Vec::new();
    let mut reason = format!("no worker that is up offers `{name}`");
    for (at, place) in places.iter().enumerate() {
        let Some(model) = place.report.models.iter().position(|model| is_named(catalogue, model, name)) else {
            continue;
        };
        if place.loaded.get(model) == Some(&true) {
            continue;
        }
        match room_for(place, model, |other| is_protected(place, other, catalogue, demand)) {
            Ok(evicted) => fits.push(Fit { at, model, evicted, free: free(place) }),
            Err(why) => reason = format!("`{}` {why}", place.report.id),
        }
    }
    let best = fits.into_iter().min_by_key(|fit| (fit.evicted.len(), Reverse(fit.free), fit.at)).ok_or(reason)?;
    Ok(places.get_mut(best.at).map(|place| apply(place, &best, name, is_declared)).unwrap_or_default())
}

/// Whether a loaded model must stay: it is in use, waited for, or declared. What an idle one holds goes to who waits.
fn is_protected(
    place: &Place<'_>,
    model: &ModelReport,
    catalogue: &Catalogue,
    demand: &HashMap<ModelId, Demand>,
) -> bool {
    let is_wanted = demand.get(&model.id).is_some_and(|demand| demand.running + demand.waiting > 0);
    let is_declared = catalogue.find(&model.name).is_some_and(|found| catalogue.get(found.model).is_declared());
    is_wanted || is_declared || place.report.busy > 0
}

/// The models that must go for this one; an error says why it cannot come.
fn room_for(place: &Place<'_>, model: usize, protected: impl Fn(&ModelReport) -> bool) -> Result<Vec<usize>, String> {
    let Some(report) = place.report.models.get(model) else { return Err("does not offer it".to_owned()) };
    if let Some(left) = report.quarantined_s.filter(|&left| left > 0) {
        return Err(format!("has it in quarantine for {left} s"));
    }
    let needs = memory_bytes(report);
    let Some(usable) = place.usable else { return Ok(Vec::new()) };
    if needs > usable {
        return Err(format!("has {} usable, it needs {}", ByteSize(usable), ByteSize(needs)));
    }
    let mut used = used(place);
    let mut evicted = Vec::new();
    for (index, other) in place.report.models.iter().enumerate() {
        if used + needs <= usable {
            break;
        }
        if place.loaded.get(index) == Some(&true) && !protected(other) {
            used -= memory_bytes(other);
            evicted.push(index);
        }
    }
    if used + needs > usable {
        let free = ByteSize(usable.saturating_sub(used));
        return Err(format!("has {free} free beside what is in use, it needs {}", ByteSize(needs)));
    }
    if evicted.len() > place.swaps_left as usize {
        return Err("was swapped too often in the last minute".to_owned());
    }
    Ok(evicted)
}

fn free(place: &Place<'_>) -> u64 {
    place.usable.unwrap_or(0).saturating_sub(used(place))
}

/// Memory that the models loaded there take.
fn used(place: &Place<'_>) -> u64 {
    let models = place.report.models.iter().zip(&place.loaded);
    models.filter(|(_, is_loaded)| **is_loaded).map(|(model, _)| memory_bytes(model)).sum()
}

fn apply(place: &mut Place<'_>, fit: &Fit, name: &str, is_declared: bool) -> Vec<Move> {
    let report = place.report;
    let step = |action: Action, index: usize, reason: String| {
        let model = report.models.get(index)?;
        Some(Move {
            action,
            worker: report.id.clone(),
            model: model.id.clone(),
            engine_name: model.engine_name.clone(),
            reason,
        })
    };
    let mut moves = Vec::new();
    for &index in &fit.evicted {
        moves.extend(step(Action::Unload, index, format!("idle, makes room for `{name}`")));
        place.loaded[index] = false;
    }
    place.swaps_left = place.swaps_left.saturating_sub(fit.evicted.len() as u32);
    let why =
        if is_declared { "fewer replicas than declared" } else { "asks wait for it and no worker has it in memory" };
    moves.extend(step(Action::Load, fit.model, why.to_owned()));
    place.loaded[fit.model] = true;
    moves
}

#[cfg(test)]
mod tests;
