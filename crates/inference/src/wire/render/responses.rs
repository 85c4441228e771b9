//! Events and bodies of OpenAI's Responses. A response is a row of items, of which one at a time is open; its last event
//! tells all of it once more.

use base::{Finish, Usage};
use serde_json::{Value, json};

use super::Renderer;

/// Which items were begun, and which one is open.
#[derive(Default)]
pub(super) struct Items {
    /// Of the next event.
    sequence: u32,
    next: u32,
    open: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Thinking,
    Text,
    Call(usize),
}

impl Items {
    /// The items of a client that holds `text` and `thinking` in `tokens` pieces. Which events it was sent follows from
    /// that, because what opens and closes an item goes out with the piece behind it.
    pub(super) fn behind(text: &str, thinking: &str, tokens: u32, is_begun: bool) -> Self {
        let (has_text, has_thinking) = (!text.is_empty(), !thinking.is_empty());
        let begin = if is_begun { 2 } else { 0 };
        let reasoning = if has_thinking { 1 } else { 0 } + if has_thinking && has_text { 2 } else { 0 };
        let message = if has_text { 2 } else { 0 };
        let open = if has_text { Some(Kind::Text) } else { has_thinking.then_some(Kind::Thinking) };
        Self {
            sequence: begin + reasoning + message + tokens,
            next: u32::from(has_text) + u32::from(has_thinking),
            open,
        }
    }

