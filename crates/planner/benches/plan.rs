//! How long it takes to plan without a model, and to judge a plan: medians of plain loops, and the memory at the highest.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and may stop at the first fault"
)]

#[path = "parts/median.rs"]
mod median;

use std::hint::black_box;
use std::path::{Path, PathBuf};

use median::median_ms;
use planner::gates;
use planner::prd::Prd;
use planner::structural::{self, Wish};
use planner::{Task, TaskId, Tasks, requirements, templates};

fn main() {
    for name in ["greenhouse-telemetry.md", "hostile.md"] {
        match std::fs::read(documents().join(name)) {
            Ok(bytes) => document(name, &bytes, 21),
            Err(error) => println!("{name}: skipped, {error}; TM_PRDS names its folder"),
        }
    }
    println!("memory at the highest so far: {} MB", highest_memory_kb() / 1000);
    for template in templates::all() {
        document(template.name, template.prd.as_bytes(), 101);
    }
    let shapes = [
        ("100,000 list items", "- It must do thing number seven\n".repeat(100_000)),
        ("100,000 list items, each its own", (0..100_000).map(|n| format!("- It must do thing {n}\n")).collect()),
        ("a line of 1 MB", format!("# A\n\nIt must {}", "work well, ".repeat(95_000))),
        ("a quote 10,000 deep", format!("# A\n\n{} it must work", "> ".repeat(10_000))),
        ("a list 2,000 deep", (0..2_000).map(|depth| format!("{}- it must\n", "  ".repeat(depth))).collect()),
        ("1,000,000 brackets", format!("# A\n\n- {}", "[(".repeat(500_000))),
        ("20,000 headings", (0..20_000).map(|n| format!("## Part {n}\n\nIt must work.\n\n")).collect()),
    ];
    for (name, text) in &shapes {
        document(name, text.as_bytes(), 1);
    }
    judging();
    println!("memory at the highest: {} MB", highest_memory_kb() / 1000);
}

fn document(name: &str, bytes: &[u8], rounds: usize) {
    let prd = Prd::read(bytes).unwrap();
    let found = requirements::extract(&prd).requirements;
    let tasks = structural::plan(&prd, &found, &Wish::default()).tasks;
    let all = median_ms(rounds, || {
        let prd = Prd::read(black_box(bytes)).unwrap();
        let found = requirements::extract(&prd).requirements;
        drop(black_box(structural::plan(&prd, &found, &Wish::default())));
    });
    let gates = median_ms(rounds, || drop(black_box(gates::check(&tasks, &found))));
    println!(
        "{name}: {} lines, {} requirements, {} tasks: plan {all:.2} ms, gates {gates:.2} ms",
        prd.lines.len(),
        found.len(),
        tasks.count()
    );
}

fn judging() {
    let task = |number: u32| {
        let mut task = Task::titled(number, format!("Build the part {}", word(number)));
        task.description = format!("It takes what {} gives and hands it to {}.", word(number + 1), word(number * 7));
        task.dependencies = (1..number).rev().take(2).map(TaskId::top).collect();
        task
    };
    let tasks = Tasks::new((1..=10_000).map(task));
    let took = median_ms(11, || drop(black_box(gates::check(&tasks, &[]))));
    println!("10,000 tasks: gates {took:.2} ms");
}

/// A word for a number, without digits.
fn word(number: u32) -> String {
    (0..4).map(|place| char::from(b'a' + (number / 26_u32.pow(place) % 26) as u8)).collect()
}

fn documents() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/acceptance/prds");
    std::env::var_os("TM_PRDS").map_or(beside, PathBuf::from)
}

fn highest_memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or_default()
}
