//! Every metric of the node, declared in two lists: here what is moved where things happen, in `metrics/gauges.rs` what is
//! read when somebody scrapes.
//!
//! Labels come from closed sets and from the catalogue, never from what a client wrote, and [`series`] bounds them besides.
//! The names that begin with `gen_ai_` and their bounds are those of OpenTelemetry's conventions for generative AI.
//! `deploy/observability/README.md` tells of each one.

mod gauges;
mod series;

use std::time::Duration;

use api::MetricsFormat;
use base::{Dialect, RunSummary};
use inference::resume::Outcome;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

pub use gauges::Gauges;
use series::{Counters, Histograms, counters, histograms};

/// Bounds of `gen_ai.server.time_to_first_token`, by convention, in seconds.
const FIRST_TOKEN_BOUNDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Bounds of `gen_ai.server.request.duration` and `gen_ai.client.operation.duration`, by convention, in seconds.
const DURATION_BOUNDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Bounds of `gen_ai.server.time_per_output_token` and `gen_ai.client.operation.time_per_output_chunk`, in seconds.
const PER_TOKEN_BOUNDS: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// Bounds of `gen_ai.client.token.usage`, by convention, in tokens.
const TOKEN_BOUNDS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0,
    67108864.0,
];
/// Bounds of `mcp.server.operation.duration`, by convention, in seconds.
const TOOL_BOUNDS: &[f64] = &[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Choosing a worker takes microseconds.
const ROUTE_BOUNDS: &[f64] = &[0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.1];
/// A model comes into memory in a second, or in minutes.
const LOAD_BOUNDS: &[f64] = &[0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0];
/// What clients see as one provider, whichever engine answers.
pub const PROVIDER: &str = "taskmaster";
/// Stands where no model was come by.
const NO_MODEL: &str = "none";

/// The trace that an observation belongs to, in hexadecimal; `None` where it is not kept.
pub type TraceId = Option<String>;

/// The node's metrics.
pub struct Metrics {
    registry: Registry,
    asks: Counters<3>,
    ask_seconds: Histograms<1>,
    first_token_seconds: Histograms<0>,
    tokens: Counters<1>,
    resumes: Counters<1>,
    retries: Counters<0>,
    refused: Counters<1>,
    cache: Counters<1>,
    actor_restarts: Counters<1>,
    engine_restarts: Counters<1>,
    stale_writes: Counters<0>,
    deliveries: Counters<1>,
    routes: Counters<2>,
    route_seconds: Histograms<0>,
    queue_seconds: Histograms<1>,
    load_seconds: Histograms<1>,
    job_seconds: Histograms<2>,
    research_seconds: Histograms<2>,
    tool_duration: Histograms<3>,
    server_duration: Histograms<4>,
    server_first_token: Histograms<3>,
    server_per_token: Histograms<3>,
    client_duration: Histograms<4>,
    client_tokens: Histograms<4>,
    client_first_chunk: Histograms<3>,
    client_per_chunk: Histograms<3>,
}

/// An ask of a client that ended.
pub struct AskEnd<'a> {
    /// The door that it came in by.
    pub face: &'a str,
    /// Its form.
    pub dialect: Dialect,
    /// The catalogue's name of the model that answered, where one did.
    pub model: Option<&'a str>,
    /// `ok`, or a code.
    pub outcome: &'a str,
    /// From the door to the last byte.
    pub total: Duration,
    /// From the door to the first byte, for answers that came in pieces.
    pub first_token: Option<Duration>,
    /// What its run came to.
    pub summary: Option<RunSummary>,
    /// Its trace.
    pub trace: TraceId,
}

/// A call of an engine that ended.
pub struct CallEnd<'a> {
    /// The ask's form.
    pub dialect: Dialect,
    /// The kind of engine.
    pub backend: &'a str,
    /// The catalogue's name of its model.
    pub model: &'a str,
    /// `ok`, or a code.
    pub outcome: &'a str,
    /// From sending to the end.
    pub total: Duration,
    /// From sending to the first piece, for answers that came in pieces.
    pub first_chunk: Option<Duration>,
    /// What it came to.
    pub summary: Option<RunSummary>,
    /// Its trace.
    pub trace: TraceId,
}

