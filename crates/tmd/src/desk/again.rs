//! Where a broken stream goes on: another worker with the same model, or one that died and is back. While there is none,
//! it waits: an engine that is started again is there within seconds, and the client sees signs of life meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::{Answer, Ask, BoxFuture, Code, Continuation, Fault, ModelId, Result, WorkerId};
use inference::resume::{Outcome, Rerun};
use routing::table::Ownership;

use super::explain::Record;
use super::infer::decide;
use super::run::start;
use crate::core::Core;

/// How long an answer waits, in all, for workers that are away: a restart takes three seconds, and a small model loads
/// in the rest.
const AWAY: Duration = Duration::from_secs(10);
/// A worker that died is known to be away by then; who is there still is there in vain.
const NOTICED: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Runs an ask again for [`inference::resume::Resuming`].
pub(super) struct Again {
    core: Arc<Core>,
    record: Arc<Record>,
    ask: Ask,
    /// Only the same model may go on with its text.
    model_id: ModelId,
    tried: Arc<Mutex<Tried>>,
}

struct Tried {
    /// Left out, each until it was seen to be away: who comes back from there is new.
    failed: Vec<WorkerId>,
    current: Option<WorkerId>,
    waits_since: Option<Instant>,
}

impl Again {
    /// Goes on where `current` fails; `failed` did already.
    pub fn new(
        core: Arc<Core>,
        record: Arc<Record>,
        ask: Ask,
        model_id: ModelId,
        failed: Vec<WorkerId>,
        current: Option<WorkerId>,
    ) -> Self {
        let tried = Tried { failed, current, waits_since: None };
        Self { core, record, ask, model_id, tried: Arc::new(Mutex::new(tried)) }
    }
}

impl Rerun for Again {
    fn rerun(&mut self, continuation: Option<Continuation>, why: &Fault) -> BoxFuture<'static, Result<Answer>> {
        let (core, record, ask) = (self.core.clone(), self.record.clone(), self.ask.clone());
        let (model_id, tried, why) = (self.model_id.clone(), self.tried.clone(), why.clone());
        Box::pin(async move {
            {
                let mut tried = locked(&tried);
                let current = tried.current.take();
                tried.failed.extend(current);
            }
            // Text that was begun belongs to one identity; an answer without a byte may begin on any.
            let requires = continuation.as_ref().map(|_| &model_id);
            let mut cannot = None;
            loop {
                let failed = locked(&tried).failed.clone();
                let decision = match decide(&core, &ask.head, &record, &failed, requires) {
                    Ok(decision) => decision,
                    Err(nobody) => match chance(&core, &model_id, &tried, &why, &nobody) {
                        Chance::Now => continue,
                        Chance::Later => {
                            tokio::time::sleep(LOOK).await;
                            continue;
                        }
                        Chance::None => {
                            let reason = cannot.unwrap_or(nobody).message;
                            return Err(why.hint(format!("nobody else could go on: {reason}")));
                        }
                    },
                };
                let worker = decision.chosen.worker.clone();
                locked(&tried).current = Some(worker.clone());
                tracing::info!(ask = %ask.head.id, %worker, "stream goes on elsewhere");
                match start(&core, &record, &ask, &decision, continuation.clone()).await {
                    // Some engines can only begin. That is no reason not to ask the next one.
                    Err(fault) if continuation.is_some() && fault.code == Code::NotSupported => {
                        let mut tried = locked(&tried);
                        let current = tried.current.take();
                        tried.failed.extend(current);
                        cannot = Some(fault);
                    }
                    answer => return answer,
                }
            }
        })
    }

    fn note(&mut self, outcome: Outcome) {
        self.core.metrics.resumed(outcome.as_str());
    }
}

/// Whether it is worth to look again for a worker.
enum Chance {
    Now,
    Later,
    None,
}

/// Looks for workers with the model that may yet go on; forgets the failures of those that went away, or whose process
/// was cut off and is another one for the next ask.
fn chance(core: &Core, model_id: &ModelId, tried: &Mutex<Tried>, why: &Fault, nobody: &Fault) -> Chance {
    let table = core.table.load();
    let is_gone = |how: Ownership| match how {
        Ownership::There => false,
        Ownership::Renewed => why.code == Code::EngineCut,
        Ownership::Away => true,
    };
    let gone: Vec<&WorkerId> = table.owners(model_id).filter(|(_, how)| is_gone(*how)).map(|(id, _)| id).collect();
    let mut tried = locked(tried);
    let before = tried.failed.len();
    tried.failed.retain(|failed| !gone.contains(&failed));
    let waited = tried.waits_since.get_or_insert_with(Instant::now).elapsed();
    match () {
        () if !nobody.code.is_retriable() => Chance::None,
        () if waited >= if gone.is_empty() { NOTICED } else { AWAY } => Chance::None,
        () if tried.failed.len() < before => Chance::Now,
        () => Chance::Later,
    }
}

/// A list is whole after every step, whatever became of who held it.
fn locked(tried: &Mutex<Tried>) -> MutexGuard<'_, Tried> {
    tried.lock().unwrap_or_else(PoisonError::into_inner)
}
