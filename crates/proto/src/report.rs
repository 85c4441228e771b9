//! A node's report about itself, between `base` and `node.v1`.

use base::report::{
    Backend, Capability, Gpu, GpuProcess, Machine, ModelReport, NodeReport, ResearchReport, WorkerReport, WorkerState,
};
use base::{Epoch, Fault, Incarnation, ModelId, NodeId, Result, WorkerId};

use crate::bounds::{
    MAX_NAME_BYTES, MAX_TEXT_BYTES, amount, at_most, clip, is_amount, maybe_amount, name, refused, required, short,
    text,
};
use crate::node;

const MAX_WORKERS: usize = 256;
const MAX_MODELS: usize = 2000;
const MAX_GPUS: usize = 64;
const MAX_PROCESSES: usize = 1024;
const MAX_PREFIXES: usize = 65_536;
const MAX_CAPABILITIES: usize = 64;
const MAX_FEATURES: usize = 256;

impl From<&NodeReport> for node::NodeReport {
    fn from(report: &NodeReport) -> Self {
        Self {
            node: report.node.to_string(),
            incarnation: report.incarnation.0,
            sequence: report.sequence,
            peer_address: report.peer_address.clone(),
            actors_address: report.actors_address.clone(),
            grpc_address: report.grpc_address.clone(),
            is_draining: report.is_draining,
            leads: report.leads.map(|epoch| epoch.0),
            version: report.version.clone(),
            machine: Some((&report.machine).into()),
            workers: report.workers.iter().map(Into::into).collect(),
            research: report.research.as_ref().map(Into::into),
            features: report.features.iter().take(MAX_FEATURES).cloned().collect(),
        }
    }
}

impl TryFrom<node::NodeReport> for NodeReport {
    type Error = Fault;

    fn try_from(wire: node::NodeReport) -> Result<Self> {
        at_most("workers", wire.workers.len(), MAX_WORKERS)?;
        at_most("features", wire.features.len(), MAX_FEATURES)?;
        let report = Self {
            node: NodeId::new(name("node", wire.node)?),
            incarnation: Incarnation(wire.incarnation),
            sequence: wire.sequence,
            peer_address: short("peer_address", wire.peer_address)?,
            actors_address: short("actors_address", wire.actors_address)?,
            grpc_address: short("grpc_address", wire.grpc_address)?,
            is_draining: wire.is_draining,
            leads: wire.leads.map(Epoch),
            version: short("version", wire.version)?,
            machine: required("machine", wire.machine)?.try_into()?,
            workers: wire.workers.into_iter().map(WorkerReport::try_from).collect::<Result<_>>()?,
            research: wire.research.map(Into::into),
            features: wire.features.into_iter().map(|feature| name("features", feature)).collect::<Result<_>>()?,
        };
        // A node speaks for its own workers only; otherwise one peer could take the asks of another.
        if let Some(other) = report.workers.iter().find(|worker| worker.id.node() != report.node) {
            return Err(refused("workers.id", &format!("is `{}`, not a worker of `{}`", other.id, report.node)));
        }
        Ok(report)
    }
}

impl From<&ResearchReport> for node::ResearchReport {
    fn from(report: &ResearchReport) -> Self {
        let ResearchReport { documents, chunks, embedded, bytes, waiting, seen_records } = *report;
        Self { documents, chunks, embedded, bytes, waiting, seen_records }
    }
}

impl From<node::ResearchReport> for ResearchReport {
    fn from(wire: node::ResearchReport) -> Self {
        let node::ResearchReport { documents, chunks, embedded, bytes, waiting, seen_records } = wire;
        Self { documents, chunks, embedded, bytes, waiting, seen_records }
    }
}

