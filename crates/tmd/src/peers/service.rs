//! What other nodes ask of this one: `taskmaster.node.v1`. Every caller has proved to be a node of the cluster.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use base::report::NodeReport;
use base::{AskId, BoxFrames, Code, Continuation, Fault, Frames, ModelId};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use net::audit::caused_by;
use proto::node::control_request::Command;
use proto::node::node_server::Node;
use proto::node::run_response::Part;
use proto::node::{
    AsksRequest, AsksResponse, BenchModelRequest, BenchModelResponse, CallKnowledgeRequest, CallKnowledgeResponse,
    ControlRequest, ControlResponse, CreateModelRequest, CreateModelResponse, ExplainRequest, ExplainResponse,
    FailuresRequest, FailuresResponse, FetchFileRequest, FetchFileResponse, FetchVectorsRequest, FetchVectorsResponse,
    HeartbeatRequest, HeartbeatResponse, ImportModelRequest, ImportModelResponse, KeepFileRequest, KeepFileResponse,
    PlaceRequest, PlaceResponse, PrivacyReportRequest, PrivacyReportResponse, PullModelRequest, PullModelResponse,
    ReloadRequest, ReloadResponse, RenewCertificateRequest, RenewCertificateResponse, RunRequest, RunResponse,
    RunStarted, Vector, VerifyAuditRequest, VerifyAuditResponse,
};
use research::BlobId;
use research::models::Embedder;
use routing::live::{LiveGuard, Work};
use tonic::{Request, Response, Status};

use crate::core::{Core, Seen};
use crate::desk::{modes, privacy};
use crate::failures::{FailureKind, Severity, Sighting, Subject};
use crate::research::elsewhere;
use crate::spans::Span;
use crate::{benching, certificates, placing, reload, settings, shelving};

/// Frames that are there already are merged into one message up to this size.
const MERGED_BYTES: usize = 16 << 10;

/// The service.
pub struct NodeService(pub Arc<Core>);

