//! Embeddings between OpenAI's form and Ollama's two.

use base::{Ask, Code, Dialect, Fault, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fault::junk;
use super::splice::Fields;

/// Fields that do not change what the vectors mean.
const HINTS: &[&str] = &["model", "user", "keep_alive", "options", "truncate"];

/// Translates a request; only its texts, `dimensions` and the hints can go along.
pub(super) fn request(body: &[u8], from: Dialect, to: Dialect) -> Result<Bytes> {
    let mut fields: Map<String, Value> = super::read_json(body)?;
    if !(is_embeddings(from) && is_embeddings(to)) {
        let what = format!("an ask of kind `{from}` cannot be served by an engine that takes `{to}`");
        return Err(Fault::new(Code::NotSupported, what).hint("choose a model whose engine offers this"));
    }
    let Meaning { input, dimensions, .. } = Meaning::take(&mut fields, from)?;
    let mut out = json!({"model": fields.remove("model").unwrap_or_default()});
    match to {
        Dialect::OllamaEmbeddings => out["prompt"] = single(input)?,
        _ => out["input"] = input,
    }
    if let Some(dimensions) = dimensions {
        if to == Dialect::OllamaEmbeddings {
            return Err(refused("dimensions"));
        }
        out["dimensions"] = dimensions;
    }
    if to != Dialect::OpenAiEmbeddings {
        for name in ["keep_alive", "options"] {
            if let Some(value) = fields.remove(name) {
                out[name] = value;
            }
        }
    }
    Ok(out.to_string().into())
}

/// What of a request says which vectors are wanted.
struct Meaning {
    input: Value,
    /// The field that has it, in its dialect.
    input_name: &'static str,
    dimensions: Option<Value>,
}

impl Meaning {
    /// Takes it out of `fields`; leaves hints there, and refuses what is neither.
    fn take(fields: &mut Map<String, Value>, dialect: Dialect) -> Result<Self> {
        let input_name = if dialect == Dialect::OllamaEmbeddings { "prompt" } else { "input" };
        let input = fields.remove(input_name).unwrap_or_default();
        let dimensions = fields.remove("dimensions").filter(|value| !value.is_null());
        // The form of the vectors is made here; see `packs_vectors`.
        fields.remove("encoding_format");
        let is_odd = |(name, value): &(&String, &Value)| !HINTS.contains(&name.as_str()) && !value.is_null();
        match fields.iter().find(is_odd) {
            Some((name, _)) => Err(refused(name)),
            None => Ok(Self { input, input_name, dimensions }),
        }
    }
}

/// A request for vectors, in no dialect.
pub(super) struct Asked {
    pub texts: Vec<String>,
    pub dimensions: Option<Value>,
    /// Whether the end of a text that is too long may be left out, as Ollama does unless told otherwise.
    pub may_cut: bool,
}

/// Reads a request for vectors of texts.
pub(super) fn read(body: &[u8], dialect: Dialect) -> Result<Asked> {
    let mut fields: Map<String, Value> = super::read_json(body)?;
    let Meaning { input, input_name, dimensions } = Meaning::take(&mut fields, dialect)?;
    let wrong = || {
        Fault::invalid(format!("field `{input_name}` is not a text or a list of texts"))
            .hint(format!("give `{input_name}` as text; token numbers mean something to one model only"))
    };
    let texts = match input {
        Value::String(text) => vec![text],
        Value::Array(list) => {
            let text = |value: Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
            list.into_iter().map(text).collect::<Result<_>>()?
        }
        _ => return Err(wrong()),
    };
    let truncate = fields.remove("truncate").and_then(|value| value.as_bool());
    Ok(Asked { texts, dimensions, may_cut: truncate.unwrap_or(dialect != Dialect::OpenAiEmbeddings) })
}

const fn is_embeddings(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::OpenAiEmbeddings | Dialect::OllamaEmbed | Dialect::OllamaEmbeddings)
}

fn single(input: Value) -> Result<Value> {
    match input {
        Value::String(_) => Ok(input),
        Value::Array(list) => match <[Value; 1]>::try_from(list) {
            Ok([text @ Value::String(_)]) => Ok(text),
            _ => Err(refused("input")),
        },
        _ => Err(refused("input")),
    }
}

