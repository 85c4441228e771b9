//! The knowledge base over REST, below `/api/research`: each route is one call of `research::Knowledge`'s.
//!
//! Bodies have the field names of the values themselves; what they do not have is refused. An answer may come as events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base::{Code, Fault, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use research::filter::Filter;
use research::knowledge::{LoopOrder, NewCollection, Outcome, Page, Question, Said, Search, Which};
use research::{CollectionName, NewDocument, NewMeta, bounds, wire};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::is_below;
use super::pages::{Bounds, Shared};
use super::projects::{Answered, Query, Refused, Who, items, read};
use crate::research::{self as shared, Asking, Told};
use crate::{Desk, tasks_json};

/// Whether a path is one of these.
pub(super) fn is_path(path: &str) -> bool {
    is_below(path, "/api/research")
}

/// The routes of this file.
pub(super) fn routes(bounds: Bounds) -> Router<Arc<dyn Desk>> {
    let document = get(document).delete(remove_one);
    Router::new()
        .route("/api/research/collections", get(collections).post(create))
        .route("/api/research/collections/{name}", axum::routing::delete(delete))
        .route("/api/research/collections/{name}/documents", get(documents).post(add).delete(remove_below))
        .route("/api/research/collections/{name}/documents/{id}", document)
        .route("/api/research/document", get(resolve))
        .route("/api/research/search", post(search))
        .route("/api/research/ask", post(move |desk: Shared, body: Bytes| ask(bounds, desk, body)))
        .route("/api/research/loops", post(start_loop))
        .route("/api/research/clusters", get(clusters))
        .route("/api/research/status", get(status))
}

/// Reads a body, and refuses fields that such a value does not have. Those of `more` are for the face alone.
fn strict<T: DeserializeOwned + Serialize + Default>(body: &Bytes, like: &str, more: &[&str]) -> Result<(T, Value)> {
    let given: Value = read(body, like)?;
    let known = shared::json(&T::default())?;
    let names = given.as_object().into_iter().flat_map(|fields| fields.keys());
    if let Some(odd) = names.into_iter().find(|name| known.get(*name).is_none() && !more.contains(&name.as_str())) {
        let known: Vec<&str> =
            known.as_object().into_iter().flat_map(|fields| fields.keys().map(String::as_str)).collect();
        let fault = Fault::invalid(format!("there is no field `{}`", odd.escape_debug()));
        return Err(fault.hint(format!("the fields are {}", [known, more.to_vec()].concat().join(", "))));
    }
    Ok((read(body, like)?, given))
}

async fn collections(State(desk): Shared) -> Answered {
    let all = desk.research()?.collections().await?;
    Ok(items(all.iter().map(shared::json).collect::<Result<_>>()?))
}

async fn create(State(desk): Shared, body: Bytes) -> Answered<(StatusCode, Json<Value>)> {
    let new: NewCollection = read(&body, r#"{"name": "house", "description": "what it is for", "chunk_tokens": 300}"#)?;
    let made = desk.research()?.create(new).await?;
    Ok((StatusCode::CREATED, Json(shared::json(&made)?)))
}

async fn delete(State(desk): Shared, Path(name): Path<String>) -> Answered {
    let documents = desk.research()?.delete(CollectionName::parse(&name)?).await?;
    Ok(Json(json!({ "name": name, "documents": documents })))
}

/// What a list of documents is narrowed by; several words stand with commas between.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Listing {
    state: String,
    after: String,
    limit: u32,
    category: String,
    tag: String,
    language: String,
    path: String,
    from_ms: Option<u64>,
    until_ms: Option<u64>,
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

async fn documents(State(desk): Shared, Path(name): Path<String>, Query(wish): Query<Listing>) -> Answered {
    let filter = Filter {
        categories: words(&wish.category),
        tags: words(&wish.tag),
        languages: words(&wish.language),
        path: wish.path,
        from_ms: wish.from_ms,
        until_ms: wish.until_ms,
        ..Filter::default()
    };
    let collection = CollectionName::parse(&name)?;
    let page = Page { collection, filter, state: wish.state, after: wish.after, limit: wish.limit };
    bounds::page(&page)?;
    let found = desk.research()?.documents(page).await?;
    Ok(Json(json!({ "total": found.total, "next": found.next, "items": shared::json(&found.items)? })))
}

/// A document in a body of JSON; what is left out stays as it was.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    source: String,
    text: String,
    title: Option<String>,
    media: Option<String>,
    category: Option<String>,
    tags: Option<Vec<String>>,
    licence: Option<String>,
    dated_ms: Option<u64>,
}

