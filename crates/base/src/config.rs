//! The one configuration: what was typed (TOML, `TMD_SECTION__KEY`, aliases) resolved into what it means.
//!
//! [`Config::resolve`] reads everything at once and reports every fault with its field, value and hint; nothing else in
//! the workspace reads the environment or a default. Paths are absolute once resolved (relative ones count from the file; those
//! of secrets from `$CREDENTIALS_DIRECTORY`, where a service manager hands them over there).

mod alias;
mod at_rest;
mod changes;
mod fields;
mod reader;
mod show;
mod triggers;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::ask::words;
use crate::ids::NodeId;
use crate::report::{Backend, Capability};
use crate::units::ByteSize;

pub use at_rest::{Backup, Encryption};
pub use changes::Taken;
pub use triggers::{Act, To, Trigger, When};

pub use reader::{ConfigFault, ConfigFaults, Section, Sources, table};

words! {
    /// What may leave the house.
    Mode {
        /// Nothing.
        LocalOnly "local-only",
        /// Only what no local worker can do.
        LocalPreferred "local-preferred",
        /// By complexity.
        Hybrid "hybrid",
        /// External first, local when it fails.
        ExternalPreferred "external-preferred",
        /// Only external.
        ExternalOnly "external-only",
    }
}

words! {
    /// What a node does.
    Role {
        /// Takes asks of clients.
        Gateway "gateway",
        /// Runs workers.
        Worker "worker",
        /// Holds collections.
        Research "research",
    }
}

/// Everything that a node is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Who this node is.
    pub node: Node,
    /// Client-facing HTTP; port 0 lets the kernel choose (tests).
    pub http_listen: SocketAddr,
    /// Origins (`scheme://host:port`) and hosts of browser pages that may call, besides those of the house.
    pub http_allowed_origins: Vec<String>,
    /// Client-facing gRPC.
    pub grpc_listen: SocketAddr,
    /// `node.v1` between nodes.
    pub peers: Listener,
    /// ractor_cluster between nodes; `None` when switched off.
    pub actors: Option<Listener>,
    /// Certificates; `None` where every listener is on loopback.
    pub tls: Option<Tls>,
    /// Where the durable truth is.
    pub store: Store,
    /// Whether what is written to disks is sealed; `None`: it is plain.
    pub encryption: Option<Encryption>,
    /// Backups that are made by themselves.
    pub backup: Option<Backup>,
    /// What may leave the house.
    pub privacy: Privacy,
    /// The mode is local-only for as long as the node runs, whatever the rest of the cluster is set to.
    pub privacy_lock: bool,
    /// So many of a hundred asks stay at home, where the mode at start is hybrid; by how hard they look when `None`.
    pub privacy_local_percent: Option<u8>,
    /// What proposes another mode, or changes it.
    pub privacy_triggers: Vec<Trigger>,
    /// Whether clients need a key.
    pub auth: Auth,
    /// The engines of this node.
    pub workers: Vec<Worker>,
    /// Declared identities of models.
    pub models: Vec<Model>,
    /// Model names by role, one of [`ROLES`], in order of preference.
    pub roles: Vec<(String, Vec<String>)>,
    /// Bounds.
    pub limits: Limits,
    /// How placement and routing weigh.
    pub routing: Routing,
    /// The answer cache; `None` when off.
    pub cache: Option<Cache>,
    /// What recovery may do.
    pub recovery: Recovery,
    /// Where traces go and how loud logs are.
    pub telemetry: Telemetry,
    /// Path of `libnvidia-ml.so`; `None` looks in the usual places.
    pub nvml: Option<PathBuf>,
    /// The built-in engine and its models.
    pub engine: Engine,
    /// What GitHub's webhook does; `None` when there is none.
    pub github: Option<Github>,
    /// What the knowledge base is told.
    pub research: Research,
}

/// The names that stand for a use instead of a model; `[roles]` says which models, else the catalogue's tiers do.
pub const ROLES: [&str; 7] = ["main", "research", "fallback", "code", "fast", "embed", "rerank"];

