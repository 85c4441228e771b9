//! The models that a key may ask, as the catalogue knows them now.

use base::{Code, Fault};

use super::{Catalogue, ModelIndex};

/// Names that a refusal tells.
const SHOWN: usize = 8;

/// Models that one caller may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Any.
    All,
    /// These, and none that comes later.
    Only(Vec<ModelIndex>),
}

impl Allowed {
    /// The models that go by one of `names`; all of them when there are none.
    ///
    /// A name counts as it is written. What it may have been meant for does not: that changes with what engines offer.
    pub fn by_names(catalogue: &Catalogue, names: &[String]) -> Self {
        if names.is_empty() {
            return Self::All;
        }
        let found = names.iter().filter_map(|name| catalogue.find(name)).filter(|found| found.notice.is_none());
        Self::Only(found.map(|found| found.model).collect())
    }

    /// Whether it is one of them.
    pub fn has(&self, model: ModelIndex) -> bool {
        match self {
            Self::All => true,
            Self::Only(models) => models.contains(&model),
        }
    }

    /// What a caller is told that named another one.
    pub(super) fn refusal(&self, catalogue: &Catalogue, wanted: &str) -> Fault {
        let shown: String = wanted.chars().take(100).collect();
        let fault = Fault::new(Code::PermissionDenied, format!("this key may not ask `{shown}`"));
        let names: Vec<&str> = match self {
            Self::All => Vec::new(),
            Self::Only(models) => models.iter().take(SHOWN).map(|&model| &*catalogue.get(model).name).collect(),
        };
        match names.is_empty() {
            true => {
                fault.hint("none of the models that it may ask is in the cluster now; `tmctl keys list` shows them")
            }
            false => fault.hint(format!("it may ask {}", names.join(", "))),
        }
    }
}
