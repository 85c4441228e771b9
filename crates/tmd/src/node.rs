//! A node from start to stop: opens what it needs in order, serves, and takes everything down in order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use api::Desk;
use api::grpc::GrpcLimits;
use api::http::HttpLimits;
use base::config::{Auth, Config, Listener, Store as StoreConfig};
use base::report::Machine;
use base::{Fault, Incarnation, WorkerId};
use cluster::{Cluster, Member, Patience, Settings};
use inference::backend::Backend;
use inference::cache::{AnswerCache, LocalCache, RedisCache};
use inference::http1::{Dial, Endpoint, dialler};
use inference::shelf::Shelf;
use net::listen::{Exposure, TlsAcceptor};
use net::{ClientAuth, Connector, Identity, Policy, Purpose};
use proto::node::node_server::NodeServer;
use routing::live::LiveMap;
use routing::model::Shipped;
use store::{EtcdStore, Local, Opened, SharedStore, SledStore};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::actors::links::LinksArguments;
use crate::actors::recovery::RecoveryArguments;
use crate::actors::root;
use crate::actors::supervisor::{Supervisor, SupervisorMessage};
use crate::core::{Core, Parts, SIGHTINGS_WAITING};
use crate::desk::NodeDesk;
use crate::desk::join::LINGER;
use crate::hints::NodeHints;
use crate::metrics::Metrics;
use crate::mode::ModeState;
use crate::peers::{MESSAGE_BYTES, NodeService, Peers};
use crate::spans::Spans;
use crate::worker::built_in;
use crate::worker::port::Port;
use crate::{benching, fleet, hooks, settings};

/// A dial that takes longer is a failure: engines are in the house.
const DIAL_ENGINE: Duration = Duration::from_secs(3);
/// A lost node stays in the view as lost for this long, so that its owner sees it.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// After the drain, what is still open gets this long to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// A node that serves.
pub struct Node {
    core: Arc<Core>,
    /// Where clients reach it; the kernel's choice where the configuration said port 0.
    pub addresses: Addresses,
    root: ractor::ActorRef<SupervisorMessage>,
    servers: TaskTracker,
    /// Ends the client-facing servers first.
    doors: CancellationToken,
    /// Ends `node.v1` after them.
    peers: CancellationToken,
}

/// The bound addresses of a node.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Client-facing HTTP.
    pub http: SocketAddr,
    /// Client-facing gRPC.
    pub grpc: SocketAddr,
    /// `node.v1`.
    pub peers: SocketAddr,
}

struct Doors {
    http: TcpListener,
    grpc: TcpListener,
    peers: TcpListener,
}

impl Node {
    /// Starts a node. Every listener is bound before anything else begins.
    pub async fn start(config: Config, connector: Connector, policy: Arc<Policy>, spans: Spans) -> Result<Self> {
        let identity = config.tls.as_ref().map(Identity::load).transpose()?.map(Arc::new);
        if let Some(identity) = &identity {
            identity.must_be(&config.node.name)?;
        }
        let doors = bind(&config, identity.is_some()).await?;
        let addresses = doors.addresses()?;
        std::fs::create_dir_all(&config.node.data_dir)
            .with_context(|| format!("could not make `{}` (node.data_dir)", config.node.data_dir.display()))?;
        let mut losses = Vec::new();
        let local = opened_with(Local::open(&config.node.data_dir.join("local"))?, "the local tables", &mut losses);
        let store = open_store(&config, &connector, &mut losses)?;
        let channels = net::Channels::new(connector.clone());
        let (live, shipped) = (LiveMap::default(), Shipped::load()?);
        let shelf = Arc::new(built_in::shelf(&config));
        let ports = ports(&config, &connector, &live, &spans, &shelf)?;
        let (sightings, heard) = mpsc::channel(SIGHTINGS_WAITING);
        let stop = CancellationToken::new();
        let core = Core::new(Parts {
            mode: ModeState::new(policy),
            peers: Peers::new(channels, identity.clone()),
            table: fleet::empty_table(&config, &shipped, &live),
            shipped,
            cache: cache(&config, &connector, &local)?,
            metrics: Metrics::new()?,
            github: hooks::open(&config)?,
            spans,
            machine: Machine::default(),
            store,
            ports,
            shelf,
            live,
            sightings,
            settings_kept: local.table("settings")?,
            speeds_kept: local.table("speeds")?,
            stop: stop.clone(),
            connector,
            config,
        });
        for loss in losses {
            tracing::error!(loss, "stored data was lost");
            core.degrade("storage", Some(loss));
        }
        settings::recall(&core);
        benching::recall(&core);
        core.join(join(&core, &local, addresses).await?);
        let sightings = Arc::new(tokio::sync::Mutex::new(heard));
        let recovery = RecoveryArguments { core: core.clone(), sightings };
        let links = links(&core, &local, identity.clone()).await;
        let arguments = root::arguments(&core, recovery, links);
        let (root, _) = ractor::Actor::spawn(Some("root".to_owned()), Supervisor, arguments)
            .await
            .context("could not start the actors")?;
        let mut node = Self {
            core,
            addresses,
            root,
            servers: TaskTracker::new(),
            doors: CancellationToken::new(),
            peers: CancellationToken::new(),
        };
        node.serve(doors, identity.as_deref())?;
        Ok(node)
    }

