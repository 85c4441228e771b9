//! The path of an ask: model, cache, worker, run; again elsewhere when it fails before the first byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::answer::{Ready, collect};
use base::time::Deadline;
use base::{
    Answer, AnswerHead, Ask, AskHead, BoxFrames, Code, Continuation, Face, Fault, ModelId, Result, RunSummary, WorkerId,
};
use bytes::Bytes;
use futures_util::future::{self, Either};
use inference::cache::{Cached, Key};
use inference::resume::{ResumeLimits, Resuming};
use inference::wire::{Promise, Streamed};
use routing::leaning::place;
use routing::model::{Choice, ModelIndex, choose};
use routing::route::{Chosen, Request, route};
use routing::table::Table;

use super::account::{Accounted, Accounting, Keep};
use super::again::Again;
use super::explain::Record;
use super::models;
use super::run::start;
use super::tries::{Miss, Tries, Way};
use crate::core::Core;

/// With hedging on, a run that takes this many times its estimate gets company.
const HEDGE_AFTER: f64 = 3.0;
/// … but not before this.
const HEDGE_AT_LEAST: Duration = Duration::from_secs(2);

/// Answers an ask.
pub async fn infer(core: &Arc<Core>, mut ask: Ask, continues: Option<Continuation>) -> Result<Answer> {
    core.earn_retry();
    let span = core.spans.ask(&ask);
    span.mark(&mut ask.head);
    let record = core.explain.begin(&ask.head);
    let mut accounting = Accounting::begin(core.clone(), &ask.head, record.clone(), span);
    let path = Path { core: core.clone(), record };
    let answered = match accounting.charge(&ask.head) {
        Ok(()) => path.answered(ask, continues).await,
        Err(fault) => Err(fault),
    };
    match answered {
        Ok(Outcome { answer, model, keep }) => {
            let Answer { head, frames } = answer;
            accounting.answers_with(&model, head.worker.as_ref());
            Ok(Answer { head, frames: Box::new(Accounted::new(frames, accounting, keep)) })
        }
        Err(fault) => {
            accounting.refused(&fault);
            Err(fault)
        }
    }
}

struct Outcome {
    answer: Answer,
    model: Arc<str>,
    keep: Option<Keep>,
}

/// The model and the worker that were chosen for an ask.
pub(super) struct Decision {
    pub choice: Choice,
    pub chosen: Chosen,
    /// What the whole run was estimated to take.
    pub expected: Duration,
}

#[derive(Clone)]
struct Path {
    core: Arc<Core>,
    record: Arc<Record>,
}

impl Path {
    async fn answered(&self, mut ask: Ask, continues: Option<Continuation>) -> Result<Outcome> {
        if let Some(worker) = self.core.contexts.made_by(&ask)? {
            ask.head.only_worker = Some(worker);
        }
        if ask.head.stream { self.streamed(ask, continues).await } else { self.whole(ask, continues).await }
    }

    /// A stream: from its first byte on, [`Resuming`] carries it over failures.
    async fn streamed(&self, ask: Ask, continues: Option<Continuation>) -> Result<Outcome> {
        let decision = decide(&self.core, &ask.head, &self.record, &[], None)?;
        let key = self.cache_key(&decision, &ask, &continues);
        if let Some(hit) = self.cached(key.as_ref()).await {
            return Ok(from_cache(&ask, decision.choice, hit));
        }
        let model = decision.choice.name.clone();
        let (first, model_id, failed) = self.first_run(&ask, decision, &continues).await?;
        let head = first.head.clone();
        let config = self.core.config.load_full();
        let limits = ResumeLimits { first_token: config.limits.first_token, idle_token: config.limits.idle_token };
        let again =
            Again::new(self.core.clone(), self.record.clone(), ask.clone(), model_id, failed, head.worker.clone());
        let frames = Resuming::new(first, &ask.head, limits, again);
        let keep = key.map(|key| Keep { key, core: self.core.clone() });
        // Our own questions are judged where they are put, which tells the model what is wrong.
        let promise = Promise::of(&ask).filter(|_| ask.head.face != Face::Internal);
        let frames: BoxFrames = match promise {
            Some(promise) => Box::new(Streamed::new(Box::new(frames), promise, config.limits.answer.as_usize())),
            None => Box::new(frames),
        };
        Ok(Outcome { answer: Answer { head, frames }, model, keep })
    }

