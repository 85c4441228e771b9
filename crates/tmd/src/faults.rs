//! Only with the feature `faults`: panics, ends or hangs a named actor. Release builds do not have it.

use base::{Code, Fault, Result};
use ractor::{ActorRef, Message};

use crate::actors::indexer::IndexerMessage;
use crate::actors::jobs::JobsMessage;
use crate::actors::links::LinksMessage;
use crate::actors::membership::MembershipMessage;
use crate::actors::recovery::RecoveryMessage;
use crate::actors::scheduler::SchedulerMessage;
use crate::actors::supervisor::SupervisorMessage;
use crate::actors::worker::WorkerMessage;

/// Panics the actor `actor`, or (with `kill`) ends a supervisor, or (with `hang`) lets one never answer again.
pub fn inject(actor: &str, action: &str) -> Result<()> {
    match (action, actor) {
        ("panic", "indexer") => tell(actor, IndexerMessage::Panic),
        ("panic", "jobs") => tell(actor, JobsMessage::Panic),
        ("panic", "links") => tell(actor, LinksMessage::Panic),
        ("panic", "membership") => tell(actor, MembershipMessage::Panic),
        ("panic", "scheduler") => tell(actor, SchedulerMessage::Panic),
        ("panic", "recovery") => tell(actor, RecoveryMessage::Panic),
        ("panic", worker) if worker.starts_with("worker/") => tell(actor, WorkerMessage::Panic),
        ("hang", "root" | "workers") => tell(actor, SupervisorMessage::Hang),
        ("kill", _) => match ractor::registry::where_is(actor) {
            Some(cell) => {
                cell.kill();
                Ok(())
            }
            None => Err(unknown(actor)),
        },
        _ => Err(Fault::invalid(format!("`{action}` of `{actor}` is no fault that can be injected")).hint(
            "actions are panic (indexer, jobs, links, membership, scheduler, recovery, worker/NAME), hang (root, workers) and kill \
             (any actor)",
        )),
    }
}

/// What an injected panic does.
#[expect(clippy::panic, reason = "the point of an injected panic")]
pub fn panic_now() {
    panic!("injected");
}

fn tell<M: Message>(actor: &str, message: M) -> Result<()> {
    let found = ActorRef::<M>::where_is(actor).ok_or_else(|| unknown(actor))?;
    found.cast(message).map_err(|error| Fault::internal(format!("could not tell actor `{actor}`")).because(error))
}

fn unknown(actor: &str) -> Fault {
    Fault::new(Code::NotFound, format!("there is no actor `{actor}`")).hint("`tmctl actors` lists them")
}
