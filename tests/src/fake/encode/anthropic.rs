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
    thoughts: String,
    /// The block that is open: 0, or 1 behind a block of thoughts.
    index: usize,
    is_thinking: bool,
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
            thoughts: String::new(),
            index: 0,
            is_thinking: !ask.thoughts.is_empty(),
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
        event(&json!({"type": "content_block_delta", "index": self.index, "delta": delta}))
    }

    fn start_block(&self) -> Bytes {
        let block = match &self.call {
            _ if self.is_thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Some(call) => json!({"type": "tool_use", "id": unique("toolu_"), "name": call.name, "input": {}}),
            None => json!({"type": "text", "text": ""}),
        };
        event(&json!({"type": "content_block_start", "index": self.index, "content_block": block}))
    }

    fn stop_block(&self) -> Bytes {
        event(&json!({"type": "content_block_stop", "index": self.index}))
    }

    /// The frames between thoughts and answer; none when that lies behind, or nothing was thought.
    fn turn_to_answer(&mut self) -> Vec<Bytes> {
        if !self.is_thinking {
            return Vec::new();
        }
        let stop = self.stop_block();
        (self.is_thinking, self.index) = (false, 1);
        vec![stop, self.start_block()]
    }
}

impl Encoder for Messages {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn open(&mut self) -> Vec<Bytes> {
        let mut frames = vec![
            event(&json!({"type": "message_start", "message": self.message(json!([]), &Value::Null, 1)})),
            self.start_block(),
            event(&json!({"type": "ping"})),
        ];
        if !self.echo.is_empty() {
            frames.push(self.delta(&self.echo));
        }
        frames
    }

    fn thought(&mut self, token: &str) -> Bytes {
        self.thoughts.push_str(token);
        let delta = json!({"type": "thinking_delta", "thinking": token});
        event(&json!({"type": "content_block_delta", "index": self.index, "delta": delta}))
    }

    fn token(&mut self, token: &str) -> Bytes {
        let mut frames = self.turn_to_answer();
        frames.push(self.delta(token));
        frames.concat().into()
    }

    fn close(&mut self, done: &Done) -> Vec<Bytes> {
        let delta = json!({"stop_reason": stop(done.reason), "stop_sequence": null});
        let usage = json!({"output_tokens": done.answer_tokens});
        let mut frames = self.turn_to_answer();
        frames.extend([
            self.stop_block(),
            event(&json!({"type": "message_delta", "delta": delta, "usage": usage})),
            event(&json!({"type": "message_stop"})),
        ]);
        frames
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
        let thoughts = (!self.thoughts.is_empty())
            .then(|| json!({"type": "thinking", "thinking": self.thoughts, "signature": "fake"}));
        let content: Vec<Value> = thoughts.into_iter().chain([block]).collect();
        self.message(content.into(), &stop(done.reason).into(), done.answer_tokens)
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
