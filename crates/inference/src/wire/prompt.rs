//! A request between dialects: what every dialect means, in one form.
//!
//! Reading takes each field that it understands out of the body and then looks at what is left: hints that at most
//! change the taste of the answer are dropped, anything else is refused by its name. Nothing is lost in silence.

use base::{Code, Dialect, Fault, Result};
use serde_json::{Map, Value};

mod anthropic;
mod native;
mod ollama;
mod openai;
mod responses;

/// Fields without which the answer means the same; other dialects have no place for them.
const HINTS: &[&str] = &[
    "user",
    "metadata",
    "store",
    "service_tier",
    "parallel_tool_calls",
    "safety_identifier",
    "prompt_cache_key",
    "cache_prompt",
    "verbosity",
    "top_a",
    "tfs_z",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "id_slot",
    "timings_per_token",
    "cache_control",
    "stream_options",
    "keep_alive",
    "ttl",
    "reasoning_effort",
    "think",
    "thinking",
    "truncate",
    "shift",
    "inference_geo",
];

/// Sampling parameters with a common name; each dialect takes those that it knows.
const SAMPLING: &[&str] =
    &["temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty", "repeat_penalty"];

/// More of them, which only the built-in engine has a use for.
const MORE_SAMPLING: &[&str] = &["typical_p", "repeat_last_n", "repetition_penalty"];

/// A request for text, in no dialect.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Prompt {
    pub turns: Vec<Turn>,
    /// Whether the prompt (then the only turn) goes to the model without a template.
    pub is_raw: bool,
    pub tools: Vec<Tool>,
    pub tool_choice: ToolChoice,
    pub format: Option<Format>,
    pub sampling: Map<String, Value>,
    pub more_sampling: Map<String, Value>,
    pub limit: Option<u64>,
    pub stop: Vec<String>,
    pub keep_alive: Option<Value>,
    pub think: Option<Value>,
    pub stream: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Role {
    System,
    #[default]
    User,
    Assistant,
    Tool,
}

/// One message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Turn {
    pub role: Role,
    pub parts: Vec<Part>,
    pub calls: Vec<Call>,
    /// Of a tool's result: the call that it answers, and the tool.
    pub call_id: String,
    pub tool_name: String,
}

#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    /// Its media type and its bytes in base64.
    Image(String, String),
}

#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub id: String,
    pub name: String,
    pub arguments: Value,
}

#[derive(Debug, PartialEq)]
pub(super) struct Tool {
    pub name: String,
    pub description: Option<String>,
    pub parameters: Value,
}

#[derive(Debug, Default, PartialEq)]
pub(super) enum ToolChoice {
    #[default]
    Auto,
    None,
    Required,
    Named(String),
}

#[derive(Debug, PartialEq)]
pub(super) enum Format {
    /// Any JSON object.
    Json,
    /// JSON of a schema.
    Schema(Value),
}

impl Prompt {
    /// Reads a body in `dialect`.
    pub(super) fn read(dialect: Dialect, body: &[u8], stream: bool) -> Result<Self> {
        let (prompt, rest) = Self::read_known(dialect, body, stream)?;
        rest.refuse_rest()?;
        Ok(prompt)
    }

    /// The same for looking at it alone; `None` when it cannot be read.
    pub(super) fn read_form(dialect: Dialect, body: &[u8]) -> Option<Self> {
        Self::read_known(dialect, body, false).ok().map(|(prompt, _)| prompt)
    }

    /// The same; gives along what of the body it does not know.
    fn read_known(dialect: Dialect, body: &[u8], stream: bool) -> Result<(Self, Taken)> {
        let map = super::read_json(body)?;
        let mut fields = Taken(map);
        fields.take("model");
        fields.take("stream");
        let mut prompt = Self { stream, ..Self::default() };
        match dialect {
            Dialect::OllamaChat | Dialect::OllamaGenerate => ollama::read(&mut prompt, &mut fields, dialect)?,
            Dialect::AnthropicMessages => anthropic::read(&mut prompt, &mut fields)?,
            Dialect::OpenAiResponses => responses::read(&mut prompt, &mut fields)?,
            _ => openai::read(&mut prompt, &mut fields, dialect)?,
        }
        Ok((prompt, fields))
    }

    /// Writes it in `dialect`, for the model `model`.
    pub(super) fn write(mut self, dialect: Dialect, model: &str) -> Result<Value> {
        self.check_shape(dialect)?;
        if self.tool_choice == ToolChoice::None {
            self.tools.clear();
            self.tool_choice = ToolChoice::Auto;
        }
        let mut out = Map::new();
        out.insert("model".into(), model.into());
        out.insert("stream".into(), self.stream.into());
        match dialect {
            Dialect::OllamaChat | Dialect::OllamaGenerate => ollama::write(self, &mut out, dialect)?,
            Dialect::AnthropicMessages => anthropic::write(self, &mut out)?,
            Dialect::OpenAiResponses => responses::write(self, &mut out),
            _ => openai::write(self, &mut out, dialect)?,
        }
        Ok(Value::Object(out))
    }

    /// A route for raw text takes no chat, and the route for one turn takes no conversation.
    fn check_shape(&self, dialect: Dialect) -> Result<()> {
        let is_single = self.tools.is_empty()
            && self.turns.iter().filter(|turn| turn.role != Role::System).count() <= 1
            && self.turns.iter().all(|turn| matches!(turn.role, Role::System | Role::User));
        match dialect {
            Dialect::OpenAiCompletions if !self.is_raw => Err(refused("messages")),
            Dialect::OllamaGenerate if !self.is_raw && !is_single => Err(refused("messages")),
            _ => Ok(()),
        }
    }

