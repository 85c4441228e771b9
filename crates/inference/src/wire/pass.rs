//! The hot path: a stream whose client and engine speak the same dialect.
//!
//! Bytes leave as they were read; nothing is parsed, re-framed or allocated per token. A few searches per frame look
//! for what matters: a reason of the end, an error, the end mark, an event that is none or only half of one. Only a frame
//! that has one is looked into, and only the finishing event waits (for the token counts that follow it).

use std::borrow::Cow;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use base::{BoxFrames, Dialect, Fault, Finish, Frames, Result, RunSummary, Usage};
use bytes::Bytes;
use memchr::memmem::Finder;
use serde_json::json;

use super::answer::AnswerSpec;
use super::chunk::{self, Chunk};
use super::fault::{cut, in_stream, junk};
use super::splice::Fields;
use super::{MAX_EVENT_BYTES, is_lines, terminator};

static FINISH_REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static DONE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"done\""));
static MESSAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"message_"));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static CONTENT_BLOCK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"content_block_"));
static OBJECT_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"}\n\n"));

/// An empty last chunk is no token, nor is the role-only one that a chat begins with.
const fn without_token(dialect: Dialect) -> u32 {
    if matches!(dialect, Dialect::OpenAiCompletions) { 1 } else { 2 }
}

/// Forwards a stream as it is.
pub(super) struct Pass {
    raw: BoxFrames,
    dialect: Dialect,
    wants_usage_chunk: bool,
    /// How many choices were asked for, and how many have ended.
    choices: u32,
    finished: u32,
    prompt_tokens: u32,
    /// Begins with the key that every event has (OpenAI, Ollama) or every event that matters has (Anthropic).
    key: &'static Finder<'static>,
    error: &'static Finder<'static>,
    /// Bytes behind the last whole event.
    tail: Vec<u8>,
    ready: Option<Bytes>,
    /// The finishing event, until the counts have come.
    held: Vec<u8>,
    /// OpenAI's extra chunk with the counts.
    usage_event: Vec<u8>,
    fault: Option<Fault>,
    stage: Stage,
    events: u32,
    usage: Option<Usage>,
    finish: Option<Finish>,
    started: Instant,
    first: Option<Duration>,
    total: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// Events go through.
    Streaming,
    /// The end mark was seen; the rest of the body is read so that the connection can be used again.
    Ended,
    /// `raw` is not polled again.
    Over,
}

impl Pass {
    pub(super) fn new(raw: BoxFrames, spec: &AnswerSpec) -> Self {
        let key = match spec.ask_dialect {
            Dialect::OllamaChat | Dialect::OllamaGenerate => &DONE,
            Dialect::AnthropicMessages => &MESSAGE,
            _ => &FINISH_REASON,
        };
        Self {
            raw,
            dialect: spec.ask_dialect,
            wants_usage_chunk: spec.wants_usage_chunk,
            choices: spec.choices,
            finished: 0,
            prompt_tokens: spec.prompt_tokens,
            key,
            error: &ERROR,
            tail: Vec::new(),
            ready: None,
            held: Vec::new(),
            usage_event: Vec::new(),
            fault: None,
            stage: Stage::Streaming,
            events: 0,
            usage: None,
            finish: None,
            started: spec.started,
            first: None,
            total: Duration::ZERO,
        }
    }

    fn take(&mut self, bytes: Bytes) {
        if self.first.is_none() {
            self.first = Some(self.started.elapsed());
        }
        let whole = self.whole_events(bytes);
        if self.tail.len() > MAX_EVENT_BYTES {
            self.fail(junk(format!("an event of more than {MAX_EVENT_BYTES} bytes")));
        }
        if whole.is_empty() {
            return;
        }
        if self.held.is_empty() && !self.is_marked(&whole) {
            self.ready = Some(whole);
        } else {
            self.look_into(&whole);
        }
    }

    /// What is whole of the tail and `bytes`; the rest becomes the tail. Without a tail, no byte is copied.
    fn whole_events(&mut self, mut bytes: Bytes) -> Bytes {
        if self.tail.is_empty() {
            let end = end_of_events(self.dialect, &bytes);
            self.tail.extend_from_slice(bytes.get(end..).unwrap_or_default());
            bytes.truncate(end);
            return bytes;
        }
        self.tail.extend_from_slice(&bytes);
        let rest = self.tail.split_off(end_of_events(self.dialect, &self.tail));
        Bytes::from(std::mem::replace(&mut self.tail, rest))
    }

