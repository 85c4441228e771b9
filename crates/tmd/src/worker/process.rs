//! An engine process that a worker owns: started in a group of its own, ended with its worker, never left behind.
//!
//! The kernel ends it when this process dies (`PR_SET_PDEATHSIG`), set by the child itself through `tmd exec-engine`.
//! That signal is tied to the *thread* that started the child, so all are started by one thread that never ends.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base::{Code, Fault, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// Lines of stderr that a failure shows.
const LINES_KEPT: usize = 20;
/// A longer line is cut, and says so.
const LINE_BYTES: usize = 500;
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// A running engine.
pub struct EngineProcess {
    child: Child,
    group: Option<Pid>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

/// Why an engine process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineEnd {
    /// In words: `exit code 3`, `signal 11`, `out of memory (killed by signal 9)`.
    pub cause: String,
    /// Whether the kernel probably ended it for lack of memory.
    pub is_out_of_memory: bool,
    /// The last lines that it wrote to stderr.
    pub last_lines: Vec<String>,
}

impl EngineProcess {
    /// Starts `command` (program and arguments); its output goes to the log, line by line.
    pub async fn start(worker: &str, command: &[String], tasks: &TaskTracker) -> Result<Self> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(Fault::invalid(format!("worker `{worker}` has an empty command")));
        };
        let own = std::env::current_exe()
            .map_err(|error| Fault::internal("could not find the path of this program").because(error))?;
        let mut wrapped = Command::new(own);
        wrapped.arg("exec-engine").arg("--parent").arg(std::process::id().to_string()).arg("--");
        wrapped.arg(program).args(arguments);
        wrapped.process_group(0).kill_on_drop(true);
        wrapped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn_from_lasting_thread(wrapped).await.map_err(|error| {
            Fault::new(Code::EngineFailed, format!("could not start `{program}` for worker `{worker}`"))
                .because(error)
                .hint("check `command` of the worker: the program must exist and be executable")
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let last_lines = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stdout) = child.stdout.take() {
            tasks.spawn(read_lines(worker.to_owned(), stdout, None));
        }
        if let Some(stderr) = child.stderr.take() {
            tasks.spawn(read_lines(worker.to_owned(), stderr, Some(last_lines.clone())));
        }
        Ok(Self { child, group, last_lines })
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
        EngineEnd { cause, is_out_of_memory, last_lines: lines.iter().cloned().collect() }
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
    /// As the reason of a worker that is down.
    pub fn reason(&self) -> String {
        match self.last_lines.last() {
            Some(last) => format!("engine {}: {last}", self.cause),
            None => format!("engine {}", self.cause),
        }
    }
}

async fn read_lines(
    worker: String,
    from: impl tokio::io::AsyncRead + Unpin,
    keep: Option<Arc<Mutex<VecDeque<String>>>>,
) {
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
        if let Some(keep) = &keep {
            let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == LINES_KEPT {
                kept.pop_front();
            }
            kept.push_back(text);
        }
    }
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

/// What `tmd exec-engine` does: ties itself to its parent's life, then becomes the engine.
pub fn exec_engine(parent: u32, command: &[String]) -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    let Some((program, arguments)) = command.split_first() else {
        return anyhow::anyhow!("no program given");
    };
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return anyhow::anyhow!("could not tie the engine to its parent: {error}");
    }
    // The parent may have died before the line above took effect.
    let is_parent = |pid: Pid| u32::try_from(pid.as_raw_nonzero().get()) == Ok(parent);
    if !rustix::process::getppid().is_some_and(is_parent) {
        return anyhow::anyhow!("the parent is gone");
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    anyhow::anyhow!("could not run `{program}`: {error}")
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
        let mut process = EngineProcess { child, group, last_lines: Arc::default() };
        while process.try_ended().is_none() {
            tokio::task::yield_now().await;
        }
        // The pipe is closed once the last one that holds it has ended.
        let closed = tokio::time::timeout(Duration::from_secs(10), lines.next_line()).await;
        assert!(matches!(closed, Ok(Ok(None))), "{closed:?}");
    }
}
