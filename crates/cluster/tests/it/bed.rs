//! A node as the daemon runs it, on a runtime of its own: shutting that down is as good as `kill -9`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::report::{NodeReport, NodeState};
use base::{Incarnation, NodeId};
use cluster::{Cluster, Dial, Member, NodeView, Patience, Settings};
use proto::node::node_server::{Node as NodeService, NodeServer};
use proto::node::*;
use store::{Local, SharedStore};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

pub const TTL: Duration = Duration::from_secs(2);
pub const SUSPECT_AFTER: Duration = Duration::from_millis(1000);
/// A bound on what should take a moment, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(10);

/// What survives a node's end: its name, its disk, and its address.
pub struct Machine {
    pub name: &'static str,
    dir: TempDir,
    address: SocketAddr,
}

/// A node that runs.
pub struct Node {
    pub cluster: Arc<Cluster>,
    pub store: SharedStore,
    pub membership: CancellationToken,
    runtime: Option<Runtime>,
}

impl Machine {
    pub fn new(name: &'static str) -> Self {
        Self { name, dir: tempfile::tempdir().unwrap(), address: ([127, 0, 0, 1], 0).into() }
    }

    /// Where its next node listens: at another address than before.
    pub fn moves(&mut self) {
        self.address.set_port(0);
    }

    pub fn dir(&self, folder: &str) -> PathBuf {
        self.dir.path().join(folder)
    }

    pub fn start(&mut self, store: impl FnOnce() -> SharedStore) -> Node {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let membership = CancellationToken::new();
        let (cluster, store) = runtime.block_on(async {
            let listener = TcpListener::bind(self.address).await.unwrap();
            self.address = listener.local_addr().unwrap();
            let local = Local::open(&self.dir("local")).unwrap().store.table("cluster").unwrap();
            let store = store();
            let report = Box::new(empty_report);
            let cluster =
                Cluster::new(self.settings(), store.clone(), Arc::new(Plain::default()), local, report).await.unwrap();
            let server = tonic::transport::Server::builder().add_service(NodeServer::new(Service(cluster.clone())));
            runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
            (cluster, store)
        });
        runtime.spawn(cluster.clone().run_membership(membership.clone()));
        runtime.spawn(cluster.clone().run_heartbeats(CancellationToken::new()));
        Node { cluster, store, membership, runtime: Some(runtime) }
    }

    fn settings(&self) -> Settings {
        let me = Member {
            node: self.name.into(),
            incarnation: Incarnation(0),
            peer_address: self.address.to_string(),
            actors_address: String::new(),
            grpc_address: String::new(),
        };
        let patience = Patience { suspect_after: SUSPECT_AFTER, forget_after: Duration::from_secs(60) };
        Settings { me, lease_ttl: TTL, heartbeat: Duration::from_millis(200), patience }
    }
}

impl Node {
    pub fn name(&self) -> NodeId {
        self.cluster.view().me.clone()
    }

    pub fn sees(&self, name: &str) -> Option<NodeView> {
        self.cluster.view().node(&name.into()).cloned()
    }

    pub fn state_of(&self, name: &str) -> Option<NodeState> {
        self.sees(name).map(|node| node.state)
    }

    pub fn block_on<T>(&self, what: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(SOON, what).await.expect("it stands still") };
        self.runtime.as_ref().unwrap().block_on(bounded)
    }
}

impl Drop for Node {
    /// As `kill -9` would: nothing is said to anybody.
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(2));
    }
}

/// Waits until something holds, and says how long that took.
#[track_caller]
pub fn wait(what: &str, limit: Duration, holds: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    started.elapsed()
}

/// Waits until all of them see all of them in `state`.
#[track_caller]
pub fn wait_until_all_are(state: NodeState, nodes: &[&Node]) -> Duration {
    let all = || nodes.iter().all(|a| nodes.iter().all(|b| a.state_of(b.name().as_str()) == Some(state)));
    wait(&format!("all see all {state}"), SOON, all)
}

