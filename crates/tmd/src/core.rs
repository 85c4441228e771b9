//! What every part of the node shares: handles, the last routing table, counters. No decisions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use base::config::Config;
use base::report::Machine;
use base::{Fault, NodeId, Result, WorkerId};
use cluster::Cluster;
use inference::cache::AnswerCache;
use inference::shelf::Shelf;
use planner::Planning;
use planner::github::Hook;
use research::library::Library;
use routing::live::LiveMap;
use routing::model::Shipped;
use routing::table::Table as Routes;
use store::{Seal, SharedStore, Table};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backups::scheduled::Standing;
use crate::benching::Benching;
use crate::desk::contexts::Contexts;
use crate::desk::explain::Ring;
use crate::desk::join::Joins;
use crate::failures::{FailureLog, Sighting, Subject};
use crate::keys::Keys;
use crate::load::Load;
use crate::metrics::Metrics;
use crate::mode::ModeState;
use crate::mode::watch::Watch;
use crate::peers::Peers;
use crate::reload;
use crate::shelving::Shelving;
use crate::spans::Spans;
use crate::worker::port::Port;

/// Sightings that wait for the recovery actor; one more is dropped and counted, since all would tell the same story.
pub const SIGHTINGS_WAITING: usize = 256;
/// Events that a slow watcher may lag behind.
pub const EVENTS_KEPT: usize = 256;
/// From then on a node goes by what it has seen, whoever it has not heard of: an engine may never come up.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// Retries before the first byte: the share of asks that may be started again, in hundredths, and the most saved up.
const RETRY_EARNED: i64 = 20;
const RETRY_COST: i64 = 100;
const RETRY_MOST: i64 = 20_000;

/// The shared state of a node.
pub struct Core {
    /// What it was told.
    pub config: ArcSwap<Config>,
    /// Reads it again.
    pub source: reload::Source,
    /// Its name.
    pub node: NodeId,
    /// What may leave the house now.
    pub mode: ModeState,
    /// What triggers of the mode look at.
    pub watch: Arc<Watch>,
    /// The only way out.
    pub connector: net::Connector,
    /// The durable truth.
    pub store: SharedStore,
    /// Projects and jobs in it.
    pub planning: Arc<Planning>,
    /// Channels to other nodes.
    pub peers: Peers,
    /// The certificate of this node.
    pub identity: Option<Arc<net::Identity>>,
    /// This node's workers, by name.
    pub ports: ArcSwap<HashMap<String, Arc<Port>>>,
    /// Workers that are gone from there, and finish what they have.
    pub leaving: Mutex<Vec<Arc<Port>>>,
    /// Work that this node sent and that has not ended.
    pub live: LiveMap,
    /// What is known of the models of the world.
    pub shipped: Shipped,
    /// What asks are routed by.
    pub table: ArcSwap<Routes>,
    /// Something changed that the table is made of.
    pub table_is_old: Notify,
    /// The machine as it was measured last.
    pub machine: ArcSwap<Machine>,
    /// How busy the nodes were.
    pub load: Load,
    /// Model files of this node.
    pub shelving: Shelving,
    /// Measured speeds of this node's workers.
    pub benching: Benching,
    /// Kept answers.
    pub cache: Option<Arc<dyn AnswerCache>>,
    /// Asks that wait for the same answer, or for their client to come back.
    pub joins: Joins,
    /// Which worker made which of Ollama's contexts.
    pub contexts: Contexts,
    /// The last decisions.
    pub explain: Ring,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// The door for GitHub, where there is one.
    pub github: Option<Hook>,
    /// Makes the spans of asks.
    pub spans: Spans,
    /// The list of failures.
    pub failures: Mutex<FailureLog>,
    /// API keys, as the store told last.
    pub keys: Keys,
    /// Certificates that are refused before their time, as the store told last.
    pub revoked: ArcSwap<Vec<net::certificate::Revocation>>,
    /// The same, with when this process came to know of each.
    pub refused_since: Mutex<Vec<(net::certificate::Revocation, Instant)>>,
    /// Where sightings go.
    pub sightings: mpsc::Sender<Seen>,
    /// What happens, for whoever watches.
    pub events: broadcast::Sender<Happened>,
    /// Keys and mode as they were known last; a node that starts while the store is away goes by them.
    pub settings_kept: Table,
    /// How this node writes to disks.
    pub seal: Seal,
    /// How old the last backup is, where this node may make them.
    pub last_backup: ArcSwapOption<Standing>,
    /// Asks of this node's own clients that have not ended; a stop waits for them.
    pub asks_running: AtomicUsize,
    /// Calls of the knowledge base that run here for other nodes; a stop waits for them.
    pub calls: TaskTracker,
    /// Tasks that outlive the connection that began them.
    pub tasks: TaskTracker,
    /// Cancelled when the node stops.
    pub stop: CancellationToken,
    /// Cancelled when the node is none of the cluster any more: its certificate was revoked.
    pub expelled: CancellationToken,
    /// When this life of the node began.
    pub started: Instant,
    has_looked_around: AtomicBool,
    cluster: OnceLock<Arc<Cluster>>,
    library: OnceLock<Arc<Library>>,
    retries: AtomicI64,
    /// Why the node is not whole, by part; shown by readiness and health.
    pub degraded: Mutex<HashMap<String, String>>,
}

