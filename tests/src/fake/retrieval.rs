//! Embeddings and reranking in every engine's form.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::fake::ask::Keep;
use crate::fake::control::Settings;
use crate::fake::engine::Engine;
use crate::fake::refusal::Refusal;
use crate::fake::serve::{Reply, json_reply, keep, pause, prefill, resolve};
use crate::fake::speak::Speak;
use crate::fake::{text, vector};

/// The route by which vectors are asked for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum EmbedForm {
    /// `/v1/embeddings`.
    OpenAi,
    /// Ollama's `/api/embed`.
    Ollama,
    /// Ollama's older `/api/embeddings`.
    OllamaOld,
    /// llama-server's `/embedding`.
    Llama,
}

/// Answers with one vector per text.
pub(super) async fn embed(
    engine: &Arc<Engine>,
    form: EmbedForm,
    settings: &Settings,
    body: &Value,
) -> Result<Reply, Refusal> {
    let model = resolve(engine, body["model"].as_str().unwrap_or(""))?;
    let field = match form {
        EmbedForm::OllamaOld => "prompt",
        EmbedForm::Llama => "content",
        EmbedForm::OpenAi | EmbedForm::Ollama => "input",
    };
    let inputs = texts(&body[field]).ok_or_else(|| Refusal::invalid(format!("{field}: Field required")))?;
    let mut running = engine.admit(&model, settings.queue).await?;
    engine.load(&model, keep(Keep::Default)).await?;
    let tokens: usize = inputs.iter().map(|text| text::count(text)).sum();
    pause(settings.ttft + prefill(settings, tokens)).await;
    running.done();
    let mut vectors: Vec<Vec<f32>> = inputs.iter().map(|text| vector::embed(text)).collect();
    if engine.options.speak == Speak::LlamacppPython {
        // It does not normalise what it gives.
        vectors.iter_mut().flatten().for_each(|value| *value *= 7.0);
    }
    Ok(json_reply(&match form {
        EmbedForm::OllamaOld => json!({"embedding": vectors.first()}),
        EmbedForm::Ollama => json!({"model": model, "embeddings": vectors, "total_duration": 1_000_000,
            "load_duration": 0, "prompt_eval_count": tokens}),
        EmbedForm::Llama => {
            vectors.iter().enumerate().map(|(index, vector)| json!({"index": index, "embedding": [vector]})).collect()
        }
        EmbedForm::OpenAi => {
            let is_base64 = body["encoding_format"] == "base64";
            let data: Vec<Value> = vectors
                .iter()
                .enumerate()
                .map(|(index, vector)| {
                    let embedding = if is_base64 { base64(vector).into() } else { json!(vector) };
                    json!({"object": "embedding", "index": index, "embedding": embedding})
                })
                .collect();
            json!({"object": "list", "model": model, "data": data,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
        }
    }))
}

/// One text or several.
fn texts(input: &Value) -> Option<Vec<String>> {
    match input {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// A vector as OpenAI's clients ask for it: little-endian floats in base64.
fn base64(vector: &[f32]) -> String {
    const SYMBOLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let symbol = SYMBOLS.get((bits >> (18 - 6 * place) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if place <= group.len() { char::from(symbol) } else { '=' });
        }
    }
    text
}

/// Answers with the documents in the order of their relevance.
pub(super) async fn rerank(engine: &Arc<Engine>, settings: &Settings, body: &Value) -> Result<Reply, Refusal> {
    let model = resolve(engine, body["model"].as_str().unwrap_or(""))?;
    let query = body["query"].as_str().ok_or_else(|| Refusal::invalid("query: Field required"))?;
    let documents = texts(&body["documents"]).ok_or_else(|| Refusal::invalid("documents: Field required"))?;
    let mut running = engine.admit(&model, settings.queue).await?;
    pause(settings.ttft).await;
    running.done();
    let mut scores: Vec<(usize, f64)> =
        documents.iter().enumerate().map(|(index, document)| (index, vector::relevance(query, document))).collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1));
    scores.truncate(body["top_n"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX));
    let results: Vec<Value> =
        scores.iter().map(|(index, score)| json!({"index": index, "relevance_score": score})).collect();
    let tokens: usize = documents.iter().map(|text| text::count(text)).sum();
    Ok(json_reply(&json!({"object": "list", "model": model, "results": results,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})))
}
