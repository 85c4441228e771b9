//! Model files by an owner's hand, on this node or on another: imported, created, pulled.

mod library;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::PullStream;
use base::config::Mode;
use base::report::{Backend as Kind, WorkerState};
use base::{Code, Fault, NodeId, Result, WorkerId};
use futures_util::StreamExt;
use inference::backend::{NewModel, PullProgress, Pulling};
use inference::shelf::{ImportBy, Imported, Parameters, Shelf, Variant};
use proto::admin::{
    CreateModelRequest, CreateModelResponse, ImportModelRequest, ImportModelResponse, PullModelRequest,
    PullModelResponse,
};
use proto::node;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::core::Core;
use crate::desk::admin::reports;
use crate::worker::port::Port;

/// A large file over a slow network share.
const IMPORT_WITHIN: Duration = Duration::from_secs(6 * 3600);
/// An engine that packs a model anew.
const CREATE_WITHIN: Duration = Duration::from_secs(1800);
/// Until an engine says its first word about a pull.
const PULL_BEGINS_WITHIN: Duration = Duration::from_secs(60);
/// Disks are slower with two at once.
const MOST_IMPORTS: usize = 1;
/// More only share the same line.
const MOST_PULLS: usize = 2;
/// When somebody who was refused may come back.
const COME_BACK: Duration = Duration::from_secs(30);

/// The shelf of a node, and how much may be done to it at once.
pub struct Shelving {
    /// The models.
    pub shelf: Arc<Shelf>,
    imports: Arc<Semaphore>,
    pulls: Arc<Semaphore>,
}

impl Shelving {
    /// Of `shelf`.
    pub fn new(shelf: Arc<Shelf>) -> Self {
        let (imports, pulls) = (Semaphore::new(MOST_IMPORTS), Semaphore::new(MOST_PULLS));
        Self { shelf, imports: Arc::new(imports), pulls: Arc::new(pulls) }
    }
}

/// Imports a file at the node that the order names.
pub async fn import(core: &Arc<Core>, order: ImportModelRequest) -> Result<ImportModelResponse> {
    let Some(node) = elsewhere(core, &order.node)? else { return import_here(core, order).await };
    let mut client = core.peers.client_of(core, &node)?;
    let request = node::ImportModelRequest { order: Some(order) };
    let answer = within(&node, IMPORT_WITHIN, client.import_model(request)).await?;
    answer.imported.ok_or_else(|| incomplete(&node))
}

/// Imports a file of this node's machine.
pub async fn import_here(core: &Arc<Core>, order: ImportModelRequest) -> Result<ImportModelResponse> {
    let path = std::path::PathBuf::from(&order.path);
    if !path.is_absolute() {
        return Err(Fault::invalid(format!("`{}` is no absolute path", order.path))
            .hint("name the file from the root, as it is called on the node's machine"));
    }
    let permit = permit(&core.shelving.imports, "another import is running on this node")?;
    let shelf = core.shelving.shelf.clone();
    let by = if order.link { ImportBy::Link } else { ImportBy::Copy };
    let imported = blocking(permit, move || shelf.import(&path, &order.name, by)).await?;
    changed(core, &imported.name, "imported");
    Ok(imported_response(core, imported))
}

fn imported_response(core: &Core, imported: Imported) -> ImportModelResponse {
    let capabilities = imported.header.capabilities();
    ImportModelResponse {
        node: core.node.to_string(),
        name: imported.name,
        path: imported.path.to_string_lossy().into_owned(),
        by: imported.by.as_str().to_owned(),
        size_bytes: imported.size_bytes,
        digest: imported.digest,
        architecture: imported.header.architecture,
        quantisation: imported.header.quantisation,
        capabilities: capabilities.iter().map(ToString::to_string).collect(),
    }
}

/// Creates a model at the worker or the node that the order names.
pub async fn create(core: &Arc<Core>, mut order: CreateModelRequest) -> Result<CreateModelResponse> {
    let node = if order.worker.is_empty() {
        elsewhere(core, &order.node)?
    } else {
        let worker = worker_named(core, &order.worker)?;
        order.worker = worker.to_string();
        elsewhere(core, worker.node().as_str())?
    };
    let Some(node) = node else { return create_here(core, order).await };
    let mut client = core.peers.client_of(core, &node)?;
    let request = node::CreateModelRequest { order: Some(order) };
    let answer = within(&node, CREATE_WITHIN, client.create_model(request)).await?;
    answer.created.ok_or_else(|| incomplete(&node))
}

