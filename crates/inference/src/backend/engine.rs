//! The built-in engine: a process `tm-engine` for each model that is in memory, spoken to over a Unix socket.
//!
//! A model is loaded by starting its process and unloaded by ending it, so all of its memory comes back. What happens
//! when a process ends or freezes is decided in [`life`]; [`home`] is one model's process, and this file is the backend
//! around all of them.

mod frames;
pub mod home;
pub mod life;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::{Ask, BoxFuture, Code, Dialect, Fault, Result};
use bytes::Bytes;
use futures_util::future::join_all;
use proto::from_status;
use tokio_util::task::TaskTracker;

use super::{Backend, EngineModel, Health, Incident, Run, Started, keep};
use crate::gguf::Correction;
use crate::shelf::{Shelf, Shelved};
use crate::wire::{KeepWish, native};
use frames::Written;
use home::{Guest, Home, Plan, State};

/// A file up to this size is read in a second.
const SOON_READ: u64 = 1 << 30;

/// How the processes are started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of the worker.
    pub worker: String,
    /// The program: a path, or a name that the system finds.
    pub program: String,
    /// Where their sockets lie.
    pub folder: PathBuf,
    /// Longest context, in tokens; 0: as long as each model was made for.
    pub context_tokens: u32,
    /// Threads of each; 0: the processors that there are, without one.
    pub threads: u32,
    /// Asks at once with one model.
    pub slots: u32,
    /// Memory that models may take together, in bytes; 0: no bound.
    pub memory_bytes: u64,
}

/// The backend.
pub struct Engine {
    settings: Arc<Settings>,
    shelf: Arc<Shelf>,
    /// What reads the output and the signs of life of processes; each ends with its process.
    tasks: TaskTracker,
    homes: Mutex<HashMap<String, Arc<Home>>>,
    /// What the last look at the shelf found.
    shelved: Mutex<Vec<Shelved>>,
    corrections: Mutex<HashMap<String, Correction>>,
    /// Whether all files that are quickly read were, once.
    has_read: AtomicBool,
    /// One file is read for its identity at a time.
    identifying: Arc<tokio::sync::Mutex<()>>,
    /// One model is brought in at a time: what fits depends on what is there.
    bringing: tokio::sync::Mutex<()>,
}

impl Engine {
    /// Serves the models of `shelf`.
    pub fn new(settings: Settings, shelf: Arc<Shelf>) -> Self {
        remove_sockets(&settings.folder);
        Self {
            settings: Arc::new(settings),
            shelf,
            tasks: TaskTracker::new(),
            homes: Mutex::default(),
            shelved: Mutex::default(),
            corrections: Mutex::default(),
            has_read: AtomicBool::new(false),
            identifying: Arc::default(),
            bringing: tokio::sync::Mutex::default(),
        }
    }

    /// Looks at the shelf anew; identities that are not known yet are made beside.
    async fn look(&self) -> Result<Vec<Shelved>> {
        let shelf = self.shelf.clone();
        let looked = tokio::task::spawn_blocking(move || shelf.look()).await;
        let shelved = looked.map_err(|error| Fault::internal("could not look for models").because(error))?;
        self.note_faults(&shelved);
        self.identify(&shelved);
        *held(&self.shelved) = shelved.clone();
        Ok(shelved)
    }

    /// Reads files that are new here for their identity, the quick ones first; later looks find what it came to.
    fn identify(&self, shelved: &[Shelved]) {
        let mut nameless: Vec<Shelved> = shelved.iter().filter(|model| is_nameless(model)).cloned().collect();
        nameless.sort_by_key(file_bytes);
        let Some(alone) = self.identifying.clone().try_lock_owned().ok().filter(|_| !nameless.is_empty()) else {
            return;
        };
        let shelf = self.shelf.clone();
        drop(self.tasks.spawn_blocking(move || {
            let _alone = alone;
            for model in nameless {
                tracing::debug!(model = model.name, "reads a file for its identity");
                if let Err(fault) = shelf.identity(&model) {
                    tracing::warn!(model = model.name, error = %fault.full_message(), "could not make a model's identity");
                }
            }
        }));
    }

    /// A file that cannot be used is told once, and again when something else is wrong with it.
    fn note_faults(&self, shelved: &[Shelved]) {
        let before = held(&self.shelved);
        for model in shelved {
            let Err(why) = &model.header else { continue };
            let is_known = before.iter().any(|known| known.path == model.path && known.header.as_ref() == Err(why));
            if !is_known {
                tracing::warn!(file = %model.path.display(), reason = why, "cannot be used as a model");
            }
        }
    }

