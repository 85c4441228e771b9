//! An answer that survives its worker: what the client holds is kept, and another run goes on behind it.
//!
//! Sits at the node that the client speaks to. On the way, each frame is copied into a journal and nothing else; only
//! when the frames are cut, stall or turn out to be junk is the journal parsed. What cannot be continued ends with an
//! error event that the client can tell from an end.

use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use base::beside::Beside;
use base::{
    Answer, AnswerHead, AskHead, BoxFrames, BoxFuture, Code, Continuation, Dialect, Event, Fault, Finish, Frames,
    Result, RunSummary, Usage,
};
use bytes::Bytes;
use memchr::memmem;
use tokio::time::Sleep;

use crate::wire::{Renderer, Shown, error_event, terminator};

mod journal;
#[cfg(test)]
mod tests;

use journal::{Journal, Progress};

static CONTENT_DELTA: LazyLock<memmem::FinderRev<'static>> =
    LazyLock::new(|| memmem::FinderRev::new(b"\"content_block_delta\""));

/// So many other runs are tried for one answer.
pub const MAX_ATTEMPTS: u32 = 3;

/// Finds another run for an answer that was interrupted. The daemon's part: it leaves out the worker that failed,
/// keeps the model's identity, and minds the budget of retries.
pub trait Rerun: Send {
    /// A run behind `continuation`, or from the start when the client holds nothing. `fault` is why.
    fn rerun(&mut self, continuation: Option<Continuation>, fault: &Fault) -> BoxFuture<'static, Result<Answer>>;

    /// What became of an interruption; for `tm_resumes_total`.
    fn note(&mut self, outcome: Outcome) {
        let _ = outcome;
    }
}

/// What became of an interrupted answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing had been sent; another run began from the start.
    Restarted,
    /// Another run went on behind what the client holds.
    Resumed,
    /// The text was whole already; only the end mark was missing.
    Completed,
    /// It could not be continued and ended with an error.
    GaveUp,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Restarted, Self::Resumed, Self::Completed, Self::GaveUp];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restarted => "restarted",
            Self::Resumed => "resumed",
            Self::Completed => "completed",
            Self::GaveUp => "gave_up",
        }
    }
}

/// How long a run may be silent.
#[derive(Clone, Copy, Debug)]
pub struct ResumeLimits {
    /// Before its first frame.
    pub first_token: Duration,
    /// Between frames. Noticed after one to two of it: the timer is not touched per frame.
    pub idle_token: Duration,
}

/// Frames that go on when a run does not.
pub struct Resuming<R> {
    ask: Asked,
    head: AnswerHead,
    limits: ResumeLimits,
    rerun: R,
    state: State,
    journal: Journal,
    /// Anthropic's events that open and close blocks, until the text that they belong to goes out with them.
    held: Vec<u8>,
    timer: Option<Beside<Sleep>>,
    awaits_first: bool,
    /// Whether a frame came since the timer was set.
    has_moved: bool,
    has_sent: bool,
    attempts: u32,
    started: Instant,
    first: Option<Duration>,
    summary: Option<RunSummary>,
}

/// What of the ask matters here.
struct Asked {
    dialect: Dialect,
    stream: bool,
    wants_usage_chunk: bool,
    has_schema: bool,
    prompt_tokens: u32,
    limit: Option<u32>,
    choices: u32,
    deadline: base::time::Deadline,
}

enum State {
    Reading(BoxFrames),
    Rerunning { is_restart: bool, run: BoxFuture<'static, Result<Answer>> },
    Last(Bytes),
    Failed(Fault),
    Over,
}

impl<R: Rerun> Resuming<R> {
    /// Wraps the first run's answer to `ask`.
    pub fn new(first: Answer, ask: &AskHead, limits: ResumeLimits, rerun: R) -> Self {
        Self {
            ask: Asked {
                dialect: ask.dialect,
                stream: ask.stream,
                wants_usage_chunk: ask.wants_usage_chunk,
                has_schema: ask.needs.schema,
                prompt_tokens: ask.prompt_tokens,
                limit: ask.max_output_tokens,
                choices: ask.choices,
                deadline: ask.deadline,
            },
            head: first.head,
            limits,
            rerun,
            state: State::Reading(first.frames),
            journal: Journal::new(ask.dialect),
            held: Vec::new(),
            timer: None,
            awaits_first: true,
            has_moved: false,
            has_sent: false,
            attempts: 0,
            started: Instant::now(),
            first: None,
            summary: None,
        }
    }

    /// What is known before the first byte.
    pub fn head(&self) -> &AnswerHead {
        &self.head
    }

