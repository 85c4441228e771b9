//! Ollama's lines and bodies, of `/api/chat` and of `/api/generate`.

use base::{Finish, Usage};
use serde::Deserialize;
use serde_json::Value;

use super::{CallPiece, Chunk, Created, Text, count, error_text, said};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    created_at: Option<Text<'a>>,
    message: Option<Message>,
    response: Option<String>,
    thinking: Option<String>,
    done: Option<bool>,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ToolCall {
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Function {
    name: Option<String>,
    arguments: Option<Value>,
}

pub(super) fn read(json: &[u8]) -> serde_json::Result<Chunk<'_>> {
    let fields: Fields<'_> = serde_json::from_slice(json)?;
    let is_last = fields.done == Some(true);
    let message = fields.message.unwrap_or_default();
    let has_failed = fields.done_reason.as_deref() == Some("error");
    let told = fields.error.as_ref().and_then(error_text);
    let failed = || message.content.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| "error".to_owned());
    let mut chunk = Chunk {
        error: told.or_else(|| has_failed.then(failed)),
        model: said(fields.model),
        created: fields.created_at.map_or(Created::Never, |stamp| Created::Stamp(stamp.0)),
        usage: is_last.then(|| Usage {
            prompt_tokens: count(fields.prompt_eval_count),
            completion_tokens: count(fields.eval_count),
            cached_tokens: 0,
        }),
        finish: is_last.then(|| Finish::parse(fields.done_reason.as_deref().unwrap_or("stop"))),
        is_last,
        ..Chunk::default()
    };
    chunk.text = message.content.or(fields.response).unwrap_or_default();
    chunk.thinking = message.thinking.or(fields.thinking).unwrap_or_default();
    chunk.calls = message.tool_calls.unwrap_or_default().into_iter().map(piece).collect();
    Ok(chunk)
}

fn piece(call: ToolCall) -> CallPiece {
    let arguments = call.function.arguments.map_or_else(|| "{}".to_owned(), |arguments| arguments.to_string());
    CallPiece { index: None, id: call.id.filter(|id| !id.is_empty()), name: call.function.name, arguments }
}