    /// An answer in one piece: nothing has left before it is whole, so it can be asked for anew.
    async fn whole(&self, ask: Ask, continues: Option<Continuation>) -> Result<Outcome> {
        let decision = decide(&self.core, &ask.head, &self.record, &[], None)?;
        let key = self.cache_key(&decision, &ask, &continues);
        if let Some(hit) = self.cached(key.as_ref()).await {
            return Ok(from_cache(&ask, decision.choice, hit));
        }
        let model = decision.choice.name.clone();
        let path = self.clone();
        let work = async move { path.whole_runs(ask, decision, continues).await };
        let whole = match key {
            Some(key) => self.core.joins.joined(&self.core.metrics, key, Box::pin(work)).await?,
            None => work.await?,
        };
        if let (Some(cache), Some(key)) = (&self.core.cache, key) {
            let Whole { body, summary, .. } = &whole;
            cache.put(&key, &Cached { body: body.clone(), usage: summary.usage, finish: summary.finish }).await;
        }
        let frames = Box::new(Ready::new(whole.body, whole.summary));
        Ok(Outcome { answer: Answer { head: whole.head, frames }, model, keep: None })
    }

    /// Runs until one brings the whole answer.
    async fn whole_runs(&self, ask: Ask, mut decision: Decision, continues: Option<Continuation>) -> Result<Whole> {
        let mut tries = Tries::default();
        loop {
            let is_hedged = self.core.config.load().routing.hedge;
            let ran = match is_hedged {
                true => self.hedged_run(&ask, &decision, &continues, &mut tries.failed).await,
                false => self.whole_run(&ask, &decision, &continues).await,
            };
            match ran {
                Ok(whole) => return Ok(whole),
                Err(miss) => decision = self.again(&ask.head, miss, decision, &mut tries)?,
            }
        }
    }

    /// One run, to its end; what it brought must be what the client is promised.
    async fn whole_run(
        &self,
        ask: &Ask,
        decision: &Decision,
        continues: &Option<Continuation>,
    ) -> std::result::Result<Whole, Miss> {
        let whole = self.one_run(ask, decision, continues).await.map_err(Miss::Failed)?;
        let Some(promise) = Promise::of(ask) else { return Ok(whole) };
        let kept = promise.keep(whole.body.clone());
        self.core.watch.judged(decision.chosen.side, kept.is_err());
        kept.map(|body| whole.with(body)).map_err(Miss::Broken)
    }

    async fn one_run(&self, ask: &Ask, decision: &Decision, continues: &Option<Continuation>) -> Result<Whole> {
        let mut answer = start(&self.core, &self.record, ask, decision, continues.clone()).await?;
        let most = self.core.config.load().limits.answer.as_usize();
        let body = collect_by(ask.head.deadline, &mut answer.frames, most).await?;
        let summary = answer.frames.summary().unwrap_or_default();
        let head = AnswerHead { content_length: Some(body.len() as u64), ..answer.head };
        Ok(Whole { head, body, summary })
    }

