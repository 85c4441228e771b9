//! What the built-in engine writes, as a client is to have it: messages to bytes of the client's dialect.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use base::answer::Ready;
use base::{Code, Continuation, Event, Fault, Frames, Result, RunSummary, Usage};
use bytes::Bytes;
use futures_util::Stream;
use proto::engine::generate_response::Event as Told;
use proto::engine::{GenerateRequest, GenerateResponse};
use tonic::Streaming;

use super::Run;
use super::fault_of;
use super::home::Guest;
use crate::wire::native::{Spoken, ended};
use crate::wire::{Called, Renderer, Shown, cut};

/// An answer that is being written.
pub struct Written {
    stream: Streaming<GenerateResponse>,
    /// What came before anybody asked for it.
    first_told: Option<GenerateResponse>,
    spoken: Spoken,
    /// Makes the text into the call that it stands for.
    calls: Option<Called>,
    renderer: Renderer,
    held: Option<Continuation>,
    _guest: Guest,
    started: Instant,
    first: Option<Duration>,
    total: Duration,
    is_over: bool,
}

impl Written {
    /// Asks, and waits for the first sign of an answer.
    pub async fn begin(
        mut guest: Guest,
        request: GenerateRequest,
        calls: Option<String>,
        run: &Run<'_>,
        until: Instant,
    ) -> Result<Self> {
        let (head, started) = (&run.ask.head, Instant::now());
        let begin = async {
            let mut stream = guest.client.generate(request).await?.into_inner();
            let first = stream.message().await?;
            Ok::<_, tonic::Status>((stream, first))
        };
        let late = |_| {
            Fault::new(Code::DeadlineExceeded, "the engine did not begin to answer in time")
                .hint("raise limits.first_token, or ask with a shorter prompt")
        };
        let (stream, first_told) =
            tokio::time::timeout_at(until.into(), begin).await.map_err(late)?.map_err(|status| fault_of(&status))?;
        let shown = Shown {
            dialect: head.dialect,
            stream: head.stream,
            wants_usage_chunk: head.wants_usage_chunk,
            model: head.model.to_string(),
            prompt_tokens: head.prompt_tokens,
            started,
            continuation: run.continuation.cloned(),
        };
        Ok(Self {
            stream,
            first_told,
            spoken: Spoken::new(head.needs.tools, run.continuation.is_some_and(|held| !held.text.is_empty())),
            calls: calls.map(Called::new),
            renderer: Renderer::new(shown),
            held: run.continuation.cloned(),
            _guest: guest,
            started,
            first: None,
            total: Duration::ZERO,
            is_over: false,
        })
    }

    fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<GenerateResponse>>> {
        if let Some(first) = self.first_told.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let told = ready!(std::pin::Pin::new(&mut self.stream).poll_next(cx));
        Poll::Ready(told.map(|told| told.map_err(|status| fault_of(&status))))
    }

    fn take(&mut self, told: GenerateResponse, out: &mut Vec<u8>) {
        match told.event {
            Some(Told::Text(text)) => {
                self.first.get_or_insert_with(|| self.started.elapsed());
                let events = self.spoken.text(&text.text);
                self.render(events, out);
            }
            Some(Told::Done(done)) => {
                let (usage, finish) = ended(&done, self.held.as_ref());
                self.renderer.event(Event::Usage(usage), out);
                let events = self.spoken.end(finish);
                self.render(events, out);
            }
            // A newer engine may tell more than this release knows.
            None => {}
        }
    }

    fn render(&mut self, events: Vec<Event>, out: &mut Vec<u8>) {
        for event in events {
            let event = match &mut self.calls {
                Some(calls) => calls.event(event),
                None => event,
            };
            self.renderer.event(event, out);
        }
    }
}

impl Frames for Written {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let mut out = Vec::new();
        while !self.is_over {
            match ready!(self.poll_told(cx)) {
                Some(Ok(told)) => self.take(told, &mut out),
                Some(Err(fault)) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(fault)));
                }
                None => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(cut())));
                }
            }
            if self.renderer.is_done() {
                self.is_over = true;
                self.total = self.started.elapsed();
            } else if !out.is_empty() {
                return Poll::Ready(Some(Ok(out.into())));
            }
        }
        Poll::Ready((!out.is_empty()).then(|| Ok(out.into())))
    }

    fn summary(&self) -> Option<RunSummary> {
        self.renderer.is_done().then(|| RunSummary {
            usage: Some(self.renderer.usage()),
            first_token: self.first,
            total: self.total,
            finish: self.renderer.finish(),
        })
    }
}

/// An answer that is there whole: vectors, or documents in order.
pub fn whole(body: Bytes, prompt_tokens: u32, started: Instant) -> Ready {
    let total = started.elapsed();
    let usage = Usage { prompt_tokens, ..Usage::default() };
    Ready::new(body, RunSummary { usage: Some(usage), first_token: Some(total), total, finish: None })
}
