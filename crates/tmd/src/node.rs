//! A node from start to stop: opens what it needs in order, serves, and takes everything down in order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use api::Desk;
use base::config::{Auth, Config, Listener, Store as StoreConfig};
use base::report::Machine;
use base::{Fault, Incarnation, WorkerId};
use cluster::{Cluster, Member, Patience, Settings};
use inference::backend::Backend;
use inference::cache::{AnswerCache, LocalCache, RedisCache};
use inference::http1::{Dial, Endpoint, dialler};
use inference::shelf::Shelf;
use net::audit::Journal;
use net::listen::{Exposure, TlsAcceptor};
use net::{ClientAuth, ClientTls, Connector, Identity, Policy, Purpose};
use proto::node::node_server::NodeServer;
use routing::live::LiveMap;
use routing::model::Shipped;
use store::{EtcdStore, Local, Opened, Seal, SharedStore, SledStore, StoreError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::actors::children::snapshot_of;
use crate::actors::links::LinksArguments;
use crate::actors::recovery::RecoveryArguments;
use crate::actors::root;
use crate::actors::supervisor::{Supervisor, SupervisorMessage};
use crate::core::{Core, Parts, SIGHTINGS_WAITING};
use crate::desk::NodeDesk;
use crate::desk::join::LINGER;
use crate::hints::NodeHints;
use crate::instruments::Instruments;
use crate::metrics::Metrics;
use crate::mode::ModeState;
use crate::mode::watch::Watch;
use crate::peers::{MESSAGE_BYTES, NodeService, Peers};
use crate::reload::Source;
use crate::spans::Spans;
use crate::worker::built_in;
use crate::worker::port::Port;
use crate::{at_rest, benching, certificates, fleet, hooks, reload, research, settings};

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
    pub async fn start(
        config: Config,
        source: Source,
        connector: Connector,
        policy: Arc<Policy>,
        spans: Spans,
    ) -> Result<Self> {
        let identity = identity(&config)?;
        if let Some(identity) = &identity {
            identity.must_be(&config.node.name)?;
        }
        let doors = bind(&config, identity.is_some()).await?;
        let addresses = doors.addresses()?;
        std::fs::create_dir_all(&config.node.data_dir)
            .with_context(|| format!("could not make `{}` (node.data_dir)", config.node.data_dir.display()))?;
        let mut losses = Vec::new();
        let seal = at_rest::seal(&config)?;
        let local = Local::open_sealed(&config.node.data_dir.join("local"), &seal)?;
        let local = opened_with(local, "the local tables", &mut losses);
        // Behind the tables, which belong to one process at a time.
        connector.audit().keep(Journal::open(&config.node.data_dir.join("audit"))?);
        let store = open_store(&config, &connector, identity.as_deref(), &seal, &mut losses).await?;
        let channels = net::Channels::new(connector.set_by("peers"));
        let (live, shipped) = (LiveMap::default(), Shipped::load()?);
        let shelf = Arc::new(built_in::shelf(&config));
        let watch = Arc::new(Watch::new(config.privacy_triggers.clone()));
        let instruments = Instruments { spans, metrics: Arc::new(Metrics::new()), watch: watch.clone() };
        let ports = ports(&config, &connector, &live, &instruments, &shelf)?;
        let (sightings, heard) = mpsc::channel(SIGHTINGS_WAITING);
        let stop = CancellationToken::new();
        let core = Core::new(Parts {
            mode: ModeState::new(policy, config.privacy_lock, config.privacy_local_percent),
            watch,
            peers: Peers::new(channels, identity.clone()),
            identity: identity.clone(),
            table: fleet::empty_table(&config, &shipped, &live),
            shipped,
            cache: cache(&config, &connector, &local, &seal)?,
            metrics: instruments.metrics,
            github: hooks::open(&config)?,
            spans: instruments.spans,
            machine: Machine::default(),
            store,
            ports,
            shelf,
            live,
            sightings,
            seal,
            settings_kept: local.table("settings")?,
            speeds_kept: local.table("speeds")?,
            stop: stop.clone(),
            connector,
            config,
            source,
        });
        for loss in losses {
            tracing::error!(loss, "stored data was lost");
            core.degrade("storage", Some(loss));
        }
        settings::recall(&core);
        // Before it joins: until it has another certificate it is a stranger.
        if let Some(fault) = certificates::own_refusal(&core) {
            return Err(fault.into());
        }
        benching::recall(&core);
        core.join(join(&core, &local, addresses).await?);
        if research::keeps_documents(&core) {
            core.keep_library(Arc::new(research::open(&core, &local)?));
        }
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
        let desk: Arc<dyn Desk> = Arc::new(NodeDesk(self.core.clone()));
        let acceptor = |auth| -> Result<Option<TlsAcceptor>> {
            Ok(identity.map(|identity| identity.acceptor(net::tls::H2, auth)).transpose()?)
        };
        // Loopback clients need no TLS; others prove who they are by key or certificate.
        let is_local = self.addresses.grpc.ip().is_loopback();
        let client_tls = if is_local { None } else { acceptor(ClientAuth::Optional)? };
        let grpc = net::listen::incoming(doors.grpc, client_tls);
        let peers = net::listen::incoming(doors.peers, acceptor(ClientAuth::Required)?);
        let http = api::http::serve(
            doors.http,
            desk.clone(),
            self.core.source.http_limits.clone(),
            self.doors.clone(),
            self.core.tasks.clone(),
        );
        self.servers.spawn(http);
        let from = |stream: &net::listen::ServerStream| Some(stream.peer().address.ip());
        let grpc = api::grpc::serve(grpc, from, desk, self.core.source.grpc_limits.clone(), self.doors.clone());
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
        self.leave().await;
        self.close().await;
    }

    /// Takes a node down that is none of the cluster any more: out of it first, and what still runs is cut off.
    pub async fn give_up(self) {
        self.leave().await;
        settings::keep_refusals(&self.core).await;
        self.core.stop.cancel();
        self.doors.cancel();
        self.peers.cancel();
        self.end_engines(true).await;
        self.close().await;
    }

    /// Waits until the node is none of the cluster any more; why.
    pub async fn expelled(&self) -> Fault {
        self.core.expelled.cancelled().await;
        certificates::own_refusal(&self.core).unwrap_or_else(|| {
            Fault::unavailable("the certificate of this node was revoked").hint("start the node again")
        })
    }

    /// The lease is given back, so that the others need not wait for it to expire.
    async fn leave(&self) {
        if let Ok(cluster) = self.core.cluster() {
            cluster.leave().await;
        }
    }

    /// Closes what is on disks.
    async fn close(&self) {
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.core.store.close()).await;
        let audit = self.core.connector.audit().clone();
        let closed = tokio::task::spawn_blocking(move || audit.journal().map(Journal::close));
        // A disk that hangs must not keep the node.
        let _ = tokio::time::timeout(CLOSE_WITHIN, closed).await;
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
        let most = self.core.config.load().limits.drain;
        self.drained(most).await;
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
        let ends = self.core.every_port().into_iter().map(|port| async move {
            port.end_engine(force).await;
        });
        futures_util::future::join_all(ends).await;
    }

    /// Waits until no ask runs at this node's workers, none of its own clients waits for another node's, and no other node
    /// for documents of this one.
    async fn drained(&self, most: Duration) {
        let idle = async {
            loop {
                // Who has left already does not come back to a node that stops.
                self.core.joins.sweep(Instant::now() + LINGER);
                let running: u32 = self.core.every_port().iter().map(|port| port.gate.counts().0).sum();
                let own = self.core.asks_running.load(Ordering::Relaxed);
                if running == 0 && own == 0 && self.core.calls.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(most, idle).await.is_err() {
            tracing::warn!("some asks did not finish within {}", base::units::format_duration(most));
        }
    }

    /// Reads the configuration again, and takes on what can change while the node runs.
    pub async fn reload(&self) -> base::Result<reload::Reloaded> {
        reload::reload(&self.core).await
    }

    /// Whether the actors' root answers in time; it asks the others, but nobody asks it.
    pub async fn answers(&self, within: Duration) -> bool {
        snapshot_of(self.root.clone(), SupervisorMessage::Snapshot, within).await.is_some()
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

/// The certificate of this node, where it has one.
pub fn identity(config: &Config) -> Result<Option<Arc<Identity>>> {
    let Some(tls) = &config.tls else { return Ok(None) };
    Ok(Some(Arc::new(Identity::load_with_renewed(tls, &config.node.data_dir.join("tls"))?)))
}

/// The durable truth, as the configuration says.
pub async fn open_store(
    config: &Config,
    connector: &Connector,
    identity: Option<&Identity>,
    seal: &Seal,
    losses: &mut Vec<String>,
) -> Result<SharedStore> {
    match &config.store {
        StoreConfig::Sled => {
            let opened = SledStore::open_sealed(&config.node.data_dir.join("store"), seal)?;
            Ok(Arc::new(opened_with(opened, "the store", losses)))
        }
        StoreConfig::Etcd(etcd) => {
            let channels = net::Channels::new(connector.set_by("store.endpoints"));
            let mut members = HashMap::new();
            for url in etcd.endpoints.iter().filter(|url| url.starts_with("https://")) {
                members.insert(url.clone(), member_tls(url, identity)?);
            }
            let dial = move |url: &str| channels.channel(Purpose::Etcd, url, members.get(url));
            let store = EtcdStore::open_sealed(etcd, &(Arc::new(dial) as store::etcd::Dial), seal)?;
            match store.check_seal().await {
                Err(error @ StoreError::Mixed { .. }) => return Err(Fault::from(error).into()),
                // A node starts without etcd, too; every write looks again.
                Err(error) => tracing::warn!(%error, "could not look how etcd's values are sealed"),
                Ok(()) => {}
            }
            Ok(Arc::new(store))
        }
    }
}

/// A member of etcd with TLS shows a certificate of the cluster's CA, and is shown this node's.
fn member_tls(url: &str, identity: Option<&Identity>) -> Result<ClientTls> {
    let identity = identity.ok_or_else(|| {
        Fault::invalid(format!("could not use `{url}`: no certificates are configured"))
            .hint("set `[tls]`, or write the address in store.endpoints with http://")
    })?;
    Ok(ClientTls::node(identity, &Endpoint::parse(url)?.host, net::tls::H2)?)
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
    instruments: &Instruments,
    shelf: &Arc<Shelf>,
) -> Result<HashMap<String, Arc<Port>>> {
    let mut ports = HashMap::new();
    for worker in &config.workers {
        let port = open_port(config, worker, connector, live, instruments, shelf)?;
        ports.insert(worker.name.clone(), port);
    }
    Ok(ports)
}

/// The way to one engine of the node.
pub(crate) fn open_port(
    config: &Config,
    worker: &base::config::Worker,
    connector: &Connector,
    live: &LiveMap,
    instruments: &Instruments,
    shelf: &Arc<Shelf>,
) -> Result<Arc<Port>> {
    let id = WorkerId::of(&config.node.name, &worker.name);
    let backend = match worker.backend {
        base::report::Backend::Engine => built_in::open(config, worker, shelf.clone()),
        _ => open_engine(worker, connector)?,
    };
    let live = live.worker(&id);
    let (limits, routing) = (config.limits.clone(), &config.routing);
    instruments.metrics.has_worker(id.as_str());
    Ok(Port::new(id, worker.clone(), backend, live, limits, routing, instruments.clone()))
}

fn open_engine(worker: &base::config::Worker, connector: &Connector) -> Result<Box<dyn Backend>> {
    let key = worker.key_file.as_deref().map(read_key).transpose()?;
    let endpoint = Endpoint::parse(&worker.url)?;
    let purpose = if worker.backend.is_external() { Purpose::Cloud } else { Purpose::Engine };
    let connector = connector.set_by(&format!("workers.{}", worker.name));
    let dial = dial_engine(&connector, purpose, &endpoint)?;
    Ok(inference::backend::open(worker.backend, &worker.name, endpoint, key.as_deref(), dial)?)
}

/// A key out of its file.
pub(crate) fn read_key(path: &Path) -> Result<String> {
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

fn cache(config: &Config, connector: &Connector, local: &Local, seal: &Seal) -> Result<Option<Arc<dyn AnswerCache>>> {
    let Some(cache) = &config.cache else { return Ok(None) };
    let Some(url) = &cache.redis else {
        let table = local.table("answers")?;
        return Ok(Some(Arc::new(LocalCache::open(table, cache.ttl, cache.size)?)));
    };
    let address = Endpoint::parse(&url.replacen("redis://", "http://", 1))?;
    let dial = dial_engine(&connector.set_by("cache.url"), Purpose::Cache, &address)?;
    let password = cache.password_file.as_deref().map(read_key).transpose()?;
    Ok(Some(Arc::new(RedisCache::new(url, password.as_deref(), dial, cache.ttl)?.sealed(seal.clone()))))
}

async fn join(core: &Arc<Core>, local: &Local, addresses: Addresses) -> Result<Arc<Cluster>> {
    let config = core.config.load_full();
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
    let report = Box::new(move || match reporting.upgrade() {
        Some(core) => fleet::own_report(&core),
        None => fleet::report_of(&node),
    });
    Ok(Cluster::new(settings, store, dial, local.table("cluster")?, report).await?)
}

/// Links between supervisors of nodes, where they are switched on. Without them the node is whole, only slower to notice.
async fn links(core: &Arc<Core>, local: &Local, identity: Option<Arc<Identity>>) -> Option<LinksArguments> {
    let listener = core.config.load().actors.clone()?;
    let prepared = async {
        let cookie = settings::cookie(core, &local.table("cluster")?).await?;
        Ok::<_, Fault>((cookie, core.cluster()?.subscribe()))
    };
    match prepared.await {
        Ok((cookie, views)) => Some(LinksArguments {
            node: core.node.clone(),
            listener,
            identity,
            connector: core.connector.set_by("actors"),
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