    /// One run, and a second one elsewhere when it takes far longer than was estimated; the first answer wins. Where both
    /// fail, the worker of the second one joins those that `failed`; that of the first one is the caller's to note.
    async fn hedged_run(
        &self,
        ask: &Ask,
        decision: &Decision,
        continues: &Option<Continuation>,
        failed: &mut Vec<WorkerId>,
    ) -> std::result::Result<Whole, Miss> {
        let first = std::pin::pin!(self.whole_run(ask, decision, continues));
        let patience = decision.expected.mul_f64(HEDGE_AFTER).max(HEDGE_AT_LEAST);
        let first = match future::select(first, std::pin::pin!(tokio::time::sleep(patience))).await {
            Either::Left((whole, _)) => return whole,
            Either::Right(((), first)) => first,
        };
        let taken = [failed.as_slice(), std::slice::from_ref(&decision.chosen.worker)].concat();
        let Ok(other) = decide(&self.core, &ask.head, &self.record, &taken, None) else { return first.await };
        // Under load every run is slow; without a bound on company all asks would run twice.
        if !self.core.take_retry() {
            return first.await;
        }
        let second = std::pin::pin!(self.whole_run(ask, &other, continues));
        // A failure is no answer: then the other one still may be.
        let last = match future::select(first, second).await {
            Either::Left((Ok(whole), _)) | Either::Right((Ok(whole), _)) => return Ok(whole),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
        };
        last.inspect_err(|_| failed.push(other.chosen.worker.clone()))
    }

    /// Runs until one begins to answer. Gives it with the model's identity and the workers that failed before.
    async fn first_run(
        &self,
        ask: &Ask,
        mut decision: Decision,
        continues: &Option<Continuation>,
    ) -> Result<(Answer, ModelId, Vec<WorkerId>)> {
        let mut tries = Tries::default();
        loop {
            match start(&self.core, &self.record, ask, &decision, continues.clone()).await {
                Ok(answer) => return Ok((answer, decision.chosen.model_id, tries.failed)),
                Err(fault) => decision = self.again(&ask.head, Miss::Failed(fault), decision, &mut tries)?,
            }
        }
    }

    /// Where to go after a miss; its fault when nowhere.
    fn again(&self, head: &AskHead, miss: Miss, decision: Decision, tries: &mut Tries) -> Result<Decision> {
        let (fault, way) = tries.after(miss, head.sampling);
        if way == Way::Nowhere || head.deadline.is_over(Instant::now()) || !self.core.take_retry() {
            return Err(fault);
        }
        let decision = match way {
            Way::Same => decision,
            _ => self.elsewhere(head, fault, decision.chosen.worker, &mut tries.failed)?,
        };
        self.core.metrics.retried();
        Ok(decision)
    }

    fn elsewhere(
        &self,
        head: &AskHead,
        fault: Fault,
        worker: WorkerId,
        failed: &mut Vec<WorkerId>,
    ) -> Result<Decision> {
        failed.push(worker);
        let decision = decide(&self.core, head, &self.record, failed, None).or_else(|_| {
            // A process that was cut off is not the next one.
            let is_gone = |worker: &WorkerId| fault.code == Code::EngineCut && self.core.renews_processes(worker);
            let others: Vec<_> = failed.iter().filter(|worker| !is_gone(worker)).cloned().collect();
            decide(&self.core, head, &self.record, &others, None)
        });
        // When nobody can take it, what the worker said tells more than that.
        decision.map_err(|_| fault)
    }

    fn cache_key(&self, decision: &Decision, ask: &Ask, continues: &Option<Continuation>) -> Option<Key> {
        if self.core.cache.is_none() || continues.is_some() {
            return None;
        }
        Key::of(&decision.chosen.model_id, ask)
    }

    async fn cached(&self, key: Option<&Key>) -> Option<Cached> {
        let (cache, key) = (self.core.cache.as_ref()?, key?);
        let hit = cache.get(key).await;
        self.core.metrics.cached(if hit.is_some() { "hit" } else { "miss" });
        hit
    }
}

/// The whole body, while the ask has time: an engine that stops within it must not keep its slot for good.
async fn collect_by(deadline: Deadline, frames: &mut BoxFrames, most: usize) -> Result<Bytes> {
    let collected = tokio::time::timeout_at(deadline.instant().into(), collect(frames, most)).await;
    collected.unwrap_or_else(|_| {
        Err(Fault::new(Code::DeadlineExceeded, "the engine did not end its answer in the time that the ask has")
            .hint("allow more time with `x-tm-timeout`, or ask with \"stream\": true"))
    })
}

