//! Requests as OpenAI's Responses take them. Nothing is kept here, so a request has to bring its whole conversation.

use base::{Fault, Result};
use serde_json::{Map, Value, json};

use super::{Call, Format, Part, Prompt, Role, Taken, Tool, ToolChoice, Turn};
use super::{no_parameters, object, refused, role, text_of, wrong};

/// What builds on answers that were kept, and what to do instead.
const KEPT: [(&str, &str); 4] = [
    ("previous_response_id", "send the whole conversation in `input`: earlier answers are not kept"),
    ("conversation", "send the whole conversation in `input`: none is kept"),
    ("background", "ask without `background`, with \"stream\": true where it takes long"),
    ("prompt", "send the text in `instructions` and `input`: no prompts are kept"),
];

pub(super) fn read(prompt: &mut Prompt, fields: &mut Taken) -> Result<()> {
    for (name, hint) in KEPT {
        if fields.take(name).is_some_and(|value| value != false) {
            return Err(Fault::invalid(format!("field `{name}` is not supported: nothing is stored")).hint(hint));
        }
    }
    for taste in ["include", "truncation", "max_tool_calls", "prompt_cache_retention", "top_logprobs"] {
        fields.take(taste);
    }
    prompt.read_sampling(fields);
    let stop = fields.take("stop");
    prompt.read_stop(stop, "stop")?;
    prompt.limit = fields.take_limit("max_output_tokens")?;
    prompt.think = fields.take("reasoning").and_then(|it| it.get("effort").cloned()).filter(|it| !it.is_null());
    prompt.think = prompt.think.take().map(|effort| if effort == "none" { false.into() } else { effort });
    prompt.format = fields.take("text").map(read_format).transpose()?.flatten();
    for tool in fields.take_list("tools")? {
        prompt.tools.push(read_tool(object(tool, "tools[]")?)?);
    }
    prompt.tool_choice = fields.take("tool_choice").map_or(Ok(ToolChoice::Auto), read_choice)?;
    prompt.turns.extend(fields.take_text("instructions")?.map(|text| Turn::of(Role::System, text)));
    match fields.take("input") {
        Some(Value::String(text)) => prompt.turns.push(Turn::of(Role::User, text)),
        Some(Value::Array(items)) => {
            for item in items {
                add_item(&mut prompt.turns, object(item, "input[]")?)?;
            }
        }
        _ => return Err(wrong("input", "a string or a list of items")),
    }
    Ok(())
}

fn read_format(text: Value) -> Result<Option<Format>> {
    match (text.pointer("/format/type").and_then(Value::as_str), text.pointer("/format/schema")) {
        (None | Some("text"), _) => Ok(None),
        (Some("json_object"), _) => Ok(Some(Format::Json)),
        (Some("json_schema"), Some(schema)) => Ok(Some(Format::Schema(schema.clone()))),
        (Some("json_schema"), None) => Err(wrong("text.format.schema", "a JSON schema")),
        _ => Err(refused("text.format")),
    }
}

fn read_tool(mut tool: Map<String, Value>) -> Result<Tool> {
    if tool.get("type").and_then(Value::as_str) != Some("function") {
        return Err(refused("tools[].type"));
    }
    let name = text_of(&mut tool, "name").ok_or_else(|| wrong("tools[].name", "a string"))?;
    let description = text_of(&mut tool, "description");
    let parameters = tool.remove("parameters").filter(|it| !it.is_null()).unwrap_or_else(no_parameters);
    Ok(Tool { name, description, parameters })
}

fn read_choice(choice: Value) -> Result<ToolChoice> {
    match (choice.as_str(), choice.get("name").and_then(Value::as_str)) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("required"), _) => Ok(ToolChoice::Required),
        (None, Some(name)) => Ok(ToolChoice::Named(name.into())),
        _ => Err(wrong("tool_choice", "auto, none, required or a function")),
    }
}

