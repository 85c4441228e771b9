//! What is known of well-known models before any engine told: their kinds, tiers, capabilities, sizes and spellings.

use base::report::Capability;
use base::{Fault, Kind};
use serde::Deserialize;

use super::Tier;

/// The shipped table, `shipped.toml` beside this file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shipped {
    /// Well-known models.
    #[serde(rename = "model")]
    pub models: Vec<ShippedModel>,
    /// Names that exist nowhere, but that people use.
    #[serde(rename = "mistaken")]
    pub mistaken: Vec<Mistaken>,
}

/// A well-known model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShippedModel {
    /// Ollama's name for it, which is the shortest that people type.
    pub name: String,
    /// Other spellings, normalised.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Its tier under `auto`.
    pub tier: Tier,
    /// What it is made for; general text when empty.
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Billions of parameters.
    pub parameters_b: f64,
    /// Size of the usual download (4 bits where there is a choice), in gigabytes.
    pub size_gb: f64,
}

/// A name that exists nowhere.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mistaken {
    /// The name that people use.
    pub name: String,
    /// The model that they mean.
    pub means: String,
    /// What they are told.
    pub notice: String,
}

impl Shipped {
    /// Reads the table that is part of the program.
    pub fn load() -> Result<Self, Fault> {
        toml::from_str(include_str!("shipped.toml"))
            .map_err(|error| Fault::internal("could not read the shipped table of models").because(error))
    }

    /// The entry with this normalised name or alias.
    pub fn find(&self, normalised: &str) -> Option<&ShippedModel> {
        let is_it =
            |model: &&ShippedModel| model.name == normalised || model.aliases.iter().any(|alias| alias == normalised);
        self.models.iter().find(is_it).or_else(|| {
            // `llama3.1:70b-instruct-q4_0` is `llama3.1:70b` in another quantisation.
            let longest = |model: &&ShippedModel| model.name.len();
            self.models.iter().filter(|model| is_variant(normalised, &model.name)).max_by_key(longest)
        })
    }
}

/// Whether `name` is `of` with a quantisation or a flavour behind it.
pub(super) fn is_variant(name: &str, of: &str) -> bool {
    of.contains(':') && name.strip_prefix(of).is_some_and(|rest| rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::super::normalise;
    use super::*;

    #[test]
    fn shipped_table_reads_and_every_name_in_it_is_normalised_and_unique() {
        let shipped = Shipped::load().unwrap();
        let mut seen = std::collections::HashSet::new();
        let mistaken = shipped.mistaken.iter().map(|mistaken| &mistaken.name);
        for name in
            shipped.models.iter().flat_map(|model| std::iter::once(&model.name).chain(&model.aliases)).chain(mistaken)
        {
            assert_eq!(&normalise(name), name);
            assert!(seen.insert(name), "{name} is there twice");
        }
        for mistaken in &shipped.mistaken {
            assert!(shipped.find(&mistaken.means).is_some(), "{}", mistaken.name);
        }
    }

    #[test]
    fn a_quantisation_is_the_same_model() {
        let shipped = Shipped::load().unwrap();
        for (name, model) in [
            ("llama3.1:70b-instruct-q4_0", "llama3.1:70b"),
            ("mistral:7b-instruct", "mistral:7b"),
            ("codellama:13b-instruct", "codellama:13b"),
            ("llama2", "llama2:7b"),
            ("bge-m3", "bge-m3"),
        ] {
            assert_eq!(shipped.find(name).map(|found| found.name.as_str()), Some(model), "{name}");
        }
        assert!(shipped.find("llama3.1:7").is_none());
    }
}
