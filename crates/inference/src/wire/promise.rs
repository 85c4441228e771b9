//! What a client that asks for JSON is promised: whole JSON, of its schema where it gave one. No engine is trusted with it.
//!
//! Answers in one piece are looked at before they leave. Reasoning, fences and chatter around the JSON are taken off; what
//! is cut or of another shape becomes a fault, because clients repair a stump and take it for the whole. Only a cut that
//! the client asked for, by a limit of its own, leaves as engines tell it: as it is, and as ended by its length.

use base::{Ask, Code, Continuation, Dialect, Event, Fault, Finish, Result, json};
use bytes::Bytes;
use serde_json::Value;
use std::time::Instant;

use super::prompt::{Format, Prompt};
use super::{Decoder, Renderer, Shown};

mod conforms;

/// The promise to one client.
pub struct Promise {
    dialect: Dialect,
    model: String,
    limit: Option<u32>,
    schema: Option<Value>,
}

impl Promise {
    /// What the client of `ask` is promised; `None` where it wants no JSON, or gets a stream or several answers.
    pub fn of(ask: &Ask) -> Option<Self> {
        let head = &ask.head;
        if !head.needs.schema || head.stream || head.choices > 1 || !head.dialect.is_generation() {
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
        let Said { text, call, finish, tokens, events } = self.read(&body)?;
        match finish {
            Finish::Length if self.limit.is_some_and(|limit| tokens >= limit) => return Ok(body),
            Finish::Length => return Err(self.cut(tokens)),
            Finish::ContentFilter => return Ok(body),
            // A tool of the client's choice is no answer of the schema; a forced one has its own.
            Finish::ToolCalls if call.is_none() => return Ok(body),
            _ => {}
        }
        if let Some(arguments) = call {
            return match serde_json::from_str::<Value>(&arguments) {
                Ok(_) => Ok(body),
                Err(error) => Err(broken("its call is not JSON").because(error)),
            };
        }
        let whole = serde_json::from_str::<Value>(text.trim());
        if let Ok(value) = &whole {
            return self.check(value).map(|()| body);
        }
        let found = json::object_in(&text).map_err(|error| broken(&error.to_string()))?;
        self.check(&found.value)?;
        Ok(self.written(events, found.text))
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

    fn read(&self, body: &[u8]) -> Result<Said> {
        let mut decoder = Decoder::new(self.dialect, false);
        let mut events = Vec::new();
        decoder.feed(body, &mut events)?;
        decoder.finish(&mut events)?;
        let mut said = Said { text: String::new(), call: None, finish: Finish::Stop, tokens: 0, events: Vec::new() };
        for event in &events {
            match event {
                Event::Text(text) => said.text.push_str(text),
                Event::ToolCall { index: 0, arguments, .. } => said.call.get_or_insert_default().push_str(arguments),
                Event::Done(finish) => said.finish = *finish,
                Event::Usage(usage) => said.tokens = usage.completion_tokens,
                _ => {}
            }
        }
        said.events = events;
        Ok(said)
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

struct Said {
    text: String,
    /// Arguments of the first call.
    call: Option<String>,
    finish: Finish,
    /// Of the answer; 0 where nobody counted.
    tokens: u32,
    events: Vec<Event>,
}

fn broken(why: &str) -> Fault {
    Fault::new(Code::EngineFailed, format!("the model did not answer with the JSON that was asked for: {why}"))
        .hint("ask again, or name a model whose engine keeps to a schema by grammar")
}

#[cfg(test)]
mod tests;
