//! Peers that prove who they are and then send what no honest node sends: counted by name, and told when it is too much.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::NodeId;
use base::retry::Intensity;

/// A release that cannot be understood, or one broken message, is no attack yet.
const FORGIVEN: usize = 4;
const WITHIN: Duration = Duration::from_secs(60);

/// Names that are remembered. Only who has a certificate has a name here.
const REMEMBERED: usize = 256;

/// What was counted.
#[derive(Default)]
pub struct Strikes(Mutex<HashMap<NodeId, Intensity>>);

impl Strikes {
    /// `node` sent something that was refused. Whether that is too much.
    pub fn note(&self, node: &NodeId, now: Instant) -> bool {
        let mut strikes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if strikes.len() >= REMEMBERED && !strikes.contains_key(node) {
            strikes.retain(|_, recent| !recent.has_room(now));
        }
        if strikes.len() >= REMEMBERED && !strikes.contains_key(node) {
            return false;
        }
        let recent = strikes.entry(node.clone()).or_insert_with(|| Intensity::new(FORGIVEN, WITHIN));
        !recent.note(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_broken_messages_are_forgiven_and_only_to_their_sender() {
        let (strikes, now) = (Strikes::default(), Instant::now());
        let (bad, other) = (NodeId::from("bad"), NodeId::from("other"));
        let noted: Vec<bool> = (0..6).map(|_| strikes.note(&bad, now)).collect();
        assert_eq!(noted, [false, false, false, false, true, true]);
        assert!(!strikes.note(&other, now));
        assert!(!strikes.note(&bad, now + WITHIN));
    }
}
