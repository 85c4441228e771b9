//! Engines as their worker drives them: what they offer, whether they live, and how an ask is put to them.
//!
//! One file per backend holds what is special about it: a constant table of [`Traits`], its lists of models, its ways to
//! load and unload. What they share (asking over HTTP, probing, starting a run) is in [`Link`].

mod anthropic;
mod discover;
pub mod engine;
mod fake;
mod http;
mod json;
mod link;
mod llamacpp;
mod llamacpp_python;
mod lmstudio;
mod localai;
mod ollama;
mod openai;
mod perplexity;
mod pull;
#[cfg(test)]
mod tests;
mod traits;
mod vllm;
mod webui;

use std::time::{Duration, Instant};

use base::report::{Backend as Kind, Capability};
use base::{Ask, BoxFrames, BoxFuture, Code, Continuation, Fault, Result};

use crate::http1::{Dial, Endpoint, Pool};
use crate::process::EngineEnd;
use crate::wire::KeepWish;

use http::Http;

pub use discover::{Found, discover};
pub use link::Link;
pub use pull::{PullProgress, Pulling};
pub use traits::{Loading, Traits};

/// One engine.
pub trait Backend: Send + Sync {
    /// The way to it, where it is spoken to over HTTP.
    fn link(&self) -> Option<&Link> {
        None
    }

    /// Every model that it offers, loaded or not.
    fn models(&self, until: Instant) -> BoxFuture<'_, Result<Vec<EngineModel>>>;

    /// Whether it can take asks now.
    fn health(&self) -> BoxFuture<'_, Health>;

    /// Brings a model into memory, for `keep` after its last use or until it is unloaded. Nothing to do where the engine
    /// has its models loaded always, or loads them as they are asked for and in no other way.
    fn load<'a>(&'a self, model: &'a str, keep: Option<Duration>, until: Instant) -> BoxFuture<'a, Result<()>>;

    /// Takes a model out of memory.
    fn unload<'a>(&'a self, model: &'a str, until: Instant) -> BoxFuture<'a, Result<()>>;

    /// Lets it fetch a model from outside the house; `until` is for its first word.
    fn pull<'a>(&'a self, _model: &'a str, _until: Instant) -> BoxFuture<'a, Result<Pulling>> {
        Box::pin(async { Err(not_by_this("pull a model")) })
    }

    /// Makes a model out of another.
    fn create<'a>(&'a self, _model: &'a NewModel, _until: Instant) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(not_by_this("create a model")) })
    }

    /// Puts an ask to it, and returns once it began to answer well.
    fn start<'a>(&'a self, run: Run<'a>) -> BoxFuture<'a, Result<Started>>;

    /// Looks after what it runs by itself, and tells what ended since the last time.
    fn tend(&self) -> BoxFuture<'_, Vec<Incident>> {
        Box::pin(async { Vec::new() })
    }

    /// Ends what it runs by itself; `force` is at once.
    fn end(&self, _force: bool) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// How long a model of `bytes` may load at most, wherever it lies.
pub fn load_within(bytes: u64) -> Duration {
    const LEAST: Duration = Duration::from_secs(300);
    const PER_GIB: Duration = Duration::from_secs(20);
    LEAST + PER_GIB.mul_f64(bytes as f64 / f64::from(1 << 30))
}

fn not_by_this(what: &str) -> Fault {
    Fault::new(Code::NotSupported, format!("this engine cannot {what}")).hint("use a worker whose engine can")
}

/// A process of a backend that ended without having been told to.
#[derive(Clone, Debug)]
pub struct Incident {
    /// What it ran.
    pub model: String,
    /// How it ended.
    pub end: EngineEnd,
    /// How long it is left alone, when it ended too often.
    pub quarantine: Option<Duration>,
}

/// An ask that only says how long a model is to stay: done here, without a word to the engine.
async fn keep(backend: &impl Backend, wish: KeepWish, run: &Run<'_>) -> Result<Started> {
    let until = run.until(Instant::now());
    match wish {
        KeepWish::Load => backend.load(run.engine_model, None, until).await?,
        KeepWish::Unload => backend.unload(run.engine_model, until).await?,
    }
    let head = &run.ask.head;
    let content_type = head.dialect.content_type(head.stream);
    Ok(Started { content_type, frames: Box::new(wish.done(run.ask)) })
}