    /// A model, as the last look at the shelf found it.
    fn known(&self, name: &str) -> Option<Shelved> {
        held(&self.shelved).iter().find(|model| model.name == name).cloned()
    }

    /// A model that can be used; looks for it where it is not known yet.
    async fn shelved(&self, name: &str) -> Result<Shelved> {
        let model = match self.known(name) {
            Some(model) => model,
            None => self.look().await?.into_iter().find(|model| model.name == name).ok_or_else(|| {
                Fault::new(Code::ModelNotFound, format!("there is no model `{name}` on this node"))
                    .hint("`tmctl models list` shows those that there are")
            })?,
        };
        match &model.header {
            Ok(_) => Ok(model),
            Err(why) => Err(Fault::new(Code::EngineFailed, format!("model `{name}` cannot be used: {why}"))
                .hint("get the file again, or take it away")),
        }
    }

    fn context_of(&self, model: &Shelved) -> u32 {
        let trained = model.header.as_ref().map_or(0, |header| header.context_tokens);
        let own = model.variant.as_ref().and_then(|variant| variant.parameters.num_ctx);
        match own.unwrap_or(self.settings.context_tokens) {
            0 => trained,
            most if trained == 0 => most,
            most => most.min(trained),
        }
    }

    /// The memory that a model takes, as believed after what was seen of it.
    fn estimate(&self, model: &Shelved) -> u64 {
        let correction = held(&self.corrections).get(&model.name).copied().unwrap_or_default();
        correction.corrected(self.uncorrected(model))
    }

    /// The same, by its header alone.
    fn uncorrected(&self, model: &Shelved) -> u64 {
        // All slots share one cache, which is as large as the context.
        model.header.as_ref().map_or(0, |header| header.memory(self.context_of(model), 1).total())
    }

    /// Compares the estimate with what a process takes.
    fn learn(&self, home: &Home) {
        let Some((seen, model)) = home.memory_bytes().zip(self.known(home.name())) else { return };
        let estimate = self.uncorrected(&model);
        held(&self.corrections).entry(model.name).or_default().learn(estimate, seen);
    }

    /// The place of a model, made for it where there is none.
    fn home(&self, model: &Shelved) -> Arc<Home> {
        let make = || Arc::new(Home::new(self.settings.clone(), self.tasks.clone(), model.name.clone()));
        held(&self.homes).entry(model.name.clone()).or_insert_with(make).clone()
    }

    /// The place that a model has already.
    fn home_of(&self, name: &str) -> Option<Arc<Home>> {
        held(&self.homes).get(name).cloned()
    }

    fn homes(&self) -> Vec<Arc<Home>> {
        held(&self.homes).values().cloned().collect()
    }

    /// The process of a model, brought up if need be; ends others that are idle when there is no room beside them.
    async fn enter(&self, name: &str, until: Instant) -> Result<(Guest, native::Tuned)> {
        let model = self.shelved(name).await?;
        let home = self.home(&model);
        let tuned = tuned(&model);
        if home.is_outdated(model.digest.as_deref()) {
            home.start_to_leave();
        }
        if let Some(guest) = home.guest() {
            return Ok((guest, tuned));
        }
        let bring = async {
            home.wait_its_turn().await?;
            let _alone = self.bringing.lock().await;
            if let Some(guest) = home.guest() {
                return Ok(guest);
            }
            self.must_be_the_same(&model).await?;
            self.make_room(&model).await?;
            home.bring(&self.plan(&model)).await
        };
        let guest = tokio::time::timeout_at(until.into(), bring).await.unwrap_or_else(|_| {
            Err(Fault::new(Code::DeadlineExceeded, format!("model `{name}` was not loaded in time"))
                .hint("ask again: it may be there by then; `tmctl models load` waits longer"))
        })?;
        Ok((guest, tuned))
    }

    /// The file must still be what it was when the ask was given to this worker: an answer does not go on with other
    /// weights.
    async fn must_be_the_same(&self, model: &Shelved) -> Result<()> {
        let now = self.look().await?.into_iter().find(|now| now.name == model.name);
        if now.is_some_and(|now| now.digest.is_some() && now.digest == model.digest) {
            return Ok(());
        }
        let message = format!("the file of model `{}` is another one than a moment ago", model.name);
        Err(Fault::new(Code::ModelNotFound, message).hint("ask again once it was read for its identity"))
    }

