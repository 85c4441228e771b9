//! The built-in engine's protocol (`taskmaster.engine.v1`): requests for it, and its answers as a client is to have them.
//! It has messages where other engines have JSON, so nothing of it is parsed.

use base::{Ask, Continuation, Fault, Finish, Result, Usage};
use bytes::Bytes;
use proto::engine::{Done, EmbedRequest, EmbedResponse, GenerateRequest, RerankRequest, RerankResponse, done};
use serde_json::{Map, Value, json};

use super::embed;
use super::prompt::Prompt;

mod spoken;
#[cfg(test)]
mod tests;

pub use spoken::Spoken;

/// What a model's owner set for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuned {
    /// The system message of chats that have none.
    pub system: String,
    /// Sampling parameters, `stop` and `num_predict`, under Ollama's names, for asks that do not say.
    pub parameters: Map<String, Value>,
}

/// The request for an ask that wants text, and the tool whose arguments that text is to be.
pub fn generate(
    ask: &Ask,
    continuation: Option<&Continuation>,
    tuned: &Tuned,
    context_tokens: u32,
) -> Result<(GenerateRequest, Option<String>)> {
    Prompt::native(ask, continuation, tuned, context_tokens)
}

/// The counts and the reason of the end. The engine counts exactly, also what was given before; a renderer adds
/// what the client held as it was counted on the way, so that is taken off here.
pub fn ended(done: &Done, held: Option<&Continuation>) -> (Usage, Finish) {
    let (held_tokens, held_text) = held.map_or((0, 0), |held| {
        (held.tokens, if held.text.is_empty() { 0 } else { held.tokens.saturating_sub(held.thinking_tokens) })
    });
    let usage = Usage {
        prompt_tokens: done.prompt_tokens + held_text,
        completion_tokens: (done.continued_tokens + done.output_tokens).saturating_sub(held_tokens),
        cached_tokens: done.cached_tokens,
    };
    let finish = match done.finish() {
        done::Finish::Length => Finish::Length,
        _ => Finish::Stop,
    };
    (usage, finish)
}

/// The request for an ask that wants vectors.
pub fn embed_request(ask: &Ask) -> Result<EmbedRequest> {
    let asked = embed::read(&ask.body, ask.head.dialect)?;
    if asked.dimensions.is_some() {
        return Err(Fault::invalid("`dimensions`: the built-in engine gives vectors as long as the model makes them")
            .hint("leave `dimensions` out"));
    }
    Ok(EmbedRequest { texts: asked.texts, refuse_long: !asked.may_cut })
}

/// Its answer.
pub fn embedded(ask: &Ask, response: EmbedResponse) -> Bytes {
    let vectors: Vec<Vec<f32>> = response.vectors.into_iter().map(|vector| vector.values).collect();
    let shown = embed::Shown { dialect: ask.head.dialect, model: &ask.head.model, packs: embed::packs_vectors(ask) };
    embed::write(&vectors, response.prompt_tokens.into(), &shown)
}

/// The request for an ask that wants documents in order, and how many of them it wants to see.
pub fn rerank_request(ask: &Ask) -> Result<(RerankRequest, Option<usize>)> {
    let body: Value = super::read_json(&ask.body)?;
    let wrong = |name: &str, what: &str| {
        Fault::invalid(format!("field `{name}` is not {what}")).hint(format!("give `{name}` as {what}"))
    };
    let query = body.get("query").and_then(Value::as_str).ok_or_else(|| wrong("query", "a string"))?;
    let text = |document: &Value| document.as_str().or_else(|| document.get("text")?.as_str()).map(str::to_owned);
    let documents = body.get("documents").or_else(|| body.get("texts")).and_then(Value::as_array);
    let documents: Option<Vec<String>> = documents.and_then(|list| list.iter().map(text).collect());
    let documents = documents.ok_or_else(|| wrong("documents", "a list of texts"))?;
    let most = body.get("top_n").and_then(Value::as_u64).map(|most| usize::try_from(most).unwrap_or(usize::MAX));
    Ok((RerankRequest { query: query.to_owned(), documents }, most))
}

/// Its answer: best first.
pub fn reranked(ask: &Ask, response: &RerankResponse, most: Option<usize>) -> Bytes {
    let mut order: Vec<(usize, f32)> = response.scores.iter().copied().enumerate().collect();
    order.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    order.truncate(most.unwrap_or(usize::MAX));
    let result = |(index, score): (usize, f32)| json!({"index": index, "relevance_score": score});
    let results: Vec<Value> = order.into_iter().map(result).collect();
    let tokens = response.prompt_tokens;
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    let answer = json!({"model": &*ask.head.model, "object": "list", "results": results, "usage": usage});
    answer.to_string().into()
}
