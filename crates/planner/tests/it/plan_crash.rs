//! kill -9 of the node that makes a plan, before and after each thing that it writes and at random instants: this test
//! binary runs itself as the node, ends it, and looks at what another one makes of it.
//!
//! `TM_PLAN_CRASHES` sets how many random instants (50 in the soak), `TM_PLAN_SEED` which.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::NodeId;
use jobs::State;
use planner::work::{Order, ParsePrd, Planner, Work};
use planner::{Planning, TaskId, graph};
use serde_json::{Value, json};
use store::SharedStore;
use tokio_util::sync::CancellationToken;

use crate::bed::{number, with_store};
use crate::scripted::{PRD, Scripted, good};
use crate::store_with_faults::StoreWithFaults;
use crate::stores::open_sled;

const DIR: &str = "TM_PLAN_CRASH_DIR";
/// The node of that name ends itself at so many boundaries of transactions; 0: it does the whole job.
const BOUNDARY: &str = "TM_PLAN_CRASH_AT";
/// More than a plan of this document has.
const MOST_BOUNDARIES: u32 = 200;

/// What a plan comes to.
#[derive(Debug, PartialEq)]
struct Made {
    tasks: Vec<(TaskId, String, Vec<TaskId>)>,
    /// The parts of its result.
    planner: Value,
    asked: Value,
    top: Value,
}

#[test]
fn a_plan_is_finished_elsewhere_whatever_boundary_its_node_dies_at() {
    let (whole, asked) = undisturbed();
    let mut boundary = 1;
    loop {
        assert!(boundary < MOST_BOUNDARIES, "the plan does not end");
        let dir = tempfile::tempdir().unwrap();
        submit(dir.path());
        let (before, status) = listen(start(dir.path(), "here", boundary));
        if status.success() {
            break;
        }
        assert_eq!(status.signal(), Some(9), "boundary {boundary}");
        assert_eq!(made(dir.path(), before, asked, &format!("boundary {boundary}")), whole);
        boundary += 1;
    }
    println!("{boundary} boundaries");
    assert!(boundary > 2 * asked, "{boundary} boundaries are fewer than the plan has steps: {asked}");
}

#[test]
fn a_plan_is_finished_elsewhere_whatever_instant_its_node_dies_at() {
    let (crashes, seed) = (number("TM_PLAN_CRASHES", 6), number("TM_PLAN_SEED", 7));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (whole, asked) = undisturbed();
    let (mut killed, mut tries) = (0, 0);
    while killed < crashes {
        tries += 1;
        assert!(tries <= 4 * crashes, "only {killed} of {tries} kills came in time");
        let dir = tempfile::tempdir().unwrap();
        submit(dir.path());
        let mut node = start(dir.path(), "here", 0);
        let mut lines = BufReader::new(node.stdout.take().unwrap()).lines().map_while(Result::ok);
        let first = lines.by_ref().find(|line| line.contains("asked ")).expect("the node asked nothing");
        // The whole plan takes some tens of milliseconds from its first question on.
        std::thread::sleep(Duration::from_micros(random.u64(..40_000)));
        node.kill().unwrap();
        killed += u64::from(node.wait().unwrap().signal() == Some(9));
        let before = std::iter::once(first).chain(lines).filter(|line| line.contains("asked ")).count() as u32;
        assert_eq!(made(dir.path(), before, asked, &format!("crash {tries}")), whole);
    }
    println!("{killed} of {tries} kills came in time");
}

/// What the plan is when nobody dies, and how many questions it takes.
fn undisturbed() -> (Made, u32) {
    let dir = tempfile::tempdir().unwrap();
    submit(dir.path());
    let (asked, status) = listen(start(dir.path(), "here", 0));
    assert!(status.success());
    let whole = look(dir.path());
    assert_eq!((&whole.planner, &whole.asked), (&json!("model"), &json!(asked)));
    (whole, asked)
}