#[tonic::async_trait]
impl Node for NodeService {
    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        let report = report_of(&request).map_err(|fault| self.strike(&request, fault))?;
        let cluster = self.0.cluster().map_err(status)?;
        cluster.heard(report);
        let own = (&cluster.own_report()).into();
        Ok(Response::new(HeartbeatResponse { report: Some(own) }))
    }

    type RunStream = Pin<Box<dyn Stream<Item = Result<RunResponse, Status>> + Send>>;

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        let request = request.into_inner();
        let started = self.start(request).await.map_err(status)?;
        Ok(Response::new(Box::pin(started)))
    }

    async fn place(&self, request: Request<PlaceRequest>) -> Result<Response<PlaceResponse>, Status> {
        let PlaceRequest { worker, model, load, epoch } = request.into_inner();
        let seconds = placing::place_here(&self.0, &worker, &model, load, epoch).await.map_err(status)?;
        Ok(Response::new(PlaceResponse { seconds }))
    }

    async fn import_model(
        &self,
        request: Request<ImportModelRequest>,
    ) -> Result<Response<ImportModelResponse>, Status> {
        let order = order(request.into_inner().order)?;
        let imported = Some(shelving::import_here(&self.0, order).await.map_err(status)?);
        Ok(Response::new(ImportModelResponse { imported }))
    }

    async fn create_model(
        &self,
        request: Request<CreateModelRequest>,
    ) -> Result<Response<CreateModelResponse>, Status> {
        let order = order(request.into_inner().order)?;
        let created = Some(shelving::create_here(&self.0, order).await.map_err(status)?);
        Ok(Response::new(CreateModelResponse { created }))
    }

    type PullModelStream = Pin<Box<dyn Stream<Item = Result<PullModelResponse, Status>> + Send>>;

    async fn pull_model(&self, request: Request<PullModelRequest>) -> Result<Response<Self::PullModelStream>, Status> {
        let order = order(request.into_inner().order)?;
        let told = shelving::pull_here(&self.0, order).await.map_err(status)?;
        let told = told.take_until(self.0.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(told.map(|progress| match progress {
            Ok(progress) => Ok(PullModelResponse { progress: Some(progress) }),
            Err(fault) => Err(status(fault)),
        }))))
    }

    type BenchModelStream = Pin<Box<dyn Stream<Item = Result<BenchModelResponse, Status>> + Send>>;

    async fn bench_model(
        &self,
        request: Request<BenchModelRequest>,
    ) -> Result<Response<Self::BenchModelStream>, Status> {
        let order = order(request.into_inner().order)?;
        let told = benching::bench_here(&self.0, order).map_err(status)?;
        let told = told.take_until(self.0.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(told.map(|told| match told {
            Ok(told) => Ok(BenchModelResponse { told: Some(told) }),
            Err(fault) => Err(status(fault)),
        }))))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let record = AskId::parse(&request.get_ref().ask).and_then(|ask| self.0.explain.find(ask));
        let explanation = record.map(|record| record.explain(&self.0.node));
        Ok(Response::new(ExplainResponse { explanation }))
    }

    async fn failures(&self, _: Request<FailuresRequest>) -> Result<Response<FailuresResponse>, Status> {
        Ok(Response::new(FailuresResponse { failures: Some(crate::desk::admin::own_failures(&self.0)) }))
    }

    async fn asks(&self, request: Request<AsksRequest>) -> Result<Response<AsksResponse>, Status> {
        let limit = request.into_inner().limit as usize;
        Ok(Response::new(AsksResponse { asks: Some(crate::desk::seen::own_asks(&self.0, limit)) }))
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        let reloaded = Some(reload::here(&self.0).await.map_err(status)?);
        Ok(Response::new(ReloadResponse { reloaded }))
    }

    async fn control(&self, request: Request<ControlRequest>) -> Result<Response<ControlResponse>, Status> {
        let ControlRequest { command, set_mode_json } = request.into_inner();
        match command {
            Some(Command::Drain(drain)) => self.0.cluster().map_err(status)?.set_draining(drain),
            Some(Command::Mode(mode)) => {
                let set = modes::told(&mode, &set_mode_json).map_err(status)?;
                let mode = set.mode;
                settings::mode_is(&self.0, set);
                self.0.mode.may_be(mode).map_err(status)?;
            }
            None => return Err(status(Fault::invalid("field `command` is missing"))),
        }
        Ok(Response::new(ControlResponse {}))
    }

    async fn privacy_report(
        &self,
        request: Request<PrivacyReportRequest>,
    ) -> Result<Response<PrivacyReportResponse>, Status> {
        let report = privacy::own_report(&self.0, request.into_inner().since_unix_ms).await.map_err(status)?;
        Ok(Response::new(PrivacyReportResponse { report: Some(report) }))
    }

    async fn verify_audit(&self, _: Request<VerifyAuditRequest>) -> Result<Response<VerifyAuditResponse>, Status> {
        let item = privacy::own_verdict(&self.0).await.map_err(status)?;
        Ok(Response::new(VerifyAuditResponse { item: Some(item) }))
    }

    async fn keep_file(&self, request: Request<KeepFileRequest>) -> Result<Response<KeepFileResponse>, Status> {
        let library = self.0.library().map_err(status)?;
        library.keep_file(request.into_inner().file).await.map_err(status)?;
        Ok(Response::new(KeepFileResponse {}))
    }

    async fn fetch_file(&self, request: Request<FetchFileRequest>) -> Result<Response<FetchFileResponse>, Status> {
        let library = self.0.library().map_err(status)?;
        let wanted = request.into_inner().sha256.as_ref().try_into().map(BlobId);
        let wanted = wanted.map_err(|_| status(Fault::invalid("field `sha256` is no SHA-256")))?;
        let file = library.file(wanted).await.map_err(status)?;
        Ok(Response::new(FetchFileResponse { file }))
    }

    async fn fetch_vectors(
        &self,
        request: Request<FetchVectorsRequest>,
    ) -> Result<Response<FetchVectorsResponse>, Status> {
        let library = self.0.library().map_err(status)?;
        let FetchVectorsRequest { model, dims, chunks } = request.into_inner();
        let chunks: Result<Vec<_>, _> =
            chunks.iter().map(|hash| hash.as_ref().try_into().map(research::ChunkHash)).collect();
        let chunks = chunks.map_err(|_| status(Fault::invalid("field `chunks` has what is no hash")))?;
        let found = library.vectors_of(&Embedder { model, dims }, &chunks).await.map_err(status)?;
        let vectors = found.into_iter().map(|(hash, vector)| Vector {
            chunk: Bytes::copy_from_slice(&hash.0),
            values: vector.into_iter().flat_map(f32::to_le_bytes).collect(),
        });
        Ok(Response::new(FetchVectorsResponse { vectors: vectors.collect() }))
    }

    type CallKnowledgeStream = Pin<Box<dyn Stream<Item = Result<CallKnowledgeResponse, Status>> + Send>>;

    async fn call_knowledge(
        &self,
        request: Request<CallKnowledgeRequest>,
    ) -> Result<Response<Self::CallKnowledgeStream>, Status> {
        let parts = elsewhere::answer_here(&self.0, request.into_inner()).map_err(status)?;
        let (stop, most) = (self.0.stop.clone(), self.0.config.load().limits.drain);
        let parts = parts.take_until(Box::pin(async move {
            stop.cancelled().await;
            tokio::time::sleep(most).await;
        }));
        Ok(Response::new(Box::pin(parts.map(|part| part.map_err(status)))))
    }

    async fn renew_certificate(
        &self,
        request: Request<RenewCertificateRequest>,
    ) -> Result<Response<RenewCertificateResponse>, Status> {
        let peer = request.extensions().get::<net::listen::PeerInfo>().and_then(|peer| peer.certificate.clone());
        let chain = certificates::sign_for(&self.0, peer.as_deref(), &request.get_ref().csr).map_err(status)?;
        Ok(Response::new(RenewCertificateResponse { chain: chain.into_iter().map(Into::into).collect() }))
    }
}

