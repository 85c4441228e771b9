//! Dialects: everything about the bytes that engines and clients exchange. Pure and incremental, no sockets.
//!
//! Where the client and the engine speak the same dialect, bytes go through as they came, with splices only
//! ([`splice`], [`pass`]). Where they do not, a request becomes a neutral [`prompt`] and an answer becomes events
//! ([`Decoder`]) that a renderer writes anew. A continued answer is always written anew, so that it can carry the id
//! that its client saw first.

mod answer;
mod called;
mod chunk;
mod decode;
mod embed;
mod fault;
mod keep;
pub mod native;
mod pass;
mod promise;
mod prompt;
mod render;
mod request;
mod shape;
mod splice;
#[cfg(test)]
pub(crate) mod tests;

use base::{Dialect, Fault, Result};
use bytes::Bytes;
use serde::de::DeserializeOwned;

pub use answer::{AnswerFrames, AnswerSpec, answer};
pub(crate) use called::Called;
pub use decode::{Decoder, events};
pub(crate) use fault::cut;
pub use fault::{engine_fault, error_event};
pub(crate) use keep::KeepWish;
pub use promise::{Promise, Streamed};
pub(crate) use render::{Renderer, Shown};
pub use request::request;

/// An event (or a line) of a stream that is longer than this is junk: no engine sends one, and it must be held whole.
pub const MAX_EVENT_BYTES: usize = 1 << 20;
/// An answer that is no stream may be this long where nobody says less (`limits.answer`); lists of embeddings are the
/// longest ones.
pub const MAX_WHOLE_BYTES: usize = 64 << 20;

/// How an engine can be made to continue a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContinueBy {
    /// It cannot: it starts a new turn, or nothing is known.
    Never,
    /// A last message of the assistant is continued.
    TrailingAssistant {
        /// Whether the answer repeats that message first (llama-server does).
        echoes: bool,
    },
    /// As above, with `continue_final_message: true` and `add_generation_prompt: false` (vLLM).
    VllmFlags,
    /// As above, with `continue_: true` (text-generation-webui).
    WebUiFlag,
    /// The prompt is raw text, so the answer so far is simply put behind it.
    RawPrompt,
}

impl ContinueBy {
    /// Whether the continued answer begins with the text so far.
    pub const fn echoes(self) -> bool {
        matches!(self, Self::TrailingAssistant { echoes: true })
    }
}

/// In which form of `response_format` an OpenAI-like engine takes a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaBy {
    /// In any of OpenAI's forms.
    #[default]
    Any,
    /// Only as `json_object` with a `schema` beside it (llama-cpp-python fails on `json_schema`).
    JsonObject,
    /// Only as `json_schema` (LM Studio refuses `json_object`).
    JsonSchema,
}

/// Where an engine departs from its dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// The form of `response_format` that it takes.
    pub schema_by: SchemaBy,
    /// Sampling hints that it refuses, by their name at the top level of the body.
    pub drops: &'static [&'static str],
}

/// The engine that a request is made for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// What it speaks for this ask.
    pub dialect: Dialect,
    /// What it calls the model.
    pub engine_model: &'a str,
    /// How it continues a text.
    pub continue_by: ContinueBy,
    /// Length of the model's context there; 0 when not known.
    pub context_tokens: u32,
    /// Where it departs from its dialect.
    pub quirks: Quirks,
}

/// A request as the engine takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineRequest {
    /// Where to post it, below the engine's base URL.
    pub path: &'static str,
    /// The JSON body.
    pub body: Bytes,
    /// What the answer will be in; the target's dialect but for a continued `/api/generate`, which goes to `/api/chat`.
    pub dialect: Dialect,
    /// The tool whose arguments the answer's text will be: it must be called, and its schema is that of the answer.
    pub calls: Option<String>,
}

/// The body of a request, as JSON.
fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        Fault::invalid("could not read the request body as JSON").because(error).hint("send one JSON object")
    })
}

/// Where an engine takes asks of a dialect.
pub const fn path_of(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAiChat => "/v1/chat/completions",
        Dialect::OpenAiResponses => "/v1/responses",
        Dialect::OpenAiCompletions => "/v1/completions",
        Dialect::OpenAiEmbeddings => "/v1/embeddings",
        Dialect::OllamaChat => "/api/chat",
        Dialect::OllamaGenerate => "/api/generate",
        Dialect::OllamaEmbed => "/api/embed",
        Dialect::OllamaEmbeddings => "/api/embeddings",
        Dialect::AnthropicMessages => "/v1/messages",
        Dialect::Rerank => "/v1/rerank",
    }
}

/// Whether a stream of the dialect consists of lines; the others are server-sent events.
pub(crate) const fn is_lines(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::OllamaChat | Dialect::OllamaGenerate)
}

/// What closes a stream after its finishing event; empty where that event is the end already.
pub(crate) const fn terminator(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => b"data: [DONE]\n\n",
        Dialect::AnthropicMessages => b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        _ => b"",
    }
}

/// Whether a stream that ends with `tail` ended as its dialect ends. Looks at the last event only.
pub(crate) fn is_ended(dialect: Dialect, tail: &[u8]) -> bool {
    let tail = tail.trim_ascii_end();
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => tail.ends_with(b"[DONE]"),
        Dialect::AnthropicMessages => tail.ends_with(b"\"message_stop\"}") || tail.ends_with(b"\"message_stop\" }"),
        _ => {
            let line = memchr::memrchr(b'\n', tail).map_or(tail, |at| tail.get(at + 1..).unwrap_or_default());
            let line = line.strip_prefix(b"data: ").unwrap_or(line);
            chunk::read(dialect, line).is_ok_and(|chunk| chunk.is_last)
        }
    }
}
