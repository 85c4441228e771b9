//! Ollama's form: NDJSON, one object per token, the counts and times on the last one.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{CREATED_AT, Done, Encoder, Reason, quoted};
use crate::fake::ask::{Ask, Call, Form};
use crate::fake::refusal::{Face, Refusal};
use crate::fake::speak::Speak;
use crate::fake::text;

/// `/api/chat` and `/api/generate`.
pub struct Ollama {
    speak: Speak,
    form: Form,
    model: String,
    prompt: String,
    call: Option<Call>,
    thoughts: String,
}

impl Ollama {
    /// Nothing written yet.
    pub fn new(speak: Speak, ask: &Ask, model: &str) -> Self {
        let (model, prompt, call) = (model.to_owned(), ask.prompt.clone(), ask.call.clone());
        Self { speak, form: ask.form, model, prompt, call, thoughts: String::new() }
    }

    fn object(&self, text: &str, call: Option<&Call>) -> Value {
        let mut object = json!({"model": self.model, "created_at": CREATED_AT, "done": false});
        if self.form == Form::OllamaGenerate {
            object["response"] = text.into();
            return object;
        }
        object["message"] = json!({"role": "assistant", "content": text});
        if let Some(call) = call {
            object["message"]["tool_calls"] = json!([{"function": {"name": call.name, "arguments": call.arguments}}]);
        }
        object
    }

    /// Adds what was thought to an object of the answer.
    fn think(&self, mut object: Value, thoughts: &str) -> Value {
        let holder = if self.form == Form::OllamaGenerate { &mut object } else { &mut object["message"] };
        holder["thinking"] = thoughts.into();
        object
    }

    fn finish(&self, mut object: Value, done: &Done) -> Value {
        let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        object["done"] = true.into();
        object["done_reason"] = if done.reason == Reason::Length { "length" } else { "stop" }.into();
        if self.form == Form::OllamaGenerate && self.speak == Speak::Ollama {
            // As many numbers as the conversation had tokens, which no other one has.
            let first = text::hash(&self.prompt) & 0xffff;
            let tokens = (done.prompt_tokens + done.answer_tokens) as u64;
            object["context"] = (first..first + tokens).collect();
        }
        let counts = [
            ("total_duration", nanos(done.load + done.prefill + done.decode)),
            ("load_duration", nanos(done.load)),
            ("prompt_eval_count", done.prompt_tokens as u64),
            ("prompt_eval_duration", nanos(done.prefill)),
            ("eval_count", done.answer_tokens as u64),
            ("eval_duration", nanos(done.decode)),
        ];
        // Ollama leaves out what is zero.
        for (name, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
            object[name] = count.into();
        }
        object
    }
}

impl Encoder for Ollama {
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn open(&mut self) -> Vec<Bytes> {
        Vec::new()
    }

    fn thought(&mut self, token: &str) -> Bytes {
        self.thoughts.push_str(token);
        line(&self.think(self.object("", None), token))
    }

    fn token(&mut self, token: &str) -> Bytes {
        if self.call.is_some() {
            return Bytes::new();
        }
        let text = quoted(token);
        let (model, form) = (quoted(&self.model), self.form);
        Bytes::from(match form {
            Form::OllamaGenerate => {
                format!("{{\"model\":{model},\"created_at\":\"{CREATED_AT}\",\"response\":{text},\"done\":false}}\n")
            }
            _ => format!(
                "{{\"model\":{model},\"created_at\":\"{CREATED_AT}\",\"message\":{{\"role\":\"assistant\",\"content\":{text}}},\"done\":false}}\n"
            ),
        })
    }

    fn close(&mut self, done: &Done) -> Vec<Bytes> {
        let mut frames = Vec::new();
        if let Some(call) = &self.call {
            frames.push(line(&self.object("", Some(call))));
        }
        frames.push(line(&self.finish(self.object("", None), done)));
        frames
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        let mut error = refusal.body(self.speak, Face::Ollama);
        if self.speak == Speak::Localai {
            // LocalAI ends its Ollama streams properly, error or not.
            error = self.object("", None);
            error["done"] = true.into();
            error["done_reason"] = "error".into();
        }
        line(&error)
    }

    fn whole(&mut self, text: &str, done: &Done) -> Value {
        let mut object = match &self.call {
            Some(call) => self.object("", Some(call)),
            None => self.object(text, None),
        };
        if !self.thoughts.is_empty() {
            object = self.think(object, &self.thoughts);
        }
        self.finish(object, done)
    }

    fn junk(&self) -> Bytes {
        Bytes::from_static(b"<<<this is not JSON>>>\n")
    }
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}
