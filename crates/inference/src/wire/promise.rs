//! What a client that asks for JSON is promised: whole JSON, of its schema where it gave one. No engine is trusted with it.
//!
//! Answers in one piece are looked at before they leave. Reasoning, fences and chatter around the JSON are taken off; what
//! is cut or of another shape becomes a fault, because clients repair a stump and take it for the whole. Only a cut that
//! the client asked for, by a limit of its own, leaves as engines tell it: as it is, and as ended by its length. Of streams
//! see [`Streamed`].

use base::{Ask, Code, Continuation, Dialect, Event, Fault, Finish, Result, json};
use bytes::Bytes;
use serde_json::Value;
use std::time::Instant;

use super::prompt::{Format, Prompt};
use super::{Decoder, Renderer, Shown};

mod conforms;
mod streamed;

pub use streamed::Streamed;

/// The promise to one client.
pub struct Promise {
    dialect: Dialect,
    model: String,
    limit: Option<u32>,
    schema: Option<Value>,
}

impl Promise {
    /// What the client of `ask` is promised; `None` where it wants no JSON, or several answers.
    pub fn of(ask: &Ask) -> Option<Self> {
        let head = &ask.head;
        if !head.needs.schema || head.choices > 1 || !head.dialect.is_generation() {
            return None;
        }
        // What cannot be read is refused where the request for the engine is made.
        let mut prompt = Prompt::read_form(head.dialect, &ask.body)?;
        if matches!(head.dialect, Dialect::AnthropicMessages | Dialect::OpenAiResponses) {
            prompt.call_by_schema();
        }
        let schema = match prompt.format? {
            Format::Json => None,
            Format::Schema(schema) => Some(schema),
        };
        Some(Self { dialect: head.dialect, model: head.model.to_string(), limit: head.max_output_tokens, schema })
    }

    /// The answer as it may leave: as it is, or with what stands around its JSON taken off.
    pub fn keep(&self, body: Bytes) -> Result<Bytes> {
        let events = self.read(&body)?;
        let mut said = Said::default();
        said.add(events.iter().cloned());
        match said.finish {
            Finish::Length if self.limit.is_some_and(|limit| said.tokens >= limit) => Ok(body),
            Finish::Length => Err(self.cut(said.tokens)),
            _ => Ok(self.json_in(&said)?.map_or(body, |json| self.written(events, json))),
        }
    }

    /// What the client asked for in an answer that is not cut; `None` where that is all of it.
    fn json_in<'a>(&self, said: &'a Said) -> Result<Option<&'a str>> {
        match (said.finish, &said.call) {
            // A tool of the client's choice is no answer of the schema; a forced one has its own.
            (Finish::ContentFilter, _) | (Finish::ToolCalls, None) => return Ok(None),
            (_, Some(arguments)) => {
                let call = serde_json::from_str::<Value>(arguments);
                return call.map(|_| None).map_err(|error| broken("its call is not JSON").because(error));
            }
            _ => {}
        }
        if let Ok(value) = serde_json::from_str::<Value>(said.text.trim()) {
            return self.check(&value).map(|()| None);
        }
        let found = json::object_in(&said.text).map_err(|error| broken(&error.to_string()))?;
        self.check(&found.value).map(|()| Some(found.text))
    }

    fn check(&self, value: &Value) -> Result<()> {
        match &self.schema {
            Some(schema) => conforms::check(schema, value).map_err(|why| broken(&why)),
            None if value.is_object() => Ok(()),
            None => Err(broken("it is not an object")),
        }
    }

    fn cut(&self, tokens: u32) -> Fault {
        let room = self.limit.map(|limit| format!(", after {tokens} of {limit} tokens")).unwrap_or_default();
        let what = format!("the answer filled the model's context before its JSON was whole{room}");
        Fault::new(Code::ContextExceeded, what).hint("ask for less at once, or name a model with a longer context")
    }

    fn read(&self, body: &[u8]) -> Result<Vec<Event>> {
        let mut decoder = Decoder::new(self.dialect, false);
        let mut events = Vec::new();
        decoder.feed(body, &mut events)?;
        decoder.finish(&mut events)?;
        Ok(events)
    }

    /// The answer anew, with `json` for its text.
    fn written(&self, events: Vec<Event>, json: &str) -> Bytes {
        let mut held = Continuation::default();
        if let Some(Event::Start { id, model, created_s }) = events.first() {
            (held.response_id, held.model, held.created_s) = (id.clone(), model.clone(), *created_s);
        }
        let mut renderer = Renderer::new(Shown {
            dialect: self.dialect,
            stream: false,
            wants_usage_chunk: false,
            model: self.model.clone(),
            prompt_tokens: 0,
            started: Instant::now(),
            continuation: Some(held),
        });
        let mut out = Vec::new();
        let mut json = Some(json);
        for event in events {
            let event = match event {
                Event::Text(_) => json.take().map(|json| Event::Text(json.to_owned())),
                event => Some(event),
            };
            event.into_iter().for_each(|event| renderer.event(event, &mut out));
        }
        out.into()
    }
}

/// What matters of an answer here.
struct Said {
    text: String,
    /// Arguments of the first call.
    call: Option<String>,
    finish: Finish,
    /// Of the answer; 0 where nobody counted.
    tokens: u32,
}

impl Default for Said {
    fn default() -> Self {
        Self { text: String::new(), call: None, finish: Finish::Stop, tokens: 0 }
    }
}

impl Said {
    fn add(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            match event {
                Event::Text(text) => self.text.push_str(&text),
                Event::ToolCall { index: 0, arguments, .. } => self.call.get_or_insert_default().push_str(&arguments),
                Event::Done(finish) => self.finish = finish,
                Event::Usage(usage) => self.tokens = usage.completion_tokens,
                _ => {}
            }
        }
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.call.as_ref().map_or(0, String::len)
    }
}

fn broken(why: &str) -> Fault {
    Fault::new(Code::EngineFailed, format!("the model did not answer with the JSON that was asked for: {why}"))
        .hint("ask again, or name a model whose engine keeps to a schema by grammar")
}

#[cfg(test)]
mod tests;