    /// As an answer.
    pub fn into_answer(self) -> Answer
    where
        R: 'static,
    {
        Answer { head: self.head.clone(), frames: Box::new(self) }
    }

    /// Whether the answer is text in a stream, the only kind that can be continued.
    fn is_stream(&self) -> bool {
        self.ask.stream && self.ask.dialect.is_generation()
    }

    /// Notes a frame; gives what goes to the client now.
    fn take(&mut self, bytes: Bytes) -> Option<Bytes> {
        self.has_moved = true;
        if self.awaits_first {
            self.awaits_first = false;
            self.set_timer(self.limits.idle_token);
            self.first.get_or_insert_with(|| self.started.elapsed());
        }
        if !self.is_stream() {
            self.has_sent = true;
            return Some(bytes);
        }
        let bytes = if self.ask.dialect == Dialect::AnthropicMessages { self.hold(bytes)? } else { bytes };
        self.has_sent = true;
        self.journal.add(&bytes);
        Some(bytes)
    }

    /// Which block is open must follow from the text that the client holds, so what opens and closes blocks goes out
    /// with the text behind it.
    fn hold(&mut self, bytes: Bytes) -> Option<Bytes> {
        let mut bytes = bytes;
        if !self.held.is_empty() {
            self.held.extend_from_slice(&bytes);
            bytes = std::mem::take(&mut self.held).into();
        }
        let text_end = CONTENT_DELTA.rfind(&bytes).map_or(0, |at| {
            let rest = bytes.get(at..).unwrap_or_default();
            at + memmem::find(rest, b"\n\n")
                .or_else(|| memmem::find(rest, b"\n\r\n").map(|it| it + 1))
                .map_or(rest.len(), |it| it + 2)
        });
        let behind = bytes.get(text_end..).unwrap_or_default();
        let is_framing =
            [&b"content_block_"[..], b"message_start"].iter().any(|name| memmem::find(behind, name).is_some());
        if is_framing && memmem::find(behind, b"message_delta").is_none() {
            self.held.extend_from_slice(behind);
            bytes.truncate(text_end);
        }
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    fn set_timer(&mut self, after: Duration) {
        if let Some(timer) = &mut self.timer {
            timer.set(|timer| timer.reset(tokio::time::Instant::now() + after));
        }
    }

    /// Whether nothing came for too long. One timer, set again only when it fires.
    fn is_stalled(&mut self, cx: &mut Context<'_>) -> bool {
        let limit = if self.awaits_first { self.limits.first_token } else { self.limits.idle_token };
        let timer = self.timer.get_or_insert_with(|| Beside::new(tokio::time::sleep(limit)));
        while timer.poll(cx, Sleep::is_elapsed).is_ready() {
            if !std::mem::take(&mut self.has_moved) {
                return true;
            }
            timer.set(|timer| timer.reset(tokio::time::Instant::now() + limit));
        }
        false
    }

    fn ended(&mut self, summary: Option<RunSummary>) {
        if self.is_stream() && !self.journal.is_ended() {
            return self.interrupted(crate::wire::cut());
        }
        self.state = State::Over;
        self.summary = summary;
        if let Some(summary) = self.summary.as_mut().filter(|_| self.attempts > 0) {
            summary.first_token = self.first;
            summary.total = self.started.elapsed();
        }
    }

    /// Decides what follows on a run that failed. Its frames are dropped, which cancels it.
    fn interrupted(&mut self, fault: Fault) {
        self.state = State::Over;
        self.held.clear();
        if !self.has_sent {
            return self.run_again(None, fault);
        }
        if !self.is_stream() {
            return self.give_up(fault);
        }
        match self.journal.progress() {
            Progress::Nothing => self.run_again(None, fault),
            Progress::Ended => {}
            // The others may not have begun when the first one ended.
            _ if self.ask.choices > 1 => self.give_up(explained(fault, "more than one choice was asked for")),
            Progress::Finished(finish) => self.complete(terminator(self.ask.dialect).to_vec(), finish),
            Progress::Lost(why) => self.give_up(explained(fault, why)),
            Progress::Open(so_far) => self.go_on(so_far, fault),
        }
    }

    fn go_on(&mut self, so_far: Continuation, fault: Fault) {
        if self.ask.has_schema && !so_far.text.is_empty() {
            return self.give_up(explained(fault, "a grammar cannot go on within its text"));
        }
        if self.ask.limit.is_some_and(|limit| so_far.tokens >= limit) {
            let mut out = Vec::new();
            self.renderer(so_far).event(Event::Done(Finish::Length), &mut out);
            return self.complete(out, Finish::Length);
        }
        self.run_again(Some(so_far), fault);
    }

    fn renderer(&self, so_far: Continuation) -> Renderer {
        Renderer::new(Shown {
            dialect: self.ask.dialect,
            stream: true,
            wants_usage_chunk: self.ask.wants_usage_chunk,
            model: self.head.model.clone(),
            prompt_tokens: self.ask.prompt_tokens,
            started: self.started,
            continuation: Some(so_far),
        })
    }

    fn run_again(&mut self, so_far: Option<Continuation>, fault: Fault) {
        let is_worth_it = fault.code.is_retriable() && !self.ask.deadline.is_over(Instant::now());
        if !is_worth_it || self.attempts >= MAX_ATTEMPTS {
            return self.give_up(fault);
        }
        self.attempts += 1;
        let is_restart = so_far.is_none();
        tracing::warn!(attempt = self.attempts, error = %fault, is_restart, "answer interrupted");
        self.state = State::Rerunning { is_restart, run: self.rerun.rerun(so_far, &fault) };
        let left = self.ask.deadline.left(Instant::now());
        self.has_moved = false;
        self.timer = Some(Beside::new(tokio::time::sleep(left)));
    }

    fn found(&mut self, is_restart: bool, answer: Answer) {
        self.rerun.note(if is_restart { Outcome::Restarted } else { Outcome::Resumed });
        self.awaits_first = true;
        self.set_timer(self.limits.first_token);
        self.state = State::Reading(answer.frames);
    }

    /// The text is whole: writes the end that is missing.
    fn complete(&mut self, end: Vec<u8>, finish: Finish) {
        self.rerun.note(Outcome::Completed);
        let usage =
            Usage { prompt_tokens: self.ask.prompt_tokens, completion_tokens: self.journal.tokens(), cached_tokens: 0 };
        self.summary = Some(RunSummary {
            usage: Some(usage),
            first_token: self.first,
            total: self.started.elapsed(),
            finish: Some(finish),
        });
        if !end.is_empty() {
            self.state = State::Last(end.into());
        }
    }

    fn give_up(&mut self, fault: Fault) {
        if self.has_sent || self.attempts > 0 {
            self.rerun.note(Outcome::GaveUp);
        }
        self.state = if self.has_sent && self.is_stream() {
            State::Last(error_event(self.ask.dialect, &fault))
        } else {
            State::Failed(fault)
        };
    }

    fn poll_rerun(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Rerunning { is_restart, run } = &mut self.state else { return Poll::Ready(()) };
        let is_restart = *is_restart;
        match run.as_mut().poll(cx) {
            Poll::Ready(Ok(answer)) => self.found(is_restart, answer),
            // The text is as it was, so yet another worker may take it.
            Poll::Ready(Err(fault)) => self.interrupted(fault),
            Poll::Pending if self.timer.as_mut().is_some_and(|timer| timer.poll(cx, Sleep::is_elapsed).is_ready()) => {
                let message = "no other worker took the interrupted answer in time";
                self.give_up(Fault::new(Code::DeadlineExceeded, message).hint("ask again"));
            }
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(())
    }
}

impl<R: Rerun> Frames for Resuming<R> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            match &mut self.state {
                State::Reading(frames) => match frames.poll_frame(cx) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        if let Some(bytes) = self.take(bytes) {
                            return Poll::Ready(Some(Ok(bytes)));
                        }
                    }
                    Poll::Ready(Some(Err(fault))) => self.interrupted(fault),
                    Poll::Ready(None) => {
                        let summary = frames.summary();
                        self.ended(summary);
                    }
                    Poll::Pending if self.is_stalled(cx) => {
                        let message = "the engine stopped sending within its answer";
                        self.interrupted(Fault::new(Code::EngineCut, message).hint("ask again"));
                    }
                    Poll::Pending => return Poll::Pending,
                },
                State::Rerunning { .. } => ready!(self.poll_rerun(cx)),
                State::Last(bytes) => {
                    let bytes = std::mem::take(bytes);
                    self.state = State::Over;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                State::Failed(_) => {
                    if let State::Failed(fault) = std::mem::replace(&mut self.state, State::Over) {
                        return Poll::Ready(Some(Err(fault)));
                    }
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }

    fn summary(&self) -> Option<RunSummary> {
        match &self.state {
            State::Over => self.summary,
            // The end mark may be out already; then a client may leave without a look at the end.
            State::Reading(run) => run.summary(),
            _ => None,
        }
    }
}

/// The fault, with why the answer does not go on.
fn explained(mut fault: Fault, why: &str) -> Fault {
    fault.message = format!("{} ({why})", fault.message);
    fault
}