    fn plan(&self, model: &Shelved) -> Plan {
        Plan { model: model.clone(), context_tokens: self.context_of(model), memory_bytes: self.estimate(model) }
    }

    async fn make_room(&self, model: &Shelved) -> Result<()> {
        let room = self.settings.memory_bytes;
        if room == 0 {
            return Ok(());
        }
        let needed = self.estimate(model);
        let homes = self.homes();
        let residents: Vec<_> =
            homes.iter().filter(|home| home.name() != model.name).map(|home| home.resident()).collect();
        let leave = life::who_leaves(&residents, needed, room).ok_or_else(|| {
            let message = format!("model `{}` does not fit beside the models that are in use", model.name);
            Fault::new(Code::Overloaded, message)
                .hint("ask again when they are idle, or give the worker more memory")
                .retry_after(Duration::from_secs(5))
        })?;
        for name in leave {
            tracing::info!(model = name, makes_room_for = model.name, "unloads a model");
            if let Some(home) = homes.iter().find(|home| home.name() == name) {
                home.leave().await;
            }
        }
        Ok(())
    }

    /// A process that ends before it has said anything costs the ask nothing: it begins anew with the next one.
    async fn begin(&self, run: &Run<'_>) -> Result<Started> {
        match self.begin_once(run).await {
            Err(fault) if fault.code == Code::EngineCut && self.has_ended(run.engine_model).await => {
                self.begin_once(run).await.map_err(ended_twice)
            }
            begun => begun,
        }
    }

    async fn has_ended(&self, name: &str) -> bool {
        match self.home_of(name) {
            Some(home) => home.has_ended().await,
            None => false,
        }
    }

    async fn begin_once(&self, run: &Run<'_>) -> Result<Started> {
        let until = run.until(Instant::now());
        let (mut guest, tuned) = self.enter(run.engine_model, until).await?;
        let head = &run.ask.head;
        let content_type = head.dialect.content_type(head.stream);
        if head.dialect.is_generation() {
            let (mut request, calls) = native::generate(run.ask, run.continuation, &tuned, run.context_tokens)?;
            let left = head.deadline.instant().saturating_duration_since(Instant::now());
            request.within_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
            let written = Written::begin(guest, request, calls, run, until).await?;
            return Ok(Started { content_type, frames: Box::new(written) });
        }
        let started = Instant::now();
        let late = |_| {
            Fault::new(Code::DeadlineExceeded, "the engine was not done in time").hint("ask for fewer texts at once")
        };
        let whole = tokio::time::timeout_at(until.into(), answer_whole(&mut guest, run.ask));
        let (body, prompt_tokens) = whole.await.map_err(late)??;
        Ok(Started { content_type, frames: Box::new(frames::whole(body, prompt_tokens, started)) })
    }
}

/// Vectors, or documents in order: the body of the answer, and the tokens that were read for it.
async fn answer_whole(guest: &mut Guest, ask: &Ask) -> Result<(Bytes, u32)> {
    if ask.head.dialect == Dialect::Rerank {
        let (request, most) = native::rerank_request(ask)?;
        let response = guest.client.rerank(request).await.map_err(|status| fault_of(&status))?.into_inner();
        return Ok((native::reranked(ask, &response, most), response.prompt_tokens));
    }
    let request = native::embed_request(ask)?;
    let response = guest.client.embed(request).await.map_err(|status| fault_of(&status))?.into_inner();
    let prompt_tokens = response.prompt_tokens;
    Ok((native::embedded(ask, response), prompt_tokens))
}

