//! What a node tells the others about itself with each heartbeat, and what routing and `tmctl` read.

use serde::{Deserialize, Serialize};

use crate::ask::words;
use crate::ids::{Epoch, Incarnation, ModelId, NodeId, WorkerId};

words! {
    /// What kind of engine a worker owns.
    Backend {
        /// Ollama.
        Ollama "ollama",
        /// Anything that speaks OpenAI's API and nothing more.
        OpenAi "openai",
        /// LM Studio.
        LmStudio "lmstudio",
        /// LocalAI.
        LocalAi "localai",
        /// text-generation-webui.
        WebUi "webui",
        /// vLLM.
        Vllm "vllm",
        /// llama.cpp's server.
        LlamaCpp "llamacpp",
        /// llama-cpp-python's server, a sloppier relative.
        LlamaCppPython "llamacpp-python",
        /// The built-in engine.
        Engine "engine",
        /// Anthropic's cloud.
        Anthropic "anthropic",
        /// Perplexity's cloud.
        Perplexity "perplexity",
        /// The fake engine of the tests and of `make demo`.
        Fake "fake",
    }
}

impl Backend {
    /// Whether asks to it leave the house.
    pub const fn is_external(self) -> bool {
        matches!(self, Self::Anthropic | Self::Perplexity)
    }

    /// Whether each model has a process of its own, which is started anew for the next ask when it ended: a worker whose
    /// run was cut may be asked again at once.
    pub const fn renews_processes(self) -> bool {
        matches!(self, Self::Engine)
    }
}

words! {
    /// What a worker can do right now.
    WorkerState {
        /// Its engine is not up yet.
        Starting "starting",
        /// It takes asks.
        Ready "ready",
        /// It finishes what it has and takes nothing new.
        Draining "draining",
        /// Its engine does not answer; it tries again by itself.
        Down "down",
        /// It was given up after too many failures; the owner must look.
        Failed "failed",
    }
}

words! {
    /// What a node is to this node, right now.
    NodeState {
        /// Lease and heartbeats are good.
        Alive "alive",
        /// Heartbeats are good, the lease is not: routable, marked.
        Stale "stale",
        /// The lease is good, heartbeats are late: not routed.
        Suspect "suspect",
        /// Neither is good.
        Lost "lost",
        /// It told us that it goes to sleep, or is known to.
        Asleep "asleep",
        /// It finishes what it has.
        Draining "draining",
    }
}

impl NodeState {
    /// Whether new runs may go there.
    pub const fn is_routable(self) -> bool {
        matches!(self, Self::Alive | Self::Stale)
    }
}

/// A node, as it tells about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub node: NodeId,
    /// Which life of it this is.
    pub incarnation: Incarnation,
    /// Grows with each report of this life; an older one is dropped.
    pub sequence: u64,
    /// Host and port of its `node.v1`.
    pub peer_address: String,
    /// Host and port of its ractor_cluster listener; empty when off.
    pub actors_address: String,
    /// Host and port of its client-facing gRPC; what `tmctl` may dial.
    pub grpc_address: String,
    /// Whether it drains.
    pub is_draining: bool,
    /// Whether it believes to lead, and with which epoch.
    pub leads: Option<Epoch>,
    /// The release it runs.
    pub version: String,
    /// Memory, processor and disk.
    pub machine: Machine,
    /// Its workers.
    pub workers: Vec<WorkerReport>,
    /// What it holds of the knowledge base; `None`: it keeps no documents.
    #[serde(default)]
    pub research: Option<ResearchReport>,
    /// What it understands beyond the first release, by name.
    #[serde(default)]
    pub features: Vec<String>,
}

/// What a node holds of the knowledge base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResearchReport {
    /// Documents that it has indexed.
    pub documents: u64,
    /// Their chunks.
    pub chunks: u64,
    /// Chunks with a vector of the model in use.
    pub embedded: u64,
    /// Bytes of the documents as they were added.
    pub bytes: u64,
    /// Documents that it has not indexed yet.
    pub waiting: u64,
    /// Whether it has seen what there is to index.
    pub seen_records: bool,
}