    fn write(&mut self, name: &str, mut fields: Value, out: &mut Vec<u8>) {
        fields["type"] = name.into();
        fields["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        out.extend_from_slice(format!("event: {name}\ndata: {fields}\n\n").as_bytes());
    }

    fn index(&self) -> u32 {
        self.next.saturating_sub(1)
    }
}

pub(super) fn begin(it: &mut Renderer, out: &mut Vec<u8>) {
    let response = response(it, "in_progress", Vec::new());
    it.items.write("response.created", json!({ "response": response }), out);
    it.items.write("response.in_progress", json!({ "response": response }), out);
}

pub(super) fn text(it: &mut Renderer, text: &str, out: &mut Vec<u8>) {
    enter(it, Kind::Text, out);
    it.text.push_str(text);
    let fields = json!({"item_id": id(it, Kind::Text), "output_index": it.items.index(), "content_index": 0,
        "delta": text, "logprobs": []});
    it.items.write("response.output_text.delta", fields, out);
}

pub(super) fn thinking(it: &mut Renderer, text: &str, out: &mut Vec<u8>) {
    enter(it, Kind::Thinking, out);
    it.thinking.push_str(text);
    let fields = json!({"item_id": id(it, Kind::Thinking), "output_index": it.items.index(), "content_index": 0,
        "delta": text});
    it.items.write("response.reasoning_text.delta", fields, out);
}

pub(super) fn call(it: &mut Renderer, place: usize, is_new: bool, arguments: &str, out: &mut Vec<u8>) {
    let kind = Kind::Call(place);
    if !is_new && it.items.open != Some(kind) {
        // A late piece of a closed item has no place in this dialect.
        return;
    }
    enter(it, kind, out);
    if arguments.is_empty() {
        return;
    }
    let fields = json!({"item_id": id(it, kind), "output_index": it.items.index(), "delta": arguments});
    it.items.write("response.function_call_arguments.delta", fields, out);
}

pub(super) fn end(it: &mut Renderer, finish: Finish, out: &mut Vec<u8>) {
    close(it, out);
    let (status, name) = match is_whole(finish) {
        true => ("completed", "response.completed"),
        false => ("incomplete", "response.incomplete"),
    };
    let response = finished(it, status, finish);
    it.items.write(name, json!({ "response": response }), out);
}

pub(super) fn whole(it: &Renderer, finish: Finish, out: &mut Vec<u8>) {
    let status = if is_whole(finish) { "completed" } else { "incomplete" };
    out.extend_from_slice(finished(it, status, finish).to_string().as_bytes());
}

fn is_whole(finish: Finish) -> bool {
    matches!(finish, Finish::Stop | Finish::ToolCalls)
}

/// Opens an item of `kind` unless it is the open one.
fn enter(it: &mut Renderer, kind: Kind, out: &mut Vec<u8>) {
    if it.items.open == Some(kind) {
        return;
    }
    close(it, out);
    it.items.open = Some(kind);
    it.items.next += 1;
    let (index, item) = (it.items.index(), item(it, kind, "in_progress"));
    it.items.write("response.output_item.added", json!({"output_index": index, "item": item}), out);
    if kind == Kind::Text {
        let fields = json!({"item_id": id(it, kind), "output_index": index, "content_index": 0, "part": text_part("")});
        it.items.write("response.content_part.added", fields, out);
    }
}

fn close(it: &mut Renderer, out: &mut Vec<u8>) {
    let Some(kind) = it.items.open.take() else { return };
    let (index, id) = (it.items.index(), id(it, kind));
    match kind {
        Kind::Text => {
            let fields =
                json!({"item_id": id, "output_index": index, "content_index": 0, "text": it.text, "logprobs": []});
            it.items.write("response.output_text.done", fields, out);
            let part = text_part(&it.text);
            let fields = json!({"item_id": id, "output_index": index, "content_index": 0, "part": part});
            it.items.write("response.content_part.done", fields, out);
        }
        Kind::Thinking => {
            let fields = json!({"item_id": id, "output_index": index, "content_index": 0, "text": it.thinking});
            it.items.write("response.reasoning_text.done", fields, out);
        }
        Kind::Call(place) => {
            let (name, arguments) =
                it.calls.get(place).map(|call| (call.name.clone(), call.arguments.clone())).unwrap_or_default();
            let fields = json!({"item_id": id, "output_index": index, "name": name, "arguments": arguments});
            it.items.write("response.function_call_arguments.done", fields, out);
        }
    }
    let item = item(it, kind, "completed");
    it.items.write("response.output_item.done", json!({"output_index": index, "item": item}), out);
}

/// An id that follows from that of the response, so that a continued answer keeps it.
fn id(it: &Renderer, kind: Kind) -> String {
    let stem = it.id.strip_prefix("resp_").unwrap_or(&it.id);
    match kind {
        Kind::Thinking => format!("rs_{stem}"),
        Kind::Text => format!("msg_{stem}"),
        Kind::Call(place) => format!("fc_{stem}{place:02}"),
    }
}

fn item(it: &Renderer, kind: Kind, status: &str) -> Value {
    let (id, is_begun) = (id(it, kind), status != "in_progress");
    match kind {
        Kind::Thinking => {
            let part = json!({"type": "reasoning_text", "text": it.thinking});
            let content: Vec<Value> = is_begun.then_some(part).into_iter().collect();
            json!({"type": "reasoning", "id": id, "summary": [], "content": content, "status": status})
        }
        Kind::Text => {
            let content: Vec<Value> = is_begun.then(|| text_part(&it.text)).into_iter().collect();
            json!({"type": "message", "id": id, "role": "assistant", "status": status, "content": content})
        }
        Kind::Call(place) => {
            let Some(call) = it.calls.get(place) else { return Value::Null };
            let arguments = if is_begun { call.arguments.as_str() } else { "" };
            json!({"type": "function_call", "id": id, "call_id": call.id, "name": call.name, "arguments": arguments,
                "status": status})
        }
    }
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn finished(it: &Renderer, status: &str, finish: Finish) -> Value {
    let mut output = Vec::new();
    if !it.thinking.is_empty() {
        output.push(item(it, Kind::Thinking, "completed"));
    }
    if !it.text.is_empty() || it.calls.is_empty() {
        output.push(item(it, Kind::Text, status));
    }
    output.extend((0..it.calls.len()).map(|place| item(it, Kind::Call(place), "completed")));
    let mut response = response(it, status, output);
    response["usage"] = usage_json(it.usage());
    response["incomplete_details"] = match finish {
        Finish::Length => json!({"reason": "max_output_tokens"}),
        Finish::ContentFilter => json!({"reason": "content_filter"}),
        Finish::Stop | Finish::ToolCalls => Value::Null,
    };
    response
}

/// The fields that clients insist on; of the request nothing is repeated.
fn response(it: &Renderer, status: &str, output: Vec<Value>) -> Value {
    json!({
        "id": it.id, "object": "response", "created_at": it.created_s, "status": status, "model": it.model,
        "output": output, "error": null, "incomplete_details": null, "instructions": null, "metadata": {},
        "parallel_tool_calls": true, "previous_response_id": null, "store": false, "tool_choice": "auto", "tools": [],
        "temperature": null, "top_p": null, "usage": null,
    })
}

fn usage_json(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
    })
}
