//! What forwarding one event costs: a 250-byte event through the worker's pass and the gateway's journal.
//!
//! Prints nanoseconds per event for one event per read and for ten, without and with the journal. The figure that
//! matters is `journal, 1 per read`; it has to stay well below 300 ns. A stream of a thousand events is longer than the
//! journal keeps raw, so its figure holds the parsing of what was folded.

use std::hint::black_box;
use std::io::Write;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use base::time::Deadline;
use base::{Answer, AnswerHead, Ask, AskHead, BoxFuture, Continuation, Dialect, Fault, Frames, Result};
use bytes::Bytes;
use inference::resume::{Rerun, ResumeLimits, Resuming};
use inference::wire::{AnswerSpec, answer};

const EVENTS: usize = 200_000;
/// Answers of so many tokens, one after the other.
const LENGTHS: [usize; 2] = [200, 1000];

struct Repeat {
    frame: Bytes,
    left: usize,
}

impl Frames for Repeat {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.left = self.left.saturating_sub(1);
        Poll::Ready((self.left > 0).then(|| Ok(self.frame.clone())))
    }
}

struct Nobody;

impl Rerun for Nobody {
    fn rerun(&mut self, _: Option<Continuation>, fault: &Fault) -> BoxFuture<'static, Result<Answer>> {
        Box::pin(std::future::ready(Err(fault.clone())))
    }
}

fn ask(dialect: Dialect) -> Ask {
    let deadline = Deadline::after(Instant::now(), Duration::from_secs(60));
    let head = AskHead { stream: true, ..AskHead::plain(dialect, deadline) };
    Ask { head, body: Bytes::new() }
}

fn event(dialect: Dialect) -> String {
    match dialect {
        Dialect::OllamaChat => format!(
            "{{\"model\":\"llama3.1:8b\",\"created_at\":\"2026-01-01T00:00:00.000000000Z\",\"message\":{{\"role\":\"assistant\",\"content\":\"{}\"}},\"done\":false}}\n",
            " token".repeat(20)
        ),
        Dialect::AnthropicMessages => format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{}\"}}}}\n\n",
            " token".repeat(18)
        ),
        _ => format!(
            "data: {{\"choices\":[{{\"finish_reason\":null,\"index\":0,\"delta\":{{\"content\":\" token\"}}}}],\"created\":1700000000,\"id\":\"chatcmpl-{}\",\"model\":\"llama3.1:8b\",\"system_fingerprint\":\"b1234-abcdef\",\"object\":\"chat.completion.chunk\"}}\n\n",
            "x".repeat(50)
        ),
    }
}

/// Nanoseconds per event.
fn run(dialect: Dialect, length: usize, per_read: usize, with_journal: bool) -> f64 {
    let ask = ask(dialect);
    let frame = Bytes::from(event(dialect).repeat(per_read));
    let mut cx = Context::from_waker(Waker::noop());
    let started = Instant::now();
    let streams = EVENTS / length;
    for _ in 0..streams {
        let raw = Repeat { frame: frame.clone(), left: length / per_read };
        let frames = Box::new(answer(Box::new(raw), AnswerSpec::new(&ask, dialect, started)));
        let mut frames: Box<dyn Frames> = if with_journal {
            let head = AnswerHead {
                content_type: "",
                content_length: None,
                worker: None,
                model: String::new(),
                fallback: None,
            };
            let limits = ResumeLimits { first_token: Duration::from_secs(60), idle_token: Duration::from_secs(30) };
            Box::new(Resuming::new(Answer { head, frames }, &ask.head, limits, Nobody))
        } else {
            frames
        };
        for _ in 1..length / per_read {
            black_box(frames.poll_frame(&mut cx)).is_pending();
        }
    }
    started.elapsed().as_nanos() as f64 / (streams * (length / per_read - 1) * per_read) as f64
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for dialect in [Dialect::OpenAiChat, Dialect::OllamaChat, Dialect::AnthropicMessages] {
        writeln!(out, "{dialect}, event of {} bytes", event(dialect).len())?;
        for (name, with_journal) in [("pass", false), ("journal", true)] {
            for (length, per_read) in LENGTHS.into_iter().flat_map(|length| [(length, 1), (length, 10)]) {
                let best = (0..5).map(|_| run(dialect, length, per_read, with_journal)).fold(f64::INFINITY, f64::min);
                writeln!(out, "  {name}, {per_read} per read, answers of {length}: {best:.0} ns per event")?;
            }
        }
    }
    Ok(())
}
