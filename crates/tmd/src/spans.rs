//! The spans of an ask: one where it came in, one for each run, one more where a run is on another node, and in a run one
//! for each wait.
//!
//! A span tells its child who its parent is by the `traceparent` of the ask that it hands on; so nothing but the ask
//! travels. Names and attributes are those of OpenTelemetry's conventions for generative AI, and no text of a client or
//! of a model is among them unless the owner switched that on (`content`). Without an OTLP endpoint no span is made, and every call here is one look at `None`.

mod content;

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use base::{Ask, AskHead, Dialect, Result, RunSummary, WorkerId};
use futures_util::poll;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use crate::metrics;
pub use content::MOST_BYTES;

/// The outcome of what ended well.
const OK: &str = "ok";

/// Makes spans, where somebody collects them.
#[derive(Clone)]
pub struct Spans {
    tracer: Option<SdkTracer>,
    /// Whether spans of asks carry what was said.
    content: bool,
}

/// What a run waits for.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// A slot of its worker.
    Queue,
    /// The first bytes out of the engine.
    Engine,
    /// Another node to take the run, a wait for a slot over there included.
    Peer,
}

/// A span that has not ended, or none at all; dropping it says that nobody wanted the rest.
pub struct Span(Option<Box<SdkSpan>>);

impl Spans {
    /// Makes none without a tracer. With `content` they carry what clients ask and models answer.
    pub fn new(tracer: Option<SdkTracer>, content: bool) -> Self {
        Self { tracer, content }
    }

    /// An ask came in. Its parent is the client's span, should it have told one.
    pub fn ask(&self, ask: &Ask) -> Span {
        let Some(tracer) = &self.tracer else { return Span(None) };
        let head = &ask.head;
        let operation = head.dialect.operation();
        let attributes = [
            KeyValue::new("gen_ai.operation.name", operation),
            KeyValue::new("gen_ai.provider.name", metrics::PROVIDER),
            KeyValue::new("gen_ai.request.model", head.model.clone()),
            KeyValue::new("gen_ai.request.stream", head.stream),
            KeyValue::new("tm.ask", head.id.to_string()),
        ];
        let mut span =
            begin(tracer, format!("{operation} {}", head.model), SpanKind::Server, attributes, &head.traceparent);
        span.set(head.max_output_tokens.map(|most| KeyValue::new("gen_ai.request.max_tokens", i64::from(most))));
        if self.shows_content() && span.trace().is_some() {
            span.set(content::input(ask).map(|said| KeyValue::new("gen_ai.input.messages", said)));
        }
        span
    }

    /// Whether spans of asks carry what was said.
    pub fn shows_content(&self) -> bool {
        self.content && self.tracer.is_some()
    }

    /// Work begins that is no ask: its operation by the conventions, and what it is done to. Asks that come of it are its
    /// children.
    pub fn work(&self, kind: SpanKind, name: String, attributes: Vec<KeyValue>, parent: &str) -> Span {
        let Some(tracer) = &self.tracer else { return Span(None) };
        begin(tracer, name, kind, attributes, parent)
    }

    /// The ask is put to `worker`: to its engine, or to the node that it belongs to.
    pub fn run(&self, head: &AskHead, worker: &WorkerId) -> Span {
        self.run_as(SpanKind::Client, head, worker)
    }

    /// Another node put the ask to `worker`, which is of this one.
    pub fn run_for_peer(&self, head: &AskHead, worker: &WorkerId) -> Span {
        self.run_as(SpanKind::Server, head, worker)
    }

    /// The run that `head` was handed to waits, until the span is ended.
    pub fn wait(&self, what: Wait, head: &AskHead, worker: &WorkerId) -> Span {
        let Some(tracer) = &self.tracer else { return Span(None) };
        // Nobody carries on from a wait, so of a trace that is not kept nothing is needed.
        if !parse(&head.traceparent).is_some_and(|run| run.is_sampled()) {
            return Span(None);
        }
        let name = match what {
            Wait::Queue => "queue",
            Wait::Engine => "engine",
            Wait::Peer => "peer",
        };
        let attributes =
            [KeyValue::new("tm.ask", head.id.to_string()), KeyValue::new("tm.worker", worker.as_str().to_owned())];
        begin(tracer, name.to_owned(), SpanKind::Internal, attributes, &head.traceparent)
    }

