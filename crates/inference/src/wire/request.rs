//! The engine's request for an ask: the client's bytes with splices, or a translation with the same splices.

use base::{Ask, AskHead, Code, Continuation, Dialect, Fault, Result};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::prompt::Prompt;
use super::splice::{Fields, quoted};
use super::{ContinueBy, EngineRequest, SchemaBy, Target, embed, path_of, shape};

/// A prompt of so many tokens fits the context that Ollama loads a model with, and an answer behind it.
const USUAL_PROMPT_TOKENS: u32 = 2048;

/// The engine's request for `ask`, to be answered from the start or behind `continuation`.
///
/// An ask in the engine's dialect keeps its bytes but for: the model's name, a limit beyond the context, the wish for
/// token counts in an OpenAI stream, the text so far, and what the engine's quirks demand.
pub fn request(ask: &Ask, target: &Target<'_>, continuation: Option<&Continuation>) -> Result<EngineRequest> {
    let continued = continuation.filter(|continuation| !continuation.text.is_empty());
    let dialect = dialect_for(ask, target, continued);
    let mut calls = None;
    let body = if dialect == ask.head.dialect {
        ask.body.clone()
    } else if dialect.is_generation() && ask.head.dialect.is_generation() {
        let mut prompt = Prompt::read(ask.head.dialect, &ask.body, ask.head.stream)?;
        if dialect != Dialect::AnthropicMessages {
            calls = prompt.call_by_schema();
        }
        Bytes::from(prompt.write(dialect, target.engine_model)?.to_string())
    } else {
        embed::request(&ask.body, ask.head.dialect, dialect)?
    };
    let body = spliced(body, dialect, &ask.head, target, continued)?;
    Ok(EngineRequest { path: path_of(dialect), body, dialect, calls })
}

/// `/api/generate` puts its prompt into a template, so an answer to it is continued as the chat that it is.
fn dialect_for(ask: &Ask, target: &Target<'_>, continued: Option<&Continuation>) -> Dialect {
    let is_generate = ask.head.dialect == Dialect::OllamaGenerate && target.dialect == Dialect::OllamaGenerate;
    let by_message = matches!(target.continue_by, ContinueBy::TrailingAssistant { .. });
    if is_generate && by_message && continued.is_some() { Dialect::OllamaChat } else { target.dialect }
}

fn spliced(
    body: Bytes,
    dialect: Dialect,
    head: &AskHead,
    target: &Target<'_>,
    continued: Option<&Continuation>,
) -> Result<Bytes> {
    let limit = limit(head, target, continued);
    let adds_usage = is_openai(dialect) && head.stream && !head.wants_usage_chunk;
    let is_renamed = dialect != head.dialect || *head.model != *target.engine_model;
    let has_quirks = target.quirks != super::Quirks::default();
    let has_format = head.needs.schema;
    let is_plain = !(is_renamed || adds_usage || has_quirks || has_format || needs_options(&body, dialect, head));
    if is_plain && limit.is_none() && continued.is_none() {
        return Ok(body);
    }
    let mut fields = Fields::of_request(&body)?;
    if is_renamed {
        fields.set("model", quoted(target.engine_model));
    }
    if super::is_lines(dialect) {
        tidy_options(&mut fields, head, target)?;
    }
    if let Some(limit) = limit {
        set_limit(&mut fields, dialect, limit)?;
    }
    if adds_usage || (is_openai(dialect) && head.stream && dialect != head.dialect) {
        set_object_field(&mut fields, "stream_options", "include_usage", true.into())?;
    }
    if let Some(continued) = continued {
        continue_text(&mut fields, dialect, target.continue_by, continued)?;
    }
    if has_format {
        infer_schema(&mut fields, dialect);
    }
    if has_quirks {
        apply_quirks(&mut fields, target)?;
    }
    let changed = fields.changed();
    Ok(changed.map_or(body, Bytes::from))
}

/// Whether [`tidy_options`] may have something to do; looks at the body only as far as a search does.
fn needs_options(body: &[u8], dialect: Dialect, head: &AskHead) -> bool {
    let has = |name: &[u8]| memchr::memmem::find(body, name).is_some();
    super::is_lines(dialect)
        && (head.prompt_tokens > USUAL_PROMPT_TOKENS || has(b"\"temperature\"") || has(b"\"max_output_tokens\""))
}