impl Backend for Engine {
    fn models(&self, _until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>> {
        Box::pin(async move {
            let shelved = held(&self.shelved).clone();
            let homes = held(&self.homes).clone();
            let model = |model: &Shelved| {
                let header = model.header.as_ref().ok()?;
                let home = homes.get(&model.name);
                let seen = home.and_then(|home| home.memory_bytes());
                // An ask must not begin under one identity and go on under another, so there is none before it is known.
                let digest = Some(model.digest.clone()?);
                Some(EngineModel {
                    name: model.name.clone(),
                    digest,
                    size_bytes: header.file_bytes,
                    memory_bytes: seen.unwrap_or_else(|| self.estimate(model)),
                    context_tokens: self.context_of(model),
                    capabilities: header.capabilities(),
                    is_loaded: home.is_some_and(|home| home.state() == State::Ready),
                })
            };
            Ok(shelved.iter().filter(|model| model.is_model()).filter_map(model).collect())
        })
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        Box::pin(async {
            let program = std::path::Path::new(&self.settings.program);
            if !program.is_file() {
                let name = program.display();
                return Health::Down(format!(
                    "there is no program `{name}` beside `tmd` or in PATH; set engine.program"
                ));
            }
            let shelved = match self.look().await {
                Ok(shelved) => shelved,
                Err(fault) => return Health::Down(fault.full_message()),
            };
            // A large file that is new here may take minutes, and the others are not to wait for it.
            let is_soon = |model: &Shelved| is_nameless(model) && file_bytes(model) < SOON_READ;
            // Only at the start: later, files that come or change are no reason not to serve the others.
            if !self.has_read.load(Ordering::Relaxed) && shelved.iter().any(is_soon) {
                return Health::Loading;
            }
            self.has_read.store(true, Ordering::Relaxed);
            Health::Up
        })
    }

    fn load<'a>(&'a self, model: &'a str, _: Option<Duration>, until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.enter(model, until).await.map(drop) })
    }

    fn unload<'a>(&'a self, model: &'a str, _: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if let Some(home) = self.home_of(model) {
                home.leave().await;
            }
            Ok(())
        })
    }

    fn start<'a>(&'a self, run: Run<'a>) -> BoxFuture<'a, Result<Started>> {
        Box::pin(async move {
            match KeepWish::of(run.ask) {
                Some(wish) => keep(self, wish, &run).await,
                None => self.begin(&run).await,
            }
        })
    }

    fn tend(&self) -> BoxFuture<'_, Vec<Incident>> {
        Box::pin(async move {
            let homes = self.homes();
            let incidents: Vec<Incident> =
                join_all(homes.iter().map(|home| home.tend())).await.into_iter().flatten().collect();
            for home in &homes {
                self.learn(home);
                let shelved = self.known(home.name());
                let digest = shelved.as_ref().and_then(|model| model.digest.clone());
                // Taken away, or put anew under its old name. A file that is still being read for its identity is neither.
                if home.is_outdated(digest.as_deref()) && (digest.is_some() || shelved.is_none()) {
                    home.start_to_leave();
                }
                let Some(model) = shelved.filter(|_| digest.is_some() && home.is_due(Instant::now())) else { continue };
                // An ask that came meanwhile brings it up by itself.
                let Ok(_alone) = self.bringing.try_lock() else { continue };
                if let Err(fault) = home.begin(&self.plan(&model)).await {
                    tracing::warn!(model = model.name, error = %fault.full_message(), "could not start a model again");
                }
            }
            incidents
        })
    }

    fn end(&self, force: bool) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            join_all(self.homes().iter().map(|home| home.end(force))).await;
        })
    }
}

/// Two processes that end on one ask end because of it: it is not tried on the next one.
fn ended_twice(fault: Fault) -> Fault {
    if fault.code != Code::EngineCut {
        return fault;
    }
    Fault::new(Code::EngineFailed, "two processes of the engine ended when they were given this ask")
        .because(fault)
        .hint("`tmctl failures` shows what they said; ask for something else")
}

/// Whether it is a model that was never read as a whole.
fn is_nameless(model: &Shelved) -> bool {
    model.is_model() && model.digest.is_none()
}

fn file_bytes(model: &Shelved) -> u64 {
    model.header.as_ref().map_or(0, |header| header.file_bytes)
}

/// What the model's owner set for it.
fn tuned(model: &Shelved) -> native::Tuned {
    let Some(variant) = &model.variant else { return native::Tuned::default() };
    native::Tuned { system: variant.system.clone().unwrap_or_default(), parameters: variant.parameters.to_object() }
}

/// Sockets of processes that a killed node left behind; they ended with it.
fn remove_sockets(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "sock") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// What a failed call means: a connection that broke is a process that ended.
fn fault_of(status: &tonic::Status) -> Fault {
    let fault = from_status(status);
    match fault.code {
        Code::Unreachable | Code::Unavailable | Code::Cancelled | Code::Internal if status.metadata().is_empty() => {
            Fault::new(Code::EngineCut, "the engine ended in the middle of its answer")
                .because(fault)
                .hint("ask again; it is started anew")
        }
        _ => fault,
    }
}

/// Every entry is put in whole, so that a thread that died leaves nothing half done.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
