//! The supervision tree: `root` over `membership`, `workers`, `scheduler`, `jobs`, `indexer`, `recovery` and `links`; `workers` over `worker/NAME`.
//!
//! Actors decide when; what is decided is in pure functions elsewhere. Bytes of asks never pass a mailbox.

pub mod children;
pub mod indexer;
pub mod jobs;
pub mod links;
pub mod membership;
pub mod policy;
pub mod recovery;
pub mod root;
pub mod scheduler;
pub mod supervisor;
pub mod worker;
pub mod workers;

use std::future::Future;
use std::time::Duration;

use ractor::{ActorCell, ActorRef, Message, SupervisionEvent};
use tokio::task::JoinSet;

use children::Children;

/// The regular question of a supervisor to its children: one round at a time, ended with the supervisor.
pub(crate) struct Beat(JoinSet<()>);

impl Beat {
    /// Sends `message` to `actor` every `period`.
    pub fn every<M: Message>(period: Duration, actor: ActorRef<M>, message: impl Fn() -> M + Send + 'static) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while actor.cast(message()).is_ok() {
                tokio::time::sleep(period).await;
            }
        });
        Self(tasks)
    }

    /// Asks every child, off the mailbox; the answers come back as a message.
    pub fn ask<M: Message>(
        &mut self,
        children: &Children,
        actor: ActorRef<M>,
        answered: impl FnOnce(Vec<(String, Option<String>)>) -> M + Send + 'static,
    ) {
        while self.0.try_join_next().is_some() {}
        let asks = children.ask_all();
        self.0.spawn(async move {
            let answers = asks.await;
            // The supervisor is gone only when this task is, too.
            let _ = actor.cast(answered(answers));
        });
    }
}

/// The name of a child that ended, and why; `None` for other events.
pub(crate) fn name_of_ended(event: &SupervisionEvent) -> Option<(String, String)> {
    let named = |cell: &ActorCell| cell.get_name();
    match event {
        SupervisionEvent::ActorTerminated(cell, _, reason) => {
            Some((named(cell)?, reason.clone().unwrap_or_else(|| "ended".to_owned())))
        }
        SupervisionEvent::ActorFailed(cell, error) => Some((named(cell)?, error.to_string())),
        _ => None,
    }
}

/// Tasks of an actor that must not end: the first one that does ends the actor, and its supervisor starts it again.
pub(crate) struct Loops(JoinSet<&'static str>);

impl Loops {
    /// No task yet.
    pub fn new() -> Self {
        Self(JoinSet::new())
    }

    /// Runs a task under a name.
    pub fn run(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            task.await;
            name
        });
    }

    /// Runs one that ends by itself only when the node or the actor stops: no fault of the actor, whose own end aborts it.
    pub fn serve(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.run(name, async move {
            task.await;
            std::future::pending::<()>().await;
        });
    }

    /// Reports to `actor` when a task ended or panicked.
    pub fn watch<M: Message>(
        self,
        actor: ActorRef<M>,
        ended: impl FnOnce(String) -> M + Send + 'static,
    ) -> JoinSet<()> {
        let mut watcher = JoinSet::new();
        let mut tasks = self.0;
        watcher.spawn(async move {
            let why = match tasks.join_next().await {
                Some(Ok(name)) => format!("its loop `{name}` ended"),
                Some(Err(error)) => format!("one of its loops ended: {error}"),
                None => "it has no loop".to_owned(),
            };
            let _ = actor.cast(ended(why));
            // Held until the actor ends, which aborts the others.
            std::future::pending::<()>().await;
        });
        watcher
    }
}
