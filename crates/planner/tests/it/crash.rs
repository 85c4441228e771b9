//! kill -9 at random instants: this test binary runs itself as a writer of small and large changes, ends it, and looks at
//! what is left.
//!
//! `TM_PROJECT_CRASHES` sets how many times (200 in the soak), `TM_PROJECT_SEED` when.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use planner::projects::{Projects, Wanted};
use planner::{Edit, TaskId, graph};
use store::SharedStore;

use crate::bed::{add, append, done, number, remove, set_title, wanted, with_store};

const DIR: &str = "TM_PROJECT_CRASH_DIR";

#[test]
fn every_acknowledged_change_outlives_a_kill_and_none_is_half() {
    let (crashes, seed) = (number("TM_PROJECT_CRASHES", 8), number("TM_PROJECT_SEED", 7));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    with_projects(dir.path(), async |projects, _| drop(projects.create("home", "", "").await.unwrap()));
    let mut acknowledged = BTreeMap::new();
    for _ in 0..crashes {
        write_until_killed(dir.path(), &mut acknowledged, random.u64(5..250));
        with_projects(dir.path(), async |projects, store| check(&projects, &store, &acknowledged).await);
    }
    println!("{} changes were acknowledged", acknowledged.len());
    assert!(acknowledged.len() as u64 > crashes, "too little was changed to prove anything");
    with_projects(dir.path(), async |projects, store| {
        // The next change of many finds what all those writers left.
        for _ in 0..3 {
            done(projects.change("home", "", &wanted(vec![append(60)])).await.unwrap());
        }
        for copy in projects.tags("home").await.unwrap().iter().filter(|tag| tag.name != "master") {
            let snapshot = projects.snapshot("home", &copy.name).await.unwrap();
            assert_eq!(snapshot.about.tasks as usize, snapshot.tasks.count(), "half a copy is there");
            projects.delete_tag("home", &copy.name).await.unwrap();
        }
        assert_eq!(store.list("projects/loose/").await.unwrap().entries, []);
        let generations = store.list("projects/tasks/").await.unwrap().entries;
        let mut names: Vec<_> = generations.iter().map(|entry| entry.key.rsplit_once('/').unwrap().0).collect();
        names.dedup();
        assert_eq!(names.len(), 3, "{names:?}");
    });
}

/// Notes by revision how many tasks each acknowledged change left.
fn write_until_killed(dir: &Path, acknowledged: &mut BTreeMap<u64, usize>, after_ms: u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writer_that_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut note = |line: String| {
        // The first one stands behind what the test harness prints on its line.
        let Some((_, ack)) = line.split_once("ack ") else { return false };
        let (revision, count) = ack.split_once(' ').unwrap();
        acknowledged.insert(revision.parse().unwrap(), count.parse().unwrap());
        true
    };
    while !note(lines.next().expect("the writer ended by itself")) {}
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(after_ms));
        child.kill().unwrap();
        child.wait().unwrap();
    });
    for line in lines {
        note(line);
    }
    killer.join().unwrap();
}

async fn check(projects: &Projects, store: &SharedStore, acknowledged: &BTreeMap<u64, usize>) {
    let snapshot = projects.snapshot("home", "").await.unwrap();
    let (&last, &count) = acknowledged.last_key_value().unwrap();
    // One more may have been written whose acknowledgement was not heard.
    assert!((last..=last + 1).contains(&snapshot.about.revision), "{last} is not {}", snapshot.about.revision);
    if snapshot.about.revision == last {
        assert_eq!(snapshot.tasks.count(), count);
    }
    assert_eq!(snapshot.about.tasks as usize, snapshot.tasks.count());
    assert_eq!(graph::check(&snapshot.tasks), []);
    let events = projects.history("home", "", None, None, 100).await.unwrap();
    let revisions: Vec<u64> = events.iter().map(|event| event.revision).collect();
    let all: Vec<u64> = (1..=snapshot.about.revision).rev().take(100).collect();
    assert_eq!(revisions, all);
    assert!(store.list("").await.unwrap().damaged.is_empty());
    // Each change marks all tasks that it wrote, so half of one would show.
    let newest = events.first().filter(|event| event.what == "mark all");
    let marks = snapshot.tasks.top().iter().map(|task| task.details.as_str());
    assert!(newest.is_none_or(|_| marks.collect::<std::collections::BTreeSet<_>>().len() <= 1));
}

fn with_projects(dir: &Path, then: impl AsyncFnOnce(Projects, SharedStore)) {
    with_store(dir, async |store| then(Projects::new(store.clone()), store).await);
}

/// Only does something when it is started by the test above.
#[test]
fn writer_that_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    with_projects(dir.as_ref(), async |projects, _| {
        loop {
            let tasks = projects.snapshot("home", "").await.unwrap().tasks;
            if fastrand::u32(..10) == 0 {
                let copy = format!("copy-{:016x}", fastrand::u64(..));
                projects.add_tag("home", &copy, "", "master", "").await.unwrap();
            }
            let change = next_change(&tasks);
            let made = done(projects.change("home", "", &change).await.unwrap());
            println!("ack {} {}", made.revision, made.tasks.count());
        }
    });
}

fn next_change(tasks: &planner::Tasks) -> Wanted {
    let any = || tasks.top().get(fastrand::usize(..tasks.top().len().max(1))).map(|task| TaskId::top(task.number));
    match (fastrand::u32(..10), any()) {
        (0, _) if tasks.count() < 400 => wanted(vec![append(fastrand::usize(60..150))]),
        (1, _) if tasks.count() > 300 => {
            let kept =
                tasks.top().iter().take(20).map(|task| planner::Task { dependencies: Vec::new(), ..(**task).clone() });
            wanted(vec![Edit::Replace { tasks: kept.collect() }])
        }
        (1 | 2, Some(_)) => {
            let details = fastrand::u64(..).to_string();
            let marked = tasks.top().iter().map(|task| planner::Task { details: details.clone(), ..(**task).clone() });
            let edits = vec![Edit::Replace { tasks: marked.collect() }];
            Wanted { what: "mark all".into(), ..wanted(edits) }
        }
        (3, Some(id)) => wanted(vec![remove(&id.to_string()), add("instead")]),
        (4..8, Some(id)) => wanted(vec![set_title(&id.to_string(), &fastrand::u64(..).to_string()), add("and")]),
        _ => wanted(vec![add("one more")]),
    }
}
