//! Child processes of tests: each in a process group of its own, its output in files, gone when the test is.
//!
//! Waiting is always for a state, with a bound. Signals go to the ids of own children only.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;

/// Between two looks at a state that is waited for.
const POLL: Duration = Duration::from_millis(2);
/// A fake engine that is not ready by then never will be.
const ENGINE_READY: Duration = Duration::from_secs(20);

/// A running child; dropping it kills its whole process group.
pub struct Child {
    name: String,
    child: std::process::Child,
    exit: Option<ExitStatus>,
    dir: TempDir,
}

impl Child {
    /// Starts `program` with `args`; `name` is for messages.
    pub fn start<A: AsRef<OsStr>>(name: &str, program: impl AsRef<OsStr>, args: &[A]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(args);
        Self::spawn(name, command)
    }

    /// Starts `command`; its standard streams and process group are set here.
    pub fn spawn(name: &str, mut command: Command) -> Result<Self> {
        let dir = tempfile::tempdir().context("could not make a directory for the output")?;
        let file = |stream: &str| File::create(dir.path().join(stream)).context("could not make a file for the output");
        command.stdin(Stdio::null()).stdout(file("stdout")?).stderr(file("stderr")?).process_group(0);
        let child = command.spawn().with_context(|| format!("could not start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, exit: None, dir })
    }

    /// Its process id, which is its group's as well.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        self.output("stdout")
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.output("stderr")
    }

    fn output(&self, stream: &str) -> String {
        let bytes = std::fs::read(self.dir.path().join(stream)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The first whole line, on stdout or stderr, that contains `text`.
    pub async fn wait_line(&mut self, text: &str, within: Duration) -> Result<String> {
        let until = Instant::now() + within;
        loop {
            let exit = self.try_wait()?;
            for output in [self.stdout(), self.stderr()] {
                let whole = output.rfind('\n').map_or("", |end| output.get(..end).unwrap_or(""));
                if let Some(line) = whole.lines().find(|line| line.contains(text)) {
                    return Ok(line.to_owned());
                }
            }
            if let Some(exit) = exit {
                bail!("{} ended ({exit}) before it said `{text}`; it said:\n{}", self.name, self.stderr());
            }
            if Instant::now() > until {
                bail!("{} did not say `{text}` within {within:?}; it said:\n{}", self.name, self.stderr());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for its end.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            if let Some(exit) = self.try_wait()? {
                return Ok(exit);
            }
            if Instant::now() > until {
                bail!("{} did not end within {within:?}", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.try_wait()?.is_none())
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().with_context(|| format!("could not wait for {}", self.name))?;
        }
        Ok(self.exit)
    }

    /// `kill -9`, and its end.
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(10)).await
    }

    /// Asks it to end.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Freezes it (SIGSTOP).
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends `signal` to the process itself, not to its group.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.exit.is_some() {
            bail!("{} has ended already", self.name);
        }
        kill_process(self.id(), signal).with_context(|| format!("could not signal {}", self.name))
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The leader is reaped last, so the id of the group cannot have become another's. Its children may outlive it.
        let _ = kill_process_group(self.id(), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A fake engine of its own process.
pub struct FakeEngine {
    /// The process.
    pub child: Child,
    /// Where it listens.
    pub address: String,
    /// Asks it.
    pub client: Client,
}

impl FakeEngine {
    /// Starts one with `args` (`--speak` is needed) and waits until it can be asked.
    pub async fn start<A: AsRef<OsStr>>(args: &[A]) -> Result<Self> {
        Self::of(Child::start("fake-engine", binary("fake-engine")?, args)?).await
    }

    /// Takes over one that was just started.
    pub async fn of(mut child: Child) -> Result<Self> {
        let line = child.wait_line("listening on ", ENGINE_READY).await?;
        let address = line.rsplit(' ').next().unwrap_or("").to_owned();
        Ok(Self { child, client: Client::new(&address), address })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes its settings or makes it fail; see `tests::fake::control`.
    pub async fn control(&self, change: &Value) -> Result<()> {
        let reply = self.client.post_json("/fake/control", change).await?;
        if reply.status != 200 {
            bail!("the fake engine refused {change}: {}", reply.text());
        }
        Ok(())
    }

    /// What it has seen; see `tests::fake::engine::Engine::stats`.
    pub async fn stats(&self) -> Result<Value> {
        self.client.get("/fake/stats").await?.json()
    }
}

/// The folder of this workspace.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap_or(root)
}

/// The path of a binary of this workspace, built in the same profile as the running one.
pub fn binary(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("could not tell where this program is")?;
    // A test runs from target/PROFILE/deps, a binary from target/PROFILE.
    let profile = this.ancestors().skip(1).take(2).find(|dir| !dir.ends_with("deps")).unwrap_or(Path::new("."));
    let path = profile.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let package = if matches!(name, "fake-engine" | "bench" | "tiny-model") { "tests" } else { name };
    let release = if profile.ends_with("release") { " --release" } else { "" };
    bail!("there is no {}; hint: cargo build{release} -p {package} --bins", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Child {
        Child::start("a shell", "sh", &["-c", script]).unwrap()
    }

    #[tokio::test]
    async fn a_line_is_waited_for_and_an_end_is_told() {
        let mut child = shell("echo one; echo two >&2; exit 3");
        assert_eq!(child.wait_line("two", SOON).await.unwrap(), "two");
        assert_eq!(child.wait(SOON).await.unwrap().code(), Some(3));
        let error = child.wait_line("three", SOON).await.unwrap_err().to_string();
        assert!(error.contains("ended") && error.contains("two"), "{error}");
    }

    #[tokio::test]
    async fn a_frozen_child_says_nothing_until_it_is_thawed() {
        let mut child = shell("echo ready; while :; do echo tick; sleep 0.01; done");
        child.wait_line("ready", SOON).await.unwrap();
        child.freeze().unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap();
        let until = Instant::now() + SOON;
        while !stat().contains(") T ") {
            assert!(Instant::now() < until, "it does not freeze: {}", stat());
            tokio::time::sleep(POLL).await;
        }
        child.thaw().unwrap();
        child.wait_line("tick", SOON).await.unwrap();
        assert!(!child.kill().await.unwrap().success());
    }

    #[tokio::test]
    async fn dropping_a_child_ends_its_children_too() {
        let mut child = shell("sleep 1000 & echo $!; wait");
        let grandchild = child.wait_line("", SOON).await.unwrap();
        let process = PathBuf::from(format!("/proc/{grandchild}/stat"));
        assert!(process.exists());
        drop(child);
        let until = Instant::now() + SOON;
        while std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < until, "{grandchild} goes on");
            tokio::time::sleep(POLL).await;
        }
    }
}
