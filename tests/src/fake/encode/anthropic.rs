//! Anthropic's form: named events around one content block.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Done, Encoder, Reason, echo, unique};
use crate::fake::ask::{Ask, Call};
use crate::fake::refusal::{Face, Refusal};
use crate::fake::speak::Speak;

/// `/v1/messages`.
pub struct Messages {
    speak: Speak,
    id: String,
    model: String,
    call: Option<Call>,
    echo: String,
    prompt_tokens: usize,
}

impl Messages {
    /// Nothing written yet.
    pub fn new(speak: Speak, ask: &Ask, model: &str) -> Self {
        Self {
            speak,
            id: unique("msg_"),
            model: model.to_owned(),
            call: ask.call.clone(),
            echo: echo(ask),
            prompt_tokens: ask.prompt_tokens(),
        }
    }

    fn message(&self, content: Value, stop: &Value, answer_tokens: usize) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": null,
            "usage": {"input_tokens": self.prompt_tokens, "output_tokens": answer_tokens},
        })
    }

    fn delta(&self, text: &str) -> Bytes {
        let delta = match &self.call {
            Some(_) => json!({"type": "input_json_delta", "partial_json": text}),
            None => json!({"type": "text_delta", "text": text}),
        };
        event(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
    }
}

impl Encoder for Messages {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn open(&mut self) -> Vec<Bytes> {
        let block = match &self.call {
            Some(call) => json!({"type": "tool_use", "id": unique("toolu_"), "name": call.name, "input": {}}),
            None => json!({"type": "text", "text": ""}),
        };
        let mut frames = vec![
            event(&json!({"type": "message_start", "message": self.message(json!([]), &Value::Null, 1)})),
            event(&json!({"type": "content_block_start", "index": 0, "content_block": block})),
            event(&json!({"type": "ping"})),
        ];
        if !self.echo.is_empty() {
            frames.push(self.delta(&self.echo));
        }
        frames
    }

    fn token(&mut self, token: &str) -> Bytes {
        self.delta(token)
    }

    fn close(&mut self, done: &Done) -> Vec<Bytes> {
        let delta = json!({"stop_reason": stop(done.reason), "stop_sequence": null});
        let usage = json!({"output_tokens": done.answer_tokens});
        vec![
            event(&json!({"type": "content_block_stop", "index": 0})),
            event(&json!({"type": "message_delta", "delta": delta, "usage": usage})),
            event(&json!({"type": "message_stop"})),
        ]
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        event(&refusal.body(self.speak, Face::Anthropic))
    }

    fn whole(&mut self, text: &str, done: &Done) -> Value {
        let block = match &self.call {
            Some(call) => {
                json!({"type": "tool_use", "id": unique("toolu_"), "name": call.name, "input": call.arguments})
            }
            None => json!({"type": "text", "text": format!("{}{text}", self.echo)}),
        };
        self.message(json!([block]), &stop(done.reason).into(), done.answer_tokens)
    }

    fn junk(&self) -> Bytes {
        Bytes::from_static(b"event: content_block_delta\ndata: <<<this is not JSON>>>\n\n")
    }
}

fn stop(reason: Reason) -> &'static str {
    match reason {
        Reason::Stop => "end_turn",
        Reason::Length => "max_tokens",
        Reason::Call => "tool_use",
    }
}

/// An SSE frame named by the `type` of its data.
fn event(value: &Value) -> Bytes {
    Bytes::from(format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or("")))
}
