//! Requests as Anthropic writes them.

use base::Result;
use serde_json::{Map, Value, json};

use super::{Call, Format, Part, Prompt, Role, Taken, Tool, ToolChoice, Turn};
use super::{no_parameters, object, refused, role, text_of, wrong};

/// The API wants a limit; this one is used when the client gave none.
const DEFAULT_LIMIT: u64 = 4096;

pub(super) fn read(prompt: &mut Prompt, fields: &mut Taken) -> Result<()> {
    prompt.read_sampling(fields);
    let stop = fields.take("stop_sequences");
    prompt.read_stop(stop, "stop_sequences")?;
    prompt.limit = fields.take_limit("max_tokens")?;
    prompt.format = fields.take("output_config").map(read_format).transpose()?.flatten();
    prompt.think = fields.take("thinking").map(|it| (it.get("type") == Some(&"enabled".into())).into());
    for tool in fields.take_list("tools")? {
        prompt.tools.push(read_tool(object(tool, "tools[]")?)?);
    }
    prompt.tool_choice = match fields.take("tool_choice") {
        None => ToolChoice::Auto,
        Some(choice) => {
            match (choice.get("type").and_then(Value::as_str), choice.get("name").and_then(Value::as_str)) {
                (Some("auto"), _) => ToolChoice::Auto,
                (Some("none"), _) => ToolChoice::None,
                (Some("any"), _) => ToolChoice::Required,
                (Some("tool"), Some(name)) => ToolChoice::Named(name.into()),
                _ => return Err(wrong("tool_choice", "of type auto, any, tool or none")),
            }
        }
    };
    if let Some(system) = fields.take("system") {
        let mut turn = Turn { role: Role::System, ..Turn::default() };
        add_content(&mut turn, system, &mut Vec::new())?;
        prompt.turns.push(turn);
    }
    for message in fields.take_list("messages")? {
        let mut message = object(message, "messages[]")?;
        let mut turn = Turn { role: role(&message)?, ..Turn::default() };
        // Results of tools stand inside a user's message; elsewhere they are turns of their own, before it.
        add_content(&mut turn, message.remove("content").unwrap_or_default(), &mut prompt.turns)?;
        if !(turn.parts.is_empty() && turn.calls.is_empty()) {
            prompt.turns.push(turn);
        }
    }
    Ok(())
}

fn read_format(config: Value) -> Result<Option<Format>> {
    match (config.pointer("/format/type").and_then(Value::as_str), config.pointer("/format/schema")) {
        (None, _) => Ok(None),
        (Some("json_schema"), Some(schema)) => Ok(Some(Format::Schema(schema.clone()))),
        _ => Err(refused("output_config")),
    }
}

fn read_tool(mut tool: Map<String, Value>) -> Result<Tool> {
    let is_own = matches!(tool.get("type").and_then(Value::as_str), None | Some("custom"));
    let name = text_of(&mut tool, "name").filter(|_| is_own).ok_or_else(|| refused("tools"))?;
    let description = text_of(&mut tool, "description");
    Ok(Tool { name, description, parameters: tool.remove("input_schema").unwrap_or_else(no_parameters) })
}

fn add_content(turn: &mut Turn, content: Value, results: &mut Vec<Turn>) -> Result<()> {
    match content {
        Value::String(text) => turn.parts.push(Part::Text(text)),
        Value::Array(blocks) => {
            for block in blocks {
                add_block(turn, object(block, "messages[].content[]")?, results)?;
            }
        }
        _ => return Err(wrong("messages[].content", "a string or a list of blocks")),
    }
    Ok(())
}

