//! `/chat/completions` as Perplexity answers it: OpenAI's form, with citations and what was found beside it.

use std::convert::Infallible;
use std::time::Instant;

use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::{Json, body::Body};
use base::{Ask, Face, Fault, Result, time};
use futures_util::{StreamExt, stream};
use http::Response;
use research::answer::Answer;
use research::knowledge::Said;
use serde_json::{Value, json};

use super::wish::Wish;
use super::{about_tokens, beside, links, rest, search_results, text_of, wished};
use crate::http::{Door, refusal};
use crate::research::{Asking, Told};

/// Answers a chat out of the knowledge base.
pub(super) async fn chat(door: &Door, ask: &Ask) -> Result<Response<Body>> {
    let (knowledge, wish) = wished(&*door.desk, &super::body(&ask.body)?).await?;
    let mut shape = Shape::new(ask, wish);
    let within = ask.head.deadline.left(Instant::now());
    let mut asking = Asking::new(knowledge, shape.wish.question.clone(), within);
    if !ask.head.stream {
        return Ok(Json(shape.whole(&asking.answer().await?)?).into_response());
    }
    let events = asking.begun().await?.flat_map(move |told| stream::iter(shape.events(told)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(door.limits.load().heartbeat)).into_response())
}

/// What every piece of an answer has in common.
struct Shape {
    id: String,
    model: String,
    created: u64,
    prompt_tokens: u64,
    wish: Wish,
    streamed: String,
}

impl Shape {
    fn new(ask: &Ask, wish: Wish) -> Self {
        Self {
            id: ask.head.id.to_string(),
            model: ask.head.model.to_string(),
            created: time::unix_ms() / 1000,
            prompt_tokens: u64::from(ask.head.prompt_tokens),
            wish,
            streamed: String::new(),
        }
    }

    fn envelope(&self, object: &str, choice: Value) -> Value {
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": [choice] })
    }

    /// What stands beside the text once the answer is known.
    fn sources(&self, mut said: Value, answer: &Answer) -> Result<Value> {
        let completion = about_tokens(&text_of(answer)) as u64;
        said["citations"] = json!(links(answer));
        said["search_results"] = json!(search_results(answer));
        if self.wish.wants_related {
            said["related_questions"] = json!([]);
        }
        said["usage"] = json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "search_context_size": "low",
            "num_search_queries": 1,
        });
        said["taskmaster"] = beside(answer, &self.wish.notes)?;
        Ok(said)
    }

    fn whole(&self, answer: &Answer) -> Result<Value> {
        let message = json!({ "role": "assistant", "content": text_of(answer) });
        let delta = json!({ "role": "assistant", "content": "" });
        let choice = json!({ "index": 0, "finish_reason": "stop", "message": message, "delta": delta });
        self.sources(self.envelope("chat.completion", choice), answer)
    }

    /// A piece, with all of the text so far beside it as Perplexity has it.
    fn chunk(&mut self, piece: &str, finish: Option<&str>) -> Value {
        self.streamed.push_str(piece);
        let choice = json!({
            "index": 0,
            "finish_reason": finish,
            "delta": { "role": "assistant", "content": piece },
            "message": { "role": "assistant", "content": self.streamed },
        });
        let mut said = self.envelope("chat.completion.chunk", choice);
        said["type"] = json!(if finish.is_some() { "end_of_stream" } else { "message" });
        said["status"] = json!(if finish.is_some() { "COMPLETED" } else { "PENDING" });
        said
    }

    fn events(&mut self, told: Told) -> Vec<Result<Event, Infallible>> {
        match told {
            Told::Said(Said::Doing(_)) => Vec::new(),
            Told::Said(Said::Delta(text)) => vec![data(self.chunk(&text, None).to_string())],
            Told::Answer(answer) => {
                let rest = rest(&self.streamed, &text_of(&answer));
                let last = self.chunk(&rest, Some("stop"));
                match self.sources(last, &answer) {
                    Ok(last) => vec![data(last.to_string()), data("[DONE]".to_owned())],
                    Err(fault) => vec![failed(&fault)],
                }
            }
            Told::Fault(fault) => vec![failed(&fault)],
        }
    }
}

fn data(said: String) -> Result<Event, Infallible> {
    Ok(Event::default().data(said))
}

/// Without the mark of a good end, so that nobody takes a stump for an answer.
fn failed(fault: &Fault) -> Result<Event, Infallible> {
    data(String::from_utf8_lossy(&refusal::object(Face::OpenAi, fault)).into_owned())
}