/// An answer that was kept.
fn from_cache(ask: &Ask, choice: Choice, hit: Cached) -> Outcome {
    let head = AnswerHead {
        content_type: ask.head.dialect.content_type(ask.head.stream),
        content_length: Some(hit.body.len() as u64),
        worker: None,
        model: choice.name.to_string(),
        fallback: choice.notice,
    };
    let summary = hit.summary();
    let frames = Box::new(Ready::new(hit.body, summary));
    Outcome { answer: Answer { head, frames }, model: choice.name, keep: None }
}

/// A whole answer; cheap to clone for everybody who asked the same.
#[derive(Clone)]
pub struct Whole {
    pub head: AnswerHead,
    pub body: Bytes,
    pub summary: RunSummary,
}

impl Whole {
    fn with(self, body: Bytes) -> Self {
        let head = AnswerHead { content_length: Some(body.len() as u64), ..self.head };
        Self { head, body, summary: self.summary }
    }
}

/// Chooses model and worker, and notes why.
pub(super) fn decide(
    core: &Core,
    head: &AskHead,
    record: &Record,
    failed: &[WorkerId],
    requires_id: Option<&ModelId>,
) -> Result<Decision> {
    let now = Instant::now();
    let looks_around = core.looks_around(now);
    let decided = decide_by_table(core, head, record, failed, requires_id, now);
    decided.map_err(|fault| match fault.code {
        Code::ModelNotFound if looks_around => models::not_seen_yet(&head.model),
        _ => fault,
    })
}

fn decide_by_table(
    core: &Core,
    head: &AskHead,
    record: &Record,
    failed: &[WorkerId],
    requires_id: Option<&ModelId>,
    now: Instant,
) -> Result<Decision> {
    let table: Arc<Table> = core.table.load_full();
    // The model is not read by `choose`; it is filled in with what that chose.
    let request = request(head, core.keys.spending.share(head), failed, requires_id, now);
    let choice = choose(&table, &head.model, &request, now)?;
    let request = Request { model: choice.model, ..request };
    let decision = route(&table, &request, now);
    record.model(&choice.name, choice.notice.as_deref());
    record.route(&table, &decision);
    match decision.chosen {
        Some(chosen) => {
            let candidate = decision.candidates.get(chosen.candidate);
            let estimate = candidate.map_or(0.0, |candidate| candidate.total_s);
            let is_loaded = candidate.is_some_and(|candidate| candidate.terms.load == 0.0);
            core.metrics.routed(chosen.worker.as_str(), is_loaded, now.elapsed());
            Ok(Decision { choice, chosen, expected: Duration::try_from_secs_f64(estimate).unwrap_or_default() })
        }
        None => Err(decision.fault(&table, &request)),
    }
}

fn request<'a>(
    head: &'a AskHead,
    share: f64,
    excluded: &'a [WorkerId],
    requires_id: Option<&'a ModelId>,
    now: Instant,
) -> Request<'a> {
    Request {
        kind: head.kind,
        needs: head.needs,
        max_output_tokens: head.max_output_tokens,
        prefix: &head.prefix,
        priority: head.priority,
        deadline_left: head.deadline.left(now),
        excluded,
        only_worker: head.only_worker.as_ref(),
        share,
        models: head.grant.as_ref().map_or(&[], |grant| &grant.models),
        requires_id,
        chance: fastrand::u64(..),
        place: place(head.id),
        ..Request::new(ModelIndex::default(), head.prompt_tokens)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use super::*;

    /// An engine that stopped within its answer.
    struct Stuck;

    impl base::Frames for Stuck {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_left_at_the_deadline() {
        let deadline = Deadline::after(Instant::now(), Duration::from_secs(5));
        let mut frames: BoxFrames = Box::new(Stuck);
        let collected = tokio::time::timeout(Duration::from_secs(60), collect_by(deadline, &mut frames, 10)).await;
        assert_eq!(collected.unwrap().unwrap_err().code, Code::DeadlineExceeded);
    }
}