impl Metrics {
    /// All of them, at zero.
    pub fn new() -> Self {
        const CALL: [&str; 3] = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"];
        const CALL_END: [&str; 4] = [CALL[0], CALL[1], CALL[2], "error_type"];
        const CALL_TOKENS: [&str; 4] = [CALL[0], CALL[1], CALL[2], "gen_ai_token_type"];
        let mut registry = Registry::default();
        let on = &mut registry;
        let metrics = Self {
            asks: counters(on, "tm_asks_total", "Asks that ended", ["face", "model", "outcome"]),
            ask_seconds: histograms(on, "tm_ask_seconds", "From the door to the last byte", ["face"], DURATION_BOUNDS),
            first_token_seconds: histograms(
                on,
                "tm_first_token_seconds",
                "From the door to the first byte of the answer",
                [],
                FIRST_TOKEN_BOUNDS,
            ),
            tokens: counters(on, "tm_tokens_total", "Tokens of prompts and answers", ["kind"]),
            resumes: counters(on, "tm_resumes_total", "Broken streams and what became of them", ["outcome"]),
            retries: counters(on, "tm_retries_total", "Runs started again elsewhere before the first byte", []),
            refused: counters(on, "tm_refused_total", "Asks that were turned away", ["reason"]),
            cache: counters(on, "tm_cache_asks_total", "Deterministic asks, by what the cache had", ["result"]),
            actor_restarts: counters(on, "tm_actor_restarts_total", "Actors started again", ["actor"]),
            engine_restarts: counters(on, "tm_engine_restarts_total", "Engine processes started again", ["worker"]),
            stale_writes: counters(
                on,
                "tm_stale_writes_refused_total",
                "Writes refused because their epoch was over",
                [],
            ),
            deliveries: counters(on, "tm_deliveries_total", "Deliveries of GitHub's webhook", ["outcome"]),
            routes: counters(on, "tm_routes_total", "Runs by the worker that they were given to", ["worker", "memory"]),
            route_seconds: histograms(on, "tm_route_seconds", "What choosing model and worker took", [], ROUTE_BOUNDS),
            queue_seconds: histograms(
                on,
                "tm_queue_seconds",
                "Waits for a slot of this node's workers",
                ["worker"],
                DURATION_BOUNDS,
            ),
            load_seconds: histograms(
                on,
                "tm_model_load_seconds",
                "What bringing a model into memory took",
                ["worker"],
                LOAD_BOUNDS,
            ),
            job_seconds: histograms(
                on,
                "tm_job_seconds",
                "Jobs that this node worked on until it let go of them",
                ["kind", "outcome"],
                DURATION_BOUNDS,
            ),
            research_seconds: histograms(
                on,
                "tm_research_seconds",
                "Searches in documents and answers out of them",
                ["what", "outcome"],
                DURATION_BOUNDS,
            ),
            tool_duration: histograms(
                on,
                "mcp_server_operation_duration_seconds",
                "Calls of tools by agents",
                ["mcp_method_name", "gen_ai_tool_name", "error_type"],
                TOOL_BOUNDS,
            ),
            server_duration: histograms(
                on,
                "gen_ai_server_request_duration_seconds",
                "What clients waited for whole answers",
                CALL_END,
                DURATION_BOUNDS,
            ),
            server_first_token: histograms(
                on,
                "gen_ai_server_time_to_first_token_seconds",
                "What clients waited for the first token of streams",
                CALL,
                FIRST_TOKEN_BOUNDS,
            ),
            server_per_token: histograms(
                on,
                "gen_ai_server_time_per_output_token_seconds",
                "Between two tokens of streams, behind the first",
                CALL,
                PER_TOKEN_BOUNDS,
            ),
            client_duration: histograms(
                on,
                "gen_ai_client_operation_duration_seconds",
                "Calls of this node's engines",
                CALL_END,
                DURATION_BOUNDS,
            ),
            client_tokens: histograms(
                on,
                "gen_ai_client_token_usage",
                "Tokens of calls of this node's engines",
                CALL_TOKENS,
                TOKEN_BOUNDS,
            ),
            client_first_chunk: histograms(
                on,
                "gen_ai_client_operation_time_to_first_chunk_seconds",
                "First pieces of streams of this node's engines",
                CALL,
                FIRST_TOKEN_BOUNDS,
            ),
            client_per_chunk: histograms(
                on,
                "gen_ai_client_operation_time_per_output_chunk_seconds",
                "Between two tokens of streams of this node's engines",
                CALL,
                PER_TOKEN_BOUNDS,
            ),
            registry,
        };
        // From 0 on, a first time shows as a rise.
        Outcome::ALL.iter().for_each(|outcome| metrics.resumes.inc_by([outcome.as_str()], 0));
        metrics
    }

    /// What Prometheus scrapes: these, and what was read of the node just now.
    pub fn text(&self, now: &Gauges, format: MetricsFormat) -> String {
        let mut out = String::new();
        let written = match format {
            MetricsFormat::Text => prometheus_text::encode(&mut out, &self.registry)
                .and_then(|()| prometheus_text::encode(&mut out, &now.registry)),
            MetricsFormat::OpenMetrics => {
                text::encode_registry(&mut out, &self.registry).and_then(|()| text::encode(&mut out, &now.registry))
            }
        };
        if let Err(error) = written {
            tracing::error!(%error, "could not write the metrics");
        }
        out
    }

    /// An ask of a client ended.
    pub fn ask_ended(&self, end: AskEnd<'_>) {
        let AskEnd { face, dialect, outcome, total, summary, trace, .. } = end;
        let model = end.model.unwrap_or(NO_MODEL);
        self.asks.inc([face, model, outcome]);
        self.ask_seconds.observe([face], total, &trace);
        let operation = dialect.operation();
        self.server_duration.observe([operation, PROVIDER, model, error_type(outcome)], total, &trace);
        let Some(first) = end.first_token.filter(|_| dialect.is_generation()) else { return };
        self.server_first_token.observe([operation, PROVIDER, model], first, &trace);
        if let Some(pace) = per_token(total, first, summary) {
            self.server_per_token.observe([operation, PROVIDER, model], pace, &trace);
        }
    }

