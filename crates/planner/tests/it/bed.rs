//! What the suite runs on: stores on sled and on a real etcd, and the projects as two nodes that share one see them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{Code, Fault};
use planner::projects::{Conflict, Done, Outcome, Projects, Wanted};
use planner::{Edit, NewTask, Status, TaskId, Tasks, edit, graph};
use store::{SharedStore, SledStore};
use tempfile::TempDir;

use crate::stores::{EtcdProcess, open_sled};

/// A number that the environment sets, such as a count of the soak; else the usual one.
pub fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

/// Opens the store in `dir`, which nothing may be wrong with, whatever process was killed in it, and closes it again.
pub fn with_store<T>(dir: &Path, then: impl AsyncFnOnce(SharedStore) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let opened = open_sled(dir).await;
        assert_eq!((opened.set_aside, opened.lost), (None, None));
        let store: SharedStore = Arc::new(opened.store);
        let told = then(store.clone()).await;
        store.close().await;
        told
    })
}

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
