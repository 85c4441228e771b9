//! The way to one engine: questions with JSON answers, probes, and runs.

use std::time::{Duration, Instant};

use base::answer::{Gathered, collect};
use base::{Code, Fault, Result};
use bytes::Bytes;
use serde_json::Value;

use super::{Health, Run, Started, Traits};
use crate::http1::{Pool, Request, Response};
use crate::wire::{self, AnswerSpec, ContinueBy, EngineRequest, Target};

/// A probe that takes longer says nothing good.
const PROBE: Duration = Duration::from_secs(2);
/// Bound on the text of a refusal.
const REFUSAL: Duration = Duration::from_secs(2);
/// Most bytes of a refusal.
const MOST_REFUSAL: usize = 64 * 1024;
/// Most bytes of a list of models; a cloud's has about 100 KiB.
const MOST_JSON: usize = 8 << 20;

/// Connections to one engine, and what is true of its kind.
#[derive(Clone)]
pub struct Link {
    /// The connections.
    pub pool: Pool,
    /// The kind.
    pub traits: &'static Traits,
}

impl Link {
    pub(super) fn new(pool: Pool, traits: &'static Traits) -> Self {
        Self { pool, traits }
    }

    /// Reads JSON.
    pub(super) async fn get(&self, path: &str, until: Instant) -> Result<Value> {
        self.json(&Request::get(path), until).await
    }

    /// Asks for something that is answered with JSON.
    pub(super) async fn post(&self, path: &str, body: &Value, until: Instant) -> Result<Value> {
        self.json(&Request::post(path, body.to_string()), until).await
    }

    async fn json(&self, request: &Request<'_>, until: Instant) -> Result<Value> {
        let response = self.ask(request, until).await?;
        let body = self.whole(response, MOST_JSON, until).await?;
        serde_json::from_slice(&body).map_err(|error| {
            let message =
                format!("engine `{}` answered `{}` with something else than JSON", self.pool.name(), request.path);
            Fault::new(Code::EngineFailed, message)
                .because(error)
                .hint("check that the worker's backend is the kind of engine at its url")
        })
    }

    /// Sends `request`; a refusal is an error.
    pub(super) async fn ask(&self, request: &Request<'_>, until: Instant) -> Result<Response> {
        let response = self.pool.send(request, until).await?;
        if response.is_success() {
            return Ok(response);
        }
        let (status, retry_after) = (response.status, response.retry_after);
        let body = self.whole(response, MOST_REFUSAL, until.min(Instant::now() + REFUSAL)).await;
        Err(wire::engine_fault(self.pool.name(), status, retry_after, &body.unwrap_or_default()))
    }

    async fn whole(&self, mut response: Response, most: usize, until: Instant) -> Result<Bytes> {
        let collected = tokio::time::timeout_at(until.into(), collect(&mut response.body, most)).await;
        collected.unwrap_or_else(|_| {
            let message = format!("engine `{}` did not end its answer in time", self.pool.name());
            Err(Fault::new(Code::DeadlineExceeded, message).hint("look whether it is overloaded"))
        })
    }

    /// Probes it.
    pub(super) async fn health(&self) -> Health {
        self.probe(PROBE).await
    }

    /// An engine that computes may have no time for a probe, so work that goes on is a sign of life.
    pub(super) async fn probe(&self, patience: Duration) -> Health {
        let (until, progress) = (Instant::now() + patience, self.pool.progress());
        let response = match self.pool.send(&Request::get(self.traits.health), until).await {
            Ok(response) => response,
            Err(fault) if fault.code == Code::DeadlineExceeded => {
                let works = self.pool.progress() != progress || self.pool.waiting() > 0;
                return if works { Health::Busy } else { Health::Down(fault.full_message()) };
            }
            Err(fault) => return Health::Down(fault.full_message()),
        };
        match response.status {
            status @ (401 | 403) => Health::Down(format!("it refuses the key (status {status})")),
            503 => Health::Loading,
            // A wrong path is an answer all the same: some kinds have no path for this at all.
            200..500 => {
                // Read to its end, the connection can be used again.
                self.whole(response, MOST_JSON, until)
                    .await
                    .map_or_else(|fault| Health::Down(fault.full_message()), |_| Health::Up)
            }
            status => Health::Down(format!("it answers a probe with status {status}")),
        }
    }

    /// Puts an ask to it, in the nearest dialect.
    pub(super) async fn start(&self, run: &Run<'_>) -> Result<Started> {
        let dialect = self.traits.require(run.ask.head.dialect, self.pool.name())?;
        let continue_by = self.traits.continue_by(dialect);
        if run.continuation.is_some() && continue_by == ContinueBy::Never {
            return Err(self.not_supported("continue an answer"));
        }
        let request = wire::request(run.ask, &self.target(run, dialect, continue_by), run.continuation)?;
        self.start_with(run, request, continue_by.echoes()).await
    }

    /// Sends a request that was made for `run`.
    pub(super) async fn start_with(&self, run: &Run<'_>, request: EngineRequest, echoes: bool) -> Result<Started> {
        let (head, started) = (&run.ask.head, Instant::now());
        let path = if self.traits.dialects_at_root { request.path.trim_start_matches("/v1") } else { request.path };
        let post = Request::post(path, request.body).traced(&head.traceparent);
        let response = self.ask(&post, run.until(started)).await?;
        let mut spec = AnswerSpec::new(run.ask, request.dialect, started);
        spec.most_whole = run.most_whole;
        spec.calls = request.calls;
        if let Some(length) = response.content_length.filter(|_| !head.stream) {
            Gathered::new(run.most_whole).check(length)?;
        }
        spec.continuation = run.continuation.cloned();
        spec.echoes = echoes && run.continuation.is_some();
        let frames = wire::answer(Box::new(response.body), spec);
        Ok(Started { content_type: head.dialect.content_type(head.stream), frames: Box::new(frames) })
    }

    pub(super) fn target<'a>(&self, run: &Run<'a>, dialect: base::Dialect, continue_by: ContinueBy) -> Target<'a> {
        Target {
            dialect,
            engine_model: run.engine_model,
            continue_by,
            context_tokens: run.context_tokens,
            quirks: self.traits.quirks,
        }
    }

    pub(super) fn not_supported(&self, what: &str) -> Fault {
        let message = format!("engine `{}` ({}) cannot {what}", self.pool.name(), self.traits.kind);
        Fault::new(Code::NotSupported, message).hint("use a worker whose engine can")
    }
}