/// Who this node is.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name, unique in the cluster: letters, digits, `-`, `_`, `.`.
    pub name: NodeId,
    /// Where it keeps what must survive.
    pub data_dir: PathBuf,
    /// What it does.
    pub roles: Vec<Role>,
}

/// An address to listen on, and the one that others dial.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Bound here.
    pub listen: SocketAddr,
    /// `host:port` that peers dial; the bound address when `None`.
    pub advertise: Option<String>,
}

/// Paths of PEM files.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// The cluster's CA.
    pub ca: PathBuf,
    /// This node's certificate; its name is the node's name.
    pub cert: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// With what this node renews certificates of nodes, its own among them; only some node of a cluster needs one.
    pub issuer: Option<TlsIssuer>,
}

/// Paths of PEM files, as `tmctl ca issuer` writes them.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsIssuer {
    /// The certificate, signed by the cluster's CA.
    pub cert: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
}

/// Where the durable truth is.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// In `data_dir`: a single node.
    Sled,
    /// In etcd: a cluster.
    Etcd(Etcd),
}

/// How to reach etcd.
#[derive(Clone, Debug, PartialEq)]
pub struct Etcd {
    /// URLs of the members.
    pub endpoints: Vec<String>,
    /// Every key is below it; no `/` at its end.
    pub prefix: String,
    /// How long a lease lives without its owner.
    pub lease_ttl: Duration,
    /// Bound on every call.
    pub timeout: Duration,
    /// User name and file with the password.
    pub user: Option<(String, PathBuf)>,
}

/// What may leave the house.
#[derive(Clone, Debug, PartialEq)]
pub struct Privacy {
    /// The mode at start; the store may hold a later one.
    pub mode: Mode,
    /// Networks that count as the house, besides loopback; CIDR.
    pub local_ranges: Vec<String>,
}

words! {
    /// Whether clients need a key.
    Auth {
        /// No; only while every client-facing listener is on loopback.
        Off "off",
        /// Yes; their hashes are in the store.
        Store "store",
    }
}

/// An engine of this node.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Its name, unique on this node.
    pub name: String,
    /// The kind of engine.
    pub backend: Backend,
    /// Its base URL, normalised (scheme, no trailing `/`).
    pub url: String,
    /// Asks at once; 4 if not given, 1 at llama-cpp-python, whose second ask would break off the first.
    pub slots: u32,
    /// Asks that may wait at it.
    pub queue: u32,
    /// When given, the worker owns the process: program and arguments.
    pub command: Vec<String>,
    /// Only these models (engine's names); all that the engine lists when empty.
    pub models: Vec<String>,
    /// File with the key that the engine or cloud wants.
    pub key_file: Option<PathBuf>,
    /// Memory for its models; 0 = what the GPU (or the machine) has.
    pub memory: ByteSize,
}

/// A declared identity of a model across engines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Its catalogue name.
    pub name: String,
    /// Other names of it, by clients or engines.
    pub aliases: Vec<String>,
    /// Workers that have it (`node/worker` or `worker`); any when empty.
    pub engines: Vec<String>,
    /// What it can do, where the engine does not tell.
    pub capabilities: Vec<Capability>,
    /// `fast`, `standard`, `large` or `specialized`; by its size when `None`.
    pub tier: Option<String>,
    /// How many nodes should hold it loaded.
    pub replicas: u32,
}

/// Bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Largest request body.
    pub body: ByteSize,
    /// Largest answer that is not streamed. An engine that sends more fails; at most 64 MiB, which is what nodes pass on.
    pub answer: ByteSize,
    /// Longest wait for the first token.
    pub first_token: Duration,
    /// Longest wait between tokens.
    pub idle_token: Duration,
    /// Longest life of an ask. An answer that is not streamed is given up at a worker and tried elsewhere when it takes
    /// many times what it can take by the speed measured there, and `first_token` and `idle_token` on top.
    pub ask: Duration,
    /// How long in-flight asks may finish when the node stops.
    pub drain: Duration,
    /// Open client connections.
    pub connections: u32,
    /// Time to send a request's headers.
    pub header: Duration,
    /// How long a client may take no byte of its answer.
    pub write: Duration,
}