    /// Makes a tool that must be called into the schema of the answer, which every engine with a grammar keeps to; gives
    /// the tool's name, for what comes back is its call. Of several that may be called, the model has to choose.
    pub(super) fn call_by_schema(&mut self) -> Option<String> {
        let at = match &self.tool_choice {
            ToolChoice::Named(name) => self.tools.iter().position(|tool| tool.name == *name)?,
            ToolChoice::Required if self.tools.len() == 1 => 0,
            _ => return None,
        };
        let tool = self.tools.swap_remove(at);
        self.tools.clear();
        self.tool_choice = ToolChoice::Auto;
        self.format = Some(Format::Schema(tool.parameters));
        if let Some(description) = tool.description.filter(|text| !text.is_empty()) {
            let text = format!("Answer with the arguments of the tool `{}` as JSON: {description}", tool.name);
            self.turns.insert(0, Turn::of(Role::System, text));
        }
        Some(tool.name)
    }

    /// Takes the sampling parameters out of `fields`.
    fn read_sampling(&mut self, fields: &mut Taken) {
        for name in SAMPLING {
            if let Some(value) = fields.take(name) {
                self.sampling.insert((*name).into(), value);
            }
        }
        for name in MORE_SAMPLING {
            if let Some(value) = fields.take(name) {
                self.more_sampling.insert((*name).into(), value);
            }
        }
    }

    fn read_stop(&mut self, stop: Option<Value>, name: &str) -> Result<()> {
        self.stop = match stop {
            None => Vec::new(),
            Some(Value::String(text)) => vec![text],
            Some(list) => serde_json::from_value(list).map_err(|_| wrong(name, "a string or a list of strings"))?,
        };
        Ok(())
    }
}

impl Turn {
    fn of(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text(text.into())], ..Self::default() }
    }

    /// Its text, without what is no text.
    fn text(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Image(..) => None,
        };
        self.parts.iter().filter_map(text).collect::<Vec<_>>().join("\n")
    }
}

/// The fields of a body that nobody has read yet.
struct Taken(Map<String, Value>);

impl Taken {
    /// Takes a field; `null` counts as absent.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn take_text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(name, "a string")),
        }
    }

    fn take_list(&mut self, name: &str) -> Result<Vec<Value>> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(wrong(name, "a list")),
        }
    }

    fn take_limit(&mut self, name: &str) -> Result<Option<u64>> {
        self.take(name).map(|value| value.as_u64().ok_or_else(|| wrong(name, "a whole number above 0"))).transpose()
    }

    /// Refuses the first field that means something.
    fn refuse_rest(&self) -> Result<()> {
        let is_idle = |name: &str, value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(object) => object.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Number(number) => match name {
                "n" | "best_of" => number.as_u64() == Some(1),
                "top_logprobs" => number.as_u64() == Some(0),
                _ => false,
            },
            Value::Bool(true) => false,
        };
        match self.0.iter().find(|(name, value)| !HINTS.contains(&name.as_str()) && !is_idle(name, value)) {
            Some((name, _)) => Err(refused(name)),
            None => Ok(()),
        }
    }
}

fn refused(name: &str) -> Fault {
    Fault::new(Code::NotSupported, format!("field `{name}` has no meaning for the engine that serves this model"))
        .hint(format!("leave `{name}` out, or name a model that an engine of the same API serves"))
}

fn wrong(name: &str, expected: &str) -> Fault {
    Fault::invalid(format!("field `{name}` is not {expected}")).hint(format!("give `{name}` as {expected}"))
}

fn role(message: &Map<String, Value>) -> Result<Role> {
    match message.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Ok(Role::System),
        Some("user") => Ok(Role::User),
        Some("assistant") => Ok(Role::Assistant),
        Some("tool" | "function") => Ok(Role::Tool),
        _ => Err(wrong("messages[].role", "one of system, developer, user, assistant, tool")),
    }
}

fn object(value: Value, name: &str) -> Result<Map<String, Value>> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(wrong(name, "an object")),
    }
}

fn text_of(object: &mut Map<String, Value>, name: &str) -> Option<String> {
    match object.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Tool definitions as OpenAI and Ollama write them.
fn read_functions(list: Vec<Value>) -> Result<Vec<Tool>> {
    let read = |value: Value| {
        let function = value.get("function").cloned().unwrap_or_default();
        let mut function = object(function, "tools[].function")?;
        let name = text_of(&mut function, "name").ok_or_else(|| wrong("tools[].function.name", "a string"))?;
        let description = text_of(&mut function, "description");
        Ok(Tool { name, description, parameters: function.remove("parameters").unwrap_or_else(no_parameters) })
    };
    list.into_iter().map(read).collect()
}

fn write_functions(tools: Vec<Tool>) -> Value {
    let write = |tool: Tool| {
        let mut function = Map::new();
        function.insert("name".into(), tool.name.into());
        function.extend(tool.description.map(|text| ("description".into(), text.into())));
        function.insert("parameters".into(), tool.parameters);
        serde_json::json!({"type": "function", "function": function})
    };
    tools.into_iter().map(write).collect()
}

fn no_parameters() -> Value {
    serde_json::json!({"type": "object", "properties": {}})
}
