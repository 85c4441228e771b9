//! What the suite runs on: stores on sled and on a real etcd, and the projects as two nodes that share one see them.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::config::Etcd;
use base::{Code, Fault};
use planner::projects::{Conflict, Done, Outcome, Projects, Wanted};
use planner::{Edit, NewTask, Status, TaskId, Tasks, edit, graph};
use rustix::process::{Pid, Signal, kill_process};
use store::{EtcdStore, SharedStore, SledStore};
use tempfile::TempDir;

const BINARY: &str = "/usr/bin/etcd";

/// Which store.
pub enum Bed {
    Sled,
    Etcd(EtcdProcess),
}

/// Where one case runs: the projects as two nodes see them, with a project `home` in them.
pub struct Place {
    pub here: Projects,
    pub there: Projects,
    pub store: SharedStore,
    _dir: Option<TempDir>,
}

impl Bed {
    pub async fn place(&self, case: &str) -> Place {
        let (stores, dir) = match self {
            Bed::Sled => {
                let dir = tempfile::tempdir().unwrap();
                let store: SharedStore = Arc::new(SledStore::open(dir.path()).unwrap().store);
                ([store.clone(), store], Some(dir))
            }
            Bed::Etcd(etcd) => {
                let store = || etcd.store(&format!("/test/{case}"), Duration::from_secs(5));
                ([store(), store()], None)
            }
        };
        let [here, there] = stores.clone().map(Projects::new);
        let [store, _] = stores;
        here.create("home", "", "").await.unwrap();
        Place { here, there, store, _dir: dir }
    }
}

impl Place {
    /// Makes edits of `home`, which must succeed.
    pub async fn edit(&self, edits: Vec<Edit>) -> Done {
        done(self.here.change("home", "master", &wanted(edits)).await.unwrap())
    }

    /// The tasks of `home` as both nodes see them, which must be the same and keep the rules.
    pub async fn tasks(&self) -> Tasks {
        let tasks = self.here.snapshot("home", "master").await.unwrap().tasks;
        let fresh = Projects::new(self.store.clone()).snapshot("home", "master").await.unwrap();
        assert_eq!(fresh.tasks, tasks, "what is remembered is not what is stored");
        assert_eq!(self.there.snapshot("home", "master").await.unwrap().tasks, tasks);
        assert_eq!(graph::check(&tasks), []);
        assert_eq!(fresh.about.tasks as usize, tasks.count());
        tasks
    }

    pub async fn revision(&self) -> u64 {
        self.here.tag("home", "master").await.unwrap().revision
    }

    /// How many records of a kind there are.
    pub async fn records(&self, kind: &str) -> usize {
        self.store.list(&format!("projects/{kind}/home/")).await.unwrap().entries.len()
    }
}

pub fn wanted(edits: Vec<Edit>) -> Wanted {
    Wanted { edits, who: "ann".into(), ..Wanted::default() }
}

pub fn done(outcome: Outcome) -> Done {
    match outcome {
        Outcome::Done(done) => done,
        Outcome::Conflict(conflict) => panic!("{conflict:?}"),
    }
}

pub fn conflict(outcome: Outcome) -> Conflict {
    match outcome {
        Outcome::Conflict(conflict) => *conflict,
        Outcome::Done(done) => panic!("it was done: {:?}", done.changes),
    }
}

/// The fault, which must have that code and a hint.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(answer: base::Result<T>, code: Code) -> Fault {
    let fault = answer.unwrap_err();
    assert_eq!(fault.code, code, "{fault:?}");
    assert!(fault.hint.is_some(), "{fault:?} does not say what to do");
    assert!(!fault.message.contains("projects/"), "{fault:?} shows a key");
    fault
}

pub fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

pub fn titled(title: impl Into<String>) -> NewTask {
    NewTask { title: title.into(), ..NewTask::default() }
}

pub fn add(title: &str) -> Edit {
    Edit::Add { parent: None, task: titled(title) }
}

/// That many tasks, each second one waiting for the one before it.
pub fn append(count: usize) -> Edit {
    let dependencies =
        |place: usize| if place.is_multiple_of(2) { vec![TaskId::top(place as u32 - 1)] } else { vec![] };
    let task = |place| NewTask { dependencies: dependencies(place), ..titled(format!("task {place}")) };
    Edit::Append { tasks: (1..=count).map(task).collect() }
}

pub fn set_title(at: &str, title: &str) -> Edit {
    let fields = edit::Fields { title: Some(title.into()), ..edit::Fields::default() };
    Edit::Change { id: id(at), fields }
}

pub fn set_status(at: &str, status: Status) -> Edit {
    Edit::SetStatus { ids: vec![id(at)], status }
}

pub fn remove(at: &str) -> Edit {
    Edit::Remove { ids: vec![id(at)] }
}

pub fn titles(tasks: &Tasks) -> Vec<&str> {
    tasks.top().iter().map(|task| task.title.as_str()).collect()
}

/// An etcd of one member on ports from the kernel, ended with the test.
pub struct EtcdProcess {
    process: Child,
    url: String,
    _dir: TempDir,
}

impl EtcdProcess {
    /// One that answers; `None`, with a printed reason, where etcd is not installed.
    pub async fn start() -> Option<Self> {
        if !Path::new(BINARY).exists() {
            println!("skipped: {BINARY} is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [url, peer] = [0, 1].map(|i: usize| format!("http://{}", held[i].local_addr().unwrap()));
        drop(held);
        let process = Command::new(BINARY)
            .args(["--name", "m", "--log-level", "error", "--unsafe-no-fsync", "--data-dir"])
            .arg(dir.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("m={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env_clear()
            .spawn()
            .unwrap();
        let etcd = Self { process, url, _dir: dir };
        let store = etcd.store("/ready", Duration::from_secs(1));
        let started = Instant::now();
        while store.list("").await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "etcd does not answer");
        }
        Some(etcd)
    }

    pub fn store(&self, prefix: &str, timeout: Duration) -> SharedStore {
        let config = Etcd {
            endpoints: vec![self.url.clone()],
            prefix: prefix.to_owned(),
            lease_ttl: Duration::from_secs(4),
            timeout,
            user: None,
        };
        let dial: store::etcd::Dial =
            Arc::new(|url| Ok(tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy()));
        Arc::new(EtcdStore::open(&config, &dial).unwrap())
    }

    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
