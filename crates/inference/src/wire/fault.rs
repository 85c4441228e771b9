//! Errors of engines as faults, and faults as the events that end a stream in the client's dialect.

use std::time::Duration;

use base::{Code, Dialect, Fault};
use bytes::Bytes;
use serde_json::{Value, json};

use super::chunk::error_text;
use super::is_lines;

/// Of a body that is no JSON, so much is shown.
const MAX_SHOWN_CHARS: usize = 300;
/// When to come back to an engine that still loads its model and does not say when.
const LOADING_RETRY: Duration = Duration::from_secs(2);

/// What `engine` meant by answering with `status` and `body`.
///
/// Status and text decide; the `type` field of an error is not trusted, engines put anything there.
pub fn engine_fault(engine: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> Fault {
    let text = body_text(body);
    let (code, hint) = classify(status, &text);
    let shown = if text.is_empty() { format!("status {status}") } else { text };
    let fault = Fault::new(code, format!("engine `{engine}` refused the request: {shown}")).hint(hint);
    match (retry_after, code) {
        (Some(after), _) => fault.retry_after(after),
        (None, Code::Unavailable | Code::Overloaded) => fault.retry_after(LOADING_RETRY),
        (None, _) => fault,
    }
}

/// What an engine meant by an error inside an answer that had begun with status 200.
pub(super) fn in_stream(text: &str) -> Fault {
    let (code, hint) = classify(200, text);
    Fault::new(code, format!("the engine failed within its answer: {}", shorten(text))).hint(hint)
}

/// The answer stopped before its end.
pub(crate) fn cut() -> Fault {
    Fault::new(Code::EngineCut, "the engine's answer stopped before its end").hint("ask again")
}

/// The engine sent what no engine should.
pub(super) fn junk(what: impl std::fmt::Display) -> Fault {
    Fault::new(Code::EngineFailed, format!("the engine sent {what}"))
        .hint("ask again; if it stays so, look at the engine's log")
}

/// The event that ends a stream in `dialect` with `fault`. Nothing follows it.
pub fn error_event(dialect: Dialect, fault: &Fault) -> Bytes {
    let mut message = fault.full_message();
    if let Some(hint) = &fault.hint {
        message.push_str("; hint: ");
        message.push_str(hint);
    }
    let kind = kind_of(dialect, fault.code);
    let text = if is_lines(dialect) {
        format!("{}\n", json!({"error": message}))
    } else if dialect == Dialect::AnthropicMessages {
        let error = json!({"type": "error", "error": {"type": kind, "message": message}});
        format!("event: error\ndata: {error}\n\n")
    } else {
        let error = json!({"message": message, "type": kind, "param": null, "code": fault.code.as_str()});
        match dialect {
            // Some clients look at the event, others for an error in it.
            Dialect::OpenAiResponses => {
                let event = json!({"type": "error", "code": fault.code.as_str(), "message": message, "param": null,
                    "sequence_number": 0, "error": error});
                format!("event: error\ndata: {event}\n\n")
            }
            _ => format!("data: {}\n\n", json!({"error": error})),
        }
    };
    Bytes::from(text)
}

fn kind_of(dialect: Dialect, code: Code) -> &'static str {
    let is_anthropic = dialect == Dialect::AnthropicMessages;
    match code.http_status() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        503 if is_anthropic => "overloaded_error",
        _ if is_anthropic => "api_error",
        _ => "server_error",
    }
}

/// The text of an error body: `error.message`, `error`, `detail`, the items of `detail`, else the body as it is.
fn body_text(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return shorten(String::from_utf8_lossy(body).trim());
    };
    let detail = match value.get("detail") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(items)) => Some(items.iter().map(detail_item).collect::<Vec<_>>().join("; ")),
        _ => None,
    };
    let told = value.get("error").and_then(error_text).or(detail);
    shorten(&told.or_else(|| value.get("message").and_then(error_text)).unwrap_or_else(|| value.to_string()))
}

