//! Anthropic's named events and bodies.

use base::Finish;
use serde::Deserialize;
use serde_json::Value;

use super::{AnyUsage, CallPiece, Chunk, Text, error_text, said};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    index: Option<u32>,
    content_block: Option<Block>,
    delta: Option<Delta>,
    usage: Option<AnyUsage>,
    error: Option<Value>,
    // Below: a whole body is the message itself.
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    content: Option<Vec<Block>>,
    stop_reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    usage: Option<AnyUsage>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Block {
    r#type: String,
    text: Option<String>,
    thinking: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Delta {
    text: Option<String>,
    thinking: Option<String>,
    partial_json: Option<String>,
    stop_reason: Option<String>,
}

pub(super) fn read(json: &[u8]) -> serde_json::Result<Chunk<'_>> {
    let fields: Fields<'_> = serde_json::from_slice(json)?;
    let mut chunk = Chunk { usage: fields.usage.map(AnyUsage::usage), ..Chunk::default() };
    match &*fields.r#type.0 {
        "message_start" => {
            let message = fields.message.unwrap_or_default();
            (chunk.id, chunk.model) = (said(message.id), said(message.model));
            chunk.usage = message.usage.map(AnyUsage::usage);
        }
        "content_block_start" => begin(&mut chunk, fields.index, fields.content_block.unwrap_or_default()),
        "content_block_delta" => add(&mut chunk, fields.index, fields.delta.unwrap_or_default()),
        "message_delta" => chunk.finish = fields.delta.and_then(|it| it.stop_reason).map(|word| Finish::parse(&word)),
        "message_stop" => chunk.is_last = true,
        "error" => chunk.error = Some(fields.error.as_ref().and_then(error_text).unwrap_or_else(|| "error".into())),
        "message" => {
            (chunk.id, chunk.model) = (said(fields.id), said(fields.model));
            chunk.finish = fields.stop_reason.map(|word| Finish::parse(&word));
            chunk.is_last = true;
            for (index, block) in (0u32..).zip(fields.content.unwrap_or_default()) {
                whole(&mut chunk, index, block);
            }
        }
        _ => {}
    }
    Ok(chunk)
}

fn begin(chunk: &mut Chunk<'_>, index: Option<u32>, block: Block) {
    if block.r#type == "tool_use" {
        chunk.calls.push(CallPiece { index, id: block.id, name: block.name, arguments: String::new() });
    }
    chunk.text = block.text.unwrap_or_default();
    chunk.thinking = block.thinking.unwrap_or_default();
}

fn add(chunk: &mut Chunk<'_>, index: Option<u32>, delta: Delta) {
    chunk.text = delta.text.unwrap_or_default();
    chunk.thinking = delta.thinking.unwrap_or_default();
    if let Some(arguments) = delta.partial_json {
        chunk.calls.push(CallPiece { index, arguments, ..CallPiece::default() });
    }
}

fn whole(chunk: &mut Chunk<'_>, index: u32, block: Block) {
    chunk.text.push_str(&block.text.unwrap_or_default());
    chunk.thinking.push_str(&block.thinking.unwrap_or_default());
    if block.r#type == "tool_use" {
        let arguments = block.input.map_or_else(|| "{}".to_owned(), |input| input.to_string());
        chunk.calls.push(CallPiece { index: Some(index), id: block.id, name: block.name, arguments });
    }
}
