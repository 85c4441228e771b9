//! Signs of life of the thread that computes; it writes them, `Watch` reads them, and neither waits for the other.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proto::engine::WatchResponse;

/// Prompt tokens of a step that tell how fast prompts are read.
const LEAST_PROMPT: usize = 32;
/// Weight of the latest step in means: the last dozen or so count.
const WEIGHT: f64 = 0.15;

/// What the computing thread does, in numbers.
pub struct Pulse {
    begun: Instant,
    pub slots_busy: AtomicU32,
    pub queued: AtomicU32,
    pub cache_tokens: AtomicU32,
    cache_room: u32,
    steps: AtomicU64,
    /// Since `begun`, in microseconds; 0 between steps.
    step_began_us: AtomicU64,
    step_s: AtomicF64,
    prompt_tok_s: AtomicF64,
    output_tok_s: AtomicF64,
}

/// A number with a fraction that threads share.
#[derive(Default)]
struct AtomicF64(AtomicU64);

impl AtomicF64 {
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn mean_with(&self, value: f64) {
        let before = self.get();
        let mean = if before == 0.0 { value } else { before + WEIGHT * (value - before) };
        self.0.store(mean.to_bits(), Ordering::Relaxed);
    }
}

impl Pulse {
    /// Of a thread that has done nothing yet, with so much room in its cache.
    pub fn new(cache_room: u32) -> Self {
        Self {
            begun: Instant::now(),
            slots_busy: AtomicU32::default(),
            queued: AtomicU32::default(),
            cache_tokens: AtomicU32::default(),
            cache_room,
            steps: AtomicU64::default(),
            step_began_us: AtomicU64::default(),
            step_s: AtomicF64::default(),
            prompt_tok_s: AtomicF64::default(),
            output_tok_s: AtomicF64::default(),
        }
    }

    /// A step begins.
    pub fn step_begins(&self) {
        self.step_began_us.store(self.now_us().max(1), Ordering::Relaxed);
    }

    /// It ended, having read `prompt` tokens of prompts and written `output` ones.
    pub fn step_ended(&self, prompt: usize, output: usize) {
        let began = self.step_began_us.swap(0, Ordering::Relaxed);
        let took = Duration::from_micros(self.now_us().saturating_sub(began)).as_secs_f64().max(1e-6);
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.step_s.mean_with(took);
        // A step with both is of the prompt for the most part. One with little of it says nothing of the speed of much.
        if prompt >= LEAST_PROMPT {
            self.prompt_tok_s.mean_with((prompt + output) as f64 / took);
        } else if output > 0 && prompt == 0 {
            self.output_tok_s.mean_with(output as f64 / took);
        }
    }

    /// Speed of reading prompts, in tokens per second; 0 when not known yet.
    pub fn prompt_tok_s(&self) -> f64 {
        self.prompt_tok_s.get()
    }

    /// All of it, for `Watch`.
    pub fn report(&self) -> WatchResponse {
        let began = self.step_began_us.load(Ordering::Relaxed);
        let since = if began == 0 { 0 } else { self.now_us().saturating_sub(began) };
        WatchResponse {
            slots_busy: self.slots_busy.load(Ordering::Relaxed),
            queued: self.queued.load(Ordering::Relaxed),
            cache_tokens: self.cache_tokens.load(Ordering::Relaxed),
            cache_room_tokens: self.cache_room,
            mean_step_s: self.step_s.get(),
            present_step_s: Duration::from_micros(since).as_secs_f64(),
            prompt_tok_s: self.prompt_tok_s.get(),
            output_tok_s: self.output_tok_s.get(),
            steps: self.steps.load(Ordering::Relaxed),
            memory_bytes: resident_bytes(),
            cpu_s: cpu_seconds(),
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Memory of this process that is in RAM; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Processor time of this process; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
