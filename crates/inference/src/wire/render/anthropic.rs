//! Anthropic's named events and bodies. A stream is a row of blocks, of which one at a time is open.

use base::{Finish, Usage};
use serde_json::{Value, json};

use super::Renderer;
use crate::wire::terminator;

/// Which blocks were begun, and which one is open.
#[derive(Default)]
pub(super) struct Blocks {
    next: u32,
    open: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Thinking,
    Call(usize),
}

impl Blocks {
    /// The blocks of a client that holds `text` and `thinking`.
    pub(super) fn behind(text: &str, thinking: &str) -> Self {
        match (text.is_empty(), thinking.is_empty()) {
            (true, true) => Self::default(),
            (true, false) => Self { next: 1, open: Some(Kind::Thinking) },
            (false, true) => Self { next: 1, open: Some(Kind::Text) },
            (false, false) => Self { next: 2, open: Some(Kind::Text) },
        }
    }

    /// Opens a block of `kind` unless it is the open one; gives the index of the block.
    fn enter(&mut self, kind: Kind, block: Value, out: &mut Vec<u8>) -> u32 {
        if self.open != Some(kind) {
            self.close(out);
            self.open = Some(kind);
            write("content_block_start", json!({"index": self.next, "content_block": block}), out);
            self.next += 1;
        }
        self.next.saturating_sub(1)
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            write("content_block_stop", json!({"index": self.next.saturating_sub(1)}), out);
        }
    }
}

pub(super) fn begin(it: &Renderer, out: &mut Vec<u8>) {
    let usage = json!({"input_tokens": it.prompt_tokens, "output_tokens": 0});
    let message = json!({"id": it.id, "type": "message", "role": "assistant", "model": it.model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage});
    write("message_start", json!({ "message": message }), out);
}

pub(super) fn text(it: &mut Renderer, text: &str, out: &mut Vec<u8>) {
    let index = it.blocks.enter(Kind::Text, json!({"type": "text", "text": ""}), out);
    write("content_block_delta", json!({"index": index, "delta": {"type": "text_delta", "text": text}}), out);
}

pub(super) fn thinking(it: &mut Renderer, text: &str, out: &mut Vec<u8>) {
    let block = json!({"type": "thinking", "thinking": "", "signature": ""});
    let index = it.blocks.enter(Kind::Thinking, block, out);
    write("content_block_delta", json!({"index": index, "delta": {"type": "thinking_delta", "thinking": text}}), out);
}

pub(super) fn call(it: &mut Renderer, place: usize, is_new: bool, arguments: &str, out: &mut Vec<u8>) {
    let Some(call) = it.calls.get(place) else { return };
    if !is_new && it.blocks.open != Some(Kind::Call(place)) {
        // A late piece of a closed block has no place in this dialect.
        return;
    }
    let block = json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
    let index = it.blocks.enter(Kind::Call(place), block, out);
    let delta = json!({"type": "input_json_delta", "partial_json": arguments});
    write("content_block_delta", json!({"index": index, "delta": delta}), out);
}

pub(super) fn end(it: &mut Renderer, finish: Finish, out: &mut Vec<u8>) {
    it.blocks.close(out);
    let delta = json!({"stop_reason": reason(finish), "stop_sequence": null});
    write("message_delta", json!({"delta": delta, "usage": usage_json(it.usage())}), out);
    out.extend_from_slice(terminator(it.dialect));
}

pub(super) fn whole(it: &Renderer, finish: Finish, out: &mut Vec<u8>) {
    let mut content = Vec::new();
    if !it.thinking.is_empty() {
        content.push(json!({"type": "thinking", "thinking": it.thinking, "signature": ""}));
    }
    if !it.text.is_empty() {
        content.push(json!({"type": "text", "text": it.text}));
    }
    content.extend(
        it.calls
            .iter()
            .map(|call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments_value()})),
    );
    let body = json!({"id": it.id, "type": "message", "role": "assistant", "model": it.model, "content": content,
        "stop_reason": reason(finish), "stop_sequence": null, "usage": usage_json(it.usage())});
    out.extend_from_slice(body.to_string().as_bytes());
}

fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter => "refusal",
    }
}

fn usage_json(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "output_tokens": usage.completion_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
    })
}

fn write(name: &str, mut fields: Value, out: &mut Vec<u8>) {
    fields["type"] = Value::from(name);
    out.extend_from_slice(format!("event: {name}\ndata: {fields}\n\n").as_bytes());
}
