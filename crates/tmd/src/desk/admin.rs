//! The desk for owners and their tools.

use std::sync::PoisonError;
use std::time::Duration;

use api::{AdminDesk, BenchStream, EventStream, PullStream};
use base::report::{NodeReport, NodeState, WorkerState};
use base::time::unix_ms;
use base::{AskId, BoxFuture, Code, Fault, NodeId, Result};
use futures_util::{Stream, StreamExt, future};
use net::audit::Fact;
use proto::admin::{
    ActorItem, BenchModelRequest, CreateKeyRequest, CreateKeyResponse, CreateModelRequest, CreateModelResponse,
    DrainRequest, DrainResponse, ExplainRequest, ExplainResponse, FailureItem, GetModeResponse, GetStoreResponse,
    GpuItem, HealthResponse, ImportModelRequest, ImportModelResponse, InjectRequest, InjectResponse, KeyItem,
    ListActorsResponse, ListAsksRequest, ListAsksResponse, ListDialledResponse, ListFailuresRequest,
    ListFailuresResponse, ListKeysResponse, ListLoadResponse, ListModesResponse, ListNodesResponse,
    ListWorkersResponse, NodeItem, PlaceRequest, PlaceResponse, PrivacyReportRequest, PrivacyReportResponse,
    PullModelRequest, ReloadRequest, ReloadResponse, ReportFailureRequest, ReportFailureResponse,
    RevokeCertificatesRequest, RevokeCertificatesResponse, RevokeKeyRequest, RevokeKeyResponse, RollbackModeRequest,
    RotateKeyRequest, RotateKeyResponse, SetModeRequest, SetModeResponse, VerifyAuditResponse, View,
    WatchEventsResponse, WorkerItem,
};
use proto::node::control_request::Command;
use proto::node::{ControlRequest, FailuresRequest};
use tokio::sync::broadcast::error::RecvError;

use super::{NodeDesk, modes, privacy, seen};
use crate::actors::children::snapshot_of;
use crate::actors::supervisor::SupervisorMessage;
use crate::core::Core;
use crate::failures::{Sighting, Subject, parse_word, word};
use crate::keys::records;
use crate::peers::CALL_WITHIN;
use crate::{benching, certificates, fleet, placing, reload, shelving};

/// Failures that a list shows when nobody says how many.
const FAILURES_SHOWN: usize = 100;
/// What a node is called that is none of the cluster any more; no state of its own words.
const REVOKED: &str = "revoked";

/// Whose view it is and how old.
pub fn view_of(core: &Core) -> View {
    let stale = core.cluster().ok().and_then(|cluster| cluster.view().stale_since);
    let stale_s = stale.map_or(0.0, |since| since.elapsed().as_secs_f64());
    View { node: core.node.to_string(), as_of_unix_ms: unix_ms(), stale_s }
}

/// Every node with its report, this one's drawn now.
pub fn reports(core: &Core) -> Vec<(cluster::NodeView, Option<NodeReport>)> {
    let Ok(cluster) = core.cluster() else { return Vec::new() };
    let view = cluster.view();
    let report = |node: &cluster::NodeView| match &node.report {
        _ if node.member.node == view.me => Some(fleet::own_report(core)),
        Some(report) => Some(NodeReport::clone(report)),
        None => None,
    };
    view.nodes.iter().map(|node| (node.clone(), report(node))).collect()
}

impl AdminDesk for NodeDesk {
    fn list_nodes(&self) -> ListNodesResponse {
        let leader = self.0.cluster().ok().and_then(|cluster| cluster.view().leader.clone());
        let nodes = reports(&self.0)
            .iter()
            .map(|(node, report)| node_item(&self.0, node, report.as_ref(), leader.as_ref()))
            .collect();
        ListNodesResponse { view: Some(view_of(&self.0)), nodes }
    }

