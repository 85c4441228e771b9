//! OpenAI's form (chat and completions) as the engines write it, and the two that are near it: llama-server's own
//! completion, and Perplexity's chat.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{CREATED_S, Done, Encoder, Reason, data, echo, quoted, unique};
use crate::fake::ask::{Ask, Call, Form};
use crate::fake::refusal::{Face, Refusal};
use crate::fake::speak::Speak;

/// `chat.completion.chunk` or `text_completion`, with what each engine adds.
pub struct OpenAi {
    speak: Speak,
    form: Form,
    id: String,
    model: String,
    call: Option<Call>,
    echo: String,
    thoughts: String,
    wants_usage: bool,
    /// What stands before and behind the text in the frame of a token.
    around: (String, String),
}

impl OpenAi {
    /// Nothing written yet.
    pub fn new(speak: Speak, ask: &Ask, model: &str) -> Self {
        let id = unique(if ask.form == Form::Chat { "chatcmpl-" } else { "cmpl-" });
        let mut new = Self {
            speak,
            form: ask.form,
            id,
            model: model.to_owned(),
            call: ask.call.clone(),
            echo: echo(ask),
            thoughts: String::new(),
            wants_usage: ask.wants_usage && speak.honours_include_usage(),
            around: (String::new(), String::new()),
        };
        let hole = "\u{1}";
        let frame = format!("data: {}\n\n", new.chunk(&new.delta(hole), &Value::Null));
        let (before, behind) = frame.split_once(&quoted(hole)).unwrap_or((&frame, ""));
        new.around = (before.to_owned(), behind.to_owned());
        new
    }

    fn delta(&self, text: &str) -> Value {
        match (self.form, &self.call) {
            (Form::Chat, Some(_)) => {
                json!({"delta": {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}})
            }
            (Form::Chat, None) => json!({"delta": {"content": text}}),
            _ => json!({ "text": text }),
        }
    }

    fn chunk(&self, delta: &Value, finish: &Value) -> Value {
        let mut choice = json!({"index": 0, "logprobs": null, "finish_reason": finish});
        if let (Some(choice), Some(delta)) = (choice.as_object_mut(), delta.as_object()) {
            choice.extend(delta.clone());
        }
        self.envelope(json!([choice]))
    }

    fn envelope(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": if self.form == Form::Chat { "chat.completion.chunk" } else { "text_completion" },
            "created": CREATED_S,
            "model": self.model,
            "system_fingerprint": "fp_fake",
            "choices": choices,
        })
    }

    /// What the engine adds to the last object besides the usage.
    fn add_extras(&self, to: &mut Value, done: &Done) {
        let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        match self.speak {
            Speak::Llamacpp => to["timings"] = timings(done),
            Speak::Localai if to.get("usage").is_some() => {
                to["usage"]["timing_prompt_processing"] = json!(done.prefill.as_secs_f64() * 1e3);
                to["usage"]["timing_token_generation"] = json!(done.decode.as_secs_f64() * 1e3);
            }
            Speak::Lmstudio => {
                to["stats"] = json!({
                    "tokens_per_second": rate(done.answer_tokens, done.decode.as_secs_f64()),
                    "time_to_first_token": done.prefill.as_secs_f64(),
                    "generation_time": done.decode.as_secs_f64(),
                    "stop_reason": if done.reason == Reason::Length { "maxPredictedTokensReached" } else { "eosFound" },
                });
            }
            _ => {}
        }
    }
}

impl Encoder for OpenAi {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn open(&mut self) -> Vec<Bytes> {
        let mut frames = Vec::new();
        if self.form == Form::Chat {
            let mut delta = json!({"delta": {"role": "assistant", "content": ""}});
            if let Some(call) = &self.call {
                let function = json!({"name": call.name, "arguments": ""});
                delta = json!({"delta": {"role": "assistant", "content": null, "tool_calls": [
                    {"index": 0, "id": unique("call_"), "type": "function", "function": function}]}});
            }
            frames.push(data(&self.chunk(&delta, &Value::Null)));
        }
        if !self.echo.is_empty() {
            frames.push(data(&self.chunk(&self.delta(&self.echo), &Value::Null)));
        }
        frames
    }

    fn thought(&mut self, token: &str) -> Bytes {
        self.thoughts.push_str(token);
        data(&self.chunk(&json!({"delta": {"reasoning_content": token}}), &Value::Null))
    }

    fn token(&mut self, token: &str) -> Bytes {
        let (before, behind) = &self.around;
        Bytes::from([before.as_str(), &quoted(token), behind].concat())
    }

    fn close(&mut self, done: &Done) -> Vec<Bytes> {
        let empty = if self.form == Form::Chat { json!({"delta": {}}) } else { json!({"text": ""}) };
        let mut last = self.chunk(&empty, &finish(done.reason).into());
        let mut frames = Vec::new();
        if self.wants_usage {
            frames.push(data(&last));
            last = self.envelope(json!([]));
            last["usage"] = usage(done);
        }
        self.add_extras(&mut last, done);
        frames.push(data(&last));
        frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
        frames
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        data(&refusal.body(self.speak, Face::OpenAi))
    }

