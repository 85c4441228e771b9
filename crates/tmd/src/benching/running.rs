//! One measurement on its way: step by step, each told before it begins and when it is done. Dropping it ends it, down to
//! the engine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::answer::next_frame;
use base::time::{Deadline, unix_ms};
use base::{Ask, AskHead, Code, Dialect, Face, Fault, Priority, Result, Sampling, units};
use bytes::Bytes;
use proto::admin::bench_model_response::Told;
use proto::admin::{BenchBucket, BenchLoad, BenchModelResponse, BenchStep};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::kept;
use super::measure::{self, Bucket, Measured, Sample, Use};
use crate::core::Core;
use crate::worker::port::{OfferedModel, Port};

/// The longest prompt on a slow machine.
const ASK_WITHIN: Duration = Duration::from_secs(900);
/// A large model from a slow disk.
const LOAD_WITHIN: Duration = Duration::from_secs(1800);
/// How long a model that was loaded for this stays without an ask; Ollama's own habit.
const KEEP: Duration = Duration::from_secs(300);
/// The worker looks at its engine once a second.
const SEEN_WITHIN: Duration = Duration::from_secs(4);
/// How long a worker that is busy is waited for, before each ask.
const IDLE_WITHIN: Duration = Duration::from_secs(600);
/// Between two looks at whether a client came. Until then it shares the engine with the measurement.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// After a client came, the worker has to be quiet for this long, doubled each time: in a talk there are pauses, and its
/// model may have to be loaded again after each ask of the measurement.
const QUIET: Duration = Duration::from_secs(1);
const QUIET_MOST: Duration = Duration::from_secs(60);
/// Tokens of the ask that only warms up.
const WARM_TOKENS: u32 = 128;
/// English, before the engine has counted.
const BYTES_PER_TOKEN: f64 = 4.0;

/// A measurement that somebody listens to.
pub struct Running {
    core: Arc<Core>,
    port: Arc<Port>,
    model: OfferedModel,
    used: Use,
    answer_tokens: u32,
    steps: VecDeque<Step>,
    is_announced: bool,
    /// The engine tells which of its models are in memory.
    tells_loaded: bool,
    bytes_per_token: f64,
    measured: Measured,
    samples: Vec<Sample>,
    spent: Duration,
    waits_since: Option<Instant>,
    disturbed: u32,
    _permit: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Load,
    Warm,
    Bucket(u32),
}

/// How a step went.
enum Went {
    Done(Option<Told>),
    /// A client came. It is done again later.
    Disturbed,
    /// The model went out of memory meanwhile.
    Unloaded,
}

impl Running {
    /// Of `model` at `port`, which nobody else measures now.
    pub fn new(
        core: Arc<Core>,
        port: Arc<Port>,
        model: OfferedModel,
        used: Use,
        answer_tokens: u32,
        buckets: &[u32],
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let load = (!model.engine.is_loaded).then_some(Step::Load);
        let buckets = buckets.iter().copied().map(Step::Bucket);
        let measured = kept::of(&core.benching.kept, &port.id, &model.id);
        Self {
            steps: load.into_iter().chain([Step::Warm]).chain(buckets).collect(),
            tells_loaded: model.engine.is_loaded,
            core,
            port,
            model,
            used,
            answer_tokens,
            is_announced: false,
            bytes_per_token: BYTES_PER_TOKEN,
            measured,
            samples: Vec::new(),
            spent: Duration::ZERO,
            waits_since: None,
            disturbed: 0,
            _permit: permit,
        }
    }

