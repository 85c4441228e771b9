//! What Ollama's clients send to bring a model into memory or out of it: an ask without a question.
//!
//! Ollama answers it with one object and no text. Put to another engine as it is, the model would answer nothing at
//! length.

use base::answer::Ready;
use base::time::{rfc3339, unix_ms};
use base::{Ask, Dialect, Finish, RunSummary};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// What an ask without a question wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepWish {
    /// The model shall be in memory.
    Load,
    /// The model shall leave it.
    Unload,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    messages: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    keep_alive: Option<Value>,
}

impl KeepWish {
    /// What `ask` wants; `None` when it asks something.
    pub fn of(ask: &Ask) -> Option<Self> {
        if !matches!(ask.head.dialect, Dialect::OllamaChat | Dialect::OllamaGenerate) {
            return None;
        }
        let body: Body = serde_json::from_slice(&ask.body).ok()?;
        let is_empty = match ask.head.dialect {
            Dialect::OllamaChat => body.messages.is_none_or(|messages| messages.is_empty()),
            _ => body.prompt.is_none_or(|prompt| prompt.is_empty()),
        };
        let leaves = match &body.keep_alive {
            Some(Value::Number(seconds)) => seconds.as_f64() == Some(0.0),
            Some(Value::String(text)) => text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic()) == "0",
            _ => false,
        };
        is_empty.then_some(if leaves { Self::Unload } else { Self::Load })
    }

    /// The answer once it is done.
    pub fn done(self, ask: &Ask) -> Ready {
        let reason = match self {
            Self::Load => "load",
            Self::Unload => "unload",
        };
        let created = rfc3339(unix_ms());
        let mut object = json!({"model": &*ask.head.model, "created_at": created, "done": true, "done_reason": reason});
        match ask.head.dialect {
            Dialect::OllamaChat => object["message"] = json!({"role": "assistant", "content": ""}),
            _ => object["response"] = "".into(),
        }
        let end = if ask.head.stream { "\n" } else { "" };
        let summary = RunSummary { finish: Some(Finish::Stop), ..RunSummary::default() };
        Ready::new(Bytes::from(format!("{object}{end}")), summary)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::ask;
    use super::*;

    #[test]
    fn only_an_ask_without_a_question_is_a_wish() {
        let cases = [
            (Dialect::OllamaGenerate, r#"{"model":"m"}"#, Some(KeepWish::Load)),
            (Dialect::OllamaGenerate, r#"{"model":"m","prompt":"","keep_alive":"5m"}"#, Some(KeepWish::Load)),
            (Dialect::OllamaGenerate, r#"{"model":"m","prompt":null,"keep_alive":0}"#, Some(KeepWish::Unload)),
            (Dialect::OllamaGenerate, r#"{"model":"m","prompt":"hi","keep_alive":0}"#, None),
            (Dialect::OllamaChat, r#"{"model":"m","messages":[],"keep_alive":"0s"}"#, Some(KeepWish::Unload)),
            (Dialect::OllamaChat, r#"{"model":"m","messages":[],"keep_alive":-1}"#, Some(KeepWish::Load)),
            (Dialect::OllamaChat, r#"{"model":"m","messages":[{"role":"user","content":""}]}"#, None),
            (Dialect::OpenAiChat, r#"{"model":"m","messages":[]}"#, None),
        ];
        for (dialect, body, wish) in cases {
            assert_eq!(KeepWish::of(&ask(dialect, body)), wish, "{body}");
        }
    }
}
