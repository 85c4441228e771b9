//! An actor that keeps others alive: `root` and `workers` are two of these, each with children and a reaction of its own.
//! Owns: its children. Supervised by: nobody or another supervisor. Talks to: its children. Never: does their work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use ractor_cluster::RactorMessage;

use super::children::{Children, Ended, Recipe};
use super::{Beat, name_of_ended};
use crate::core::Core;

/// How often the children are asked whether they live.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Messages of a supervisor.
#[derive(RactorMessage)]
pub enum SupervisorMessage {
    /// Ask every child whether it lives.
    Beat,
    /// The children's answers.
    Answered(Vec<(String, Option<String>)>),
    /// A restart's delay is over.
    StartAgain(String),
    /// Start one more child.
    Add(Recipe),
    /// End a child for good.
    Remove(String),
    /// A picture of the actor.
    Snapshot(RpcReplyPort<String>),
    /// Only with the feature `faults`: never answer again.
    #[cfg(feature = "faults")]
    Hang,
}

/// The actor.
pub struct Supervisor;

/// From these alone it starts again.
#[derive(Clone)]
pub struct SupervisorArguments {
    /// The node.
    pub core: Arc<Core>,
    /// Its children, started in this order.
    pub children: Vec<Recipe>,
    /// What the node does without a child that ended too often; the degradation itself is noted before.
    pub given_up: fn(&Core, String),
}

/// What it remembers.
pub struct SupervisorState {
    core: Arc<Core>,
    children: Children,
    given_up: fn(&Core, String),
    beat: Beat,
}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = SupervisorState;
    type Arguments = SupervisorArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let SupervisorArguments { core, children: recipes, given_up } = arguments;
        let mut children = Children::default();
        for recipe in recipes {
            children.add(recipe, &myself.get_cell()).await?;
        }
        let beat = Beat::every(ASK_EVERY, myself, || SupervisorMessage::Beat);
        Ok(SupervisorState { core, children, given_up, beat })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMessage::Beat => state.beat.ask(&state.children, myself, SupervisorMessage::Answered),
            SupervisorMessage::Answered(answers) => {
                for name in state.children.answered(answers) {
                    tracing::error!(actor = name, "actor did not answer and was killed");
                }
            }
            SupervisorMessage::StartAgain(name) => {
                if let Err(error) = state.children.start(&name, &myself.get_cell()).await {
                    tracing::error!(actor = name, %error, "actor could not be started");
                    state.child_ended(&myself, &name);
                }
            }
            SupervisorMessage::Add(recipe) => {
                let name = recipe.name.clone();
                if let Err(error) = state.children.add(recipe, &myself.get_cell()).await {
                    tracing::error!(actor = name, %error, "actor could not be started");
                    state.child_ended(&myself, &name);
                }
            }
            SupervisorMessage::Remove(name) => state.children.remove(&name),
            SupervisorMessage::Snapshot(reply) => {
                let _ = reply.send(serde_json::to_string(&state.children.pictures())?);
            }
            #[cfg(feature = "faults")]
            SupervisorMessage::Hang => std::future::pending().await,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((name, why)) = name_of_ended(&event).filter(|(name, _)| state.children.has(name)) {
            tracing::error!(actor = name, error = why, "actor ended");
            state.child_ended(&myself, &name);
        }
        Ok(())
    }
}

impl SupervisorState {
    fn child_ended(&mut self, myself: &ActorRef<SupervisorMessage>, name: &str) {
        match self.children.ended(name, Instant::now()) {
            Ended::Ignored => {}
            Ended::Restart { name, delay } => {
                self.core.metrics.actor_restarted(&name);
                myself.send_after(delay, move || SupervisorMessage::StartAgain(name));
            }
            Ended::GivenUp { name } => {
                // The node goes on without that part, says so, and stays reachable for its owner.
                tracing::error!(actor = name, "actor ended too often and was given up; the node is degraded");
                self.core.degrade(&name, Some("its actor ended too often and was given up".to_owned()));
                (self.given_up)(&self.core, name);
            }
        }
    }
}
