//! A call of an engine as the conventions for generative AI measure it at its client; counted once, whatever ends it.

use std::sync::Arc;
use std::time::Instant;

use base::report::Backend;
use base::{AskHead, Code, Dialect, RunSummary};

use crate::metrics::{CallEnd, Metrics, TraceId};
use crate::spans;

/// A call that has not ended; dropping it says that nobody wanted the rest.
pub struct EngineCall {
    metrics: Arc<Metrics>,
    dialect: Dialect,
    backend: Backend,
    model: String,
    is_streamed: bool,
    begun: Instant,
    first: Option<Instant>,
    trace: TraceId,
    is_ended: bool,
}

impl EngineCall {
    /// The ask is sent now. `model` is the catalogue's name.
    pub fn begin(metrics: Arc<Metrics>, head: &AskHead, backend: Backend, model: String) -> Self {
        let trace = spans::kept_trace(&head.traceparent);
        let (dialect, is_streamed, begun) = (head.dialect, head.stream, Instant::now());
        Self { metrics, dialect, backend, model, is_streamed, begun, first: None, trace, is_ended: false }
    }

    /// A piece of the answer came.
    pub fn came(&mut self) {
        if self.is_streamed && self.first.is_none() {
            self.first = Some(Instant::now());
        }
    }

    /// It ended as `outcome` says, `ok` or a code. Only the first end counts.
    pub fn ended(&mut self, outcome: &str, summary: Option<RunSummary>) {
        if self.is_ended {
            return;
        }
        self.is_ended = true;
        self.metrics.call_ended(CallEnd {
            dialect: self.dialect,
            backend: self.backend.as_str(),
            model: &self.model,
            outcome,
            total: self.begun.elapsed(),
            first_chunk: self.first.map(|first| first - self.begun),
            summary,
            trace: self.trace.take(),
        });
    }
}

impl Drop for EngineCall {
    fn drop(&mut self) {
        self.ended(Code::Cancelled.as_str(), None);
    }
}