/// What recovery hears.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Something went wrong.
    Wrong(Sighting),
    /// Something works again.
    Works(Subject),
}

/// Something that happened, for whoever watches.
#[derive(Clone, Debug)]
pub struct Happened {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// What kind: node, worker, model, leader, failure, mode, actor.
    pub kind: &'static str,
    /// What it is about.
    pub subject: String,
    /// In words.
    pub text: String,
}

/// What a core is made of.
pub struct Parts {
    pub config: Config,
    pub source: reload::Source,
    pub mode: ModeState,
    pub watch: Arc<Watch>,
    pub connector: net::Connector,
    pub store: SharedStore,
    pub peers: Peers,
    pub identity: Option<Arc<net::Identity>>,
    pub ports: HashMap<String, Arc<Port>>,
    /// The models that lie on this node.
    pub shelf: Arc<Shelf>,
    /// Where measured speeds are kept.
    pub speeds_kept: Table,
    pub live: LiveMap,
    pub shipped: Shipped,
    pub table: Routes,
    pub machine: Machine,
    pub cache: Option<Arc<dyn AnswerCache>>,
    pub metrics: Arc<Metrics>,
    pub github: Option<Hook>,
    pub spans: Spans,
    pub sightings: mpsc::Sender<Seen>,
    pub stop: CancellationToken,
    pub settings_kept: Table,
    pub seal: Seal,
}

impl Core {
    /// Whether `worker` starts a new process for the next ask when one ended.
    pub fn renews_processes(&self, worker: &WorkerId) -> bool {
        self.table.load().renews_processes(worker)
    }

    /// Puts the parts together; the cluster joins later.
    pub fn new(parts: Parts) -> Arc<Self> {
        let keys = Keys::new(parts.connector.audit().clone());
        Arc::new(Self {
            node: parts.config.node.name.clone(),
            planning: Arc::new(Planning::new(parts.store.clone(), parts.config.node.name.clone())),
            shelving: Shelving::new(parts.shelf),
            benching: Benching::new(parts.speeds_kept),
            config: ArcSwap::from_pointee(parts.config),
            source: parts.source,
            mode: parts.mode,
            watch: parts.watch,
            connector: parts.connector,
            store: parts.store,
            peers: parts.peers,
            identity: parts.identity,
            ports: ArcSwap::from_pointee(parts.ports),
            leaving: Mutex::default(),
            live: parts.live,
            shipped: parts.shipped,
            table: ArcSwap::from_pointee(parts.table),
            table_is_old: Notify::new(),
            machine: ArcSwap::from_pointee(parts.machine),
            load: Load::default(),
            cache: parts.cache,
            joins: Joins::default(),
            contexts: Contexts::default(),
            explain: Ring::default(),
            metrics: parts.metrics,
            github: parts.github,
            spans: parts.spans,
            failures: Mutex::default(),
            keys,
            revoked: ArcSwap::default(),
            refused_since: Mutex::default(),
            sightings: parts.sightings,
            events: broadcast::Sender::new(EVENTS_KEPT),
            settings_kept: parts.settings_kept,
            seal: parts.seal,
            last_backup: ArcSwapOption::empty(),
            asks_running: AtomicUsize::new(0),
            calls: TaskTracker::new(),
            tasks: TaskTracker::new(),
            stop: parts.stop,
            expelled: CancellationToken::new(),
            started: Instant::now(),
            has_looked_around: AtomicBool::new(false),
            cluster: OnceLock::new(),
            library: OnceLock::new(),
            retries: AtomicI64::new(RETRY_MOST),
            degraded: Mutex::default(),
        })
    }

