//! How long what a node does with ten thousand tasks takes: medians of plain loops, on a store on the disk at hand.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and may stop at the first fault"
)]

#[path = "parts/median.rs"]
mod median;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use median::median_ms;
use planner::projects::{Projects, Wanted};
use planner::{Edit, NewTask, Status, TaskId, edit};
use store::{SharedStore, SledStore};

const TASKS: u32 = 10_000;
const ROUNDS: usize = 21;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(SledStore::open(dir.path()).unwrap().store);
    let projects = Projects::new(store.clone());
    runtime.block_on(projects.create("home", "", "")).unwrap();
    let change = |edit| {
        let wanted = Wanted { edits: vec![edit], who: "bench".into(), ..Wanted::default() };
        runtime.block_on(projects.change("home", "", &wanted)).unwrap()
    };
    let start = Instant::now();
    change(Edit::Append { tasks: (1..=TASKS).map(task).collect() });
    println!("{TASKS} tasks at once: appended {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    change(Edit::SetStatus { ids: (1..=TASKS / 3).map(TaskId::top).collect(), status: Status::Done });

    let mut round = 0;
    let mut fields = || {
        round += 1;
        edit::Fields { title: Some(format!("title {round}")), ..edit::Fields::default() }
    };
    let mut one = || drop(change(Edit::Change { id: TaskId::top(TASKS / 2), fields: fields() }));
    println!("a title changed {:.2} ms", median_ms(ROUNDS, &mut one));
    let mut is_on = false;
    let mut wait = || {
        is_on = !is_on;
        let (id, on) = (TaskId::top(TASKS), TaskId::top(1));
        drop(change(if is_on { Edit::AddDependency { id, on } } else { Edit::RemoveDependency { id, on } }));
    };
    println!("a dependency changed {:.2} ms", median_ms(ROUNDS, &mut wait));

    let read = |projects: &Projects| drop(black_box(runtime.block_on(projects.snapshot("home", "")).unwrap()));
    println!("snapshot known {:.3} ms", median_ms(ROUNDS, || read(&projects)));
    println!("snapshot read {:.1} ms", median_ms(ROUNDS, || read(&Projects::new(store.clone()))));
    runtime.block_on(store.close());
}

/// Each waits for two before it, and each fifth one has three parts.
fn task(place: u32) -> NewTask {
    let before = [place / 2, place.saturating_sub(7)];
    let mut dependencies: Vec<TaskId> = before.into_iter().filter(|on| *on > 0).map(TaskId::top).collect();
    dependencies.dedup();
    let part = |number| NewTask { title: format!("part {number} of {place}"), ..NewTask::default() };
    NewTask {
        title: format!("task {place}"),
        description: "What is to be done, in a sentence or two that a person reads.".into(),
        details: "How it is to be done, with all that one must know before. ".repeat(8),
        test_strategy: "One looks whether it is done.".into(),
        dependencies,
        subtasks: if place.is_multiple_of(5) { (1..=3).map(part).collect() } else { Vec::new() },
        ..NewTask::default()
    }
}
