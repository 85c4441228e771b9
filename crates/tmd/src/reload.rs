//! The configuration, read again while the node runs. What is wrong with it is told, and then nothing changes; what is
//! good and may change at once does, the rest is named and waits for the next start. `base::config::Taken` says which.
//!
//! Everything that can fail is done before anything is changed.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use api::grpc::GrpcLimits;
use api::http::HttpLimits;
use arc_swap::ArcSwap;
use base::config::{Config, ConfigFault, ConfigFaults, Taken, Worker};
use base::report::Backend;
use base::{Code, Fault, NodeId, Result};
use proto::admin::{ReloadRequest, ReloadResponse};
use ractor::ActorRef;
use tokio::sync::Mutex;

use crate::actors::supervisor::SupervisorMessage;
use crate::actors::workers::{actor_of, recipe};
use crate::core::Core;
use crate::features::{Feature, Release};
use crate::instruments::Instruments;
use crate::mode::SetMode;
use crate::shelving::{incomplete, within};
use crate::telemetry::LogFilter;
use crate::worker::port::Port;
use crate::{benching, node, settings};

/// Another node has read its file by then, or does not answer.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// An actor that was told to end has ended by then.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at whether a worker has become idle.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Reads the configuration as the start did.
pub type Read = Arc<dyn Fn() -> std::result::Result<Config, Unread> + Send + Sync>;

/// Why there is no configuration.
#[derive(Debug)]
pub enum Unread {
    /// Its file, or one that it names, could not be read.
    File(Fault),
    /// It is wrong.
    Wrong(ConfigFaults),
}

/// Where the configuration comes from, and what follows it without the rest of the node.
pub struct Source {
    /// Reads it.
    pub read: Read,
    /// The workers were found on their default ports, and not written down.
    pub has_found_workers: bool,
    /// What the node says that it is.
    pub release: Release,
    /// What is logged.
    pub log: LogFilter,
    /// Bounds of the HTTP face.
    pub http_limits: Arc<ArcSwap<HttpLimits>>,
    /// Bounds of the gRPC face.
    pub grpc_limits: Arc<ArcSwap<GrpcLimits>>,
    /// One reload at a time.
    pub turn: Mutex<()>,
    /// Workers change after those of the reload before.
    pub exchange: Mutex<()>,
}

/// The bounds of the HTTP face.
pub fn http_limits(config: &Config) -> HttpLimits {
    let allowed_origins = config.http_allowed_origins.clone();
    HttpLimits { allowed_origins, ..HttpLimits::from_config(&config.limits) }
}

/// What became of a reload.
#[derive(Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// Taken on, as far as it goes.
    Taken(Taken),
    /// Wrong; the one before holds.
    Refused(Vec<ConfigFault>),
}

/// Reads the configuration again and takes on what can change at once; says so in the log, too.
pub async fn reload(core: &Arc<Core>) -> Result<Reloaded> {
    let _turn = core.source.turn.lock().await;
    let read = core.source.read.clone();
    let read = tokio::task::spawn_blocking(move || read()).await;
    let read = read.map_err(|error| Fault::internal("reading the configuration ended early").because(error))?;
    let taken = match read {
        Ok(wanted) => take_on(core, wanted),
        Err(Unread::File(fault)) => Err(fault),
        Err(Unread::Wrong(faults)) => {
            for ConfigFault { field, value, problem, hint } in &faults.0 {
                tracing::error!(field, value, problem, hint, "the configuration is wrong; the one before holds");
            }
            return Ok(Reloaded::Refused(faults.0));
        }
    };
    let taken = taken.inspect_err(|fault| {
        let hint = fault.hint.as_deref().unwrap_or_default();
        tracing::error!(
            error = fault.full_message(),
            hint,
            "could not take the configuration on; the one before holds"
        );
    })?;
    tracing::info!(live = taken.live.join(", "), "the configuration was read again");
    if !taken.restart.is_empty() {
        tracing::warn!(fields = taken.restart.join(", "), "changed in the configuration, and wait for the next start");
    }
    core.happened("config", core.node.as_str(), format!("was read again: {}", in_words(&taken)));
    Ok(Reloaded::Taken(taken))
}

fn in_words(taken: &Taken) -> String {
    match (taken.live.is_empty(), taken.restart.is_empty()) {
        (true, true) => "nothing changed".to_owned(),
        (false, true) => format!("{} taken on", taken.live.join(", ")),
        (true, false) => format!("{} wait for the next start", taken.restart.join(", ")),
        (false, false) => {
            format!("{} taken on, {} wait for the next start", taken.live.join(", "), taken.restart.join(", "))
        }
    }
}

