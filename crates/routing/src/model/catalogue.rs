//! The models of the cluster: declared in the configuration or offered by a worker, each with every name it goes by.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base::config::Model;
use base::report::{Capability, NodeReport};
use base::{Kind, ModelId};
use serde::{Deserialize, Serialize};

use super::names::{edit_distance, normalise};
use super::shipped::{Shipped, ShippedModel, is_variant};
use crate::rates::parameters_in_name;

/// Where a model stands in its catalogue; valid only with the catalogue (and the table) that gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelIndex(pub(crate) u32);

/// How much a model can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Small and quick.
    Fast,
    /// The middle.
    Standard,
    /// The largest that the house has.
    Large,
    /// Made for one kind of ask.
    Specialized,
}

/// What a model can do; where nobody tells, it may do everything, and the engine has the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u8);

impl Capabilities {
    /// Nobody tells.
    pub const UNKNOWN: Self = Self(u8::MAX);

    /// Exactly these; [`Self::UNKNOWN`] when there are none.
    pub fn of(capabilities: &[Capability]) -> Self {
        match capabilities {
            [] => Self::UNKNOWN,
            some => Self(some.iter().fold(0, |bits, &capability| bits | Self::bit(capability))),
        }
    }

    /// What the one can, and what the other can.
    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it can, as far as is known.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & Self::bit(capability) != 0
    }

    /// The first of `wanted` that it lacks.
    pub fn lacks(self, wanted: Self) -> Option<Capability> {
        let missing = wanted.0 & !self.0;
        Capability::ALL.iter().copied().find(|&capability| missing & Self::bit(capability) != 0)
    }

    const fn bit(capability: Capability) -> u8 {
        1 << capability as u8
    }
}

/// A model of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueModel {
    /// What clients ask for.
    pub name: Arc<str>,
    /// The identity that the first worker tells; the name where none does.
    pub id: ModelId,
    /// Its tier.
    pub tier: Tier,
    /// What it is made for; general text when empty.
    pub kinds: Vec<Kind>,
    /// What it can do: as is declared or known of it, else as engines tell.
    pub capabilities: Capabilities,
    /// Billions of parameters; 0 when not known.
    pub parameters_b: f64,
    /// How many nodes should hold it loaded.
    pub replicas: u32,
    /// The only workers that it may be used at (`node/worker` or `worker`); any when empty.
    pub engines: Vec<String>,
    is_declared: bool,
}

/// A model found by a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The model.
    pub model: ModelIndex,
    /// What the client must be told, because the name means something else.
    pub notice: Option<String>,
}

/// Every model of the cluster under every name.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    models: Vec<CatalogueModel>,
    names: HashMap<String, ModelIndex>,
    mistaken: HashMap<String, (ModelIndex, String)>,
    known: Vec<String>,
    roles: Vec<(String, Vec<ModelIndex>)>,
}

