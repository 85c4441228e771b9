//! Which models an engine has in memory: as the worker's actor saw it last, and as it must be by what began since.
//!
//! The actor looks once a second; an ask that pushes a model out may be over by then. Until the next look, the model that
//! went would count as there, and each ask for it would cost a load that nobody counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use base::ModelId;
use routing::admission::Readiness;

use super::gate::{Presence, Residency};
use super::port::{Facts, OfferedModel};

/// What the engine has in memory.
pub struct InMemory {
    facts: Arc<ArcSwap<Facts>>,
    headroom: f64,
    since_look: Mutex<SinceLook>,
}

#[derive(Default)]
struct SinceLook {
    /// Models of asks that began.
    begun: Vec<ModelId>,
    /// The last one that pushed others out. Which ones it was is the engine's choice, so only what is in use is known
    /// to be there still.
    swapped_in: Option<ModelId>,
}

impl InMemory {
    /// By `facts`; `headroom` is the share of memory that stays free.
    pub fn new(facts: Arc<ArcSwap<Facts>>, headroom: f64) -> Self {
        Self { facts, headroom, since_look: Mutex::default() }
    }

    /// A thread that died leaves notes that the next look corrects.
    fn since_look(&self) -> MutexGuard<'_, SinceLook> {
        self.since_look.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_used(in_use: &[(ModelId, u32)], model: &ModelId) -> bool {
    in_use.iter().any(|(used, _)| used == model)
}

impl Residency for InMemory {
    fn readiness(&self, model: &ModelId, in_use: &[(ModelId, u32)]) -> Readiness {
        let (facts, since_look) = (self.facts.load(), self.since_look());
        let Some(wanted) = facts.models.iter().find(|one| one.id == *model) else { return Readiness::Ready };
        let is_loaded = |one: &OfferedModel| {
            let was_seen = one.engine.is_loaded && since_look.swapped_in.is_none();
            was_seen || since_look.begun.contains(&one.id) || is_used(in_use, &one.id)
        };
        if facts.memory_bytes == 0 || is_loaded(wanted) {
            return Readiness::Ready;
        }
        let usable = (facts.memory_bytes as f64 * (1.0 - self.headroom)) as u64;
        let size = |one: &OfferedModel| one.engine.memory_bytes.max(one.engine.size_bytes);
        let taken_by = |keep: &dyn Fn(&OfferedModel) -> bool| -> u64 {
            facts.models.iter().filter(|one| keep(one)).map(size).sum()
        };
        // After a swap nobody knows what is left beside it, so the room beside it is not known either.
        let may_be_loaded = |one: &OfferedModel| one.engine.is_loaded || is_loaded(one);
        let beside_all = taken_by(&may_be_loaded) + size(wanted);
        let beside_used = taken_by(&|one| is_used(in_use, &one.id)) + size(wanted);
        match () {
            () if beside_all <= usable => Readiness::Ready,
            // A model larger than the headroom allows may still run alone.
            () if beside_used <= usable || in_use.is_empty() => Readiness::Swap,
            () => Readiness::Blocked,
        }
    }

    fn begins(&self, model: &ModelId, in_use: &[(ModelId, u32)], is_swap: bool) -> Presence {
        let facts = self.facts.load();
        let mut since_look = self.since_look();
        let was_seen = facts.models.iter().find(|one| one.id == *model).is_none_or(|one| one.engine.is_loaded);
        let presence = match () {
            () if was_seen && since_look.swapped_in.is_none() => Presence::There,
            () if since_look.begun.contains(model) || is_used(in_use, model) => Presence::Coming,
            () => Presence::Brought,
        };
        if is_swap {
            since_look.begun.clear();
            since_look.swapped_in = Some(model.clone());
        }
        if !since_look.begun.contains(model) {
            since_look.begun.push(model.clone());
        }
        presence
    }