    fn list_workers(&self) -> ListWorkersResponse {
        let mut workers = Vec::new();
        for (node, report) in reports(&self.0) {
            let reported = report.iter().flat_map(|report| &report.workers);
            workers.extend(reported.map(|worker| worker_item(node.state, worker)));
        }
        ListWorkersResponse { view: Some(view_of(&self.0)), workers }
    }

    fn health(&self) -> HealthResponse {
        let (verdict, reasons) = verdict(self);
        HealthResponse { view: Some(view_of(&self.0)), verdict: verdict.to_owned(), reasons }
    }

    fn get_mode(&self) -> GetModeResponse {
        modes::shown(&self.0)
    }

    fn explain(&self, request: ExplainRequest) -> BoxFuture<'_, Result<ExplainResponse>> {
        Box::pin(async move {
            let ask = AskId::parse(&request.ask).ok_or_else(|| {
                Fault::invalid(format!("`{}` is no ask", request.ask))
                    .hint("an ask looks like ask-0123…, see the answer header x-tm-ask")
            })?;
            if let Some(record) = self.0.explain.find(ask) {
                return Ok(record.explain(&self.0.node));
            }
            let asked = ask_peers(&self.0, |mut client| {
                let request = proto::node::ExplainRequest { ask: ask.to_string() };
                async move { client.explain(request).await.map(|response| response.into_inner().explanation) }
            });
            let found = asked.await.into_iter().find_map(|(_, answer)| answer.ok().flatten());
            found.ok_or_else(|| {
                Fault::new(Code::NotFound, format!("no node remembers ask `{ask}`"))
                    .hint("each node keeps its last 4,096 decisions; nodes that are away were not asked")
            })
        })
    }

    fn list_failures(&self, request: ListFailuresRequest) -> BoxFuture<'_, Result<ListFailuresResponse>> {
        Box::pin(async move {
            let own = own_failures(&self.0);
            let others = ask_peers(&self.0, |mut client| async move {
                client.failures(FailuresRequest {}).await.map(|response| response.into_inner().failures)
            });
            let others = others.await.into_iter().filter_map(|(_, answer)| answer.ok().flatten());
            let mut all = ListFailuresResponse { view: Some(view_of(&self.0)), ..own };
            let (mut rate, mut nodes) = (all.recovery_rate, 1.0);
            for other in others {
                all.failures.extend(other.failures);
                all.active += other.active;
                rate += other.recovery_rate;
                nodes += 1.0;
            }
            all.recovery_rate = rate / nodes;
            all.failures.sort_by_key(|failure| std::cmp::Reverse(failure.at_unix_ms));
            all.failures.truncate(if request.limit == 0 { FAILURES_SHOWN } else { request.limit as usize });
            Ok(all)
        })
    }

    fn report_failure(&self, request: ReportFailureRequest) -> BoxFuture<'_, Result<ReportFailureResponse>> {
        Box::pin(std::future::ready(report_failure(&self.0, request)))
    }

    fn set_mode<'a>(&'a self, by: &'a str, request: SetModeRequest) -> BoxFuture<'a, Result<SetModeResponse>> {
        Box::pin(modes::set(&self.0, by, request))
    }

    fn list_modes(&self) -> BoxFuture<'_, Result<ListModesResponse>> {
        Box::pin(modes::listed(&self.0))
    }

    fn rollback_mode<'a>(
        &'a self,
        by: &'a str,
        request: RollbackModeRequest,
    ) -> BoxFuture<'a, Result<SetModeResponse>> {
        Box::pin(modes::roll_back(&self.0, by, request))
    }

    fn privacy_report(&self, request: PrivacyReportRequest) -> BoxFuture<'_, Result<PrivacyReportResponse>> {
        Box::pin(privacy::report(&self.0, request))
    }

    fn verify_audit(&self) -> BoxFuture<'_, Result<VerifyAuditResponse>> {
        Box::pin(privacy::verdicts(&self.0))
    }

    fn drain(&self, request: DrainRequest) -> BoxFuture<'_, Result<DrainResponse>> {
        Box::pin(drain(&self.0, request))
    }

    fn reload(&self, request: ReloadRequest) -> BoxFuture<'_, Result<ReloadResponse>> {
        Box::pin(reload::order(&self.0, request))
    }

    fn place(&self, request: PlaceRequest) -> BoxFuture<'_, Result<PlaceResponse>> {
        Box::pin(async move {
            let (worker, seconds) =
                placing::place_by_hand(&self.0, &request.worker, &request.model, request.load).await?;
            Ok(PlaceResponse { worker: worker.to_string(), seconds })
        })
    }

    fn import_model(&self, request: ImportModelRequest) -> BoxFuture<'_, Result<ImportModelResponse>> {
        Box::pin(shelving::import(&self.0, request))
    }

    fn create_model(&self, request: CreateModelRequest) -> BoxFuture<'_, Result<CreateModelResponse>> {
        Box::pin(shelving::create(&self.0, request))
    }

    fn pull_model(&self, request: PullModelRequest) -> BoxFuture<'_, Result<PullStream>> {
        Box::pin(shelving::pull(&self.0, request))
    }

    fn bench_model(&self, request: BenchModelRequest) -> BoxFuture<'_, Result<BenchStream>> {
        Box::pin(benching::bench(&self.0, request))
    }

    fn create_key(&self, request: CreateKeyRequest) -> BoxFuture<'_, Result<CreateKeyResponse>> {
        Box::pin(async move {
            let key = records::wanted(&request)?;
            records::save(&self.0.store, &key.record).await?;
            let (name, by) = (request.name, self.0.node.to_string());
            self.0.connector.audit().fact(Fact::KeyCreated { name, by });
            Ok(CreateKeyResponse { key: key.shown })
        })
    }

    fn list_keys(&self) -> BoxFuture<'_, Result<ListKeysResponse>> {
        Box::pin(async move {
            let keys = records::load(&self.0.store).await?;
            Ok(ListKeysResponse { keys: keys.into_iter().map(|key| key_item(&self.0, key)).collect() })
        })
    }

    fn revoke_key(&self, request: RevokeKeyRequest) -> BoxFuture<'_, Result<RevokeKeyResponse>> {
        Box::pin(async move {
            records::remove(&self.0.store, &request.name).await?;
            let (name, by) = (request.name, self.0.node.to_string());
            self.0.connector.audit().fact(Fact::KeyRevoked { name, by });
            Ok(RevokeKeyResponse {})
        })
    }

    fn rotate_key(&self, request: RotateKeyRequest) -> BoxFuture<'_, Result<RotateKeyResponse>> {
        Box::pin(async move { Ok(RotateKeyResponse { key: records::rotate(&self.0.store, &request.name).await? }) })
    }

    fn list_actors(&self) -> BoxFuture<'_, Result<ListActorsResponse>> {
        Box::pin(async move {
            let mut actors = Vec::new();
            for supervisor in ["root", "workers"] {
                actors.extend(children_of(supervisor).await);
            }
            Ok(ListActorsResponse { node: self.0.node.to_string(), actors })
        })
    }

    fn watch_events(&self) -> EventStream {
        Box::pin(events(self.0.events.subscribe()))
    }

    fn inject(&self, request: InjectRequest) -> BoxFuture<'_, Result<InjectResponse>> {
        Box::pin(std::future::ready(inject(&request)))
    }

    fn revoke_certificates(
        &self,
        request: RevokeCertificatesRequest,
    ) -> BoxFuture<'_, Result<RevokeCertificatesResponse>> {
        Box::pin(certificates::revoke(&self.0, request))
    }

    fn get_store(&self) -> GetStoreResponse {
        certificates::store_of(&self.0)
    }

    fn list_asks(&self, request: ListAsksRequest) -> BoxFuture<'_, Result<ListAsksResponse>> {
        Box::pin(seen::asks(&self.0, request))
    }

    fn list_load(&self) -> ListLoadResponse {
        seen::load(&self.0)
    }

    fn list_dialled(&self) -> ListDialledResponse {
        seen::dialled(&self.0)
    }
}

