//! The answer on the wire: what every dialect's encoder can do, and the facts that they all report.

mod anthropic;
mod ollama;
mod openai;

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::fake::ask::{Ask, Form};
use crate::fake::refusal::Refusal;
use crate::fake::speak::Speak;

/// The moment that every answer claims to be from, in Unix seconds: answers repeat to the byte but for their ids.
pub const CREATED_S: u64 = 1_769_860_800;
/// The same moment as Ollama writes it.
pub const CREATED_AT: &str = "2026-01-31T12:00:00.000000Z";

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was complete.
    Stop,
    /// A limit cut it.
    Length,
    /// It calls a tool.
    Call,
}

/// What is known of an answer at its end.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Why it ended.
    pub reason: Reason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were read before.
    pub cached_tokens: usize,
    /// Tokens of the answer.
    pub answer_tokens: usize,
    /// Time spent on loading the model.
    pub load: Duration,
    /// Time from the start of the ask to the first token, without the load.
    pub prefill: Duration,
    /// Time from the first token to the last.
    pub decode: Duration,
}

/// Writes one answer in one dialect.
pub trait Encoder: Send {
    /// `Content-Type` of the stream.
    fn content_type(&self) -> &'static str;
    /// Frames before the first token.
    fn open(&mut self) -> Vec<Bytes>;
    /// The frame of a token that is thought; for an answer in one piece, all of it, before [`Self::whole`].
    fn thought(&mut self, _token: &str) -> Bytes {
        Bytes::new()
    }
    /// The frame of a token; empty when the dialect keeps it for the end.
    fn token(&mut self, token: &str) -> Bytes;
    /// Frames behind the last token.
    fn close(&mut self, done: &Done) -> Vec<Bytes>;
    /// The frame of an error inside the stream.
    fn error(&self, refusal: &Refusal) -> Bytes;
    /// The answer in one piece.
    fn whole(&mut self, text: &str, done: &Done) -> Value;
    /// A frame that claims to be one of this dialect and is not JSON.
    fn junk(&self) -> Bytes {
        Bytes::from_static(b"data: <<<this is not JSON>>>\n\n")
    }
}

/// The encoder for `ask`; `model` is the name that the answer carries.
pub fn encoder(speak: Speak, ask: &Ask, model: &str) -> Box<dyn Encoder> {
    match ask.form {
        Form::OllamaChat | Form::OllamaGenerate => Box::new(ollama::Ollama::new(speak, ask, model)),
        Form::Messages => Box::new(anthropic::Messages::new(speak, ask, model)),
        Form::LlamaCompletion => Box::new(openai::LlamaCompletion::new(ask, model)),
        Form::Chat if speak == Speak::Perplexity => Box::new(openai::Perplexity::new(ask, model)),
        Form::Chat | Form::Completion => Box::new(openai::OpenAi::new(speak, ask, model)),
    }
}

/// An SSE frame without a name.
fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

/// A text as JSON writes it, with its quotes.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// An id that no other answer has.
fn unique(prefix: &str) -> String {
    format!("{prefix}{:016x}", fastrand::u64(..))
}

/// What stands in front of the answer because the engine repeats its prefill.
fn echo(ask: &Ask) -> String {
    if ask.is_echoed { ask.prefill.clone() } else { String::new() }
}
