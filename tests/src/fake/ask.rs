//! One ask, whatever dialect it came in: the same conversation becomes the same prompt everywhere.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::refusal::{Face, Refusal};
use crate::fake::schema;
use crate::fake::speak::{Prefill, Speak};
use crate::fake::text::{self, Script};

/// The route that an ask came by; decides the form of body and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
    /// Ollama's `/api/chat`.
    OllamaChat,
    /// Ollama's `/api/generate`.
    OllamaGenerate,
    /// llama-server's own `/completion`.
    LlamaCompletion,
    /// Anthropic's `/v1/messages`.
    Messages,
}

impl Form {
    /// Whose errors it has.
    pub fn face(self) -> Face {
        match self {
            Self::OllamaChat | Self::OllamaGenerate => Face::Ollama,
            Self::Messages => Face::Anthropic,
            Self::Chat | Self::Completion | Self::LlamaCompletion => Face::OpenAi,
        }
    }

    fn is_raw(self) -> bool {
        matches!(self, Self::Completion | Self::LlamaCompletion)
    }
}

/// How long a model stays in memory after an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The ask does not say.
    Default,
    /// Not at all.
    Not,
    /// Until told otherwise.
    Forever,
    /// So long.
    For(Duration),
}

/// A tool that the model calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// An instance of its schema.
    pub arguments: Value,
}

/// What is asked, and already what will be answered.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The route.
    pub form: Form,
    /// The model, as the client named it.
    pub model: String,
    /// The conversation up to the assistant's turn.
    pub prompt: String,
    /// The part of the answer that is already there.
    pub prefill: String,
    /// Whether the answer repeats the prefill.
    pub is_echoed: bool,
    /// Whether it is streamed.
    pub is_streamed: bool,
    /// Whether the client wants a chunk with the usage.
    pub wants_usage: bool,
    /// What is thought before the answer; nothing when the answer goes on behind a prefill.
    pub thoughts: Script,
    /// The answer that is left to give.
    pub script: Script,
    /// Whether a limit cuts the answer short.
    pub is_cut: bool,
    /// The tool to call; the script then holds the arguments.
    pub call: Option<Call>,
    /// Ollama's `keep_alive`.
    pub keep: Keep,
    /// Ollama: no prompt, only load the model (or unload it).
    pub is_load_only: bool,
    /// Ollama: show the rendered prompt instead of answering it.
    pub is_render_only: bool,
}

impl Ask {
    /// Reads `body` as `speak` reads it; a whole answer has `tokens` tokens.
    pub fn read(form: Form, speak: Speak, body: &Value, tokens: usize) -> Result<Self, Refusal> {
        let seed = body.get("seed").or(body.pointer("/options/seed")).and_then(Value::as_u64).unwrap_or(0);
        let messages = messages(form, body)?;
        let (prompt, prefill, is_echoed) = prompt(form, speak, body, &messages, seed, tokens)?;
        let call = tool_call(body, messages.last(), &prompt);
        let whole = match (&call, schema_of(form, speak, body)?) {
            (Some(call), _) => Script::json(call.arguments.to_string()),
            (None, Some(schema)) => {
                Script::json(schema::instance_for(&schema, &prompt, text::hash(&prompt) ^ seed).to_string())
            }
            (None, None) => Script::words(&prompt, seed, tokens),
        };
        let mut script = whole.after(&prefill);
        script.stop_at(&stops(body));
        let limit = limit(form, body)?;
        let is_cut = limit.is_some_and(|limit| limit < script.len());
        script.truncate(limit.unwrap_or(usize::MAX));
        let is = |name: &str| body.get(name).and_then(Value::as_bool);
        Ok(Self {
            form,
            model: body["model"].as_str().unwrap_or("").to_owned(),
            is_streamed: is("stream").unwrap_or(matches!(form, Form::OllamaChat | Form::OllamaGenerate)),
            wants_usage: body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true)),
            is_load_only: form.face() == Face::Ollama && is_empty(&messages),
            is_render_only: is("_debug_render_only") == Some(true) && speak == Speak::Ollama,
            keep: keep(body.get("keep_alive")),
            prompt,
            prefill,
            is_echoed,
            thoughts: Script::default(),
            script,
            is_cut,
            call,
        })
    }

    /// Thinks first, for `tokens` tokens, if `body` allows it: Ollama and Anthropic want to be told, the others just do.
    pub fn think(&mut self, body: &Value, tokens: usize) {
        let is_wanted = match self.form {
            Form::OllamaChat | Form::OllamaGenerate => body["think"] == true,
            Form::Messages => body.pointer("/thinking/type").is_some_and(|kind| kind == "enabled"),
            Form::Chat => true,
            Form::Completion | Form::LlamaCompletion => false,
        };
        if is_wanted && self.prefill.is_empty() {
            self.thoughts = Script::words(&text::thinking(&self.prompt), 0, tokens);
        }
    }

    /// Tokens of the prompt, with the prefill.
    pub fn prompt_tokens(&self) -> usize {
        text::count(&self.prompt) + self.prefill.len() / 4
    }
}

