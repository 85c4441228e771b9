//! Reads from a request's body what routing needs, and nothing more; the body's bytes stay as they are.
//!
//! One pass checks that it is UTF-8 and JSON of bounded depth; fields are looked at only where they stand at the top
//! level (and in Ollama's `options`). What is wrong is refused with the field's name.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::ask::{AskHead, Dialect, Face, Kind, Needs, Priority, Sampling};
use crate::error::{Fault, Result};
use crate::ids::AskId;
use crate::time::Deadline;

/// Deeper JSON than this is refused: no client sends it, and parsers behind us recurse.
pub const MAX_DEPTH: usize = 100;
/// What decides where an ask goes and how its answer is read.
const GUARDED: &[&str] = &[
    "model",
    "stream",
    "options",
    "messages",
    "prompt",
    "input",
    "instructions",
    "system",
    "format",
    "tools",
    "images",
    "context",
];
/// No guarded name is longer, not even with each character escaped.
const MAX_NAME_BYTES: usize = 64;
/// Size of a block of prompt that gets a prefix hash, in bytes (about 256 tokens).
pub const PREFIX_BLOCK_BYTES: usize = 1024;
/// Longest name of a model. Each ask's is remembered for a while, so a body full of name must not come in.
pub const MAX_MODEL_BYTES: usize = 512;
/// At most this many blocks are hashed; a longer shared prefix gains nothing more for routing.
pub const MAX_PREFIX_BLOCKS: usize = 128;

/// What a body says about its ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Peek {
    /// The model's name; empty when the body has none.
    pub model: String,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Whether `stream_options.include_usage` is set.
    pub wants_usage_chunk: bool,
    /// Whether the same body gives the same answer.
    pub sampling: Sampling,
    /// Capabilities it needs.
    pub needs: Needs,
    /// A quarter of the prompt's bytes, at least 1.
    pub prompt_tokens: u32,
    /// The limit on the answer; `None` when there is none.
    pub max_output_tokens: Option<u32>,
    /// Answers that are wanted at once, at least 1.
    pub choices: u32,
    /// Chained hashes of the prompt's whole blocks.
    pub prefix: Vec<u64>,
    /// Whether Ollama's `context` (tokens that only the worker that made them understands) is given.
    pub has_context: bool,
}

impl Peek {
    /// The head of an ask with that body. By which face it came in, and what it is for, are the caller's to say.
    pub fn head(self, dialect: Dialect, deadline: Deadline, client: Arc<str>, traceparent: Arc<str>) -> AskHead {
        AskHead {
            id: AskId::random(),
            face: Face::Internal,
            dialect,
            kind: Kind::General,
            priority: Priority::Normal,
            model: self.model.into(),
            stream: self.stream,
            wants_usage_chunk: self.wants_usage_chunk,
            sampling: self.sampling,
            needs: self.needs,
            prompt_tokens: self.prompt_tokens,
            max_output_tokens: self.max_output_tokens,
            choices: self.choices,
            prefix: self.prefix.into(),
            deadline,
            client,
            grant: None,
            traceparent,
            only_worker: None,
        }
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    query: Option<&'a RawValue>,
    #[serde(borrow)]
    documents: Option<&'a RawValue>,
    #[serde(borrow)]
    images: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    output_config: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_effort: Option<&'a RawValue>,
    #[serde(borrow)]
    think: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    seed: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(borrow)]
    options: Option<&'a RawValue>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Deserialize, Default)]
struct Options<'a> {
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    seed: Option<&'a RawValue>,
    #[serde(borrow)]
    num_predict: Option<&'a RawValue>,
}

