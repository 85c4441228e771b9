//! The answer of an engine as the client is to have it: passed on, checked whole, or written anew.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use base::answer::Gathered;
use base::{Ask, BoxFrames, Continuation, Dialect, Event, Fault, Finish, Frames, Result, RunSummary, Usage};
use bytes::Bytes;

use super::called::Called;
use super::chunk::{self, Outline};
use super::decode::Decoder;
use super::fault::{cut, in_stream, junk};
use super::pass::Pass;
use super::render::{Renderer, Shown};
use super::{MAX_WHOLE_BYTES, embed};

/// What an answer is and what it is to become.
#[derive(Clone, Debug)]
pub struct AnswerSpec {
    /// What the client speaks.
    pub ask_dialect: Dialect,
    /// What the engine speaks; see [`super::EngineRequest::dialect`].
    pub engine_dialect: Dialect,
    /// Whether it is a stream.
    pub stream: bool,
    /// Whether the client asked for OpenAI's extra chunk with the counts.
    pub wants_usage_chunk: bool,
    /// Answers that are wanted at once.
    pub choices: u32,
    /// The model's name where the answer is written anew.
    pub model_shown: String,
    /// What the client holds already.
    pub continuation: Option<Continuation>,
    /// Whether the engine repeats the text that it continues.
    pub echoes: bool,
    /// The tool whose arguments the answer's text is; see [`super::EngineRequest::calls`].
    pub calls: Option<String>,
    /// Size of the prompt for engines that do not count it, in tokens.
    pub prompt_tokens: u32,
    /// Whether the client wants vectors as base64 of 32-bit floats (the official OpenAI clients do).
    pub packs_vectors: bool,
    /// Most bytes of an answer that is no stream.
    pub most_whole: usize,
    /// When the request was sent.
    pub started: Instant,
}

impl AnswerSpec {
    /// The answer to `ask`, from an engine that speaks `engine_dialect`; not a continued one.
    pub fn new(ask: &Ask, engine_dialect: Dialect, started: Instant) -> Self {
        let head = &ask.head;
        Self {
            ask_dialect: head.dialect,
            engine_dialect,
            stream: head.stream,
            wants_usage_chunk: head.wants_usage_chunk,
            choices: head.choices,
            model_shown: head.model.to_string(),
            continuation: None,
            echoes: false,
            calls: None,
            prompt_tokens: head.prompt_tokens,
            packs_vectors: embed::packs_vectors(ask),
            most_whole: MAX_WHOLE_BYTES,
            started,
        }
    }

    fn shown(&mut self) -> Shown {
        Shown {
            dialect: self.ask_dialect,
            stream: self.stream,
            wants_usage_chunk: self.wants_usage_chunk,
            model: std::mem::take(&mut self.model_shown),
            prompt_tokens: self.prompt_tokens,
            started: self.started,
            continuation: self.continuation.take(),
        }
    }
}

/// The answer in the client's dialect, out of any slices of the engine's body.
pub fn answer(raw: BoxFrames, mut spec: AnswerSpec) -> AnswerFrames {
    // Engines keep the responses that they give, under ids that mean nothing here: those are always written anew.
    let is_same = spec.ask_dialect == spec.engine_dialect && spec.ask_dialect != Dialect::OpenAiResponses;
    if !spec.ask_dialect.is_generation() || (is_same && !spec.stream && spec.continuation.is_none()) {
        return AnswerFrames(Kind::Whole(Box::new(Whole::new(raw, &spec))));
    }
    if is_same && spec.continuation.is_none() {
        return AnswerFrames(Kind::Pass(Box::new(Pass::new(raw, &spec))));
    }
    let echo = match &spec.continuation {
        Some(continuation) if spec.echoes => continuation.text.clone(),
        _ => String::new(),
    };
    let decoder = Decoder::new(spec.engine_dialect, spec.stream).at_most(spec.most_whole);
    let started = spec.started;
    let calls = spec.calls.take().map(Called::new);
    let renderer = Renderer::new(spec.shown());
    AnswerFrames(Kind::Translated(Box::new(Translated {
        raw,
        decoder,
        renderer,
        calls,
        echo,
        fault: None,
        is_over: false,
        started,
        first: None,
        total: Duration::ZERO,
    })))
}

/// What [`answer`] gives.
pub struct AnswerFrames(Kind);

enum Kind {
    Pass(Box<Pass>),
    Whole(Box<Whole>),
    Translated(Box<Translated>),
}

impl Frames for AnswerFrames {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match &mut self.0 {
            Kind::Pass(pass) => pass.poll_frame(cx),
            Kind::Whole(whole) => whole.poll_frame(cx),
            Kind::Translated(translated) => translated.poll_frame(cx),
        }
    }

    fn summary(&self) -> Option<RunSummary> {
        match &self.0 {
            Kind::Pass(pass) => pass.summary(),
            Kind::Whole(whole) => whole.summary(),
            Kind::Translated(translated) => translated.summary(),
        }
    }
}

/// An answer that is no stream: given once it is there whole, so that a cut one can still be asked for elsewhere.
struct Whole {
    raw: BoxFrames,
    ask_dialect: Dialect,
    engine_dialect: Dialect,
    model_shown: String,
    packs_vectors: bool,
    body: Gathered,
    outline: Outline,
    is_over: bool,
    started: Instant,
    first: Option<Duration>,
    total: Duration,
}

