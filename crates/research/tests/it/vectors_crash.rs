//! kill -9 at random instants while vectors are added and taken away: this test binary runs itself as the writer, ends
//! it, and looks what is left.
//!
//! `TM_VECTOR_CRASHES` sets how many times (1000 in the soak), `TM_VECTOR_SEED` when.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use research::ChunkHash;
use research::models::Embedder;
use research::vectors::{Opening, Vectors, unit};

use crate::killed::until_killed;

const DIR: &str = "TM_VECTOR_CRASH_DIR";
const NEXT: &str = "TM_VECTOR_CRASH_NEXT";
const BATCHES: &str = "TM_VECTOR_CRASH_BATCHES";
const DIMS: u32 = 24;
/// How many are taken away at most in one go, and how many stay.
const WINDOW: u64 = 2000;

/// What the writers said; numbers are given once, one after the other.
#[derive(Debug, Default)]
struct Told {
    /// All below are on the disk, said the writer.
    added: u64,
    /// All below may be gone.
    leaving: u64,
    /// All below are gone.
    gone: u64,
    acknowledgements: usize,
}

#[test]
fn every_vector_that_was_acknowledged_is_there_after_a_kill_and_no_other() {
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (crashes, seed) = (number("TM_VECTOR_CRASHES", 50), number("TM_VECTOR_SEED", 7));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let mut cut = 0;
    for _ in 0..crashes {
        write_until_killed(dir.path(), &mut told, Duration::from_micros(random.u64(..60_000)));
        let vectors = open(dir.path());
        let opening = vectors.opening();
        assert_eq!(opening, Opening { cut_bytes: opening.cut_bytes, ..Opening::default() });
        cut += usize::from(opening.cut_bytes > 0);
        check(&vectors, &told);
    }
    println!("{told:?}, {cut} tails were cut off");
    assert!(told.acknowledgements > crashes as usize, "too little was written to prove anything");
}

/// As the kernel sees it: before each acknowledgement the file was synced.
#[test]
fn vectors_are_synced_before_each_acknowledgement() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=fdatasync,write,pwrite64", "-s", "16", "-o"]).arg(&trace);
    command.arg(std::env::current_exe().unwrap()).args([
        "--exact",
        "vectors_crash::writer_that_is_killed",
        "--nocapture",
    ]);
    let folder = dir.path().join("minilm");
    let Ok(status) = command.env(DIR, &folder).env(BATCHES, "20").stdout(Stdio::null()).status() else {
        println!("skipped: strace is not installed");
        return;
    };
    if !status.success() {
        println!("skipped: strace may not trace here");
        return;
    }
    let (mut is_synced, mut acknowledged) = (false, 0);
    for line in std::fs::read_to_string(&trace).unwrap().lines() {
        if line.contains("pwrite64(") {
            is_synced = false;
        } else if line.contains("fdatasync") && line.ends_with("= 0") {
            is_synced = true;
        } else if line.contains("\"added ") {
            assert!(is_synced, "acknowledged without a sync: {line}");
            acknowledged += 1;
        }
    }
    assert!(acknowledged >= 15, "only {acknowledged} acknowledgements were seen");
}

fn open(dir: &Path) -> Vectors {
    Vectors::open(dir, Embedder { model: "minilm".to_owned(), dims: DIMS }).unwrap()
}

fn hash(number: u64) -> ChunkHash {
    ChunkHash::of("", &number.to_string())
}

fn vector(number: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(number);
    (0..DIMS).map(|_| random.f32() - 0.5).collect()
}

/// Runs the writer, kills it so long after its first word, and notes what it said.
fn write_until_killed(dir: &Path, told: &mut Told, after: Duration) {
    let next = told.added.to_string();
    let given = [(DIR, dir.as_os_str()), (NEXT, next.as_ref())];
    until_killed("vectors_crash::writer_that_is_killed", &given, after, |line| told.note(line));
}

impl Told {
    /// Takes down one line; `false` where it is none of the writer's.
    fn note(&mut self, line: &str) -> bool {
        // The first one stands behind what the test harness prints on its line.
        for (what, place) in [("added ", 0), ("leaving ", 1), ("gone ", 2)] {
            let Some((_, number)) = line.split_once(what) else { continue };
            *[&mut self.added, &mut self.leaving, &mut self.gone][place] = number.parse().unwrap();
            self.acknowledgements += 1;
            return true;
        }
        false
    }
}

fn check(vectors: &Vectors, told: &Told) {
    let snapshot = vectors.snapshot();
    // The batch that was under way may be there, in part or all of it.
    let last = told.added + 200;
    let mut found = 0;
    for number in told.gone..last {
        let row = snapshot.row(&hash(number));
        assert!(row.is_some() || !(told.leaving..told.added).contains(&number), "{number} is lost: {told:?}");
        if let Some(row) = row {
            assert_eq!(snapshot.vector(row).unwrap(), unit(&vector(number), DIMS).unwrap(), "{number}");
            found += 1;
        }
    }
    assert_eq!(snapshot.len(), found, "there is what is gone, or was never added: {told:?}");
}

/// Only does something when it is started by one of the tests above.
#[test]
fn writer_that_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let vectors = open(dir.as_ref());
    let last = std::env::var(BATCHES).map_or(u64::MAX, |batches| batches.parse().unwrap());
    // What the last writer was adding when it died is there up to some number.
    let snapshot = vectors.snapshot();
    let told: u64 = std::env::var(NEXT).map_or(0, |next| next.parse().unwrap());
    let mut next = (told..).find(|number| !snapshot.contains(&hash(*number))).unwrap();
    drop(snapshot);
    println!("added {next}");
    for _ in 0..last {
        let count = fastrand::u64(1..150);
        let batch: Vec<_> = (next..next + count).map(|number| (hash(number), vector(number))).collect();
        vectors.insert(&batch).unwrap();
        next += count;
        println!("added {next}");
        if fastrand::u8(..8) == 0 {
            let first = next.saturating_sub(WINDOW);
            println!("leaving {first}");
            let alive: HashSet<ChunkHash> = (first..next).map(hash).collect();
            vectors.keep(|hash| alive.contains(hash)).unwrap();
            println!("gone {first}");
        }
    }
}
