//! Events and bodies of OpenAI's Responses.

use base::Finish;
use serde::Deserialize;
use serde_json::Value;

use super::{AnyUsage, CallPiece, Chunk, Created, Text, error_text, said};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    response: Option<Response<'a>>,
    output_index: Option<u32>,
    item: Option<Item>,
    delta: Option<String>,
    message: Option<String>,
    // Below: a whole body is the response itself.
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    object: Option<Text<'a>>,
    created_at: Option<f64>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    incomplete_details: Option<Details>,
    output: Option<Vec<Item>>,
    usage: Option<AnyUsage>,
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Response<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    created_at: Option<f64>,
    incomplete_details: Option<Details>,
    usage: Option<AnyUsage>,
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    reason: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Item {
    r#type: String,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    content: Option<Vec<Part>>,
    summary: Option<Vec<Part>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Part {
    text: Option<String>,
    refusal: Option<String>,
}

pub(super) fn read(json: &[u8]) -> serde_json::Result<Chunk<'_>> {
    let fields: Fields<'_> = serde_json::from_slice(json)?;
    let mut chunk = Chunk::default();
    match &*fields.r#type.0 {
        "response.output_text.delta" | "response.refusal.delta" => chunk.text = fields.delta.unwrap_or_default(),
        "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
            chunk.thinking = fields.delta.unwrap_or_default();
        }
        "response.output_item.added" => {
            let item = fields.item.unwrap_or_default();
            if item.r#type == "function_call" {
                chunk.calls.push(call(fields.output_index, item));
            }
        }
        "response.function_call_arguments.delta" => {
            let arguments = fields.delta.unwrap_or_default();
            chunk.calls.push(CallPiece { index: fields.output_index, arguments, ..CallPiece::default() });
        }
        "response.completed" | "response.incomplete" => {
            let response = begin(&mut chunk, fields.response);
            chunk.finish = Some(finish(response.incomplete_details));
            chunk.usage = response.usage.map(AnyUsage::usage);
            chunk.is_last = true;
        }
        "response.created" => drop(begin(&mut chunk, fields.response)),
        "response.failed" => {
            let error = begin(&mut chunk, fields.response).error.as_ref().and_then(error_text);
            chunk.error = Some(error.unwrap_or_else(|| "error".into()));
        }
        "error" => chunk.error = Some(fields.message.unwrap_or_else(|| "error".into())),
        "" => whole(&mut chunk, fields),
        _ => {}
    }
    Ok(chunk)
}

fn begin<'a>(chunk: &mut Chunk<'a>, response: Option<Response<'a>>) -> Response<'a> {
    let mut response = response.unwrap_or_default();
    (chunk.id, chunk.model) = (said(response.id.take()), said(response.model.take()));
    chunk.created = response.created_at.map_or(Created::Never, Created::Unix);
    response
}

fn whole<'a>(chunk: &mut Chunk<'a>, fields: Fields<'a>) {
    chunk.error = fields.error.as_ref().and_then(error_text);
    if fields.object.is_none_or(|object| object.0 != "response") {
        return;
    }
    (chunk.id, chunk.model) = (said(fields.id), said(fields.model));
    chunk.created = fields.created_at.map_or(Created::Never, Created::Unix);
    chunk.usage = fields.usage.map(AnyUsage::usage);
    let has_ended = fields.status.is_some_and(|status| matches!(&*status.0, "completed" | "incomplete"));
    chunk.finish = has_ended.then(|| finish(fields.incomplete_details));
    chunk.is_last = true;
    for (index, item) in (0u32..).zip(fields.output.unwrap_or_default()) {
        match item.r#type.as_str() {
            "message" => chunk.text.push_str(&text(item.content)),
            "reasoning" => chunk.thinking.push_str(&(text(item.summary) + &text(item.content))),
            "function_call" => chunk.calls.push(call(Some(index), item)),
            _ => {}
        }
    }
}

fn call(index: Option<u32>, item: Item) -> CallPiece {
    CallPiece { index, id: item.call_id, name: item.name, arguments: item.arguments.unwrap_or_default() }
}

fn text(parts: Option<Vec<Part>>) -> String {
    parts.into_iter().flatten().filter_map(|part| part.text.or(part.refusal)).collect()
}

/// The decoder knows of calls by itself.
fn finish(incomplete: Option<Details>) -> Finish {
    match incomplete.as_ref().map(|details| details.reason.as_str()) {
        Some("max_output_tokens") => Finish::Length,
        Some("content_filter") => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}
