//! Requests as Ollama writes them, `/api/chat` and `/api/generate`.

use std::collections::VecDeque;

use base::{Dialect, Result};
use serde_json::{Map, Value, json};

use super::{Call, Format, Part, Prompt, Role, Taken, ToolChoice, Turn};
use super::{SAMPLING, object, read_functions, refused, role, text_of, write_functions, wrong};

pub(super) fn read(prompt: &mut Prompt, fields: &mut Taken, dialect: Dialect) -> Result<()> {
    read_options(prompt, fields)?;
    prompt.keep_alive = fields.take("keep_alive");
    prompt.think = fields.take("think");
    prompt.format = match fields.take("format") {
        None => None,
        Some(Value::String(word)) if word.is_empty() => None,
        Some(Value::String(word)) if word == "json" => Some(Format::Json),
        Some(schema @ Value::Object(_)) => Some(Format::Schema(schema)),
        Some(_) => return Err(wrong("format", "\"json\" or a JSON schema")),
    };
    prompt.tools = read_functions(fields.take_list("tools")?)?;
    if dialect == Dialect::OllamaChat {
        return read_chat(prompt, fields.take_list("messages")?);
    }
    prompt.is_raw = fields.take("raw") == Some(true.into());
    prompt.turns.extend(fields.take_text("system")?.filter(|it| !it.is_empty()).map(|it| Turn::of(Role::System, it)));
    let mut turn = Turn::of(Role::User, fields.take_text("prompt")?.unwrap_or_default());
    turn.parts.extend(read_images(fields.take_list("images")?)?);
    prompt.turns.push(turn);
    Ok(())
}

/// Options are hints for the engine but for the sampling parameters, the limit and the stop strings.
fn read_options(prompt: &mut Prompt, fields: &mut Taken) -> Result<()> {
    let options = fields.take("options").map_or_else(|| Ok(Map::new()), |value| object(value, "options"))?;
    let mut options = Taken(options);
    prompt.read_sampling(&mut options);
    // Some clients put these two beside the options.
    let beside = fields.take("max_output_tokens");
    prompt.limit = options.take("num_predict").or(beside).and_then(|limit| limit.as_u64());
    if let Some(temperature) = fields.take("temperature") {
        prompt.sampling.entry("temperature").or_insert(temperature);
    }
    let stop = options.take("stop");
    prompt.read_stop(stop, "options.stop")
}

/// Older clients send tool calls without ids: each gets one, and results find theirs by the tool's name and order.
fn read_chat(prompt: &mut Prompt, messages: Vec<Value>) -> Result<()> {
    let mut open: VecDeque<(String, String)> = VecDeque::new();
    let mut next_id = 0;
    for message in messages {
        let mut message = object(message, "messages[]")?;
        let mut turn = Turn::of(role(&message)?, text_of(&mut message, "content").unwrap_or_default());
        if let Some(Value::Array(images)) = message.remove("images") {
            turn.parts.extend(read_images(images)?);
        }
        if let Some(Value::Array(calls)) = message.remove("tool_calls") {
            turn.calls = calls.into_iter().map(|call| read_call(call, &mut next_id)).collect::<Result<_>>()?;
            open.extend(turn.calls.iter().map(|call| (call.id.clone(), call.name.clone())));
        }
        if turn.role == Role::Tool {
            let (id, name) = (text_of(&mut message, "tool_call_id"), text_of(&mut message, "tool_name"));
            turn.tool_name = name.or_else(|| text_of(&mut message, "name")).unwrap_or_default();
            let place = open.iter().position(|(_, name)| *name == turn.tool_name).unwrap_or(0);
            let answered = open.remove(place).unwrap_or_default();
            turn.call_id = id.unwrap_or(answered.0);
        }
        prompt.turns.push(turn);
    }
    Ok(())
}

