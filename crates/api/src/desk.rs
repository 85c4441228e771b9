//! What the faces ask of the node: one trait, which the daemon implements and tests script.
//!
//! A face turns wire into `Ask` or an admin message, calls the desk, and turns what comes back into its wire again. It
//! decides nothing about models, workers or keys.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use base::{Answer, Ask, BoxFuture, Code, Continuation, EventAnswer, Fault, Grant, Result, Scope};
use bytes::Bytes;
use futures_util::Stream;
use planner::Planning;
use planner::github::{Delivery, Received};
use proto::admin::{
    BenchModelRequest, BenchModelResponse, CreateKeyRequest, CreateKeyResponse, CreateModelRequest,
    CreateModelResponse, DrainRequest, DrainResponse, ExplainRequest, ExplainResponse, GetModeResponse,
    GetStoreResponse, HealthResponse, ImportModelRequest, ImportModelResponse, InjectRequest, InjectResponse,
    ListActorsResponse, ListAsksRequest, ListAsksResponse, ListDialledResponse, ListFailuresRequest,
    ListFailuresResponse, ListKeysResponse, ListLoadResponse, ListModelsResponse, ListModesResponse, ListNodesResponse,
    ListWorkersResponse, PlaceRequest, PlaceResponse, PrivacyReportRequest, PrivacyReportResponse, PullModelRequest,
    PullModelResponse, ReloadRequest, ReloadResponse, ReportFailureRequest, ReportFailureResponse,
    RevokeCertificatesRequest, RevokeCertificatesResponse, RevokeKeyRequest, RevokeKeyResponse, RollbackModeRequest,
    RotateKeyRequest, RotateKeyResponse, SetModeRequest, SetModeResponse, VerifyAuditResponse, WatchEventsResponse,
};
use proto::backup::ImportResponse;
use research::Knowledge;

use crate::MetricsFormat;
use crate::trace::{self, ToolCall};

/// The node behind the faces.
pub trait Desk: Send + Sync + 'static {
    /// Answers an ask by its deadline, which the faces leave to the desk. Dropping the future or the answer cancels the
    /// work.
    fn infer(&self, ask: Ask, continues: Option<Continuation>) -> BoxFuture<'_, Result<Answer>>;

    /// Answers an ask with parsed events. Dropping the future or the answer cancels the work.
    fn infer_events(&self, ask: Ask, continues: Option<Continuation>) -> BoxFuture<'_, Result<EventAnswer>>;

    /// What the holder of `grant` may name.
    fn models(&self, grant: &Grant) -> ListModelsResponse;

    /// What to say of a model that is not among [`models`](Self::models) while the node has not seen everybody who may offer
    /// one; `None` once it has. Asked before the list is drawn.
    fn not_seen_yet(&self, model: &str) -> Option<Fault> {
        let _ = model;
        None
    }

    /// What `caller` may do; everything when keys are off.
    ///
    /// [`Code::Unauthenticated`] when keys are on and the caller's is not good, [`Code::PermissionDenied`] where it does not
    /// open `needs`. What is refused is noted.
    fn authenticate(&self, caller: &Caller<'_>, needs: Option<Scope>) -> Result<Arc<Grant>>;

    /// Refuses what `grant`, with which a call has begun, does not open; and everything once its key has ended.
    fn authorize(&self, grant: &Grant, scope: Scope, call: &str) -> Result<()>;

    /// Over when the key of `grant` is; never where keys are off.
    fn until_ended(&self, grant: &Grant) -> BoxFuture<'static, ()>;

    /// Whether clients should be sent here.
    fn readiness(&self) -> Readiness;

    /// Every metric, as Prometheus reads it.
    fn metrics(&self, format: MetricsFormat) -> String;

    /// An agent calls a tool, as part of what `parent` tells.
    fn tool_called(&self, tool: &'static str, parent: &str) -> Box<dyn ToolCall> {
        let _ = (tool, parent);
        Box::new(trace::Unseen)
    }

    /// The desk for owners and their tools.
    fn admin(&self) -> &dyn AdminDesk;

    /// The projects and jobs of the cluster.
    fn planning(&self) -> Result<Arc<Planning>> {
        Err(Fault::new(Code::NotSupported, "this node keeps no projects"))
    }

    /// The knowledge base of the cluster.
    fn research(&self) -> Result<Arc<dyn Knowledge>> {
        Err(Fault::new(Code::NotSupported, "this node keeps no knowledge base"))
    }

    /// Takes the cluster's backups, and puts them back.
    fn backups(&self) -> Result<Arc<dyn Backups>> {
        Err(Fault::new(Code::NotSupported, "this node makes no backups"))
    }

    /// Takes a delivery of GitHub's webhook.
    fn take_from_github(&self, delivery: Delivery) -> BoxFuture<'_, Result<Received>> {
        drop(delivery);
        Box::pin(std::future::ready(Err(planner::github::not_configured())))
    }

    /// Hands a call that changes an engine's own files to the engine that has them.
    fn pass_to_engine(&self, call: EngineCall, body: Bytes) -> BoxFuture<'_, Result<Answer>> {
        drop(body);
        let fault =
            Fault::new(Code::NotSupported, format!("could not {call}: the cluster does not change engines' files"))
                .hint("run it on the engine itself; its models appear here within seconds");
        Box::pin(std::future::ready(Err(fault)))
    }
}

