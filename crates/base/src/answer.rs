//! An answer: pulled by whoever writes to the client, frame by frame, from wherever the bytes come.
//!
//! Nothing is sent through a channel: polling the answer polls the engine's connection (or the peer's stream) in place,
//! so backpressure and cancellation need no code of their own. Dropping an answer cancels the work behind it.

mod gathered;

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::WorkerId;

pub use gathered::Gathered;

/// The bytes of an answer, in the dialect of the ask.
///
/// A frame is one or more whole events (SSE events with their blank line, NDJSON lines), or for an answer that is no
/// stream any part of the body. After `None` or an error it is not polled again.
pub trait Frames: Send {
    /// The next frame.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>>;

    /// What the run came to; known once `poll_frame` gave `None`.
    fn summary(&self) -> Option<RunSummary> {
        None
    }
}

/// Frames behind a pointer.
pub type BoxFrames = Box<dyn Frames>;

impl Frames for BoxFrames {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        (**self).poll_frame(cx)
    }

    fn summary(&self) -> Option<RunSummary> {
        (**self).summary()
    }
}

/// An answer on its way.
pub struct Answer {
    /// What is known before the first byte.
    pub head: AnswerHead,
    /// The bytes.
    pub frames: BoxFrames,
}

/// What is known of an answer before its first byte; becomes the `x-tm-*` headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerHead {
    /// Of the body.
    pub content_type: &'static str,
    /// The exact length of the body, when it is known.
    pub content_length: Option<u64>,
    /// Where it was made; `None` when it comes out of the cache.
    pub worker: Option<WorkerId>,
    /// The model that answers, by its catalogue name.
    pub model: String,
    /// Why another model than the one asked for answers; `None` when it is the one.
    pub fallback: Option<String>,
}

/// Token counts as the engine gave them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub completion_tokens: u32,
    /// Tokens of the prompt that came out of the engine's prefix cache.
    pub cached_tokens: u32,
}

/// What a finished run came to; feeds rates, metrics and `explain`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunSummary {
    /// Counts; `None` when the engine told none.
    pub usage: Option<Usage>,
    /// From sending the request to the first byte of the answer's body.
    pub first_token: Option<Duration>,
    /// From sending the request to the end.
    pub total: Duration,
    /// Why it ended; `None` for answers that are no text.
    pub finish: Option<Finish>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended it, or a stop string did.
    Stop,
    /// The limit on tokens did.
    Length,
    /// It is a call of a tool.
    ToolCalls,
    /// A filter did.
    ContentFilter,
}

impl Finish {
    /// OpenAI's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }

    /// Reads OpenAI's word; an unknown one is an end all the same.
    pub fn parse(text: &str) -> Self {
        match text {
            "length" | "max_tokens" => Self::Length,
            "tool_calls" | "function_call" | "tool_use" => Self::ToolCalls,
            "content_filter" | "refusal" => Self::ContentFilter,
            _ => Self::Stop,
        }
    }
}

/// One parsed piece of an answer; made only where bytes cannot be passed on as they are.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The answer began: its id, model and time (Unix seconds) as the engine gave them.
    Start { id: String, model: String, created_s: u64 },
    /// Text of the answer.
    Text(String),
    /// Text of the model's reasoning, which clients show apart.
    Thinking(String),
    /// A piece of a tool call: a new `index` begins a call (id and name given), an old one adds to its arguments.
    ToolCall { index: u32, id: Option<String>, name: Option<String>, arguments: String },
    /// Token counts.
    Usage(Usage),
    /// The end, said by the engine.
    Done(Finish),
    /// The engine's own error inside the stream.
    Error(String),
}

/// An answer as parsed events, for callers that want text and not a dialect (gRPC, jobs).
pub trait Events: Send {
    /// The next event; `Done` comes before the end, an error ends it.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>>;
}

/// An answer on its way, as events.
pub struct EventAnswer {
    /// What is known before the first event.
    pub head: AnswerHead,
    /// The events.
    pub events: Box<dyn Events>,
}

/// Frames that are known already: one block of bytes, then the end. For cached answers and for tests.
pub struct Ready {
    bytes: Option<Bytes>,
    summary: RunSummary,
}

impl Ready {
    /// Gives `bytes` as a single frame.
    pub fn new(bytes: Bytes, summary: RunSummary) -> Self {
        Self { bytes: Some(bytes), summary }
    }
}

impl Frames for Ready {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(self.bytes.take().filter(|bytes| !bytes.is_empty()).map(Ok))
    }

    fn summary(&self) -> Option<RunSummary> {
        self.bytes.is_none().then_some(self.summary)
    }
}

/// Pulls the next frame as a future.
pub async fn next_frame(frames: &mut (impl Frames + ?Sized)) -> Option<Result<Bytes>> {
    std::future::poll_fn(|cx| frames.poll_frame(cx)).await
}

/// Pulls all frames into one block of at most `most` bytes.
pub async fn collect(frames: &mut (impl Frames + ?Sized), most: usize) -> Result<Bytes> {
    let mut all = Gathered::new(most);
    while let Some(frame) = next_frame(frames).await {
        all.add(frame?)?;
    }
    Ok(all.take())
}