/// Creates a model at a worker of this node, or on its shelf.
pub async fn create_here(core: &Arc<Core>, order: CreateModelRequest) -> Result<CreateModelResponse> {
    let parameters = match order.parameters_json.as_str() {
        "" => Parameters::default(),
        text => Parameters::from_json(text)?,
    };
    let CreateModelRequest { name, from, system, adapter, worker, .. } = order;
    if name.is_empty() || from.is_empty() {
        return Err(Fault::invalid("a model needs a name and a model that it is made of").hint("give both"));
    }
    let port = match worker.as_str() {
        "" => None,
        worker => Some(core.port(&WorkerId::from(worker))?),
    };
    match port.filter(|port| port.config.backend != Kind::Engine) {
        Some(port) => {
            if !adapter.is_empty() {
                return Err(Fault::new(Code::NotSupported, format!("worker `{}` takes no adapter this way", port.id))
                    .hint("leave --worker out: the built-in engine uses adapters of its node's shelf"));
            }
            let model = NewModel { name: name.clone(), from, system, parameters: parameters.to_object() };
            port.backend.create(&model, Instant::now() + CREATE_WITHIN).await?;
            port.look.notify_one();
            core.happened("model", &name, format!("created at {}", port.id));
        }
        None => {
            let filled = |text: String| (!text.is_empty()).then_some(text);
            let (system, adapter) = (filled(system), filled(adapter));
            let variant = Variant { base: from, system, adapter, adapter_scale: None, parameters };
            let permit = permit(&core.shelving.imports, "an import is running on this node")?;
            let (shelf, called) = (core.shelving.shelf.clone(), name.clone());
            blocking(permit, move || shelf.create(&called, &variant)).await?;
            changed(core, &name, "created");
        }
    }
    Ok(CreateModelResponse { node: core.node.to_string(), worker, name })
}

/// Pulls a model at a worker, wherever that is.
pub async fn pull(core: &Arc<Core>, mut order: PullModelRequest) -> Result<PullStream> {
    may_fetch(core.mode.get().mode)?;
    let worker = if order.worker.is_empty() { puller(core)? } else { worker_named(core, &order.worker)? };
    order.worker = worker.to_string();
    let Some(node) = elsewhere(core, worker.node().as_str())? else { return pull_here(core, order).await };
    let mut client = core.peers.client_of(core, &node)?;
    let request = node::PullModelRequest { order: Some(order) };
    let told = within(&node, PULL_BEGINS_WITHIN * 2, client.pull_model(request)).await?;
    Ok(Box::pin(told.map(move |told| match told {
        Ok(told) => told.progress.ok_or_else(|| incomplete(&node)),
        Err(status) => Err(proto::from_status(&status)),
    })))
}

/// Pulls a model at a worker of this node.
pub async fn pull_here(core: &Arc<Core>, order: PullModelRequest) -> Result<PullStream> {
    may_fetch(core.mode.get().mode)?;
    if order.model.is_empty() {
        return Err(Fault::invalid("no model is named").hint("name one as the engine's library does"));
    }
    let port = core.port(&WorkerId::from(order.worker.as_str()))?;
    library::judge(core, &order.model, &order.worker).await?;
    let permit = permit(&core.shelving.pulls, "enough models are being pulled on this node")?;
    let pulling = port.backend.pull(&order.model, Instant::now() + PULL_BEGINS_WITHIN).await?;
    let pull = Pull { core: core.clone(), port, model: order.model, pulling, _permit: permit };
    Ok(Box::pin(futures_util::stream::unfold(Some(pull), |pull| async move {
        let mut pull = pull?;
        let told = pull.next().await?;
        let rest = told.is_ok().then_some(pull);
        Some((told, rest))
    })))
}

/// A pull of this node that somebody listens to.
struct Pull {
    core: Arc<Core>,
    port: Arc<Port>,
    model: String,
    pulling: Pulling,
    _permit: OwnedSemaphorePermit,
}

impl Pull {
    async fn next(&mut self) -> Option<Result<PullModelResponse>> {
        let told = self.pulling.next().await?;
        // The owner may have shut the house meanwhile; the engine stops when its connection is dropped.
        let told = told.and_then(|told| may_fetch(self.core.mode.get().mode).map(|()| told));
        Some(told.map(|PullProgress { status, completed_bytes, total_bytes }| {
            if status == "success" {
                self.port.look.notify_one();
                tracing::info!(model = self.model, worker = %self.port.id, "a model was pulled");
                self.core.happened("model", &self.model, format!("pulled by {}", self.port.id));
            }
            PullModelResponse { worker: self.port.id.to_string(), status, completed_bytes, total_bytes }
        }))
    }
}

/// Whether an engine may fetch from outside the house.
fn may_fetch(mode: Mode) -> Result<()> {
    match mode {
        Mode::Hybrid | Mode::ExternalPreferred | Mode::ExternalOnly => Ok(()),
        Mode::LocalOnly | Mode::LocalPreferred => {
            let message = format!("a model is fetched from outside the house, which the mode {mode} does not allow");
            Err(Fault::new(Code::PermissionDenied, message)
                .hint(format!("`tmctl mode set hybrid` allows it; `tmctl mode set {mode}` shuts the house again")))
        }
    }
}