    /// Awaits `waited`, within a span unless it is there at once.
    pub async fn during<T>(
        &self,
        what: Wait,
        head: &AskHead,
        worker: &WorkerId,
        waited: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut waited = pin!(waited);
        if let Poll::Ready(there) = poll!(&mut waited) {
            return there;
        }
        let mut span = self.wait(what, head, worker);
        let there = waited.await;
        span.ended_as(&there);
        there
    }

    fn run_as(&self, kind: SpanKind, head: &AskHead, worker: &WorkerId) -> Span {
        let Some(tracer) = &self.tracer else { return Span(None) };
        let attributes = [
            KeyValue::new("gen_ai.operation.name", head.dialect.operation()),
            KeyValue::new("tm.ask", head.id.to_string()),
            KeyValue::new("tm.worker", worker.as_str().to_owned()),
            KeyValue::new("gen_ai.request.model", head.model.clone()),
        ];
        begin(tracer, format!("run {worker}"), kind, attributes, &head.traceparent)
    }
}

fn begin(
    tracer: &SdkTracer,
    name: String,
    kind: SpanKind,
    attributes: impl IntoIterator<Item = KeyValue>,
    parent: &str,
) -> Span {
    let builder = tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
    // Never the thread's own context: who polls an ask says nothing about what it belongs to.
    let parent = parse(parent).map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
    Span(Some(Box::new(tracer.build_with_context(builder, &parent))))
}

