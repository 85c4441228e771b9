//! Errors in each face's own shape, as a whole answer or as the last piece of one that has begun.

use base::{Code, Dialect, Face, Fault};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::answer_body::Outgoing;
use super::mcp::PATH as MCP_PATH;
use super::{cluster, projects, research};
use crate::tasks_json;

/// How an error looks on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As the clients of a face expect it.
    Face(Face),
    /// Ours, for projects, research and MCP: code, message and hint apart.
    Projects,
}

impl From<Face> for Shape {
    fn from(face: Face) -> Self {
        Self::Face(face)
    }
}

/// The shape of errors at a path, for refusals that come before anything else is known.
pub(super) fn shape_of(path: &str) -> Shape {
    match path {
        _ if projects::is_path(path) || research::is_path(path) || cluster::is_path(path) || path == MCP_PATH => {
            Shape::Projects
        }
        _ if path == "/api" || path.starts_with("/api/") => Shape::Face(Face::Ollama),
        _ if path.starts_with("/v1/messages") => Shape::Face(Face::Anthropic),
        _ => Shape::Face(Face::OpenAi),
    }
}

/// The face of a dialect.
pub(super) const fn face_of_dialect(dialect: Dialect) -> Face {
    match dialect {
        Dialect::OllamaChat | Dialect::OllamaGenerate | Dialect::OllamaEmbed | Dialect::OllamaEmbeddings => {
            Face::Ollama
        }
        Dialect::AnthropicMessages => Face::Anthropic,
        Dialect::OpenAiChat
        | Dialect::OpenAiResponses
        | Dialect::OpenAiCompletions
        | Dialect::OpenAiEmbeddings
        | Dialect::Rerank => Face::OpenAi,
    }
}

/// A whole answer that says `fault`, with its true status.
pub(super) fn response(shape: impl Into<Shape>, fault: &Fault) -> Response<Outgoing> {
    let bytes = match shape.into() {
        Shape::Face(face) => object(face, fault),
        Shape::Projects => plain_object(fault),
    };
    let mut response = Response::new(Outgoing::whole(bytes));
    *response.status_mut() =
        StatusCode::from_u16(fault.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = fault.retry_after_s() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// The answer to a method that `path` does not have.
pub(super) fn wrong_method(face: Face, path: &str, allow: &'static str) -> Response<Outgoing> {
    let fault = Fault::new(Code::MethodNotAllowed, format!("`{}` does not have this method", shown(path)))
        .hint(format!("use {allow}"));
    let mut response = response(face, &fault);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// The answer to a path that no face has.
pub(super) fn unknown_path(path: &str) -> Fault {
    let fault = Fault::new(Code::NotFound, format!("there is nothing at `{}`", shown(path)));
    if projects::is_path(path) {
        return fault.hint(
            "below /api/projects/NAME there are tags, tasks, tasks/IDS, tasks.json, next, check, history, \
             render/{tree, svg, report, readme, files, complexity}, edits, move, undo and jobs; below /api/jobs: ID, ID/events",
        );
    }
    if research::is_path(path) {
        return fault.hint(
            "below /api/research there are collections, collections/NAME, collections/NAME/documents, \
             collections/NAME/documents/ID, document, search, ask, loops, clusters and status",
        );
    }
    if cluster::is_path(path) {
        return fault.hint(
            "below /api/cluster there are nodes, nodes/NAME/drain, workers, models, asks, asks/ID, failures, health, mode, \
             load, dialled and live",
        );
    }
    fault.hint(
        "OpenAI clients use /v1 as base (/v1/chat/completions, /v1/models), Ollama clients the bare address (/api/chat, /api/tags); \
         gRPC has its own port",
    )
}

/// `fault` as one JSON object of `face`, without a line end.
pub(super) fn object(face: Face, fault: &Fault) -> Bytes {
    value(face, fault).to_string().into()
}

fn value(face: Face, fault: &Fault) -> Value {
    let message = match &fault.hint {
        Some(hint) => format!("{}; hint: {hint}", fault.full_message()),
        None => fault.full_message(),
    };
    match face {
        Face::Ollama => json!({ "error": message }),
        Face::Anthropic => json!({
            "type": "error",
            "error": { "type": anthropic_type(fault.code), "message": message },
        }),
        Face::OpenAi | Face::Grpc | Face::Internal => json!({ "error": {
            "message": message,
            "type": openai_type(fault.code),
            "param": (fault.code == Code::ModelNotFound).then_some("model"),
            "code": fault.code.as_str(),
        } }),
    }
}

/// `fault` with its parts apart.
fn plain_object(fault: &Fault) -> Bytes {
    json!({ "error": tasks_json::fault(fault) }).to_string().into()
}

/// `fault` as the last event of a stream in `dialect`.
pub(super) fn event(dialect: Dialect, fault: &Fault) -> Bytes {
    let face = face_of_dialect(dialect);
    let object = if dialect == Dialect::OpenAiResponses { response_event(fault) } else { object(face, fault) };
    let (before, after): (&[u8], &[u8]) = match face {
        Face::Ollama => (b"", b"\n"),
        Face::Anthropic => (b"event: error\ndata: ", b"\n\n"),
        _ if dialect == Dialect::OpenAiResponses => (b"event: error\ndata: ", b"\n\n"),
        _ => (b"data: ", b"\n\n"),
    };
    [before, &object, after].concat().into()
}

/// What OpenAI's Responses say of an error: the fields stand in the event, and in an `error` that other clients look for.
fn response_event(fault: &Fault) -> Bytes {
    let mut event = value(Face::OpenAi, fault);
    let message = event["error"]["message"].clone();
    event["type"] = "error".into();
    event["code"] = fault.code.as_str().into();
    event["message"] = message;
    event["param"] = Value::Null;
    event["sequence_number"] = 0.into();
    event.to_string().into()
}

fn openai_type(code: Code) -> &'static str {
    match code.http_status() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=498 => "invalid_request_error",
        _ => "server_error",
    }
}

fn anthropic_type(code: Code) -> &'static str {
    match code.http_status() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=498 => "invalid_request_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}

/// Client text for a message, cut to what a person reads.
fn shown(path: &str) -> &str {
    path.get(..path.floor_char_boundary(200)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_face_has_its_own_shape() {
        let fault = Fault::new(Code::ModelNotFound, "no worker offers model `x`").hint("nearest: `y`");
        let text = |face| String::from_utf8(object(face, &fault).to_vec()).unwrap();
        insta::assert_snapshot!(text(Face::OpenAi), @r#"{"error":{"message":"no worker offers model `x`; hint: nearest: `y`","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#);
        insta::assert_snapshot!(text(Face::Ollama), @r#"{"error":"no worker offers model `x`; hint: nearest: `y`"}"#);
        insta::assert_snapshot!(text(Face::Anthropic), @r#"{"type":"error","error":{"type":"not_found_error","message":"no worker offers model `x`; hint: nearest: `y`"}}"#);
    }

    #[test]
    fn an_error_in_a_stream_is_a_whole_event() {
        let fault = Fault::unavailable("gone");
        let text = |dialect| String::from_utf8(event(dialect, &fault).to_vec()).unwrap();
        assert!(text(Dialect::OpenAiChat).starts_with("data: {") && text(Dialect::OpenAiChat).ends_with("}\n\n"));
        assert_eq!(text(Dialect::OllamaChat), "{\"error\":\"gone\"}\n");
        assert!(text(Dialect::AnthropicMessages).starts_with("event: error\ndata: {\"type\":\"error\""));
    }
}
