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

use super::life::{Deaths, Next, Resident, is_frozen, is_hung, is_too_long};
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
    loads_since: Option<Instant>,
    /// As it was estimated when it was started.
    expected_bytes: u64,
    /// Identity of the file that it was started with.
    digest: Option<String>,
    /// How the last process ended that was not told to.
    last_end: Option<EngineEnd>,
    /// Not told yet.
    incidents: Vec<Incident>,
}

/// How a model is to be started.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file, with its adapter.
    pub model: Shelved,
    /// Tokens of its cache.
    pub context_tokens: u32,
    /// Memory that it is believed to take.
    pub memory_bytes: u64,
}

/// Counts as a user of the process as long as it is there.
struct User(Arc<AtomicU32>);

impl User {
    fn of(users: &Arc<AtomicU32>) -> Self {
        users.fetch_add(1, Ordering::Relaxed);
        Self(users.clone())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
    _user: User,
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
            loads_since: None,
            expected_bytes: 0,
            digest: None,
            last_end: None,
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

    /// Whether what it runs is another file than `digest`; `None`: no file at all.
    pub fn is_outdated(&self, digest: Option<&str>) -> bool {
        let inner = held(&self.inner);
        matches!(inner.state, State::Ready | State::Loading) && inner.digest.as_deref() != digest
    }

    /// As room is made for others.
    pub fn resident(&self) -> Resident {
        let inner = held(&self.inner);
        let is_there = matches!(inner.state, State::Ready | State::Loading | State::Draining);
        let seen = inner.heard.as_ref().map_or(0, |(_, sign)| sign.memory_bytes);
        // What it has not touched yet it may touch any time.
        let memory_bytes = seen.max(inner.expected_bytes).max(1);
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
        Some(Guest { client, _user: User::of(&self.users) })
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

    /// Waits until a model that has died may be started again, and until one that leaves is gone.
    pub async fn wait_its_turn(&self) -> Result<()> {
        while self.state() == State::Draining {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
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

    /// Starts the process, where none is on its way.
    pub async fn begin(&self, plan: &Plan) -> Result<()> {
        let mut process = self.process.lock().await;
        self.settle(&mut process);
        if process.is_some() {
            return Ok(());
        }
        {
            let mut inner = held(&self.inner);
            inner.state = State::Loading;
            inner.loads_since = Some(Instant::now());
            inner.expected_bytes = plan.memory_bytes;
            inner.digest.clone_from(&plan.model.digest);
            inner.last_end = None;
        }
        let launched = self.launch(plan).await;
        *process = Some(launched.inspect_err(|_| held(&self.inner).state = State::Away)?);
        Ok(())
    }

    /// Starts the process, where none is on its way, and waits until it takes asks. Who stops waiting does not stop the
    /// process: the next one finds it.
    pub async fn bring(&self, plan: &Plan) -> Result<Guest> {
        // Who waits is a user as well: the model is not ended for another one meanwhile.
        let _waits = User::of(&self.users);
        self.begin(plan).await?;
        let first_line = self.process.lock().await.as_ref().map(|live| live.process.first_line());
        if let Some(first_line) = first_line
            && first_line.await.is_none()
        {
            self.has_ended().await;
        }
        self.guest().ok_or_else(|| self.is_not_up())
    }

    fn is_not_up(&self) -> Fault {
        let fault = match &held(&self.inner).last_end {
            Some(end) => {
                let message = format!("model `{}` could not be loaded: {}", self.name, end.reason());
                // What was killed from outside may well come up the next time; what gave up itself will not.
                Fault::new(if end.is_by_signal { Code::EngineCut } else { Code::EngineFailed }, message)
            }
            None => Fault::unavailable(format!("model `{}` was unloaded while it was waited for", self.name)),
        };
        fault.hint("ask again; `tmctl failures` shows what its process said")
    }

    /// Brings the state in line with what the process is.
    fn settle(&self, process: &mut Option<Live>) {
        let Some(live) = process else {
            let mut inner = held(&self.inner);
            if matches!(inner.state, State::Ready | State::Loading) {
                inner.state = State::Away;
            }
            return;
        };
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
        inner.last_end = Some(end.clone());
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
            if let Some(why) = self.is_stuck()
                && let Some(live) = process.take()
            {
                self.died(EngineEnd::killed(why));
                live.end(true).await;
            }
        }
        std::mem::take(&mut held(&self.inner).incidents)
    }

    /// Why a process that lives is not going to answer any more.
    fn is_stuck(&self) -> Option<String> {
        let inner = held(&self.inner);
        let words = base::units::format_duration;
        if inner.state == State::Loading {
            let since = inner.loads_since.map_or(Duration::ZERO, |since| since.elapsed());
            return is_too_long(since, inner.expected_bytes)
                .then(|| format!("was killed: it loaded for {}", words(since)));
        }
        let (at, sign) = inner.heard.as_ref().filter(|_| matches!(inner.state, State::Ready | State::Draining))?;
        let seconds = |number: f64| Duration::try_from_secs_f64(number).unwrap_or_default();
        let (silent, step) = (at.elapsed(), seconds(sign.present_step_s));
        match () {
            () if is_frozen(silent) => {
                Some(format!("was frozen ({} without a sign of life) and killed", words(silent)))
            }
            () if is_hung(step, seconds(sign.mean_step_s)) => {
                Some(format!("hung in a step for {} and was killed", words(step)))
            }
            () => None,
        }
    }

    /// Ends the process once those who use it are done, or have had their time.
    pub async fn leave(self: &Arc<Self>) {
        self.start_to_leave();
        while self.state() == State::Draining {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    /// The same, without waiting for it.
    pub fn start_to_leave(self: &Arc<Self>) {
        {
            let mut inner = held(&self.inner);
            if !matches!(inner.state, State::Ready | State::Loading) {
                return;
            }
            inner.state = State::Draining;
        }
        let home = self.clone();
        self.tasks.spawn(async move {
            let until = Instant::now() + DRAIN;
            while home.users.load(Ordering::Relaxed) > 0 && Instant::now() < until {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
            home.end(false).await;
        });
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

    async fn launch(&self, plan: &Plan) -> Result<Live> {
        let (settings, model) = (&self.settings, &plan.model);
        let socket = Socket(self.socket()?);
        let mut command = vec![settings.program.clone()];
        let mut add = |name: &str, value: String| command.extend([name.to_owned(), value]);
        add("--model", model.path.to_string_lossy().into_owned());
        add("--socket", socket.0.to_string_lossy().into_owned());
        add("--context", plan.context_tokens.to_string());
        add("--slots", settings.slots.clamp(1, MOST_SLOTS).to_string());
        add("--threads", settings.threads.to_string());
        if let Some(adapter) = &model.adapter {
            add("--adapter", adapter.to_string_lossy().into_owned());
            let scale = model.variant.as_ref().and_then(|variant| variant.adapter_scale).unwrap_or(1.0);
            add("--adapter-scale", scale.to_string());
        }
        // To hold a leak, and not an estimate that is off.
        let cgroup = Cgroup::make(plan.memory_bytes.saturating_mul(2).saturating_add(256 << 20));
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
