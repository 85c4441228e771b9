//! Requests as the built-in engine takes them (`taskmaster.engine.v1`).

use base::{Ask, Code, Continuation, Fault, Result};
use proto::engine::generate_request::Prompt as From;
use proto::engine::{Chat, GenerateRequest, Sampling, Tool as NativeTool, ToolCall, Turn as NativeTurn};
use serde_json::{Value, json};

use super::{Call, Format, Part, Prompt, Role, ToolChoice, Turn, wrong};
use crate::wire::native::Tuned;
use crate::wire::shape;

impl Prompt {
    /// The request for `ask`, behind `continuation`, for a model that is tuned as `tuned` says. Gives along the tool that
    /// the answer is a call of.
    pub(in crate::wire) fn native(
        ask: &Ask,
        continuation: Option<&Continuation>,
        tuned: &Tuned,
        context_tokens: u32,
    ) -> Result<(GenerateRequest, Option<String>)> {
        let (mut prompt, mut rest) = Self::read_known(ask.head.dialect, &ask.body, ask.head.stream)?;
        let bias = rest.take("logit_bias").map(read_bias).transpose()?.unwrap_or_default();
        let variables = rest.take("chat_template_kwargs");
        rest.refuse_rest()?;
        // Templates of models that think know this word for it.
        let variables = variables.or_else(|| prompt.think.take()?.as_bool().map(|it| json!({"enable_thinking": it})));
        let template_variables_json = variables.map(|it| it.to_string()).unwrap_or_default();
        let calls = prompt.call_by_schema();
        // As the client said it: the owner's own words come in below.
        let texts = if prompt.format.is_some() { prompt.texts() } else { Vec::new() };
        let texts: Vec<(bool, &str)> = texts.iter().map(|(is_system, text)| (*is_system, text.as_str())).collect();
        let inferred = shape::infer(&texts);
        if prompt.format == Some(Format::Json) {
            prompt.format = inferred.clone().map(Format::Schema).or(prompt.format);
        }
        prompt.tune(tuned);
        if let Some(Format::Schema(schema)) = &mut prompt.format {
            shape::bounds::close(schema, &texts, inferred.as_ref(), room(ask, prompt.limit, context_tokens));
        }
        prompt.check_parts()?;
        let sampling = Sampling { logit_bias: bias, ..read_sampling(&prompt)? };
        let mut request = GenerateRequest {
            sampling: Some(sampling),
            max_tokens: prompt.limit.map_or(0, |limit| u32::try_from(limit).unwrap_or(u32::MAX)),
            stop: std::mem::take(&mut prompt.stop),
            schema_json: schema(prompt.format.take()),
            continue_from: continuation.map(|held| held.text.clone()).unwrap_or_default(),
            ..GenerateRequest::default()
        };
        if prompt.is_raw {
            if prompt.turns.len() > 1 || !prompt.tools.is_empty() {
                let message = "a raw prompt stands alone: `system` and `tools` have no place in it";
                return Err(Fault::invalid(message).hint("put them into the prompt, or ask without `raw`"));
            }
            request.prompt = prompt.turns.pop().map(|turn| From::Raw(turn.text()));
            return Ok((request, calls));
        }
        // An answer that the client began itself is gone on with, and not repeated.
        if let Some(begun) = prompt.turns.pop_if(|turn| turn.role == Role::Assistant && turn.calls.is_empty()) {
            request.begun = begun.text();
        }
        request.prompt = Some(From::Chat(chat(prompt, template_variables_json)?));
        Ok((request, calls))
    }

    /// What the model's owner set, where the client says nothing.
    fn tune(&mut self, tuned: &Tuned) {
        let has_system = self.turns.iter().any(|turn| turn.role == Role::System);
        if !self.is_raw && !has_system && !tuned.system.is_empty() {
            self.turns.insert(0, Turn::of(Role::System, tuned.system.clone()));
        }
        for (name, value) in &tuned.parameters {
            match name.as_str() {
                "num_predict" => self.limit = self.limit.or(value.as_u64()),
                "stop" if self.stop.is_empty() => {
                    let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
                    self.stop = texts.map(str::to_owned).collect();
                }
                "stop" => {}
                // The client says it under another name.
                "repeat_penalty" if self.more_sampling.contains_key("repetition_penalty") => {}
                _ if self.more_sampling.contains_key(name) => {}
                _ => {
                    self.sampling.entry(name).or_insert_with(|| value.clone());
                }
            }
        }
    }