impl NodeService {
    /// Counts what a peer sent that was refused; one that goes on is left out of routing by recovery.
    fn strike<T>(&self, request: &Request<T>, fault: Fault) -> Status {
        let peer = request.extensions().get::<net::listen::PeerInfo>().and_then(|peer| peer.node.clone());
        if let Some(peer) = peer {
            tracing::warn!(%peer, error = fault.full_message(), "refused a message of a peer");
            if self.0.peers.strikes.note(&peer, Instant::now()) {
                let detail = format!("sent messages that no node sends: {}", fault.message);
                let (kind, severity) = (FailureKind::Security, Severity::High);
                self.0.tell(Seen::Wrong(Sighting { subject: Subject::Node(peer), kind, severity, detail }));
            }
        }
        status(fault)
    }

    async fn start(&self, request: RunRequest) -> base::Result<Outgoing> {
        let now = Instant::now();
        let ask = request.ask.ok_or_else(|| Fault::invalid("field `ask` is missing"))?;
        let mut ask = proto::ask_from_wire(ask, now)?;
        let continuation: Option<Continuation> = request.continuation.map(Continuation::try_from).transpose()?;
        let port = self.0.ports.load().get(&request.worker).cloned().ok_or_else(|| {
            Fault::new(Code::ModelNotFound, format!("node `{}` has no worker `{}`", self.0.node, request.worker))
        })?;
        let model_id = ModelId::new(&request.model_id);
        let facts = port.facts();
        let model = facts.models.iter().find(|model| model.id == model_id).ok_or_else(|| {
            Fault::new(Code::ModelNotFound, format!("worker `{}` does not have model `{model_id}`", port.id))
        })?;
        let output_tokens = ask.head.max_output_tokens.unwrap_or(256).min(1024);
        let work = Work { prompt_tokens: ask.head.prompt_tokens, output_tokens, ..Work::default() };
        let guard = port.live.begin(&port.live.model(&model_id), work, Instant::now());
        let mut span = self.0.spans.run_for_peer(&ask.head, &port.id);
        span.mark(&mut ask.head);
        let running = port.run(&ask, &model.engine.name, &model_id, continuation);
        let answer = caused_by(ask.head.id.to_string(), running).await;
        let answer = answer.inspect_err(|fault| span.end(fault.code.as_str()))?;
        let started = RunStarted {
            content_type: answer.head.content_type.to_owned(),
            content_length: answer.head.content_length,
            model: answer.head.model,
        };
        let frames = Some(answer.frames);
        Ok(Outgoing { started: Some(started), frames, guard, span, has_first: false, then: None })
    }
}

