//! The supervisor `workers`. Owns: one `worker/NAME` for each engine of the node.
//! Supervised by `root`. Talks to: its children. Never: decides about engines; each worker does that itself.

use std::sync::Arc;

use super::children::Recipe;
use super::policy::RestartPolicy;
use super::supervisor::SupervisorArguments;
use super::worker::{Worker, WorkerArguments, WorkerMessage};
use crate::core::{Core, Seen};
use crate::failures::{FailureKind, Severity, Sighting, Subject};
use crate::worker::port::Port;

/// A worker for each port of the node.
pub fn arguments(core: &Arc<Core>) -> SupervisorArguments {
    let children = core.ports.load().values().map(|port| recipe(core, port)).collect();
    SupervisorArguments { core: core.clone(), children, given_up }
}

/// How the worker of a port is started.
pub fn recipe(core: &Arc<Core>, port: &Arc<Port>) -> Recipe {
    let arguments = WorkerArguments { core: core.clone(), port: port.clone() };
    let make = move || (Worker, arguments.clone());
    Recipe::new(actor_of(port), RestartPolicy::QUICK, WorkerMessage::Snapshot, make)
}

/// The name of the actor that watches over a port.
pub fn actor_of(port: &Port) -> String {
    format!("worker/{}", port.id.name())
}

/// The other workers go on; this one's port is closed, and the owner is told.
fn given_up(core: &Core, name: String) {
    if let Some(port) = core.ports.load().get(name.trim_start_matches("worker/")) {
        port.abandon();
        core.table_is_old.notify_one();
    }
    let subject = Subject::Actor { node: core.node.clone(), actor: name };
    let detail = "ended too often and was given up".to_owned();
    let (kind, severity) = (FailureKind::SystemError, Severity::Critical);
    core.tell(Seen::Wrong(Sighting { subject, kind, severity, detail }));
}