/// Who is at a door.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The key that was sent, where one was.
    pub key: Option<&'a str>,
    /// Whether one stands in the address, where it does not belong.
    pub has_key_in_address: bool,
    /// From where the call comes.
    pub from: Option<IpAddr>,
    /// What is called, in our own words: a route, or a method of a service.
    pub call: &'a str,
}

/// What owners and their tools ask. Answers that need nobody else are given at once.
pub trait AdminDesk: Send + Sync {
    /// The nodes as this node sees them.
    fn list_nodes(&self) -> ListNodesResponse;

    /// The workers of all nodes as this node sees them.
    fn list_workers(&self) -> ListWorkersResponse;

    /// One verdict for the whole cluster.
    fn health(&self) -> HealthResponse;

    /// What may leave the house now.
    fn get_mode(&self) -> GetModeResponse;

    /// Why an ask went where it went, wherever that was decided.
    fn explain(&self, request: ExplainRequest) -> BoxFuture<'_, Result<ExplainResponse>>;

    /// Failures of all nodes, newest first.
    fn list_failures(&self, request: ListFailuresRequest) -> BoxFuture<'_, Result<ListFailuresResponse>>;

    /// Takes note of a failure that a client saw.
    fn report_failure(&self, request: ReportFailureRequest) -> BoxFuture<'_, Result<ReportFailureResponse>>;

    /// Changes what may leave the house, on every node; `by` is the name of the client's key, where keys are on.
    fn set_mode<'a>(&'a self, by: &'a str, request: SetModeRequest) -> BoxFuture<'a, Result<SetModeResponse>>;

    /// The modes that were set, newest first.
    fn list_modes(&self) -> BoxFuture<'_, Result<ListModesResponse>>;

    /// Back to the mode before the one that holds.
    fn rollback_mode<'a>(&'a self, by: &'a str, request: RollbackModeRequest)
    -> BoxFuture<'a, Result<SetModeResponse>>;

    /// What all nodes dialled and refused to dial, out of their journals.
    fn privacy_report(&self, request: PrivacyReportRequest) -> BoxFuture<'_, Result<PrivacyReportResponse>>;

    /// Whether the journals of all nodes are as they were written.
    fn verify_audit(&self) -> BoxFuture<'_, Result<VerifyAuditResponse>>;

    /// Takes a node out of routing, or back in.
    fn drain(&self, request: DrainRequest) -> BoxFuture<'_, Result<DrainResponse>>;

    /// Lets a node read its configuration again.
    fn reload(&self, request: ReloadRequest) -> BoxFuture<'_, Result<ReloadResponse>>;

    /// Loads a model on a worker, or unloads it.
    fn place(&self, request: PlaceRequest) -> BoxFuture<'_, Result<PlaceResponse>>;

    /// Brings a file that lies on a node into the folder of its built-in engine.
    fn import_model(&self, request: ImportModelRequest) -> BoxFuture<'_, Result<ImportModelResponse>>;

