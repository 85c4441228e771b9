//! What the node does with hints of other supervisors: it looks at once, by a heartbeat, at whoever the hint is about.
//!
//! A hint alone changes nothing. It may be late, wrong or missing; heartbeats decide.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use base::{Incarnation, NodeId};

use crate::actors::links::{Hints, Notice};
use crate::core::Core;

/// The node behind the links.
pub struct NodeHints {
    core: Weak<Core>,
    /// What was in memory at each node, as it told last.
    loaded: Mutex<HashMap<NodeId, Vec<String>>>,
}

impl NodeHints {
    /// Holds the node weakly: the links are a part of it.
    pub fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::downgrade(core), loaded: Mutex::default() }
    }

    fn look_at(&self, node: &NodeId) {
        let Some(core) = self.core.upgrade() else { return };
        let Ok(cluster) = core.cluster().cloned() else { return };
        let node = node.clone();
        core.tasks.spawn(async move { cluster.ask_now(&node).await });
    }
}

impl Hints for NodeHints {
    fn peer_ended(&self, node: &NodeId) {
        tracing::info!(node = %node, "its supervisor is gone; looks at the node");
        self.look_at(node);
    }

    fn notice(&self, from: &NodeId, notice: Notice) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let before = loaded.insert(from.clone(), notice.loaded_models.clone());
        if before.is_some_and(|before| before != notice.loaded_models) {
            self.look_at(from);
        }
    }

    fn own_notice(&self) -> Notice {
        let mut notice = Notice {
            node: NodeId::from(""),
            incarnation: Incarnation(0),
            busy_slots: 0,
            loaded_models: Vec::new(),
            traceparent: String::new(),
        };
        let Some(core) = self.core.upgrade() else { return notice };
        notice.node = core.node.clone();
        notice.incarnation = core.cluster().map(|cluster| cluster.incarnation()).unwrap_or_default();
        for port in core.ports.load().values() {
            notice.busy_slots += port.gate.counts().0;
            let facts = port.facts();
            let loaded = facts.models.iter().filter(|model| model.engine.is_loaded);
            notice.loaded_models.extend(loaded.map(|model| format!("{}:{}", port.id.name(), model.name)));
        }
        notice.loaded_models.sort();
        notice
    }
}