/// Changes the node; refuses before it changes anything.
fn take_on(core: &Arc<Core>, mut wanted: Config) -> Result<Taken> {
    let before = core.config.load_full();
    if core.source.has_found_workers && wanted.workers.is_empty() {
        wanted.workers.clone_from(&before.workers);
    }
    let mut config = Config::clone(&before);
    let taken = config.take_on(&wanted);
    let exchanges = exchanges(core, &before.workers, &config)?;
    let filter = core.source.log.read(&config.telemetry.log)?;
    core.mode.policy().set_local(&config.privacy.local_ranges)?;
    core.source.log.set(filter);
    core.source.http_limits.store(Arc::new(http_limits(&config)));
    core.source.grpc_limits.store(Arc::new(GrpcLimits::from_config(&config.limits)));
    let config = Arc::new(config);
    core.config.store(config.clone());
    for port in core.ports.load().values() {
        port.go_by(&config.limits, &config.routing);
        // What its models are called may be another name now.
        port.look.notify_one();
    }
    // A connection that is kept open was judged by the ranges before.
    settings::close_idle(core);
    let set = |config: &Config| (config.privacy.mode, config.privacy_local_percent);
    if set(&before) != set(&config) && core.mode.get().is_configured() {
        let (mode, local_percent) = set(&config);
        settings::mode_is(core, SetMode::configured(mode, local_percent, base::time::unix_ms()));
    }
    core.table_is_old.notify_one();
    if !exchanges.is_empty() {
        let inner = core.clone();
        core.tasks.spawn(async move {
            let _turn = inner.source.exchange.lock().await;
            futures_util::future::join_all(exchanges.into_iter().map(|one| one.done(&inner))).await;
        });
    }
    Ok(taken)
}

/// A worker that goes, comes or becomes another.
struct Exchange {
    name: String,
    /// What comes; `None` for a worker that is gone for good.
    next: Option<Arc<Port>>,
}

/// What is to be done about workers. Ports are opened here, where a key that cannot be read still refuses everything.
fn exchanges(core: &Arc<Core>, before: &[Worker], config: &Config) -> Result<Vec<Exchange>> {
    let named = |workers: &[Worker], name: &str| workers.iter().find(|worker| worker.name == name).cloned();
    let mut exchanges = Vec::new();
    for gone in before.iter().filter(|worker| named(&config.workers, &worker.name).is_none()) {
        exchanges.push(Exchange { name: gone.name.clone(), next: None });
    }
    for worker in config.workers.iter().filter(|worker| named(before, &worker.name).as_ref() != Some(*worker)) {
        let instruments =
            Instruments { spans: core.spans.clone(), metrics: core.metrics.clone(), watch: core.watch.clone() };
        let port = node::open_port(config, worker, &core.connector, &core.live, &instruments, &core.shelving.shelf)
            .map_err(|error| {
                let message = format!("could not use workers.{}: {error:#}", worker.name);
                Fault::invalid(message).hint("look at its url and its key_file")
            })?;
        exchanges.push(Exchange { name: worker.name.clone(), next: Some(port) });
    }
    if !exchanges.is_empty() && supervisor().is_none() {
        return Err(Fault::unavailable("nobody watches over the workers, so none can be changed")
            .hint("`tmctl actors` shows what happened; start the node again"));
    }
    Ok(exchanges)
}

fn supervisor() -> Option<ActorRef<SupervisorMessage>> {
    ActorRef::where_is("workers")
}

impl Exchange {
    /// What runs at the worker before comes to its end. Where two cannot be beside each other, the next one waits for it.
    async fn done(self, core: &Arc<Core>) {
        let Self { name, next } = self;
        let before = core.ports.load().get(&name).cloned();
        let may_be_beside = before.as_ref().is_none_or(|port| may_be_beside(&port.config));
        if let (Some(before), Some(next)) = (&before, &next) {
            next.learn_from(before);
        }
        match (before, next) {
            (Some(before), Some(next)) if may_be_beside => {
                unwatched(&before).await;
                put(core, &name, Some(&next));
                left(core, before).await;
            }
            (before, next) => {
                put(core, &name, None);
                if let Some(before) = before {
                    drained(core, &before).await;
                    unwatched(&before).await;
                    left(core, before).await;
                }
                if next.is_some() && !core.stop.is_cancelled() {
                    put(core, &name, next.as_ref());
                }
            }
        }
        core.table_is_old.notify_one();
    }
}

