//! kill -9 of a node at each boundary of a step and at random instants: this test binary runs itself as the node, ends
//! it, and looks at what the next one makes of it.
//!
//! `TM_JOB_CRASHES` sets how many random instants (50 in the soak), `TM_JOB_SEED` which.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use jobs::{Context, Jobs, Serving, State, serve};
use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;
use store::SharedStore;
use tokio_util::sync::CancellationToken;

use crate::bed::new_job;
use crate::stores::open_sled;

const DIR: &str = "TM_JOB_CRASH_DIR";
const AT: &str = "TM_JOB_CRASH_AT";
const STEPS: usize = 6;

/// What the nodes said that they had accepted for each step, one after the other.
#[derive(Default)]
struct Told {
    accepted: BTreeMap<usize, u64>,
    /// Steps that were begun although they had been accepted.
    repeated: Vec<usize>,
}

#[test]
fn each_step_is_accepted_once_whatever_boundary_its_node_dies_at() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    submit(dir.path());
    for step in 0..STEPS {
        for boundary in ["begun", "worked", "accepted"] {
            let mut node = start(dir.path(), &format!("{boundary} {step}"));
            told.listen(&mut node);
            assert_eq!(node.wait().unwrap().signal(), Some(9), "{boundary} {step} was not reached");
        }
    }
    finish(dir.path(), &mut told);
}

#[test]
fn each_step_is_accepted_once_whatever_instant_its_node_dies_at() {
    let crashes = std::env::var("TM_JOB_CRASHES").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let seed = std::env::var("TM_JOB_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(7);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    submit(dir.path());
    // A job that loses its node before any step, again and again, fails; so every other node at least gets to one.
    let mut has_progress = true;
    let mut killed = 0;
    for crash in 0..crashes {
        let accepted = told.accepted.len();
        let mut node = start(dir.path(), "never");
        let lines = BufReader::new(node.stdout.take().unwrap());
        // A job of six steps is over within some tens of milliseconds of its first word.
        let after = Duration::from_micros(random.u64(..30_000));
        let is_over = told.listen_until_killed(lines, &mut node, !has_progress, after);
        has_progress = told.accepted.len() > accepted;
        killed += usize::from(!is_over);
        if is_over {
            println!("crash {crash} came too late: the job was done");
            finish(dir.path(), &mut told);
            told = Told::default();
            submit(dir.path());
        }
    }
    finish(dir.path(), &mut told);
    assert!(killed > 0, "every kill came too late");
}

impl Told {
    fn listen(&mut self, node: &mut Child) {
        let lines = BufReader::new(node.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            self.note(&line);
        }
    }

    /// Kills the node so long after its first word, or its first progress; whether the job was done by then.
    fn listen_until_killed(&mut self, lines: impl BufRead, node: &mut Child, is_let: bool, after: Duration) -> bool {
        let mut lines = lines.lines().map_while(Result::ok);
        let accepted = self.accepted.len();
        let mut is_over = lines.by_ref().all(|line| !self.note(&line) || (is_let && self.accepted.len() == accepted));
        std::thread::sleep(after);
        node.kill().unwrap();
        node.wait().unwrap();
        for line in lines {
            is_over |= line.contains("job done");
            self.note(&line);
        }
        is_over
    }

    /// Takes down one line; `false` where it is none of ours.
    fn note(&mut self, line: &str) -> bool {
        // The first one stands behind what the test harness prints on its line.
        let Some((_, told)) = line.split_once("step ") else { return false };
        let words: Vec<&str> = told.split(' ').collect();
        match words[..] {
            ["begun", step] => {
                let step = step.parse().unwrap();
                self.repeated.extend(self.accepted.contains_key(&step).then_some(step));
            }
            ["accepted", step, value] => {
                let (step, value) = (step.parse().unwrap(), value.parse().unwrap());
                assert_eq!(*self.accepted.entry(step).or_insert(value), value, "step {step} was accepted twice");
            }
            _ => return false,
        }
        true
    }
}

fn submit(dir: &Path) {
    with_jobs(dir, async |jobs| {
        jobs.submit(new_job(json!(null))).await.unwrap();
    });
}

/// Lets a node do the rest, and compares the result with what was told.
fn finish(dir: &Path, told: &mut Told) {
    let mut node = start(dir, "never");
    told.listen(&mut node);
    assert!(node.wait().unwrap().success());
    assert_eq!(told.repeated, Vec::<usize>::new(), "steps were done again after they had been accepted");
    with_jobs(dir, async |jobs| {
        let job = jobs.list(&jobs::Filter::default()).await.unwrap().pop().unwrap();
        assert_eq!(job.state, State::Done);
        let values: Vec<u64> = told.accepted.values().copied().collect();
        assert_eq!(values.len(), STEPS);
        assert_eq!(jobs.result(job.id).await.unwrap(), Some(json!(values)));
        jobs.remove(job.id).await.unwrap();
    });
}

fn with_jobs(dir: &Path, then: impl AsyncFnOnce(Jobs)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let opened = open_sled(dir).await;
        assert_eq!((opened.set_aside, opened.lost), (None, None));
        let store: SharedStore = Arc::new(opened.store);
        then(Jobs::new(store.clone(), NodeId::from("here"))).await;
        store.close().await;
    });
}

fn start(dir: &Path, at: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::node_that_is_killed", "--nocapture"])
        .env(DIR, dir)
        .env(AT, at)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Only does something when it is started by one of the tests above.
#[test]
fn node_that_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let at = std::env::var(AT).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store: SharedStore = Arc::new(open_sled(dir.as_ref()).await.store);
        let (jobs, stop) = (Jobs::new(store.clone(), NodeId::from("here")), CancellationToken::new());
        let serving = Serving { kinds: &["test"], slots: 1, lease_ttl: Duration::from_secs(2) };
        let serve = serve(jobs.clone(), serving, move |context, _| work(context, at.clone()), stop.clone());
        let watch = async {
            let unfinished = jobs::Filter { is_unfinished: true, ..jobs::Filter::default() };
            while !jobs.list(&unfinished).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            println!("job done");
            stop.cancel();
        };
        tokio::join!(serve, watch);
        store.close().await;
    });
}

/// Each step gives another number each time that it is done, so that nobody can mistake one for the other.
async fn work(context: Context, at: String) -> base::Result<serde_json::Value> {
    let reach = |what: &str, step: usize| {
        if at == format!("{what} {step}") {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    };
    let mut values = Vec::new();
    for step in 0..STEPS {
        let value = context.step(step.to_string(), || async {
            println!("step begun {step}");
            reach("begun", step);
            let value = fastrand::u64(..);
            reach("worked", step);
            Ok(value)
        });
        let value = value.await?;
        println!("step accepted {step} {value}");
        reach("accepted", step);
        values.push(value);
    }
    Ok(json!(values))
}
