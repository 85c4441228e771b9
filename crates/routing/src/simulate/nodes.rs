//! The nodes of a simulation: speeds, slots, memory, and the models that each has.

use base::Fault;
use serde::Deserialize;

/// The nodes file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nodes {
    /// The nodes.
    #[serde(rename = "node")]
    pub nodes: Vec<NodeSpec>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Prompt tokens per second, per slot.
    pub prefill_tok_s: f64,
    /// Answer tokens per second, per slot.
    pub decode_tok_s: f64,
    /// Asks at once.
    pub slots: u32,
    /// Memory for models; without a limit when 0.
    #[serde(default)]
    pub vram_gib: f64,
    /// What it has; serves every model, with no load, when empty.
    #[serde(default)]
    pub models: Vec<NodeModel>,
}

/// A model at a node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeModel {
    /// Its name, as the trace has it.
    pub name: String,
    /// Memory it takes.
    #[serde(default)]
    pub vram_gib: f64,
    /// Seconds to load it.
    #[serde(default)]
    pub load_s: f64,
}

impl Nodes {
    /// Reads the nodes file and checks its figures.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let nodes: Self = toml::from_str(text).map_err(|error| {
            Fault::invalid("could not read the nodes").because(error).hint(
                "a node is [[node]] with name, prefill_tok_s, decode_tok_s, slots, and if need be vram_gib, models",
            )
        })?;
        for (index, node) in nodes.nodes.iter().enumerate() {
            if nodes.nodes.iter().take(index).any(|other| other.name == node.name) {
                return Err(
                    Fault::invalid(format!("there are two nodes `{}`", node.name)).hint("give each its own name")
                );
            }
            node.check()?;
        }
        if nodes.nodes.is_empty() {
            return Err(Fault::invalid("there is no node").hint("add at least one [[node]]"));
        }
        Ok(nodes)
    }
}

impl NodeSpec {
    fn check(&self) -> Result<(), Fault> {
        let wrong = |field: &str, value: f64, hint: &str| {
            Err(Fault::invalid(format!("`{field}` of node `{}` is {value}", self.name)).hint(hint))
        };
        for (field, value) in [("prefill_tok_s", self.prefill_tok_s), ("decode_tok_s", self.decode_tok_s)] {
            if !(value.is_finite() && value >= 1e-3) {
                return wrong(field, value, "give tokens per second, above 0");
            }
        }
        if self.slots == 0 {
            return wrong("slots", 0.0, "give at least 1");
        }
        if !(self.vram_gib.is_finite() && self.vram_gib >= 0.0) {
            return wrong("vram_gib", self.vram_gib, "give gibibytes, or leave it out");
        }
        for model in &self.models {
            if !(model.vram_gib.is_finite() && model.vram_gib >= 0.0) {
                return wrong("models.vram_gib", model.vram_gib, "give gibibytes, or leave it out");
            }
            if !(model.load_s.is_finite() && (0.0..=1e6).contains(&model.load_s)) {
                return wrong("models.load_s", model.load_s, "give seconds, or leave it out");
            }
        }
        Ok(())
    }
}