fn is_empty(messages: &[(String, String)]) -> bool {
    messages.iter().all(|(role, text)| role == "system" || text.is_empty())
}

/// Role and text of each message, a system prompt of its own field first. Nothing for raw prompts.
fn messages(form: Form, body: &Value) -> Result<Vec<(String, String)>, Refusal> {
    let mut messages = Vec::new();
    if let Some(system) = body.get("system").filter(|_| matches!(form, Form::Messages | Form::OllamaGenerate)) {
        messages.push(("system".to_owned(), text_of(system)));
    }
    if form == Form::OllamaGenerate {
        messages.push(("user".to_owned(), text_of(&body["prompt"])));
    }
    match &body["messages"] {
        Value::Array(list) => {
            for message in list {
                let role = message["role"].as_str().ok_or_else(|| Refusal::invalid("a message has no role"))?;
                messages.push((role.to_owned(), text_of(&message["content"])));
            }
        }
        _ if matches!(form, Form::Chat | Form::Messages) => {
            return Err(Refusal::invalid("messages: Field required"));
        }
        _ => {}
    }
    Ok(messages)
}

/// The text of a content: a string, or the text parts of a list.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part.as_str().or(part["text"].as_str()).or(part["content"].as_str()))
            .collect(),
        _ => String::new(),
    }
}

/// The prompt, the prefill, and whether the latter is repeated.
fn prompt(
    form: Form,
    speak: Speak,
    body: &Value,
    messages: &[(String, String)],
    seed: u64,
    tokens: usize,
) -> Result<(String, String, bool), Refusal> {
    if form.is_raw() || (form == Form::OllamaGenerate && body["raw"] == true) {
        let raw = match &body["prompt"] {
            Value::Null => return Err(Refusal::invalid("prompt: Field required")),
            prompt => text_of(prompt),
        };
        let (prompt, prefill) = text::split_raw(&raw, seed, tokens);
        return Ok((prompt.to_owned(), prefill.to_owned(), false));
    }
    if let Some((last, before)) = messages.split_last().filter(|(last, _)| last.0 == "assistant") {
        // Anthropic's form means a prefill wherever it is spoken; in the others it is the engine's own habit.
        let prefill = match (form, speak) {
            (Form::Messages, Speak::Llamacpp) => Ok(Prefill::Echoes),
            (Form::Messages, speak) if speak != Speak::Anthropic => Ok(Prefill::Continues),
            _ => speak.prefill(body),
        };
        match prefill.map_err(Refusal::invalid)? {
            Prefill::NewTurn => {}
            habit => return Ok((text::render(before), last.1.clone(), habit == Prefill::Echoes)),
        }
    }
    Ok((text::render(messages), String::new(), false))
}

/// What Ollama's `_debug_render_only` and llama-server's `/apply-template` show.
pub fn rendered(body: &Value) -> Result<String, Refusal> {
    let form = if body.get("messages").is_some() { Form::OllamaChat } else { Form::OllamaGenerate };
    let messages = messages(form, body)?;
    match messages.split_last().filter(|(last, _)| last.0 == "assistant") {
        Some((last, before)) => Ok(text::render(before) + &last.1),
        None => Ok(text::render(&messages)),
    }
}

