//! One model's process, from its start to its end, and those that use it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::{Code, Fault, Result};
use proto::engine::engine_client::EngineClient;
use proto::engine::{WatchRequest, WatchResponse};
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

use super::life::{Deaths, Next, Resident, is_frozen};
use super::{Incident, Settings, held};
use crate::process::cgroup::Cgroup;
use crate::process::{EngineEnd, EngineProcess, Launch};
use crate::shelf::Shelved;

/// A path to a socket may have about a hundred bytes.
const MOST_SOCKET_PATH: usize = 100;
/// A batch of vectors in one message.
const MOST_MESSAGE: usize = 64 << 20;
/// A model that may be started again sooner than this is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A killed process is gone by then.
const ENDING: Duration = Duration::from_secs(2);
/// Those who use a model that is unloaded have this long to end.
const DRAIN: Duration = Duration::from_secs(30);
/// Between looks whether they have.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// As many as the program takes.
const MOST_SLOTS: u32 = 64;

/// The life of a model's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not in memory, and nobody wants it there.
    Away,
    /// Its process starts, and reads the model.
    Loading,
    /// It takes asks.
    Ready,
    /// It is about to end, on purpose.
    Draining,
    /// It ended without having been told to, and is started again.
    Dead,
}

/// A model's place.
pub struct Home {
    settings: Arc<Settings>,
    tasks: TaskTracker,
    name: String,
    users: Arc<AtomicU32>,
    inner: Arc<Mutex<Inner>>,
    /// Held while the process is started, looked at or ended.
    process: tokio::sync::Mutex<Option<Live>>,
}

struct Inner {
    state: State,
    client: Option<EngineClient<Channel>>,
    deaths: Deaths,
    /// Not started before.
    from: Option<Instant>,
    /// The last sign of life, and when it came.
    heard: Option<(Instant, WatchResponse)>,
    used_at: Option<Instant>,
    /// Not told yet.
    incidents: Vec<Incident>,
}

/// A process, with where it listens.
struct Live {
    process: EngineProcess,
    socket: Socket,
    /// Behind the process: it is gone by the time that this is dropped.
    _cgroup: Option<Cgroup>,
    /// Reads its signs of life.
    watch: Option<AbortHandle>,
}

