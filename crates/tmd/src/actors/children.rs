//! The children of a supervisor: started from their recipes, restarted by policy, asked whether they still live.
//!
//! A supervisor owns a [`Children`] and forwards three things to it: a child's end, its own timer for a restart, and its
//! own tick. What to do when a child is given up is the supervisor's own business.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::BoxFuture;
use ractor::{Actor, ActorCell, ActorRef, Message, RpcReplyPort, SpawnErr};
use serde_json::Value;

use super::policy::{Reaction, RestartPolicy, Restarts};

/// A child that does not answer for its snapshot within this time has missed one.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Frozen counts as dead: a child that missed this many answers in a row is killed.
const MISSES_ALLOWED: u32 = 2;

type Start = Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;
type Ask = Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// How to start a child, and start it again: from these arguments alone.
#[derive(Clone)]
pub struct Recipe {
    /// Registered under this name; unique in the process.
    pub name: String,
    policy: RestartPolicy,
    start: Start,
    ask: Ask,
}

impl Recipe {
    /// `question` is the message that asks the actor for a picture of itself; `make` gives the actor and its arguments,
    /// anew for each start.
    pub fn new<A: Actor>(
        name: String,
        policy: RestartPolicy,
        question: fn(RpcReplyPort<String>) -> A::Msg,
        make: impl Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    ) -> Self {
        let registered = name.clone();
        let start = move |supervisor: ActorCell| -> BoxFuture<'static, Result<ActorCell, SpawnErr>> {
            let (actor, arguments) = make();
            let name = registered.clone();
            Box::pin(async move {
                let (child, _) = Actor::spawn_linked(Some(name), actor, arguments, supervisor).await?;
                Ok(child.get_cell())
            })
        };
        let ask = move |cell: ActorCell| -> BoxFuture<'static, Option<String>> {
            Box::pin(snapshot_of(cell.into(), question, ANSWER_WITHIN))
        };
        Self { name, policy, start: Arc::new(start), ask: Arc::new(ask) }
    }
}

/// The picture that `actor` gives of itself; `None` when it does not answer within `within`.
pub async fn snapshot_of<M: Message>(
    actor: ActorRef<M>,
    question: fn(RpcReplyPort<String>) -> M,
    within: Duration,
) -> Option<String> {
    match actor.call(question, Some(within)).await {
        Ok(ractor::rpc::CallResult::Success(snapshot)) => Some(snapshot),
        _ => None,
    }
}

struct Child {
    recipe: Recipe,
    restarts: Restarts,
    cell: Option<ActorCell>,
    misses: u32,
    last_snapshot: Option<String>,
}

/// The children of one supervisor, by name.
#[derive(Default)]
pub struct Children {
    children: BTreeMap<String, Child>,
}

/// What became of a child's end.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Not one of ours, or ended on purpose.
    Ignored,
    /// It comes back: the supervisor sends itself a message after `delay` that calls [`Children::start`].
    Restart { name: String, delay: Duration },
    /// It ended too often and was given up.
    GivenUp { name: String },
}

impl Children {
    /// Adds a child and starts it; one that is here already goes on.
    pub async fn add(&mut self, recipe: Recipe, supervisor: &ActorCell) -> Result<(), SpawnErr> {
        if self.has(&recipe.name) {
            return Ok(());
        }
        let name = recipe.name.clone();
        let restarts = Restarts::new(recipe.policy);
        let child = Child { recipe, restarts, cell: None, misses: 0, last_snapshot: None };
        self.children.insert(name.clone(), child);
        self.start(&name, supervisor).await
    }

    /// Whether there is a child of that name.
    pub fn has(&self, name: &str) -> bool {
        self.children.contains_key(name)
    }

    /// Ends a child for good: it is none of ours any more.
    pub fn remove(&mut self, name: &str) {
        if let Some(cell) = self.children.remove(name).and_then(|child| child.cell) {
            cell.stop(Some("it is not wanted any more".to_owned()));
        }
    }

    /// Starts the child of that name again; nothing happens when it runs or is not ours.
    pub async fn start(&mut self, name: &str, supervisor: &ActorCell) -> Result<(), SpawnErr> {
        let Some(child) = self.children.get_mut(name).filter(|child| child.cell.is_none()) else { return Ok(()) };
        child.cell = Some((child.recipe.start)(supervisor.clone()).await?);
        child.misses = 0;
        Ok(())
    }

    /// A linked actor ended, or did not start.
    pub fn ended(&mut self, name: &str, now: Instant) -> Ended {
        let Some(child) = self.children.get_mut(name) else { return Ended::Ignored };
        child.cell = None;
        child.last_snapshot = None;
        let name = name.to_owned();
        match child.restarts.ended(now, fastrand::f64()) {
            Reaction::Restart(delay) => Ended::Restart { name, delay },
            Reaction::Escalate => {
                self.children.remove(&name);
                Ended::GivenUp { name }
            }
        }
    }

    /// Asks every child for its snapshot. The future does the waiting; its outcome goes to [`Children::answered`].
    pub fn ask_all(&self) -> impl Future<Output = Vec<(String, Option<String>)>> + Send + 'static {
        let asks = self.children.iter().filter_map(|(name, child)| {
            let cell = child.cell.clone()?;
            let (name, ask) = (name.clone(), child.recipe.ask.clone());
            Some(async move { (name, ask(cell).await) })
        });
        futures_util::future::join_all(asks.collect::<Vec<_>>())
    }

    /// Takes the answers of [`Children::ask_all`]; kills whoever missed too many, and names them.
    pub fn answered(&mut self, answers: Vec<(String, Option<String>)>) -> Vec<String> {
        let mut killed = Vec::new();
        for (name, answer) in answers {
            let Some(child) = self.children.get_mut(&name) else { continue };
            match answer {
                Some(snapshot) => {
                    child.misses = 0;
                    child.last_snapshot = Some(snapshot);
                }
                None => child.misses += 1,
            }
            if child.misses >= MISSES_ALLOWED {
                if let Some(cell) = &child.cell {
                    cell.kill();
                }
                killed.push(name);
            }
        }
        killed
    }

    /// The children as pictures.
    pub fn pictures(&self) -> Vec<ChildPicture> {
        let picture = |(name, child): (&String, &Child)| ChildPicture {
            name: name.clone(),
            state: match (&child.cell, child.misses) {
                (None, _) => "restarting",
                (Some(_), 0) => "running",
                (Some(_), _) => "silent",
            },
            restarts: child.restarts.total,
            snapshot: child.last_snapshot.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        };
        self.children.iter().map(picture).collect()
    }
}

/// A child as `tmctl actors` shows it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ChildPicture {
    /// Its registered name.
    pub name: String,
    /// running, silent, restarting.
    pub state: &'static str,
    /// Restarts so far.
    pub restarts: u32,
    /// What it said of itself last.
    pub snapshot: Option<Value>,
}
