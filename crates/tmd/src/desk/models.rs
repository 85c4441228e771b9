//! The models that clients may name, gathered from everybody's reports.

use std::collections::BTreeMap;
use std::time::Duration;

use base::report::{Capability, ModelReport, WorkerReport};
use base::{Fault, Grant};
use proto::admin::{ModelItem, ModelPlace};
use routing::model::{Allowed, Capabilities};

use super::admin::reports;
use crate::core::Core;
use crate::failures::word;

/// Every model of a node that can be reached and that the caller may ask, by its catalogue name.
pub fn list(core: &Core, grant: &Grant) -> Vec<ModelItem> {
    let table = core.table.load();
    let catalogue = table.catalogue();
    let allowed = Allowed::by_names(catalogue, &grant.models);
    let mut models: BTreeMap<String, ModelItem> = BTreeMap::new();
    let nodes = reports(core);
    let routable = nodes.iter().filter(|(node, _)| node.state.is_routable()).filter_map(|(_, report)| report.as_ref());
    for worker in routable.flat_map(|report| &report.workers) {
        for model in &worker.models {
            let Some(found) = catalogue.find(&model.name).filter(|found| allowed.has(found.model)) else { continue };
            let known = catalogue.get(found.model);
            let item = models.entry(known.name.to_string()).or_insert_with(|| ModelItem {
                name: known.name.to_string(),
                id: model.id.to_string(),
                aliases: aliases(core, &known.name),
                tier: word(known.tier),
                places: Vec::new(),
            });
            item.places.push(place(worker, model, known.capabilities));
        }
    }
    models.into_values().collect()
}

/// What a node says of a model that it does not know while it looks around: to deny it would be too early.
pub fn not_seen_yet(model: &str) -> Fault {
    let shown: String = model.chars().take(100).collect();
    Fault::unavailable(format!("no worker is known yet that offers model `{shown}`"))
        .hint("the node has just started and is still looking at its engines: ask again in a moment")
        .retry_after(Duration::from_secs(1))
}

fn aliases(core: &Core, name: &str) -> Vec<String> {
    let config = core.config.load();
    let declared = config.models.iter().find(|model| model.name == name);
    declared.map(|model| model.aliases.clone()).unwrap_or_default()
}

/// `declared` counts where the engine does not tell.
fn place(worker: &WorkerReport, model: &ModelReport, declared: Capabilities) -> ModelPlace {
    let is_told = !model.capabilities.is_empty();
    let can = |one: &Capability| match is_told {
        true => model.capabilities.contains(one),
        false => declared != Capabilities::UNKNOWN && declared.has(*one),
    };
    ModelPlace {
        worker: worker.id.to_string(),
        engine_name: model.engine_name.clone(),
        is_loaded: model.is_loaded,
        memory_bytes: model.memory_bytes,
        context_tokens: model.context_tokens,
        prefill_tok_s: model.prefill_tok_s,
        decode_tok_s: model.decode_tok_s,
        load_s: model.load_s,
        quarantined_s: model.quarantined_s,
        capabilities: Capability::ALL.iter().filter(|one| can(one)).map(ToString::to_string).collect(),
        size_bytes: model.size_bytes,
    }
}
