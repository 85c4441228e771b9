//! One run: an ask on one worker, here or on another node, with everything that must be told when it ends.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use base::{
    Answer, AnswerHead, Ask, AskId, BoxFrames, Code, Continuation, Dialect, Fault, Frames, Result, RunSummary, WorkerId,
};
use bytes::Bytes;
use net::audit::caused_by;
use routing::live::{LiveGuard, WorkerLive};

use super::explain::{Record, RunNumber};
use super::infer::Decision;
use crate::core::{Core, Seen};
use crate::failures::{FailureKind, Severity, Sighting, Subject};
use crate::spans::Span;

/// Starts the run that was decided on. Its frames count at the worker until they end or are dropped.
pub(super) async fn start(
    core: &Arc<Core>,
    record: &Arc<Record>,
    ask: &Ask,
    decision: &Decision,
    continues: Option<Continuation>,
) -> Result<Answer> {
    let chosen = &decision.chosen;
    let now = Instant::now();
    let span = core.spans.run(&ask.head, &chosen.worker);
    let ask = &*span.carried(ask);
    let mut run = Run {
        core: core.clone(),
        record: record.clone(),
        ask: ask.head.id,
        span,
        number: record.run_began(&chosen.worker, now),
        worker: chosen.worker.clone(),
        model: decision.choice.name.clone(),
        live: chosen.live().clone(),
        guard: Some(chosen.begin(now)),
        has_first: false,
        gives_context: ask.head.dialect == Dialect::OllamaGenerate,
    };
    let started = if chosen.worker.node() == core.node {
        match core.port(&chosen.worker) {
            Ok(port) => {
                let running = port.run(ask, &chosen.engine_name, &chosen.model_id, continues);
                caused_by(ask.head.id.to_string(), running).await
            }
            // Taken out of the configuration since it was chosen: another worker may have the model.
            Err(fault) => Err(Fault::new(Code::ModelNotFound, fault.message)),
        }
    } else {
        core.peers.run(core, ask, &chosen.worker, &chosen.model_id, continues).await
    };
    match started {
        Ok(answer) => {
            let head = AnswerHead {
                worker: Some(chosen.worker.clone()),
                model: decision.choice.name.to_string(),
                fallback: decision.choice.notice.clone(),
                ..answer.head
            };
            Ok(Answer { head, frames: Box::new(Running { inner: answer.frames, run }) })
        }
        Err(fault) => {
            run.failed(&fault);
            Err(fault)
        }
    }
}

/// A run that has not ended; dropping it says that nobody wants it any more.
struct Run {
    core: Arc<Core>,
    record: Arc<Record>,
    ask: AskId,
    span: Span,
    number: RunNumber,
    worker: WorkerId,
    model: Arc<str>,
    live: Arc<WorkerLive>,
    /// Gone when the run ended.
    guard: Option<LiveGuard>,
    has_first: bool,
    /// Whether the end of the answer may hold tokens that only this worker understands.
    gives_context: bool,
}

impl Run {
    fn frame(&mut self, frame: &[u8]) {
        if self.gives_context {
            self.core.contexts.note(frame, &self.worker);
        }
        if !self.has_first {
            self.has_first = true;
            self.span.first_token();
            if let Some(guard) = &mut self.guard {
                guard.first_token();
            }
            // A probe has told what it was sent for; others need not wait for its last token.
            self.live.succeeded();
        }
    }

    fn finished(&mut self, summary: Option<RunSummary>) {
        if self.guard.take().is_some() {
            let tokens = summary.and_then(|summary| summary.usage).map_or(0, |usage| usage.completion_tokens);
            self.live.succeeded();
            self.record.run_ended(self.number, "ok", tokens, Instant::now());
            self.span.finished(summary);
        }
    }

    fn failed(&mut self, fault: &Fault) {
        if self.guard.take().is_none() {
            return;
        }
        let now = Instant::now();
        self.live.failed(fault.code, now);
        self.record.run_ended(self.number, fault.code.as_str(), 0, now);
        self.span.end(fault.code.as_str());
        if let Ok(port) = self.core.port(&self.worker) {
            port.look.notify_one();
        }
        if let Some(sighting) = sighting(&self.worker, &self.model, fault) {
            tracing::warn!(ask = %self.ask, worker = %self.worker, model = &*self.model, error = ?fault, "run failed");
            self.core.tell(Seen::Wrong(sighting));
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.guard.take().is_some() {
            let now = Instant::now();
            self.live.failed(Code::Cancelled, now);
            self.record.run_ended(self.number, "cancelled", 0, now);
        }
    }
}

/// What recovery should hear of a failed run; `None` where the client is to blame, or only load.
fn sighting(worker: &WorkerId, model: &str, fault: &Fault) -> Option<Sighting> {
    let kind = match fault.code {
        Code::EngineFailed => FailureKind::ModelFailure,
        Code::EngineCut | Code::Internal => FailureKind::SystemError,
        Code::Unreachable => FailureKind::Network,
        Code::DeadlineExceeded => FailureKind::PerformanceDegradation,
        Code::StorageFull => FailureKind::ResourceExhaustion,
        _ => return None,
    };
    let subject = match kind {
        FailureKind::ModelFailure => Subject::Model { worker: worker.clone(), model: model.to_owned() },
        FailureKind::Network => Subject::Node(worker.node()),
        _ => Subject::Worker(worker.clone()),
    };
    // One failed run is handled by running elsewhere; what repeats becomes worse where failures are counted.
    Some(Sighting { subject, kind, severity: Severity::Low, detail: fault.full_message() })
}

struct Running {
    inner: BoxFrames,
    run: Run,
}

impl Drop for Running {
    /// Dropped behind its end mark, it ended well.
    fn drop(&mut self) {
        if let Some(summary) = self.inner.summary() {
            self.run.finished(Some(summary));
        }
    }
}

impl Frames for Running {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let polled = self.inner.poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.run.frame(frame),
            Poll::Ready(Some(Err(fault))) => self.run.failed(fault),
            Poll::Ready(None) => self.run.finished(self.inner.summary()),
            Poll::Pending => {}
        }
        polled
    }

    fn summary(&self) -> Option<RunSummary> {
        self.inner.summary()
    }
}
