//! The routes of asks: headers and a glance at the body become an `Ask`; the answer's bytes go out as they come.
//!
//! Nothing here is spawned, sent through a channel or parsed again.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use base::time::Deadline;
use base::units::parse_duration;
use base::{Answer, AnswerHead, Ask, AskHead, AskId, Dialect, Fault, Kind, Priority, Result};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::answer_body::{Form, Outgoing, Running};
use super::caller::From;
use super::{Door, caller, intake, perplexity, plain_path, refusal};

const ASK: HeaderName = HeaderName::from_static("x-tm-ask");
const NODE: HeaderName = HeaderName::from_static("x-tm-node");
const WORKER: HeaderName = HeaderName::from_static("x-tm-worker");
const MODEL: HeaderName = HeaderName::from_static("x-tm-model");
const FALLBACK: HeaderName = HeaderName::from_static("x-tm-fallback");

/// Answers one request on the route of `dialect`.
pub(super) async fn serve(door: &Door, dialect: Dialect, request: Request<Incoming>) -> Response<Outgoing> {
    let face = refusal::face_of_dialect(dialect);
    if request.method() != Method::POST {
        return refusal::wrong_method(face, request.uri().path(), "POST");
    }
    let (parts, mut body) = request.into_parts();
    let id = AskId::random();
    let mut response = match accept(door, id, dialect, &parts, &mut body).await {
        Ok(ask) if perplexity::is_local(&*door.desk, &ask.head) => perplexity::serve(door, &ask).await,
        Ok(ask) => answer(door, ask).await,
        Err(fault) => refusal::response(face, &fault).map(|refusal| refusal.lingering_over(body)),
    };
    if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(id.to_string())) {
        response.headers_mut().insert(ASK, id);
    }
    response
}

async fn accept(door: &Door, id: AskId, dialect: Dialect, parts: &Parts, body: &mut Incoming) -> Result<Ask> {
    let headers = &parts.headers;
    let from = parts.extensions.get::<From>().and_then(|from| from.0);
    // Its path is one of those that `ask_route` knows, superfluous slashes aside.
    let plain = plain_path(parts.uri.path());
    let route = plain.as_deref().unwrap_or(parts.uri.path());
    let grant = caller::admit(&*door.desk, (&parts.method, route), (headers, &parts.uri), from)?;
    check_form(headers)?;
    let wishes = Wishes::read(dialect, headers)?;
    let limits = door.limits.load_full();
    let body = intake::collect(body, limits.body, limits.read, &door.room).await?;
    let seen = base::peek::peek(dialect, &body)?;
    let patience = wishes.timeout.unwrap_or(limits.ask).min(limits.ask);
    let head = AskHead {
        id,
        face: refusal::face_of_dialect(dialect),
        kind: wishes.kind,
        priority: wishes.priority,
        grant: grant.clone().of_key(),
        ..seen.head(dialect, Deadline::after(Instant::now(), patience), grant.name.clone(), traceparent(headers))
    };
    Ok(Ask { head, body })
}

async fn answer(door: &Door, ask: Ask) -> Response<Outgoing> {
    let limits = door.limits.load_full();
    let form = Form { dialect: ask.head.dialect, stream: ask.head.stream };
    let desk = door.desk.clone();
    // Owns the desk, so that it can move into the body when the head goes out early.
    let mut pending: base::BoxFuture<'static, Result<Answer>> = Box::pin(async move { desk.infer(ask, None).await });
    match tokio::time::timeout(limits.early_head, &mut pending).await {
        Ok(Ok(Answer { head, frames })) => {
            let mut response =
                Response::new(Outgoing::running(Running::flowing(frames, &head, form, limits.heartbeat)));
            tell(response.headers_mut(), head);
            response
        }
        Ok(Err(fault)) => refusal::response(refusal::face_of_dialect(form.dialect), &fault),
        Err(_) => {
            let mut response = Response::new(Outgoing::running(Running::waiting(pending, form, limits.heartbeat)));
            let content_type = HeaderValue::from_static(form.dialect.content_type(form.stream));
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            response
        }
    }
}