impl Span {
    /// The ask as it goes on from here: what comes of it is a child of this span.
    pub fn carried<'a>(&self, ask: &'a Ask) -> Cow<'a, Ask> {
        let mut ask = Cow::Borrowed(ask);
        if self.0.is_some() {
            self.mark(&mut ask.to_mut().head);
        }
        ask
    }

    /// What comes of the ask is a child of this span.
    pub fn mark(&self, head: &mut AskHead) {
        if let Some(span) = &self.0 {
            head.traceparent = traceparent(span.span_context());
        }
    }

    /// Its trace, where somebody keeps it.
    pub fn trace(&self) -> Option<String> {
        let context = self.0.as_ref()?.span_context();
        context.is_sampled().then(|| context.trace_id().to_string())
    }

    /// The model and the worker that answer; kept answers have no worker.
    pub fn answers(&mut self, model: &Arc<str>, worker: Option<&WorkerId>) {
        let Some(span) = &mut self.0 else { return };
        span.set_attribute(KeyValue::new("gen_ai.response.model", model.clone()));
        if let Some(worker) = worker {
            span.set_attribute(KeyValue::new("tm.worker", worker.as_str().to_owned()));
        }
    }

    /// What is told to whoever carries on from it; empty where there is no span.
    pub fn traceparent(&self) -> Arc<str> {
        self.0.as_ref().map_or_else(|| "".into(), |span| traceparent(span.span_context()))
    }

    /// The answer as far as it was kept, by its bytes in the client's dialect; for a trace that somebody keeps.
    pub fn answered(&mut self, dialect: Dialect, is_streamed: bool, bytes: &[u8], finish: Option<&str>) {
        let Some(span) = &mut self.0 else { return };
        let said = content::output(dialect, is_streamed, bytes, finish);
        span.set_attribute(KeyValue::new("gen_ai.output.messages", said));
    }

    /// The first piece of a stream came after so long.
    pub fn first_chunk(&mut self, after: Duration) {
        self.set(Some(KeyValue::new("gen_ai.response.time_to_first_chunk", after.as_secs_f64())));
    }

    fn set(&mut self, attribute: Option<KeyValue>) {
        if let (Some(span), Some(attribute)) = (&mut self.0, attribute) {
            span.set_attribute(attribute);
        }
    }

    /// The first bytes of the answer are there.
    pub fn first_token(&mut self) {
        if let Some(span) = &mut self.0 {
            span.add_event("first token", Vec::new());
        }
    }

    /// It ended well.
    pub fn finished(&mut self, summary: Option<RunSummary>) {
        let Some(span) = &mut self.0 else { return };
        let RunSummary { usage, finish, .. } = summary.unwrap_or_default();
        if let Some(usage) = usage {
            let counts = [
                ("gen_ai.usage.input_tokens", usage.prompt_tokens),
                ("gen_ai.usage.output_tokens", usage.completion_tokens),
                ("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens),
            ];
            span.set_attributes(counts.map(|(name, count)| KeyValue::new(name, i64::from(count))));
        }
        if let Some(finish) = finish {
            let reasons = Value::Array(vec![StringValue::from(finish.as_str())].into());
            span.set_attribute(KeyValue::new("gen_ai.response.finish_reasons", reasons));
        }
        self.end(OK);
    }

    /// It ended as this did.
    pub fn ended_as<T>(&mut self, result: &Result<T>) {
        match result {
            Ok(_) => self.end(OK),
            Err(fault) => self.end(fault.code.as_str()),
        }
    }

    /// It ended as `outcome` says: a code, or `cancelled`. Only the first end counts.
    pub fn end(&mut self, outcome: &str) {
        let Some(mut span) = self.0.take() else { return };
        if outcome != OK {
            span.set_attribute(KeyValue::new("error.type", outcome.to_owned()));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.end(base::Code::Cancelled.as_str());
    }
}

/// The trace that a span belongs to which is told by `traceparent`; `None` where nobody keeps it.
pub fn kept_trace(traceparent: &str) -> Option<String> {
    let parent = parse(traceparent).filter(SpanContext::is_sampled)?;
    Some(parent.trace_id().to_string())
}

/// A parent as W3C writes it; `None` when the text is empty or is none.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.strip_prefix("00-")?.split('-');
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

fn traceparent(context: &SpanContext) -> Arc<str> {
    format!("00-{:032x}-{:016x}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags()).into()
}

#[cfg(test)]
mod tests {
    use base::Fault;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;
    use crate::{telemetry, testing};

    const TRACED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const UNTRACED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    /// Makes spans of `share` of the asks; nobody collects them.
    fn spans(share: f64) -> Spans {
        let provider = SdkTracerProvider::builder().with_sampler(telemetry::sampler(share)).build();
        Spans::new(Some(provider.tracer("test")), false)
    }

    fn head(traceparent: &str) -> AskHead {
        AskHead { traceparent: traceparent.into(), ..testing::head() }
    }

    fn is_traced(spans: &Spans, traceparent: &str) -> bool {
        let mut ask = Ask { head: head(traceparent), body: "{}".into() };
        spans.ask(&ask).mark(&mut ask.head);
        let head = ask.head;
        parse(&head.traceparent).unwrap().is_sampled()
    }

    #[test]
    fn the_share_decides_for_asks_that_begin_a_trace() {
        assert!(is_traced(&spans(1.0), "") && !is_traced(&spans(0.0), ""));
        let half = spans(0.5);
        let traced = (0..1000).filter(|_| is_traced(&half, "")).count();
        assert!((350..650).contains(&traced), "{traced} of 1000");
    }

    #[test]
    fn a_client_that_tells_a_trace_decides_for_its_asks() {
        for share in [0.0, 1.0] {
            assert!(is_traced(&spans(share), TRACED) && !is_traced(&spans(share), UNTRACED), "{share}");
        }
    }

    #[test]
    fn only_a_wait_of_a_traced_run_is_a_span() {
        let has_span = |spans: &Spans, parent: &str| spans.wait(Wait::Engine, &head(parent), &"a/w".into()).0.is_some();
        assert!(has_span(&spans(0.0), TRACED));
        assert!(!has_span(&spans(1.0), UNTRACED) && !has_span(&spans(1.0), ""));
        assert!(!has_span(&Spans::new(None, false), TRACED));
    }

    #[tokio::test]
    async fn what_is_waited_for_comes_through_with_and_without_a_span() {
        for spans in [spans(1.0), Spans::new(None, false)] {
            let (head, worker) = (head(TRACED), "a/w".into());
            assert_eq!(spans.during(Wait::Queue, &head, &worker, async { Ok(7) }).await.unwrap(), 7);
            let late = async {
                tokio::task::yield_now().await;
                Err::<(), _>(Fault::unavailable("late"))
            };
            let late = spans.during(Wait::Queue, &head, &worker, late).await;
            assert_eq!(late.unwrap_err().message, "late");
        }
    }

    #[test]
    fn a_parent_reads_as_it_was_written() {
        for text in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000001-0000000000000001-00",
        ] {
            assert_eq!(&*traceparent(&parse(text).unwrap()), text);
        }
    }

    #[test]
    fn what_is_no_parent_begins_a_new_trace() {
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for text in ["", "00-", "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", zero, "00-é-é-é"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