/// Three nodes on one etcd that see each other.
pub fn three(etcd: &crate::etcd::Etcd) -> ([Machine; 3], [Node; 3]) {
    let mut machines = ["a", "b", "c"].map(Machine::new);
    let nodes = machines.each_mut().map(|machine| machine.start(|| etcd.store()));
    wait_until_all_are(NodeState::Alive, &nodes.each_ref());
    (machines, nodes)
}

/// One channel per address, without TLS.
#[derive(Default)]
struct Plain(Mutex<HashMap<String, Channel>>);

impl Dial for Plain {
    fn peer(&self, _: &NodeId, address: &str) -> base::Result<Channel> {
        let dial = || Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Ok(self.0.lock().unwrap().entry(address.to_owned()).or_insert_with(dial).clone())
    }
}

fn empty_report() -> NodeReport {
    NodeReport {
        node: "".into(),
        incarnation: Incarnation(0),
        sequence: 0,
        peer_address: String::new(),
        actors_address: String::new(),
        grpc_address: String::new(),
        is_draining: false,
        leads: None,
        version: String::new(),
        machine: Default::default(),
        workers: Vec::new(),
        research: None,
        features: Vec::new(),
    }
}

struct Service(Arc<Cluster>);

#[tonic::async_trait]
impl NodeService for Service {
    type RunStream = Pin<Box<dyn Stream<Item = Result<RunResponse, Status>> + Send>>;

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        let report = request.into_inner().report.ok_or_else(|| Status::invalid_argument("no report"))?;
        self.0.heard(NodeReport::try_from(report).map_err(|fault| Status::invalid_argument(fault.to_string()))?);
        Ok(Response::new(HeartbeatResponse { report: Some((&self.0.own_report()).into()) }))
    }

    async fn run(&self, _: Request<RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn keep_file(&self, _: Request<KeepFileRequest>) -> Result<Response<KeepFileResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn fetch_file(&self, _: Request<FetchFileRequest>) -> Result<Response<FetchFileResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn fetch_vectors(&self, _: Request<FetchVectorsRequest>) -> Result<Response<FetchVectorsResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    type CallKnowledgeStream = Pin<Box<dyn Stream<Item = Result<CallKnowledgeResponse, Status>> + Send>>;

    async fn call_knowledge(
        &self,
        _: Request<CallKnowledgeRequest>,
    ) -> Result<Response<Self::CallKnowledgeStream>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn place(&self, _: Request<PlaceRequest>) -> Result<Response<PlaceResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn import_model(&self, _: Request<ImportModelRequest>) -> Result<Response<ImportModelResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn create_model(&self, _: Request<CreateModelRequest>) -> Result<Response<CreateModelResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    type PullModelStream = Pin<Box<dyn Stream<Item = Result<PullModelResponse, Status>> + Send>>;

    async fn pull_model(&self, _: Request<PullModelRequest>) -> Result<Response<Self::PullModelStream>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    type BenchModelStream = Pin<Box<dyn Stream<Item = Result<BenchModelResponse, Status>> + Send>>;

    async fn bench_model(&self, _: Request<BenchModelRequest>) -> Result<Response<Self::BenchModelStream>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn explain(&self, _: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn failures(&self, _: Request<FailuresRequest>) -> Result<Response<FailuresResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn asks(&self, _: Request<AsksRequest>) -> Result<Response<AsksResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn privacy_report(
        &self,
        _: Request<PrivacyReportRequest>,
    ) -> Result<Response<PrivacyReportResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn verify_audit(&self, _: Request<VerifyAuditRequest>) -> Result<Response<VerifyAuditResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn renew_certificate(
        &self,
        _: Request<RenewCertificateRequest>,
    ) -> Result<Response<RenewCertificateResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }

    async fn control(&self, _: Request<ControlRequest>) -> Result<Response<ControlResponse>, Status> {
        Err(Status::unimplemented("heartbeats only"))
    }
}
