//! Turns gRPC requests into asks: the bodies are OpenAI's, so that every engine and every rule behind the desk holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::time::Deadline;
use base::{Ask, AskHead, Continuation, Dialect, Face, Fault, Grant, Kind, Priority, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proto::inference::{EmbedRequest, GenerateRequest, Message, RerankRequest};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tonic::metadata::MetadataMap;

/// What a call brings besides its message.
pub(super) struct Call {
    grant: Arc<Grant>,
    traceparent: Arc<str>,
    patience: Duration,
}

impl Call {
    /// Reads the metadata; the call may take `most`, or less when the client says so.
    pub(super) fn read(metadata: &MetadataMap, grant: Arc<Grant>, most: Duration) -> Self {
        let timeout = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(grpc_timeout);
        Self {
            grant,
            traceparent: proto::trace::extract(metadata).into(),
            patience: timeout.map_or(most, |timeout| timeout.min(most)),
        }
    }

    fn ask(self, dialect: Dialect, kind: Kind, priority: Priority, body: String) -> Result<Ask> {
        let seen = base::peek::peek(dialect, body.as_bytes())?;
        let deadline = Deadline::after(Instant::now(), self.patience);
        let client = self.grant.name.clone();
        let head = AskHead {
            face: Face::Grpc,
            kind,
            priority,
            grant: self.grant.of_key(),
            ..seen.head(dialect, deadline, client, self.traceparent)
        };
        Ok(Ask { head, body: body.into() })
    }
}

/// The ask of `Generate`, and what its client already holds.
pub(super) fn generate(mut call: Call, request: &GenerateRequest) -> Result<(Ask, Option<Continuation>)> {
    let kind = match request.kind.as_str() {
        "" => Kind::General,
        text => Kind::parse(text).ok_or_else(|| {
            Fault::invalid("field `kind` is not a known kind")
                .hint("use general, research, code-generation, analysis, …")
        })?,
    };
    let priority = match request.priority() {
        proto::inference::Priority::Interactive => Priority::Interactive,
        proto::inference::Priority::Batch => Priority::Batch,
        proto::inference::Priority::Normal | proto::inference::Priority::Unspecified => Priority::Normal,
    };
    if request.timeout_s != 0.0 {
        let timeout = Duration::try_from_secs_f64(request.timeout_s).map_err(|error| {
            Fault::invalid("field `timeout_s` is not a number of seconds")
                .because(error)
                .hint("leave it 0 for the limit")
        })?;
        call.patience = call.patience.min(timeout);
    }
    let continues = (!request.continue_from.is_empty()).then(|| Continuation {
        text: request.continue_from.clone(),
        model: request.model.clone(),
        ..Continuation::default()
    });
    let body = chat_body(request)?;
    Ok((call.ask(Dialect::OpenAiChat, kind, priority, body)?, continues))
}

/// The ask of `Embed`.
pub(super) fn embed(call: Call, request: &EmbedRequest) -> Result<Ask> {
    let body = json!({ "model": model(&request.model), "input": request.inputs });
    call.ask(Dialect::OpenAiEmbeddings, Kind::Embedding, Priority::Normal, body.to_string())
}

/// The ask of `Rerank`.
pub(super) fn rerank(call: Call, request: &RerankRequest) -> Result<Ask> {
    let mut body = json!({ "model": model(&request.model), "query": request.query, "documents": request.documents });
    if request.top > 0 {
        body["top_n"] = json!(request.top);
    }
    call.ask(Dialect::Rerank, Kind::Rerank, Priority::Normal, body.to_string())
}

/// An OpenAI chat body. A struct with the schema as raw text, because models fill properties in the order of the schema.
#[derive(Serialize)]
struct ChatBody<'a> {
    model: &'a str,
    messages: Vec<Value>,
    stream: bool,
    stream_options: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'static str,
    schema: &'a RawValue,
    strict: bool,
}

fn chat_body(request: &GenerateRequest) -> Result<String> {
    let response_format = match request.json_schema.as_str() {
        "" => None,
        text => {
            let schema: &RawValue = serde_json::from_str(text).map_err(|error| {
                Fault::invalid("field `json_schema` is not JSON").because(error).hint("give a JSON schema as text")
            })?;
            Some(ResponseFormat {
                r#type: "json_schema",
                json_schema: JsonSchema { name: "answer", schema, strict: true },
            })
        }
    };
    let body = ChatBody {
        model: model(&request.model),
        messages: request.messages.iter().map(message).collect::<Result<_>>()?,
        stream: true,
        stream_options: json!({ "include_usage": true }),
        max_tokens: request.max_output_tokens,
        temperature: request.temperature,
        seed: request.seed,
        stop: &request.stop,
        response_format,
    };
    serde_json::to_string(&body)
        .map_err(|error| Fault::internal("could not write the request for the engine").because(error))
}

