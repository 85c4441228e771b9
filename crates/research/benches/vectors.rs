//! How fast the nearest of many vectors are found, and how many of them are the right ones: clustered vectors, one
//! thread, beside the plain product over all of them; then adding, opening, and the memory.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and may stop at the first fault"
)]

#[path = "../src/vectors/tests/clustered.rs"]
mod clustered;
#[path = "../../planner/benches/parts/median.rs"]
mod median;

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use clustered::{brute_force, clustered, nearest};
use median::median_ms;
use research::ChunkHash;
use research::models::Embedder;
use research::vectors::{Allowed, Row, Rows, Snapshot, Vectors};
use simsimd::SpatialSimilarity;

const DIMS: usize = 384;
const QUERIES: usize = 300;
const BATCH: usize = 32;
/// Near enough to each other that small numbers alone miss one in ten.
const SPREAD: f32 = 0.2;

/// Where the child finds what it is to open.
const OPENS: &str = "TM_BENCH_OPENS";

fn main() {
    if let Some(dir) = std::env::var_os(OPENS) {
        return open_alone(dir.as_ref());
    }
    for count in [50_000, 100_000, 200_000] {
        measure(count);
    }
}

fn measure(count: usize) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut all = clustered(&mut random, count + QUERIES, DIMS, SPREAD);
    let queries = all.split_off(count);
    let dir = tempfile::tempdir().unwrap();
    let vectors = Vectors::open(dir.path(), by()).unwrap();
    let start = Instant::now();
    for (number, batch) in all.chunks(BATCH).enumerate() {
        let hashed =
            batch.iter().zip(number * BATCH..).map(|(vector, at)| (ChunkHash::of("", &at.to_string()), vector.clone()));
        vectors.insert(&hashed.collect::<Vec<_>>()).unwrap();
    }
    println!("{count} x {DIMS}: added {:.0}/s in batches of {BATCH}", count as f64 / start.elapsed().as_secs_f64());
    drop(vectors);
    let opening = Command::new(std::env::current_exe().unwrap()).env(OPENS, dir.path()).status().unwrap();
    assert!(opening.success());
    search(&Vectors::open(dir.path(), by()).unwrap().snapshot(), &all, &queries);
}

fn by() -> Embedder {
    Embedder { model: "bench".to_owned(), dims: DIMS as u32 }
}

/// In a process that has used no memory before.
fn open_alone(dir: &Path) {
    let before = resident_kb();
    let mut opened = None;
    let ms = median_ms(5, || {
        opened = None;
        opened = Some(Vectors::open(dir, by()).unwrap());
    });
    println!("  opened in {ms:.0} ms, with {:.1} MB of memory", resident_kb().saturating_sub(before) as f64 / 1e3);
}

fn search(snapshot: &Snapshot, all: &[Vec<f32>], queries: &[Vec<f32>]) {
    for most in [10, 100] {
        report(&format!("nearest {most}"), queries, |query| {
            drop(black_box(nearest(snapshot, query, Allowed::All, most)));
        });
    }
    let few: Rows = (0..snapshot.len() as u32).step_by(50).map(Row).collect();
    report("nearest 100 of 2 %", queries, |query| {
        drop(black_box(nearest(snapshot, query, Allowed::Only(&few), 100)));
    });
    let small: Vec<i8> = all.iter().flatten().map(|number| (number * 500.0) as i8).collect();
    let query = small.get(..DIMS).unwrap().to_vec();
    let plain = median_ms(101, || {
        let products = small.chunks_exact(DIMS).map(|vector| i8::dot(&query, vector).unwrap());
        black_box(products.fold(0.0, f64::max));
    });
    println!("  plain product over all: {plain:.2} ms");
    let found = |query: &Vec<f32>| {
        let exact = brute_force(all, query, 10);
        let hits = nearest(snapshot, query, Allowed::All, 10);
        hits.iter().filter(|(row, _)| exact.iter().any(|(at, _)| *at == row.0 as usize)).count()
    };
    let right: usize = queries.iter().map(found).sum();
    println!("  recall@10 {:.4}", right as f64 / (10 * queries.len()) as f64);
}

fn report(what: &str, queries: &[Vec<f32>], mut work: impl FnMut(&[f32])) {
    let mut times: Vec<f64> = queries.iter().map(|query| median_ms(1, || work(query))).collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
    println!("  {what}: p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}