    /// Whether `bytes` hold anything but pieces of text. Counts the events on the way.
    fn is_marked(&mut self, bytes: &[u8]) -> bool {
        let mut is_marked = self.error.find(bytes).is_some() || bytes.trim_ascii_end().ends_with(b"[DONE]");
        if self.dialect == Dialect::AnthropicMessages {
            // A piece of text: a line with its name, one with an object, an empty one.
            let lines = memchr::memchr_iter(b'\n', bytes).count();
            let blocks = CONTENT_BLOCK.find_iter(bytes).count();
            let is_plain = lines == blocks * 3 && OBJECT_END.find_iter(bytes).count() == blocks;
            return is_marked || !is_plain || self.key.find(bytes).is_some();
        }
        let mut keys = 0;
        for at in self.key.find_iter(bytes) {
            keys += 1;
            is_marked |= has_value(bytes.get(at + self.key.needle().len()..).unwrap_or_default());
        }
        self.events = self.events.saturating_add(keys);
        // What lacks the key that every event has may be junk, which nobody could read back when the stream is resumed; so
        // may be what does not end like an object: an event cut within can have the key at its front.
        is_marked || count_events(self.dialect, bytes) != Some(keys)
    }

    fn look_into(&mut self, bytes: &[u8]) {
        let mut out = Vec::with_capacity(bytes.len() + 256);
        let mut rest = bytes;
        while !rest.is_empty() && self.stage == Stage::Streaming {
            let (event, after) = rest.split_at(end_of_first(self.dialect, rest));
            rest = after;
            if let Err(fault) = self.event(event, &mut out) {
                self.fail(fault);
            }
        }
        if !out.is_empty() {
            self.ready = Some(Bytes::from(out));
        }
    }

    fn event(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let data = data_of(self.dialect, event);
        if data.is_empty() {
            out.extend_from_slice(event);
            return Ok(());
        }
        if *data == *b"[DONE]" {
            self.close(out);
            return Ok(());
        }
        let chunk =
            chunk::read(self.dialect, &data).map_err(|error| junk("a stream with junk in it").because(error))?;
        if let Some(text) = &chunk.error {
            return Err(in_stream(text));
        }
        self.pass_on(event, &chunk, out);
        Ok(())
    }

    fn pass_on(&mut self, event: &[u8], chunk: &Chunk<'_>, out: &mut Vec<u8>) {
        chunk::merge_usage(&mut self.usage, chunk.usage);
        self.finish = self.finish.or(chunk.finish);
        let is_openai = !is_lines(self.dialect) && self.dialect != Dialect::AnthropicMessages;
        if !is_openai {
            out.extend_from_slice(event);
            if chunk.is_last {
                self.stage = Stage::Ended;
            }
            return;
        }
        if chunk.is_usage_only {
            self.usage_event = event.to_vec();
            return;
        }
        // More text after a finish: another choice goes on (`n` above 1); the counts belong to the last one.
        out.append(&mut self.held);
        let ends = |at: &usize| has_value(event.get(at + self.key.needle().len()..).unwrap_or_default());
        let ended = if chunk.is_other_choice { self.key.find_iter(event).filter(ends).count() } else { 0 };
        let ended = ended.max(usize::from(chunk.finish.is_some()));
        self.finished = self.finished.saturating_add(u32::try_from(ended).unwrap_or(u32::MAX));
        if ended > 0 { &mut self.held } else { out }.extend_from_slice(event);
    }

    /// Writes what was held, with the counts where the client expects them, and the end mark.
    fn close(&mut self, out: &mut Vec<u8>) {
        if self.finish.is_none() {
            return self.fail(cut());
        }
        let usage = *self.usage.get_or_insert(Usage {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.events.saturating_sub(without_token(self.dialect)).max(1),
            cached_tokens: 0,
        });
        if self.dialect != Dialect::AnthropicMessages && !is_lines(self.dialect) {
            let held = std::mem::take(&mut self.held);
            let data = data_of(self.dialect, &held);
            match Fields::parse(&data) {
                Some(fields) if self.wants_usage_chunk => {
                    out.extend_from_slice(&held);
                    self.add_usage_chunk(fields, usage, out);
                }
                Some(fields) if fields.get("usage").is_none() => add_with_usage(fields, usage, out),
                _ => out.extend_from_slice(&held),
            }
        }
        out.extend_from_slice(terminator(self.dialect));
        self.stage = Stage::Ended;
    }

    fn add_usage_chunk(&mut self, mut finishing: Fields<'_>, usage: Usage, out: &mut Vec<u8>) {
        if self.usage_event.is_empty() {
            finishing.set("choices", "[]");
            add_with_usage(finishing, usage, out);
        } else {
            out.append(&mut self.usage_event);
        }
    }