impl Catalogue {
    /// Collects what is declared, what workers offer, and what is known of the two.
    pub fn build<'a>(
        shipped: &Shipped,
        declared: &[Model],
        roles: &[(String, Vec<String>)],
        reports: impl IntoIterator<Item = &'a NodeReport>,
    ) -> Self {
        let mut catalogue = Self::default();
        for model in declared {
            let index = catalogue.add(shipped, &model.name, None);
            catalogue.declare(index, model);
        }
        let mut told: BTreeMap<ModelIndex, Capabilities> = BTreeMap::new();
        for model in reports.into_iter().flat_map(|report| &report.workers).flat_map(|worker| &worker.models) {
            let index = match catalogue.names.get(&model.name) {
                Some(&index) => index,
                None => catalogue.add(shipped, &model.name, Some(&model.id)),
            };
            catalogue.name(&model.engine_name, index);
            if !model.capabilities.is_empty() {
                let here = Capabilities::of(&model.capabilities);
                told.entry(index).and_modify(|all| *all = all.and(here)).or_insert(here);
            }
        }
        catalogue.take_told(told);
        catalogue.add_spellings(shipped);
        for (role, names) in roles {
            let models = names.iter().filter_map(|name| catalogue.find(name)).map(|found| found.model).collect();
            catalogue.roles.push((role.clone(), models));
        }
        catalogue
    }

    /// The model; every index that this catalogue gave is in it.
    pub fn get(&self, index: ModelIndex) -> &CatalogueModel {
        &self.models[index.0 as usize]
    }

    /// Every model.
    pub fn models(&self) -> impl ExactSizeIterator<Item = (ModelIndex, &CatalogueModel)> {
        self.models.iter().enumerate().map(|(index, model)| (ModelIndex(index as u32), model))
    }

    /// The model that goes by `name`: as written, else in its normal spelling.
    pub fn find(&self, name: &str) -> Option<Found> {
        if let Some(&model) = self.names.get(name) {
            return Some(Found { model, notice: None });
        }
        let normal = normalise(name);
        if let Some(&model) = self.names.get(&normal) {
            return Some(Found { model, notice: None });
        }
        let (model, notice) = self.mistaken.get(&normal)?;
        let notice = format!("{notice}; `{}` answers", self.get(*model).name);
        Some(Found { model: *model, notice: Some(notice) })
    }

    /// Whether `name` is a model of the world, if not of this cluster.
    pub fn knows_of(&self, name: &str) -> bool {
        let normal = normalise(name);
        self.known.iter().any(|known| *known == normal || is_variant(&normal, known))
    }

    /// The models that `[roles]` names for a role, best first.
    pub fn role(&self, role: &str) -> impl Iterator<Item = ModelIndex> {
        self.roles.iter().filter(move |(name, _)| name == role).flat_map(|(_, models)| models.iter().copied())
    }

    /// Models for a role, a kind and a tier, best first; the tier's own before the others.
    pub fn for_use(&self, role: &str, kind: Kind, tier: Tier) -> Vec<ModelIndex> {
        let kind = match role {
            "embed" => Kind::Embedding,
            "rerank" => Kind::Rerank,
            "code" => Kind::CodeGeneration,
            "research" => Kind::Research,
            _ => kind,
        };
        let wanted = match kind {
            Kind::Embedding => Capability::Embedding,
            Kind::Rerank => Capability::Rerank,
            _ => Capability::Completion,
        };
        let fits = |model: &CatalogueModel| match wanted {
            Capability::Completion => model.capabilities.has(wanted),
            // Nobody is taken for an embedder only because its engine is silent.
            _ => model.capabilities.has(wanted) && model.capabilities != Capabilities::UNKNOWN,
        };
        let mut ranked: Vec<(u32, i64, ModelIndex)> = self
            .models()
            .filter(|(_, model)| fits(model))
            .map(|(index, model)| (rank(model, kind, tier), -(model.parameters_b * 1000.0) as i64, index))
            .collect();
        ranked.sort();
        ranked.into_iter().map(|(_, _, index)| index).collect()
    }

    /// The names nearest to one that is not there, at most `most`.
    pub fn nearest(&self, name: &str, most: usize) -> Vec<String> {
        let wanted = normalise(name);
        let limit = (wanted.chars().count().min(64) / 3).max(2);
        let family = wanted.split(':').next().unwrap_or(&wanted);
        let mut near: Vec<(usize, &str)> = self
            .models
            .iter()
            .map(|model| (edit_distance(&wanted, &normalise(&model.name)), &*model.name))
            .filter(|(distance, name)| *distance <= limit || (family.len() > 2 && normalise(name).starts_with(family)))
            .collect();
        near.sort();
        near.into_iter().take(most).map(|(_, name)| format!("`{name}`")).collect()
    }

    fn add(&mut self, shipped: &Shipped, name: &str, id: Option<&ModelId>) -> ModelIndex {
        if let Some(&index) = self.names.get(name) {
            return index;
        }
        let index = ModelIndex(self.models.len() as u32);
        let known = shipped.find(&normalise(name));
        let parameters_b = known.map(|known| known.parameters_b).or_else(|| parameters_in_name(name)).unwrap_or(0.0);
        self.models.push(CatalogueModel {
            name: Arc::from(name),
            id: id.cloned().unwrap_or_else(|| ModelId::new(name)),
            tier: known.map_or_else(|| tier_by_size(parameters_b), |known| known.tier),
            kinds: known.map(|known| known.kinds.clone()).unwrap_or_default(),
            capabilities: known.map_or(Capabilities::UNKNOWN, |known| Capabilities::of(&known.capabilities)),
            parameters_b,
            replicas: 1,
            engines: Vec::new(),
            is_declared: id.is_none(),
        });
        self.name(name, index);
        index
    }

    fn declare(&mut self, index: ModelIndex, declared: &Model) {
        for alias in &declared.aliases {
            self.name(alias, index);
        }
        let Some(model) = self.models.get_mut(index.0 as usize) else { return };
        model.replicas = declared.replicas.max(1);
        model.engines.clone_from(&declared.engines);
        if !declared.capabilities.is_empty() {
            model.capabilities = Capabilities::of(&declared.capabilities);
        }
        model.tier = match declared.tier.as_deref() {
            Some("fast") => Tier::Fast,
            Some("standard") => Tier::Standard,
            Some("large") => Tier::Large,
            Some("specialized") => Tier::Specialized,
            _ => model.tier,
        };
    }

    /// Engines know what nobody else does: an embedder of the house is not taken for a writer.
    fn take_told(&mut self, told: BTreeMap<ModelIndex, Capabilities>) {
        for (index, capabilities) in told {
            let model = self.models.get_mut(index.0 as usize);
            if let Some(model) = model.filter(|model| model.capabilities == Capabilities::UNKNOWN) {
                model.capabilities = capabilities;
            }
        }
    }

    /// The first to take a name keeps it: declared models come before offered ones, exact names before spellings.
    fn name(&mut self, name: &str, index: ModelIndex) {
        if !name.is_empty() {
            self.names.entry(name.to_owned()).or_insert(index);
        }
    }

    fn add_spellings(&mut self, shipped: &Shipped) {
        let mut exact: Vec<(String, ModelIndex)> =
            self.names.iter().map(|(name, &index)| (normalise(name), index)).collect();
        exact.sort();
        for (name, index) in &exact {
            self.name(name, *index);
        }
        for known in &shipped.models {
            let Some(index) = self.offered(known, &exact) else { continue };
            for name in std::iter::once(&known.name).chain(&known.aliases) {
                self.name(name, index);
            }
        }
        for mistaken in &shipped.mistaken {
            if let Some(&index) = self.names.get(&mistaken.means) {
                self.mistaken.insert(mistaken.name.clone(), (index, mistaken.notice.clone()));
            }
        }
        let known =
            |model: &ShippedModel| std::iter::once(model.name.clone()).chain(model.aliases.clone()).collect::<Vec<_>>();
        self.known = shipped.models.iter().flat_map(known).collect();
        self.known.extend(shipped.mistaken.iter().map(|mistaken| mistaken.name.clone()));
    }

    /// The cluster's model that is `known`, perhaps in another quantisation; the same one on every node.
    fn offered(&self, known: &ShippedModel, spellings: &[(String, ModelIndex)]) -> Option<ModelIndex> {
        let exact = std::iter::once(&known.name).chain(&known.aliases).find_map(|name| self.names.get(name));
        let mut variants = spellings.iter().filter(|(name, _)| is_variant(name, &known.name));
        exact.copied().or_else(|| variants.next().map(|(_, index)| *index))
    }
}

/// Lower is better.
fn rank(model: &CatalogueModel, kind: Kind, tier: Tier) -> u32 {
    let is_made_for_it = model.kinds.contains(&kind);
    let is_made_for_else = !model.kinds.is_empty() && !is_made_for_it && model.tier == Tier::Specialized;
    let distance = match (tier, model.tier) {
        (wanted, has) if wanted == has => 0,
        (Tier::Fast, Tier::Standard) | (Tier::Standard, Tier::Large) | (Tier::Large, Tier::Standard) => 1,
        (_, Tier::Specialized) => 3,
        _ => 2,
    };
    match (is_made_for_it, is_made_for_else) {
        (true, _) => 0,
        (_, true) => 20,
        _ => 10 + distance,
    }
}

fn tier_by_size(parameters_b: f64) -> Tier {
    match parameters_b {
        size if size >= 25.0 => Tier::Large,
        size if size > 0.0 && size < 7.5 => Tier::Fast,
        _ => Tier::Standard,
    }
}

impl CatalogueModel {
    /// Whether the configuration declares it, so that placement should keep it loaded.
    pub fn is_declared(&self) -> bool {
        self.is_declared
    }
}
