//! `taskmaster.engine.v1` over the computing thread: checks what is asked, tokenises it, and passes on what comes back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base::{Code, Fault, Result};
use futures_util::Stream;
use llama_cpp_2::token::LlamaToken;
use proto::engine::engine_server::{Engine, EngineServer};
use proto::engine::{
    DrainRequest, DrainResponse, EmbedRequest, EmbedResponse, GenerateRequest, GenerateResponse, InfoRequest,
    InfoResponse, RerankRequest, RerankResponse, Task, TokenizeRequest, TokenizeResponse, Vector, WatchRequest,
    WatchResponse, generate_request::Prompt,
};
use proto::to_status;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::decode::{self, run::Run};
use crate::embed::{self, Job};
use crate::model::{Loaded, too_long};
use crate::pulse::Pulse;
use crate::sampler::{Sampler, is_repeatable};
use crate::template;

/// Asks that wait in front of the computing thread; `tmd` sends no more than there are slots.
const QUEUE: usize = 256;
/// Between signs of life.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// Between looks whether all asks have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// More stop strings than this are no request but an attack; each is looked for after each token.
const MOST_STOPS: usize = 256;
const MOST_STOP_BYTES: usize = 64 << 10;
/// Texts of one call.
const MOST_TEXTS: usize = 4096;

/// The service; clones are the same one.
#[derive(Clone)]
pub struct Service {
    loaded: Arc<Loaded>,
    pulse: Arc<Pulse>,
    worker: Worker,
    is_draining: Arc<AtomicBool>,
    /// Cancelled to end the process.
    ended: CancellationToken,
}

/// The computing thread's inbox, by what the model is for.
#[derive(Clone)]
enum Worker {
    Writes(mpsc::Sender<Run>),
    MakesVectors(mpsc::Sender<Job>),
}

impl Service {
    /// Starts the computing thread; when it ends, so does the process.
    pub fn start(loaded: Arc<Loaded>, ended: CancellationToken) -> Result<Self> {
        let pulse = Arc::new(Pulse::new(loaded.context_tokens));
        let (made, is_made) = oneshot::channel();
        let (thread_loaded, thread_pulse, ends) = (loaded.clone(), pulse.clone(), ended.clone().drop_guard());
        let (worker, body): (_, Box<dyn FnOnce() + Send>) = if loaded.task == Task::Generate {
            let (asks, inbox) = mpsc::channel(QUEUE);
            (Worker::Writes(asks), Box::new(move || decode::run(&thread_loaded, inbox, thread_pulse, made)))
        } else {
            let (jobs, inbox) = mpsc::channel(QUEUE);
            (Worker::MakesVectors(jobs), Box::new(move || embed::run(&thread_loaded, inbox, &thread_pulse, made)))
        };
        let spawned = std::thread::Builder::new().name("compute".into()).stack_size(crate::STACK).spawn(move || {
            let _ends = ends;
            body();
        });
        spawned.map_err(|error| Fault::internal("could not start the computing thread").because(error))?;
        tokio::task::block_in_place(|| is_made.blocking_recv())
            .map_err(|_| Fault::internal("the computing thread ended at once"))??;
        Ok(Self { loaded, pulse, worker, is_draining: Arc::default(), ended })
    }

    /// As a server that takes messages of at most `most` bytes.
    pub fn into_server(self, most: usize) -> EngineServer<Self> {
        EngineServer::new(self).max_decoding_message_size(most).max_encoding_message_size(most)
    }