    /// The cluster is there; once.
    pub fn join(&self, cluster: Arc<Cluster>) {
        if self.cluster.set(cluster).is_err() {
            tracing::error!("the cluster was set twice");
        }
    }

    /// The knowledge base is open; once.
    pub fn keep_library(&self, library: Arc<Library>) {
        if self.library.set(library).is_err() {
            tracing::error!("the knowledge base was set twice");
        }
    }

    /// This node's part of the knowledge base; a refusal, which names those that have one, where it keeps no documents.
    pub fn library(&self) -> Result<&Arc<Library>> {
        self.own_library().ok_or_else(|| crate::research::keeps_none(self))
    }

    /// The same; `None` where it keeps no documents.
    pub fn own_library(&self) -> Option<&Arc<Library>> {
        self.library.get()
    }

    /// This node's place in the cluster.
    pub fn cluster(&self) -> Result<&Arc<Cluster>> {
        self.cluster.get().ok_or_else(|| Fault::unavailable("the node has not begun to join the cluster"))
    }

    /// Whether the node has only just started, so that a model which the table lacks may be there in a moment.
    ///
    /// Ask this before the table is taken: what has been seen by then is in it.
    pub fn looks_around(&self, now: Instant) -> bool {
        !self.has_looked_around.load(Ordering::Acquire) && now.saturating_duration_since(self.started) < LOOK_AROUND
    }

    /// The table holds everybody that the node can know of; from now on what is not in it is not there.
    pub fn looked_around(&self) {
        self.has_looked_around.store(true, Ordering::Release);
    }

    /// The port of a worker of this node.
    pub fn port(&self, worker: &WorkerId) -> Result<Arc<Port>> {
        self.ports.load().get(worker.name()).cloned().ok_or_else(|| {
            Fault::new(base::Code::NotFound, format!("node `{}` has no worker `{}`", self.node, worker.name()))
                .hint("`tmctl workers` lists what there is")
        })
    }

    /// Every worker, those that leave among them.
    pub fn every_port(&self) -> Vec<Arc<Port>> {
        let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        self.ports.load().values().chain(leaving.iter()).cloned().collect()
    }

    /// Tells recovery; never waits. What does not fit is told by what does.
    pub fn tell(&self, seen: Seen) {
        if self.sightings.try_send(seen).is_err() {
            tracing::warn!("recovery is behind; a sighting was dropped");
        }
    }

    /// Tells whoever watches.
    pub fn happened(&self, kind: &'static str, subject: impl Into<String>, text: impl Into<String>) {
        // Without a watcher nobody is told; that is no error.
        let at_ms = base::time::unix_ms();
        let _ = self.events.send(Happened { at_ms, kind, subject: subject.into(), text: text.into() });
    }

    /// An ask came in: it earns a share of a retry.
    pub fn earn_retry(&self) {
        if self.retries.load(Ordering::Relaxed) < RETRY_MOST {
            self.retries.fetch_add(RETRY_EARNED, Ordering::Relaxed);
        }
    }

    /// Takes a retry out of the budget; `false` when it is spent.
    pub fn take_retry(&self) -> bool {
        let taken = self.retries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left >= RETRY_COST).then_some(left - RETRY_COST)
        });
        taken.is_ok()
    }

    /// Notes that a part of the node does not work, or (with `None`) works again.
    pub fn degrade(&self, part: &str, reason: Option<String>) {
        let mut degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => degraded.insert(part.to_owned(), reason),
            None => degraded.remove(part),
        };
    }
}