    /// The texts of all turns, and whether each is the system's.
    fn texts(&self) -> Vec<(bool, String)> {
        self.turns.iter().map(|turn| (turn.role == Role::System, turn.text())).collect()
    }

    fn check_parts(&self) -> Result<()> {
        if self.turns.iter().flat_map(|turn| &turn.parts).any(|part| matches!(part, Part::Image(..))) {
            return Err(Fault::new(Code::NotSupported, "the built-in engine cannot look at pictures")
                .hint("ask without a picture, or name a model of another engine"));
        }
        Ok(())
    }
}

/// Tokens that the answer may have; half of what is left, since the prompt was only estimated.
fn room(ask: &Ask, limit: Option<u64>, context_tokens: u32) -> usize {
    let left = context_tokens.saturating_sub(ask.head.prompt_tokens) / 2;
    let limit = limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
    usize::try_from(left.min(limit)).unwrap_or(usize::MAX)
}

fn chat(mut prompt: Prompt, template_variables_json: String) -> Result<Chat> {
    match prompt.tool_choice {
        ToolChoice::Auto => {}
        ToolChoice::None => prompt.tools.clear(),
        ToolChoice::Required | ToolChoice::Named(_) => {
            return Err(Fault::new(Code::NotSupported, "the built-in engine cannot be made to call a tool")
                .hint("leave `tool_choice` at \"auto\", or ask for JSON by a schema"));
        }
    }
    let tool = |tool: super::Tool| NativeTool {
        name: tool.name,
        description: tool.description.unwrap_or_default(),
        parameters_json: tool.parameters.to_string(),
    };
    Ok(Chat {
        turns: prompt.turns.into_iter().map(turn).collect(),
        tools: prompt.tools.into_iter().map(tool).collect(),
        template_variables_json,
    })
}

fn turn(turn: Turn) -> NativeTurn {
    let role = match turn.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let call = |call: Call| ToolCall { id: call.id, name: call.name, arguments_json: call.arguments.to_string() };
    NativeTurn {
        role: role.to_owned(),
        text: turn.text(),
        calls: turn.calls.into_iter().map(call).collect(),
        call_id: turn.call_id,
        tool_name: turn.tool_name,
    }
}

fn schema(format: Option<Format>) -> String {
    match format {
        None => String::new(),
        Some(Format::Json) => "{}".to_owned(),
        Some(Format::Schema(schema)) => schema.to_string(),
    }
}

fn read_sampling(prompt: &Prompt) -> Result<Sampling> {
    let of = |name: &str| prompt.sampling.get(name).or_else(|| prompt.more_sampling.get(name));
    let number = |name: &str| match of(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(|number| Some(number as f32)).ok_or_else(|| wrong(name, "a number")),
    };
    let whole = |name: &str| match of(name) {
        None => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| wrong(name, "a whole number")),
    };
    Ok(Sampling {
        temperature: number("temperature")?,
        top_k: whole("top_k")?.map(|count| u32::try_from(count).unwrap_or(0)),
        top_p: number("top_p")?,
        min_p: number("min_p")?,
        typical_p: number("typical_p")?,
        repeat_penalty: number("repeat_penalty")?.or(number("repetition_penalty")?),
        repeat_last_n: whole("repeat_last_n")?.map(|count| i32::try_from(count).unwrap_or(-1)),
        frequency_penalty: number("frequency_penalty")?,
        presence_penalty: number("presence_penalty")?,
        // Below zero means one that is drawn.
        seed: whole("seed")?.and_then(|seed| u64::try_from(seed).ok()),
        ..Sampling::default()
    })
}

/// Token numbers as text, as OpenAI has them.
fn read_bias(value: Value) -> Result<std::collections::HashMap<u32, f32>> {
    let expected = "an object of token numbers and biases";
    let Value::Object(object) = value else { return Err(wrong("logit_bias", expected)) };
    let entry = |(token, bias): (String, Value)| Some((token.parse().ok()?, bias.as_f64()? as f32));
    object.into_iter().map(|pair| entry(pair).ok_or_else(|| wrong("logit_bias", expected))).collect()
}