#[cfg(feature = "faults")]
fn inject(request: &InjectRequest) -> Result<InjectResponse> {
    crate::faults::inject(&request.actor, &request.action).map(|()| InjectResponse {})
}

#[cfg(not(feature = "faults"))]
fn inject(_: &InjectRequest) -> Result<InjectResponse> {
    Err(Fault::new(Code::NotSupported, "this build cannot inject faults")
        .hint("build with `--features faults`, for tests only"))
}

fn key_item(core: &Core, key: net::keys::KeyRecord) -> KeyItem {
    let used = core.keys.spending.of(&key.name);
    KeyItem {
        created_unix_ms: key.created_ms,
        scopes: key.scopes.iter().map(ToString::to_string).collect(),
        models: key.models,
        expires_unix_ms: key.expires_ms.unwrap_or(0),
        limits: Some(records::limits_to_wire(key.limits)),
        asks_of_hour: used.asks,
        tokens_of_hour: used.tokens,
        used_unix_ms: used.last_ms,
        name: key.name,
    }
}

/// What a node is to this one, in a word.
fn standing(core: &Core, node: &cluster::NodeView) -> &'static str {
    match certificates::is_out(core, node) {
        true => REVOKED,
        false => node.state.as_str(),
    }
}

fn node_item(
    core: &Core,
    node: &cluster::NodeView,
    report: Option<&NodeReport>,
    leader: Option<&(NodeId, base::Epoch)>,
) -> NodeItem {
    let state = standing(core, node);
    // Whoever is out may still stand first in the store; nobody takes its word for anything.
    let leads = leader.filter(|(name, _)| *name == node.member.node && state != REVOKED);
    let machine = report.map(|report| &report.machine);
    NodeItem {
        name: node.member.node.to_string(),
        state: state.to_owned(),
        incarnation: node.member.incarnation.0,
        leader: leads.is_some(),
        address: node.member.peer_address.clone(),
        version: report.map(|report| report.version.clone()).unwrap_or_default(),
        heard_s: node.heard.map_or(0.0, |heard| heard.elapsed().as_secs_f64()),
        memory_bytes: machine.map_or(0, |machine| machine.memory_bytes),
        memory_free_bytes: machine.map_or(0, |machine| machine.memory_free_bytes),
        cpu_used: machine.map_or(0.0, |machine| machine.cpu_used),
        gpus: machine.into_iter().flat_map(|machine| &machine.gpus).map(gpu_item).collect(),
        epoch: leads.map_or(0, |(_, epoch)| epoch.0),
        grpc_address: node.member.grpc_address.clone(),
    }
}

