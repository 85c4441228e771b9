//! The body of an answer: one write per token at its due time, and every way in which a stream can break.
//!
//! The body is polled by the connection itself, so a client that leaves ends the generation at once: the connection
//! drops the body, and with it the slot.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use crate::fake::control::Fail;
use crate::fake::encode::{Done, Encoder};
use crate::fake::engine::Running;
use crate::fake::refusal::Refusal;
use crate::fake::text::Script;

/// Where faults that stand in place of a token strike.
const FAULTY_TOKEN: usize = 3;
/// A line without an end comes in pieces of this size.
static FILLER: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// The answer breaks off here on purpose; the server cuts the connection.
#[derive(Debug)]
pub struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}

/// How an answer goes on behind the frames that are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// With the next token.
    Tokens,
    /// Not at all: it is complete.
    End,
    /// Not at all: the connection is cut.
    Cut,
    /// Nothing comes until the engine is told how to fail next; the connection stays open.
    Hang,
    /// A line without an end.
    HugeLine,
}

/// What a streamed answer needs.
pub struct Stream {
    /// Writes it.
    pub encoder: Box<dyn Encoder>,
    /// What is thought first.
    pub thoughts: Script,
    /// What is said.
    pub script: Script,
    /// Time between tokens.
    pub token: Duration,
    /// How it breaks.
    pub fail: Fail,
    /// What its end reports.
    pub done: Done,
}

/// A body that is written as it comes.
pub struct Answer {
    stream: Option<Stream>,
    running: Option<Running>,
    frames: VecDeque<Bytes>,
    then: Then,
    /// Ends while it hangs in its middle.
    let_go: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Tokens thought and said so far.
    thought: usize,
    next: usize,
    first_due: Instant,
    sleep: Pin<Box<Sleep>>,
    /// Bytes until the connection is cut.
    left: usize,
    /// The last frame must reach the socket before the next one is made.
    must_flush: bool,
}

impl Answer {
    /// A stream whose first token is due now.
    pub fn streamed(mut stream: Stream, running: Running) -> Self {
        let frames = stream.encoder.open().into();
        let left = if let Fail::CutAtByte(bytes) = stream.fail { bytes } else { usize::MAX };
        Self { stream: Some(stream), running: Some(running), left, ..Self::of(frames, Then::Tokens) }
    }

    /// `bytes` in one piece, and then `then`.
    pub fn raw(bytes: Bytes, then: Then) -> Self {
        Self::of(VecDeque::from([bytes]), then)
    }

    fn of(frames: VecDeque<Bytes>, then: Then) -> Self {
        let now = Instant::now();
        let sleep = Box::pin(tokio::time::sleep_until(now));
        let (stream, running) = (None, None);
        Self {
            stream,
            running,
            frames,
            then,
            let_go: None,
            thought: 0,
            next: 0,
            first_due: now,
            sleep,
            left: usize::MAX,
            must_flush: false,
        }
    }

    /// Makes the frames that are due; pending until some are.
    fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = &mut self.stream else {
            self.then = Then::End;
            return Poll::Ready(());
        };
        let is_thinking = self.thought < stream.thoughts.len();
        if !is_thinking && let Some(then) = break_off(stream, self.next, &mut self.frames) {
            self.then = then;
            return Poll::Ready(());
        }
        if !is_thinking && self.next >= stream.script.len() {
            stream.done.decode = self.first_due.elapsed();
            self.frames.extend(stream.encoder.close(&stream.done));
            self.then = Then::End;
            return Poll::Ready(());
        }
        if !stream.token.is_zero() {
            let index = u32::try_from(self.thought + self.next).unwrap_or(u32::MAX);
            let due = self.first_due + stream.token.saturating_mul(index);
            if self.sleep.deadline() != due {
                self.sleep.as_mut().reset(due);
            }
            std::task::ready!(self.sleep.as_mut().poll(cx));
        }
        let frame = if is_thinking {
            self.thought += 1;
            stream.encoder.thought(stream.thoughts.token(self.thought - 1))
        } else {
            self.next += 1;
            stream.encoder.token(stream.script.token(self.next - 1))
        };
        if !frame.is_empty() {
            self.frames.push_back(frame);
        }
        if let Some(running) = &self.running {
            running.generated(1);
        }
        Poll::Ready(())
    }

    /// Pending until it may go on; forever where nothing runs that could.
    fn poll_let_go(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(stream), Some(running)) = (&mut self.stream, &self.running) else { return Poll::Pending };
        let let_go = self.let_go.get_or_insert_with(|| Box::pin(running.let_go()));
        std::task::ready!(let_go.as_mut().poll(cx));
        (stream.fail, self.then, self.let_go) = (Fail::None, Then::Tokens, None);
        Poll::Ready(())
    }

    /// Cuts `frame` where the connection is to be cut.
    fn clip(&mut self, mut frame: Bytes) -> Bytes {
        if frame.len() >= self.left {
            frame.truncate(self.left);
            self.frames.clear();
            self.then = Then::Cut;
        }
        self.left -= frame.len();
        frame
    }
}

/// Whether the stream breaks at token `next`, and how it goes on then.
fn break_off(stream: &mut Stream, next: usize, frames: &mut VecDeque<Bytes>) -> Option<Then> {
    match &stream.fail {
        Fail::HangMid(at) if *at == next => Some(Then::Hang),
        Fail::CutAt(at) if *at == next => Some(Then::Cut),
        Fail::ErrorMid(at) if *at == next => {
            frames.push_back(stream.encoder.error(&Refusal::status(500, None)));
            Some(Then::End)
        }
        Fail::Junk if next == FAULTY_TOKEN => {
            frames.push_back(stream.encoder.junk());
            Some(Then::End)
        }
        Fail::HalfUtf8 if next == FAULTY_TOKEN => {
            frames.push_back(half_character(&stream.encoder.token(" größe")));
            Some(Then::Cut)
        }
        Fail::HugeLine if next == FAULTY_TOKEN => Some(Then::HugeLine),
        _ => None,
    }
}

/// `frame` up to the first byte of its first character that has several.
pub fn half_character(frame: &Bytes) -> Bytes {
    let at = frame.iter().position(|byte| !byte.is_ascii()).unwrap_or(frame.len().saturating_sub(1));
    frame.slice(..=at.min(frame.len().saturating_sub(1)))
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.must_flush) {
            // The connection writes out what it has when the body has nothing for it.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if let Some(frame) = this.frames.pop_front() {
                this.must_flush = true;
                return Poll::Ready(Some(Ok(Frame::data(this.clip(frame)))));
            }
            match this.then {
                Then::Tokens => std::task::ready!(this.poll_token(cx)),
                Then::HugeLine => this.frames.push_back(Bytes::from_static(&FILLER)),
                Then::Hang => std::task::ready!(this.poll_let_go(cx)),
                Then::Cut => return Poll::Ready(Some(Err(Cut))),
                Then::End => {
                    if let Some(running) = &mut this.running {
                        running.done();
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }
}
