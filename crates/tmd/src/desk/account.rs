//! The account of an ask: counted once, whatever ends it. The outermost layer of every answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base::{AskHead, AskId, BoxFrames, Code, Dialect, Fault, Finish, Frames, Result, RunSummary, WorkerId};
use bytes::Bytes;
use inference::cache::{Cached, Key, MOST_ENTRY_BYTES};

use super::explain::Record;
use crate::core::Core;
use crate::metrics::{AskEnd, TraceId};
use crate::spans::{MOST_BYTES, Span};
use crate::spending::Spend;

/// Ends of asks that the client is not to blame for.
const NOT_ANSWERED: &[Code] = &[
    Code::EngineFailed,
    Code::EngineCut,
    Code::Internal,
    Code::Unreachable,
    Code::DeadlineExceeded,
    Code::Unavailable,
    Code::Overloaded,
];

/// An ask that has not ended; dropping it says that the client left.
pub struct Accounting {
    core: Arc<Core>,
    record: Arc<Record>,
    ask: AskId,
    span: Span,
    face: &'static str,
    /// A catalogue name, or a word for "none": labels are a closed set.
    model: Option<Arc<str>>,
    dialect: Dialect,
    is_streamed: bool,
    trace: TraceId,
    /// What the ask takes from the budget of its key, where it came with one.
    spend: Option<Spend>,
    prompt_tokens: u32,
    /// Pieces of the answer that have left.
    pieces: u64,
    started: Instant,
    /// How long the first byte took, once it is there.
    first_token: Option<Duration>,
    is_ended: bool,
}

impl Accounting {
    /// An ask came in.
    pub fn begin(core: Arc<Core>, head: &AskHead, record: Arc<Record>, span: Span) -> Self {
        core.asks_running.fetch_add(1, Ordering::Relaxed);
        Self {
            core,
            record,
            ask: head.id,
            trace: span.trace(),
            span,
            face: head.face.as_str(),
            model: None,
            dialect: head.dialect,
            is_streamed: head.stream,
            spend: None,
            prompt_tokens: head.prompt_tokens,
            pieces: 0,
            started: Instant::now(),
            first_token: None,
            is_ended: false,
        }
    }

    /// Takes the ask from the budget of its key, or says when there is one again.
    pub fn charge(&mut self, head: &AskHead) -> Result<()> {
        if let Some(grant) = &head.grant {
            self.spend = Some(Spend::begin(&self.core, grant)?);
        }
        Ok(())
    }

    /// The tokens of a whole answer as its engine counted them; of what was cut, the prompt and the pieces that have left.
    fn tokens(&self, summary: Option<RunSummary>) -> u64 {
        match summary.and_then(|summary| summary.usage) {
            Some(usage) => u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
            None if self.pieces == 0 => 0,
            None => u64::from(self.prompt_tokens) + self.pieces,
        }
    }

    /// A model of the catalogue answers.
    pub fn answers_with(&mut self, model: &Arc<str>, worker: Option<&WorkerId>) {
        self.span.answers(model, worker);
        self.model = Some(model.clone());
    }

    /// It was turned away or failed before its first byte.
    pub fn refused(&mut self, fault: &Fault) {
        self.core.metrics.refused(fault.code);
        self.end(fault.code.as_str(), None);
    }

    fn piece(&mut self) {
        self.pieces += 1;
        if self.first_token.is_none() {
            let after = self.started.elapsed();
            self.first_token = Some(after);
            self.span.first_token();
            if self.is_streamed {
                self.span.first_chunk(after);
            }
            self.core.metrics.first_token(after, &self.trace);
        }
    }

    fn answered(&mut self, said: &[u8], finish: Option<&str>) {
        self.span.answered(self.dialect, self.is_streamed, said, finish);
    }

    fn finished(&mut self, summary: Option<RunSummary>) {
        if self.is_ended {
            return;
        }
        if let Some(summary) = summary {
            self.core.metrics.tokens(summary);
        }
        self.span.finished(summary);
        self.end("ok", summary);
    }