fn gpu_item(gpu: &base::report::Gpu) -> GpuItem {
    GpuItem {
        name: gpu.name.clone(),
        memory_bytes: gpu.memory_bytes,
        memory_used_bytes: gpu.memory_used_bytes,
        used: gpu.used,
        power_w: gpu.power_w,
        temperature_c: gpu.temperature_c,
        fault: gpu.fault.clone().unwrap_or_default(),
    }
}

/// A worker of a node that is away is not ready, whatever it said last.
fn worker_item(node: NodeState, worker: &base::report::WorkerReport) -> WorkerItem {
    let (state, reason) = match node {
        state if state.is_routable() => (worker.state.to_string(), worker.reason.clone()),
        NodeState::Draining => (WorkerState::Draining.to_string(), "its node drains".to_owned()),
        state => (WorkerState::Down.to_string(), format!("its node is {state}")),
    };
    let loaded = worker.models.iter().filter(|model| model.is_loaded);
    WorkerItem {
        name: worker.id.to_string(),
        node: worker.id.node().to_string(),
        backend: worker.backend.to_string(),
        state,
        reason,
        slots: worker.slots,
        busy: worker.busy,
        queued: worker.queued,
        models: worker.models.iter().map(|model| model.name.clone()).collect(),
        loaded: loaded.map(|model| model.name.clone()).collect(),
    }
}