/// With tools given, `call:NAME` in the last message of the user calls the tool of that name; so does `tool_choice`.
fn tool_call(body: &Value, last: Option<&(String, String)>, prompt: &str) -> Option<Call> {
    let tools = body["tools"].as_array()?;
    let function = |tool: &'_ Value| tool.get("function").unwrap_or(tool).clone();
    let wanted = forced_tool(&body["tool_choice"], tools).or_else(|| {
        let (_, text) = last.filter(|(role, _)| role == "user")?;
        let (_, wanted) = text.split_once("call:")?;
        wanted.split(|symbol: char| !symbol.is_alphanumeric() && !"_-.".contains(symbol)).next().map(str::to_owned)
    })?;
    tools.iter().map(function).find(|tool| tool["name"] == *wanted).map(|tool| {
        let parameters = tool.get("parameters").or(tool.get("input_schema")).unwrap_or(&Value::Null);
        let seed = text::hash(last.map_or("", |(_, text)| text));
        Call { name: wanted, arguments: schema::instance_for(parameters, prompt, seed) }
    })
}

/// The tool that must be called, in OpenAI's and in Anthropic's words.
fn forced_tool(choice: &Value, tools: &[Value]) -> Option<String> {
    let any = || tools.first().map(|tool| tool.get("function").unwrap_or(tool)["name"].clone());
    let name = match (choice.as_str(), choice["type"].as_str()) {
        (Some("required"), _) | (_, Some("any")) => any()?,
        _ => choice.pointer("/function/name").or(choice.get("name"))?.clone(),
    };
    name.as_str().map(str::to_owned)
}

