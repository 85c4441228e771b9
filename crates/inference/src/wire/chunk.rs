//! One JSON object of an answer (an event of a stream, or a whole body) as what it says, for each dialect.
//!
//! Every field is optional: engines leave out what they like, and send `null` where others send nothing.

use std::borrow::Cow;

use base::{Dialect, Finish, Usage, time};
use serde::Deserialize;
use serde_json::Value;

mod anthropic;
mod ollama;
mod openai;
mod responses;

/// What one object says.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    /// Id of the answer; empty when not told.
    pub id: Cow<'a, str>,
    /// Name of the model; empty when not told.
    pub model: Cow<'a, str>,
    /// Time of creation, as the engine wrote it.
    pub created: Created<'a>,
    /// Text of the first choice.
    pub text: String,
    /// Reasoning of the first choice.
    pub thinking: String,
    /// Pieces of tool calls.
    pub calls: Vec<CallPiece>,
    /// Token counts, perhaps only some of them.
    pub usage: Option<Usage>,
    /// Why it ended.
    pub finish: Option<Finish>,
    /// The engine's own error.
    pub error: Option<String>,
    /// Whether nothing follows.
    pub is_last: bool,
    /// Whether it belongs to another choice than the first (`n` above 1).
    pub is_other_choice: bool,
    /// Whether it is there for the counts alone (`choices: []`).
    pub is_usage_only: bool,
}

/// A time of creation; read only from the chunk that begins an answer.
#[derive(Debug, Default)]
pub(super) enum Created<'a> {
    /// Not told.
    #[default]
    Never,
    /// Unix seconds.
    Unix(f64),
    /// RFC 3339.
    Stamp(Cow<'a, str>),
}

impl Created<'_> {
    /// Whole Unix seconds; 0 when not told.
    pub(super) fn unix_s(&self) -> u64 {
        match self {
            Self::Never => 0,
            Self::Unix(seconds) => *seconds as u64,
            Self::Stamp(stamp) => time::unix_s(stamp).and_then(|s| u64::try_from(s).ok()).unwrap_or(0),
        }
    }
}

/// A string that is copied only when it has escapes in it.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What an optional string says; empty when it is absent.
fn said(text: Option<Text<'_>>) -> Cow<'_, str> {
    text.map(|text| text.0).unwrap_or_default()
}

/// A piece of a tool call; without an index it is a whole one.
#[derive(Debug, Default)]
pub(super) struct CallPiece {
    /// Which call it belongs to.
    pub index: Option<u32>,
    /// Given where the call begins.
    pub id: Option<String>,
    /// Given where the call begins.
    pub name: Option<String>,
    /// Arguments, as JSON text or a piece of it.
    pub arguments: String,
}

/// Reads one object of an answer in `dialect`.
pub(super) fn read(dialect: Dialect, json: &[u8]) -> serde_json::Result<Chunk<'_>> {
    match dialect {
        Dialect::OllamaChat | Dialect::OllamaGenerate => ollama::read(json),
        Dialect::AnthropicMessages => anthropic::read(json),
        Dialect::OpenAiResponses => responses::read(json),
        _ => openai::read(json),
    }
}

/// Takes the larger of each count: engines tell them piece by piece, and some tell a growing sum.
pub(super) fn merge_usage(into: &mut Option<Usage>, more: Option<Usage>) {
    let Some(more) = more else { return };
    let usage = into.get_or_insert_default();
    usage.prompt_tokens = usage.prompt_tokens.max(more.prompt_tokens);
    usage.completion_tokens = usage.completion_tokens.max(more.completion_tokens);
    usage.cached_tokens = usage.cached_tokens.max(more.cached_tokens);
}

/// The text of an error in any of the shapes that engines use.
pub(super) fn error_text(error: &Value) -> Option<String> {
    match error {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) => match fields.get("message") {
            Some(Value::String(text)) => Some(text.clone()),
            _ => Some(error.to_string()),
        },
        _ => Some(error.to_string()),
    }
}

/// What a whole body says besides its text; read without keeping the text.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// Token counts.
    pub usage: Option<Usage>,
    /// Why it ended.
    pub finish: Option<Finish>,
    /// The engine's own error, in a body that came with status 200.
    pub error: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OutlineFields<'a> {
    usage: Option<AnyUsage>,
    #[serde(borrow)]
    choices: Option<Vec<OutlineChoice<'a>>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    #[serde(borrow)]
    done_reason: Option<Text<'a>>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OutlineChoice<'a> {
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

/// Reads a whole body; an error means that it is cut or junk.
pub(super) fn outline(json: &[u8]) -> serde_json::Result<Outline> {
    let fields: OutlineFields<'_> = serde_json::from_slice(json)?;
    let counted = fields.eval_count.or(fields.prompt_eval_count).map(|_| Usage {
        prompt_tokens: count(fields.prompt_eval_count),
        completion_tokens: count(fields.eval_count),
        cached_tokens: 0,
    });
    let of_choice = fields.choices.and_then(|choices| choices.into_iter().next()).and_then(|it| it.finish_reason);
    let finish = of_choice.or(fields.stop_reason).or(fields.done_reason);
    Ok(Outline {
        usage: fields.usage.map(AnyUsage::usage).or(counted),
        finish: finish.map(|word| Finish::parse(&word.0)),
        error: fields.error.as_ref().and_then(error_text),
    })
}

/// `usage` as OpenAI or as Anthropic writes it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct AnyUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
}

impl AnyUsage {
    fn usage(self) -> Usage {
        let cached = self.prompt_tokens_details.and_then(|details| details.cached_tokens);
        // Anthropic counts what comes out of its cache apart from `input_tokens`.
        let input = self.input_tokens.map(|input| {
            input + self.cache_read_input_tokens.unwrap_or(0) + self.cache_creation_input_tokens.unwrap_or(0)
        });
        Usage {
            prompt_tokens: count(self.prompt_tokens.or(input)),
            completion_tokens: count(self.completion_tokens.or(self.output_tokens)),
            cached_tokens: count(cached.or(self.cache_read_input_tokens)),
        }
    }
}

/// A count that may be missing; a larger one than fits is the largest.
fn count(number: Option<u64>) -> u32 {
    number.map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX))
}