    fn looked(&self, in_use: &[(ModelId, u32)]) {
        let facts = self.facts.load();
        let is_seen = |model: &ModelId| facts.models.iter().any(|one| one.id == *model && one.engine.is_loaded);
        let mut since_look = self.since_look();
        since_look.begun.clear();
        // While it is being loaded, the engine may still list what goes.
        if since_look.swapped_in.as_ref().is_some_and(|model| is_seen(model) || !is_used(in_use, model)) {
            since_look.swapped_in = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use base::report::WorkerState;
    use inference::backend::EngineModel;

    use super::*;

    /// Models of 5 GB, those in `loaded` in memory.
    fn facts(all: &[&str], loaded: &[&str], memory_bytes: u64) -> Facts {
        let model = |name: &&str| OfferedModel {
            name: (*name).to_owned(),
            id: ModelId::from(*name),
            engine: EngineModel {
                name: (*name).to_owned(),
                size_bytes: 5_000_000_000,
                is_loaded: loaded.contains(name),
                ..EngineModel::default()
            },
        };
        let models = all.iter().map(model).collect();
        Facts { state: WorkerState::Ready, reason: String::new(), models, memory_bytes }
    }

    fn seen(all: &[&str], loaded: &[&str], memory_bytes: u64) -> (InMemory, Arc<ArcSwap<Facts>>) {
        let facts = Arc::new(ArcSwap::from_pointee(facts(all, loaded, memory_bytes)));
        (InMemory::new(facts.clone(), 0.0), facts)
    }

    #[test]
    fn a_model_that_was_pushed_out_does_not_count_as_there_until_the_next_look() {
        let (memory, actual) = seen(&["a", "b"], &["a"], 6_000_000_000);
        let readiness = |model: &str| memory.readiness(&model.into(), &[]);
        assert_eq!((readiness("a"), readiness("b")), (Readiness::Ready, Readiness::Swap));
        memory.begins(&"b".into(), &[], true);
        assert_eq!((readiness("a"), readiness("b")), (Readiness::Swap, Readiness::Ready));
        actual.store(Arc::new(facts(&["a", "b"], &["b"], 6_000_000_000)));
        memory.looked(&[]);
        assert_eq!((readiness("a"), readiness("b")), (Readiness::Swap, Readiness::Ready));
    }

    #[test]
    fn only_the_ask_that_brings_a_model_waits_for_the_whole_load() {
        let (memory, actual) = seen(&["a", "b"], &["a"], 6_000_000_000);
        assert_eq!(memory.begins(&"a".into(), &[], false), Presence::There);
        assert_eq!(memory.begins(&"b".into(), &[], true), Presence::Brought);
        assert_eq!(memory.begins(&"b".into(), &[], false), Presence::Coming, "it may still load, or be there already");
        let running = [(ModelId::from("b"), 2)];
        memory.looked(&running);
        assert_eq!(
            memory.begins(&"b".into(), &running, false),
            Presence::Coming,
            "it loads for longer than a look takes"
        );
        actual.store(Arc::new(facts(&["a", "b"], &["b"], 6_000_000_000)));
        memory.looked(&running);
        assert_eq!(memory.begins(&"b".into(), &running, false), Presence::There);
        assert_eq!(memory.begins(&"unknown".into(), &[], false), Presence::There);
    }

    #[test]
    fn look_at_an_engine_that_could_not_swap_corrects_what_was_believed() {
        let (memory, _) = seen(&["a", "b"], &["a"], 6_000_000_000);
        memory.begins(&"b".into(), &[], true);
        let running = [(ModelId::from("b"), 1)];
        memory.looked(&running);
        assert_eq!(memory.readiness(&"a".into(), &running), Readiness::Blocked, "it may still be on its way");
        memory.looked(&[]);
        assert_eq!(memory.readiness(&"a".into(), &[]), Readiness::Ready);
    }

    #[test]
    fn a_model_that_took_the_last_room_counts_before_it_is_seen() {
        let (memory, _) = seen(&["a", "b", "c"], &["a"], 11_000_000_000);
        assert_eq!(memory.readiness(&"b".into(), &[]), Readiness::Ready);
        memory.begins(&"b".into(), &[], false);
        assert_eq!(memory.readiness(&"c".into(), &[]), Readiness::Swap);
    }
}
