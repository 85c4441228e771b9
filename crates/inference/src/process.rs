//! An engine process that a worker owns: started in a group of its own, ended with its worker, never left behind.
//!
//! The kernel ends it when this process dies (`PR_SET_PDEATHSIG`), set by the child itself through `tmd exec-engine`.
//! That signal is tied to the *thread* that started the child, so all are started by one thread that never ends. The
//! same wrapper makes the child the first one to go when memory runs out, lets others have the processor first, and puts
//! it into a cgroup with a limit on its memory, where there can be one.

pub mod cgroup;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base::{Code, Fault, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

/// Lines of stderr that a failure shows.
const LINES_KEPT: usize = 20;
/// A longer line is cut, and says so.
const LINE_BYTES: usize = 500;
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// More willing to be ended for lack of memory than anything that is not an engine; 1000 is the most.
const OUT_OF_MEMORY_SCORE: &str = "500";
/// Others have the processor first.
const NICENESS: i32 = 5;

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// Of the worker that owns it.
    pub worker: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Set in its environment.
    pub environment: Vec<(&'static str, String)>,
    /// The cgroup that it joins.
    pub cgroup: Option<PathBuf>,
}

/// A running engine.
pub struct EngineProcess {
    child: Child,
    group: Option<Pid>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
    first_line: watch::Receiver<Option<String>>,
}

/// Why an engine process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineEnd {
    /// In words: `exit code 3`, `signal 11`, `out of memory (killed by signal 9)`.
    pub cause: String,
    /// Whether the kernel probably ended it for lack of memory.
    pub is_out_of_memory: bool,
    /// Whether a signal ended it, and not its own decision.
    pub is_by_signal: bool,
    /// The last lines that it wrote to stderr.
    pub last_lines: Vec<String>,
}