    /// The body ended, by itself or with `fault`.
    fn end(&mut self, fault: Option<Fault>) {
        if self.stage == Stage::Streaming && fault.is_none() {
            self.end_tail();
        }
        if self.stage == Stage::Streaming {
            // With more after OpenAI's finishing event, another choice was still being written, or had not begun.
            let is_open = self.held.is_empty() || self.finished < self.choices;
            let goes_on = terminator(self.dialect) == b"data: [DONE]\n\n" && is_open;
            if self.finish.is_some() && !goes_on {
                let mut out = self.ready.take().map(Vec::from).unwrap_or_default();
                self.close(&mut out);
                self.ready = Some(Bytes::from(out));
            } else {
                self.fail(fault.unwrap_or_else(cut));
            }
        }
        self.stage = Stage::Over;
        self.total = self.started.elapsed();
    }

    /// A last event may lack its blank line; one that is cut within is not passed on.
    fn end_tail(&mut self) {
        let mut tail = std::mem::take(&mut self.tail);
        tail.extend_from_slice(if is_lines(self.dialect) { b"\n" } else { b"\n\n" });
        let data = data_of(self.dialect, &tail);
        if *data == *b"[DONE]" || chunk::read(self.dialect, &data).is_ok() {
            self.look_into(&tail);
        }
    }

    fn fail(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.stage = Stage::Over;
    }
}

impl Frames for Pass {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if let Some(bytes) = self.ready.take() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            if let Some(fault) = self.fault.take() {
                return Poll::Ready(Some(Err(fault)));
            }
            match self.stage {
                Stage::Over => return Poll::Ready(None),
                Stage::Streaming => match ready!(self.raw.poll_frame(cx)) {
                    Some(Ok(bytes)) => self.take(bytes),
                    Some(Err(fault)) => self.end(Some(fault)),
                    None => self.end(None),
                },
                Stage::Ended => {
                    if !matches!(ready!(self.raw.poll_frame(cx)), Some(Ok(_))) {
                        self.end(None);
                    }
                }
            }
        }
    }

    /// Known once the end mark has been given on: many clients close at it, and nobody polls to the end then.
    fn summary(&self) -> Option<RunSummary> {
        let is_given = self.ready.is_none() && self.fault.is_none();
        let total = match self.stage {
            Stage::Over if is_given => self.total,
            Stage::Ended if is_given => self.started.elapsed(),
            _ => return None,
        };
        Some(RunSummary { usage: self.usage, first_token: self.first, total, finish: self.finish })
    }
}

fn add_with_usage(mut fields: Fields<'_>, usage: Usage, out: &mut Vec<u8>) {
    fields.set("usage", usage_json(usage).to_string());
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&fields.changed().unwrap_or_default());
    out.extend_from_slice(b"\n\n");
}

/// Token counts as OpenAI writes them.
pub(super) fn usage_json(usage: Usage) -> serde_json::Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

/// Whether the value behind a key is a string or `true`; `null` and `false` say nothing, and text has no colon there.
fn has_value(after_key: &[u8]) -> bool {
    let value = after_key.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
    value.and_then(<[u8]>::first).is_some_and(|first| matches!(first, b'"' | b't'))
}

/// How many events `bytes` are, if each is one line that ends like an object; `None` if not.
fn count_events(dialect: Dialect, mut bytes: &[u8]) -> Option<u32> {
    let mut count = 0;
    while let Some(at) = memchr::memchr(b'\n', bytes) {
        let (line, rest) = (bytes.get(..at)?, bytes.get(at + 1..)?);
        if !line.strip_suffix(b"\r").unwrap_or(line).ends_with(b"}") {
            return None;
        }
        let has_blank_line = !is_lines(dialect);
        let after_blank = || rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n"));
        bytes = if has_blank_line { after_blank()? } else { rest };
        count += 1;
    }
    Some(count)
}

/// The index behind the last whole event; 0 when none is whole. Searches from the end, where it nearly always is.
fn end_of_events(dialect: Dialect, bytes: &[u8]) -> usize {
    let is_end = |&at: &usize| is_lines(dialect) || closes_event(bytes, at);
    memchr::memrchr_iter(b'\n', bytes).find(is_end).map_or(0, |at| at + 1)
}

fn end_of_first(dialect: Dialect, bytes: &[u8]) -> usize {
    let is_end = |&at: &usize| is_lines(dialect) || closes_event(bytes, at);
    memchr::memchr_iter(b'\n', bytes).find(is_end).map_or(bytes.len(), |at| at + 1)
}

/// Whether the line end at `at` stands behind an empty line.
fn closes_event(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(..at).unwrap_or_default();
    before.ends_with(b"\n") || before.ends_with(b"\n\r")
}

/// The data of one event.
fn data_of(dialect: Dialect, event: &[u8]) -> Cow<'_, [u8]> {
    let event = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
    if is_lines(dialect) {
        return Cow::Borrowed(event.trim_ascii());
    }
    let mut lines = event.split(|&byte| byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
    let first = lines.next().unwrap_or_default().trim_ascii();
    lines.fold(Cow::Borrowed(first), |data, line| Cow::Owned([&*data, b"\n", line.trim_ascii()].concat()))
}
