//! Requests as OpenAI writes them, chats and completions.

use base::{Dialect, Result};
use serde_json::{Map, Value, json};

use super::{Call, Format, Part, Prompt, Role, Taken, ToolChoice, Turn};
use super::{object, read_functions, refused, role, text_of, write_functions, wrong};

pub(super) fn read(prompt: &mut Prompt, fields: &mut Taken, dialect: Dialect) -> Result<()> {
    prompt.read_sampling(fields);
    let stop = fields.take("stop");
    prompt.read_stop(stop, "stop")?;
    let older = fields.take_limit("max_tokens")?;
    prompt.limit = fields.take_limit("max_completion_tokens")?.or(older);
    prompt.keep_alive = fields.take("keep_alive");
    prompt.format = fields.take("response_format").map(read_format).transpose()?.flatten();
    if dialect == Dialect::OpenAiCompletions {
        prompt.is_raw = true;
        prompt.turns = vec![Turn::of(Role::User, raw_prompt(fields.take("prompt"))?)];
        return Ok(());
    }
    prompt.think = fields.take("reasoning_effort").map(|effort| if effort == "none" { false.into() } else { effort });
    prompt.tools = read_functions(fields.take_list("tools")?)?;
    prompt.tool_choice = fields.take("tool_choice").map_or(Ok(ToolChoice::Auto), read_choice)?;
    for message in fields.take_list("messages")? {
        prompt.turns.push(read_turn(object(message, "messages[]")?)?);
    }
    Ok(())
}

fn raw_prompt(prompt: Option<Value>) -> Result<String> {
    match prompt {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(list)) => match <[Value; 1]>::try_from(list) {
            Ok([Value::String(text)]) => Ok(text),
            _ => Err(refused("prompt")),
        },
        _ => Err(wrong("prompt", "a string")),
    }
}

fn read_turn(mut message: Map<String, Value>) -> Result<Turn> {
    let mut turn = Turn { role: role(&message)?, ..Turn::default() };
    turn.parts = match message.remove("content") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![Part::Text(text)],
        Some(Value::Array(parts)) => parts.into_iter().map(read_part).collect::<Result<_>>()?,
        Some(_) => return Err(wrong("messages[].content", "a string or a list of parts")),
    };
    turn.call_id = text_of(&mut message, "tool_call_id").unwrap_or_default();
    turn.tool_name = text_of(&mut message, "name").unwrap_or_default();
    if let Some(Value::Array(calls)) = message.remove("tool_calls") {
        turn.calls = calls.into_iter().map(read_call).collect::<Result<_>>()?;
    }
    Ok(turn)
}

fn read_part(part: Value) -> Result<Part> {
    let mut part = object(part, "messages[].content[]")?;
    match part.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Part::Text(text_of(&mut part, "text").unwrap_or_default())),
        Some("image_url") => {
            let url = part.get("image_url").and_then(|it| it.get("url").or(Some(it))).and_then(Value::as_str);
            let data = url.and_then(|url| url.strip_prefix("data:")?.split_once(";base64,"));
            let expected = "a data URL in base64 (images are never fetched)";
            data.map(|(kind, data)| Part::Image(kind.into(), data.into())).ok_or_else(|| wrong("image_url", expected))
        }
        _ => Err(refused("messages[].content[].type")),
    }
}

fn read_call(call: Value) -> Result<Call> {
    let mut call = object(call, "messages[].tool_calls[]")?;
    let function = call.remove("function").unwrap_or_default();
    let mut function = object(function, "messages[].tool_calls[].function")?;
    let arguments = match function.remove("arguments") {
        None | Some(Value::Null) => json!({}),
        Some(Value::String(text)) if text.trim().is_empty() => json!({}),
        Some(Value::String(text)) => serde_json::from_str(&text)
            .map_err(|_| wrong("messages[].tool_calls[].function.arguments", "JSON in a string"))?,
        Some(value) => value,
    };
    let name =
        text_of(&mut function, "name").ok_or_else(|| wrong("messages[].tool_calls[].function.name", "a string"))?;
    Ok(Call { id: text_of(&mut call, "id").unwrap_or_default(), name, arguments })
}

fn read_choice(choice: Value) -> Result<ToolChoice> {
    match &choice {
        Value::String(word) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Err(wrong("tool_choice", "auto, none, required or a function")),
        },
        _ => match choice.pointer("/function/name").and_then(Value::as_str) {
            Some(name) => Ok(ToolChoice::Named(name.into())),
            None => Err(wrong("tool_choice", "auto, none, required or a function")),
        },
    }
}

fn read_format(format: Value) -> Result<Option<Format>> {
    let schema = |path: &str| format.pointer(path).cloned();
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(schema("/schema").map_or(Format::Json, Format::Schema))),
        Some("json_schema") => match schema("/json_schema/schema") {
            Some(schema) => Ok(Some(Format::Schema(schema))),
            None => Err(wrong("response_format.json_schema.schema", "a JSON schema")),
        },
        _ => Err(refused("response_format")),
    }
}

pub(super) fn write(prompt: Prompt, out: &mut Map<String, Value>, dialect: Dialect) -> Result<()> {
    out.extend(prompt.sampling);
    out.extend(prompt.limit.map(|limit| ("max_tokens".into(), limit.into())));
    if !prompt.stop.is_empty() {
        out.insert("stop".into(), prompt.stop.into());
    }
    out.extend(prompt.format.map(|format| ("response_format".into(), write_format(format))));
    if dialect == Dialect::OpenAiCompletions {
        let text: Vec<String> = prompt.turns.iter().map(Turn::text).collect();
        out.insert("prompt".into(), text.concat().into());
        return Ok(());
    }
    if prompt.is_raw {
        out.insert("messages".into(), json!([{"role": "user", "content": prompt.turns.first().map(Turn::text)}]));
        return Ok(());
    }
    if !prompt.tools.is_empty() {
        out.insert("tools".into(), write_functions(prompt.tools));
        match prompt.tool_choice {
            ToolChoice::Required => out.extend([("tool_choice".into(), "required".into())]),
            ToolChoice::Named(name) => {
                let choice = json!({"type": "function", "function": {"name": name}});
                out.extend([("tool_choice".into(), choice)]);
            }
            ToolChoice::Auto | ToolChoice::None => {}
        }
    }
    out.insert("messages".into(), prompt.turns.into_iter().map(write_turn).collect());
    Ok(())
}

fn write_turn(turn: Turn) -> Value {
    let word = match turn.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let has_image = turn.parts.iter().any(|part| matches!(part, Part::Image(..)));
    let content = if has_image {
        turn.parts.iter().map(write_part).collect()
    } else if turn.parts.is_empty() && !turn.calls.is_empty() {
        Value::Null
    } else {
        turn.text().into()
    };
    let mut message = json!({"role": word, "content": content});
    if turn.role == Role::Tool {
        message["tool_call_id"] = turn.call_id.into();
    }
    if !turn.calls.is_empty() {
        let write = |call: Call| {
            json!({"id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": call.arguments.to_string()}})
        };
        message["tool_calls"] = turn.calls.into_iter().map(write).collect();
    }
    message
}

fn write_part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image(kind, data) => {
            json!({"type": "image_url", "image_url": {"url": format!("data:{kind};base64,{data}")}})
        }
    }
}

fn write_format(format: Format) -> Value {
    match format {
        Format::Json => json!({"type": "json_object"}),
        Format::Schema(schema) => json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}),
    }
}