    fn end(&mut self, outcome: &str, summary: Option<RunSummary>) {
        if !self.is_ended {
            self.is_ended = true;
            if let Some(spend) = self.spend.take() {
                spend.tokens(self.tokens(summary));
            }
            self.core.metrics.ask_ended(AskEnd {
                face: self.face,
                dialect: self.dialect,
                model: self.model.as_deref(),
                outcome,
                total: self.started.elapsed(),
                first_token: self.first_token.filter(|_| self.is_streamed),
                summary,
                trace: self.trace.clone(),
            });
            let (ask, face, model) = (&self.ask, self.face, self.model.as_deref());
            tracing::debug!(%ask, face, model, outcome, seconds = self.started.elapsed().as_secs_f64(), "an ask ended");
            self.record.ended(outcome);
            self.watched(outcome);
            self.span.end(outcome);
        }
    }
}

impl Accounting {
    /// For triggers of the mode: an ask that was not answered on the side that it leaned to failed there.
    fn watched(&self, outcome: &str) {
        let Some((side, is_there)) = self.record.leaned() else { return };
        let is_lost = NOT_ANSWERED.iter().any(|code| code.as_str() == outcome);
        if outcome == "ok" || is_lost {
            self.core.watch.ended(side, is_lost || !is_there);
        }
    }
}

impl Drop for Accounting {
    fn drop(&mut self) {
        self.end(Code::Cancelled.as_str(), None);
        self.core.asks_running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose bytes are kept for the cache, should it end well.
pub struct Keep {
    /// Kept under this.
    pub key: Key,
    /// Where the cache is.
    pub core: Arc<Core>,
}

/// An answer with its account.
pub struct Accounted {
    inner: BoxFrames,
    accounting: Accounting,
    keep: Option<(Keep, Vec<u8>)>,
    /// The answer's first bytes, where spans carry what was said.
    said: Option<Vec<u8>>,
}

impl Accounted {
    /// Counts `inner` as the answer of the ask.
    pub fn new(inner: BoxFrames, accounting: Accounting, keep: Option<Keep>) -> Self {
        let said = (accounting.core.spans.shows_content() && accounting.trace.is_some()).then(Vec::new);
        Self { inner, accounting, keep: keep.map(|keep| (keep, Vec::new())), said }
    }

    fn note(&mut self, frame: &Bytes) {
        self.accounting.piece();
        if let Some(said) = &mut self.said {
            let room = MOST_BYTES.saturating_sub(said.len()).min(frame.len());
            said.extend_from_slice(frame.get(..room).unwrap_or_default());
        }
        if let Some((_, bytes)) = &mut self.keep {
            if bytes.len() + frame.len() > MOST_ENTRY_BYTES {
                self.keep = None;
            } else {
                bytes.extend_from_slice(frame);
            }
        }
    }

    fn finished(&mut self) {
        let summary = self.inner.summary();
        if let Some(said) = self.said.take() {
            let finish = summary.and_then(|summary| summary.finish);
            self.accounting.answered(&said, finish.map(Finish::as_str));
        }
        self.accounting.finished(summary);
        let Some((keep, bytes)) = self.keep.take() else { return };
        let Some(summary) = summary.filter(|summary| summary.finish.is_some()) else { return };
        let answer = Cached { body: bytes.into(), usage: summary.usage, finish: summary.finish };
        let tasks = keep.core.tasks.clone();
        tasks.spawn(async move {
            if let Some(cache) = &keep.core.cache {
                cache.put(&keep.key, &answer).await;
            }
        });
    }
}

impl Drop for Accounted {
    /// A client may close at the end mark, and a body of a known length is dropped at its last byte: neither looks at
    /// the end, and both have the whole answer.
    fn drop(&mut self) {
        if self.inner.summary().is_some() {
            self.finished();
        }
    }
}

impl Frames for Accounted {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let polled = self.inner.poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.note(frame),
            Poll::Ready(Some(Err(fault))) => self.accounting.end(fault.code.as_str(), None),
            Poll::Ready(None) => self.finished(),
            Poll::Pending => {}
        }
        polled
    }

    fn summary(&self) -> Option<RunSummary> {
        self.inner.summary()
    }
}