/// `ok`, `degraded` (something is wrong, asks are answered) or `down` (asks are not answered), with reasons.
fn verdict(desk: &NodeDesk) -> (&'static str, Vec<String>) {
    use api::Desk;
    let readiness = desk.readiness();
    let mut reasons = readiness.reasons;
    for (node, report) in reports(&desk.0) {
        match node.state {
            NodeState::Alive => {}
            // The age of the view stands among the reasons already.
            NodeState::Stale if node.member.node == desk.0.node => {}
            _ => reasons.push(format!("node {} is {}", node.member.node, standing(&desk.0, &node))),
        }
        let workers = report.iter().flat_map(|report| &report.workers);
        for worker in workers.filter(|worker| worker.state != WorkerState::Ready && node.state.is_routable()) {
            reasons.push(format!("worker {} is {}: {}", worker.id, worker.state, worker.reason));
        }
    }
    reasons.sort();
    reasons.dedup();
    match (readiness.ready, reasons.is_empty()) {
        (false, _) => ("down", reasons),
        (true, false) => ("degraded", reasons),
        (true, true) => ("ok", reasons),
    }
}

/// This node's failures, newest first.
pub fn own_failures(core: &Core) -> ListFailuresResponse {
    let mut log = core.failures.lock().unwrap_or_else(PoisonError::into_inner);
    log.pass_quiet(unix_ms());
    let item = |failure: &crate::failures::Failure| FailureItem {
        id: format!("{}/{}", core.node, failure.id),
        at_unix_ms: failure.at_ms,
        subject: failure.subject.to_string(),
        kind: word(failure.kind),
        severity: word(failure.severity),
        remedy: failure.remedy.clone(),
        outcome: word(failure.outcome),
        detail: if failure.count > 1 {
            format!("{} ({} times)", failure.detail, failure.count)
        } else {
            failure.detail.clone()
        },
        is_active: failure.outcome == crate::failures::Outcome::Active,
    };
    let active = u32::try_from(log.active()).unwrap_or(u32::MAX);
    let failures = log.newest_first().map(item).collect();
    ListFailuresResponse { view: Some(view_of(core)), failures, active, recovery_rate: log.recovery_rate() }
}

fn report_failure(core: &Core, request: ReportFailureRequest) -> Result<ReportFailureResponse> {
    let kind = parse_word(&request.kind).ok_or_else(|| {
        Fault::invalid(format!("`{}` is no type of failure", request.kind))
            .hint("give system-error, performance-degradation, resource-exhaustion, model-failure, network or security")
    })?;
    let severity = parse_word(&request.severity).ok_or_else(|| {
        Fault::invalid(format!("`{}` is no severity", request.severity)).hint("give low, medium, high or critical")
    })?;
    if request.subject.is_empty() || request.subject.len() > 256 || request.detail.len() > 4096 {
        return Err(Fault::invalid("the subject is empty, or subject or detail are too long")
            .hint("name what failed in up to 256 bytes, and what was seen in up to 4,096"));
    }
    // What a client says is noted as it is; only what the node saw itself is treated.
    let sighting = Sighting { subject: Subject::Other(request.subject), kind, severity, detail: request.detail };
    let mut log = core.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let (id, _) = log.note(sighting, unix_ms());
    Ok(ReportFailureResponse { id: format!("{}/{id}", core.node) })
}

