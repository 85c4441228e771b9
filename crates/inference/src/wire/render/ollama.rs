//! Ollama's lines and bodies, of `/api/chat` and of `/api/generate`.

use std::time::Duration;

use base::time::{rfc3339, unix_ms};
use base::{Dialect, Finish};
use serde_json::{Value, json};

use super::Renderer;

pub(super) fn text(it: &Renderer, text: &str, out: &mut Vec<u8>) {
    write_line(&line(it, text, None), out);
}

pub(super) fn thinking(it: &Renderer, text: &str, out: &mut Vec<u8>) {
    write_line(&line(it, "", Some(text)), out);
}

pub(super) fn end(it: &Renderer, finish: Finish, out: &mut Vec<u8>) {
    if !it.calls.is_empty() {
        let mut value = line(it, "", None);
        add_calls(it, &mut value);
        write_line(&value, out);
    }
    let mut last = line(it, "", None);
    add_end(it, finish, &mut last);
    write_line(&last, out);
}

pub(super) fn whole(it: &Renderer, finish: Finish, out: &mut Vec<u8>) {
    let thinking = Some(it.thinking.as_str()).filter(|text| !text.is_empty());
    let mut body = line(it, &it.text, thinking);
    add_calls(it, &mut body);
    add_end(it, finish, &mut body);
    out.extend_from_slice(body.to_string().as_bytes());
}

fn line(it: &Renderer, text: &str, thinking: Option<&str>) -> Value {
    let mut value = json!({"model": it.model, "created_at": rfc3339(unix_ms()), "done": false});
    let place = if it.dialect == Dialect::OllamaChat {
        value["message"] = json!({"role": "assistant", "content": text});
        &mut value["message"]
    } else {
        value["response"] = Value::from(text);
        &mut value
    };
    if let Some(thinking) = thinking {
        place["thinking"] = Value::from(thinking);
    }
    value
}

fn add_calls(it: &Renderer, value: &mut Value) {
    if it.calls.is_empty() || it.dialect != Dialect::OllamaChat {
        return;
    }
    let call = |call: &super::Call| {
        let function = json!({"name": call.name, "arguments": call.arguments_value()});
        json!({"id": call.id, "function": function})
    };
    value["message"]["tool_calls"] = it.calls.iter().map(call).collect();
}

fn add_end(it: &Renderer, finish: Finish, value: &mut Value) {
    let (total, usage) = (it.started.elapsed(), it.usage());
    let first = it.first.unwrap_or(total);
    value["done"] = true.into();
    value["done_reason"] = if finish == Finish::Length { "length" } else { "stop" }.into();
    value["total_duration"] = nanos(total);
    value["load_duration"] = 0.into();
    value["prompt_eval_count"] = usage.prompt_tokens.into();
    value["prompt_eval_duration"] = nanos(first);
    value["eval_count"] = usage.completion_tokens.into();
    value["eval_duration"] = nanos(total.saturating_sub(first));
}

fn nanos(duration: Duration) -> Value {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).into()
}

fn write_line(value: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{value}\n").as_bytes());
}