/// The node that is meant, when it is another one.
pub(crate) fn elsewhere(core: &Core, node: &str) -> Result<Option<NodeId>> {
    let node = NodeId::new(node);
    if node.as_str().is_empty() || node == core.node {
        return Ok(None);
    }
    if core.cluster()?.view().node(&node).is_none() {
        return Err(Fault::new(Code::NotFound, format!("there is no node `{node}`")).hint("`tmctl nodes` lists them"));
    }
    Ok(Some(node))
}

/// A worker of any node, by `node/worker` or by its name where that is enough.
pub(crate) fn worker_named(core: &Core, named: &str) -> Result<WorkerId> {
    let nodes = reports(core);
    let workers = nodes.iter().filter_map(|(_, report)| report.as_ref()).flat_map(|report| &report.workers);
    let ids: Vec<&WorkerId> = workers.map(|worker| &worker.id).collect();
    if let Some(exact) = ids.iter().find(|id| id.as_str() == named) {
        return Ok((*exact).clone());
    }
    match ids.iter().filter(|id| id.name() == named).collect::<Vec<_>>().as_slice() {
        [only] => Ok((**only).clone()),
        [] => {
            Err(Fault::new(Code::NotFound, format!("there is no worker `{named}`")).hint("`tmctl workers` lists them"))
        }
        _ => Err(Fault::invalid(format!("several nodes have a worker `{named}`")).hint("write it as node/worker")),
    }
}

/// A worker that can pull: of this node rather than of another.
fn puller(core: &Core) -> Result<WorkerId> {
    let mut able = Vec::new();
    for (node, report) in reports(core) {
        let workers = report.into_iter().flat_map(|report| report.workers);
        let can = workers.filter(|worker| matches!(worker.backend, Kind::Ollama | Kind::Fake));
        let is_ready = can.filter(|worker| node.state.is_routable() && worker.state == WorkerState::Ready);
        able.extend(is_ready.map(|worker| worker.id));
    }
    able.sort_by_key(|worker| (worker.node() != core.node, worker.clone()));
    able.into_iter().next().ok_or_else(|| {
        Fault::new(Code::NotFound, "no worker is ready that can pull a model")
            .hint("only Ollama can; bring a file in with `tmctl models import FILE` instead")
    })
}

fn permit(of: &Arc<Semaphore>, why: &str) -> Result<OwnedSemaphorePermit> {
    of.clone().try_acquire_owned().map_err(|_| {
        Fault::new(Code::Overloaded, why).hint("wait until it is done, then try again").retry_after(COME_BACK)
    })
}

/// Work on files, off the threads that serve. It goes on to its end when nobody waits for it any more.
async fn blocking<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let working = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    });
    working.await.map_err(|error| Fault::internal("the work on the files ended early").because(error))?
}

/// Workers of the built-in engine see what is new at once.
fn changed(core: &Core, model: &str, how: &str) {
    for port in core.ports.load().values().filter(|port| port.config.backend == Kind::Engine) {
        port.look.notify_one();
    }
    tracing::info!(model, how, "the shelf has one more model");
    core.happened("model", model, format!("{how} on {}", core.node));
}

pub(crate) async fn within<T>(
    node: &NodeId,
    limit: Duration,
    call: impl Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(proto::from_status(&status)),
        Err(_) => Err(Fault::new(Code::Unreachable, format!("node `{node}` did not answer"))
            .hint("look whether `tmd` still runs there")),
    }
}

pub(crate) fn incomplete(node: &NodeId) -> Fault {
    Fault::new(Code::EngineFailed, format!("node `{node}` answered without saying what it did"))
        .hint("compare the releases with `tmctl nodes`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_house_fetches_models() {
        for &mode in Mode::ALL {
            let is_open = matches!(mode, Mode::Hybrid | Mode::ExternalPreferred | Mode::ExternalOnly);
            match may_fetch(mode) {
                Ok(()) => assert!(is_open, "{mode}"),
                Err(fault) => {
                    assert!(!is_open, "{mode}");
                    assert_eq!(fault.code, Code::PermissionDenied);
                    assert!(fault.hint.unwrap().contains("`tmctl mode set hybrid`"));
                }
            }
        }
    }

    #[test]
    fn one_import_at_a_time() {
        let imports = Arc::new(Semaphore::new(MOST_IMPORTS));
        let first = permit(&imports, "busy").unwrap();
        assert_eq!(permit(&imports, "busy").unwrap_err().code, Code::Overloaded);
        drop(first);
        drop(permit(&imports, "busy").unwrap());
    }
}
