//! The gRPC face: inference, admin, planning, research, backups, health and reflection, over connections that the caller accepts
//! (and encrypts).

mod admin;
mod backups;
mod cut;
mod door;
mod inference;
mod make_ask;
mod mcp;
mod orders;
mod planning;
mod research;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::{Stream, StreamExt};
use proto::admin::admin_server::AdminServer;
use proto::backup::backups_server::BackupsServer;
use proto::inference::inference_server::InferenceServer;
use proto::planning::planning_server::PlanningServer;
use proto::research::research_server::ResearchServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::warn;

use crate::Desk;
use door::Door;

/// Requests that one connection may have open at once.
const MAX_STREAMS: u32 = 1024;
/// Reset requests that a connection may have waiting; more is an attack (rapid reset).
const MAX_PENDING_RESETS: usize = 20;
/// Largest metadata of a request, in bytes.
const MAX_METADATA_BYTES: u32 = 64 * 1024;
/// What is told about a document beside its bytes, at most.
const MAX_ABOUT_BYTES: usize = 1 << 20;
/// A silent connection is asked for a sign of life this often, and given up when none comes within the next.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks at whether clients should be sent here.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);

/// Bounds of the gRPC face.
#[derive(Clone, Debug)]
pub struct GrpcLimits {
    /// Largest message of a client, in bytes.
    pub body: usize,
    /// Largest answer that is not streamed, in bytes.
    pub answer: usize,
    /// Longest life of an ask.
    pub ask: Duration,
    /// How long running calls may finish when the server stops.
    pub drain: Duration,
}

impl GrpcLimits {
    /// The configured bounds.
    pub fn from_config(limits: &base::config::Limits) -> Self {
        Self { body: limits.body.as_usize(), answer: limits.answer.as_usize(), ask: limits.ask, drain: limits.drain }
    }
}

/// Serves the connections of `incoming` until `cancel`; then nothing new is taken, and running calls have
/// [`GrpcLimits::drain`] to finish. `limits` may change meanwhile; the sizes of messages stay as they are at the start.
///
/// `from` tells the address at the other end of a connection.
pub async fn serve<I, C>(
    incoming: I,
    from: fn(&C) -> Option<IpAddr>,
    desk: Arc<dyn Desk>,
    limits: Arc<ArcSwap<GrpcLimits>>,
    cancel: CancellationToken,
) -> Result<(), tonic::transport::Error>
where
    I: Stream<Item = io::Result<C>> + Send + 'static,
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let at_start = limits.load_full();
    let (health_reporter, health) = tonic_health::server::health_reporter();
    let inference = InferenceServer::new(inference::Service { desk: desk.clone(), limits: limits.clone() })
        .max_decoding_message_size(at_start.body)
        .max_encoding_message_size(at_start.answer);
    let admin = AdminServer::new(admin::Service { desk: desk.clone(), stop: cancel.clone() })
        .max_decoding_message_size(at_start.body);
    let planning = PlanningServer::new(planning::Service { desk: desk.clone(), stop: cancel.clone() })
        .max_decoding_message_size(at_start.body)
        .max_encoding_message_size(at_start.answer);
    let research = research::Service { desk: desk.clone(), limits: limits.clone(), stop: cancel.clone() };
    let research = ResearchServer::new(research)
        .max_decoding_message_size(at_start.body)
        // A document that came in goes out again when it is exported, with what is told about it.
        .max_encoding_message_size(at_start.answer.max(at_start.body + MAX_ABOUT_BYTES));
    let keyed = Door::new(desk.clone());
    let backups = BackupsServer::new(backups::Service { desk: desk.clone(), stop: cancel.clone() });
    let mut router = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_header_list_size(MAX_METADATA_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(keyed.before(inference))
        .add_service(keyed.before(admin))
        .add_service(keyed.before(planning))
        .add_service(keyed.before(research))
        .add_service(keyed.before(backups))
        .add_service(health);
    let reflection =
        || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(proto::DESCRIPTORS);
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => router = router.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => warn!(%error, "reflection is not served"),
    }
    let drained = async {
        cancel.cancelled().await;
        let within = limits.load().drain;
        tokio::time::sleep(within).await;
    };
    // The transport runs each connection as a task of its own; this ends them, however the server ends.
    let end = CancellationToken::new();
    let _end_connections = end.clone().drop_guard();
    let incoming = incoming.map(move |connection| {
        connection.map(|inner| {
            let from = from(&inner);
            cut::Cut::new(inner, from, &end)
        })
    });
    tokio::select! {
        served = router.serve_with_incoming_shutdown(incoming, cancel.cancelled()) => served,
        // A call that outlives the drain time is cut.
        () = drained => Ok(()),
        () = tell_health(&health_reporter, &desk) => Ok(()),
    }
}

/// Keeps the standard health service in step with the desk; never ends.
async fn tell_health(reporter: &HealthReporter, desk: &Arc<dyn Desk>) {
    loop {
        let is_ready = desk.readiness().ready;
        let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        // The empty name is the server as a whole. The others answer in every state.
        for service in ["", "taskmaster.inference.v1.Inference"] {
            reporter.set_service_status(service, status).await;
        }
        for service in [
            "taskmaster.admin.v1.Admin",
            "taskmaster.backup.v1.Backups",
            "taskmaster.planning.v1.Planning",
            "taskmaster.research.v1.Research",
        ] {
            reporter.set_service_status(service, ServingStatus::Serving).await;
        }
        tokio::time::sleep(HEALTH_PERIOD).await;
    }
}