impl EngineProcess {
    /// Starts it; its output goes to the log, line by line.
    pub async fn start(launch: &Launch, tasks: &TaskTracker) -> Result<Self> {
        let worker = &launch.worker;
        let Some(program) = launch.command.first() else {
            return Err(Fault::invalid(format!("worker `{worker}` has an empty command")));
        };
        let mut child = spawn_from_lasting_thread(wrapped(launch)?).await.map_err(|error| {
            Fault::new(Code::EngineFailed, format!("could not start `{program}` for worker `{worker}`"))
                .because(error)
                .hint("check `command` of the worker: the program must exist and be executable")
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let last_lines = Arc::new(Mutex::new(VecDeque::new()));
        let (said, first_line) = watch::channel(None);
        if let Some(stdout) = child.stdout.take() {
            let first = move |line: &str| _ = said.send_if_modified(|first| first.replace(line.to_owned()).is_none());
            tasks.spawn(read_lines(worker.clone(), stdout, first));
        }
        if let Some(stderr) = child.stderr.take() {
            let last_lines = last_lines.clone();
            tasks.spawn(read_lines(worker.clone(), stderr, move |line| keep_line(&last_lines, line)));
        }
        Ok(Self { child, group, last_lines, first_line })
    }

    /// The first line that it writes to stdout; `None` when it closes that without a word.
    pub fn first_line(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let mut first_line = self.first_line.clone();
        async move { first_line.wait_for(Option::is_some).await.ok()?.clone() }
    }

    /// Whether it has written that line.
    pub fn said_first_line(&self) -> bool {
        self.first_line.borrow().is_some()
    }

    /// Waits for its end; [`EngineProcess::try_ended`] then tells how.
    pub async fn has_ended(&mut self) {
        // The status is kept for whoever asks next.
        let _ = self.child.wait().await;
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, when it has. What it started ends with it: a runner that is left behind keeps the GPU's memory.
    pub fn try_ended(&mut self) -> Option<EngineEnd> {
        let status = self.child.try_wait().ok().flatten()?;
        self.signal(Signal::KILL);
        Some(self.describe(status))
    }

    /// Asks it to end, and makes it after a grace period. With `force`, at once.
    pub async fn end(mut self, force: bool) {
        if !force {
            self.signal(Signal::TERM);
            let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
        }
        // Whatever of the group is left, when the engine itself ended in time as well.
        self.signal(Signal::KILL);
        // SIGKILL cannot be refused; waiting only collects the status.
        let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The group may be gone already; that is what was wanted.
            let _ = kill_process_group(group, signal);
        }
    }

    fn describe(&self, status: ExitStatus) -> EngineEnd {
        use std::os::unix::process::ExitStatusExt;
        let is_out_of_memory = status.signal() == Some(9) || status.code() == Some(137);
        let cause = match (status.code(), status.signal()) {
            _ if is_out_of_memory => "killed, most likely out of memory (signal 9)".to_owned(),
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        let is_by_signal = status.signal().is_some();
        EngineEnd { cause, is_out_of_memory, is_by_signal, last_lines: lines.iter().cloned().collect() }
    }
}

impl Drop for EngineProcess {
    fn drop(&mut self) {
        if self.child.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}

impl EngineEnd {
    /// Ended by us, for a cause in words.
    pub fn killed(cause: String) -> Self {
        Self { cause, is_out_of_memory: false, is_by_signal: true, last_lines: Vec::new() }
    }

    /// All that is known of it.
    pub fn detail(&self) -> String {
        if self.last_lines.is_empty() {
            return self.reason();
        }
        format!("engine {}:\n{}", self.cause, self.last_lines.join("\n"))
    }

    /// As the reason of a worker that is down.
    pub fn reason(&self) -> String {
        // Hints and notes stand below what they are about.
        let is_about = |line: &&String| !["hint:", "note:"].iter().any(|word| line.trim_start().starts_with(word));
        match self.last_lines.iter().rev().find(is_about) {
            Some(last) => format!("engine {}: {last}", self.cause),
            None => format!("engine {}", self.cause),
        }
    }
}

/// The command behind the wrapper that [`exec_engine`] is.
fn wrapped(launch: &Launch) -> Result<Command> {
    let own = std::env::current_exe()
        .map_err(|error| Fault::internal("could not find the path of this program").because(error))?;
    let mut wrapped = Command::new(own);
    wrapped.arg("exec-engine").arg("--parent").arg(std::process::id().to_string());
    if let Some(cgroup) = &launch.cgroup {
        wrapped.arg("--cgroup").arg(cgroup);
    }
    wrapped.arg("--").args(&launch.command);
    wrapped.envs(launch.environment.iter().map(|(name, value)| (*name, value)));
    wrapped.process_group(0).kill_on_drop(true);
    wrapped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(wrapped)
}

async fn read_lines(worker: String, from: impl tokio::io::AsyncRead + Unpin, note: impl Fn(&str)) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    // A line that never ends must not grow without bound: it is read in buffers and only its beginning is kept.
    while let Ok(buffer) = from.fill_buf().await {
        if buffer.is_empty() {
            break;
        }
        let (used, is_whole) = match memchr::memchr(b'\n', buffer) {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        let room = LINE_BYTES.saturating_sub(line.len());
        line.extend_from_slice(buffer.get(..used.min(room)).unwrap_or_default());
        from.consume(used);
        if !is_whole {
            continue;
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        tracing::debug!(target: "engine", worker, line = text, "engine wrote");
        note(&text);
    }
}

fn keep_line(kept: &Mutex<VecDeque<String>>, line: &str) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() == LINES_KEPT {
        kept.pop_front();
    }
    kept.push_back(line.to_owned());
}

type Order = (Command, tokio::runtime::Handle, oneshot::Sender<std::io::Result<Child>>);

/// Starts children from one thread that lives as long as the process.
async fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    static STARTER: OnceLock<std::sync::mpsc::SyncSender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        // One order at a time is enough: starts are rare, and the sender waits for its answer anyway.
        let (orders, inbox) = std::sync::mpsc::sync_channel::<Order>(16);
        let run = move || {
            for (mut command, runtime, answer) in inbox {
                let _in_runtime = runtime.enter();
                let _ = answer.send(command.spawn());
            }
        };
        // Without the thread the send below fails, and the start with it.
        let _ = std::thread::Builder::new().name("engine-starter".into()).spawn(run);
        orders
    });
    let (answer, started) = oneshot::channel();
    let gone = || std::io::Error::other("the thread that starts engines is gone");
    starter.send((command, tokio::runtime::Handle::current(), answer)).map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}

/// What `tmd exec-engine` does: ties itself to its parent's life, then becomes the engine. Returns only what went wrong.
pub fn exec_engine(parent: u32, cgroup: Option<&std::path::Path>, command: &[String]) -> Fault {
    use std::os::unix::process::CommandExt;
    let failed = |what: String| Fault::new(Code::EngineFailed, what);
    let Some((program, arguments)) = command.split_first() else { return failed("no program given".to_owned()) };
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return failed(format!("could not tie the engine to its parent: {error}"));
    }
    // The parent may have died before the line above took effect.
    let is_parent = |pid: Pid| u32::try_from(pid.as_raw_nonzero().get()) == Ok(parent);
    if !rustix::process::getppid().is_some_and(is_parent) {
        return failed("the parent is gone".to_owned());
    }
    if let Some(cgroup) = cgroup
        && let Err(error) = std::fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
    {
        return failed(format!("could not join the cgroup `{}`: {error}", cgroup.display()));
    }
    // Manners, not promises: a container may forbid both, and the engine runs all the same.
    let _ = std::fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE);
    let _ = rustix::process::nice(NICENESS);
    let error = std::process::Command::new(program).args(arguments).exec();
    failed(format!("could not run `{program}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_engine_started_ends_with_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo started"]).process_group(0).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("started"));
        let mut process =
            EngineProcess { child, group, last_lines: Arc::default(), first_line: watch::channel(None).1 };
        while process.try_ended().is_none() {
            tokio::task::yield_now().await;
        }
        // The pipe is closed once the last one that holds it has ended.
        let closed = tokio::time::timeout(Duration::from_secs(10), lines.next_line()).await;
        assert!(matches!(closed, Ok(Ok(None))), "{closed:?}");
    }
}
