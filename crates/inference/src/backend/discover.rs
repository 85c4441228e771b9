//! Which engines run on this machine: the default port of each kind is asked a question that only that kind answers.

use std::time::{Duration, Instant};

use base::report::Backend as Kind;
use futures_util::future::join_all;
use serde_json::Value;

use super::{Link, json, openai};
use crate::http1::{Dial, Endpoint, Pool};

/// An engine on this machine answers at once, or is too busy to be looked for.
const PATIENCE: Duration = Duration::from_millis(700);

/// An engine that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its kind.
    pub backend: Kind,
    /// Its base URL.
    pub url: String,
    /// Its version; empty where it does not tell.
    pub version: String,
}

/// How a kind is told from whatever else may listen on its port.
struct Sign {
    kind: Kind,
    path: &'static str,
    /// What must be at this place of the JSON answer: text with this in it, or with nothing given anything at all.
    proof: (&'static str, &'static str),
    version: &'static str,
}

/// Where to look, and for what; the first sign that fits decides.
const PORTS: [(u16, &[Sign]); 5] = [
    (11434, &[sign(Kind::Ollama, "/api/version", ("/version", ""), "/version")]),
    (1234, &[sign(Kind::LmStudio, "/api/v0/models", ("/data", ""), "")]),
    (
        8080,
        &[
            sign(Kind::LlamaCpp, "/props", ("/default_generation_settings", ""), "/build_info"),
            sign(Kind::LocalAi, "/system", ("/loaded_models", ""), ""),
            sign(Kind::LocalAi, "/system", ("/backends", ""), ""),
        ],
    ),
    (5000, &[sign(Kind::WebUi, "/v1/internal/model/info", ("/model_name", ""), "")]),
    (
        8000,
        &[
            sign(Kind::LlamaCppPython, "/openapi.json", ("/info/title", "llama.cpp Python"), "/info/version"),
            sign(Kind::Vllm, "/v1/models", ("/data/0/max_model_len", ""), ""),
        ],
    ),
];

const fn sign(kind: Kind, path: &'static str, proof: (&'static str, &'static str), version: &'static str) -> Sign {
    Sign { kind, path, proof, version }
}

/// Looks on the default ports of loopback; `dial` gives the way to one of them.
pub async fn discover(dial: impl Fn(u16) -> Dial) -> Vec<Found> {
    let looks = PORTS.iter().map(|&(port, signs)| look(port, signs, dial(port)));
    join_all(looks).await.into_iter().flatten().collect()
}

async fn look(port: u16, signs: &[Sign], dial: Dial) -> Option<Found> {
    let url = format!("http://127.0.0.1:{port}");
    let pool = Pool::new(url.clone(), Endpoint::parse(&url).ok()?, dial);
    let link = Link::new(pool, &openai::TRAITS);
    let until = Instant::now() + PATIENCE;
    for sign in signs {
        // Nothing there, or something else: both are no error of ours.
        let Ok(answer) = link.get(sign.path, until).await else { continue };
        let (pointer, text) = sign.proof;
        if answer.pointer(pointer).is_some_and(|proof| is_proof(proof, text)) {
            let version = if sign.version.is_empty() { "" } else { json::text(&answer, sign.version) };
            return Some(Found { backend: sign.kind, url, version: version.to_owned() });
        }
    }
    None
}

fn is_proof(value: &Value, text: &str) -> bool {
    text.is_empty() || value.as_str().is_some_and(|value| value.contains(text))
}