/// Puts what is known of an answer into its headers. A name that no header can carry is left out.
fn tell(headers: &mut HeaderMap, head: AnswerHead) {
    headers.reserve(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(head.content_type));
    let mut put = |name: HeaderName, text: Bytes| {
        if let Ok(value) = HeaderValue::from_maybe_shared(text) {
            headers.insert(name, value);
        }
    };
    if let Some(worker) = &head.worker {
        let worker = worker.as_str();
        let text = Bytes::copy_from_slice(worker.as_bytes());
        // The node is the first part of the worker's name, so both share one block.
        put(NODE, text.slice(..worker.find('/').unwrap_or(worker.len())));
        put(WORKER, text);
    }
    put(MODEL, head.model.into());
    if let Some(why) = head.fallback {
        put(FALLBACK, why.into());
    }
}

/// What a client wishes by headers of ours.
struct Wishes {
    kind: Kind,
    priority: Priority,
    timeout: Option<Duration>,
}

impl Wishes {
    fn read(dialect: Dialect, headers: &HeaderMap) -> Result<Self> {
        let kind = word(headers, "x-tm-kind", Kind::parse, "a kind such as `general` or `code-generation`")?;
        let priority = word(headers, "x-tm-priority", Priority::parse, "`interactive`, `normal` or `batch`")?;
        let timeout = word(headers, "x-tm-timeout", timeout, "seconds or a duration such as `90s`")?;
        let kind_of_dialect = match dialect {
            Dialect::OpenAiEmbeddings | Dialect::OllamaEmbed | Dialect::OllamaEmbeddings => Kind::Embedding,
            Dialect::Rerank => Kind::Rerank,
            _ => Kind::General,
        };
        Ok(Self { kind: kind.unwrap_or(kind_of_dialect), priority: priority.unwrap_or(Priority::Normal), timeout })
    }
}

fn word<T>(headers: &HeaderMap, name: &str, parse: fn(&str) -> Option<T>, expected: &str) -> Result<Option<T>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().ok().and_then(parse).map(Some).ok_or_else(|| {
        Fault::invalid(format!("header `{name}` is not {expected}")).hint("correct the header, or leave it out")
    })
}

/// Bare numbers are seconds, as in every other timeout header.
fn timeout(text: &str) -> Option<Duration> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.or_else(|| parse_duration(text)).filter(|timeout| !timeout.is_zero())
}

/// Clients are careless about the type (curl says it is a form), so only what cannot be JSON is refused.
fn check_form(headers: &HeaderMap) -> Result<()> {
    let encoding = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        // A small body can unpack to any size; nothing is gained by it in a house.
        return Err(Fault::invalid("the request body is compressed, and only plain JSON is read")
            .hint("send it without Content-Encoding"));
    }
    let given = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if given.starts_with(b"multipart/") {
        return Err(Fault::invalid("the request body is a multipart form, not JSON")
            .hint("send one JSON object, with Content-Type: application/json"));
    }
    Ok(())
}

/// The client's trace when it is plausible; an empty text otherwise, because it ends up in logs.
pub(crate) fn traceparent(headers: &HeaderMap) -> Arc<str> {
    static NONE: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));
    const LENGTH: usize = 55;
    let given = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let is_plain =
        |text: &&str| text.len() == LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    given.filter(is_plain).map_or_else(|| NONE.clone(), Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_seconds_or_a_duration() {
        assert_eq!(timeout("90"), Some(Duration::from_secs(90)));
        assert_eq!(timeout("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(timeout("5m"), Some(Duration::from_secs(300)));
        for bad in ["", "-1", "0", "NaN", "1e300", "soon"] {
            assert_eq!(timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_traceparent_that_is_none_is_not_passed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (given, expected) in [(good, good), ("hello", ""), (&good.replace('f', "\""), "")] {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", given.parse().unwrap());
            assert_eq!(&*traceparent(&headers), expected);
        }
    }
}
