//! The admin service: each call is one of the desk's.

use std::pin::Pin;
use std::sync::Arc;

use base::{Fault, Grant};
use futures_util::{Stream, StreamExt};
use proto::admin::admin_server::Admin;
use proto::admin::{
    BenchModelRequest, BenchModelResponse, CreateKeyRequest, CreateKeyResponse, CreateModelRequest,
    CreateModelResponse, DrainRequest, DrainResponse, ExplainRequest, ExplainResponse, GetModeRequest, GetModeResponse,
    GetStoreRequest, GetStoreResponse, HealthRequest, HealthResponse, ImportModelRequest, ImportModelResponse,
    InjectRequest, InjectResponse, ListActorsRequest, ListActorsResponse, ListAsksRequest, ListAsksResponse,
    ListDialledRequest, ListDialledResponse, ListFailuresRequest, ListFailuresResponse, ListKeysRequest,
    ListKeysResponse, ListLoadRequest, ListLoadResponse, ListModelsRequest, ListModelsResponse, ListModesRequest,
    ListModesResponse, ListNodesRequest, ListNodesResponse, ListWorkersRequest, ListWorkersResponse, PlaceRequest,
    PlaceResponse, PrivacyReportRequest, PrivacyReportResponse, PullModelRequest, PullModelResponse, ReloadRequest,
    ReloadResponse, ReportFailureRequest, ReportFailureResponse, RevokeCertificatesRequest, RevokeCertificatesResponse,
    RevokeKeyRequest, RevokeKeyResponse, RollbackModeRequest, RotateKeyRequest, RotateKeyResponse, SetModeRequest,
    SetModeResponse, VerifyAuditRequest, VerifyAuditResponse, WatchEventsRequest, WatchEventsResponse,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::planning::client;
use crate::Desk;

/// The service over a desk.
pub(super) struct Service {
    pub(super) desk: Arc<dyn Desk>,
    /// Ends watchers, which would keep a stopping server waiting.
    pub(super) stop: CancellationToken,
}

type Answered<T> = Result<Response<T>, Status>;

fn answered<T>(result: base::Result<T>) -> Answered<T> {
    result.map(Response::new).map_err(|fault: Fault| proto::to_status(&fault))
}

#[tonic::async_trait]
impl Admin for Service {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

    async fn list_nodes(&self, _: Request<ListNodesRequest>) -> Answered<ListNodesResponse> {
        Ok(Response::new(self.desk.admin().list_nodes()))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Answered<ListWorkersResponse> {
        Ok(Response::new(self.desk.admin().list_workers()))
    }

    async fn list_models(&self, _: Request<ListModelsRequest>) -> Answered<ListModelsResponse> {
        Ok(Response::new(self.desk.models(Grant::everything())))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Answered<ExplainResponse> {
        answered(self.desk.admin().explain(request.into_inner()).await)
    }

    async fn list_failures(&self, request: Request<ListFailuresRequest>) -> Answered<ListFailuresResponse> {
        answered(self.desk.admin().list_failures(request.into_inner()).await)
    }

    async fn report_failure(&self, request: Request<ReportFailureRequest>) -> Answered<ReportFailureResponse> {
        answered(self.desk.admin().report_failure(request.into_inner()).await)
    }

    async fn get_mode(&self, _: Request<GetModeRequest>) -> Answered<GetModeResponse> {
        Ok(Response::new(self.desk.admin().get_mode()))
    }

    async fn set_mode(&self, request: Request<SetModeRequest>) -> Answered<SetModeResponse> {
        let by = client(&request)?.name.clone();
        answered(self.desk.admin().set_mode(&by, request.into_inner()).await)
    }

    async fn list_modes(&self, _: Request<ListModesRequest>) -> Answered<ListModesResponse> {
        answered(self.desk.admin().list_modes().await)
    }

    async fn rollback_mode(&self, request: Request<RollbackModeRequest>) -> Answered<SetModeResponse> {
        let by = client(&request)?.name.clone();
        answered(self.desk.admin().rollback_mode(&by, request.into_inner()).await)
    }

    async fn privacy_report(&self, request: Request<PrivacyReportRequest>) -> Answered<PrivacyReportResponse> {
        answered(self.desk.admin().privacy_report(request.into_inner()).await)
    }

    async fn verify_audit(&self, _: Request<VerifyAuditRequest>) -> Answered<VerifyAuditResponse> {
        answered(self.desk.admin().verify_audit().await)
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Answered<DrainResponse> {
        answered(self.desk.admin().drain(request.into_inner()).await)
    }

    async fn reload(&self, request: Request<ReloadRequest>) -> Answered<ReloadResponse> {
        answered(self.desk.admin().reload(request.into_inner()).await)
    }

    async fn health(&self, _: Request<HealthRequest>) -> Answered<HealthResponse> {
        Ok(Response::new(self.desk.admin().health()))
    }

    async fn place(&self, request: Request<PlaceRequest>) -> Answered<PlaceResponse> {
        answered(self.desk.admin().place(request.into_inner()).await)
    }

    type PullModelStream = Pin<Box<dyn Stream<Item = Result<PullModelResponse, Status>> + Send>>;

    async fn import_model(&self, request: Request<ImportModelRequest>) -> Answered<ImportModelResponse> {
        answered(self.desk.admin().import_model(request.into_inner()).await)
    }

    async fn create_model(&self, request: Request<CreateModelRequest>) -> Answered<CreateModelResponse> {
        answered(self.desk.admin().create_model(request.into_inner()).await)
    }

    async fn pull_model(&self, request: Request<PullModelRequest>) -> Answered<Self::PullModelStream> {
        let pulled = self.desk.admin().pull_model(request.into_inner()).await;
        let pulled = pulled.map_err(|fault| proto::to_status(&fault))?;
        let pulled = pulled.take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(pulled.map(|told| told.map_err(|fault| proto::to_status(&fault))))))
    }

    type BenchModelStream = Pin<Box<dyn Stream<Item = Result<BenchModelResponse, Status>> + Send>>;

    async fn bench_model(&self, request: Request<BenchModelRequest>) -> Answered<Self::BenchModelStream> {
        let told = self.desk.admin().bench_model(request.into_inner()).await;
        let told = told.map_err(|fault| proto::to_status(&fault))?;
        let told = told.take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(told.map(|told| told.map_err(|fault| proto::to_status(&fault))))))
    }

    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Answered<CreateKeyResponse> {
        answered(self.desk.admin().create_key(request.into_inner()).await)
    }

    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Answered<ListKeysResponse> {
        answered(self.desk.admin().list_keys().await)
    }

    async fn revoke_key(&self, request: Request<RevokeKeyRequest>) -> Answered<RevokeKeyResponse> {
        answered(self.desk.admin().revoke_key(request.into_inner()).await)
    }

    async fn rotate_key(&self, request: Request<RotateKeyRequest>) -> Answered<RotateKeyResponse> {
        answered(self.desk.admin().rotate_key(request.into_inner()).await)
    }

    async fn list_actors(&self, _: Request<ListActorsRequest>) -> Answered<ListActorsResponse> {
        answered(self.desk.admin().list_actors().await)
    }

    async fn watch_events(&self, _: Request<WatchEventsRequest>) -> Answered<Self::WatchEventsStream> {
        let events = self.desk.admin().watch_events().take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(events.map(|event| event.map_err(|fault| proto::to_status(&fault))))))
    }

    async fn list_asks(&self, request: Request<ListAsksRequest>) -> Answered<ListAsksResponse> {
        answered(self.desk.admin().list_asks(request.into_inner()).await)
    }

    async fn list_load(&self, _: Request<ListLoadRequest>) -> Answered<ListLoadResponse> {
        Ok(Response::new(self.desk.admin().list_load()))
    }

    async fn list_dialled(&self, _: Request<ListDialledRequest>) -> Answered<ListDialledResponse> {
        Ok(Response::new(self.desk.admin().list_dialled()))
    }

    async fn inject(&self, request: Request<InjectRequest>) -> Answered<InjectResponse> {
        answered(self.desk.admin().inject(request.into_inner()).await)
    }

    async fn revoke_certificates(
        &self,
        request: Request<RevokeCertificatesRequest>,
    ) -> Answered<RevokeCertificatesResponse> {
        answered(self.desk.admin().revoke_certificates(request.into_inner()).await)
    }

    async fn get_store(&self, _: Request<GetStoreRequest>) -> Answered<GetStoreResponse> {
        Ok(Response::new(self.desk.admin().get_store()))
    }
}
