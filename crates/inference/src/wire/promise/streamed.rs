//! The promise of a stream: what left cannot be taken back, so the end is held until what it ends was looked at.
//!
//! JSON that is not what was asked for ends as streams do that broke: by an error of its dialect in place of a clean end.
//! What stands around the JSON stays, because it has left, and is no error: the client can find what it asked for.

use std::task::{Context, Poll, ready};

use base::{BoxFrames, Finish, Frames, Result, RunSummary};
use bytes::Bytes;

use super::{Promise, Said};
use crate::wire::{Decoder, error_event};

/// A stream whose JSON is looked at before its end leaves.
pub struct Streamed {
    inner: BoxFrames,
    promise: Promise,
    said: Said,
    /// `None` once there is nothing to look at any more.
    decoder: Option<Decoder>,
    /// The most of an answer that is looked at, in bytes.
    most: usize,
    /// The end, with what came with it.
    held: Vec<u8>,
    is_over: bool,
    is_broken: bool,
}

impl Streamed {
    /// Answers longer than `most` bytes leave as they come.
    pub fn new(inner: BoxFrames, promise: Promise, most: usize) -> Self {
        let decoder = Some(Decoder::new(promise.dialect, true));
        let said = Said::default();
        Self { inner, promise, said, decoder, most, held: Vec::new(), is_over: false, is_broken: false }
    }

    /// Takes note of a frame; whether the answer has come to its end.
    fn is_end(&mut self, frame: &[u8]) -> bool {
        let Some(decoder) = &mut self.decoder else { return !self.held.is_empty() };
        let mut events = Vec::new();
        // What cannot be read is another one's to judge.
        let is_read = decoder.feed(frame, &mut events).is_ok();
        let has_ended = decoder.finish_seen().is_some();
        self.said.add(events);
        if !is_read || self.said.bytes() > self.most {
            self.decoder = None;
        }
        has_ended || !self.held.is_empty()
    }

    /// What is left to send: the end that came, or an error.
    fn end(&mut self) -> Option<Bytes> {
        let held = Bytes::from(std::mem::take(&mut self.held));
        let Err(fault) = self.judged() else { return Some(held).filter(|held| !held.is_empty()) };
        self.is_broken = true;
        tracing::warn!(error = %fault, "a stream did not bring the JSON that was asked for");
        Some(error_event(self.promise.dialect, &fault))
    }

    fn judged(&mut self) -> Result<()> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(()) };
        // Without a reason of its end, it ended by an error already.
        if decoder.finish_seen().is_none() {
            return Ok(());
        }
        let mut events = Vec::new();
        decoder.finish(&mut events)?;
        self.said.add(events);
        match self.said.finish {
            // The client is told of that end, whoever set the limit.
            Finish::Length => Ok(()),
            _ => self.promise.json_in(&self.said).map(drop),
        }
    }
}

impl Frames for Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        while !self.is_over {
            match ready!(self.inner.poll_frame(cx)) {
                Some(Ok(frame)) if self.is_end(&frame) => self.held.extend_from_slice(&frame),
                Some(frame) => return Poll::Ready(Some(frame)),
                None => {
                    self.is_over = true;
                    if let Some(end) = self.end() {
                        return Poll::Ready(Some(Ok(end)));
                    }
                }
            }
        }
        Poll::Ready(None)
    }

    /// Nothing while the end is held: no client has the whole answer then.
    fn summary(&self) -> Option<RunSummary> {
        self.inner.summary().filter(|_| self.held.is_empty() && !self.is_broken)
    }
}
