//! Asks of the node itself, for plans and for the knowledge base: in OpenAI's form and through the node's own router, so
//! that every engine and every rule behind the desk holds for them as for a client's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::time::Deadline;
use base::{Ask, AskHead, Code, Dialect, Event, Face, Fault, Finish, Kind, Priority, Result};
use inference::wire;
use serde_json::{Value, json};

use crate::core::Core;
use crate::desk::infer;

/// What is told about an ask beside its body.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The form of its body.
    pub dialect: Dialect,
    /// What it is for.
    pub kind: Kind,
    /// Whether somebody waits for it.
    pub priority: Priority,
    /// Which part of the node asks.
    pub client: &'static str,
    /// The time that it has.
    pub within: Duration,
}

/// An ask with that body.
pub fn make(about: About, body: &Value) -> Result<Ask> {
    let body = body.to_string();
    let seen = base::peek::peek(about.dialect, body.as_bytes())?;
    let deadline = Deadline::after(Instant::now(), about.within);
    let head = AskHead {
        face: Face::Internal,
        kind: about.kind,
        priority: about.priority,
        ..seen.head(about.dialect, deadline, about.client.into(), api::trace::parent())
    };
    Ok(Ask { head, body: body.into() })
}

/// A question of two messages to a model or a role. Streamed: an answer that is cut goes on elsewhere, and whoever stops
/// waiting ends it at once.
pub fn question(model: &str, system: &str, prompt: &str, schema: Option<(&str, &Value)>, most_tokens: u32) -> Value {
    let mut body = json!({
        "model": model,
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": prompt},
        ],
        "stream": true,
        "stream_options": {"include_usage": true},
        "temperature": 0,
        "max_tokens": most_tokens,
    });
    if let (Some((name, schema)), Some(body)) = (schema, body.as_object_mut()) {
        let schema = json!({"name": name, "schema": schema, "strict": true});
        body.insert("response_format".into(), json!({"type": "json_schema", "json_schema": schema}));
    }
    body
}

/// An answer that was gathered.
#[derive(Debug)]
pub struct Told {
    /// All of it.
    pub text: String,
    /// Which model gave it.
    pub model: String,
    /// Why it ended; `None`: nobody said.
    pub finish: Option<Finish>,
    /// Tokens of question and answer; 0 where nobody counted.
    pub tokens: (u32, u32),
}

/// The whole answer to an ask, of at most so many bytes.
pub async fn told(core: &Arc<Core>, ask: Ask, most: usize) -> Result<Told> {
    let (dialect, stream) = (ask.head.dialect, ask.head.stream);
    let mut answer = wire::events(infer::infer(core, ask, None).await?, dialect, stream);
    let mut told = Told { text: String::new(), model: answer.head.model, finish: None, tokens: (0, 0) };
    while let Some(event) = std::future::poll_fn(|cx| answer.events.poll_event(cx)).await {
        match event? {
            Event::Text(text) if told.text.len() + text.len() > most => {
                return Err(Fault::new(Code::EngineFailed, "the model's answer does not end"));
            }
            Event::Text(text) => told.text.push_str(&text),
            Event::Usage(usage) => told.tokens = (usage.prompt_tokens, usage.completion_tokens),
            Event::Done(finish) => told.finish = Some(finish),
            Event::Error(error) => return Err(Fault::new(Code::EngineFailed, error)),
            Event::Start { .. } | Event::Thinking(_) | Event::ToolCall { .. } => {}
        }
    }
    Ok(told)
}