/// What stands in the path of a document whose bytes are the body.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Beside {
    source: String,
    title: Option<String>,
    media: Option<String>,
    category: Option<String>,
    tag: Option<String>,
    licence: Option<String>,
    dated_ms: Option<u64>,
}

async fn add(
    State(desk): Shared,
    Path(name): Path<String>,
    Query(beside): Query<Beside>,
    headers: HeaderMap,
    body: Bytes,
) -> Answered<(StatusCode, Json<Value>)> {
    let collection = CollectionName::parse(&name)?;
    let new = if beside.source.is_empty() { told(&body)? } else { raw(beside, &headers, body) };
    let added = shared::add(&*desk.research()?, collection, new).await?;
    let status = match added.outcome {
        Outcome::Added => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    Ok((status, Json(shared::json(&added)?)))
}

fn told(body: &Bytes) -> Result<NewDocument> {
    let like = r##"{"source": "note:nas", "text": "# The NAS\n...", "title": "The NAS", "media": "text/markdown", "category": "hardware", "tags": ["nas"]}, or the bytes themselves with ?source=SOURCE in the path"##;
    let Written { source, text, title, media, category, tags, licence, dated_ms } = read(body, like)?;
    // A text has no name that shows its kind, and most that are written by hand or by a model are Markdown.
    let media = media.filter(|media| !media.is_empty()).or_else(|| Some("text/markdown".to_owned()));
    Ok(NewDocument { source, meta: NewMeta { title, media, category, tags, licence, dated_ms }, bytes: text.into() })
}

fn raw(beside: Beside, headers: &HeaderMap, bytes: Bytes) -> NewDocument {
    let Beside { source, title, media, category, tag, licence, dated_ms } = beside;
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let said = said.split(';').next().unwrap_or_default().trim();
    // What tools send who were not told a type says nothing about the document.
    let says_nothing = ["application/x-www-form-urlencoded", "application/octet-stream"].contains(&said);
    let said = Some(said.to_owned()).filter(|said| !said.is_empty() && !says_nothing);
    let media = media.or(said);
    let tags = tag.as_deref().map(words);
    NewDocument { source, meta: NewMeta { title, media, category, tags, licence, dated_ms }, bytes }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Part {
    start: u64,
    end: u64,
}

async fn document(State(desk): Shared, Path((name, id)): Path<(String, String)>, Query(part): Query<Part>) -> Answered {
    found(&*desk, &name, &id, (part.start, part.end)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    at: String,
}

/// What a citation's address names.
async fn resolve(State(desk): Shared, Query(At { at }): Query<At>) -> Answered {
    research::address::Address::parse(&at)?;
    found(&*desk, "", &at, (0, 0)).await
}

async fn found(desk: &dyn Desk, collection: &str, which: &str, chars: (u64, u64)) -> Answered {
    let (document, text) = shared::document(&*desk.research()?, collection, which, chars).await?;
    let mut said = shared::json(&document)?;
    said["content"] = text.into();
    Ok(Json(said))
}

async fn remove_one(State(desk): Shared, Path((name, id)): Path<(String, String)>) -> Answered {
    let which = Which { documents: vec![id.clone()], ..Which::default() };
    let removed = desk.research()?.remove(CollectionName::parse(&name)?, which).await?;
    if removed.removed == 0 {
        let fault = Fault::new(Code::NotFound, format!("there is no document `{}` in `{name}`", id.escape_debug()));
        return Err(fault.hint("GET the collection's documents for their ids and sources").into());
    }
    Ok(Json(shared::json(&removed)?))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Below {
    below: String,
}

async fn remove_below(State(desk): Shared, Path(name): Path<String>, Query(Below { below }): Query<Below>) -> Answered {
    let request = proto::research::RemoveDocumentsRequest { collection: name, below, documents: Vec::new() };
    let (collection, which) = wire::which_from_wire(request)?;
    Ok(Json(shared::json(&desk.research()?.remove(collection, which).await?)?))
}

async fn search(State(desk): Shared, body: Bytes) -> Answered {
    let like =
        r#"{"question": "what is looked for", "filter": {"collections": ["house"]}, "limit": 10, "mode": "hybrid"}"#;
    let (search, _) = strict::<Search>(&body, like, &[])?;
    bounds::search(&search)?;
    let found = desk.research()?.search(search).await?;
    Ok(Json(json!({ "search": found.search, "items": shared::hits_json(&found.hits)? })))
}

async fn ask(bounds: Bounds, State(desk): Shared, body: Bytes) -> Result<Response, Refused> {
    let like = r#"{"question": "what is asked", "context": "what for", "filter": {"collections": ["house"]}, "mode": "auto", "stream": false}"#;
    let (question, given) = strict::<Question>(&body, like, &["stream"])?;
    bounds::question(&question)?;
    let is_stream = match given.get("stream") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(stream)) => *stream,
        Some(_) => return Err(Fault::invalid("`stream` is not true or false").hint(format!("send {like}")).into()),
    };
    let mut asking = Asking::new(desk.research()?, question, bounds.limits.load().ask);
    if !is_stream {
        return Ok(Json(shared::answer_json(&asking.answer().await?)?).into_response());
    }
    let events = asking.begun().await?.map(event);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(bounds.heartbeat)).into_response())
}

