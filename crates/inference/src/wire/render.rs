//! Events to bytes of a client's dialect, as a stream or as one body.
//!
//! A renderer that continues an answer writes under the id, model and time that its client saw first, begins nothing
//! a second time, and counts what was given before as part of the whole.

use std::time::{Duration, Instant};

use base::{Continuation, Dialect, Event, Finish, Usage};
use serde_json::Value;

mod anthropic;
mod ollama;
mod openai;
mod responses;

/// What the client is to see around the events.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// What it speaks.
    pub dialect: Dialect,
    /// Whether it gets a stream.
    pub stream: bool,
    /// Whether it asked for OpenAI's extra chunk with the counts.
    pub wants_usage_chunk: bool,
    /// The model's name.
    pub model: String,
    /// Estimate for engines that do not count, in tokens.
    pub prompt_tokens: u32,
    /// When the request was sent.
    pub started: Instant,
    /// What the client holds already.
    pub continuation: Option<Continuation>,
}

/// Writes an answer.
pub(crate) struct Renderer {
    dialect: Dialect,
    stream: bool,
    wants_usage_chunk: bool,
    id: String,
    model: String,
    created_s: u64,
    prompt_tokens: u32,
    started: Instant,
    first: Option<Duration>,
    /// What was given before: tokens that the engine now counts as prompt, and tokens of the answer.
    before: Before,
    is_begun: bool,
    /// Of an answer that is no stream: all of it.
    text: String,
    thinking: String,
    calls: Vec<Call>,
    blocks: anthropic::Blocks,
    items: responses::Items,
    usage: Option<Usage>,
    events: u32,
    finish: Option<Finish>,
}

#[derive(Clone, Copy, Default)]
struct Before {
    as_prompt: u32,
    tokens: u32,
    drops_thinking: bool,
}

/// A tool call, as far as it came.
#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Call {
    /// The arguments as an object; text that is none is shown as it is.
    fn arguments_value(&self) -> Value {
        match self.arguments.trim() {
            "" => Value::Object(serde_json::Map::new()),
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        }
    }
}

impl Renderer {
    /// Nothing is written before the first event.
    pub(crate) fn new(shown: Shown) -> Self {
        let is_begun = shown.stream && shown.continuation.is_some();
        // The end of a response tells all of it once more.
        let keeps_text = !shown.stream || shown.dialect == Dialect::OpenAiResponses;
        let held = shown.continuation.unwrap_or_default();
        let or = |given: String, other: &dyn Fn() -> String| if given.is_empty() { other() } else { given };
        let before = Before {
            as_prompt: if held.text.is_empty() { 0 } else { held.tokens.saturating_sub(held.thinking_tokens) },
            tokens: held.tokens,
            drops_thinking: !(held.text.is_empty() && held.thinking.is_empty()),
        };
        Self {
            dialect: shown.dialect,
            stream: shown.stream,
            wants_usage_chunk: shown.wants_usage_chunk,
            id: or(held.response_id, &|| new_id(shown.dialect)),
            model: or(held.model, &|| shown.model.clone()),
            created_s: if held.created_s == 0 { base::time::unix_ms() / 1000 } else { held.created_s },
            prompt_tokens: shown.prompt_tokens,
            started: shown.started,
            first: None,
            before,
            is_begun,
            blocks: anthropic::Blocks::behind(&held.text, &held.thinking),
            items: responses::Items::behind(&held.text, &held.thinking, held.tokens, is_begun),
            text: if keeps_text { held.text } else { String::new() },
            thinking: if keeps_text { held.thinking } else { String::new() },
            calls: Vec::new(),
            usage: None,
            events: 0,
            finish: None,
        }
    }