fn refused(name: &str) -> Fault {
    Fault::new(Code::NotSupported, format!("field `{name}` has no meaning for the engine that serves this model"))
        .hint(format!("leave `{name}` out, or name a model that an engine of the same API serves"))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Vectors {
    data: Vec<Item>,
    embeddings: Vec<Vec<f64>>,
    embedding: Vec<f64>,
    usage: Option<Counts>,
    prompt_eval_count: Option<u64>,
}

#[derive(Deserialize)]
struct Item {
    embedding: Vector,
    #[serde(default)]
    index: usize,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    prompt_tokens: u64,
}

/// A vector as numbers, or as base64 of little-endian 32-bit floats.
#[derive(Deserialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f64>),
    Packed(String),
}

impl Vector {
    fn numbers(self) -> Result<Vec<f64>> {
        match self {
            Self::Numbers(numbers) => Ok(numbers),
            Self::Packed(text) => {
                let bytes = STANDARD.decode(text).map_err(|error| junk("a vector that is no base64").because(error))?;
                let (floats, _) = bytes.as_chunks::<4>();
                Ok(floats.iter().map(|&float| f64::from(f32::from_le_bytes(float))).collect())
            }
        }
    }
}

/// How a client wants its vectors.
pub(super) struct Shown<'a> {
    pub dialect: Dialect,
    pub model: &'a str,
    pub packs: bool,
}

/// Whether a client wants packed vectors, which only OpenAI's can say.
pub(super) fn packs_vectors(ask: &Ask) -> bool {
    ask.head.dialect == Dialect::OpenAiEmbeddings
        && Fields::parse(&ask.body).is_some_and(|fields| fields.get("encoding_format") == Some("\"base64\""))
}

fn packed<T: Number>(vector: &[T]) -> String {
    let float = |number: &T| number.clone().into() as f32;
    let bytes: Vec<u8> = vector.iter().flat_map(|number| float(number).to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

/// Translates an answer.
pub(super) fn answer(body: &[u8], from: Dialect, shown: &Shown<'_>) -> Result<Bytes> {
    let read: Vectors = serde_json::from_slice(body)
        .map_err(|error| junk(format!("no embeddings in the form of `{from}`")).because(error))?;
    let tokens = read.usage.map(|usage| usage.prompt_tokens).or(read.prompt_eval_count).unwrap_or(0);
    let mut items = read.data;
    items.sort_by_key(|item| item.index);
    let mut vectors: Vec<Vec<f64>> = items.into_iter().map(|item| item.embedding.numbers()).collect::<Result<_>>()?;
    vectors.extend(read.embeddings);
    if !read.embedding.is_empty() {
        vectors.push(read.embedding);
    }
    if vectors.is_empty() {
        return Err(junk("no embeddings"));
    }
    Ok(write(&vectors, tokens, shown))
}

/// Writes vectors as the client wants them; each number as short as its precision allows.
pub(super) fn write<T: Number>(vectors: &[Vec<T>], tokens: u64, shown: &Shown<'_>) -> Bytes {
    let model = shown.model;
    let written = match shown.dialect {
        Dialect::OllamaEmbed => to_json(&OllamaVectors { model, embeddings: vectors, prompt_eval_count: tokens }),
        Dialect::OllamaEmbeddings => to_json(&OllamaVector { embedding: vectors.first().map_or(&[], Vec::as_slice) }),
        _ => {
            let written = |vector: &'_ Vec<T>| {
                if shown.packs { Written::Packed(packed(vector)) } else { Written::Numbers(vector.clone()) }
            };
            let item = |(index, vector)| OpenAiVector { object: "embedding", index, embedding: written(vector) };
            let data = vectors.iter().enumerate().map(item).collect();
            let usage = OpenAiUsage { prompt_tokens: tokens, total_tokens: tokens };
            to_json(&OpenAiVectors { object: "list", model, data, usage })
        }
    };
    written.into()
}

/// A number of a vector.
pub(super) trait Number: Serialize + Clone + Into<f64> {}
impl Number for f32 {}
impl Number for f64 {}

/// Plain numbers and texts: writing them cannot fail.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[derive(Serialize)]
struct OllamaVectors<'a, T> {
    model: &'a str,
    embeddings: &'a [Vec<T>],
    prompt_eval_count: u64,
}

#[derive(Serialize)]
struct OllamaVector<'a, T> {
    embedding: &'a [T],
}

#[derive(Serialize)]
struct OpenAiVectors<'a, T> {
    object: &'static str,
    model: &'a str,
    data: Vec<OpenAiVector<T>>,
    usage: OpenAiUsage,
}

#[derive(Serialize)]
struct OpenAiVector<T> {
    object: &'static str,
    index: usize,
    embedding: Written<T>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Written<T> {
    Numbers(Vec<T>),
    Packed(String),
}

#[derive(Serialize)]
struct OpenAiUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}