    fn whole(&mut self, text: &str, done: &Done) -> Value {
        let choice = match (self.form, &self.call) {
            (Form::Chat, Some(call)) => json!({"message": {"role": "assistant", "content": null, "tool_calls": [
                {"id": unique("call_"), "type": "function", "function": {"name": call.name, "arguments": text}}]}}),
            (Form::Chat, None) => json!({"message": {"role": "assistant", "content": format!("{}{text}", self.echo)}}),
            _ => json!({"text": format!("{}{text}", self.echo)}),
        };
        let mut whole = self.chunk(&choice, &finish(done.reason).into());
        if self.form == Form::Chat {
            whole["object"] = "chat.completion".into();
            if !self.thoughts.is_empty() {
                whole["choices"][0]["message"]["reasoning_content"] = self.thoughts.as_str().into();
            }
        }
        whole["usage"] = usage(done);
        self.add_extras(&mut whole, done);
        whole
    }
}

fn finish(reason: Reason) -> &'static str {
    match reason {
        Reason::Stop => "stop",
        Reason::Length => "length",
        Reason::Call => "tool_calls",
    }
}

fn usage(done: &Done) -> Value {
    json!({
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.answer_tokens,
        "total_tokens": done.prompt_tokens + done.answer_tokens,
        "prompt_tokens_details": {"cached_tokens": done.cached_tokens},
    })
}

fn timings(done: &Done) -> Value {
    let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
    json!({
        "cache_n": done.cached_tokens,
        "prompt_n": done.prompt_tokens - done.cached_tokens.min(done.prompt_tokens),
        "prompt_ms": done.prefill.as_secs_f64() * 1e3,
        "prompt_per_second": rate(done.prompt_tokens, done.prefill.as_secs_f64()),
        "predicted_n": done.answer_tokens,
        "predicted_ms": done.decode.as_secs_f64() * 1e3,
        "predicted_per_second": rate(done.answer_tokens, done.decode.as_secs_f64()),
    })
}

/// llama-server's own `/completion`.
pub struct LlamaCompletion {
    model: String,
    prompt: String,
}

impl LlamaCompletion {
    /// Nothing written yet.
    pub fn new(ask: &Ask, model: &str) -> Self {
        Self { model: model.to_owned(), prompt: ask.prompt.clone() }
    }
}

impl Encoder for LlamaCompletion {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn open(&mut self) -> Vec<Bytes> {
        Vec::new()
    }

    fn token(&mut self, token: &str) -> Bytes {
        data(&json!({"index": 0, "content": token, "tokens": [], "stop": false, "id_slot": 0}))
    }

    fn close(&mut self, done: &Done) -> Vec<Bytes> {
        vec![data(&self.whole("", done))]
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        data(&refusal.body(Speak::Llamacpp, Face::OpenAi))
    }

    fn whole(&mut self, text: &str, done: &Done) -> Value {
        json!({
            "index": 0,
            "content": text,
            "tokens": [],
            "id_slot": 0,
            "stop": true,
            "model": self.model,
            "tokens_predicted": done.answer_tokens,
            "tokens_evaluated": done.prompt_tokens,
            "prompt": self.prompt,
            "truncated": false,
            "stop_type": if done.reason == Reason::Length { "limit" } else { "eos" },
            "stopping_word": "",
            "timings": timings(done),
        })
    }
}

/// Perplexity's chat: every chunk carries the text so far as well, the last one what was searched.
pub struct Perplexity {
    id: String,
    model: String,
    so_far: String,
}

impl Perplexity {
    /// Nothing written yet.
    pub fn new(_ask: &Ask, model: &str) -> Self {
        Self { id: unique(""), model: model.to_owned(), so_far: String::new() }
    }

    fn chunk(&self, delta: &str, done: Option<&Done>) -> Value {
        let source = json!({"title": "A source", "url": "https://example.org/a", "date": "2026-01-01",
            "last_updated": "2026-01-02", "snippet": "what it says", "source": "web"});
        let mut chunk = json!({
            "id": self.id,
            "object": if done.is_some() { "chat.completion.done" } else { "chat.completion.chunk" },
            "created": CREATED_S,
            "model": self.model,
            "status": if done.is_some() { "COMPLETED" } else { "PENDING" },
            "type": if done.is_some() { "end_of_stream" } else { "message" },
            "choices": [{
                "index": 0,
                "finish_reason": done.map(|done| if done.reason == Reason::Length { "length" } else { "stop" }),
                "message": {"role": "assistant", "content": self.so_far},
                "delta": {"role": "assistant", "content": delta},
            }],
        });
        if let Some(done) = done {
            chunk["citations"] = json!(["https://example.org/a"]);
            chunk["search_results"] = json!([source]);
            chunk["usage"] = usage(done);
            chunk["usage"]["search_context_size"] = "low".into();
            chunk["usage"]["num_search_queries"] = 1.into();
            chunk["usage"]["cost"] = json!({"total_cost": 0.0});
        }
        chunk
    }
}

impl Encoder for Perplexity {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn open(&mut self) -> Vec<Bytes> {
        Vec::new()
    }

    fn token(&mut self, token: &str) -> Bytes {
        self.so_far.push_str(token);
        data(&self.chunk(token, None))
    }

    fn close(&mut self, done: &Done) -> Vec<Bytes> {
        vec![data(&self.chunk("", Some(done))), Bytes::from_static(b"data: [DONE]\n\n")]
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        data(&refusal.body(Speak::Perplexity, Face::OpenAi))
    }

    fn whole(&mut self, text: &str, done: &Done) -> Value {
        text.clone_into(&mut self.so_far);
        let mut whole = self.chunk("", Some(done));
        whole["object"] = "chat.completion".into();
        if let Some(choice) = whole.pointer_mut("/choices/0").and_then(Value::as_object_mut) {
            choice.remove("delta");
        }
        whole
    }
}