/// Reads `body` as a request in `dialect`.
pub fn peek(dialect: Dialect, body: &[u8]) -> Result<Peek> {
    let text = check_text(body)?;
    let fields: Body<'_> = serde_json::from_str(text).map_err(|error| {
        Fault::invalid("could not read the request body as JSON")
            .because(error)
            .hint("send one JSON object, with Content-Type: application/json")
    })?;
    let options: Options<'_> = match fields.options.filter(|raw| raw.get() != "null") {
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| wrong("options", "an object"))?,
        None => Options::default(),
    };
    let usage: StreamOptions = field(fields.stream_options, "stream_options", "an object")?.unwrap_or_default();
    let temperature: Option<f64> = field(fields.temperature.or(options.temperature), "temperature", "a number")?;
    if temperature.is_some_and(|temperature| temperature < 0.0) {
        return Err(wrong("temperature", "a number that is not negative"));
    }
    let choices: Option<u32> = field(fields.n, "n", "a whole number above 0")?;
    if choices == Some(0) {
        return Err(wrong("n", "a whole number above 0"));
    }
    let is_openai = matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiCompletions);
    let is_deterministic = !dialect.is_generation()
        || temperature == Some(0.0)
        || fields.seed.or(options.seed).is_some_and(|raw| raw.get() != "null");
    let prompt = [
        fields.system,
        fields.instructions,
        fields.messages,
        fields.prompt,
        fields.input,
        fields.query,
        fields.documents,
    ];
    check_prompt(dialect, &fields)?;
    let model: String = field(fields.model, "model", "a string")?.unwrap_or_default();
    if model.len() > MAX_MODEL_BYTES {
        return Err(wrong("model", "a name of at most 512 bytes"));
    }
    let prompt_bytes: usize = prompt.iter().flatten().map(|raw| raw.get().len()).sum();
    Ok(Peek {
        model,
        stream: field(fields.stream, "stream", "true or false")?.unwrap_or(dialect.streams_by_default()),
        wants_usage_chunk: usage.include_usage == Some(true),
        sampling: if is_deterministic { Sampling::Deterministic } else { Sampling::Varying },
        needs: needs(dialect, &fields),
        prompt_tokens: u32::try_from(prompt_bytes / 4).unwrap_or(u32::MAX).max(1),
        max_output_tokens: output_limit(dialect, &fields, &options)?,
        choices: if is_openai { choices.unwrap_or(1).saturating_mul(prompts(fields.prompt)) } else { 1 },
        prefix: prefix_blocks(prompt.iter().flatten().map(|raw| raw.get().as_bytes())),
        has_context: is_given(fields.context),
    })
}

/// The body as text, when it is UTF-8 and not nested too deeply.
fn check_text(body: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Fault::invalid(format!("the request body is not UTF-8 (first bad byte at {})", error.valid_up_to()))
            .hint("encode the JSON as UTF-8, without a byte order mark")
    })?;
    match odd_shape(body, MAX_DEPTH) {
        None => Ok(text),
        Some(Odd::Deep) => {
            let message = format!("the request body is nested deeper than {MAX_DEPTH} levels");
            Err(Fault::invalid(message).hint("flatten the JSON; no known client nests this deeply"))
        }
        Some(Odd::Disguised(name)) => {
            let known = folded(&name);
            Err(Fault::invalid(format!("field `{name}` is not known")).hint(format!("write it as `{known}`")))
        }
    }
}

/// What JSON parsers would accept, but nobody honest sends.
#[derive(Debug, PartialEq)]
enum Odd {
    /// Brackets nest too deep.
    Deep,
    /// A name at the top level that is none of ours, but that engines in Go, which ignore case, take for one: it would
    /// reach them unseen beside the one that was checked.
    Disguised(String),
}