/// What another node was told by an owner.
fn order<T>(order: Option<T>) -> Result<T, Status> {
    order.ok_or_else(|| status(Fault::invalid("field `order` is missing")))
}

fn status(fault: Fault) -> Status {
    proto::to_status(&fault)
}

/// What a peer reports. A node speaks for itself only: with TLS its certificate's name must be the one that it reports for.
fn report_of(request: &Request<HeartbeatRequest>) -> base::Result<NodeReport> {
    let report = request.get_ref().report.clone().ok_or_else(|| Fault::invalid("field `report` is missing"))?;
    let report = NodeReport::try_from(report)?;
    let peer = request.extensions().get::<net::listen::PeerInfo>().and_then(|peer| peer.node.as_ref());
    match peer {
        Some(name) if *name != report.node => {
            let message = format!("node `{name}` may not report for `{}`", report.node);
            Err(Fault::new(Code::PermissionDenied, message).hint("give each node a certificate of its own name"))
        }
        _ => Ok(report),
    }
}

/// An answer on its way to another node.
struct Outgoing {
    started: Option<RunStarted>,
    /// Gone when it ended.
    frames: Option<BoxFrames>,
    guard: LiveGuard,
    span: Span,
    has_first: bool,
    /// What comes after the frames that were just merged.
    then: Option<Result<RunResponse, Status>>,
}

impl Outgoing {
    /// Everything that is there now as one block; what ended it, if something did.
    fn merge(&mut self, frames: &mut BoxFrames, first: Bytes, cx: &mut Context<'_>) -> (Bytes, Option<Ended>) {
        let mut merged: Option<BytesMut> = None;
        let mut length = first.len();
        while length < MERGED_BYTES {
            match frames.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    length += frame.len();
                    merged.get_or_insert_with(|| BytesMut::from(&*first)).extend_from_slice(&frame);
                }
                Poll::Ready(Some(Err(fault))) => return (block(first, merged), Some(Ended::Failed(fault))),
                Poll::Ready(None) => return (block(first, merged), Some(Ended::Well)),
                Poll::Pending => break,
            }
        }
        (block(first, merged), None)
    }

    fn ending(&mut self, frames: &BoxFrames, ended: Ended) -> Result<RunResponse, Status> {
        match ended {
            Ended::Well => {
                let summary = frames.summary();
                self.span.finished(summary);
                part(Part::Summary(summary.unwrap_or_default().into()))
            }
            Ended::Failed(fault) => {
                self.span.end(fault.code.as_str());
                Err(status(fault))
            }
        }
    }
}

enum Ended {
    Well,
    Failed(Fault),
}

fn block(first: Bytes, merged: Option<BytesMut>) -> Bytes {
    merged.map_or(first, BytesMut::freeze)
}

fn part(part: Part) -> Result<RunResponse, Status> {
    Ok(RunResponse { part: Some(part) })
}

impl Stream for Outgoing {
    type Item = Result<RunResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(started) = this.started.take() {
            return Poll::Ready(Some(part(Part::Started(started))));
        }
        if let Some(then) = this.then.take() {
            return Poll::Ready(Some(then));
        }
        let Some(mut frames) = this.frames.take() else { return Poll::Ready(None) };
        let polled = match frames.poll_frame(cx) {
            Poll::Pending => {
                this.frames = Some(frames);
                return Poll::Pending;
            }
            Poll::Ready(polled) => polled,
        };
        match polled {
            Some(Ok(first)) => {
                if !this.has_first {
                    this.has_first = true;
                    this.guard.first_token();
                    this.span.first_token();
                }
                let (bytes, ended) = this.merge(&mut frames, first, cx);
                match ended {
                    Some(ended) => this.then = Some(this.ending(&frames, ended)),
                    None => this.frames = Some(frames),
                }
                Poll::Ready(Some(part(Part::Frames(bytes))))
            }
            Some(Err(fault)) => Poll::Ready(Some(this.ending(&frames, Ended::Failed(fault)))),
            None => Poll::Ready(Some(this.ending(&frames, Ended::Well))),
        }
    }
}
