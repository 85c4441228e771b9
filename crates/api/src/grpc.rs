//! The gRPC face: inference, admin, health and reflection, over connections that the caller accepts (and encrypts).

mod admin;
mod cut;
mod inference;
mod make_ask;
mod mcp;
mod orders;
mod planning;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use proto::admin::admin_server::AdminServer;
use proto::inference::inference_server::InferenceServer;
use proto::planning::planning_server::PlanningServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::warn;

use crate::{Client, Desk};

/// Requests that one connection may have open at once.
const MAX_STREAMS: u32 = 1024;
/// Reset requests that a connection may have waiting; more is an attack (rapid reset).
const MAX_PENDING_RESETS: usize = 20;
/// Largest metadata of a request, in bytes.
const MAX_METADATA_BYTES: u32 = 64 * 1024;
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
/// [`GrpcLimits::drain`] to finish.
pub async fn serve<I, C>(
    incoming: I,
    desk: Arc<dyn Desk>,
    limits: GrpcLimits,
    cancel: CancellationToken,
) -> Result<(), tonic::transport::Error>
where
    I: Stream<Item = io::Result<C>> + Send + 'static,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (health_reporter, health) = tonic_health::server::health_reporter();
    let inference = InferenceServer::new(inference::Service { desk: desk.clone(), limits: limits.clone() })
        .max_decoding_message_size(limits.body)
        .max_encoding_message_size(limits.answer);
    let admin = AdminServer::new(admin::Service { desk: desk.clone(), stop: cancel.clone() })
        .max_decoding_message_size(limits.body);
    let planning = PlanningServer::new(planning::Service { desk: desk.clone(), stop: cancel.clone() })
        .max_decoding_message_size(limits.body)
        .max_encoding_message_size(limits.answer);
    let keys = Keys(desk.clone());
    let mut router = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_header_list_size(MAX_METADATA_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(InterceptedService::new(inference, keys.clone()))
        .add_service(InterceptedService::new(admin, keys.clone()))
        .add_service(InterceptedService::new(planning, keys))
        .add_service(health);
    let reflection =
        || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(proto::DESCRIPTORS);
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => router = router.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => warn!(%error, "reflection is not served"),
    }
    let drained = async {
        cancel.cancelled().await;
        tokio::time::sleep(limits.drain).await;
    };
    // The transport runs each connection as a task of its own; this ends them, however the server ends.
    let end = CancellationToken::new();
    let _end_connections = end.clone().drop_guard();
    let incoming = incoming.map(move |connection| connection.map(|inner| cut::Cut::new(inner, &end)));
    tokio::select! {
        served = router.serve_with_incoming_shutdown(incoming, cancel.cancelled()) => served,
        // A call that outlives the drain time is cut.
        () = drained => Ok(()),
        () = tell_health(&health_reporter, &desk) => Ok(()),
    }
}

/// Lets holders of a key pass, when keys are on, and notes who they are.
#[derive(Clone)]
struct Keys(Arc<dyn Desk>);

impl Interceptor for Keys {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let client = self.0.authenticate(key(request.metadata())).map_err(|fault| proto::to_status(&fault))?;
        request.extensions_mut().insert(Client(client));
        Ok(request)
    }
}

fn key(metadata: &MetadataMap) -> Option<&str> {
    let (scheme, key) = metadata.get("authorization")?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
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
        for service in ["taskmaster.admin.v1.Admin", "taskmaster.planning.v1.Planning"] {
            reporter.set_service_status(service, ServingStatus::Serving).await;
        }
        tokio::time::sleep(HEALTH_PERIOD).await;
    }
}
