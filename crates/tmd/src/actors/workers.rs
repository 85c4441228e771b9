//! The actor `workers`. Owns: one `worker/NAME` for each engine of the node.
//! Supervised by `root`. Talks to: its children. Never: decides about engines; each worker does that itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use ractor_cluster::RactorMessage;

use super::children::{AsksSnapshot, Children, Ended, Recipe};
use super::policy::RestartPolicy;
use super::worker::{Worker, WorkerArguments};
use super::{Beat, name_of_ended};
use crate::core::{Core, Seen};
use crate::failures::{FailureKind, Severity, Sighting, Subject};

/// Messages of the supervisor of workers.
#[derive(RactorMessage)]
pub enum WorkersMessage {
    /// Ask every child whether it lives.
    Beat,
    /// The children's answers.
    Answered(Vec<(String, Option<String>)>),
    /// A restart's delay is over.
    StartAgain(String),
    /// A picture of the actor.
    Snapshot(RpcReplyPort<String>),
}

impl AsksSnapshot for WorkersMessage {
    fn snapshot(reply: RpcReplyPort<String>) -> Self {
        Self::Snapshot(reply)
    }
}

/// The actor.
pub struct Workers;

/// What it remembers.
pub struct WorkersState {
    core: Arc<Core>,
    children: Children,
    beat: Beat,
}

impl Actor for Workers {
    type Msg = WorkersMessage;
    type State = WorkersState;
    type Arguments = Arc<Core>;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, core: Arc<Core>) -> Result<Self::State, ActorProcessingErr> {
        let mut children = Children::default();
        for (name, port) in &core.ports {
            let (core, port) = (core.clone(), port.clone());
            let make = move || (Worker, WorkerArguments { core: core.clone(), port: port.clone() });
            let recipe = Recipe::new(format!("worker/{name}"), RestartPolicy::QUICK, make);
            children.add(recipe, &myself.get_cell()).await?;
        }
        let beat = Beat::every(Duration::from_secs(2), myself, || WorkersMessage::Beat);
        Ok(WorkersState { core, children, beat })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkersMessage::Beat => state.beat.ask(&state.children, myself, WorkersMessage::Answered),
            WorkersMessage::Answered(answers) => {
                for name in state.children.answered(answers) {
                    tracing::error!(actor = name, "actor did not answer and was killed");
                }
            }
            WorkersMessage::StartAgain(name) => {
                if let Err(error) = state.children.start(&name, &myself.get_cell()).await {
                    tracing::error!(actor = name, %error, "actor could not be started");
                    state.child_ended(&myself, &name);
                }
            }
            WorkersMessage::Snapshot(reply) => {
                let _ = reply.send(serde_json::to_string(&state.children.pictures())?);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((name, why)) = name_of_ended(&event) {
            tracing::error!(actor = name, error = why, "actor ended");
            state.child_ended(&myself, &name);
        }
        Ok(())
    }
}

impl WorkersState {
    fn child_ended(&mut self, myself: &ActorRef<WorkersMessage>, name: &str) {
        match self.children.ended(name, Instant::now()) {
            Ended::Ignored => {}
            Ended::Restart { name, delay } => {
                self.core.metrics.actor_restarts.with_label_values(&[&name]).inc();
                myself.send_after(delay, move || WorkersMessage::StartAgain(name));
            }
            Ended::GivenUp { name } => {
                // The other workers go on; this one's port is closed, and the owner is told.
                let worker = name.trim_start_matches("worker/");
                if let Some(port) = self.core.ports.get(worker) {
                    port.abandon();
                    self.core.table_is_old.notify_one();
                }
                self.core.degrade(&name, Some("its actor ended too often and was given up".to_owned()));
                let subject = Subject::Actor { node: self.core.node.clone(), actor: name };
                let detail = "ended too often and was given up".to_owned();
                let (kind, severity) = (FailureKind::SystemError, Severity::Critical);
                self.core.tell(Seen::Wrong(Sighting { subject, kind, severity, detail }));
            }
        }
    }
}
