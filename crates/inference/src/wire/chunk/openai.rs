//! OpenAI's chunks and bodies, of chats and of completions.

use base::Finish;
use serde::Deserialize;
use serde_json::Value;

use super::{AnyUsage, CallPiece, Chunk, Created, Text, error_text, said};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    created: Option<f64>,
    choices: Option<Vec<Choice>>,
    usage: Option<AnyUsage>,
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Choice {
    index: Option<u32>,
    delta: Option<Message>,
    message: Option<Message>,
    text: Option<String>,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ToolCall {
    index: Option<u32>,
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
    let choices = fields.choices.unwrap_or_default();
    let mut chunk = Chunk {
        id: said(fields.id),
        model: said(fields.model),
        created: fields.created.map_or(Created::Never, Created::Unix),
        is_usage_only: choices.is_empty() && fields.usage.is_some(),
        usage: fields.usage.map(AnyUsage::usage),
        error: fields.error.as_ref().and_then(error_text),
        ..Chunk::default()
    };
    for choice in choices {
        if choice.index.unwrap_or(0) == 0 {
            add(&mut chunk, choice);
        } else {
            chunk.is_other_choice = true;
        }
    }
    Ok(chunk)
}

fn add(chunk: &mut Chunk<'_>, choice: Choice) {
    chunk.finish = choice.finish_reason.filter(|word| !word.is_empty()).map(|word| Finish::parse(&word));
    chunk.text = choice.text.unwrap_or_default();
    // Perplexity sends the whole text so far in `message`, next to the piece in `delta`.
    let Some(message) = choice.delta.or(choice.message) else { return };
    if chunk.text.is_empty() {
        chunk.text = message.content.or(message.refusal).unwrap_or_default();
    }
    chunk.thinking = message.reasoning_content.or(message.reasoning).unwrap_or_default();
    for call in message.tool_calls.unwrap_or_default() {
        chunk.calls.push(CallPiece {
            index: call.index,
            id: call.id.filter(|id| !id.is_empty()),
            name: call.function.name.filter(|name| !name.is_empty()),
            arguments: match call.function.arguments {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text,
                Some(other) => other.to_string(),
            },
        });
    }
}