/// What another node makes of a plan whose node asked `before` questions; `asked` is what the whole takes.
fn made(dir: &Path, before: u32, asked: u32, when: &str) -> Made {
    let (after, status) = listen(start(dir, "there", 0));
    assert!(status.success(), "{when}");
    // One question is on its way at a time; only its answer can have been lost.
    assert!((asked..=asked + 1).contains(&(before + after)), "{when}: {before} and {after} questions, not {asked}");
    look(dir)
}

fn look(dir: &Path) -> Made {
    with_planning(dir, "there", async |planning, store| {
        let job = planning.jobs_of("garden").await.unwrap().pop().unwrap();
        assert_eq!(job.view.state, State::Done, "{job:?}");
        let result = planning.jobs.result(job.view.id).await.unwrap().unwrap();
        let snapshot = planning.projects.snapshot("garden", "").await.unwrap();
        assert_eq!(graph::check(&snapshot.tasks), []);
        // Written once, and nothing of an attempt is left.
        let events = planning.projects.history("garden", "", None, None, 10).await.unwrap();
        assert_eq!((snapshot.about.revision, events.len()), (1, 1), "{events:?}");
        assert_eq!(store.list("projects/loose/").await.unwrap().entries, []);
        let tasks = snapshot.tasks.walk().map(|(id, task)| (id, task.title.clone(), task.dependencies.clone()));
        Made {
            tasks: tasks.collect(),
            planner: result["planner"].clone(),
            asked: result["spent"]["questions"].clone(),
            top: result["tasks"].clone(),
        }
    })
}

fn submit(dir: &Path) {
    with_planning(dir, "client", async |planning, _| {
        planning.projects.create("garden", "", "").await.unwrap();
        // So many valves that they are several batches.
        let valves: String =
            (1..=20).map(|hour| format!("- The valve {hour} must open at {hour} o'clock.\n")).collect();
        let prd = format!("{PRD}\n## Valves\n\n{valves}");
        let work = Work::ParsePrd(ParsePrd { prd, file_name: "garden.md".into(), ..ParsePrd::default() });
        let order =
            Order { project: "garden".into(), tag: String::new(), who: "me".into(), planner: Planner::Auto, work };
        planning.start(order, None).await.unwrap();
    });
}

fn with_planning<T>(dir: &Path, node: &str, then: impl AsyncFnOnce(Arc<Planning>, SharedStore) -> T) -> T {
    with_store(dir, async |store| then(Arc::new(Planning::new(store.clone(), NodeId::new(node))), store).await)
}

fn start(dir: &Path, node: &str, boundary: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "plan_crash::node_that_is_killed", "--nocapture"])
        .env(DIR, dir)
        .env("TM_PLAN_CRASH_NODE", node)
        .env(BOUNDARY, boundary.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How many questions a node asked until its end, and its end.
fn listen(mut node: Child) -> (u32, std::process::ExitStatus) {
    let lines = BufReader::new(node.stdout.take().unwrap()).lines().map_while(Result::ok);
    let asked = lines.filter(|line| line.contains("asked ")).count() as u32;
    (asked, node.wait().unwrap())
}

/// Only does something when it is started by one of the tests above.
#[test]
fn node_that_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let node = std::env::var("TM_PLAN_CRASH_NODE").unwrap();
    let boundary = std::env::var(BOUNDARY).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(StoreWithFaults::new(Arc::new(open_sled(dir.as_ref()).await.store)));
        store.boundaries_to_live.store(boundary, Ordering::SeqCst);
        let planning = Arc::new(Planning::new(store.clone(), NodeId::new(&node)));
        let models = Scripted::with(1, Duration::from_millis(2), |question, before| {
            println!("asked {}", question.name);
            good(question, before)
        });
        let stop = CancellationToken::new();
        let serve = planning.clone().serve(models, Planning::serving(Duration::from_secs(2)), stop.clone());
        let watch = async {
            let unfinished = jobs::Filter { is_unfinished: true, ..jobs::Filter::default() };
            while !planning.jobs.list(&unfinished).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            stop.cancel();
        };
        tokio::join!(serve, watch);
        store::Store::close(&*store).await;
    });
}
