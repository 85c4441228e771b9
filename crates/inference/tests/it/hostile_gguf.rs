//! Files made to hurt cost little time and little memory, and nothing panics. Memory is measured for the whole process, so
//! these tests run one after the other, in a binary of their own.

use std::io::{Cursor, Read, Seek};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sample::{self, Given, Sample};
use inference::gguf::{GgufError, Header};

/// More than reading any header may take.
const MOST_MEMORY_KIB: u64 = 64 << 10;
/// Of the processor: other work on the machine does not count.
const MOST_TIME: Duration = Duration::from_secs(5);
/// How many broken files `cargo test` tries; `TM_FUZZ_SECONDS` sets a time instead.
const MUTATIONS: u64 = 20_000;

/// Numbers at which things break.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 24, 1 << 44, i64::MAX as u64, u64::MAX - 31, u64::MAX];

/// Whatever is said about a file, asking for its memory must not panic either.
fn try_all(bytes: &[u8], told_bytes: u64) -> bool {
    let read = Header::read(&mut Cursor::new(bytes), told_bytes);
    match read {
        Ok(header) => {
            header.memory(u32::MAX, 64).total();
            header.memory_windowed(8_192, 4).total();
            header.capabilities();
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.hint().is_empty());
            false
        }
    }
}

/// Breaks a good file in one to eight ways.
fn broken(random: &mut fastrand::Rng, good: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = good[random.usize(..good.len())].clone();
    for _ in 0..random.u32(1..=8) {
        if bytes.len() < 16 {
            break;
        }
        // Most of the time in the header: weights are not read.
        let most = if random.u8(..8) == 0 { bytes.len() } else { bytes.len().min(1_400) };
        let at = random.usize(..most - 8);
        match random.u8(..7) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => bytes[at..at + 8].copy_from_slice(&EDGES[random.usize(..EDGES.len())].to_le_bytes()),
            3 => bytes[at..at + 4].copy_from_slice(&(EDGES[random.usize(..EDGES.len())] as u32).to_le_bytes()),
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..at + random.usize(1..=8))),
            _ => {
                let piece = bytes[at..at + 8].to_vec();
                let to = random.usize(..most - 8);
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

/// One test at a time, and what the process has in memory when it begins.
struct Watched {
    begin_kib: u64,
    _alone: MutexGuard<'static, ()>,
}

impl Watched {
    fn begin() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // The peak begins anew at what is used now.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        Self { begin_kib: status_kib("VmHWM:"), _alone: alone }
    }

    /// How far the peak rose since.
    fn grown_kib(&self) -> u64 {
        status_kib("VmHWM:").saturating_sub(self.begin_kib)
    }
}

/// How much this thread has computed so far, to a hundredth of a second.
fn computed() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Field 14 and 15 of the line, of which the first two stand before the bracket: as the user, and in the kernel.
    Duration::from_millis(10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()))
}

/// The same once more, by what it computes.
fn computed_since(bytes: &[u8], told: u64) -> Duration {
    let before = computed();
    try_all(bytes, told);
    computed() - before
}

fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn broken_files_by_the_thousand_cost_little_memory_and_never_panic() {
    let good = [Sample::chat(), Sample::embedding(), Sample::adapter(), nested(), nested().without("general.name")];
    let good: Vec<_> = good.iter().map(Sample::bytes).collect();
    let seconds = std::env::var("TM_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let watched = Watched::begin();
    let (mut tried, mut read) = (0_u64, 0_u64);
    while until.map_or(tried < MUTATIONS, |until| Instant::now() < until) {
        // Each by its own seed, so that one that fails can be made again.
        let mut random = fastrand::Rng::with_seed(tried);
        let bytes = broken(&mut random, &good);
        // Now and then the file is said to be of another length than it is.
        let told = if random.u8(..8) == 0 { EDGES[random.usize(..EDGES.len())] } else { bytes.len() as u64 };
        let begin = Instant::now();
        read += u64::from(try_all(&bytes, told));
        // Asked of the system only where there is cause to.
        let took = begin.elapsed();
        assert!(took < MOST_TIME || computed_since(&bytes, told) < MOST_TIME, "seed {tried} took {took:?}");
        tried += 1;
    }
    let grown_kib = watched.grown_kib();
    println!("{tried} broken files, {read} still good enough to read, at most {grown_kib} KiB above the start");
    assert!(read > 0 && read < tried, "{read} of {tried} were read");
    assert!(grown_kib < MOST_MEMORY_KIB, "{grown_kib} KiB");
}

/// A file with every kind of value.
fn nested() -> Sample {
    let inner = [4_u32.to_le_bytes().to_vec(), 1_u64.to_le_bytes().to_vec(), vec![0; 4]].concat();
    let outer = [9_u32.to_le_bytes().to_vec(), 1_u64.to_le_bytes().to_vec(), inner].concat();
    Sample::chat()
        .with("nested", Given::Raw(9, outer))
        .with("long", Given::U64(7))
        .with("llama.attention.sliding_window", 8)
        .with("llama.attention.sliding_window_pattern", Given::Bools(vec![true, false]))
        .with("llama.attention.head_count_kv", Given::I32s(vec![2, 2]))
}

/// Gives a header, and zeros behind it for as long as somebody reads.
struct Endless {
    head: Vec<u8>,
    fill: Vec<u8>,
    at: u64,
}

impl Read for Endless {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let behind = self.at.checked_sub(self.head.len() as u64);
        let piece = match behind {
            None => &self.head[self.at as usize..],
            Some(behind) => &self.fill[(behind % self.fill.len() as u64) as usize..],
        };
        let length = piece.len().min(to.len());
        to[..length].copy_from_slice(&piece[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for Endless {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.at = match to {
            std::io::SeekFrom::Start(at) => at,
            std::io::SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            std::io::SeekFrom::End(_) => return Err(std::io::Error::other("there is no end")),
        };
        Ok(self.at)
    }
}

fn begin(tensors: u64, entries: u64) -> Vec<u8> {
    let counts = [tensors.to_le_bytes(), entries.to_le_bytes()].concat();
    [b"GGUF".to_vec(), 3_u32.to_le_bytes().to_vec(), counts].concat()
}

#[test]
fn files_that_are_all_header_stop_at_its_limits() {
    let mut array = begin(1, 9_000);
    sample::put_text(&mut array, "tokens");
    array.extend([9_u32.to_le_bytes(), 8_u32.to_le_bytes()].concat());
    array.extend((1_u64 << 24).to_le_bytes());
    let text = |length: usize| [(length as u64).to_le_bytes().to_vec(), vec![b'k'; length]].concat();
    let entry = |length: usize| [text(1_024), 8_u32.to_le_bytes().to_vec(), text(length)].concat();
    let mut first = begin(1, 16_384);
    first.extend(entry(64 << 10));
    for (head, fill) in [(array, vec![0; 1 << 20]), (first, text(4_096)), (begin(65_536, 0), text(256))] {
        let (watched, start) = (Watched::begin(), computed());
        let error = Header::read(&mut Endless { head, fill, at: 0 }, 1 << 50).unwrap_err();
        assert!(computed() - start < MOST_TIME, "{error}: {:?}", computed() - start);
        assert!(watched.grown_kib() < MOST_MEMORY_KIB, "{error}: {} KiB", watched.grown_kib());
    }
}

/// Entries with unlike long names and values, then tensors with unlike long names, as many as are asked for.
struct Listed {
    next: Box<dyn FnMut() -> Option<Vec<u8>>>,
    rest: Cursor<Vec<u8>>,
}

impl Read for Listed {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.rest.read(to)? {
                0 => match (self.next)() {
                    Some(piece) => self.rest = Cursor::new(piece),
                    None => return Ok(0),
                },
                read => return Ok(read),
            }
        }
    }
}

impl Seek for Listed {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        match to {
            std::io::SeekFrom::Start(0) => Ok(0),
            _ => Err(std::io::Error::other("only forwards")),
        }
    }
}

#[test]
fn as_much_as_is_taken_at_most_stays_small_in_memory() {
    for (entries, tensors) in [(3_000_u64, 1_u64), (1, 65_536), (2_800, 65_536), (16_384, 65_536)] {
        let mut at = 0_u64;
        let next = move || {
            at += 1;
            let mut piece = Vec::new();
            if at == 1 {
                return Some(begin(tensors, entries));
            } else if at <= entries + 1 {
                sample::put_text(&mut piece, &format!("{at:01000}"));
                piece.extend(8_u32.to_le_bytes());
                sample::put_text(&mut piece, &"v".repeat(4_096));
            } else if at <= entries + tensors + 1 {
                sample::put_text(&mut piece, &format!("{at:0256}"));
                piece.extend(
                    [1_u32.to_le_bytes(), 1_u32.to_le_bytes(), 0_u32.to_le_bytes(), 24_u32.to_le_bytes()].concat(),
                );
                piece.extend((32 * (at - entries - 2)).to_le_bytes());
            } else {
                return None;
            }
            Some(piece)
        };
        let (watched, start) = (Watched::begin(), computed());
        let file_bytes = 1 << 40;
        let read = Header::read(&mut Listed { next: Box::new(next), rest: Cursor::default() }, file_bytes);
        let is_expected = matches!(read, Err(GgufError::Missing { .. } | GgufError::OverLimit { .. }));
        assert!(is_expected, "{read:?}");
        assert!(computed() - start < MOST_TIME, "{:?}", computed() - start);
        assert!(watched.grown_kib() < MOST_MEMORY_KIB, "{entries} and {tensors}: {} KiB", watched.grown_kib());
    }
}