/// One finding of a validator: the field that it is about, and what is wrong.
fn detail_item(item: &Value) -> String {
    let message = item.get("msg").and_then(Value::as_str);
    let place: Vec<String> = item.get("loc").and_then(Value::as_array).map_or_else(Vec::new, |parts| {
        parts.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect()
    });
    match message {
        Some(message) => format!("{}: {message}", place.join(".")),
        None => item.to_string(),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn classify(status: u16, text: &str) -> (Code, &'static str) {
    let text = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // Engines in Go say "context deadline exceeded" and mean time.
    let is_about_time = text.contains("deadline exceeded");
    let is_long = has(&["exceed", "maximum context", "too long", "larger than", "overflow"]);
    if text.contains("context") && is_long && !is_about_time {
        return (Code::ContextExceeded, "shorten the prompt, or choose a model with a longer context");
    }
    if has(&["loading model", "model is loading", "cooldown"]) {
        return (Code::Unavailable, "wait until the engine has loaded the model");
    }
    if has(&["prefill", "enable_thinking"]) && status == 400 {
        return (Code::NotSupported, "ask again from the start; this engine cannot continue an answer");
    }
    if text.contains("invalid host header") {
        return (Code::EngineFailed, "start text-generation-webui with --listen, or reach it as localhost");
    }
    if status == 404 || (status != 200 && text.contains("model") && has(&["not found", "does not exist"])) {
        return (Code::ModelNotFound, "see `tmctl models` for what the engine offers");
    }
    if status == 500 && has(&["validation error", "'loc': ('body'"]) {
        // Of llama-cpp-python, whose every refusal has this status.
        return (Code::InvalidArgument, "correct the request as the engine says");
    }
    match status {
        401..=403 => (Code::EngineFailed, "check the key that is configured for this engine, and its account"),
        408 | 504 => (Code::EngineFailed, "the engine took too long; see `tmctl workers`"),
        413 => (Code::TooLarge, "send less in one request"),
        429 | 529 => (Code::Overloaded, "come back later, or add a worker"),
        501 => (Code::NotSupported, "choose another model or engine for this"),
        503 if has(&["busy", "queue", "overloaded", "too many"]) => (Code::Overloaded, "come back later"),
        503 => (Code::Unavailable, "wait until the engine is ready"),
        400..=499 if status != 499 => (Code::InvalidArgument, "correct the request as the engine says"),
        _ => (Code::EngineFailed, "ask again; if it stays so, look at the engine's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engines_error_is_understood() {
        let cases: &[(u16, &str, Code, &str)] = &[
            (404, r#"{"error":"model 'x' not found"}"#, Code::ModelNotFound, "model 'x' not found"),
            (
                503,
                r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#,
                Code::Overloaded,
                "server busy",
            ),
            (
                503,
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                Code::Unavailable,
                "Loading model",
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_ctx":512}}"#,
                Code::ContextExceeded,
                "exceeds",
            ),
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 512 tokens","code":"context_length_exceeded"}}"#,
                Code::ContextExceeded,
                "512",
            ),
            (
                500,
                r#"{"error":{"message":"[{'type': 'missing'}]","type":"internal_server_error"}}"#,
                Code::EngineFailed,
                "missing",
            ),
            (
                500,
                r#"{"error":{"message":"1 validation error:\n  {'type': 'float_parsing', 'loc': ('body', 'temperature')}","type":"internal_server_error"}}"#,
                Code::InvalidArgument,
                "temperature",
            ),
            (500, "Internal Server Error", Code::EngineFailed, "Internal Server Error"),
            (
                501,
                r#"{"error":{"code":501,"message":"This server does not support embeddings","type":"not_supported_error"}}"#,
                Code::NotSupported,
                "embeddings",
            ),
            (
                422,
                r#"{"detail":[{"loc":["body","max_tokens"],"msg":"value is not a valid integer","type":"type_error"}]}"#,
                Code::InvalidArgument,
                "body.max_tokens: value",
            ),
            (401, r#"{"detail":"Unauthorized"}"#, Code::EngineFailed, "Unauthorized"),
            (402, r#"{"error":{"message":"no credit is left"}}"#, Code::EngineFailed, "no credit"),
            (
                500,
                r#"{"error":"Post \"http://127.0.0.1\": context deadline exceeded"}"#,
                Code::EngineFailed,
                "deadline",
            ),
            (400, r#"{"detail":"Invalid host header"}"#, Code::EngineFailed, "Invalid host header"),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Code::Overloaded,
                "Overloaded",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prefill not supported"}}"#,
                Code::NotSupported,
                "prefill",
            ),
            (502, "", Code::EngineFailed, "status 502"),
        ];
        for (status, body, code, part) in cases {
            let fault = engine_fault("e", *status, None, body.as_bytes());
            assert_eq!(fault.code, *code, "{body}");
            assert!(fault.message.contains(part) && fault.hint.is_some(), "{body}: {fault:?}");
        }
        let fault = engine_fault("e", 503, Some(Duration::from_secs(9)), b"");
        assert_eq!((fault.code, fault.retry_after), (Code::Unavailable, Some(Duration::from_secs(9))));
    }

    #[test]
    fn error_events_have_the_form_of_their_dialect() {
        let fault = cut();
        let text = |dialect| String::from_utf8(error_event(dialect, &fault).to_vec()).unwrap();
        let message = "the engine's answer stopped before its end; hint: ask again";
        let openai = text(Dialect::OpenAiChat);
        let error: Value = serde_json::from_str(openai.strip_prefix("data: ").unwrap()).unwrap();
        let expected = json!({"message": message, "type": "server_error", "param": null, "code": "engine_cut"});
        assert_eq!(error, json!({ "error": expected }));
        assert!(openai.ends_with("}\n\n"));
        assert_eq!(text(Dialect::OllamaChat), format!("{{\"error\":\"{message}\"}}\n"));
        assert!(text(Dialect::AnthropicMessages).starts_with("event: error\ndata: {"));
    }
}