/// Whether the engine may be asked by two ports for a moment: not where it is ours to start, which is done once, nor
/// where a second ask breaks off the first.
fn may_be_beside(worker: &Worker) -> bool {
    worker.command.is_empty() && !matches!(worker.backend, Backend::Engine | Backend::LlamaCppPython)
}

/// Another port for the name, or none; it is watched over from now on.
fn put(core: &Arc<Core>, name: &str, port: Option<&Arc<Port>>) {
    let mut ports = std::collections::HashMap::clone(&core.ports.load());
    let before = match port {
        Some(port) => ports.insert(name.to_owned(), port.clone()),
        None => ports.remove(name),
    };
    if let Some(before) = before {
        core.leaving.lock().unwrap_or_else(PoisonError::into_inner).push(before);
    }
    core.ports.store(Arc::new(ports));
    core.table_is_old.notify_one();
    let Some(port) = port else {
        core.happened("worker", format!("{}/{name}", core.node), "left the configuration");
        return;
    };
    benching::recall_at(core, port);
    // The one before may have been given up.
    core.degrade(&actor_of(port), None);
    let watched = supervisor().map(|workers| workers.cast(SupervisorMessage::Add(recipe(core, port))));
    if !matches!(watched, Some(Ok(()))) {
        tracing::error!(worker = %port.id, "nobody watches over the worker");
        port.abandon();
    }
}

/// Nobody watches over the port any more, nor starts its engine again.
async fn unwatched(port: &Port) {
    let name = actor_of(port);
    if let Some(workers) = supervisor() {
        // One that has just ended takes its children along.
        let _ = workers.cast(SupervisorMessage::Remove(name.clone()));
    }
    let gone = async {
        while ractor::registry::where_is(&*name).is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(ENDS_WITHIN, gone).await.is_err() {
        tracing::warn!(worker = %port.id, "its actor does not end");
    }
}

/// The port is idle, or its time is over.
async fn drained(core: &Core, port: &Arc<Port>) {
    let most = core.config.load().limits.drain;
    if tokio::time::timeout(most, idle(port)).await.is_err() {
        tracing::warn!(worker = %port.id, "some asks of a worker that leaves did not finish in time");
    }
}

/// What is left at a port that nobody is sent to comes to its end, and then the engine, where it is ours.
async fn left(core: &Core, port: Arc<Port>) {
    if may_be_beside(&port.config) {
        let most = core.config.load().limits.ask;
        let _ = tokio::time::timeout(most, idle(&port)).await;
    }
    port.end_engine(false).await;
    core.leaving.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, &port));
}

/// Waits until nothing runs or waits at the port.
async fn idle(port: &Port) {
    while port.gate.counts() != (0, 0) {
        // Nobody else lets in who waits for another model.
        port.gate.pump();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets a node read its configuration again, wherever it is.
pub async fn order(core: &Arc<Core>, request: ReloadRequest) -> Result<ReloadResponse> {
    let node = NodeId::new(&request.node);
    if request.node.is_empty() || node == core.node {
        return here(core).await;
    }
    let view = core.cluster()?.view();
    let Some(seen) = view.node(&node) else {
        return Err(Fault::new(Code::NotFound, format!("there is no node `{node}`")).hint("`tmctl nodes` lists them"));
    };
    Feature::Reload.must_be_known(&node, seen.report.as_deref())?;
    let mut client = core.peers.client_of(core, &node)?;
    let told = within(&node, READ_WITHIN, client.reload(proto::node::ReloadRequest {})).await?;
    told.reloaded.ok_or_else(|| incomplete(&node))
}

/// Lets this node read its configuration again.
pub async fn here(core: &Arc<Core>) -> Result<ReloadResponse> {
    let node = core.node.to_string();
    let told = |fault: ConfigFault| {
        let ConfigFault { field, value, problem, hint } = fault;
        proto::admin::ConfigFault { field, value, problem, hint }
    };
    Ok(match reload(core).await? {
        Reloaded::Taken(Taken { live, restart }) => ReloadResponse { node, live, restart, faults: Vec::new() },
        Reloaded::Refused(faults) => {
            let faults = faults.into_iter().map(told).collect();
            ReloadResponse { node, live: Vec::new(), restart: Vec::new(), faults }
        }
    })
}
