//! How long it takes to look at ten thousand tasks, and to change one: medians of plain loops, for three forms of tree.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and may stop at the first fault"
)]

#[path = "parts/median.rs"]
mod median;

use std::hint::black_box;

use median::median_ms;
use planner::edit::{Fields, Stamp, apply, changes};
use planner::query::{self, Filter};
use planner::tasks_file::TasksFile;
use planner::{Edit, Status, Task, TaskId, Tasks, graph, report};

const ROUNDS: usize = 21;
const COUNT: u32 = 10_000;

fn main() {
    for (name, tasks) in [("flat", flat()), ("nested", nested()), ("chain", chain())] {
        assert_eq!(tasks.count(), COUNT as usize);
        let print = |what: &str, ms: f64| println!("{name:>6}, {COUNT} tasks: {what:<24} {ms:8.3} ms");
        print("next", median_ms(ROUNDS, || drop(black_box(graph::next(&tasks, 5)))));
        print("check", median_ms(ROUNDS, || drop(black_box(graph::check(&tasks)))));
        print("order", median_ms(ROUNDS, || drop(black_box(graph::order(&tasks)))));
        let knotted = knotted(&tasks);
        print("fix 100 circles", median_ms(ROUNDS, || drop(black_box(graph::fix(&knotted)))));
        print("list what is ready", median_ms(ROUNDS, || drop(black_box(query::list(&tasks, &ready())))));
        print(
            "related",
            median_ms(ROUNDS, || drop(black_box(query::related(&tasks, "water the plants at night", 10)))),
        );
        print("progress report", median_ms(ROUNDS, || drop(black_box(report::progress("bench", &tasks, &[])))));
        print("picture", median_ms(ROUNDS, || drop(black_box(graph::svg(&tasks)))));
        let (id, stamp) = (TaskId::top(COUNT / 10), Stamp { updated_at: String::new(), version: 1 });
        let title = Edit::Change { id: id.clone(), fields: Fields { title: Some("new".into()), ..Fields::default() } };
        print("change of a title", median_ms(ROUNDS, || drop(black_box(apply(&tasks, &title, &stamp).unwrap()))));
        let wait = Edit::AddDependency { id: TaskId::top(COUNT / 10 + 9), on: TaskId::top(3) };
        print("one dependency more", median_ms(ROUNDS, || drop(black_box(apply(&tasks, &wait, &stamp).unwrap()))));
        let changed = apply(&tasks, &title, &stamp).unwrap().tasks;
        print("what has changed", median_ms(ROUNDS, || drop(black_box(changes(&tasks, &changed)))));
        let mut file = TasksFile::default();
        file.set_tasks("master", tasks.clone(), "2026-01-01T00:00:00.000Z").unwrap();
        print("export", median_ms(ROUNDS, || drop(black_box(file.write().unwrap()))));
    }
}

fn ready() -> Filter {
    Filter { ready: true, ..Filter::default() }
}

/// A task with texts of usual length; the first third is done.
fn task(number: u32, dependencies: Vec<TaskId>) -> Task {
    let words = ["pump", "valve", "sensor", "night", "tank", "alarm", "plants", "filter"];
    let word = |by: u32| words[(number * by) as usize % words.len()];
    Task {
        description: format!("Makes the {} tell the {} when it is time.", word(3), word(5)),
        details: format!("Read the {} every minute, compare, and switch the {}. ", word(7), word(1)).repeat(4),
        dependencies,
        status: if number < COUNT / 30 { Status::Done } else { Status::Pending },
        ..Task::titled(number, format!("Connect {} {number} to the {}", word(1), word(3)))
    }
}

/// Top-level tasks, each behind up to three earlier ones.
fn flat() -> Tasks {
    let earlier = |number: u32| -> Vec<TaskId> {
        let steps = [1 + number % 7, 13 + number % 31, 400].into_iter().take(number as usize % 4);
        steps.filter(|step| *step < number).map(|step| TaskId::top(number - step)).collect()
    };
    Tasks::new((1..=COUNT).map(|number| task(number, earlier(number))))
}

/// Tasks of four subtasks, each behind the one before, and the task behind an earlier one.
fn nested() -> Tasks {
    let parent = |number: u32| {
        let id = TaskId::top(number);
        let sub = |place: u32| task(place, if place > 1 { vec![id.child(place - 1)] } else { Vec::new() });
        let on = if number > 5 { vec![TaskId::top(number - number % 5 - 1)] } else { Vec::new() };
        Task { subtasks: (1..=4).map(sub).collect(), ..task(number, on) }
    };
    Tasks::new((1..=COUNT / 5).map(parent))
}

/// Each task behind the one before it.
fn chain() -> Tasks {
    Tasks::new((1..=COUNT).map(|number| task(number, (1..number).last().map(TaskId::top).into_iter().collect())))
}

/// The tree with a hundred dependencies that lead ahead.
fn knotted(tasks: &Tasks) -> Tasks {
    let mut knotted = tasks.clone();
    let top = tasks.top().len() as u32;
    for step in 1..=100 {
        let number = step * (top / 120);
        knotted.get_mut(&TaskId::top(number)).unwrap().dependencies.push(TaskId::top(number + top / 8));
    }
    knotted
}