/// The schema that the answer must follow, as far as this engine knows how to.
fn schema_of(form: Form, speak: Speak, body: &Value) -> Result<Option<Value>, Refusal> {
    let any = || json!({"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]});
    let given = match form {
        Form::OllamaChat | Form::OllamaGenerate => match &body["format"] {
            Value::String(json) if json == "json" => return Ok(Some(any())),
            schema @ Value::Object(_) => Some(schema),
            _ => None,
        },
        Form::Messages => body.pointer("/output_config/format/schema"),
        Form::LlamaCompletion => body.get("json_schema"),
        Form::Chat | Form::Completion => {
            let format = &body["response_format"];
            match (speak, format["type"].as_str()) {
                (Speak::Webui, _) => None,
                (Speak::LlamacppPython, Some("json_schema")) => {
                    return Err(Refusal::invalid("Input should be 'text' or 'json_object'"));
                }
                (Speak::Lmstudio, Some("json_object")) => {
                    return Err(Refusal::invalid("'response_format.type' must be 'json_schema' or 'text'"));
                }
                (_, Some("json_object")) => return Ok(Some(format.get("schema").cloned().unwrap_or_else(any))),
                (_, Some("json_schema")) => format.pointer("/json_schema/schema").or(format.get("schema")),
                (Speak::Vllm, _) => body.pointer("/structured_outputs/json").or(body.get("guided_json")),
                _ => None,
            }
        }
    };
    Ok(given.cloned())
}

/// Strings that end the answer.
fn stops(body: &Value) -> Vec<&str> {
    let given = ["/stop", "/options/stop", "/stop_sequences"].iter().find_map(|place| body.pointer(place));
    match given {
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(stops)) => stops.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn limit(form: Form, body: &Value) -> Result<Option<usize>, Refusal> {
    let number = |name: &str| body.pointer(name).and_then(Value::as_i64);
    let limit = match form {
        Form::OllamaChat | Form::OllamaGenerate => number("/options/num_predict").filter(|&limit| limit >= 0),
        Form::LlamaCompletion => number("/n_predict").filter(|&limit| limit >= 0),
        Form::Messages => Some(number("/max_tokens").ok_or_else(|| Refusal::invalid("max_tokens: Field required"))?),
        Form::Chat | Form::Completion => number("/max_completion_tokens").or(number("/max_tokens")),
    };
    match limit.map(usize::try_from) {
        Some(Err(_)) => Err(Refusal::invalid("max_tokens must be at least 1")),
        Some(Ok(limit)) => Ok(Some(limit)),
        None => Ok(None),
    }
}

fn keep(value: Option<&Value>) -> Keep {
    let seconds = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => {
            base::units::parse_duration(text).map(|time| time.as_secs_f64()).or_else(|| text.parse().ok())
        }
        _ => None,
    };
    match seconds {
        None => Keep::Default,
        Some(0.0) => Keep::Not,
        Some(seconds) if seconds < 0.0 => Keep::Forever,
        Some(seconds) => Keep::For(Duration::from_secs_f64(seconds.min(1e9))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(form: Form, speak: Speak, body: Value) -> String {
        Ask::read(form, speak, &body, 20).unwrap().script.text
    }

    #[test]
    fn one_conversation_has_one_answer_in_every_dialect() {
        let plain = json!([{"role": "system", "content": "be short"}, {"role": "user", "content": "hello"}]);
        let parts =
            json!([{"role": "user", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]}]);
        let want = text::expected(&text::render(&[("system", "be short"), ("user", "hello")]), 20);
        assert_eq!(answer(Form::Chat, Speak::Vllm, json!({"messages": plain})), want);
        assert_eq!(answer(Form::OllamaChat, Speak::Ollama, json!({"messages": plain})), want);
        let anthropic = json!({"system": "be short", "messages": parts, "max_tokens": 99});
        assert_eq!(answer(Form::Messages, Speak::Anthropic, anthropic), want);
        let generate = json!({"system": "be short", "prompt": "hello"});
        assert_eq!(answer(Form::OllamaGenerate, Speak::Ollama, generate), want);
        let rendered = rendered(&json!({"messages": plain})).unwrap();
        assert_eq!(answer(Form::OllamaGenerate, Speak::Ollama, json!({"raw": true, "prompt": rendered})), want);
        assert_eq!(answer(Form::Completion, Speak::Lmstudio, json!({"prompt": rendered})), want);
    }

    #[test]
    fn each_engine_goes_on_by_its_own_switch() {
        let whole = text::expected(&text::render(&[("user", "hello")]), 20);
        let (held, rest) = whole.split_at(33);
        let with = |extra: Value| {
            let mut body = json!({"max_tokens": 99, "messages": [
                {"role": "user", "content": "hello"}, {"role": "assistant", "content": held}]});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            body
        };
        assert_eq!(answer(Form::OllamaChat, Speak::Ollama, with(json!({}))), rest);
        assert_eq!(answer(Form::Chat, Speak::Webui, with(json!({"continue_": true}))), rest);
        let both = json!({"continue_final_message": true, "add_generation_prompt": false});
        assert_eq!(answer(Form::Chat, Speak::Vllm, with(both)), rest);
        assert_eq!(answer(Form::Messages, Speak::Anthropic, with(json!({}))), rest);
        for speak in [Speak::Webui, Speak::Vllm, Speak::LlamacppPython, Speak::Lmstudio] {
            assert_ne!(answer(Form::Chat, speak, with(json!({}))), rest, "{speak:?}");
        }
        let one_switch = with(json!({"continue_final_message": true}));
        assert!(Ask::read(Form::Chat, Speak::Vllm, &one_switch, 20).is_err());
        let echoed = Ask::read(Form::Chat, Speak::Llamacpp, &with(json!({})), 20).unwrap();
        assert!(echoed.is_echoed && echoed.script.text == rest);
    }

    #[test]
    fn a_limit_cuts_and_a_tool_is_called() {
        let user = json!([{"role": "user", "content": "please call:add_task now"}]);
        let cut = Ask::read(Form::Chat, Speak::Openai, &json!({"messages": user, "max_tokens": 3}), 20).unwrap();
        assert!(cut.is_cut && cut.script.len() == 3);
        let tool = json!({"type": "function", "function": {"name": "add_task", "parameters": {
            "type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}}});
        let body = json!({"messages": user, "tools": [tool]});
        let call = Ask::read(Form::Chat, Speak::Openai, &body, 20).unwrap().call.unwrap();
        assert_eq!(call.name, "add_task");
        assert!(call.arguments["title"].is_string());
    }

    #[test]
    fn keep_alive_is_read_in_all_its_spellings() {
        assert_eq!(keep(Some(&json!(0))), Keep::Not);
        assert_eq!(keep(Some(&json!("5m"))), Keep::For(Duration::from_secs(300)));
        assert_eq!(keep(Some(&json!(-1))), Keep::Forever);
        assert_eq!(keep(Some(&json!("30"))), Keep::For(Duration::from_secs(30)));
        assert_eq!(keep(None), Keep::Default);
    }
}
