//! Shared by the tests: asks, scripted bodies, and clients that read answers.

mod requests;
mod streams;
mod translations;

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base::answer::next_frame;
use base::time::Deadline;
use base::{Ask, AskHead, AskId, Continuation, Dialect, Event, Fault, Finish, Frames, Result, Usage};
use bytes::Bytes;

use super::{AnswerSpec, Decoder, Renderer, Shown};

/// The dialects of answers that are text.
pub(crate) const TEXT: [Dialect; 6] = [
    Dialect::OpenAiChat,
    Dialect::OpenAiResponses,
    Dialect::OpenAiCompletions,
    Dialect::OllamaChat,
    Dialect::OllamaGenerate,
    Dialect::AnthropicMessages,
];

/// An ask with `body`, its head as the door makes it.
pub(crate) fn ask(dialect: Dialect, body: &str) -> Ask {
    let seen = base::peek::peek(dialect, body.as_bytes()).unwrap();
    let deadline = Deadline::after(Instant::now(), Duration::from_secs(600));
    let head = AskHead { id: AskId(7), face: base::Face::OpenAi, ..seen.head(dialect, deadline, "".into(), "".into()) };
    Ask { head, body: Bytes::copy_from_slice(body.as_bytes()) }
}

/// A streaming ask with a prompt that says little.
pub(crate) fn streaming(dialect: Dialect) -> Ask {
    let prompt = match dialect {
        Dialect::OpenAiCompletions | Dialect::OllamaGenerate => r#""prompt":"hi""#,
        Dialect::OpenAiResponses => r#""input":"hi""#,
        _ => r#""messages":[{"role":"user","content":"hi"}]"#,
    };
    ask(dialect, &format!(r#"{{"model":"m","stream":true,{prompt}}}"#))
}

/// Frames by script; after the last one, the end, or nothing for ever.
pub(crate) struct Script {
    frames: VecDeque<Result<Bytes>>,
    hangs: bool,
}

impl Script {
    pub(crate) fn new(frames: impl IntoIterator<Item = Result<Bytes>>) -> Box<Self> {
        Box::new(Self { frames: frames.into_iter().collect(), hangs: false })
    }

    pub(crate) fn one(bytes: impl AsRef<[u8]>) -> Box<Self> {
        Self::new([Ok(Bytes::copy_from_slice(bytes.as_ref()))])
    }

    /// `bytes` in pieces of `size`.
    pub(crate) fn pieces(bytes: &[u8], size: usize) -> Box<Self> {
        Self::new(bytes.chunks(size.max(1)).map(|piece| Ok(Bytes::copy_from_slice(piece))))
    }

    pub(crate) fn then_hang(mut self: Box<Self>) -> Box<Self> {
        self.hangs = true;
        self
    }
}

impl Frames for Script {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match self.frames.pop_front() {
            None if self.hangs => Poll::Pending,
            frame => Poll::Ready(frame),
        }
    }
}

/// All that came, and the fault that ended it.
pub(crate) async fn read(frames: &mut impl Frames) -> (Vec<u8>, Option<Fault>) {
    let mut all = Vec::new();
    while let Some(frame) = next_frame(frames).await {
        match frame {
            Ok(bytes) => all.extend_from_slice(&bytes),
            Err(fault) => return (all, Some(fault)),
        }
    }
    (all, None)
}

/// What a client of `dialect` makes of `bytes`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub id: String,
    pub model: String,
    pub starts: usize,
    pub text: String,
    pub thinking: String,
    pub calls: Vec<(String, String)>,
    pub usage: Option<Usage>,
    pub finishes: Vec<Finish>,
    pub error: Option<String>,
}

pub(crate) fn seen(dialect: Dialect, stream: bool, bytes: &[u8]) -> Result<Seen> {
    let mut decoder = Decoder::new(dialect, stream);
    let mut events = Vec::new();
    decoder.feed(bytes, &mut events)?;
    decoder.finish(&mut events)?;
    Ok(summed(events))
}

pub(crate) fn summed(events: Vec<Event>) -> Seen {
    let mut seen = Seen::default();
    for event in events {
        match event {
            Event::Start { id, model, .. } => {
                (seen.id, seen.model) = (id, model);
                seen.starts += 1;
            }
            Event::Text(text) => seen.text.push_str(&text),
            Event::Thinking(text) => seen.thinking.push_str(&text),
            Event::ToolCall { index, name, arguments, .. } => {
                if index as usize >= seen.calls.len() {
                    seen.calls.push((name.unwrap_or_default(), String::new()));
                }
                seen.calls[index as usize].1.push_str(&arguments);
            }
            Event::Usage(usage) => seen.usage = Some(usage),
            Event::Done(finish) => seen.finishes.push(finish),
            Event::Error(text) => seen.error = Some(text),
        }
    }
    seen
}

/// An answer of an engine, one frame per event.
pub(crate) fn engine_frames(dialect: Dialect, model: &str, tokens: &[&str], prompt_tokens: u32) -> Vec<Bytes> {
    let mut renderer = Renderer::new(Shown {
        dialect,
        stream: true,
        wants_usage_chunk: true,
        model: model.to_owned(),
        prompt_tokens,
        started: Instant::now(),
        continuation: None,
    });
    let start = Event::Start { id: String::new(), model: String::new(), created_s: 0 };
    let usage = Usage { prompt_tokens, completion_tokens: u32::try_from(tokens.len()).unwrap(), cached_tokens: 0 };
    let text = tokens.iter().map(|token| Event::Text((*token).to_owned()));
    let events = std::iter::once(start).chain(text).chain([Event::Usage(usage), Event::Done(Finish::Stop)]);
    let write = |event| {
        let mut out = Vec::new();
        renderer.event(event, &mut out);
        Bytes::from(out)
    };
    events.map(write).filter(|bytes| !bytes.is_empty()).collect()
}

/// How `ask` is to be answered by an engine that speaks `engine`.
pub(crate) fn spec(ask: &Ask, engine: Dialect, continuation: Option<Continuation>, echoes: bool) -> AnswerSpec {
    let mut spec = AnswerSpec::new(ask, engine, Instant::now());
    (spec.continuation, spec.echoes) = (continuation, echoes);
    spec
}