fn add_block(turn: &mut Turn, mut block: Map<String, Value>, results: &mut Vec<Turn>) -> Result<()> {
    let kind = text_of(&mut block, "type").unwrap_or_default();
    match kind.as_str() {
        "text" => turn.parts.push(Part::Text(text_of(&mut block, "text").unwrap_or_default())),
        "image" => {
            let source = block.remove("source").unwrap_or_default();
            let field = |name: &str| source.get(name).and_then(Value::as_str).map(str::to_owned);
            match (source.get("type").and_then(Value::as_str), field("media_type"), field("data")) {
                (Some("base64"), Some(kind), Some(data)) => turn.parts.push(Part::Image(kind, data)),
                _ => return Err(wrong("messages[].content[].source", "base64 (images are never fetched)")),
            }
        }
        "tool_use" => turn.calls.push(Call {
            id: text_of(&mut block, "id").unwrap_or_default(),
            name: text_of(&mut block, "name").unwrap_or_default(),
            arguments: block.remove("input").unwrap_or_else(|| json!({})),
        }),
        "tool_result" => {
            let call_id = text_of(&mut block, "tool_use_id").unwrap_or_default();
            let call = results.iter().rev().flat_map(|turn| &turn.calls).find(|call| call.id == call_id);
            let tool_name = call.map(|call| call.name.clone()).unwrap_or_default();
            let mut result = Turn { role: Role::Tool, call_id, tool_name, ..Turn::default() };
            let content = block.remove("content").unwrap_or_else(|| "".into());
            add_content(&mut result, content, &mut Vec::new())?;
            results.push(result);
        }
        // Reasoning of earlier turns belongs to the model that made it.
        "thinking" | "redacted_thinking" => {}
        _ => return Err(refused("messages[].content[].type")),
    }
    Ok(())
}

pub(super) fn write(prompt: Prompt, out: &mut Map<String, Value>) -> Result<()> {
    for (name, value) in prompt.sampling {
        match name.as_str() {
            // The scale ends at 1 here.
            "temperature" => out.extend([(name, value.as_f64().map_or(value, |degree| degree.min(1.0).into()))]),
            "top_p" | "top_k" => out.extend([(name, value)]),
            _ => {}
        }
    }
    out.insert("max_tokens".into(), prompt.limit.unwrap_or(DEFAULT_LIMIT).into());
    if !prompt.stop.is_empty() {
        out.insert("stop_sequences".into(), prompt.stop.into());
    }
    match prompt.format {
        None => {}
        Some(Format::Json) => return Err(refused("response_format")),
        Some(Format::Schema(schema)) => {
            out.insert("output_config".into(), json!({"format": {"type": "json_schema", "schema": schema}}));
        }
    }
    if !prompt.tools.is_empty() {
        out.insert("tools".into(), prompt.tools.into_iter().map(write_tool).collect());
    }
    match prompt.tool_choice {
        ToolChoice::Required => out.extend([("tool_choice".into(), json!({"type": "any"}))]),
        ToolChoice::Named(name) => out.extend([("tool_choice".into(), json!({"type": "tool", "name": name}))]),
        ToolChoice::Auto | ToolChoice::None => {}
    }
    let (system, turns): (Vec<Turn>, Vec<Turn>) = prompt.turns.into_iter().partition(|turn| turn.role == Role::System);
    if !system.is_empty() {
        let text: Vec<String> = system.iter().map(Turn::text).collect();
        out.insert("system".into(), text.join("\n\n").into());
    }
    out.insert("messages".into(), write_turns(turns));
    Ok(())
}

fn write_tool(tool: Tool) -> Value {
    let mut out = json!({"name": tool.name, "input_schema": tool.parameters});
    if let Some(description) = tool.description {
        out["description"] = description.into();
    }
    out
}

/// Roles alternate here, so neighbours of one role become one message.
fn write_turns(turns: Vec<Turn>) -> Value {
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::new();
    for turn in turns {
        let role = if turn.role == Role::Assistant { "assistant" } else { "user" };
        let blocks = write_blocks(turn);
        match messages.last_mut() {
            Some((last, content)) if *last == role => content.extend(blocks),
            _ => messages.push((role, blocks)),
        }
    }
    let write = |(role, blocks): (&str, Vec<Value>)| match blocks.as_slice() {
        [block] if block["type"] == "text" => json!({"role": role, "content": block["text"]}),
        _ => json!({"role": role, "content": blocks}),
    };
    messages.into_iter().map(write).collect()
}

fn write_blocks(turn: Turn) -> Vec<Value> {
    if turn.role == Role::Tool {
        return vec![json!({"type": "tool_result", "tool_use_id": turn.call_id, "content": turn.text()})];
    }
    let mut blocks: Vec<Value> = Vec::new();
    for part in turn.parts {
        match part {
            // The API refuses empty text.
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => blocks.push(json!({"type": "text", "text": text})),
            Part::Image(kind, data) => {
                let source = json!({"type": "base64", "media_type": kind, "data": data});
                blocks.push(json!({"type": "image", "source": source}));
            }
        }
    }
    let write = |call: Call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments});
    blocks.extend(turn.calls.into_iter().map(write));
    blocks
}