/// How placement and routing weigh.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// Share of memory kept free on every node.
    pub headroom: f64,
    /// Above this share of processor or GPU use, other nodes come first.
    pub busy_above: f64,
    /// Most model swaps per minute and worker. With `max_wait` below a minute there may be one more per `max_wait`: an
    /// ask that has waited so long is loaded for although the swaps are spent.
    pub swaps_per_minute: u32,
    /// Longest that an ask waits because another model is favoured.
    pub max_wait: Duration,
    /// Whether a slow ask is started a second time elsewhere.
    pub hedge: bool,
    /// Between heartbeats to peers.
    pub heartbeat: Duration,
    /// A peer silent for this long is suspect.
    pub suspect_after: Duration,
}

/// The answer cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// `redis://…`; the node's own sled when `None`.
    pub redis: Option<String>,
    /// File with the password of the Redis.
    pub password_file: Option<PathBuf>,
    /// How long an answer is used.
    pub ttl: Duration,
    /// Bound on the local cache.
    pub size: ByteSize,
}

/// What recovery may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovery {
    /// Whether it acts; it always keeps the list.
    pub enabled: bool,
    /// Remedies per hour and subject.
    pub budget_per_hour: u32,
}

words! {
    /// Another program whose models the built-in engine may use where they lie.
    ModelStore {
        /// Ollama's.
        Ollama "ollama",
        /// LM Studio's.
        LmStudio "lmstudio",
    }
}

/// The built-in engine and its models.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// A path, or a name that is looked for beside `tmd`, then in `PATH`.
    pub program: PathBuf,
    /// Where models of its own lie.
    pub folder: PathBuf,
    /// One more, named on the command line.
    pub file: Option<PathBuf>,
    /// Whose models it offers as well.
    pub stores: Vec<ModelStore>,
    /// Longest context, in tokens; 0 is as long as each model's.
    pub context: u32,
    /// Threads that compute; 0 is one less than it may use.
    pub threads: u32,
    /// The user's folder, below which stores are looked for; `HOME`.
    pub home: Option<PathBuf>,
    /// Ollama's store where it is not in its usual place; `OLLAMA_MODELS`.
    pub ollama_models: Option<PathBuf>,
}

/// What GitHub's webhook does.
#[derive(Clone, Debug, PartialEq)]
pub struct Github {
    /// Signs deliveries, here and at GitHub.
    pub secret: SecretAt,
    /// The project whose tasks follow GitHub.
    pub project: String,
    /// The tag of it.
    pub tag: String,
    /// File that says which events make and change tasks; the built-in rules when `None`.
    pub mapping: Option<PathBuf>,
}

/// What the knowledge base is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Research {
    /// These and what is below them may be watched, and nothing else of the disk.
    pub folders: Vec<PathBuf>,
    /// Between two looks through a watched folder; changes are noticed at once where the kernel tells of them.
    pub scan_every: Duration,
    /// Hosts of the house (`host` or `host:port`) whose pages may become documents; others of the house are not asked.
    pub pages: Vec<String>,
    /// A Qdrant that gives searches their candidates; `None`: each node's own index does.
    pub qdrant: Option<Qdrant>,
}

/// A Qdrant of the house.
#[derive(Clone, Debug, PartialEq)]
pub struct Qdrant {
    /// Its gRPC.
    pub url: String,
    /// File with its API key.
    pub api_key_file: Option<PathBuf>,
    /// What the names of the house's collections in it begin with.
    pub prefix: String,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretAt {
    /// In the configuration.
    Here(Secret),
    /// In a file, with or without a line end behind it.
    File(PathBuf),
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Where traces go and how loud logs are.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// OTLP over gRPC; nothing is sent when `None`.
    pub otlp: Option<String>,
    /// Share of asks that are traced, 0 to 1. An ask whose client tells a trace is traced as that trace is.
    pub sample: f64,
    /// Whether spans carry what clients ask and models answer.
    pub content: bool,
    /// Filter for logs, as `RUST_LOG` writes it.
    pub log: String,
    /// Logs as JSON lines.
    pub json: bool,
}
