//! What a node tells the others about itself over the links, and its form on the wire.
//!
//! Only a hint: lost, late or repeated notices change nothing but how soon something is noticed.

use base::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};

/// The form that this build writes and reads. Fields are added without a new number; a reader skips what it does not know.
const VERSION: u32 = 1;

/// A notice with this many bytes leaves room for the envelope around it in a frame.
const NOTICE_AT_MOST: usize = super::wire::FRAME_AT_MOST / 2;

/// The load and the models of a node, in a few hundred bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Whose notice it is.
    pub node: NodeId,
    /// Of which life of that node.
    pub incarnation: Incarnation,
    /// Slots that work on asks, of all its workers.
    pub busy_slots: u32,
    /// Names of the models that are loaded.
    pub loaded_models: Vec<String>,
    /// The W3C trace context of what caused it; empty when nothing did. Spans do not cross nodes by themselves.
    pub traceparent: String,
}

/// A notice on the wire.
#[derive(Serialize, Deserialize)]
struct Envelope<N> {
    version: u32,
    notice: N,
}

impl Notice {
    /// For the wire; the list of models is left out where it would not fit into a frame.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let bytes = serde_json::to_vec(&Envelope { version: VERSION, notice: self })?;
        if bytes.len() <= NOTICE_AT_MOST {
            return Ok(bytes);
        }
        let shorter = Self { loaded_models: Vec::new(), ..self.clone() };
        serde_json::to_vec(&Envelope { version: VERSION, notice: shorter })
    }

    /// From the wire; `None` for what another form or a faulty node wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let envelope: Envelope<Self> = serde_json::from_slice(bytes).ok()?;
        (envelope.version == VERSION).then_some(envelope.notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(models: usize) -> Notice {
        Notice {
            node: NodeId::from("a"),
            incarnation: Incarnation(3),
            busy_slots: 2,
            loaded_models: vec!["llama3.1:8b".to_owned(); models],
            traceparent: String::new(),
        }
    }

    #[test]
    fn a_notice_reads_back_and_ignores_what_later_builds_add() {
        let written = notice(1);
        assert_eq!(Notice::from_bytes(&written.to_bytes().unwrap()), Some(written.clone()));
        let mut later: serde_json::Value = serde_json::from_slice(&written.to_bytes().unwrap()).unwrap();
        later["notice"]["colour"] = "blue".into();
        assert_eq!(Notice::from_bytes(later.to_string().as_bytes()), Some(written));
    }

    #[test]
    fn another_form_and_junk_are_not_read() {
        let other = serde_json::to_vec(&Envelope { version: VERSION + 1, notice: notice(0) }).unwrap();
        assert_eq!(Notice::from_bytes(&other), None);
        assert_eq!(Notice::from_bytes(b"\xff\x00"), None);
    }

    #[test]
    fn a_notice_never_outgrows_a_frame() {
        assert!(notice(100_000).to_bytes().unwrap().len() < NOTICE_AT_MOST);
    }
}