    /// Opens the doors.
    fn serve(&mut self, doors: Doors, identity: Option<&Identity>) -> Result<()> {
        let limits = &self.core.config.limits;
        let desk: Arc<dyn Desk> = Arc::new(NodeDesk(self.core.clone()));
        let acceptor = |auth| -> Result<Option<TlsAcceptor>> {
            let config = identity.map(|identity| identity.server_config(&[b"h2"], auth)).transpose()?;
            Ok(config.map(TlsAcceptor::new))
        };
        // Loopback clients need no TLS; others prove who they are by key or certificate.
        let is_local = self.addresses.grpc.ip().is_loopback();
        let client_tls = if is_local { None } else { acceptor(ClientAuth::Optional)? };
        let grpc = net::listen::incoming(doors.grpc, client_tls);
        let peers = net::listen::incoming(doors.peers, acceptor(ClientAuth::Required)?);
        let allowed_origins = self.core.config.http_allowed_origins.clone();
        let http = api::http::serve(
            doors.http,
            desk.clone(),
            HttpLimits { allowed_origins, ..HttpLimits::from_config(limits) },
            self.doors.clone(),
            self.core.tasks.clone(),
        );
        self.servers.spawn(http);
        let grpc = api::grpc::serve(grpc, desk, GrpcLimits::from_config(limits), self.doors.clone());
        self.servers.spawn(ended("grpc", grpc));
        let service = NodeServer::new(NodeService(self.core.clone()))
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let peers = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(Duration::from_secs(5)))
            .http2_keepalive_timeout(Some(Duration::from_secs(5)))
            .add_service(service)
            .serve_with_incoming_shutdown(peers, self.peers.clone().cancelled_owned());
        self.servers.spawn(ended("peers", peers));
        self.servers.close();
        Ok(())
    }

    /// Takes the node down: nothing new, what runs may finish, then the rest in order.
    pub async fn stop(self, hurry: impl Future<Output = ()>) {
        let orderly = async {
            self.close_doors().await;
            self.end_engines(false).await;
        };
        tokio::select! {
            () = orderly => {}
            () = hurry => {
                tracing::warn!("stops at once: asked twice");
                self.end_engines(true).await;
            }
        }
        // The lease is given back, so that the others need not wait for it to expire.
        if let Ok(cluster) = self.core.cluster() {
            cluster.leave().await;
        }
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.core.store.close()).await;
        tracing::info!("stopped");
    }

    /// Takes nothing new, and lets what runs come to its end.
    async fn close_doors(&self) {
        tracing::info!("stops: takes nothing new");
        if let Ok(cluster) = self.core.cluster() {
            cluster.set_draining(true);
        }
        self.core.stop.cancel();
        self.doors.cancel();
        self.drained(self.core.config.limits.drain).await;
        self.peers.cancel();
        let closed = tokio::time::timeout(CLOSE_WITHIN, self.servers.wait()).await;
        if closed.is_err() {
            tracing::warn!("some connections did not close in time");
        }
    }

    /// Ends the engines that are children, all at once. The actors end first: a worker would start its engine again.
    async fn end_engines(&self, force: bool) {
        // An actor that does not end in time is frozen, and ends with the process.
        let _ = self.root.stop_and_wait(None, Some(CLOSE_WITHIN)).await;
        let ends = self.core.ports.values().map(|port| async move {
            port.end_engine(force).await;
        });
        futures_util::future::join_all(ends).await;
    }

    /// Waits until no ask runs at this node's workers, and none of its own clients waits for another node's.
    async fn drained(&self, most: Duration) {
        let idle = async {
            loop {
                // Who has left already does not come back to a node that stops.
                self.core.joins.sweep(Instant::now() + LINGER);
                let running: u32 = self.core.ports.values().map(|port| port.gate.counts().0).sum();
                if running == 0 && self.core.asks_running.load(Ordering::Relaxed) == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(most, idle).await.is_err() {
            tracing::warn!("some asks did not finish within {}", base::units::format_duration(most));
        }
    }

    /// Waits until the actors' root ends, which it does only when something is very wrong.
    pub async fn root_ended(&self) {
        // Polled, since the root has no supervisor that would be told.
        while self.root.get_status() != ractor::ActorStatus::Stopped {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Doors {
    fn addresses(&self) -> Result<Addresses> {
        let (http, grpc, peers) = (self.http.local_addr()?, self.grpc.local_addr()?, self.peers.local_addr()?);
        Ok(Addresses { http, grpc, peers })
    }
}

async fn bind(config: &Config, has_tls: bool) -> Result<Doors> {
    let for_clients = |address: &SocketAddr| match address.ip().is_loopback() {
        true => Exposure::Loopback,
        false => Exposure::Lan { authenticated: config.auth == Auth::Store },
    };
    let for_peers = match config.peers.listen.ip().is_loopback() {
        true => Exposure::Loopback,
        false => Exposure::Lan { authenticated: has_tls },
    };
    Ok(Doors {
        http: net::listen::bind("http.listen", config.http_listen, for_clients(&config.http_listen)).await?,
        grpc: net::listen::bind("grpc.listen", config.grpc_listen, for_clients(&config.grpc_listen)).await?,
        peers: net::listen::bind("peers.listen", config.peers.listen, for_peers).await?,
    })
}

/// The durable truth, as the configuration says.
pub fn open_store(config: &Config, connector: &Connector, losses: &mut Vec<String>) -> Result<SharedStore> {
    match &config.store {
        StoreConfig::Sled => {
            let opened = SledStore::open(&config.node.data_dir.join("store"))?;
            Ok(Arc::new(opened_with(opened, "the store", losses)))
        }
        StoreConfig::Etcd(etcd) => {
            let channels = net::Channels::new(connector.clone());
            let dial: store::etcd::Dial = Arc::new(move |url: &str| channels.channel(Purpose::Etcd, url, None));
            Ok(Arc::new(EtcdStore::open(etcd, &dial)?))
        }
    }
}

/// What was opened; what had to be given up for it is told to the owner.
fn opened_with<T>(opened: Opened<T>, what: &str, losses: &mut Vec<String>) -> T {
    if let Some(path) = opened.set_aside {
        losses.push(format!("{what} could not be opened, was set aside at `{}`, and began empty", path.display()));
    }
    if let Some(lost) = opened.lost {
        losses.push(format!("{what} lost what was written after revision {} up to {}", lost.after, lost.up_to));
    }
    opened.store
}

fn ports(
    config: &Config,
    connector: &Connector,
    live: &LiveMap,
    spans: &Spans,
    shelf: &Arc<Shelf>,
) -> Result<HashMap<String, Arc<Port>>> {
    let mut ports = HashMap::new();
    for worker in &config.workers {
        let id = WorkerId::of(&config.node.name, &worker.name);
        let backend = match worker.backend {
            base::report::Backend::Engine => built_in::open(config, worker, shelf.clone()),
            _ => open_engine(worker, connector)?,
        };
        let live = live.worker(&id);
        let (limits, routing) = (config.limits.clone(), &config.routing);
        let port = Port::new(id, worker.clone(), backend, live, limits, routing, spans.clone());
        ports.insert(worker.name.clone(), port);
    }
    Ok(ports)
}

fn open_engine(worker: &base::config::Worker, connector: &Connector) -> Result<Box<dyn Backend>> {
    let key = worker.key_file.as_deref().map(read_key).transpose()?;
    let endpoint = Endpoint::parse(&worker.url)?;
    let purpose = if worker.backend.is_external() { Purpose::Cloud } else { Purpose::Engine };
    let dial = dial_engine(connector, purpose, &endpoint)?;
    Ok(inference::backend::open(worker.backend, &worker.name, endpoint, key.as_deref(), dial)?)
}

fn read_key(path: &Path) -> Result<String> {
    let key = std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
    Ok(key.trim().to_owned())
}

/// How an engine is dialled: by `net`, with TLS where its URL says so.
fn dial_engine(connector: &Connector, purpose: Purpose, endpoint: &Endpoint) -> Result<Dial> {
    let tls = match endpoint.is_tls {
        true => Some(net::ClientTls::web(&net::Roots::system()?, &endpoint.host, net::tls::HTTP1)?),
        false => None,
    };
    Ok(dialler(connector.clone(), purpose, endpoint, tls, DIAL_ENGINE))
}

fn cache(config: &Config, connector: &Connector, local: &Local) -> Result<Option<Arc<dyn AnswerCache>>> {
    let Some(cache) = &config.cache else { return Ok(None) };
    let Some(url) = &cache.redis else {
        let table = local.table("answers")?;
        return Ok(Some(Arc::new(LocalCache::open(table, cache.ttl, cache.size)?)));
    };
    let address = Endpoint::parse(&url.replacen("redis://", "http://", 1))?;
    let dial = dial_engine(connector, Purpose::Cache, &address)?;
    Ok(Some(Arc::new(RedisCache::new(url, dial, cache.ttl)?)))
}

async fn join(core: &Arc<Core>, local: &Local, addresses: Addresses) -> Result<Arc<Cluster>> {
    let config = &core.config;
    let advertised =
        |listener: &Listener, bound: SocketAddr| listener.advertise.clone().unwrap_or_else(|| bound.to_string());
    let lease_ttl = match &config.store {
        StoreConfig::Etcd(etcd) => etcd.lease_ttl,
        StoreConfig::Sled => Duration::from_secs(4),
    };
    let me = Member {
        node: core.node.clone(),
        incarnation: Incarnation(0),
        peer_address: advertised(&config.peers, addresses.peers),
        actors_address: config.actors.as_ref().map(|actors| advertised(actors, actors.listen)).unwrap_or_default(),
        grpc_address: addresses.grpc.to_string(),
    };
    let patience = Patience { suspect_after: config.routing.suspect_after, forget_after: FORGET_AFTER };
    let settings = Settings { me, lease_ttl, heartbeat: config.routing.heartbeat, patience };
    let (store, dial) = (core.store.clone(), Arc::new(crate::peers::DialPeers(Arc::downgrade(core))));
    let reporting = Arc::downgrade(core);
    let node = core.node.clone();
    let report =
        Box::new(move || reporting.upgrade().map_or_else(|| fleet::report_of(&node), |core| fleet::own_report(&core)));
    Ok(Cluster::new(settings, store, dial, local.table("cluster")?, report).await?)
}

/// Links between supervisors of nodes, where they are switched on. Without them the node is whole, only slower to notice.
async fn links(core: &Arc<Core>, local: &Local, identity: Option<Arc<Identity>>) -> Option<LinksArguments> {
    let listener = core.config.actors.clone()?;
    let prepared = async {
        let cookie = settings::cookie(core, &local.table("cluster")?).await?;
        Ok::<_, Fault>((cookie, core.cluster()?.subscribe()))
    };
    match prepared.await {
        Ok((cookie, views)) => Some(LinksArguments {
            node: core.node.clone(),
            listener,
            identity,
            connector: core.connector.clone(),
            cookie,
            views,
            hints: Arc::new(NodeHints::new(core)),
        }),
        Err(fault) => {
            tracing::warn!(error = ?fault, "links to other supervisors stay off until the next start");
            core.degrade("links", Some(fault.full_message()));
            None
        }
    }
}

async fn ended(server: &'static str, serving: impl Future<Output = Result<(), tonic::transport::Error>>) {
    if let Err(error) = serving.await {
        tracing::error!(server, %error, "a server ended");
    }
}