/// Looks over the body once, jumping through strings by searching for quotes.
fn odd_shape(body: &[u8], most: usize) -> Option<Odd> {
    let (mut depth, mut at) = (0usize, 0usize);
    while let Some(&byte) = body.get(at) {
        match byte {
            b'{' | b'[' if depth == most => return Some(Odd::Deep),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let end = end_of_string(body, at);
                if depth == 1
                    && let Some(name) = disguised_name(body, at, end)
                {
                    return Some(Odd::Disguised(name));
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The string from quote to quote, if it is a name that only folding makes one of ours.
fn disguised_name(body: &[u8], start: usize, end: usize) -> Option<String> {
    let raw = body.get(start..=end).filter(|raw| raw.len() <= MAX_NAME_BYTES)?;
    let is_odd = |byte: &u8| byte.is_ascii_uppercase() || !byte.is_ascii() || *byte == b'\\';
    if !raw.iter().any(is_odd) || !body.get(end + 1..)?.trim_ascii_start().starts_with(b":") {
        return None;
    }
    let name: String = serde_json::from_slice(raw).ok()?;
    (!GUARDED.contains(&&*name) && GUARDED.contains(&&*folded(&name))).then_some(name)
}

/// The name without case, by the simple folding of Go.
fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// The index of the quote that ends the string whose first quote is at `start` (the end of the body when none does).
fn end_of_string(body: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = body.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        match body.get(at) {
            Some(b'"') => return at,
            _ => at += 2,
        }
    }
    body.len()
}

fn field<T: DeserializeOwned>(raw: Option<&RawValue>, name: &str, expected: &str) -> Result<Option<T>> {
    match raw {
        None => Ok(None),
        Some(raw) if raw.get() == "null" => Ok(None),
        Some(raw) => serde_json::from_str(raw.get()).map(Some).map_err(|_| wrong(name, expected)),
    }
}

fn wrong(name: &str, expected: &str) -> Fault {
    Fault::invalid(format!("field `{name}` is not {expected}")).hint(format!("give `{name}` as {expected}"))
}

/// Whether a field holds something: not `null`, not an empty list, object or string.
fn is_given(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| !matches!(raw.get(), "null" | "[]" | "{}" | "\"\""))
}

/// Whether the model is asked to think first: OpenAI's effort, Ollama's `think`, Anthropic's `thinking`.
fn wants_reasoning(fields: &Body<'_>) -> bool {
    let is_on = |raw: &RawValue| !["false", "\"none\"", "\"minimal\""].contains(&raw.get());
    let is_enabled =
        |raw: &RawValue| !["\"disabled\"", "\"none\"", "\"minimal\""].iter().any(|off| raw.get().contains(off));
    let word = [fields.reasoning_effort, fields.think].into_iter().flatten();
    let table = [fields.reasoning, fields.thinking].into_iter().flatten();
    word.filter(|raw| is_given(Some(raw))).any(is_on) || table.filter(|raw| is_given(Some(raw))).any(is_enabled)
}

/// What the model must be able to do. A tool that must be called in these two dialects is a schema for the answer: no
/// engine needs to know of tools for it.
fn needs(dialect: Dialect, fields: &Body<'_>) -> Needs {
    let is_one =
        |tools: &RawValue| serde_json::from_str::<Vec<&RawValue>>(tools.get()).is_ok_and(|list| list.len() == 1);
    let must_call = |choice: &RawValue| match choice.get() {
        "\"required\"" => fields.tools.is_some_and(is_one),
        choice if choice.contains("\"any\"") => fields.tools.is_some_and(is_one),
        choice => choice.contains("\"name\""),
    };
    let is_forced = matches!(dialect, Dialect::AnthropicMessages | Dialect::OpenAiResponses)
        && is_given(fields.tools)
        && fields.tool_choice.is_some_and(must_call);
    // An object without a format, or with the format `text`, asks for text.
    let mentions_json = |raw: &RawValue| raw.get().contains("\"json_");
    let has_format = match dialect {
        Dialect::OpenAiResponses => fields.text.is_some_and(mentions_json),
        Dialect::AnthropicMessages => fields.output_config.is_some_and(mentions_json),
        _ => {
            is_given(fields.format)
                || fields.response_format.is_some_and(|raw| raw.get() != "null" && !raw.get().contains("\"text\""))
        }
    };
    let content = match dialect {
        Dialect::OpenAiChat | Dialect::OllamaChat | Dialect::AnthropicMessages => fields.messages,
        _ => fields.input,
    };
    let images = is_given(fields.images) || content.is_some_and(|raw| mentions_image(raw.get()));
    Needs {
        tools: is_given(fields.tools) && !is_forced,
        schema: has_format || is_forced,
        images,
        reasoning: wants_reasoning(fields),
    }
}

/// Whether a name begins with `image` or `input_image`.
fn mentions_image(content: &str) -> bool {
    let begins =
        |at: usize| content.get(..at).is_some_and(|before| before.ends_with('"') || before.ends_with("\"input_"));
    memchr::memmem::find_iter(content.as_bytes(), b"image").any(begins)
}

/// The prompt must be there and have the right JSON type; what is inside it is the engine's to judge.
fn check_prompt(dialect: Dialect, fields: &Body<'_>) -> Result<()> {
    let starts = |raw: Option<&RawValue>, first: &[char]| raw.is_some_and(|raw| raw.get().starts_with(first));
    match dialect {
        Dialect::OpenAiChat | Dialect::AnthropicMessages if !starts(fields.messages, &['[']) => {
            Err(wrong("messages", "a list of messages"))
        }
        Dialect::OllamaChat if fields.messages.is_some() && !starts(fields.messages, &['[', 'n']) => {
            Err(wrong("messages", "a list of messages"))
        }
        Dialect::OpenAiCompletions if !starts(fields.prompt, &['"', '[']) => Err(wrong("prompt", "a string or a list")),
        Dialect::OllamaGenerate if fields.prompt.is_some() && !starts(fields.prompt, &['"', 'n']) => {
            Err(wrong("prompt", "a string"))
        }
        Dialect::OllamaEmbeddings if !starts(fields.prompt, &['"']) => Err(wrong("prompt", "a string")),
        Dialect::OpenAiResponses if !starts(fields.input, &['"', '[']) => {
            Err(wrong("input", "a string or a list of items"))
        }
        Dialect::OpenAiEmbeddings | Dialect::OllamaEmbed if !starts(fields.input, &['"', '[']) => {
            Err(wrong("input", "a string or a list of strings"))
        }
        Dialect::Rerank if !starts(fields.documents, &['[']) => Err(wrong("documents", "a list of strings")),
        _ => Ok(()),
    }
}

/// How many prompts a completion has: a list of texts, or of lists of tokens, is answered one by one.
fn prompts(prompt: Option<&RawValue>) -> u32 {
    let Some(list) = prompt.map(RawValue::get).and_then(|raw| raw.strip_prefix('[')) else { return 1 };
    if !list.trim_start().starts_with(['"', '[']) {
        return 1;
    }
    let items: Option<Vec<&RawValue>> = prompt.and_then(|raw| serde_json::from_str(raw.get()).ok());
    items.map_or(1, |items| u32::try_from(items.len()).unwrap_or(u32::MAX))
}

/// The limit on the answer. Ollama's negative numbers mean "no limit"; elsewhere they are an error.
fn output_limit(dialect: Dialect, fields: &Body<'_>, options: &Options<'_>) -> Result<Option<u32>> {
    if matches!(dialect, Dialect::OllamaChat | Dialect::OllamaGenerate) {
        // Some clients that mean Ollama put it beside the options.
        let (raw, name) = match options.num_predict {
            Some(raw) => (Some(raw), "options.num_predict"),
            None => (fields.max_output_tokens, "max_output_tokens"),
        };
        let limit: Option<i64> = field(raw, name, "a whole number")?;
        return Ok(limit.filter(|&limit| limit >= 0).map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)));
    }
    let (raw, name) = match fields.max_completion_tokens {
        _ if dialect == Dialect::OpenAiResponses => (fields.max_output_tokens, "max_output_tokens"),
        Some(raw) => (Some(raw), "max_completion_tokens"),
        None => (fields.max_tokens, "max_tokens"),
    };
    let limit: Option<u64> = field(raw, name, "a whole number above 0")?;
    if limit == Some(0) && dialect.is_generation() {
        return Err(wrong(name, "a whole number above 0"));
    }
    Ok(limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)))
}