async fn drain(core: &Core, request: DrainRequest) -> Result<DrainResponse> {
    let node = NodeId::new(&request.node);
    if node == core.node {
        core.cluster()?.set_draining(!request.undo);
        let running = core.ports.load().values().map(|port| port.gate.counts().0).sum();
        return Ok(DrainResponse { running });
    }
    let view = core.cluster()?.view();
    let Some(seen) = view.node(&node) else {
        return Err(Fault::new(Code::NotFound, format!("there is no node `{node}`")).hint("`tmctl nodes` lists them"));
    };
    let mut client = core.peers.client_of(core, &node)?;
    let request = ControlRequest { command: Some(Command::Drain(!request.undo)), ..ControlRequest::default() };
    let told = tokio::time::timeout(CALL_WITHIN, client.control(request)).await;
    told.map_err(|_| Fault::new(Code::Unreachable, format!("node `{node}` did not answer")))?
        .map_err(|status| proto::from_status(&status))?;
    let running = seen.report.iter().flat_map(|report| &report.workers).map(|worker| worker.busy).sum();
    Ok(DrainResponse { running })
}

/// Asks every other node that may answer, all at once and within a bound.
pub(super) async fn ask_peers<T, F>(
    core: &Core,
    ask: impl Fn(proto::node::node_client::NodeClient<tonic::transport::Channel>) -> F,
) -> Vec<(NodeId, Result<T>)>
where
    F: Future<Output = std::result::Result<T, tonic::Status>>,
{
    ask_peers_within(CALL_WITHIN, core, ask).await
}

/// The same, where an answer takes longer.
pub(super) async fn ask_peers_within<T, F>(
    within: Duration,
    core: &Core,
    ask: impl Fn(proto::node::node_client::NodeClient<tonic::transport::Channel>) -> F,
) -> Vec<(NodeId, Result<T>)>
where
    F: Future<Output = std::result::Result<T, tonic::Status>>,
{
    let Ok(cluster) = core.cluster() else { return Vec::new() };
    let view = cluster.view();
    let others = view.nodes.iter().filter(|node| node.member.node != view.me && node.state != NodeState::Lost);
    let asks = others.map(|node| {
        let name = node.member.node.clone();
        let client = core.peers.client(&name, &node.member.peer_address);
        let asked = client.map(&ask);
        async move {
            let answer = match asked {
                Ok(asked) => match tokio::time::timeout(within, asked).await {
                    Ok(answer) => answer.map_err(|status| proto::from_status(&status)),
                    Err(_) => Err(Fault::new(Code::Unreachable, format!("node `{name}` did not answer"))),
                },
                Err(fault) => Err(fault),
            };
            (name, answer)
        }
    });
    future::join_all(asks).await
}

/// The children of a supervisor, as it pictures them; none when it does not answer.
async fn children_of(supervisor: &str) -> Vec<ActorItem> {
    let pictured = match ractor::ActorRef::where_is(supervisor) {
        Some(actor) => snapshot_of(actor, SupervisorMessage::Snapshot, CALL_WITHIN).await,
        None => None,
    };
    let children: Vec<serde_json::Value> =
        pictured.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let text =
        |child: &serde_json::Value, key: &str| child.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let item = |child: &serde_json::Value| ActorItem {
        name: text(child, "name"),
        supervisor: supervisor.to_owned(),
        state: text(child, "state"),
        restarts: child.get("restarts").and_then(|v| v.as_u64()).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        snapshot_json: child.get("snapshot").map(ToString::to_string).unwrap_or_default(),
    };
    children.iter().map(item).collect()
}

fn events(
    receiver: tokio::sync::broadcast::Receiver<crate::core::Happened>,
) -> impl Stream<Item = Result<WatchEventsResponse>> + Send {
    futures_util::stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Ok(event) => {
                let response = WatchEventsResponse {
                    at_unix_ms: event.at_ms,
                    kind: event.kind.to_owned(),
                    subject: event.subject,
                    text: event.text,
                };
                Some((Ok(response), Some(receiver)))
            }
            Err(RecvError::Lagged(missed)) => {
                let fault = Fault::new(Code::Overloaded, format!("{missed} events were missed")).hint("watch anew");
                Some((Err(fault), None))
            }
            Err(RecvError::Closed) => None,
        }
    })
    .fuse()
}
