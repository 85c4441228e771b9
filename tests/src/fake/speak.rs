//! Whose protocol the fake speaks, and where the engines differ from each other.

use clap::ValueEnum;
use serde_json::Value;

/// The engine or cloud that the fake stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Speak {
    /// Ollama: its own API, and those of OpenAI and Anthropic.
    Ollama,
    /// OpenAI's API and nothing more.
    Openai,
    /// LM Studio.
    Lmstudio,
    /// LocalAI, with its Ollama face.
    Localai,
    /// text-generation-webui.
    Webui,
    /// vLLM.
    Vllm,
    /// llama.cpp's `llama-server`.
    Llamacpp,
    /// llama-cpp-python's server.
    LlamacppPython,
    /// Anthropic's cloud.
    Anthropic,
    /// Perplexity's cloud.
    Perplexity,
}

/// What an engine does with an assistant message at the end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefill {
    /// It closes that message and begins another answer.
    NewTurn,
    /// It goes on behind it.
    Continues,
    /// It goes on behind it, and repeats it first.
    Echoes,
}

impl Speak {
    /// Whether it has Ollama's own routes.
    pub fn has_ollama_face(self) -> bool {
        matches!(self, Self::Ollama | Self::Localai)
    }

    /// Whether it has `/v1/chat/completions` and its kin.
    pub fn has_openai_face(self) -> bool {
        !matches!(self, Self::Anthropic | Self::Perplexity)
    }

    /// Whether it has `/v1/messages`.
    pub fn has_anthropic_face(self) -> bool {
        !matches!(self, Self::Openai | Self::LlamacppPython | Self::Perplexity)
    }

    /// Whether it loads a model when it is first asked for, rather than at its own start.
    pub fn loads_on_demand(self) -> bool {
        matches!(self, Self::Ollama | Self::Lmstudio | Self::Localai | Self::LlamacppPython)
    }

    /// Whether it has one model in memory at a time.
    pub fn holds_one_model(self) -> bool {
        matches!(self, Self::Webui | Self::LlamacppPython)
    }

    /// Whether a model that it does not know is answered by one that it has.
    pub fn takes_any_model(self) -> bool {
        matches!(self, Self::Webui | Self::Llamacpp | Self::LlamacppPython)
    }

    /// Whether `stream_options.include_usage` is honoured.
    pub fn honours_include_usage(self) -> bool {
        self != Self::LlamacppPython
    }

    /// What happens to a trailing assistant message in a chat with this `body`; an error is the engine's refusal.
    pub fn prefill(self, body: &Value) -> Result<Prefill, &'static str> {
        let is = |name: &str| body.get(name).and_then(Value::as_bool);
        Ok(match self {
            Self::Ollama => Prefill::Continues,
            Self::Anthropic if body["model"].as_str().is_some_and(|model| model.contains("no-prefill")) => {
                return Err("This model does not support assistant message prefill. \
                            The conversation must end with a user message.");
            }
            Self::Anthropic => Prefill::Continues,
            Self::Llamacpp => Prefill::Echoes,
            Self::Webui if is("continue_") == Some(true) => Prefill::Continues,
            Self::Vllm if is("continue_final_message") == Some(true) => match is("add_generation_prompt") {
                Some(false) => Prefill::Continues,
                _ => return Err("Cannot set both `continue_final_message` and `add_generation_prompt` to True."),
            },
            _ => Prefill::NewTurn,
        })
    }
}
