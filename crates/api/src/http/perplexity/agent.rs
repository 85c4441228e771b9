//! `/v1/agent`: Perplexity's newer API, in the form of OpenAI's Responses with what was found as an item of its own.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base::{Ask, AskId, Face, Fault, Result, time};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use research::answer::Answer;
use research::knowledge::Said;
use serde_json::{Value, json};

use super::wish::Wish;
use super::{about_tokens, beside, check_model, links, rest, search_results, text_of, wished};
use crate::Desk;
use crate::http::Door;
use crate::http::pages::{Bounds, Refusal, Shared};
use crate::research::{Asking, Told};

/// Which model a client without a wish gets.
const DEFAULT: &str = "sonar";

/// Answers a question out of the knowledge base.
pub(super) async fn agent(bounds: Bounds, State(desk): Shared, body: Bytes) -> Result<Response, Refusal> {
    answered(&*desk, AskId::random(), &body, bounds.limits.load().ask, bounds.heartbeat)
        .await
        .map_err(|fault| Refusal(Face::OpenAi, fault))
}

/// The same where Responses are asked for by that name, as Perplexity's own client does.
pub(super) async fn responses(door: &Door, ask: &Ask) -> Result<Response> {
    let within = ask.head.deadline.left(Instant::now());
    answered(&*door.desk, ask.head.id, &ask.body, within, door.limits.load().heartbeat).await
}

async fn answered(desk: &dyn Desk, id: AskId, body: &[u8], within: Duration, heartbeat: Duration) -> Result<Response> {
    let body = super::body(body)?;
    let named = body.get("model").or_else(|| body.get("models").and_then(|models| models.get(0)));
    let model = named.and_then(Value::as_str).unwrap_or(DEFAULT).to_owned();
    check_model(&model)?;
    let (knowledge, wish) = wished(desk, &body).await?;
    let is_stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
    let mut asking = Asking::new(knowledge, wish.question.clone(), within);
    let mut shape = Shape::new(id, model, wish);
    if !is_stream {
        return Ok(Json(shape.whole(&asking.answer().await?)?).into_response());
    }
    let asking = asking.begun().await?;
    let begin = shape.begin();
    let told = asking.flat_map(move |told| stream::iter(shape.events(told)));
    Ok(Sse::new(stream::iter(begin).chain(told)).keep_alive(KeepAlive::new().interval(heartbeat)).into_response())
}

/// What every event of an answer has in common.
struct Shape {
    id: String,
    model: String,
    created: u64,
    wish: Wish,
    streamed: String,
    sequence: u64,
}

type Events = Vec<Result<Event, Infallible>>;

impl Shape {
    fn new(id: AskId, model: String, wish: Wish) -> Self {
        let id = format!("resp_{id}");
        Self { id, model, created: time::unix_ms() / 1000, wish, streamed: String::new(), sequence: 0 }
    }

    fn item_id(&self) -> String {
        format!("msg_{}", self.id)
    }

    fn envelope(&self, status: &str, output: Vec<Value>) -> Value {
        json!({
            "id": self.id, "object": "response", "created_at": self.created, "model": self.model, "status": status,
            "output": output,
        })
    }

    fn message(&self, answer: &Answer, text: &str) -> Value {
        let titles = answer.citations.iter().map(|citation| citation.title.as_str());
        let notes = links(answer).into_iter().zip(titles);
        let notes = notes.map(|(url, title)| json!({ "type": "url_citation", "url": url, "title": title }));
        let part = json!({ "type": "output_text", "text": text, "annotations": notes.collect::<Vec<_>>() });
        json!({ "type": "message", "id": self.item_id(), "role": "assistant", "status": "completed", "content": [part] })
    }

    /// The answer, whose text in a stream is all that was streamed.
    fn done(&self, answer: &Answer, text: &str) -> Result<Value> {
        let found = json!({
            "type": "search_results", "queries": [self.wish.question.question], "results": search_results(answer),
        });
        let mut said = self.envelope("completed", vec![found, self.message(answer, text)]);
        let input = about_tokens(&self.wish.question.question) + about_tokens(&self.wish.question.context);
        let output = about_tokens(&text_of(answer));
        said["usage"] = json!({ "input_tokens": input, "output_tokens": output, "total_tokens": input + output });
        said["taskmaster"] = beside(answer, &self.wish.notes)?;
        Ok(said)
    }

    fn whole(&self, answer: &Answer) -> Result<Value> {
        self.done(answer, &text_of(answer))
    }

    fn event(&mut self, kind: &str, mut data: Value) -> Result<Event, Infallible> {
        data["type"] = kind.into();
        data["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        Ok(Event::default().event(kind).data(data.to_string()))
    }

    fn begin(&mut self) -> Events {
        let response = self.envelope("in_progress", Vec::new());
        vec![
            self.event("response.created", json!({ "response": response })),
            self.event("response.in_progress", json!({ "response": response })),
        ]
    }

    fn delta(&mut self, text: &str) -> Result<Event, Infallible> {
        self.streamed.push_str(text);
        let item = self.item_id();
        self.event(
            "response.output_text.delta",
            json!({ "item_id": item, "output_index": 1, "content_index": 0, "delta": text }),
        )
    }

    fn events(&mut self, told: Told) -> Events {
        match told {
            Told::Said(Said::Doing(_)) => Vec::new(),
            Told::Said(Said::Delta(text)) => vec![self.delta(&text)],
            Told::Answer(answer) => self.end(&answer).unwrap_or_else(|fault| self.failed(&fault)),
            Told::Fault(fault) => self.failed(&fault),
        }
    }

    fn failed(&mut self, fault: &Fault) -> Events {
        let mut response = self.envelope("failed", Vec::new());
        let error = json!({ "code": fault.code, "message": fault.full_message(), "type": "server_error" });
        response["error"] = error.clone();
        vec![self.event("response.failed", json!({ "error": error, "response": response }))]
    }

    fn end(&mut self, answer: &Answer) -> Result<Events> {
        let mut events = Vec::new();
        let rest = rest(&self.streamed, &text_of(answer));
        if !rest.is_empty() {
            events.push(self.delta(&rest));
        }
        let text = self.streamed.clone();
        let done = self.done(answer, &text)?;
        let place = json!({ "item_id": self.item_id(), "output_index": 1, "content_index": 0, "text": text });
        events.push(self.event("response.output_text.done", place));
        let items = done.get("output").and_then(Value::as_array).cloned().unwrap_or_default();
        for (index, item) in items.into_iter().enumerate() {
            events.push(self.event("response.output_item.done", json!({ "output_index": index, "item": item })));
        }
        events.push(self.event("response.completed", json!({ "response": done })));
        Ok(events)
    }
}