impl Whole {
    fn new(raw: BoxFrames, spec: &AnswerSpec) -> Self {
        Self {
            raw,
            ask_dialect: spec.ask_dialect,
            engine_dialect: spec.engine_dialect,
            model_shown: spec.model_shown.clone(),
            packs_vectors: spec.packs_vectors,
            body: Gathered::new(spec.most_whole),
            outline: Outline::default(),
            is_over: false,
            started: spec.started,
            first: None,
            total: Duration::ZERO,
        }
    }

    fn finish(&mut self) -> Result<Bytes> {
        self.total = self.started.elapsed();
        let body = self.body.take();
        self.outline = chunk::outline(&body).map_err(|error| cut().because(error))?;
        if let Some(text) = &self.outline.error {
            return Err(in_stream(text));
        }
        if self.ask_dialect == self.engine_dialect {
            return Ok(body);
        }
        let shown = embed::Shown { dialect: self.ask_dialect, model: &self.model_shown, packs: self.packs_vectors };
        embed::answer(&body, self.engine_dialect, &shown)
    }
}

impl Frames for Whole {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        while !self.is_over {
            match ready!(self.raw.poll_frame(cx)) {
                Some(Ok(bytes)) => {
                    self.first.get_or_insert_with(|| self.started.elapsed());
                    if let Err(fault) = self.body.add(bytes) {
                        self.is_over = true;
                        return Poll::Ready(Some(Err(fault)));
                    }
                }
                Some(Err(fault)) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(fault)));
                }
                None => {
                    self.is_over = true;
                    return Poll::Ready(Some(self.finish()));
                }
            }
        }
        Poll::Ready(None)
    }

    fn summary(&self) -> Option<RunSummary> {
        let (usage, finish) = (self.outline.usage, self.outline.finish);
        self.is_over.then_some(RunSummary { usage, first_token: self.first, total: self.total, finish })
    }
}

/// An answer that is decoded and written anew.
struct Translated {
    raw: BoxFrames,
    decoder: Decoder,
    renderer: Renderer,
    /// Makes the text into the call that it stands for.
    calls: Option<Called>,
    /// What the engine still has to repeat.
    echo: String,
    fault: Option<Fault>,
    is_over: bool,
    started: Instant,
    first: Option<Duration>,
    total: Duration,
}

impl Translated {
    fn step(&mut self, frame: Option<Result<Bytes>>, out: &mut Vec<u8>) -> Result<()> {
        let mut events = Vec::new();
        let fed = match frame {
            Some(Ok(bytes)) => {
                self.first.get_or_insert_with(|| self.started.elapsed());
                self.decoder.feed(&bytes, &mut events)
            }
            // The reason of the end was told, so the answer is whole even if its end mark is not.
            Some(Err(_)) | None if self.decoder.finish_seen().is_some() => self.decoder.finish(&mut events),
            Some(Err(fault)) => Err(fault),
            None => self.decoder.finish(&mut events),
        };
        for event in events {
            self.event(event, out)?;
        }
        fed
    }

    fn event(&mut self, event: Event, out: &mut Vec<u8>) -> Result<()> {
        match event {
            Event::Error(text) => return Err(in_stream(&text)),
            Event::Text(text) if !self.echo.is_empty() => {
                if let Some(new) = self.behind_echo(text)? {
                    self.renderer.event(Event::Text(new), out);
                }
            }
            Event::Done(_) if !self.echo.is_empty() => return Err(no_echo()),
            event => {
                let event = match &mut self.calls {
                    Some(calls) => calls.event(event),
                    None => event,
                };
                self.renderer.event(event, out);
            }
        }
        Ok(())
    }

    /// What of `text` is not the echo; only the exact text is taken off.
    fn behind_echo(&mut self, text: String) -> Result<Option<String>> {
        if let Some(left) = self.echo.strip_prefix(text.as_str()) {
            self.echo = left.to_owned();
            return Ok(None);
        }
        let new = text.strip_prefix(self.echo.as_str()).ok_or_else(no_echo)?.to_owned();
        self.echo.clear();
        Ok(Some(new))
    }
}

fn no_echo() -> Fault {
    junk("another text than the one it was to continue")
}

impl Frames for Translated {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if let Some(fault) = self.fault.take() {
                return Poll::Ready(Some(Err(fault)));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            let frame = ready!(self.raw.poll_frame(cx));
            let is_end = !matches!(frame, Some(Ok(_)));
            let mut out = Vec::new();
            let stepped = if self.renderer.is_done() { Ok(()) } else { self.step(frame, &mut out) };
            if is_end || stepped.is_err() {
                self.is_over = true;
                self.total = self.started.elapsed();
                self.fault = stepped.err();
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(out.into())));
            }
        }
    }

    fn summary(&self) -> Option<RunSummary> {
        let (usage, finish): (Usage, Option<Finish>) = (self.renderer.usage(), self.renderer.finish());
        (self.is_over && self.fault.is_none()).then_some(RunSummary {
            usage: Some(usage),
            first_token: self.first,
            total: self.total,
            finish,
        })
    }
}
