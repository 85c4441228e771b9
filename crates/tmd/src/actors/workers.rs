//! The supervisor `workers`. Owns: one `worker/NAME` for each engine of the node.
//! Supervised by `root`. Talks to: its children. Never: decides about engines; each worker does that itself.

use std::sync::Arc;

use super::children::Recipe;
use super::policy::RestartPolicy;
use super::supervisor::SupervisorArguments;
use super::worker::{Worker, WorkerArguments, WorkerMessage};
use crate::core::{Core, Seen};
use crate::failures::{FailureKind, Severity, Sighting, Subject};

/// A worker for each port of the node.
pub fn arguments(core: &Arc<Core>) -> SupervisorArguments {
    let recipe = |(name, port): (&_, &Arc<_>)| {
        let arguments = WorkerArguments { core: core.clone(), port: Arc::clone(port) };
        let make = move || (Worker, arguments.clone());
        Recipe::new(format!("worker/{name}"), RestartPolicy::QUICK, WorkerMessage::Snapshot, make)
    };
    SupervisorArguments { core: core.clone(), children: core.ports.iter().map(recipe).collect(), given_up }
}

/// The other workers go on; this one's port is closed, and the owner is told.
fn given_up(core: &Core, name: String) {
    if let Some(port) = core.ports.get(name.trim_start_matches("worker/")) {
        port.abandon();
        core.table_is_old.notify_one();
    }
    let subject = Subject::Actor { node: core.node.clone(), actor: name };
    let detail = "ended too often and was given up".to_owned();
    let (kind, severity) = (FailureKind::SystemError, Severity::Critical);
    core.tell(Seen::Wrong(Sighting { subject, kind, severity, detail }));
}