fn event(told: Told) -> Result<Event, Infallible> {
    let (name, data) = match told {
        Told::Said(Said::Doing(what)) => ("doing", json!({ "text": what })),
        Told::Said(Said::Delta(text)) => ("delta", json!({ "text": text })),
        Told::Answer(answer) => match shared::answer_json(&answer) {
            Ok(answer) => ("answer", answer),
            Err(fault) => ("error", tasks_json::fault(&fault)),
        },
        Told::Fault(fault) => ("error", tasks_json::fault(&fault)),
    };
    Ok(Event::default().event(name).data(data.to_string()))
}

async fn start_loop(State(desk): Shared, Who(who): Who, body: Bytes) -> Answered<(StatusCode, Json<Value>)> {
    let like = r#"{"question": "what is asked", "max_iterations": 3, "deadline_s": 600, "once": "a-name"}"#;
    let (order, given) = strict::<LoopOrder>(&body, like, &["once"])?;
    let key = given.get("once").and_then(Value::as_str).filter(|key| !key.is_empty()).map(str::to_owned);
    if given.get("who").is_some() {
        return Err(Fault::invalid("the body says who asks").hint("the key says it, and the header `x-tm-who`").into());
    }
    let order = LoopOrder { who, ..order };
    bounds::order(&order)?;
    let job = desk.research()?.start_loop(order, key).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "job": job, "events": format!("/api/jobs/{job}/events") }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grouping {
    collection: String,
    #[serde(default)]
    count: u32,
    #[serde(default)]
    svg: bool,
}

async fn clusters(State(desk): Shared, Query(wish): Query<Grouping>) -> Answered<Response> {
    bounds::clusters(wish.count)?;
    let collection = CollectionName::parse(&wish.collection)?;
    let found = desk.research()?.clusters(collection, wish.count, wish.svg).await?;
    if wish.svg {
        return Ok(([(CONTENT_TYPE, "image/svg+xml")], Body::from(found.svg)).into_response());
    }
    Ok(Json(json!({ "method": found.method, "items": shared::json(&found.items)? })).into_response())
}

async fn status(State(desk): Shared) -> Answered {
    Ok(Json(shared::json(&desk.research()?.status().await?)?))
}
