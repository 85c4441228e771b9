//! Where a broken stream goes on: another worker with the same model, never the ones that failed it.

use std::sync::{Arc, Mutex, PoisonError};

use base::{Answer, Ask, BoxFuture, Continuation, Fault, ModelId, Result, WorkerId};
use inference::resume::{Outcome, Rerun};

use super::explain::Record;
use super::infer::decide;
use super::run::start;
use crate::core::Core;

/// Runs an ask again for [`inference::resume::Resuming`].
pub(super) struct Again {
    core: Arc<Core>,
    record: Arc<Record>,
    ask: Ask,
    /// Only the same model may go on with its text.
    model_id: ModelId,
    workers: Arc<Mutex<Workers>>,
}

struct Workers {
    failed: Vec<WorkerId>,
    current: Option<WorkerId>,
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
        Self { core, record, ask, model_id, workers: Arc::new(Mutex::new(Workers { failed, current })) }
    }
}

impl Rerun for Again {
    fn rerun(&mut self, continuation: Option<Continuation>, why: &Fault) -> BoxFuture<'static, Result<Answer>> {
        let (core, record, ask) = (self.core.clone(), self.record.clone(), self.ask.clone());
        let (model_id, workers, why) = (self.model_id.clone(), self.workers.clone(), why.clone());
        Box::pin(async move {
            let failed = {
                let mut workers = workers.lock().unwrap_or_else(PoisonError::into_inner);
                let current = workers.current.take();
                workers.failed.extend(current);
                workers.failed.clone()
            };
            // Text that was begun belongs to one identity; an answer without a byte may begin on any.
            let requires = continuation.as_ref().map(|_| &model_id);
            let decision = decide(&core, &ask.head, &record, &failed, requires)
                .map_err(|nobody| why.hint(format!("nobody else could go on: {}", nobody.message)))?;
            workers.lock().unwrap_or_else(PoisonError::into_inner).current = Some(decision.chosen.worker.clone());
            tracing::info!(ask = %ask.head.id, worker = %decision.chosen.worker, "stream goes on elsewhere");
            start(&core, &record, &ask, &decision, continuation).await
        })
    }

    fn note(&mut self, outcome: Outcome) {
        self.core.metrics.resumes.with_label_values(&[outcome.as_str()]).inc();
    }
}