/// Resources of a machine; what is not known is zero, and `gpus` is empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Installed memory, in bytes.
    pub memory_bytes: u64,
    /// Memory that could be used now, in bytes.
    pub memory_free_bytes: u64,
    /// Share of the processors in use, 0 to 1.
    pub cpu_used: f64,
    /// Free space where models are kept, in bytes.
    pub disk_free_bytes: u64,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
}

/// One GPU as the driver tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// The driver's stable id.
    pub uuid: String,
    /// Its product name.
    pub name: String,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Memory in use, in bytes.
    pub memory_used_bytes: u64,
    /// Share of time that it computed, 0 to 1.
    pub used: f64,
    /// Power draw, in watts; `None` where the device does not tell.
    pub power_w: Option<f64>,
    /// Temperature, in degrees Celsius; `None` where the device does not tell.
    pub temperature_c: Option<f64>,
    /// Why it cannot be used (lost, driver error); `None` when it can.
    pub fault: Option<String>,
    /// Memory held by processes, by process id.
    pub processes: Vec<GpuProcess>,
}

/// A process that holds memory of a GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuProcess {
    /// Process id on that machine.
    pub pid: u32,
    /// Memory it holds, in bytes.
    pub memory_bytes: u64,
}

/// A worker, as its node tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// `node/worker`.
    pub id: WorkerId,
    /// Kind of engine.
    pub backend: Backend,
    /// What it can do now.
    pub state: WorkerState,
    /// Why it is in that state, for people; empty when there is nothing to say.
    pub reason: String,
    /// Asks that may run at once.
    pub slots: u32,
    /// Asks that run.
    pub busy: u32,
    /// Asks that wait at the worker.
    pub queued: u32,
    /// Prompt tokens of running and waiting asks that are not computed yet.
    pub queued_prompt_tokens: u64,
    /// Answer tokens that running and waiting asks are expected to bring.
    pub queued_output_tokens: u64,
    /// Memory that its models may use, in bytes (VRAM where it has a GPU, else RAM); 0 when not known.
    pub memory_bytes: u64,
    /// What its engine offers.
    pub models: Vec<ModelReport>,
    /// Chained prefix hashes that it computed lately, newest last; see `AskHead::prefix`.
    pub prefixes: Vec<u64>,
}

/// A model at one worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// Its name in the catalogue, what clients ask for.
    pub name: String,
    /// What this engine calls it.
    pub engine_name: String,
    /// Its identity.
    pub id: ModelId,
    /// Whether it is in memory now.
    pub is_loaded: bool,
    /// Size of its file, in bytes; 0 when not known.
    pub size_bytes: u64,
    /// Memory it takes when loaded, measured or estimated, in bytes; 0 when not known.
    pub memory_bytes: u64,
    /// Context length, in tokens; 0 when not known.
    pub context_tokens: u32,
    /// What it can do, as the engine tells; empty when it does not tell.
    pub capabilities: Vec<Capability>,
    /// Measured prompt speed here, in tokens per second; `None` before the first run.
    pub prefill_tok_s: Option<f64>,
    /// Measured answer speed of one run here, in tokens per second; `None` before the first run.
    pub decode_tok_s: Option<f64>,
    /// Measured time to load it here, in seconds; `None` before the first load.
    pub load_s: Option<f64>,
    /// Expected length of an answer of it, in tokens (moving mean); `None` before the first run.
    pub output_tokens: Option<f64>,
    /// Not to be used on this node for this many more seconds, because it failed here.
    pub quarantined_s: Option<u64>,
}

words! {
    /// What a model can do.
    Capability {
        /// Text to text.
        Completion "completion",
        /// Calls tools.
        Tools "tools",
        /// Looks at images.
        Vision "vision",
        /// Text to vector.
        Embedding "embedding",
        /// Orders documents.
        Rerank "rerank",
        /// Shows its reasoning apart.
        Thinking "thinking",
    }
}