    /// The first byte of an answer is there.
    pub fn first_token(&self, after: Duration, trace: &TraceId) {
        self.first_token_seconds.observe([], after, trace);
    }

    /// An answer's tokens are known.
    pub fn tokens(&self, summary: RunSummary) {
        let Some(usage) = summary.usage else { return };
        self.tokens.inc_by(["prompt"], usage.prompt_tokens.into());
        self.tokens.inc_by(["completion"], usage.completion_tokens.into());
        self.tokens.inc_by(["cached"], usage.cached_tokens.into());
    }

    /// A call of an engine ended.
    pub fn call_ended(&self, end: CallEnd<'_>) {
        let CallEnd { dialect, backend, model, outcome, total, first_chunk, summary, trace } = end;
        let operation = dialect.operation();
        self.client_duration.observe([operation, backend, model, error_type(outcome)], total, &trace);
        if let Some(usage) = summary.and_then(|summary| summary.usage) {
            for (kind, count) in [("input", usage.prompt_tokens), ("output", usage.completion_tokens)] {
                self.client_tokens.observe_value([operation, backend, model, kind], f64::from(count), &trace);
            }
        }
        let Some(first) = first_chunk.filter(|_| dialect.is_generation()) else { return };
        self.client_first_chunk.observe([operation, backend, model], first, &trace);
        if let Some(pace) = per_token(total, first, summary) {
            self.client_per_chunk.observe([operation, backend, model], pace, &trace);
        }
    }

    /// This node has that worker: what may be counted of it begins at 0, so that a first time shows as a rise.
    pub fn has_worker(&self, worker: &str) {
        self.engine_restarts.inc_by([worker], 0);
    }

    /// A broken stream, by what became of it.
    pub fn resumed(&self, outcome: &str) {
        self.resumes.inc([outcome]);
    }

    /// A run was started again elsewhere before its first byte.
    pub fn retried(&self) {
        self.retries.inc([]);
    }

    /// An ask was turned away.
    pub fn refused(&self, code: base::Code) {
        self.refused.inc([code.as_str()]);
    }

    /// A deterministic ask, by what the cache had for it (`hit`, `miss`, `joined`, `reattached`).
    pub fn cached(&self, result: &str) {
        self.cache.inc([result]);
    }

    /// An actor was started again.
    pub fn actor_restarted(&self, actor: &str) {
        self.actor_restarts.inc([actor]);
    }

    /// The engine's process of a worker was started again.
    pub fn engine_restarted(&self, worker: &str) {
        self.engine_restarts.inc([worker]);
    }

    /// A write with an epoch of the past was refused.
    pub fn stale_write_refused(&self) {
        self.stale_writes.inc([]);
    }

    /// GitHub's webhook delivered (`changed`, `unchanged`, `ignored`, `ping` or a code).
    pub fn delivered(&self, outcome: &str) {
        self.deliveries.inc([outcome]);
    }

    /// A worker was chosen, within this time.
    pub fn routed(&self, worker: &str, is_loaded: bool, took: Duration) {
        self.routes.inc([worker, if is_loaded { "loaded" } else { "to-load" }]);
        self.route_seconds.observe([], took, &None);
    }

    /// An ask got its slot at a worker of this node.
    pub fn queued(&self, worker: &str, waited: Duration, trace: &TraceId) {
        self.queue_seconds.observe([worker], waited, trace);
    }

    /// A model came into memory.
    pub fn loaded(&self, worker: &str, took: Duration) {
        self.load_seconds.observe([worker], took, &None);
    }

    /// A search in documents or an answer out of them ended.
    pub fn looked_up(&self, what: &str, outcome: &str, took: Duration, trace: &TraceId) {
        self.research_seconds.observe([what, outcome], took, trace);
    }

    /// A call of a tool ended.
    pub fn tool_called(&self, tool: &str, outcome: &str, took: Duration, trace: &TraceId) {
        self.tool_duration.observe(["tools/call", tool, error_type(outcome)], took, trace);
    }

    /// This node's work on a job ended.
    pub fn job_ended(&self, kind: &str, outcome: &str, took: Duration, trace: &TraceId) {
        self.job_seconds.observe([kind, outcome], took, trace);
    }
}

/// As the conventions have it: no error is no label, which Prometheus writes as an empty one.
fn error_type(outcome: &str) -> &str {
    if outcome == "ok" { "" } else { outcome }
}

/// The pace of a stream behind its first token; unknown where tokens were not counted, or were too few.
fn per_token(total: Duration, first: Duration, summary: Option<RunSummary>) -> Option<Duration> {
    let tokens = summary.and_then(|summary| summary.usage)?.completion_tokens;
    (tokens > 1).then(|| total.saturating_sub(first) / (tokens - 1))
}

#[cfg(test)]
mod tests;
