//! Asks and the answers that the fake engine must give to them.

use serde_json::{Value, json};
use tests::client::{Stream, Told};
use tests::fake::text::{self, render};

use super::MODEL;

/// A way to ask for a stream of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// OpenAI's chat.
    Chat,
    /// OpenAI's completion of a raw prompt.
    Completion,
    /// Ollama's chat.
    OllamaChat,
    /// Ollama's completion of a raw prompt.
    OllamaRaw,
}

impl Face {
    /// Where it is asked.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completion => "/v1/completions",
            Self::OllamaChat => "/api/chat",
            Self::OllamaRaw => "/api/generate",
        }
    }

    /// The body of a streamed ask.
    pub fn body(self, prompt: &str) -> Value {
        let messages = json!([{"role": "user", "content": prompt}]);
        match self {
            Self::Chat => json!({"model": MODEL, "stream": true, "messages": messages}),
            Self::Completion => json!({"model": MODEL, "stream": true, "prompt": prompt, "max_tokens": 60}),
            Self::OllamaChat => json!({"model": MODEL, "messages": messages}),
            Self::OllamaRaw => json!({"model": MODEL, "prompt": prompt, "raw": true}),
        }
    }

    /// The whole answer to that body.
    pub fn answer(self, prompt: &str) -> String {
        match self {
            Self::Chat | Self::OllamaChat => expected(prompt),
            Self::Completion | Self::OllamaRaw => text::expected(prompt, 60),
        }
    }
}

/// The answer of 60 tokens to one message.
pub fn expected(prompt: &str) -> String {
    text::expected(&render(&[("user", prompt)]), 60)
}

/// A chat of one message.
pub fn chat(prompt: &str, stream: bool) -> Value {
    json!({"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}

/// A chat of one message that is always answered alike.
pub fn deterministic(prompt: &str) -> Value {
    json!({"model": MODEL, "temperature": 0, "messages": [{"role": "user", "content": prompt}]})
}

/// Reads until `told` has `count` pieces of text.
pub async fn pieces(stream: &mut Stream, told: &mut Told, count: usize) {
    while told.pieces < count {
        let frame = stream.next().await.unwrap();
        told.note(&frame.unwrap_or_else(|| panic!("the stream ended after {} pieces: {told:?}", told.pieces)));
    }
}