/// A model as one engine lists it; what it does not tell is zero, empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineModel {
    /// What the engine calls it.
    pub name: String,
    /// `sha256:…` of its weights, the identity that is the same on every engine.
    pub digest: Option<String>,
    /// Size of its file.
    pub size_bytes: u64,
    /// Memory that it takes: as measured by the engine while it is loaded, else as it was estimated.
    pub memory_bytes: u64,
    /// Length of its context: the one it is loaded with, else the longest possible.
    pub context_tokens: u32,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Whether it is in memory.
    pub is_loaded: bool,
}

/// A model that is to be made out of another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewModel {
    /// What it will be called.
    pub name: String,
    /// The model that it is made of, by the engine's name.
    pub from: String,
    /// What stands before its chats; nothing of its own when empty.
    pub system: String,
    /// Settings by the names that Ollama made known.
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

/// What a probe of an engine came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It takes asks.
    Up,
    /// It lives, but loads a model and takes none yet.
    Loading,
    /// It did not answer the probe in time while it worked on asks: not dead.
    Busy,
    /// It cannot be used, and why.
    Down(String),
}

/// One attempt of an ask on an engine.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The ask, as the client sent it.
    pub ask: &'a Ask,
    /// What this engine calls the model.
    pub engine_model: &'a str,
    /// Length of the model's context here; 0 when not known.
    pub context_tokens: u32,
    /// What the client holds already, when an earlier run was cut.
    pub continuation: Option<&'a Continuation>,
    /// Longest wait for the beginning of a stream; an answer that is no stream has the time that its ask has.
    pub first_token: Duration,
    /// Most bytes of an answer that is no stream.
    pub most_whole: usize,
}

/// An answer that has begun.
pub struct Started {
    /// Of the body.
    pub content_type: &'static str,
    /// The bytes, in the dialect of the ask.
    pub frames: BoxFrames,
}

impl Run<'_> {
    /// Until when the engine must have begun to answer.
    fn until(&self, now: Instant) -> Instant {
        let deadline = self.ask.head.deadline.instant();
        if self.ask.head.stream { deadline.min(now + self.first_token) } else { deadline }
    }
}

/// The engine of kind `kind`, any but the built-in one, behind `dial`, with the key that it wants; `name` is what messages call it.
pub fn open(kind: Kind, name: &str, endpoint: Endpoint, key: Option<&str>, dial: Dial) -> Result<Box<dyn Backend>> {
    let endpoint = match (kind, key) {
        (Kind::Anthropic, key) => {
            let versioned = endpoint.header("anthropic-version", anthropic::VERSION)?;
            key.map_or(Ok(versioned.clone()), |key| versioned.header("x-api-key", key))?
        }
        (_, Some(key)) => endpoint.header("Authorization", &format!("Bearer {key}"))?,
        (_, None) => endpoint,
    };
    let link = |traits| Link::new(Pool::new(name, endpoint, dial), traits);
    Ok(match kind {
        Kind::Ollama => Box::new(ollama::Ollama::new(link(&ollama::TRAITS))),
        Kind::OpenAi => Box::new(openai::OpenAi(link(&openai::TRAITS))),
        Kind::LmStudio => Box::new(lmstudio::LmStudio(link(&lmstudio::TRAITS))),
        Kind::LocalAi => Box::new(localai::LocalAi(link(&localai::TRAITS))),
        Kind::WebUi => Box::new(webui::WebUi(link(&webui::TRAITS))),
        Kind::Vllm => Box::new(vllm::Vllm(link(&vllm::TRAITS))),
        Kind::LlamaCpp => Box::new(llamacpp::LlamaCpp::new(link(&llamacpp::TRAITS))),
        Kind::LlamaCppPython => Box::new(llamacpp_python::LlamaCppPython::new(link(&llamacpp_python::TRAITS))),
        Kind::Anthropic => Box::new(anthropic::Anthropic(link(&anthropic::TRAITS))),
        Kind::Perplexity => Box::new(perplexity::Perplexity(link(&perplexity::TRAITS))),
        Kind::Fake => Box::new(ollama::Ollama::new(link(&fake::TRAITS))),
        Kind::Engine => return Err(Fault::internal(format!("worker `{name}`: the built-in engine has no address"))),
    })
}