/// Ollama reads its options only where they belong, and cuts a prompt that is longer than the context that it was loaded
/// with, without a word: some clients put options beside each other's fields, and none says how much context it needs.
fn tidy_options(fields: &mut Fields<'_>, head: &AskHead, target: &Target<'_>) -> Result<()> {
    let options: Option<Map<String, Value>> =
        fields.get("options").and_then(|options| serde_json::from_str(options).ok());
    let given = |name: &str| options.as_ref().is_some_and(|options| options.contains_key(name));
    for (outer, inner) in [("temperature", "temperature"), ("max_output_tokens", "num_predict")] {
        let Some(value) = fields.get(outer).and_then(|raw| serde_json::from_str::<Value>(raw).ok()) else { continue };
        fields.remove(outer);
        if !given(inner) {
            set_object_field(fields, "options", inner, value)?;
        }
    }
    if head.prompt_tokens > USUAL_PROMPT_TOKENS && target.context_tokens > 0 && !given("num_ctx") {
        // The size is an estimate, and an answer has to fit behind the prompt; in steps, because each is a load.
        let room = head.prompt_tokens.saturating_add(head.prompt_tokens / 4).saturating_add(USUAL_PROMPT_TOKENS);
        let context = room.checked_next_power_of_two().unwrap_or(room).min(target.context_tokens);
        set_object_field(fields, "options", "num_ctx", context.into())?;
    }
    Ok(())
}

const fn is_openai(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiCompletions)
}

/// The limit on the answer where it differs from the client's: what is left of it, clamped to the context.
fn limit(head: &AskHead, target: &Target<'_>, continued: Option<&Continuation>) -> Option<u32> {
    let asked = head.max_output_tokens?;
    let left = asked.saturating_sub(continued.map_or(0, |continuation| continuation.tokens));
    let room = match target.context_tokens {
        0 => u32::MAX,
        // The prompt's size is an estimate; when it seems not to fit at all, the engine is the one to say so.
        context if head.prompt_tokens >= context => context,
        context => context - head.prompt_tokens,
    };
    let limit = left.min(room).max(1);
    (limit != asked && head.dialect.is_generation()).then_some(limit)
}

fn set_limit(fields: &mut Fields<'_>, dialect: Dialect, limit: u32) -> Result<()> {
    match dialect {
        Dialect::OllamaChat | Dialect::OllamaGenerate => {
            set_object_field(fields, "options", "num_predict", limit.into())
        }
        _ if fields.get("max_completion_tokens").is_some() => {
            fields.set("max_completion_tokens", limit.to_string());
            Ok(())
        }
        _ => {
            fields.set("max_tokens", limit.to_string());
            Ok(())
        }
    }
}

/// Sets one field of an object that is a field itself, and keeps its others.
fn set_object_field(fields: &mut Fields<'_>, outer: &'static str, inner: &'static str, value: Value) -> Result<()> {
    let inside = fields.get(outer).unwrap_or("{}").to_owned();
    let mut object = Fields::parse(inside.as_bytes()).ok_or_else(|| wrong(outer, "an object"))?;
    object.set(inner, value.to_string());
    let changed = String::from_utf8(object.changed().unwrap_or_default()).map_err(|_| wrong(outer, "an object"))?;
    fields.set(outer, changed);
    Ok(())
}

fn wrong(name: &str, expected: &str) -> Fault {
    Fault::invalid(format!("field `{name}` is not {expected}")).hint(format!("give `{name}` as {expected}"))
}

fn cannot_continue(why: &str) -> Fault {
    Fault::new(Code::NotSupported, format!("the answer cannot be continued: {why}")).hint("ask again from the start")
}

fn continue_text(fields: &mut Fields<'_>, dialect: Dialect, by: ContinueBy, so_far: &Continuation) -> Result<()> {
    match (by, dialect) {
        (ContinueBy::Never, _) => return Err(cannot_continue("the engine always begins a new turn")),
        (_, Dialect::OpenAiCompletions | Dialect::OllamaGenerate) => return continue_prompt(fields, &so_far.text),
        (ContinueBy::RawPrompt, _) => return Err(cannot_continue("a chat has no raw prompt")),
        _ => {}
    }
    let messages = fields.get("messages").unwrap_or("[]");
    let mut messages: Vec<Value> = serde_json::from_str(messages).map_err(|_| wrong("messages", "a list"))?;
    continue_messages(&mut messages, &so_far.text, by.echoes())?;
    fields.set("messages", Value::from(messages).to_string());
    match by {
        ContinueBy::VllmFlags => {
            fields.set("continue_final_message", "true");
            fields.set("add_generation_prompt", "false");
        }
        ContinueBy::WebUiFlag => fields.set("continue_", "true"),
        _ => {}
    }
    // The reasoning is over when text has come; templates refuse to go on within a turn that may still think.
    if !so_far.thinking.is_empty() {
        match dialect {
            Dialect::OpenAiChat => set_object_field(fields, "chat_template_kwargs", "enable_thinking", false.into())?,
            Dialect::OllamaChat => fields.set("think", "false"),
            _ => {}
        }
    }
    Ok(())
}