    /// What is to be told next; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<BenchModelResponse>> {
        loop {
            let step = *self.steps.front()?;
            if !self.is_announced {
                self.is_announced = true;
                return Some(Ok(self.tell_step(self.in_words(step))));
            }
            match self.go(step).await {
                Ok(Went::Done(told)) => {
                    self.steps.pop_front();
                    self.is_announced = false;
                    (self.samples, self.spent) = (Vec::new(), Duration::ZERO);
                    if let Some(told) = told {
                        return Some(Ok(self.tell(told)));
                    }
                }
                Ok(Went::Disturbed) => {
                    self.disturbed = self.disturbed.saturating_add(1);
                    return Some(Ok(self.tell_step("waits: asks of clients come first".to_owned())));
                }
                Ok(Went::Unloaded) => {
                    self.steps.push_front(Step::Load);
                    self.is_announced = false;
                }
                Err(fault) => return Some(Err(fault)),
            }
        }
    }

    fn in_words(&self, step: Step) -> String {
        match (step, self.used) {
            (Step::Load, _) => "loads".to_owned(),
            (Step::Warm, _) => "warms up".to_owned(),
            (Step::Bucket(tokens), Use::Writes) => format!("reads prompts of {tokens} tokens"),
            (Step::Bucket(tokens), Use::Embeds) => format!("reads texts of {tokens} tokens"),
        }
    }

    fn tell_step(&self, text: String) -> BenchModelResponse {
        self.tell(Told::Step(BenchStep { text }))
    }

    fn tell(&self, told: Told) -> BenchModelResponse {
        let (worker, model) = (self.port.id.to_string(), self.model.name.clone());
        BenchModelResponse { worker, model, told: Some(told) }
    }

    async fn go(&mut self, step: Step) -> Result<Went> {
        self.idle().await?;
        if step != Step::Load && self.tells_loaded && !self.is_loaded() {
            return Ok(Went::Unloaded);
        }
        match step {
            Step::Load => self.load().await,
            Step::Warm => Ok(match self.undisturbed(WARM_TOKENS).await? {
                Some(_) => Went::Done(None),
                None => Went::Disturbed,
            }),
            Step::Bucket(tokens) => self.bucket(tokens).await,
        }
    }

    /// Waits until the worker has nothing to do.
    async fn idle(&mut self) -> Result<()> {
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        let quiet = match self.disturbed {
            0 => Duration::ZERO,
            times => QUIET.saturating_mul(1 << (times - 1).min(8)).min(QUIET_MOST),
        };
        let mut quiet_since = None;
        loop {
            quiet_since = if self.port.gate.counts() == (0, 0) { quiet_since.or(Some(Instant::now())) } else { None };
            if quiet_since.is_some_and(|since: Instant| since.elapsed() >= quiet) {
                return Ok(());
            }
            if since.elapsed() >= IDLE_WITHIN {
                let within = units::format_duration(IDLE_WITHIN);
                let message = format!("worker `{}` was busy with asks of clients for {within}", self.port.id);
                return Err(Fault::new(Code::Overloaded, message).hint("measure again when it has less to do"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn load(&mut self) -> Result<Went> {
        let (begun, name) = (Instant::now(), self.model.engine.name.clone());
        let loading = self.port.backend.load(&name, Some(KEEP), begun + LOAD_WITHIN);
        if alone(&self.port, 0, loading).await?.is_none() {
            return Ok(Went::Disturbed);
        }
        let mut took = begun.elapsed();
        if self.is_seen_loaded().await {
            self.tells_loaded = true;
            self.port.note_load(&name, took);
        } else {
            // It loads a model only for an ask; the port notes that by itself.
            let begun = Instant::now();
            if self.undisturbed(WARM_TOKENS).await?.is_none() {
                return Ok(Went::Disturbed);
            }
            took = begun.elapsed();
        }
        self.waits_since = None;
        self.measured.load_s = Some(took.as_secs_f64());
        self.keep().await;
        Ok(Went::Done(Some(Told::Load(BenchLoad { seconds: took.as_secs_f64() }))))
    }

    fn is_loaded(&self) -> bool {
        self.port.facts().models.iter().any(|model| model.id == self.model.id && model.engine.is_loaded)
    }

    async fn is_seen_loaded(&self) -> bool {
        self.port.look.notify_one();
        let seen = async {
            while !self.is_loaded() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(SEEN_WITHIN, seen).await.is_ok()
    }

    async fn bucket(&mut self, tokens: u32) -> Result<Went> {
        if let Some(expected) = self.too_long(tokens) {
            let expected = units::format_duration(Duration::from_secs(expected.as_secs()));
            let left_out = format!("reading it would take {expected}, too near to limits.first_token or above");
            return Ok(Went::Done(Some(Told::Bucket(BenchBucket {
                tokens,
                left_out,
                to_come: self.to_come(),
                ..BenchBucket::default()
            }))));
        }
        while !measure::is_enough(self.samples.len(), self.spent) {
            let begun = Instant::now();
            let Some(sample) = self.undisturbed(tokens).await? else { return Ok(Went::Disturbed) };
            self.spent += begun.elapsed();
            self.samples.push(sample);
            self.waits_since = None;
        }
        let bucket = Bucket::of(tokens, &self.samples);
        self.measured.put(bucket.clone());
        self.keep().await;
        Ok(Went::Done(Some(Told::Bucket(BenchBucket {
            tokens,
            prompt_tokens: bucket.prompt_tokens,
            runs: bucket.runs,
            prefill_tok_s: bucket.prefill_tok_s,
            decode_tok_s: bucket.decode_tok_s,
            first_token_s: bucket.first_token_s,
            texts_s: bucket.texts_s,
            left_out: String::new(),
            to_come: self.to_come(),
        }))))
    }

    /// Lengths behind the one that is measured.
    fn to_come(&self) -> u32 {
        u32::try_from(self.steps.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    fn too_long(&self, tokens: u32) -> Option<Duration> {
        let shorter = self.measured.buckets.iter().rfind(|bucket| bucket.tokens < tokens);
        let limit = self.core.config.load().limits.first_token;
        (self.used == Use::Writes).then(|| measure::is_too_long(tokens, shorter, limit)).flatten()
    }

    /// What was measured before is of use as well, when the disk is full.
    async fn keep(&mut self) {
        self.measured.at_ms = unix_ms();
        let kept = kept::keep(&self.core.benching.kept, &self.port.id, &self.model.id, &self.measured).await;
        if let Err(error) = kept {
            tracing::warn!(worker = %self.port.id, model = self.model.name, error = ?error, "could not keep a speed");
        }
    }

    /// One ask; `None` when a client came, whose ask the engine is free for then.
    async fn undisturbed(&mut self, tokens: u32) -> Result<Option<Sample>> {
        let bytes = (f64::from(tokens) * self.bytes_per_token) as usize;
        let until = Instant::now() + ASK_WITHIN;
        let asked = async {
            let asked = tokio::time::timeout_at(until.into(), self.ask(tokens, bytes, until)).await;
            asked.unwrap_or_else(|_| {
                let within = units::format_duration(ASK_WITHIN);
                Err(Fault::new(Code::DeadlineExceeded, format!("no answer to {tokens} tokens within {within}"))
                    .hint("the model is too slow at this worker for such prompts"))
            })
        };
        let Some(sample) = alone(&self.port, 1, asked).await? else { return Ok(None) };
        if let Some(counted) = sample.prompt_tokens.filter(|counted| *counted >= 1.0) {
            // What the template adds counts as well, so a prompt is rather shorter than wanted, and fits.
            self.bytes_per_token = (bytes as f64 / counted).clamp(1.0, 16.0);
        }
        Ok(Some(sample))
    }

    async fn ask(&self, tokens: u32, bytes: usize, until: Instant) -> Result<Sample> {
        let ask = self.make_ask(tokens, bytes, until);
        let answer = self.port.run(&ask, &self.model.engine.name, &self.model.id, None).await?;
        let mut frames = answer.frames;
        while let Some(frame) = next_frame(&mut frames).await {
            frame?;
        }
        let summary = frames.summary().ok_or_else(|| {
            Fault::new(Code::EngineFailed, format!("worker `{}` ended an answer without saying so", self.port.id))
                .hint("look at the engine's log")
        })?;
        Ok(match self.used {
            Use::Writes => Sample::of_answer(&summary),
            Use::Embeds => Sample::of_vectors(&summary, measure::texts(tokens)),
        })
    }

    fn make_ask(&self, tokens: u32, bytes: usize, until: Instant) -> Ask {
        let text = || measure::prompt(fastrand::u64(..), bytes);
        let name = &self.model.engine.name;
        let (dialect, body, prompt_tokens) = match self.used {
            Use::Writes => {
                let body = json!({"model": name, "stream": true, "stream_options": {"include_usage": true},
                    "temperature": 0, "max_tokens": self.answer_tokens,
                    "messages": [{"role": "user", "content": text()}]});
                (Dialect::OpenAiChat, body, tokens)
            }
            Use::Embeds => {
                let texts: Vec<String> = (0..measure::texts(tokens)).map(|_| text()).collect();
                let body = json!({"model": name, "input": texts});
                (Dialect::OpenAiEmbeddings, body, tokens * measure::texts(tokens))
            }
        };
        let writes = self.used == Use::Writes;
        let head = AskHead {
            face: Face::Internal,
            priority: Priority::Batch,
            model: self.model.name.as_str().into(),
            stream: writes,
            wants_usage_chunk: writes,
            sampling: Sampling::Deterministic,
            prompt_tokens,
            max_output_tokens: writes.then_some(self.answer_tokens),
            client: "bench".into(),
            grant: None,
            ..AskHead::plain(dialect, Deadline::after(Instant::now(), until.saturating_duration_since(Instant::now())))
        };
        Ask { head, body: Bytes::from(body.to_string()) }
    }
}

/// Does the work while the worker has nothing else to do than `own` asks; `None` when something came.
async fn alone<T>(port: &Port, own: u32, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    let disturbed = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (busy, queued) = port.gate.counts();
            if busy.saturating_add(queued) > own {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        done = work => done.map(Some),
        () = disturbed => Ok(None),
    }
}
