//! Every metric of the node, declared in one list. Labels come from closed sets only: faces, catalogue models, codes.
//!
//! Counters and histograms are moved where things happen; gauges are set when somebody scrapes.

use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

/// Bounds of `gen_ai.server.time_to_first_token`, by convention, in seconds.
const FIRST_TOKEN_BOUNDS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Bounds of `gen_ai.server.request.duration`, by convention, in seconds.
const DURATION_BOUNDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// The node's metrics.
pub struct Metrics {
    registry: Registry,
    /// Asks that ended, by face, model and outcome (`ok` or a code).
    pub asks: IntCounterVec,
    /// From the door to the last byte.
    pub ask_seconds: HistogramVec,
    /// From the door to the first byte of the answer.
    pub first_token_seconds: Histogram,
    /// Tokens, by kind (`prompt`, `completion`, `cached`).
    pub tokens: IntCounterVec,
    /// Broken streams, by what became of them.
    pub resumes: IntCounterVec,
    /// Runs that were started again elsewhere before the first byte.
    pub retries: IntCounter,
    /// Asks that were turned away, by code.
    pub refused: IntCounterVec,
    /// Answers out of the cache, by result (`hit`, `miss`, `joined`).
    pub cache: IntCounterVec,
    /// Actors started again, by actor.
    pub actor_restarts: IntCounterVec,
    /// Engine processes started again, by worker.
    pub engine_restarts: IntCounterVec,
    /// Writes with an epoch of the past that were refused.
    pub stale_writes: IntCounter,
    /// Asks that wait at this node's workers.
    pub queue_asks: IntGauge,
    /// Asks without a stream whose client left and may come back.
    pub parked_asks: IntGauge,
    /// 1 for the state that a worker is in.
    pub worker_state: GaugeVec,
    /// 1 for each model in memory.
    pub model_resident: GaugeVec,
    /// 1 for the state that a node is in, as this node sees it.
    pub node_state: GaugeVec,
    /// Epoch of the leadership that this node knows.
    pub epoch: IntGauge,
    /// Age of the view when the store does not answer, else 0.
    pub view_stale_seconds: GaugeVec,
    /// Memory of this node's GPUs, by GPU and kind (`total`, `used`).
    pub gpu_memory_bytes: GaugeVec,
    /// Outgoing connections, by verdict.
    pub egress: GaugeVec,
    /// Deliveries of GitHub's webhook, by outcome (`changed`, `unchanged`, `ignored`, `ping` or a code).
    pub deliveries: IntCounterVec,
}

impl Metrics {
    /// All of them, at zero.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let on = &registry;
        Ok(Self {
            asks: counters(on, "tm_asks_total", "Asks that ended.", &["face", "model", "outcome"])?,
            ask_seconds: histograms(
                on,
                "tm_ask_seconds",
                "From the door to the last byte.",
                &["face"],
                &DURATION_BOUNDS,
            )?,
            first_token_seconds: histogram(
                on,
                "tm_first_token_seconds",
                "From the door to the first byte of the answer.",
                &FIRST_TOKEN_BOUNDS,
            )?,
            tokens: counters(on, "tm_tokens_total", "Tokens of prompts and answers.", &["kind"])?,
            resumes: counters(on, "tm_resumes_total", "Broken streams and what became of them.", &["outcome"])?,
            retries: counter(on, "tm_retries_total", "Runs started again elsewhere before the first byte.")?,
            refused: counters(on, "tm_refused_total", "Asks that were turned away.", &["reason"])?,
            cache: counters(on, "tm_cache_asks_total", "Deterministic asks, by what the cache had.", &["result"])?,
            actor_restarts: counters(on, "tm_actor_restarts_total", "Actors started again.", &["actor"])?,
            engine_restarts: counters(on, "tm_engine_restarts_total", "Engine processes started again.", &["worker"])?,
            stale_writes: counter(on, "tm_stale_writes_refused_total", "Writes refused because their epoch was over.")?,
            queue_asks: gauge(on, "tm_queue_asks", "Asks that wait at this node's workers.")?,
            parked_asks: gauge(on, "tm_parked_asks", "Asks whose client left and may come back.")?,
            worker_state: gauges(on, "tm_worker_state", "1 for the state that a worker is in.", &["worker", "state"])?,
            model_resident: gauges(on, "tm_model_resident", "1 for each model in memory.", &["worker", "model"])?,
            node_state: gauges(on, "tm_node_state", "1 for the state that a node is in.", &["node", "state"])?,
            epoch: gauge(on, "tm_epoch", "Epoch of the leadership that this node knows.")?,
            view_stale_seconds: gauges(on, "tm_view_stale_seconds", "Age of the view while the store is away.", &[])?,
            gpu_memory_bytes: gauges(on, "tm_gpu_memory_bytes", "Memory of this node's GPUs.", &["gpu", "kind"])?,
            egress: gauges(on, "tm_egress_total", "Outgoing connections, by verdict.", &["verdict"])?,
            deliveries: counters(on, "tm_deliveries_total", "Deliveries of GitHub's webhook.", &["outcome"])?,
            registry,
        })
    }

    /// The text that Prometheus scrapes.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "could not write the metrics");
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// An ask ended.
    pub fn ask_ended(&self, face: &str, model: &str, outcome: &str, total: Duration) {
        self.asks.with_label_values(&[face, model, outcome]).inc();
        self.ask_seconds.with_label_values(&[face]).observe(total.as_secs_f64());
    }
}

fn counters(on: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    on.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn counter(on: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::new(name, help)?;
    on.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn gauges(on: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
    let gauges = GaugeVec::new(Opts::new(name, help), labels)?;
    on.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

fn gauge(on: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::new(name, help)?;
    on.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn histograms(
    on: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    bounds: &[f64],
) -> prometheus::Result<HistogramVec> {
    let histograms = HistogramVec::new(HistogramOpts::new(name, help).buckets(bounds.to_vec()), labels)?;
    on.register(Box::new(histograms.clone()))?;
    Ok(histograms)
}

fn histogram(on: &Registry, name: &str, help: &str, bounds: &[f64]) -> prometheus::Result<Histogram> {
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec()))?;
    on.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}
