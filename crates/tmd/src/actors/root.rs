//! The actor `root`. Owns: the node's other actors.
//! Supervised by: nobody; when it ends, the node stops. Talks to: its children. Never: does their work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use ractor_cluster::RactorMessage;

use super::children::{AsksSnapshot, Children, Ended, Recipe};
use super::links::{Links, LinksArguments};
use super::membership::Membership;
use super::policy::RestartPolicy;
use super::recovery::{Recovery, RecoveryArguments};
use super::scheduler::Scheduler;
use super::workers::Workers;
use super::{Beat, name_of_ended};
use crate::core::Core;

/// The supervisor without which no worker is watched.
const WORKERS: &str = "workers";

/// Messages of the root.
#[derive(RactorMessage)]
pub enum RootMessage {
    /// Ask every child whether it lives.
    Beat,
    /// The children's answers.
    Answered(Vec<(String, Option<String>)>),
    /// A restart's delay is over.
    StartAgain(String),
    /// A picture of the actor.
    Snapshot(RpcReplyPort<String>),
}

impl AsksSnapshot for RootMessage {
    fn snapshot(reply: RpcReplyPort<String>) -> Self {
        Self::Snapshot(reply)
    }
}

/// The actor.
pub struct Root;

/// From these alone the tree starts again.
#[derive(Clone)]
pub struct RootArguments {
    /// The node.
    pub core: Arc<Core>,
    /// What recovery is told by.
    pub recovery: RecoveryArguments,
    /// Links between supervisors of different nodes; `None` when switched off.
    pub links: Option<LinksArguments>,
}

/// What it remembers.
pub struct RootState {
    core: Arc<Core>,
    children: Children,
    beat: Beat,
}

impl Actor for Root {
    type Msg = RootMessage;
    type State = RootState;
    type Arguments = RootArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        RootArguments { core, recovery, links }: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let me = myself.get_cell();
        let mut children = Children::default();
        let quick = RestartPolicy::QUICK;
        let recipe = Recipe::new("recovery".to_owned(), quick, move || (Recovery, recovery.clone()));
        children.add(recipe, &me).await?;
        let shared = core.clone();
        let recipe = Recipe::new("membership".to_owned(), quick, move || (Membership, shared.clone()));
        children.add(recipe, &me).await?;
        let shared = core.clone();
        let recipe = Recipe::new(WORKERS.to_owned(), RestartPolicy::SUPERVISOR, move || (Workers, shared.clone()));
        children.add(recipe, &me).await?;
        let shared = core.clone();
        let recipe = Recipe::new("scheduler".to_owned(), quick, move || (Scheduler, shared.clone()));
        children.add(recipe, &me).await?;
        if let Some(links) = links {
            let recipe = Recipe::new("links".to_owned(), quick, move || (Links, links.clone()));
            children.add(recipe, &me).await?;
        }
        let beat = Beat::every(Duration::from_secs(2), myself, || RootMessage::Beat);
        Ok(RootState { core, children, beat })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RootMessage::Beat => state.beat.ask(&state.children, myself, RootMessage::Answered),
            RootMessage::Answered(answers) => {
                for name in state.children.answered(answers) {
                    tracing::error!(actor = name, "actor did not answer and was killed");
                }
            }
            RootMessage::StartAgain(name) => {
                if let Err(error) = state.children.start(&name, &myself.get_cell()).await {
                    tracing::error!(actor = name, %error, "actor could not be started");
                    state.child_ended(&myself, &name);
                }
            }
            RootMessage::Snapshot(reply) => {
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

impl RootState {
    fn child_ended(&mut self, myself: &ActorRef<RootMessage>, name: &str) {
        match self.children.ended(name, Instant::now()) {
            Ended::Ignored => {}
            Ended::Restart { name, delay } => {
                self.core.metrics.actor_restarts.with_label_values(&[&name]).inc();
                myself.send_after(delay, move || RootMessage::StartAgain(name));
            }
            Ended::GivenUp { name } => {
                // The node goes on without that part, says so, and stays reachable for its owner.
                tracing::error!(actor = name, "actor ended too often and was given up; the node is degraded");
                self.core.happened("actor", &name, "was given up");
                if name == WORKERS {
                    self.core.ports.values().for_each(|port| port.abandon());
                    self.core.table_is_old.notify_one();
                }
                self.core.degrade(&name, Some("its actor ended too often and was given up".to_owned()));
            }
        }
    }
}
