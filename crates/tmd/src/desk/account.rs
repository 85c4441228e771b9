//! The account of an ask: counted once, whatever ends it. The outermost layer of every answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use base::{AskHead, BoxFrames, Fault, Frames, Result, RunSummary, WorkerId};
use bytes::Bytes;
use inference::cache::{Cached, Key, MOST_ENTRY_BYTES};

use super::explain::Record;
use crate::core::Core;
use crate::spans::Span;

/// An ask that has not ended; dropping it says that the client left.
pub struct Accounting {
    core: Arc<Core>,
    record: Arc<Record>,
    span: Span,
    face: &'static str,
    /// A catalogue name, or a word for "none": labels are a closed set.
    model: Option<Arc<str>>,
    started: Instant,
    has_first: bool,
    is_ended: bool,
}

impl Accounting {
    /// An ask came in.
    pub fn begin(core: Arc<Core>, head: &AskHead, record: Arc<Record>, span: Span) -> Self {
        let face = head.face.as_str();
        core.asks_running.fetch_add(1, Ordering::Relaxed);
        Self { core, record, span, face, model: None, started: Instant::now(), has_first: false, is_ended: false }
    }

    /// A model of the catalogue answers.
    pub fn answers_with(&mut self, model: &Arc<str>, worker: Option<&WorkerId>) {
        self.span.answers(model, worker);
        self.model = Some(model.clone());
    }

    /// It was turned away or failed before its first byte.
    pub fn refused(&mut self, fault: &Fault) {
        self.core.metrics.refused.with_label_values(&[fault.code.as_str()]).inc();
        self.end(fault.code.as_str());
    }

    fn first_byte(&mut self) {
        if !self.has_first {
            self.has_first = true;
            self.span.first_token();
            self.core.metrics.first_token_seconds.observe(self.started.elapsed().as_secs_f64());
        }
    }

    fn finished(&mut self, summary: Option<RunSummary>) {
        if self.is_ended {
            return;
        }
        if let Some(usage) = summary.and_then(|summary| summary.usage) {
            let tokens = &self.core.metrics.tokens;
            tokens.with_label_values(&["prompt"]).inc_by(usage.prompt_tokens.into());
            tokens.with_label_values(&["completion"]).inc_by(usage.completion_tokens.into());
            tokens.with_label_values(&["cached"]).inc_by(usage.cached_tokens.into());
        }
        self.span.finished(summary);
        self.end("ok");
    }

    fn end(&mut self, outcome: &str) {
        if !self.is_ended {
            self.is_ended = true;
            let model = self.model.as_deref().unwrap_or("none");
            self.core.metrics.ask_ended(self.face, model, outcome, self.started.elapsed());
            self.record.ended(outcome);
            self.span.end(outcome);
        }
    }
}

impl Drop for Accounting {
    fn drop(&mut self) {
        self.end("cancelled");
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
}

impl Accounted {
    /// Counts `inner` as the answer of the ask.
    pub fn new(inner: BoxFrames, accounting: Accounting, keep: Option<Keep>) -> Self {
        Self { inner, accounting, keep: keep.map(|keep| (keep, Vec::new())) }
    }

    fn note(&mut self, frame: &Bytes) {
        self.accounting.first_byte();
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
            Poll::Ready(Some(Err(fault))) => self.accounting.end(fault.code.as_str()),
            Poll::Ready(None) => self.finished(),
            Poll::Pending => {}
        }
        polled
    }

    fn summary(&self) -> Option<RunSummary> {
        self.inner.summary()
    }
}
