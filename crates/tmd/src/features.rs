//! What this node understands beyond the first release, and what is asked of others only where they say the same.
//!
//! Two neighbouring releases run beside each other while a house is updated. Fields that an older node does not know it
//! skips; a message that it cannot read must not be sent to it, and is a feature here.

use base::report::NodeReport;
use base::{Code, Fault, NodeId, Result};

/// Something that not every node understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `node.v1.Node.Reload`.
    Reload,
    /// `node.v1.Node.CallKnowledge`.
    Knowledge,
}

impl Feature {
    /// Every feature of this release.
    pub const ALL: &'static [Feature] = &[Feature::Reload, Feature::Knowledge];

    /// As heartbeats carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Feature::Reload => "reload",
            Feature::Knowledge => "knowledge",
        }
    }

    /// Whether a node says that it understands it.
    pub fn is_known(self, report: &NodeReport) -> bool {
        report.features.iter().any(|feature| feature == self.as_str())
    }

    /// Refuses to ask a node for what it does not say that it understands.
    pub fn must_be_known(self, node: &NodeId, report: Option<&NodeReport>) -> Result<()> {
        let Some(report) = report else {
            return Err(Fault::unavailable(format!("node `{node}` has not been heard yet"))
                .hint("`tmctl nodes` shows when it was heard last"));
        };
        if self.is_known(report) {
            return Ok(());
        }
        let message =
            format!("node `{node}` runs release {} and does not understand `{}`", report.version, self.as_str());
        Err(Fault::new(Code::NotSupported, message).hint("install this release of tmd there as well"))
    }
}

/// What a node says that it is.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// What it understands.
    pub features: Vec<String>,
}

impl Release {
    /// This one.
    pub fn own() -> Self {
        let features = Feature::ALL.iter().map(|feature| feature.as_str().to_owned()).collect();
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), features }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet;

    #[test]
    fn a_node_is_asked_only_for_what_it_says_that_it_understands() {
        let node = NodeId::from("old");
        let own = fleet::report_of(&node);
        let report = NodeReport { version: "0.0.9".to_owned(), features: Vec::new(), ..own.clone() };
        let fault = Feature::Reload.must_be_known(&node, Some(&report)).unwrap_err();
        assert!(fault.code == Code::NotSupported && fault.message.contains("0.0.9"), "{fault:?}");
        assert_eq!(Feature::Reload.must_be_known(&node, None).unwrap_err().code, Code::Unavailable);
        Feature::Reload.must_be_known(&node, Some(&own)).unwrap();
    }
}
