//! Perplexity's API in front of the knowledge base: `sonar*` at `/chat/completions`, and the agent at `/v1/agent`, which its own
//! client calls `/v1/responses`.
//!
//! A model of that name which the cluster lists is asked as every other one; the house answers where there is none. What
//! has no meaning at home is accepted, and named in `taskmaster.notes` of the answer. A source that is no page of the web
//! is named by its `tm://` address, which `/api/research/document?at=` resolves.

mod agent;
mod chat;
mod wish;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use base::time::{self, rfc3339};
use base::{Ask, AskHead, Code, Dialect, Face, Fault, Grant, Result, Scope};
use http::Response;
use research::answer::{Answer, Citation, Verdict};
use research::{Knowledge, address};
use serde_json::{Value, json};

use self::wish::Wish;
use super::answer_body::Outgoing;
use super::pages::Bounds;
use super::{Door, refusal};
use crate::research as shared;
use crate::{Desk, names};

/// Where Perplexity's newer clients talk to.
pub(super) const AGENT: &str = "/v1/agent";
/// Its own models.
const SONAR: [&str; 5] = ["sonar", "sonar-pro", "sonar-reasoning", "sonar-reasoning-pro", "sonar-deep-research"];
/// Bytes that are counted as a token where nobody counted.
const TOKEN_BYTES: usize = 4;

/// The route of the agent; that of chats is an ask's.
pub(super) fn routes(bounds: Bounds) -> Router<Arc<dyn Desk>> {
    Router::new().route(AGENT, post(move |desk, body| agent::agent(bounds, desk, body)))
}

/// Whether the knowledge base answers an ask: its model is one of Perplexity's, and nobody in the cluster offers it.
pub(super) fn is_local(desk: &dyn Desk, head: &AskHead) -> bool {
    matches!(head.dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses)
        && is_sonar(&head.model)
        && desk.research().is_ok()
        && names::look_up(desk, Grant::everything(), &head.model).is_err()
}

/// Answers such an ask.
pub(super) async fn serve(door: &Door, ask: &Ask) -> Response<Outgoing> {
    let grant = ask.head.grant.as_ref().unwrap_or_else(|| Grant::everything());
    if let Err(fault) = door.desk.authorize(grant, Scope::Research, "sonar") {
        return refusal::response(Face::OpenAi, &fault);
    }
    let answered = match ask.head.dialect {
        Dialect::OpenAiResponses => agent::responses(door, ask).await,
        _ => chat::chat(door, ask).await,
    };
    match answered {
        Ok(response) => response.map(Outgoing::page),
        Err(fault) => refusal::response(Face::OpenAi, &fault),
    }
}

fn is_sonar(model: &str) -> bool {
    SONAR.contains(&model.strip_prefix("perplexity/").unwrap_or(model))
}

/// Behind the text of an answer that nobody should rely on.
const UNSURE: &str = "(Unsure: what was found is near, and nothing to rely on.)";

/// The text for clients that read nothing else: what is unsure says so.
fn text_of(answer: &Answer) -> String {
    match answer.verdict {
        Verdict::Unsure => format!("{}\n\n{UNSURE}", answer.text),
        Verdict::Answered | Verdict::NotFound => answer.text.clone(),
    }
}

/// Where each citation is found, in the order of their numbers.
fn links(answer: &Answer) -> Vec<String> {
    answer.citations.iter().map(|one| address::link(&one.source, &one.collection, &one.span)).collect()
}

/// What was found, as Perplexity lists it; one for each citation, in their order.
fn search_results(answer: &Answer) -> Vec<Value> {
    let one = |(citation, url): (&Citation, String)| {
        let day: String = rfc3339(citation.dated_ms).chars().take(10).collect();
        let is_page = !url.starts_with(address::SCHEME);
        json!({
            "id": citation.number,
            "title": citation.name(),
            "url": url,
            "date": day,
            "last_updated": day,
            "snippet": citation.quote,
            "source": if is_page { "web" } else { "attachment" },
        })
    };
    answer.citations.iter().zip(links(answer)).map(one).collect()
}

/// What Perplexity has no field for: how far the answer can be relied on, and what had no effect.
fn beside(answer: &Answer, notes: &[String]) -> Result<Value> {
    let notes: Vec<&String> = answer.notes.iter().chain(notes).collect();
    Ok(json!({
        "verdict": answer.verdict,
        "confidence": shared::json(&answer.confidence)?,
        "contradictions": answer.contradictions,
        "model": answer.model,
        "search": answer.search,
        "notes": notes,
    }))
}

/// The body of a request.
fn body(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| {
        Fault::invalid("could not read the request body as JSON").because(error).hint("send one JSON object")
    })
}

/// The knowledge base that answers, and what is asked of it. A wish for JSON is refused: sentences with their sources are no
/// object of a schema.
async fn wished(desk: &dyn Desk, body: &Value) -> Result<(Arc<dyn Knowledge>, Wish)> {
    let knowledge = desk.research()?;
    let wish = wish::read(body, &knowledge.collections().await?, time::unix_ms())?;
    if wish.wants_schema {
        let fault =
            Fault::new(Code::NotSupported, "the knowledge base answers in sentences, and not in JSON of a schema");
        return Err(fault.hint("ask a model of the cluster for that; `tmctl models` names them"));
    }
    Ok((knowledge, wish))
}

/// About so many tokens; clients insist on a number, and no tokenizer took part.
fn about_tokens(text: &str) -> usize {
    text.len().div_ceil(TOKEN_BYTES)
}

/// What is still to be streamed when the checked text is known: the rest of it where the begin was right, else all of it.
fn rest(streamed: &str, checked: &str) -> String {
    match checked.strip_prefix(streamed) {
        Some(rest) => rest.to_owned(),
        None => format!("\n\nChecked, it reads:\n\n{checked}"),
    }
}

/// Refuses a model that is none of Perplexity's own.
fn check_model(model: &str) -> Result<()> {
    if is_sonar(model) {
        return Ok(());
    }
    let shown: String = model.chars().filter(|char| !char.is_control()).take(100).collect();
    Err(Fault::new(Code::ModelNotFound, format!("model '{shown}' does not answer here"))
        .hint("use sonar, or ask models of the cluster at /v1/responses or /v1/chat/completions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_perplexitys_own_names_are_meant() {
        for name in ["sonar", "sonar-pro", "sonar-reasoning-pro", "sonar-deep-research", "perplexity/sonar"] {
            assert!(is_sonar(name), "{name}");
        }
        for name in ["", "sonarqube", "sonar-banana", "llama3.1:8b", "openai/sonar", "Sonar"] {
            assert!(!is_sonar(name), "{name}");
        }
    }

    #[test]
    fn what_streamed_and_what_is_checked_end_as_the_same_text_or_say_so() {
        assert_eq!(rest("The NAS", "The NAS sleeps. [1]"), " sleeps. [1]");
        assert_eq!(rest("", "all"), "all");
        assert_eq!(rest("all", "all"), "");
        assert_eq!(rest("The cat", "The NAS"), "\n\nChecked, it reads:\n\nThe NAS");
    }
}