    /// Writes what `event` means. Nothing follows `Done`.
    pub(crate) fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.finish.is_some() {
            return;
        }
        if !self.is_begun && self.stream {
            self.begin(out);
        }
        self.is_begun = true;
        match event {
            Event::Start { .. } | Event::Error(_) => {}
            Event::Text(text) => self.text(text, out),
            Event::Thinking(_) if self.before.drops_thinking => {}
            Event::Thinking(text) => self.thinking(text, out),
            Event::ToolCall { index, id, name, arguments } => self.call(index, id, name, &arguments, out),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done(finish) => {
                self.finish = Some(finish);
                self.end(finish, out);
            }
        }
    }

    /// Whether the end was written.
    pub(crate) fn is_done(&self) -> bool {
        self.finish.is_some()
    }

    /// Why the answer ended.
    pub(crate) fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// Counts of the whole answer, with what the client held before; estimated where the engine did not count.
    pub(crate) fn usage(&self) -> Usage {
        let estimate = Usage { prompt_tokens: self.prompt_tokens, completion_tokens: self.events, cached_tokens: 0 };
        let usage = self.usage.unwrap_or(estimate);
        let as_prompt = if self.usage.is_some() { self.before.as_prompt } else { 0 };
        Usage {
            prompt_tokens: usage.prompt_tokens.saturating_sub(as_prompt),
            completion_tokens: usage.completion_tokens.saturating_add(self.before.tokens),
            cached_tokens: usage.cached_tokens,
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        match self.dialect {
            Dialect::OpenAiChat => openai::begin(self, out),
            Dialect::AnthropicMessages => anthropic::begin(self, out),
            Dialect::OpenAiResponses => responses::begin(self, out),
            _ => {}
        }
    }

    fn text(&mut self, text: String, out: &mut Vec<u8>) {
        self.note_token();
        match self.dialect {
            _ if !self.stream => self.text.push_str(&text),
            Dialect::OpenAiResponses => responses::text(self, &text, out),
            Dialect::AnthropicMessages => anthropic::text(self, &text, out),
            Dialect::OllamaChat | Dialect::OllamaGenerate => ollama::text(self, &text, out),
            _ => openai::text(self, &text, out),
        }
    }

    fn thinking(&mut self, text: String, out: &mut Vec<u8>) {
        self.note_token();
        match self.dialect {
            _ if !self.stream => self.thinking.push_str(&text),
            Dialect::OpenAiResponses => responses::thinking(self, &text, out),
            Dialect::AnthropicMessages => anthropic::thinking(self, &text, out),
            Dialect::OllamaChat | Dialect::OllamaGenerate => ollama::thinking(self, &text, out),
            Dialect::OpenAiChat => openai::thinking(self, &text, out),
            // A completion has no place for reasoning.
            _ => {}
        }
    }

    fn call(&mut self, index: u32, id: Option<String>, name: Option<String>, arguments: &str, out: &mut Vec<u8>) {
        self.note_token();
        let place = index as usize;
        let is_new = place >= self.calls.len();
        if is_new {
            let id = id.unwrap_or_else(|| format!("call_{:016x}", fastrand::u64(..)));
            self.calls.push(Call { id, name: name.unwrap_or_default(), arguments: String::new() });
        }
        let place = place.min(self.calls.len() - 1);
        if let Some(call) = self.calls.get_mut(place) {
            call.arguments.push_str(arguments);
        }
        match self.dialect {
            _ if !self.stream => {}
            Dialect::OpenAiChat => openai::call(self, place, is_new, arguments, out),
            Dialect::OpenAiResponses => responses::call(self, place, is_new, arguments, out),
            Dialect::AnthropicMessages => anthropic::call(self, place, is_new, arguments, out),
            // Ollama's calls are whole objects: written at the end.
            _ => {}
        }
    }

    fn end(&mut self, finish: Finish, out: &mut Vec<u8>) {
        match (self.dialect, self.stream) {
            (Dialect::OllamaChat | Dialect::OllamaGenerate, true) => ollama::end(self, finish, out),
            (Dialect::OllamaChat | Dialect::OllamaGenerate, false) => ollama::whole(self, finish, out),
            (Dialect::AnthropicMessages, true) => anthropic::end(self, finish, out),
            (Dialect::AnthropicMessages, false) => anthropic::whole(self, finish, out),
            (Dialect::OpenAiResponses, true) => responses::end(self, finish, out),
            (Dialect::OpenAiResponses, false) => responses::whole(self, finish, out),
            (_, true) => openai::end(self, finish, out),
            (_, false) => openai::whole(self, finish, out),
        }
    }

    fn note_token(&mut self) {
        self.events = self.events.saturating_add(1);
        self.first.get_or_insert_with(|| self.started.elapsed());
    }
}

fn new_id(dialect: Dialect) -> String {
    let prefix = match dialect {
        Dialect::AnthropicMessages => "msg_",
        Dialect::OpenAiCompletions => "cmpl-",
        Dialect::OpenAiResponses => "resp_",
        _ => "chatcmpl-",
    };
    format!("{prefix}{:032x}", fastrand::u128(..))
}

fn write_event(value: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("data: {value}\n\n").as_bytes());
}