fn read_call(call: Value, next_id: &mut u32) -> Result<Call> {
    let mut call = object(call, "messages[].tool_calls[]")?;
    let mut function = object(call.remove("function").unwrap_or_default(), "messages[].tool_calls[].function")?;
    let name =
        text_of(&mut function, "name").ok_or_else(|| wrong("messages[].tool_calls[].function.name", "a string"))?;
    let id = text_of(&mut call, "id").filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{next_id}"));
    *next_id += 1;
    Ok(Call { id, name, arguments: function.remove("arguments").unwrap_or_else(|| json!({})) })
}

/// Ollama's images tell no media type; their first bytes do.
fn read_images(images: Vec<Value>) -> Result<Vec<Part>> {
    let read = |image: Value| match image {
        Value::String(data) => {
            let kind = match data.get(..4) {
                Some("/9j/") => "image/jpeg",
                Some("R0lG") => "image/gif",
                Some("UklG") => "image/webp",
                _ => "image/png",
            };
            Ok(Part::Image(kind.into(), data))
        }
        _ => Err(wrong("images", "a list of base64 strings")),
    };
    images.into_iter().map(read).collect()
}

pub(super) fn write(mut prompt: Prompt, out: &mut Map<String, Value>, dialect: Dialect) -> Result<()> {
    if prompt.tool_choice != ToolChoice::Auto {
        return Err(refused("tool_choice"));
    }
    let mut options: Map<String, Value> = std::mem::take(&mut prompt.sampling);
    options.retain(|name, _| SAMPLING.contains(&name.as_str()));
    options.extend(prompt.limit.map(|limit| ("num_predict".into(), limit.into())));
    if !prompt.stop.is_empty() {
        options.insert("stop".into(), std::mem::take(&mut prompt.stop).into());
    }
    if !options.is_empty() {
        out.insert("options".into(), options.into());
    }
    out.extend(prompt.keep_alive.take().map(|value| ("keep_alive".into(), value)));
    out.extend(prompt.think.take().map(|value| ("think".into(), value)));
    out.extend(prompt.format.take().map(|format| {
        let value = match format {
            Format::Json => "json".into(),
            Format::Schema(schema) => schema,
        };
        ("format".into(), value)
    }));
    if dialect == Dialect::OllamaGenerate {
        write_generate(prompt, out);
        return Ok(());
    }
    if prompt.is_raw && prompt.turns.len() > 1 {
        return Err(refused("raw"));
    }
    if !prompt.tools.is_empty() {
        out.insert("tools".into(), write_functions(prompt.tools));
    }
    out.insert("messages".into(), prompt.turns.into_iter().map(write_turn).collect());
    Ok(())
}

fn write_generate(prompt: Prompt, out: &mut Map<String, Value>) {
    if prompt.is_raw {
        out.insert("raw".into(), true.into());
    }
    for turn in prompt.turns {
        let name = if turn.role == Role::System { "system" } else { "prompt" };
        out.insert(name.into(), turn.text().into());
        let images = images(&turn);
        if !images.is_empty() {
            out.insert("images".into(), images.into());
        }
    }
}

fn images(turn: &Turn) -> Vec<Value> {
    let image = |part: &Part| match part {
        Part::Image(_, data) => Some(data.as_str().into()),
        Part::Text(_) => None,
    };
    turn.parts.iter().filter_map(image).collect()
}

fn write_turn(turn: Turn) -> Value {
    let word = match turn.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut message = json!({"role": word, "content": turn.text()});
    let images = images(&turn);
    if !images.is_empty() {
        message["images"] = images.into();
    }
    if turn.role == Role::Tool {
        message["tool_call_id"] = turn.call_id.into();
        message["tool_name"] = turn.tool_name.into();
    }
    if !turn.calls.is_empty() {
        let write = |call: Call| json!({"id": call.id, "function": {"name": call.name, "arguments": call.arguments}});
        message["tool_calls"] = turn.calls.into_iter().map(write).collect();
    }
    message
}
