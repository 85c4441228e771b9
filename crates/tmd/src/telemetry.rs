//! Logs to stderr and traces to an OTLP endpoint. Without an endpoint no span is ever made.

use anyhow::Context as _;
use base::config::Telemetry;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::transport::Channel;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Only these become spans of a trace; the exporter's own and the transports' do not.
const TRACED: [&str; 3] = ["tmd", "api", "inference"];

/// Flushes what is left when the node stops.
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Sends what is left and ends the exporter; blocks, so it is called off the runtime.
    pub fn shutdown(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "could not flush the last traces");
        }
    }
}

/// Installs logs and, where there is a channel to an OTLP endpoint (dialled by `net`), traces.
pub fn install(config: &Telemetry, node: &str, traces_to: Option<Channel>) -> anyhow::Result<Traces> {
    // ractor_cluster writes whole frames at debug, secrets of the handshake among them.
    let filter = EnvFilter::try_new(format!("{},ractor=warn,ractor_cluster=error", config.log))
        .with_context(|| format!("telemetry.log = \"{}\" is no filter; write e.g. \"info,tmd=debug\"", config.log))?;
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if config.json { logs.json().boxed() } else { logs.with_ansi(false).boxed() };
    let provider = traces_to.map(|channel| provider(node, channel)).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        let only_ours = Targets::new().with_targets(TRACED.map(|target| (target, LevelFilter::DEBUG)));
        tracing_opentelemetry::layer().with_tracer(provider.tracer("tmd")).with_filter(only_ours)
    });
    tracing_subscriber::registry().with(logs.with_filter(filter)).with(spans).init();
    Ok(Traces(provider))
}

fn provider(node: &str, channel: Channel) -> anyhow::Result<SdkTracerProvider> {
    use opentelemetry_otlp::WithTonicConfig as _;
    opentelemetry::global::set_text_map_propagator(opentelemetry_sdk::propagation::TraceContextPropagator::new());
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_timeout(std::time::Duration::from_secs(3))
        .build()
        .context("could not make the OTLP exporter")?;
    let resource = opentelemetry_sdk::Resource::builder()
        .with_service_name("taskmaster")
        .with_attribute(opentelemetry::KeyValue::new("service.instance.id", node.to_owned()))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