fn message(message: &Message) -> Result<Value> {
    if !matches!(message.role.as_str(), "system" | "user" | "assistant" | "tool") {
        return Err(Fault::invalid("field `messages.role` is not a role").hint("use system, user, assistant or tool"));
    }
    if message.images.is_empty() {
        return Ok(json!({ "role": message.role, "content": message.content }));
    }
    let mut parts = vec![json!({ "type": "text", "text": message.content })];
    for image in &message.images {
        let kind = if image.starts_with(&[0xff, 0xd8]) { "jpeg" } else { "png" };
        let url = format!("data:image/{kind};base64,{}", STANDARD.encode(image));
        parts.push(json!({ "type": "image_url", "image_url": { "url": url } }));
    }
    Ok(json!({ "role": message.role, "content": parts }))
}

fn model(name: &str) -> &str {
    if name.is_empty() { "auto" } else { name }
}

/// Reads `grpc-timeout`: up to eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call { grant: base::Grant::everything().clone(), traceparent: "".into(), patience: Duration::from_secs(9) }
    }

    fn user(content: &str) -> Vec<Message> {
        vec![Message { role: "user".to_owned(), content: content.to_owned(), images: Vec::new() }]
    }

    #[test]
    fn a_request_becomes_an_openai_body_that_peek_understands() {
        let request = GenerateRequest {
            messages: user("hi"),
            kind: "analysis".to_owned(),
            max_output_tokens: Some(5),
            temperature: Some(0.0),
            json_schema: r#"{"type":"object","b":1,"a":2}"#.to_owned(),
            continue_from: "so far".to_owned(),
            ..GenerateRequest::default()
        };
        let (ask, continues) = generate(call(), &request).unwrap();
        assert_eq!((&*ask.head.model, ask.head.kind, ask.head.max_output_tokens), ("auto", Kind::Analysis, Some(5)));
        assert!(ask.head.stream && ask.head.needs.schema);
        assert_eq!(continues.unwrap().text, "so far");
        insta::assert_snapshot!(std::str::from_utf8(&ask.body).unwrap(), @r#"{"model":"auto","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"temperature":0.0,"response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object","b":1,"a":2},"strict":true}}}"#);
    }

    #[test]
    fn images_travel_as_data_urls() {
        let mut messages = user("look");
        messages[0].images = vec![vec![0xff, 0xd8, 1].into(), vec![0x89, b'P'].into()];
        let (ask, _) = generate(call(), &GenerateRequest { messages, ..GenerateRequest::default() }).unwrap();
        let text = std::str::from_utf8(&ask.body).unwrap();
        assert!(text.contains("data:image/jpeg;base64,/9gB") && text.contains("data:image/png;base64,iVA="), "{text}");
        assert!(ask.head.needs.images);
    }

    #[test]
    fn a_wrong_field_is_named() {
        let good = || GenerateRequest { messages: user("hi"), ..GenerateRequest::default() };
        let robot = vec![Message { role: "robot".to_owned(), ..Message::default() }];
        for (request, field) in [
            (GenerateRequest { kind: "?".to_owned(), ..good() }, "`kind`"),
            (GenerateRequest { timeout_s: -1.0, ..good() }, "`timeout_s`"),
            (GenerateRequest { json_schema: "{".to_owned(), ..good() }, "`json_schema`"),
            (GenerateRequest { messages: robot, ..good() }, "`messages.role`"),
        ] {
            let fault = generate(call(), &request).unwrap_err();
            assert!(fault.message.contains(field), "{fault:?}");
        }
    }

    #[test]
    fn a_grpc_timeout_shortens_the_patience() {
        for (text, expected) in [
            ("5S", Some(Duration::from_secs(5))),
            ("100m", Some(Duration::from_millis(100))),
            ("1H", Some(Duration::from_secs(3600))),
            ("", None),
            ("S", None),
            ("123456789S", None),
            ("5X", None),
            ("5é", None),
        ] {
            assert_eq!(grpc_timeout(text), expected, "{text}");
        }
    }
}
