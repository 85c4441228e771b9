//! OpenAI's chunks and bodies, of chats and of completions.

use base::{Dialect, Finish};
use serde_json::{Value, json};

use super::{Renderer, write_event};
use crate::wire::pass::usage_json;
use crate::wire::terminator;

pub(super) fn begin(it: &Renderer, out: &mut Vec<u8>) {
    write_event(&chunk(it, json!({"role": "assistant", "content": ""}), None), out);
}

pub(super) fn text(it: &Renderer, text: &str, out: &mut Vec<u8>) {
    let piece = if it.dialect == Dialect::OpenAiChat { json!({"content": text}) } else { Value::from(text) };
    write_event(&chunk(it, piece, None), out);
}

pub(super) fn thinking(it: &Renderer, text: &str, out: &mut Vec<u8>) {
    write_event(&chunk(it, json!({"reasoning_content": text}), None), out);
}

pub(super) fn call(it: &Renderer, place: usize, is_new: bool, arguments: &str, out: &mut Vec<u8>) {
    let Some(call) = it.calls.get(place) else { return };
    let piece = if is_new {
        json!({"index": place, "id": call.id, "type": "function",
            "function": {"name": call.name, "arguments": arguments}})
    } else {
        json!({"index": place, "function": {"arguments": arguments}})
    };
    write_event(&chunk(it, json!({"tool_calls": [piece]}), None), out);
}

pub(super) fn end(it: &Renderer, finish: Finish, out: &mut Vec<u8>) {
    let empty = if it.dialect == Dialect::OpenAiChat { json!({}) } else { Value::from("") };
    let mut last = chunk(it, empty, Some(finish));
    let usage = usage_json(it.usage());
    if it.wants_usage_chunk {
        write_event(&last, out);
        if let Some(fields) = last.as_object_mut() {
            fields.insert("choices".into(), json!([]));
        }
    }
    if let Some(fields) = last.as_object_mut() {
        fields.insert("usage".into(), usage);
    }
    write_event(&last, out);
    out.extend_from_slice(terminator(it.dialect));
}

pub(super) fn whole(it: &Renderer, finish: Finish, out: &mut Vec<u8>) {
    let finish = finish.as_str();
    let choice = if it.dialect == Dialect::OpenAiChat {
        json!({"index": 0, "message": message(it), "logprobs": null, "finish_reason": finish})
    } else {
        json!({"index": 0, "text": it.text, "logprobs": null, "finish_reason": finish})
    };
    let object = if it.dialect == Dialect::OpenAiChat { "chat.completion" } else { "text_completion" };
    let body = json!({"id": it.id, "object": object, "created": it.created_s, "model": it.model,
        "choices": [choice], "usage": usage_json(it.usage())});
    out.extend_from_slice(body.to_string().as_bytes());
}

fn message(it: &Renderer) -> Value {
    let has_calls = !it.calls.is_empty();
    let content = if has_calls && it.text.is_empty() { Value::Null } else { Value::from(it.text.as_str()) };
    let mut message = json!({"role": "assistant", "content": content});
    if !it.thinking.is_empty() {
        message["reasoning_content"] = Value::from(it.thinking.as_str());
    }
    if has_calls {
        let calls = it.calls.iter().map(|call| {
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
        });
        message["tool_calls"] = calls.collect();
    }
    message
}

fn chunk(it: &Renderer, piece: Value, finish: Option<Finish>) -> Value {
    let finish = finish.map(Finish::as_str);
    let (object, choice) = if it.dialect == Dialect::OpenAiChat {
        ("chat.completion.chunk", json!({"index": 0, "delta": piece, "logprobs": null, "finish_reason": finish}))
    } else {
        ("text_completion", json!({"index": 0, "text": piece, "logprobs": null, "finish_reason": finish}))
    };
    json!({"id": it.id, "object": object, "created": it.created_s, "model": it.model, "choices": [choice]})
}
