//! What a generation told its client in the end, whatever dialect it was in.

use std::time::Instant;

use serde_json::Value;

use crate::client::Frame;

/// The sum of the frames of one answer.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// HTTP status.
    pub status: u16,
    /// All text, in order.
    pub text: String,
    /// All reasoning, in order.
    pub thinking: String,
    /// Frames that brought text.
    pub pieces: usize,
    /// Names and arguments of tool calls, in order.
    pub calls: String,
    /// The reason that the answer gave for its end.
    pub finish: Option<String>,
    /// Whether the mark of the end came (`[DONE]`, `done: true`, `message_stop`, or a whole answer).
    pub is_done: bool,
    /// The text of an error inside the answer.
    pub error: Option<String>,
    /// How the connection broke.
    pub broken: Option<String>,
    /// Tokens of the prompt and of the answer, as last told.
    pub usage: Option<(u64, u64)>,
    /// Ids of the answer, each once.
    pub ids: Vec<String>,
    /// When the first text came.
    pub first_at: Option<Instant>,
    /// When the last frame came.
    pub last_at: Option<Instant>,
}

impl Told {
    /// Nothing told yet.
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Whether the answer is whole and without an error.
    pub fn is_good(&self) -> bool {
        self.status == 200 && self.is_done && self.error.is_none() && self.broken.is_none()
    }

    /// Adds a frame, or a whole answer.
    pub fn note(&mut self, frame: &Frame) {
        self.last_at = Some(frame.at);
        if frame.data == "[DONE]" {
            self.is_done = true;
            return;
        }
        let Ok(value) = serde_json::from_str::<Value>(&frame.data) else {
            self.error = Some(format!("not JSON: {}", frame.data.chars().take(200).collect::<String>()));
            return;
        };
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            let text = error["message"].as_str().or(error.as_str()).map_or_else(|| error.to_string(), str::to_owned);
            self.error = Some(text);
        }
        self.note_text(&value, frame.at);
        self.note_calls(&value);
        self.note_end(&value);
    }

    fn note_text(&mut self, value: &Value, at: Instant) {
        const PLACES: [&str; 9] = [
            "/choices/0/delta/content",
            "/choices/0/message/content",
            "/choices/0/text",
            "/message/content",
            "/response",
            "/delta/text",
            "/content",
            "/content/0/text",
            "/content/1/text",
        ];
        const THOUGHTS: [&str; 6] = [
            "/choices/0/delta/reasoning_content",
            "/choices/0/message/reasoning_content",
            "/message/thinking",
            "/thinking",
            "/delta/thinking",
            "/content/0/thinking",
        ];
        let thought = THOUGHTS.iter().find_map(|place| value.pointer(place)?.as_str()).unwrap_or("");
        self.thinking.push_str(thought);
        let text = PLACES.iter().find_map(|place| value.pointer(place)?.as_str()).unwrap_or("");
        if !text.is_empty() {
            self.text.push_str(text);
            self.pieces += 1;
            self.first_at = self.first_at.or(Some(at));
        }
        let id = value.get("id").or(value.pointer("/message/id")).and_then(Value::as_str);
        if let Some(id) = id.filter(|id| self.ids.iter().all(|known| known != id)) {
            self.ids.push(id.to_owned());
        }
    }

    fn note_calls(&mut self, value: &Value) {
        let lists = ["/choices/0/delta/tool_calls", "/choices/0/message/tool_calls", "/message/tool_calls"];
        for call in lists.iter().filter_map(|place| value.pointer(place)?.as_array()).flatten() {
            self.calls.push_str(call.pointer("/function/name").and_then(Value::as_str).unwrap_or(""));
            match call.pointer("/function/arguments") {
                Some(Value::String(part)) => self.calls.push_str(part),
                Some(whole) => self.calls.push_str(&whole.to_string()),
                None => {}
            }
        }
        for block in ["/content_block", "/content/0"].iter().filter_map(|place| value.pointer(place)) {
            if block["type"] == "tool_use" {
                self.calls.push_str(block["name"].as_str().unwrap_or(""));
                let input = &block["input"];
                self.calls.push_str(&if *input == Value::Object(serde_json::Map::new()) {
                    String::new()
                } else {
                    input.to_string()
                });
            }
        }
        self.calls.push_str(value.pointer("/delta/partial_json").and_then(Value::as_str).unwrap_or(""));
    }

    fn note_end(&mut self, value: &Value) {
        let reasons = ["/choices/0/finish_reason", "/done_reason", "/delta/stop_reason", "/stop_reason", "/stop_type"];
        if let Some(reason) = reasons.iter().find_map(|place| value.pointer(place)?.as_str()) {
            self.finish = Some(reason.to_owned());
        }
        // Of the objects that come in one piece, these are whole answers.
        let is_whole = ["chat.completion", "text_completion"].iter().any(|kind| value["object"] == *kind)
            && !value["usage"].is_null()
            || value["type"] == "message";
        self.is_done |= is_whole || value["done"] == true || value["stop"] == true || value["type"] == "message_stop";
        let number = |places: [&str; 3]| places.iter().find_map(|place| value.pointer(place)?.as_u64());
        let prompt = number(["/usage/prompt_tokens", "/prompt_eval_count", "/usage/input_tokens"]);
        let answer = number(["/usage/completion_tokens", "/eval_count", "/usage/output_tokens"]);
        if prompt.is_some() || answer.is_some() {
            let before = self.usage.unwrap_or_default();
            self.usage = Some((prompt.unwrap_or(before.0), answer.unwrap_or(before.1)));
        }
    }
}