    /// Takes nothing new, and returns when nothing runs any more or `within` is over; gives how many asks still ran.
    pub async fn drain(&self, within: Duration) -> u32 {
        self.is_draining.store(true, Ordering::Relaxed);
        let until = Instant::now() + within;
        loop {
            let left = self.pulse.slots_busy.load(Ordering::Relaxed) + self.pulse.queued.load(Ordering::Relaxed);
            if left == 0 || Instant::now() >= until {
                return left;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    fn check_open(&self) -> Result<()> {
        if !self.is_draining.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Fault::unavailable("the engine is about to end and takes nothing new").hint("ask another worker"))
    }

    /// Tokenises and renders beside the runtime: a long prompt takes milliseconds.
    async fn beside<T: Send + 'static>(&self, work: impl FnOnce(&Loaded) -> Result<T> + Send + 'static) -> Result<T> {
        let loaded = self.loaded.clone();
        let done = tokio::task::spawn_blocking(move || work(&loaded)).await;
        done.map_err(|error| Fault::internal("could not prepare the ask").because(error))?
    }

    async fn begin(&self, asked: GenerateRequest) -> Result<ReceiverStream<Result<GenerateResponse, Status>>> {
        self.check_open()?;
        self.loaded.require(Task::Generate)?;
        let Worker::Writes(asks) = &self.worker else {
            return Err(Fault::internal("a model that writes has no thread for it"));
        };
        let (answers, stream) = mpsc::channel(decode::run::ANSWERS_AHEAD);
        let run = self.beside(move |loaded| prepare(loaded, asked, answers)).await?;
        asks.try_send(run).map_err(|_| {
            Fault::new(Code::Overloaded, "too many asks wait in front of the engine").hint("ask again in a moment")
        })?;
        Ok(ReceiverStream::new(stream))
    }

    async fn vectors(&self, texts: Vec<Vec<LlamaToken>>) -> Result<Vec<Vec<f32>>> {
        let Worker::MakesVectors(jobs) = &self.worker else {
            return Err(Fault::internal("a model that makes vectors has no thread for it"));
        };
        let (answer, answered) = oneshot::channel();
        let full =
            || Fault::new(Code::Overloaded, "too many texts wait for their vectors").hint("ask again in a moment");
        jobs.try_send(Job { texts, answer }).map_err(|_| full())?;
        answered.await.map_err(|_| Fault::new(Code::EngineCut, "the engine ended").hint("ask again"))?
    }

    async fn embed(&self, asked: EmbedRequest) -> Result<EmbedResponse> {
        self.check_open()?;
        self.loaded.require(Task::Embed)?;
        check_count(asked.texts.len())?;
        let (texts, cut) = self.beside(move |loaded| tokens_of_texts(loaded, &asked)).await?;
        let prompt_tokens = texts.iter().map(Vec::len).sum::<usize>();
        let vectors = self.vectors(texts).await?;
        let vectors = vectors.into_iter().map(|values| Vector { values: of_length_one(values) }).collect();
        Ok(EmbedResponse { vectors, prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX), cut })
    }

    async fn rerank(&self, asked: RerankRequest) -> Result<RerankResponse> {
        self.check_open()?;
        self.loaded.require(Task::Rerank)?;
        check_count(asked.documents.len())?;
        let texts = self.beside(move |loaded| tokens_of_pairs(loaded, &asked)).await?;
        let prompt_tokens = texts.iter().map(Vec::len).sum::<usize>();
        let vectors = self.vectors(texts).await?;
        let scores = vectors.iter().map(|vector| vector.first().copied().unwrap_or(f32::NEG_INFINITY)).collect();
        Ok(RerankResponse { scores, prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX) })
    }
}

/// An ask as the computing thread takes it.
fn prepare(
    loaded: &Loaded,
    asked: GenerateRequest,
    answers: mpsc::Sender<Result<GenerateResponse, Status>>,
) -> Result<Run> {
    let stop_bytes = asked.stop.iter().map(String::len).sum::<usize>();
    if asked.stop.len() > MOST_STOPS || stop_bytes > MOST_STOP_BYTES {
        return Err(Fault::invalid(format!("{} stop strings of {stop_bytes} bytes are too many", asked.stop.len()))
            .hint(format!("give at most {MOST_STOPS}, of {MOST_STOP_BYTES} bytes together")));
    }
    let grammar = match (&loaded.grammars, asked.schema_json.as_str()) {
        (_, "") => None,
        (Some(grammars), schema) => Some(grammars.grammar(schema)?),
        (None, _) => return Err(Fault::internal("the vocabulary was not prepared for schemas")),
    };
    let sampling = asked.sampling.unwrap_or_default();
    let sampler = Sampler::new(&sampling, loaded.model.n_vocab(), loaded.context_tokens, grammar)?;
    let mut prompt = match asked.prompt {
        Some(Prompt::Chat(chat)) => template::prompt_of(loaded, &chat)?,
        Some(Prompt::Raw(text)) => loaded.tokenize(&text, true, true)?,
        None => return Err(Fault::invalid("the ask has no prompt").hint("give `chat` or `raw`")),
    };
    prompt.extend(loaded.draft_of(asked.begun.as_bytes()));
    if prompt.is_empty() {
        // There must be one token to go on from.
        prompt.push(loaded.model.vocab().bos());
    }
    let draft = loaded.draft_of(asked.continue_from.as_bytes());
    let replayed = if is_repeatable(&sampling) { asked.continue_from } else { String::new() };
    let until = (asked.within_ms > 0).then(|| Instant::now() + Duration::from_millis(asked.within_ms));
    let most_tokens = (asked.max_tokens > 0).then_some(asked.max_tokens as usize);
    let parts = decode::run::Parts { prompt, draft, replayed, most_tokens, until, sampler, stop: asked.stop, answers };
    Run::new(parts, loaded.context_tokens as usize)
}

