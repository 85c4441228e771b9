//! Errors as each engine words them: an ask that is refused before any byte of its answer.

use serde_json::{Value, json};

use crate::fake::speak::Speak;

/// Why an ask is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// For people.
    pub message: String,
    /// What it is about.
    pub kind: Kind,
    /// Seconds of `Retry-After`.
    pub retry_after_s: Option<u32>,
}

/// What a refusal is about; each dialect has words of its own for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong.
    Invalid,
    /// The prompt is longer than the context.
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// No key, or the wrong one.
    NoKey,
    /// There is no such model.
    NoModel,
    /// There is no such route.
    NoRoute,
    /// Too many wait.
    Busy,
    /// The model is being loaded.
    Loading,
    /// The engine failed.
    Internal,
}

/// Whose form an error takes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Ollama's own routes.
    Ollama,
    /// Routes of OpenAI, and everything that has no form of its own.
    OpenAi,
    /// `/v1/messages`.
    Anthropic,
}

impl Refusal {
    fn new(status: u16, kind: Kind, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), kind, retry_after_s: None }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, Kind::Invalid, message)
    }

    /// There is no such model.
    pub fn no_model(model: &str) -> Self {
        Self::new(404, Kind::NoModel, format!("model '{model}' not found"))
    }

    /// No key, or the wrong one.
    pub fn no_key() -> Self {
        Self::new(401, Kind::NoKey, "invalid API key")
    }

    /// There is no such route.
    pub fn no_route(path: &str) -> Self {
        Self::new(404, Kind::NoRoute, format!("404 page not found: {path}"))
    }

    /// The prompt does not fit.
    pub fn too_long(prompt: usize, context: usize) -> Self {
        let message = format!(
            "the request exceeds the available context size: {prompt} tokens, maximum context length is {context}"
        );
        Self::new(400, Kind::TooLong { prompt, context }, message)
    }

    /// Too many wait.
    pub fn queue_full() -> Self {
        Self::new(503, Kind::Busy, "server busy, please try again.  maximum pending requests exceeded")
    }

    /// The model is being loaded.
    pub fn loading() -> Self {
        Self { retry_after_s: Some(1), ..Self::new(503, Kind::Loading, "Loading model") }
    }

    /// The model cannot be loaded.
    pub fn load_failed(model: &str) -> Self {
        Self::new(500, Kind::Internal, format!("model failed to load: {model}: cannot allocate memory"))
    }

    /// A status that a test asked for.
    pub fn status(status: u16, retry_after_s: Option<u32>) -> Self {
        let kind = match status {
            429 | 503 | 529 => Kind::Busy,
            400..=499 => Kind::Invalid,
            _ => Kind::Internal,
        };
        Self { retry_after_s, ..Self::new(status, kind, "failed as it was told to") }
    }

    /// The status that `speak` gives it: llama-cpp-python calls nearly everything an internal error.
    pub fn status_of(&self, speak: Speak) -> u16 {
        match (speak, self.kind) {
            (Speak::LlamacppPython, Kind::Invalid) if self.status == 400 => 500,
            (Speak::Webui, Kind::Invalid) if self.status == 400 => 422,
            _ => self.status,
        }
    }

    /// The error object, also as it stands inside a stream.
    pub fn body(&self, speak: Speak, face: Face) -> Value {
        let message = &self.message;
        match face {
            Face::Ollama => json!({ "error": message }),
            Face::Anthropic => json!({
                "type": "error",
                "error": {"type": self.anthropic_type(), "message": message},
                "request_id": "req_fake",
            }),
            Face::OpenAi => self.openai(speak),
        }
    }

    fn openai(&self, speak: Speak) -> Value {
        let (message, kind, status) = (&self.message, self.openai_type(), self.status_of(speak));
        match speak {
            Speak::Llamacpp => {
                let mut error = json!({"code": status, "message": message, "type": kind});
                if let Kind::TooLong { prompt, context } = self.kind {
                    error["type"] = "exceed_context_size_error".into();
                    error["n_prompt_tokens"] = prompt.into();
                    error["n_ctx"] = context.into();
                }
                json!({ "error": error })
            }
            Speak::LlamacppPython => {
                let code = matches!(self.kind, Kind::TooLong { .. }).then_some("context_length_exceeded");
                json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
            }
            Speak::Localai => json!({"error": {"code": status, "message": message, "type": ""}}),
            Speak::Vllm => json!({"error": {"message": message, "type": kind, "param": null, "code": status}}),
            Speak::Webui if self.kind == Kind::Invalid => {
                json!({"detail": [{"loc": ["body"], "msg": message, "type": "value_error"}]})
            }
            Speak::Webui if self.kind == Kind::NoRoute => json!({"detail": "Not Found"}),
            Speak::Webui if self.kind == Kind::NoKey => json!({"detail": "Unauthorized"}),
            _ => json!({"error": {"message": message, "type": kind, "param": null, "code": null}}),
        }
    }

    fn openai_type(&self) -> &'static str {
        match self.kind {
            Kind::NoModel | Kind::NoRoute => "not_found_error",
            Kind::Invalid | Kind::TooLong { .. } => "invalid_request_error",
            Kind::NoKey => "authentication_error",
            Kind::Loading => "unavailable_error",
            Kind::Busy => "api_error",
            Kind::Internal => "internal_server_error",
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match (self.status, self.kind) {
            (429, _) => "rate_limit_error",
            (529 | 503, _) => "overloaded_error",
            (_, Kind::NoKey) => "authentication_error",
            (_, Kind::NoModel | Kind::NoRoute) => "not_found_error",
            (_, Kind::Invalid | Kind::TooLong { .. }) => "invalid_request_error",
            _ => "api_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_has_its_own_shape() {
        let refusal = Refusal::no_model("m");
        assert_eq!(refusal.body(Speak::Ollama, Face::Ollama)["error"], "model 'm' not found");
        assert_eq!(refusal.body(Speak::Ollama, Face::OpenAi)["error"]["type"], "not_found_error");
        assert_eq!(refusal.body(Speak::Vllm, Face::OpenAi)["error"]["code"], 404);
        assert_eq!(refusal.body(Speak::Anthropic, Face::Anthropic)["error"]["type"], "not_found_error");
        assert_eq!(Refusal::too_long(9, 8).body(Speak::Llamacpp, Face::OpenAi)["error"]["n_ctx"], 8);
        assert_eq!(Refusal::loading().body(Speak::Llamacpp, Face::OpenAi)["error"]["type"], "unavailable_error");
        assert!(Refusal::invalid("x").body(Speak::Webui, Face::OpenAi)["detail"].is_array());
        assert_eq!(Refusal::invalid("x").status_of(Speak::LlamacppPython), 500);
    }
}