/// Chained hashes of whole blocks: a block's hash is seeded with the one before, so equal entries mean equal prefixes.
fn prefix_blocks<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<u64> {
    let mut blocks = Vec::new();
    let mut before = 0;
    for block in parts.flat_map(|part| part.chunks_exact(PREFIX_BLOCK_BYTES)).take(MAX_PREFIX_BLOCKS) {
        before = xxhash_rust::xxh3::xxh3_64_with_seed(block, before);
        blocks.push(before);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chat(body: &str) -> Result<Peek> {
        peek(Dialect::OpenAiChat, body.as_bytes())
    }

    #[test]
    fn reads_what_routing_needs() {
        let seen = chat(
            r#"{"model":"llama3.1:8b","stream":true,"stream_options":{"include_usage":true},"temperature":0,
                "max_tokens":5,"tools":[{"type":"function"}],"messages":[{"role":"user","content":"hello there"}]}"#,
        )
        .unwrap();
        assert_eq!((seen.model.as_str(), seen.stream, seen.wants_usage_chunk), ("llama3.1:8b", true, true));
        assert_eq!((seen.sampling, seen.max_output_tokens), (Sampling::Deterministic, Some(5)));
        assert_eq!(seen.needs, Needs { tools: true, ..Needs::default() });
    }

    #[test]
    fn pictures_are_seen_only_where_a_dialect_has_them() {
        let thinks = |body: &str| peek(Dialect::OpenAiChat, body.as_bytes()).unwrap().needs.reasoning;
        for (body, wanted) in [
            (r#"{"messages":[]}"#, false),
            (r#"{"messages":[],"reasoning_effort":"high"}"#, true),
            (r#"{"messages":[],"reasoning_effort":"none"}"#, false),
            (r#"{"messages":[],"reasoning":{"effort":"medium"}}"#, true),
            (r#"{"messages":[],"reasoning":{"effort":"minimal"}}"#, false),
            (r#"{"messages":[],"think":true}"#, true),
            (r#"{"messages":[],"think":false}"#, false),
            (r#"{"messages":[],"think":null}"#, false),
            (r#"{"messages":[],"thinking":{"type":"enabled","budget_tokens":1024}}"#, true),
            (r#"{"messages":[],"thinking":{"type":"disabled"}}"#, false),
        ] {
            assert_eq!(thinks(body), wanted, "{body}");
        }
        let images = |dialect, body: &str| peek(dialect, body.as_bytes()).unwrap().needs.images;
        let chat = r#"{"model":"m","messages":[{"content":[{"type":"image_url"}]}]}"#;
        assert!(images(Dialect::OpenAiChat, chat));
        let input = r#"{"model":"m","input":[{"content":[{"type":"input_image"}]}],"messages":[]}"#;
        assert!(images(Dialect::OpenAiResponses, input) && !images(Dialect::OpenAiChat, input));
        assert!(!images(Dialect::OpenAiChat, r#"{"model":"m","messages":[{"content":"an image, imagine"}]}"#));
    }

    #[test]
    fn answers_wanted_at_once_are_counted() {
        let completion = |fields: &str| {
            let body = format!(r#"{{"model":"m",{fields}}}"#);
            peek(Dialect::OpenAiCompletions, body.as_bytes()).unwrap().choices
        };
        assert_eq!(completion(r#""prompt":"a""#), 1);
        assert_eq!(completion(r#""prompt":[1,2,3],"n":2"#), 2);
        assert_eq!(completion(r#""prompt":[ "a","b"],"n":3"#), 6);
        assert_eq!(completion(r#""prompt":[[1],[2]]"#), 2);
        assert_eq!(chat(r#"{"model":"m","messages":[],"n":4}"#).unwrap().choices, 4);
    }

    #[test]
    fn ollama_streams_unless_told_otherwise_and_reads_its_options() {
        let seen = peek(Dialect::OllamaChat, br#"{"model":"m","messages":[],"options":{"num_predict":-1,"seed":7}}"#);
        let seen = seen.unwrap();
        assert!(seen.stream);
        assert_eq!((seen.max_output_tokens, seen.sampling), (None, Sampling::Deterministic));
    }

    #[test]
    fn a_name_that_only_go_would_take_for_ours_is_refused() {
        for name in ["Model", "MODEL", "\\u004dodel", "\u{17f}tream", "Options", "CONTEXT"] {
            let body = format!(r#"{{"model":"a","messages":[],"{name}" : "b"}}"#);
            assert!(chat(&body).unwrap_err().message.contains("is not known"), "{body}");
        }
        for fine in
            [r#"{"messages":[{"Model":1}],"user":"Model"}"#, r#"{"messages":[],"m\u006fdel":"a","X":{"Model":1}}"#]
        {
            assert!(chat(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let cases = [
            (r#"{"messages":"hi"}"#, "messages"),
            (r#"{"messages":[],"stream":"yes"}"#, "stream"),
            (r#"{"messages":[],"max_tokens":-3}"#, "max_tokens"),
            (r#"{"messages":[],"temperature":"hot"}"#, "temperature"),
            (r#"{"messages":[],"temperature":-1}"#, "temperature"),
            (r#"{"messages":[],"model":7}"#, "model"),
            (r#"{"messages":[],"n":0}"#, "n"),
            (r#"{"messages":[],"options":[]}"#, "options"),
        ];
        for (body, name) in cases {
            let fault = chat(body).unwrap_err();
            assert!(fault.message.contains(&format!("`{name}`")), "{body}: {fault:?}");
        }
    }

    #[test]
    fn hostile_bodies_are_refused_by_name() {
        let deep = format!("{{\"messages\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(chat(&deep).unwrap_err().message.contains("nested deeper"));
        assert!(peek(Dialect::OpenAiChat, b"{\"messages\":[\"\xff\"]}").unwrap_err().message.contains("UTF-8"));
        assert!(chat("{\"messages\":[").unwrap_err().message.contains("JSON"));
        assert!(chat("\u{feff}{\"messages\":[]}").is_err());
        assert!(chat(r#"{"messages":[],"model":"a","model":"b"}"#).is_err());
        let long = format!(r#"{{"messages":[],"model":"{}"}}"#, "m".repeat(MAX_MODEL_BYTES + 1));
        assert!(chat(&long).unwrap_err().message.contains("`model`"));
    }

    #[test]
    fn equal_prefixes_share_hashes_up_to_where_they_part() {
        let body = |tail: &str| {
            format!(r#"{{"messages":[{{"role":"user","content":"{}{tail}"}}]}}"#, "x".repeat(3 * PREFIX_BLOCK_BYTES))
        };
        let long = "a".repeat(PREFIX_BLOCK_BYTES);
        let other = "b".repeat(PREFIX_BLOCK_BYTES);
        let (one, two) = (chat(&body(&long)).unwrap().prefix, chat(&body(&other)).unwrap().prefix);
        assert_eq!(one.len(), 4);
        assert_eq!(one[..3], two[..3]);
        assert_ne!(one[3], two[3]);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for &dialect in Dialect::ALL {
                let _ = peek(dialect, &bytes);
            }
        }

        #[test]
        fn depth_counts_only_outside_strings(text in "[\\[\\]{}\"\\\\a]{0,40}") {
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(odd_shape(quoted.as_bytes(), 0), None);
        }
    }
}