/// The file that the process listens on; gone with it.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // The process may not have come so far that there is one.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Somebody who uses the process; it is not ended for others while there are any.
pub struct Guest {
    /// The way to it.
    pub client: EngineClient<Channel>,
    users: Arc<AtomicU32>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.users.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Home {
    /// Of a model that is not in memory.
    pub fn new(settings: Arc<Settings>, tasks: TaskTracker, name: String) -> Self {
        let inner = Inner {
            state: State::Away,
            client: None,
            deaths: Deaths::default(),
            from: None,
            heard: None,
            used_at: None,
            incidents: Vec::new(),
        };
        let process = tokio::sync::Mutex::default();
        Self { settings, tasks, name, users: Arc::default(), inner: Arc::new(Mutex::new(inner)), process }
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        held(&self.inner).state
    }

    /// Memory that its process takes, as it says; `None` when it is not up.
    pub fn memory_bytes(&self) -> Option<u64> {
        let inner = held(&self.inner);
        let (_, sign) = inner.heard.as_ref().filter(|_| inner.state == State::Ready)?;
        Some(sign.memory_bytes).filter(|bytes| *bytes > 0)
    }

    /// As room is made for others.
    pub fn resident(&self) -> Resident {
        let inner = held(&self.inner);
        let is_there = matches!(inner.state, State::Ready | State::Loading);
        let memory_bytes = inner.heard.as_ref().map_or(1, |(_, sign)| sign.memory_bytes.max(1));
        Resident {
            name: self.name.clone(),
            memory_bytes: if is_there { memory_bytes } else { 0 },
            is_used: self.users.load(Ordering::Relaxed) > 0,
            used_at: inner.used_at,
        }
    }

    /// Whether it ended on its own, and its wait is over.
    pub fn is_due(&self, now: Instant) -> bool {
        let inner = held(&self.inner);
        inner.state == State::Dead && inner.from.is_some_and(|from| from <= now)
    }

    /// Enters, if it is up. A process that has just ended is noticed here, and not by the ask that meets it.
    pub fn guest(&self) -> Option<Guest> {
        if let Ok(mut process) = self.process.try_lock() {
            self.settle(&mut process);
        }
        let mut inner = held(&self.inner);
        let client = inner.client.clone().filter(|_| inner.state == State::Ready)?;
        inner.used_at = Some(Instant::now());
        self.users.fetch_add(1, Ordering::Relaxed);
        Some(Guest { client, users: self.users.clone() })
    }

    /// Whether its process has ended, or does so in a moment: who is killed lets go of his connections first, and needs a
    /// while to give back his memory.
    pub async fn has_ended(&self) -> bool {
        let mut process = self.process.lock().await;
        if let Some(live) = process.as_mut() {
            // One that goes on is not this one's to end.
            let _ = tokio::time::timeout(ENDING, live.process.has_ended()).await;
        }
        self.settle(&mut process);
        process.is_none()
    }

    /// Waits until a model that has died may be started again.
    pub async fn wait_its_turn(&self) -> Result<()> {
        let from = held(&self.inner).from;
        let Some(wait) = from.map(|from| from.saturating_duration_since(Instant::now())) else { return Ok(()) };
        if wait > LONGEST_WAIT {
            let message = format!("model `{}` is left alone: its process died too often", self.name);
            let fault = Fault::new(Code::EngineFailed, message).hint("`tmctl failures` tells how it died");
            return Err(fault.retry_after(wait));
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Starts the process for `model`, where none is on its way, and waits until it takes asks. Who stops waiting does
    /// not stop the process: the next one finds it.
    pub async fn bring(&self, model: &Shelved, context_tokens: u32, memory_limit: u64) -> Result<Guest> {
        let mut process = self.process.lock().await;
        if process.is_none() {
            held(&self.inner).state = State::Loading;
            let started = self.launch(model, context_tokens, memory_limit).await;
            *process = Some(started.inspect_err(|_| held(&self.inner).state = State::Away)?);
        }
        if let Some(live) = process.as_mut()
            && live.process.first_line().await.is_none()
        {
            live.process.has_ended().await;
        }
        self.settle(&mut process);
        drop(process);
        self.guest().ok_or_else(|| self.is_not_up())
    }

    fn is_not_up(&self) -> Fault {
        let inner = held(&self.inner);
        let why =
            inner.incidents.last().map_or_else(|| "it was unloaded meanwhile".to_owned(), |last| last.end.reason());
        Fault::new(Code::EngineFailed, format!("model `{}` could not be loaded: {why}", self.name))
            .hint("`tmctl failures` shows what its process said")
    }

    /// Brings the state in line with what the process is.
    fn settle(&self, process: &mut Option<Live>) {
        let Some(live) = process else { return };
        if let Some(end) = live.process.try_ended() {
            *process = None;
            return self.died(end);
        }
        if self.state() == State::Loading && live.process.said_first_line() {
            live.watch = Some(self.is_ready(live.socket.0.clone()));
        }
    }

    fn is_ready(&self, socket: PathBuf) -> AbortHandle {
        let client = EngineClient::new(net::unix_channel(socket)).max_decoding_message_size(MOST_MESSAGE);
        let mut inner = held(&self.inner);
        inner.state = State::Ready;
        inner.client = Some(client.clone());
        inner.heard = Some((Instant::now(), WatchResponse::default()));
        self.tasks.spawn(listen(client, self.inner.clone())).abort_handle()
    }

    /// Its process ended on its own: when it may be started again.
    fn died(&self, end: EngineEnd) {
        let now = Instant::now();
        let mut inner = held(&self.inner);
        inner.client = None;
        inner.heard = None;
        let (state, wait, quarantine) = match inner.deaths.another(now) {
            Next::Restart(wait) => (State::Dead, wait, None),
            // Nobody tries again by himself: the next ask does, once it may.
            Next::Quarantine(wait) => (State::Away, wait, Some(wait)),
        };
        inner.state = state;
        inner.from = Some(now + wait);
        inner.incidents.push(Incident { model: self.name.clone(), end, quarantine });
    }

    /// Looks at the process; gives what happened since the last time.
    pub async fn tend(&self) -> Vec<Incident> {
        // While it is started or ended, whoever does that looks.
        if let Ok(mut process) = self.process.try_lock() {
            self.settle(&mut process);
            if let Some(silent) = self.silence()
                && let Some(live) = process.take()
            {
                live.end(true).await;
                self.died(EngineEnd::frozen(silent));
            }
        }
        std::mem::take(&mut held(&self.inner).incidents)
    }

    /// For how long a process that is up has been silent, when that means that it is frozen.
    fn silence(&self) -> Option<Duration> {
        let inner = held(&self.inner);
        let (at, sign) = inner.heard.as_ref().filter(|_| inner.state == State::Ready)?;
        let mean_step = Duration::try_from_secs_f64(sign.mean_step_s).unwrap_or_default();
        Some(at.elapsed()).filter(|silent| is_frozen(*silent, mean_step))
    }

    /// Ends the process once those who use it are done, or have had their time.
    pub async fn leave(&self) {
        {
            let mut inner = held(&self.inner);
            if inner.state != State::Ready {
                return;
            }
            inner.state = State::Draining;
        }
        let until = Instant::now() + DRAIN;
        while self.users.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        self.end(false).await;
    }

    /// Ends the process; with `force`, at once.
    pub async fn end(&self, force: bool) {
        let mut process = self.process.lock().await;
        let live = process.take();
        {
            let mut inner = held(&self.inner);
            inner.state = State::Away;
            inner.client = None;
            inner.heard = None;
        }
        if let Some(live) = live {
            live.end(force).await;
        }
    }

    async fn launch(&self, model: &Shelved, context_tokens: u32, memory_limit: u64) -> Result<Live> {
        let settings = &self.settings;
        let socket = Socket(self.socket()?);
        let mut command = vec![settings.program.clone()];
        let mut add = |name: &str, value: String| command.extend([name.to_owned(), value]);
        add("--model", model.path.to_string_lossy().into_owned());
        add("--socket", socket.0.to_string_lossy().into_owned());
        add("--context", context_tokens.to_string());
        add("--slots", settings.slots.clamp(1, MOST_SLOTS).to_string());
        add("--threads", settings.threads.to_string());
        if let Some(adapter) = &model.adapter {
            add("--adapter", adapter.to_string_lossy().into_owned());
            let scale = model.variant.as_ref().and_then(|variant| variant.adapter_scale).unwrap_or(1.0);
            add("--adapter-scale", scale.to_string());
        }
        let cgroup = Cgroup::make(memory_limit);
        let launch = Launch {
            worker: format!("{}/{}", settings.worker, self.name),
            command,
            // A failed check inside of the library would start a debugger, and wait for it.
            environment: vec![("GGML_NO_BACKTRACE", "1".to_owned())],
            cgroup: cgroup.as_ref().map(|cgroup| cgroup.path().to_owned()),
        };
        let process = EngineProcess::start(&launch, &self.tasks).await?;
        Ok(Live { process, socket, _cgroup: cgroup, watch: None })
    }

    /// A place for the socket that its owner alone can reach.
    fn socket(&self) -> Result<PathBuf> {
        let name = format!("{:016x}.sock", fastrand::u64(..));
        let mut folder = self.settings.folder.clone();
        if folder.as_os_str().len() + name.len() + 1 > MOST_SOCKET_PATH {
            folder = PathBuf::from(format!("/tmp/taskmaster-{}", std::process::id()));
        }
        let could_not = |error| {
            Fault::new(Code::EngineFailed, format!("could not make the folder `{}`", folder.display()))
                .because(error)
                .hint("this user must be able to write there")
        };
        std::fs::create_dir_all(&folder).map_err(could_not)?;
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&folder, private).map_err(could_not)?;
        Ok(folder.join(name))
    }
}

impl Live {
    async fn end(self, force: bool) {
        if let Some(watch) = self.watch {
            watch.abort();
        }
        self.process.end(force).await;
    }
}

/// Notes the signs of life of a process until they end with it.
async fn listen(mut client: EngineClient<Channel>, inner: Arc<Mutex<Inner>>) {
    let Ok(signs) = client.watch(WatchRequest {}).await else { return };
    let mut signs = signs.into_inner();
    while let Ok(Some(sign)) = signs.message().await {
        if let Some(heard) = &mut held(&inner).heard {
            *heard = (Instant::now(), sign);
        }
    }
}