fn check_count(texts: usize) -> Result<()> {
    if (1..=MOST_TEXTS).contains(&texts) {
        return Ok(());
    }
    Err(Fault::invalid(format!("{texts} texts in one call")).hint(format!("give between 1 and {MOST_TEXTS}")))
}

fn tokens_of_texts(loaded: &Loaded, asked: &EmbedRequest) -> Result<(Vec<Vec<LlamaToken>>, Vec<u32>)> {
    let most = loaded.context_tokens as usize;
    let mut cut = Vec::new();
    let mut texts = Vec::with_capacity(asked.texts.len());
    for (place, text) in (0..).zip(&asked.texts) {
        let mut tokens = loaded.tokenize(text, true, false)?;
        if tokens.is_empty() {
            return Err(Fault::invalid(format!("text {place} has no tokens")).hint("leave empty texts out"));
        }
        if tokens.len() > most {
            if asked.refuse_long {
                return Err(too_long(&format!("text {place} with {} tokens", tokens.len()), loaded.context_tokens));
            }
            let last = tokens.last().copied();
            tokens.truncate(most.saturating_sub(1));
            tokens.extend(last);
            cut.push(place);
        }
        texts.push(tokens);
    }
    Ok((texts, cut))
}

/// Query and document in one text, with the marks between them that the vocabulary says.
fn tokens_of_pairs(loaded: &Loaded, asked: &RerankRequest) -> Result<Vec<Vec<LlamaToken>>> {
    let vocabulary = loaded.model.vocab();
    let mark = |is_wanted: bool, token: LlamaToken| (is_wanted && token.0 >= 0).then_some(token);
    let end = if vocabulary.eos().0 >= 0 { vocabulary.eos() } else { vocabulary.sep() };
    let query = loaded.tokenize(&asked.query, false, false)?;
    let most = loaded.context_tokens as usize;
    let mut pairs = Vec::with_capacity(asked.documents.len());
    for (place, document) in asked.documents.iter().enumerate() {
        let mut pair: Vec<LlamaToken> = mark(vocabulary.should_add_bos(), vocabulary.bos()).into_iter().collect();
        pair.extend_from_slice(&query);
        pair.extend(mark(vocabulary.should_add_eos(), end));
        pair.extend(mark(vocabulary.should_add_sep(), vocabulary.sep()));
        pair.extend(loaded.tokenize(document, false, false)?);
        pair.extend(mark(vocabulary.should_add_eos(), end));
        if pair.len() > most {
            let what = format!("document {place} with the query, {} tokens,", pair.len());
            return Err(too_long(&what, loaded.context_tokens));
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

fn of_length_one(mut values: Vec<f32>) -> Vec<f32> {
    let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    values
}

fn refuse(fault: Fault) -> Status {
    to_status(&fault)
}

#[tonic::async_trait]
impl Engine for Service {
    type GenerateStream = ReceiverStream<Result<GenerateResponse, Status>>;
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(self.loaded.info()))
    }

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        self.begin(request.into_inner()).await.map(Response::new).map_err(refuse)
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        Service::embed(self, request.into_inner()).await.map(Response::new).map_err(refuse)
    }

    async fn rerank(&self, request: Request<RerankRequest>) -> Result<Response<RerankResponse>, Status> {
        Service::rerank(self, request.into_inner()).await.map(Response::new).map_err(refuse)
    }

    async fn tokenize(&self, request: Request<TokenizeRequest>) -> Result<Response<TokenizeResponse>, Status> {
        let asked = request.into_inner();
        let tokens = self.beside(move |loaded| loaded.tokenize(&asked.text, false, asked.is_special)).await;
        let tokens = tokens.map_err(refuse)?.into_iter().map(|token| token.0.cast_unsigned()).collect();
        Ok(Response::new(TokenizeResponse { tokens }))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let signs =
            futures_util::stream::unfold(self.pulse.clone(), |pulse| async move { Some((Ok(pulse.report()), pulse)) });
        let timer = tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(WATCH_EVERY));
        let signs = futures_util::StreamExt::zip(timer, signs);
        Ok(Response::new(Box::pin(futures_util::StreamExt::map(signs, |(_, sign)| sign))))
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        let ended = Service::drain(self, Duration::from_millis(request.into_inner().within_ms)).await;
        // The answer goes out first; what is cut off by the end of the process sees its connection break.
        let (token, answered) = (self.ended.clone(), Duration::from_millis(50));
        let until = tokio::time::Instant::now() + answered;
        tokio::task::spawn_blocking(move || {
            std::thread::sleep(until.saturating_duration_since(tokio::time::Instant::now()));
            token.cancel();
        });
        Ok(Response::new(DrainResponse { ended }))
    }
}
