//! Logs to stderr and traces to an OTLP endpoint. Without an endpoint no span is ever made.

use std::time::Duration;

use anyhow::Context as _;
use base::Fault;
use base::config::{Config, ConfigFault, ConfigFaults, Telemetry};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};
use tonic::transport::Channel;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::spans::Spans;

/// Spans that wait for the collector; one more is dropped, so that a collector that is away slows no ask.
const SPANS_WAITING: usize = 4096;
/// Spans leave at the latest after this.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// A collector that takes longer is away.
const SEND_WITHIN: Duration = Duration::from_secs(3);

/// Flushes what is left when the node stops.
pub struct Traces {
    provider: Option<SdkTracerProvider>,
    content: bool,
    /// What is logged.
    pub log: LogFilter,
}

impl Traces {
    /// What makes the spans of asks.
    pub fn spans(&self) -> Spans {
        Spans::new(self.provider.as_ref().map(|provider| provider.tracer("tmd")), self.content)
    }

    /// Sends what is left and ends the exporter. Blocks, so it is called off the runtime, and while that still runs: the
    /// channel to the collector is driven by it.
    pub fn shutdown(self) {
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown_with_timeout(SEND_WITHIN)
        {
            tracing::warn!(%error, "could not flush the last traces");
        }
    }
}

/// Installs logs and, where there is a channel to an OTLP endpoint (dialled by `net`), traces.
pub fn install(config: &Telemetry, node: &str, traces_to: Option<Channel>) -> anyhow::Result<Traces> {
    let (filter, handle) = reload::Layer::new(filter(&config.log)?);
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if config.json { logs.json().boxed() } else { logs.with_ansi(false).boxed() };
    tracing_subscriber::registry().with(logs.with_filter(filter)).init();
    if config.content && traces_to.is_some() {
        tracing::warn!("prompts and answers leave with the traces: telemetry.content is on");
    }
    let provider = traces_to.map(|channel| provider(node, channel, config.sample)).transpose()?;
    Ok(Traces { provider, content: config.content, log: LogFilter(handle) })
}

/// Refuses a filter for logs that is none.
pub fn check(config: &Config) -> Result<(), ConfigFaults> {
    let log = &config.telemetry.log;
    filter(log).map(drop).map_err(|fault| {
        ConfigFaults(vec![ConfigFault {
            field: "telemetry.log".to_owned(),
            value: format!("{log:?}"),
            problem: "is no filter".to_owned(),
            hint: fault.hint.unwrap_or_default(),
        }])
    })
}

fn filter(log: &str) -> base::Result<EnvFilter> {
    // ractor_cluster writes whole frames at debug, secrets of the handshake among them.
    EnvFilter::try_new(format!("{log},ractor=warn,ractor_cluster=error,tantivy=error,rmcp=warn")).map_err(|error| {
        Fault::invalid(format!("telemetry.log = \"{log}\" is no filter"))
            .hint("write e.g. \"info\" or \"info,tmd=debug\"")
            .because(error)
    })
}

/// What is logged, to be changed while the node runs.
#[derive(Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// A filter out of its text.
    pub fn read(&self, log: &str) -> base::Result<EnvFilter> {
        filter(log)
    }

    /// Logs by `filter` from now on.
    pub fn set(&self, filter: EnvFilter) {
        if let Err(error) = self.0.reload(filter) {
            tracing::error!(%error, "could not change what is logged");
        }
    }
}

/// Takes this share of the asks that begin a trace; the others belong to a trace that was decided on where it began.
pub fn sampler(share: f64) -> Sampler {
    Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)))
}

fn provider(node: &str, channel: Channel, share: f64) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_timeout(SEND_WITHIN)
        .build()
        .context("could not make the OTLP exporter")?;
    let batches =
        BatchConfigBuilder::default().with_max_queue_size(SPANS_WAITING).with_scheduled_delay(SEND_EVERY).build();
    let resource = Resource::builder()
        .with_service_name("taskmaster")
        .with_attribute(KeyValue::new("service.instance.id", node.to_owned()))
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let provider = SdkTracerProvider::builder().with_sampler(sampler(share)).with_resource(resource);
    Ok(provider.with_span_processor(processor).build())
}