    /// Makes a model with settings of its own out of another.
    fn create_model(&self, request: CreateModelRequest) -> BoxFuture<'_, Result<CreateModelResponse>>;

    /// Lets an engine fetch a model from outside the house. Dropping the stream ends it.
    fn pull_model(&self, request: PullModelRequest) -> BoxFuture<'_, Result<PullStream>>;

    /// Measures how fast a model is at a worker. Dropping the stream ends it.
    fn bench_model(&self, request: BenchModelRequest) -> BoxFuture<'_, Result<BenchStream>>;

    /// Makes an API key; the only time that it is shown.
    fn create_key(&self, request: CreateKeyRequest) -> BoxFuture<'_, Result<CreateKeyResponse>>;

    /// The names of the API keys.
    fn list_keys(&self) -> BoxFuture<'_, Result<ListKeysResponse>>;

    /// Makes an API key worthless.
    fn revoke_key(&self, request: RevokeKeyRequest) -> BoxFuture<'_, Result<RevokeKeyResponse>>;

    /// Gives an API key a new text; the only time that it is shown.
    fn rotate_key(&self, request: RotateKeyRequest) -> BoxFuture<'_, Result<RotateKeyResponse>>;

    /// The actors of this node, each with a picture of itself.
    fn list_actors(&self) -> BoxFuture<'_, Result<ListActorsResponse>>;

    /// Events from now on. Bounded: a watcher that falls behind gets an error and watches anew.
    fn watch_events(&self) -> EventStream;

    /// Panics an actor, or holds or fails at a point; refused in builds without the feature `faults`.
    fn inject(&self, request: InjectRequest) -> BoxFuture<'_, Result<InjectResponse>>;

    /// Refuses certificates of nodes from now on, on every node.
    fn revoke_certificates(
        &self,
        request: RevokeCertificatesRequest,
    ) -> BoxFuture<'_, Result<RevokeCertificatesResponse>>;

    /// Where the cluster's store is.
    fn get_store(&self) -> GetStoreResponse;

    /// Asks that run, and those that ended last, of all nodes.
    fn list_asks(&self, request: ListAsksRequest) -> BoxFuture<'_, Result<ListAsksResponse>>;

    /// How busy every node was over the last minutes, as this node heard it.
    fn list_load(&self) -> ListLoadResponse;

    /// What this node dialled, and what it refused to dial.
    fn list_dialled(&self) -> ListDialledResponse;
}

/// The cluster's backups, as streams of frames.
pub trait Backups: Send + Sync {
    /// All that the cluster keeps. Dropping the stream ends it.
    fn export(&self) -> FrameStream;

    /// Whether the cluster would take a backup now.
    fn may_import(&self) -> BoxFuture<'_, Result<ImportResponse>>;

    /// Puts a backup into the empty cluster.
    fn import(&self, frames: FrameStream) -> BoxFuture<'_, Result<ImportResponse>>;
}

/// The frames of a backup, cut anywhere.
pub type FrameStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// What [`AdminDesk::watch_events`] gives.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse>> + Send>>;

/// What [`AdminDesk::pull_model`] gives.
pub type PullStream = Pin<Box<dyn Stream<Item = Result<PullModelResponse>> + Send>>;

/// What [`AdminDesk::bench_model`] gives.
pub type BenchStream = Pin<Box<dyn Stream<Item = Result<BenchModelResponse>> + Send>>;

/// Whether clients should be sent to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether asks have a good chance here.
    pub ready: bool,
    /// Why not, or what is not as it should be although it is ready.
    pub reasons: Vec<String>,
}

/// A call of Ollama's API that changes files of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineCall {
    /// `POST /api/pull`.
    Pull,
    /// `POST /api/push`.
    Push,
    /// `POST /api/create`.
    Create,
    /// `POST /api/copy`.
    Copy,
    /// `DELETE /api/delete`.
    Delete,
}

impl std::fmt::Display for EngineCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pull => "pull a model",
            Self::Push => "push a model",
            Self::Create => "create a model",
            Self::Copy => "copy a model",
            Self::Delete => "delete a model",
        })
    }
}