impl From<&Machine> for node::Machine {
    fn from(machine: &Machine) -> Self {
        Self {
            memory_bytes: machine.memory_bytes,
            memory_free_bytes: machine.memory_free_bytes,
            cpu_used: machine.cpu_used,
            disk_free_bytes: machine.disk_free_bytes,
            gpus: machine.gpus.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<node::Machine> for Machine {
    type Error = Fault;

    fn try_from(wire: node::Machine) -> Result<Self> {
        at_most("machine.gpus", wire.gpus.len(), MAX_GPUS)?;
        Ok(Self {
            memory_bytes: wire.memory_bytes,
            memory_free_bytes: wire.memory_free_bytes,
            cpu_used: amount("machine.cpu_used", wire.cpu_used)?,
            disk_free_bytes: wire.disk_free_bytes,
            gpus: wire.gpus.into_iter().map(Gpu::try_from).collect::<Result<_>>()?,
        })
    }
}

impl From<&Gpu> for node::Gpu {
    fn from(gpu: &Gpu) -> Self {
        let process = |process: &GpuProcess| node::GpuProcess { pid: process.pid, memory_bytes: process.memory_bytes };
        Self {
            uuid: gpu.uuid.clone(),
            name: gpu.name.clone(),
            memory_bytes: gpu.memory_bytes,
            memory_used_bytes: gpu.memory_used_bytes,
            used: gpu.used,
            power_w: gpu.power_w.filter(is_amount),
            temperature_c: gpu.temperature_c.filter(is_amount),
            fault: gpu.fault.as_deref().map(|fault| clip(fault, MAX_TEXT_BYTES).to_owned()),
            processes: gpu.processes.iter().take(MAX_PROCESSES).map(process).collect(),
        }
    }
}

impl TryFrom<node::Gpu> for Gpu {
    type Error = Fault;

    fn try_from(wire: node::Gpu) -> Result<Self> {
        at_most("gpus.processes", wire.processes.len(), MAX_PROCESSES)?;
        let process = |process: node::GpuProcess| GpuProcess { pid: process.pid, memory_bytes: process.memory_bytes };
        Ok(Self {
            uuid: short("gpus.uuid", wire.uuid)?,
            name: short("gpus.name", wire.name)?,
            memory_bytes: wire.memory_bytes,
            memory_used_bytes: wire.memory_used_bytes,
            used: amount("gpus.used", wire.used)?,
            power_w: maybe_amount("gpus.power_w", wire.power_w)?,
            temperature_c: maybe_amount("gpus.temperature_c", wire.temperature_c)?,
            fault: wire.fault.map(|fault| text("gpus.fault", fault)).transpose()?,
            processes: wire.processes.into_iter().map(process).collect(),
        })
    }
}

impl From<&WorkerReport> for node::WorkerReport {
    fn from(worker: &WorkerReport) -> Self {
        Self {
            id: worker.id.to_string(),
            backend: worker.backend.to_string(),
            state: worker.state.to_string(),
            reason: clip(&worker.reason, MAX_TEXT_BYTES).to_owned(),
            slots: worker.slots,
            busy: worker.busy,
            queued: worker.queued,
            queued_prompt_tokens: worker.queued_prompt_tokens,
            queued_output_tokens: worker.queued_output_tokens,
            memory_bytes: worker.memory_bytes,
            models: worker
                .models
                .iter()
                .filter(|model| has_fitting_names(model))
                .take(MAX_MODELS)
                .map(Into::into)
                .collect(),
            prefixes: newest(&worker.prefixes).to_vec(),
        }
    }
}

impl TryFrom<node::WorkerReport> for WorkerReport {
    type Error = Fault;

    fn try_from(wire: node::WorkerReport) -> Result<Self> {
        at_most("workers.models", wire.models.len(), MAX_MODELS)?;
        at_most("workers.prefixes", wire.prefixes.len(), MAX_PREFIXES)?;
        let id = WorkerId::new(name("workers.id", wire.id)?);
        if !id.as_str().split_once('/').is_some_and(|(node, worker)| !node.is_empty() && !worker.is_empty()) {
            return Err(refused("workers.id", "is not of the form `node/worker`"));
        }
        let (backend, state, reason) = what_it_is(&wire.backend, &wire.state, text("workers.reason", wire.reason)?)?;
        Ok(Self {
            id,
            backend,
            state,
            reason,
            slots: wire.slots,
            busy: wire.busy,
            queued: wire.queued,
            queued_prompt_tokens: wire.queued_prompt_tokens,
            queued_output_tokens: wire.queued_output_tokens,
            memory_bytes: wire.memory_bytes,
            models: wire.models.into_iter().map(ModelReport::try_from).collect::<Result<_>>()?,
            prefixes: wire.prefixes,
        })
    }
}

/// A word that only a newer release knows is no reason to refuse what else its node tells: the worker is shown, with the
/// reason why nothing is sent to it.
fn what_it_is(backend: &str, state: &str, reason: String) -> Result<(Backend, WorkerState, String)> {
    let unknown = |what: &str, word: &str| format!("{what} `{word}` is not known to this release: update this node");
    let newer = |field: &str, word: &str| name(field, word.to_owned());
    Ok(match (Backend::parse(backend), WorkerState::parse(state)) {
        (Some(backend), Some(state)) => (backend, state, reason),
        (Some(backend), None) => (backend, WorkerState::Down, unknown("its state", &newer("workers.state", state)?)),
        (None, _) => {
            // Of the kinds that are known, this one is spoken by the most engines; nothing is sent to it in any case.
            let kind = newer("workers.backend", backend)?;
            (Backend::OpenAi, WorkerState::Down, unknown("its kind of engine", &kind))
        }
    })
}

impl From<&ModelReport> for node::ModelReport {
    fn from(model: &ModelReport) -> Self {
        Self {
            name: model.name.clone(),
            engine_name: model.engine_name.clone(),
            id: model.id.to_string(),
            is_loaded: model.is_loaded,
            size_bytes: model.size_bytes,
            memory_bytes: model.memory_bytes,
            context_tokens: model.context_tokens,
            capabilities: model.capabilities.iter().map(ToString::to_string).collect(),
            prefill_tok_s: model.prefill_tok_s.filter(is_amount),
            decode_tok_s: model.decode_tok_s.filter(is_amount),
            load_s: model.load_s.filter(is_amount),
            output_tokens: model.output_tokens.filter(is_amount),
            quarantined_s: model.quarantined_s,
        }
    }
}

impl TryFrom<node::ModelReport> for ModelReport {
    type Error = Fault;

    fn try_from(wire: node::ModelReport) -> Result<Self> {
        at_most("models.capabilities", wire.capabilities.len(), MAX_CAPABILITIES)?;
        Ok(Self {
            name: name("models.name", wire.name)?,
            engine_name: name("models.engine_name", wire.engine_name)?,
            id: ModelId::new(name("models.id", wire.id)?),
            is_loaded: wire.is_loaded,
            size_bytes: wire.size_bytes,
            memory_bytes: wire.memory_bytes,
            context_tokens: wire.context_tokens,
            capabilities: capabilities(&wire.capabilities),
            prefill_tok_s: maybe_amount("models.prefill_tok_s", wire.prefill_tok_s)?,
            decode_tok_s: maybe_amount("models.decode_tok_s", wire.decode_tok_s)?,
            load_s: maybe_amount("models.load_s", wire.load_s)?,
            output_tokens: maybe_amount("models.output_tokens", wire.output_tokens)?,
            quarantined_s: wire.quarantined_s,
        })
    }
}

fn has_fitting_names(model: &ModelReport) -> bool {
    let names = [model.name.as_str(), &model.engine_name, model.id.as_str()];
    names.iter().all(|name| (1..=MAX_NAME_BYTES).contains(&name.len()))
}

/// The end of the list, because the newest stand last.
fn newest(prefixes: &[u64]) -> &[u64] {
    prefixes.get(prefixes.len().saturating_sub(MAX_PREFIXES)..).unwrap_or(prefixes)
}

/// What a newer release calls a capability no ask of this one wants.
fn capabilities(words: &[String]) -> Vec<Capability> {
    words.iter().filter_map(|text| Capability::parse(text)).collect()
}

#[cfg(test)]
#[path = "report/tests.rs"]
mod tests;