fn continue_prompt(fields: &mut Fields<'_>, text: &str) -> Result<()> {
    let prompt = fields.get("prompt").unwrap_or("\"\"");
    let whole = match serde_json::from_str(prompt) {
        Ok(Value::String(prompt)) => prompt + text,
        Ok(Value::Array(items)) => match items.as_slice() {
            [Value::String(prompt)] => format!("{prompt}{text}"),
            _ => return Err(cannot_continue("its prompt is not one text")),
        },
        _ => return Err(cannot_continue("its prompt is not one text")),
    };
    if fields.get("echo") == Some("true") || fields.get("suffix").is_some() {
        return Err(cannot_continue("`echo` and `suffix` belong to a whole answer"));
    }
    fields.set("prompt", quoted(&whole));
    Ok(())
}

/// Puts the text so far into the last message of the assistant.
///
/// The client may have begun the answer itself with such a message. An engine that echoes has then repeated that
/// beginning to the client, so that it is part of the text so far.
fn continue_messages(messages: &mut Vec<Value>, text: &str, echoes: bool) -> Result<()> {
    let begun = messages.last_mut().filter(|last| last.get("role").and_then(Value::as_str) == Some("assistant"));
    let Some(last) = begun else {
        messages.push(json!({"role": "assistant", "content": text}));
        return Ok(());
    };
    let content = match last.get("content") {
        Some(Value::String(content)) => content.clone(),
        _ => return Err(cannot_continue("the client's own beginning of the answer is not plain text")),
    };
    let whole = match (echoes, content.starts_with(text)) {
        (true, true) => content,
        (true, false) => text.to_owned(),
        (false, _) => content + text,
    };
    if let Some(last) = last.as_object_mut() {
        last.insert("content".into(), whole.into());
    }
    Ok(())
}

/// Gives a wish for JSON of no schema the one that the prompt describes, if it does so plainly.
fn infer_schema(fields: &mut Fields<'_>, dialect: Dialect) {
    let name = match dialect {
        Dialect::OpenAiChat => "response_format",
        Dialect::OllamaChat => "format",
        _ => return,
    };
    let format: Option<Value> = fields.get(name).and_then(|raw| serde_json::from_str(raw).ok());
    let is_any = format.is_some_and(|format| match dialect {
        Dialect::OllamaChat => format == "json",
        _ => format["type"] == "json_object" && format.get("schema").is_none(),
    });
    if !is_any {
        return;
    }
    let Some(Ok(messages)) = fields.get("messages").map(serde_json::from_str::<Vec<Value>>) else { return };
    let text = |message: &'_ Value| match &message["content"] {
        Value::String(text) => text.clone(),
        parts => parts.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect(),
    };
    let texts: Vec<(bool, String)> =
        messages.iter().map(|message| (message["role"] == "system", text(message))).collect();
    let texts: Vec<(bool, &str)> = texts.iter().map(|(is_system, text)| (*is_system, text.as_str())).collect();
    let Some(schema) = shape::infer(&texts) else { return };
    let format = match dialect {
        Dialect::OllamaChat => schema,
        _ => json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}),
    };
    fields.set(name, format.to_string());
}

fn apply_quirks(fields: &mut Fields<'_>, target: &Target<'_>) -> Result<()> {
    for name in target.quirks.drops {
        fields.remove(name);
    }
    let Some(format) = fields.get("response_format") else { return Ok(()) };
    let format: Map<String, Value> = serde_json::from_str(format).map_err(|_| wrong("response_format", "an object"))?;
    let kind = format.get("type").and_then(Value::as_str);
    let changed = match (target.quirks.schema_by, kind) {
        (SchemaBy::JsonObject, Some("json_schema")) => {
            let schema = format.get("json_schema").and_then(|it| it.get("schema")).cloned();
            json!({"type": "json_object", "schema": schema.ok_or_else(|| wrong("response_format", "a named schema"))?})
        }
        (SchemaBy::JsonSchema, Some("json_object")) => {
            let schema = format.get("schema").cloned().unwrap_or_else(|| json!({"type": "object"}));
            json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}})
        }
        _ => return Ok(()),
    };
    fields.set("response_format", changed.to_string());
    Ok(())
}