/// A message, a call of the assistant's (several in a row are one turn), or what a call brought.
fn add_item(turns: &mut Vec<Turn>, mut item: Map<String, Value>) -> Result<()> {
    match text_of(&mut item, "type").as_deref() {
        None | Some("message") => {
            let mut turn = Turn { role: role(&item)?, ..Turn::default() };
            turn.parts = read_content(item.remove("content").unwrap_or_default(), "input[].content")?;
            turns.push(turn);
        }
        Some("function_call") => {
            let arguments = text_of(&mut item, "arguments").filter(|text| !text.trim().is_empty());
            let arguments = arguments.map_or(Ok(json!({})), |text| serde_json::from_str(&text));
            let call = Call {
                id: text_of(&mut item, "call_id").unwrap_or_default(),
                name: text_of(&mut item, "name").ok_or_else(|| wrong("input[].name", "a string"))?,
                arguments: arguments.map_err(|_| wrong("input[].arguments", "JSON in a string"))?,
            };
            match turns.last_mut().filter(|turn| turn.role == Role::Assistant) {
                Some(turn) => turn.calls.push(call),
                None => turns.push(Turn { role: Role::Assistant, calls: vec![call], ..Turn::default() }),
            }
        }
        Some("function_call_output") => {
            let call_id = text_of(&mut item, "call_id").unwrap_or_default();
            let call = turns.iter().rev().flat_map(|turn| &turn.calls).find(|call| call.id == call_id);
            let tool_name = call.map(|call| call.name.clone()).unwrap_or_default();
            let parts = read_content(item.remove("output").unwrap_or_default(), "input[].output")?;
            turns.push(Turn { role: Role::Tool, call_id, tool_name, parts, ..Turn::default() });
        }
        // Reasoning of earlier turns belongs to the model that made it.
        Some("reasoning") => {}
        Some("item_reference") => {
            return Err(Fault::invalid("field `input[]` refers to an item, and none is stored")
                .hint("send the item itself; the official clients do with `store: false`"));
        }
        Some(_) => return Err(refused("input[].type")),
    }
    Ok(())
}

fn read_content(content: Value, name: &str) -> Result<Vec<Part>> {
    match content {
        Value::String(text) => Ok(vec![Part::Text(text)]),
        Value::Array(parts) => parts.into_iter().map(|part| read_part(object(part, name)?)).collect(),
        _ => Err(wrong(name, "a string or a list of parts")),
    }
}

fn read_part(mut part: Map<String, Value>) -> Result<Part> {
    match part.get("type").and_then(Value::as_str) {
        Some("input_text" | "output_text" | "text") => Ok(Part::Text(text_of(&mut part, "text").unwrap_or_default())),
        Some("refusal") => Ok(Part::Text(text_of(&mut part, "refusal").unwrap_or_default())),
        Some("input_image") => {
            let url = part.get("image_url").and_then(Value::as_str);
            let data = url.and_then(|url| url.strip_prefix("data:")?.split_once(";base64,"));
            let expected = "a data URL in base64 (images are never fetched)";
            data.map(|(kind, data)| Part::Image(kind.into(), data.into())).ok_or_else(|| wrong("image_url", expected))
        }
        _ => Err(refused("input[].content[].type")),
    }
}

pub(super) fn write(prompt: Prompt, out: &mut Map<String, Value>) {
    out.extend(prompt.sampling.into_iter().filter(|(name, _)| matches!(name.as_str(), "temperature" | "top_p")));
    out.extend(prompt.limit.map(|limit| ("max_output_tokens".into(), limit.into())));
    if !prompt.stop.is_empty() {
        out.insert("stop".into(), prompt.stop.into());
    }
    let format = prompt.format.map(|format| match format {
        Format::Json => json!({"type": "json_object"}),
        Format::Schema(schema) => json!({"type": "json_schema", "name": "answer", "schema": schema}),
    });
    out.extend(format.map(|format| ("text".into(), json!({ "format": format }))));
    let tool = |tool: Tool| {
        let (name, parameters) = (tool.name, tool.parameters);
        json!({"type": "function", "name": name, "description": tool.description, "parameters": parameters})
    };
    if !prompt.tools.is_empty() {
        out.insert("tools".into(), prompt.tools.into_iter().map(tool).collect());
    }
    match prompt.tool_choice {
        ToolChoice::Required => out.extend([("tool_choice".into(), "required".into())]),
        ToolChoice::Named(name) => {
            out.insert("tool_choice".into(), json!({"type": "function", "name": name}));
        }
        ToolChoice::Auto | ToolChoice::None => {}
    }
    out.insert("input".into(), prompt.turns.into_iter().flat_map(write_turn).collect());
}

fn write_turn(turn: Turn) -> Vec<Value> {
    let word = match turn.role {
        Role::Tool => {
            return vec![json!({"type": "function_call_output", "call_id": turn.call_id, "output": turn.text()})];
        }
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let kind = if turn.role == Role::Assistant { "output_text" } else { "input_text" };
    let part = |part: &Part| match part {
        Part::Text(text) => json!({"type": kind, "text": text}),
        Part::Image(media, data) => {
            json!({"type": "input_image", "image_url": format!("data:{media};base64,{data}")})
        }
    };
    let content: Vec<Value> = turn.parts.iter().map(part).collect();
    let message = (!content.is_empty()).then(|| json!({"type": "message", "role": word, "content": content}));
    let call = |call: Call| {
        let arguments = call.arguments.to_string();
        json!({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments})
    };
    message.into_iter().chain(turn.calls.into_iter().map(call)).collect()
}
