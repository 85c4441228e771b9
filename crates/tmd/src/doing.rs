//! Work of the node that is no ask: jobs, searches and answers out of documents, tools that agents call. Each has a span,
//! whose children are the asks that come of it, and is measured.

use std::sync::Arc;
use std::time::Instant;

use api::trace::{self, ToolCall};
use base::{Code, Result};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use crate::core::Core;
use crate::metrics::TraceId;
use crate::spans::Span;

/// What is done.
#[derive(Clone, Debug)]
pub enum Doing {
    /// A job on the tasks of a project: the name of the work, and the job's id.
    Plan { work: &'static str, job: String },
    /// A research in rounds, by the id of its job.
    Rounds { job: String },
    /// An answer out of documents.
    Question,
    /// A search in documents.
    Search,
    /// A tool of MCP, by its name in the table of tools.
    Tool(&'static str),
}

/// Work that has not ended; dropping it says that nobody wanted the rest.
pub struct Done {
    core: Arc<Core>,
    doing: Doing,
    span: Span,
    trace: TraceId,
    begun: Instant,
    is_ended: bool,
}

impl Done {
    /// The work begins, as a child of `parent`.
    pub fn begin(core: Arc<Core>, doing: Doing, parent: &str) -> Self {
        let (kind, name, attributes) = told(&doing);
        let span = core.spans.work(kind, name, attributes, parent);
        Self { core, doing, trace: span.trace(), span, begun: Instant::now(), is_ended: false }
    }

    fn end(&mut self, outcome: &str) {
        if self.is_ended {
            return;
        }
        self.is_ended = true;
        self.span.end(outcome);
        let (metrics, took, trace) = (&self.core.metrics, self.begun.elapsed(), &self.trace);
        match &self.doing {
            Doing::Plan { work, .. } => metrics.job_ended(work, outcome, took, trace),
            Doing::Rounds { .. } => metrics.job_ended("research", outcome, took, trace),
            Doing::Question => metrics.looked_up("question", outcome, took, trace),
            Doing::Search => metrics.looked_up("search", outcome, took, trace),
            Doing::Tool(tool) => metrics.tool_called(tool, outcome, took, trace),
        }
    }
}

impl ToolCall for Done {
    fn traceparent(&self) -> Arc<str> {
        self.span.traceparent()
    }

    fn ended(&mut self, outcome: &str) {
        self.end(outcome);
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.end(Code::Cancelled.as_str());
    }
}

/// Does the work under the node's eyes.
pub async fn during(core: Arc<Core>, doing: Doing, work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut done = Done::begin(core, doing, &trace::parent());
    let result = trace::within(done.traceparent(), work).await;
    done.end(result.as_ref().map_or_else(|fault| fault.code.as_str(), |()| "ok"));
    result
}

/// How the conventions for generative AI and for MCP call it.
fn told(doing: &Doing) -> (SpanKind, String, Vec<KeyValue>) {
    let operation = |name: &'static str| KeyValue::new("gen_ai.operation.name", name);
    match doing {
        Doing::Plan { work, job } => (
            SpanKind::Internal,
            format!("plan {work}"),
            vec![operation("plan"), KeyValue::new("gen_ai.workflow.name", *work), KeyValue::new("tm.job", job.clone())],
        ),
        Doing::Rounds { job } => (
            SpanKind::Internal,
            "invoke_workflow research".to_owned(),
            vec![
                operation("invoke_workflow"),
                KeyValue::new("gen_ai.workflow.name", "research"),
                KeyValue::new("tm.job", job.clone()),
            ],
        ),
        Doing::Question => (
            SpanKind::Internal,
            "invoke_workflow answer".to_owned(),
            vec![operation("invoke_workflow"), KeyValue::new("gen_ai.workflow.name", "answer")],
        ),
        Doing::Search => (
            SpanKind::Internal,
            "retrieval documents".to_owned(),
            vec![operation("retrieval"), KeyValue::new("gen_ai.data_source.id", "documents")],
        ),
        Doing::Tool(tool) => (
            SpanKind::Server,
            format!("tools/call {tool}"),
            vec![
                operation("execute_tool"),
                KeyValue::new("mcp.method.name", "tools/call"),
                KeyValue::new("gen_ai.tool.name", *tool),
            ],
        ),
    }
}
