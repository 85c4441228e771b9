//! An ask: one inference request. Its body stays as the client sent it; its head holds only what routing needs.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::grant::Grant;
use crate::ids::{AskId, WorkerId};
use crate::time::Deadline;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> { to.serialize_str(self.as_str()) }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(from)?;
                Self::parse(&text).ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    serde::de::Error::custom(format_args!("`{text}` is none of {}", words.join(", ")))
                })
            }
        }

        impl $name {
            /// Every word, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// The word as it stands in wires, logs and metrics.
            pub const fn as_str(self) -> &'static str { match self { $($name::$variant => $text,)* } }
            /// Reads what [`Self::as_str`] wrote.
            pub fn parse(text: &str) -> Option<Self> { match text { $($text => Some($name::$variant),)* _ => None } }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}
pub(crate) use words;

words! {
    /// The door that an ask came in by; a label of metrics.
    Face {
        /// OpenAI's HTTP API.
        OpenAi "openai",
        /// Ollama's HTTP API.
        Ollama "ollama",
        /// Anthropic's HTTP API.
        Anthropic "anthropic",
        /// Our gRPC API.
        Grpc "grpc",
        /// The cluster itself: probes, jobs.
        Internal "internal",
    }
}

words! {
    /// The wire form of an ask's body and of its answer.
    Dialect {
        /// `POST /v1/chat/completions`, JSON or SSE.
        OpenAiChat "openai-chat",
        /// `POST /v1/responses`, JSON or SSE with named events.
        OpenAiResponses "openai-responses",
        /// `POST /v1/completions`, JSON or SSE.
        OpenAiCompletions "openai-completions",
        /// `POST /v1/embeddings`, JSON.
        OpenAiEmbeddings "openai-embeddings",
        /// `POST /api/chat`, JSON or NDJSON; streams unless told otherwise.
        OllamaChat "ollama-chat",
        /// `POST /api/generate`, JSON or NDJSON; streams unless told otherwise.
        OllamaGenerate "ollama-generate",
        /// `POST /api/embed`, JSON.
        OllamaEmbed "ollama-embed",
        /// `POST /api/embeddings` (the older form), JSON.
        OllamaEmbeddings "ollama-embeddings",
        /// `POST /v1/messages`, JSON or SSE with named events.
        AnthropicMessages "anthropic-messages",
        /// `POST /v1/rerank`, JSON.
        Rerank "rerank",
    }
}

impl Dialect {
    /// Whether an answer in this dialect is text that grows (a chat or a completion), so that it may be resumed.
    pub const fn is_generation(self) -> bool {
        matches!(
            self,
            Self::OpenAiChat
                | Self::OpenAiResponses
                | Self::OpenAiCompletions
                | Self::OllamaChat
                | Self::OllamaGenerate
                | Self::AnthropicMessages
        )
    }

    /// What OpenTelemetry's conventions for generative AI call it.
    pub const fn operation(self) -> &'static str {
        match self {
            Self::OpenAiChat | Self::OpenAiResponses | Self::OllamaChat | Self::AnthropicMessages => "chat",
            Self::OpenAiCompletions | Self::OllamaGenerate => "text_completion",
            Self::OpenAiEmbeddings | Self::OllamaEmbed | Self::OllamaEmbeddings => "embeddings",
            Self::Rerank => "rerank",
        }
    }

    /// Whether the client gets a stream when its body does not say.
    pub const fn streams_by_default(self) -> bool {
        matches!(self, Self::OllamaChat | Self::OllamaGenerate)
    }

    /// The content type of an answer.
    pub const fn content_type(self, stream: bool) -> &'static str {
        match (self, stream) {
            (Self::OllamaChat | Self::OllamaGenerate, true) => "application/x-ndjson",
            (_, true) => "text/event-stream",
            (_, false) => "application/json",
        }
    }
}

words! {
    /// What an ask is for; with the estimated complexity it decides the tier of a model under `auto`.
    Kind {
        /// Anything not named below.
        General "general",
        /// Looking things up and putting them together.
        Research "research",
        /// Writing code.
        CodeGeneration "code-generation",
        /// Taking something apart.
        Analysis "analysis",
        /// Plans and task trees.
        Planning "planning",
        /// Making something better by trying.
        Optimization "optimization",
        /// Text to vector.
        Embedding "embedding",
        /// Ordering documents by a query.
        Rerank "rerank",
    }
}

words! {
    /// Who waits for the answer. Declared in the order of urgency: `Interactive` sorts first.
    Priority {
        /// A person watches.
        Interactive "interactive",
        /// A program waits.
        Normal "normal",
        /// Nobody waits.
        Batch "batch",
    }
}

/// Whether the same ask gives the same answer. Only deterministic asks are cached or joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Temperature 0, or a seed was given; always for embeddings and rerank.
    Deterministic,
    /// The answer must be allowed to vary.
    Varying,
}

/// What a model and its engine must be able to do for this ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Needs {
    /// Tool definitions are given.
    pub tools: bool,
    /// An output schema or JSON mode is asked for.
    pub schema: bool,
    /// Images are in the messages.
    pub images: bool,
    /// The model is to think before it answers.
    pub reasoning: bool,
}

/// What routing knows of an ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AskHead {
    /// Given at the door, shown to the client as `x-tm-ask`.
    pub id: AskId,
    /// The door.
    pub face: Face,
    /// The form of the body, and of the answer that the client wants.
    pub dialect: Dialect,
    /// What it is for.
    pub kind: Kind,
    /// Who waits.
    pub priority: Priority,
    /// The model as the client named it: a model, an alias, a role, or `auto`.
    pub model: Arc<str>,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// Whether the client itself asked for a usage chunk at the end of an OpenAI stream.
    pub wants_usage_chunk: bool,
    /// Whether the same ask gives the same answer.
    pub sampling: Sampling,
    /// Capabilities it needs.
    pub needs: Needs,
    /// Estimated size of the prompt, in tokens (a quarter of its bytes, at least 1).
    pub prompt_tokens: u32,
    /// The client's limit on the answer, in tokens.
    pub max_output_tokens: Option<u32>,
    /// Answers that are wanted at once (OpenAI's `n`, and its lists of prompts); mostly 1, never 0.
    pub choices: u32,
    /// Chained hashes of the prompt in blocks: entry `i` stands for the blocks `0..=i`. Equal entries, equal prefixes.
    pub prefix: Arc<[u64]>,
    /// The answer is worthless after this.
    pub deadline: Deadline,
    /// Who asks: the key's name, for fairness between clients; empty when keys are off.
    pub client: Arc<str>,
    /// What its key allows, at the node where it came in; `None` when keys are off, and for asks of the node itself.
    pub grant: Option<Arc<Grant>>,
    /// W3C `traceparent` of the span that the ask belongs to; empty when there is none.
    pub traceparent: Arc<str>,
    /// The one worker that can serve it (Ollama's `context` tokens belong to the worker that made them).
    pub only_worker: Option<WorkerId>,
}

impl AskHead {
    /// An ask in `dialect` of which nothing more is known: one whole answer to a short prompt, by the model `m`.
    pub fn plain(dialect: Dialect, deadline: Deadline) -> Self {
        Self {
            id: AskId::random(),
            face: Face::OpenAi,
            dialect,
            kind: Kind::General,
            priority: Priority::Normal,
            model: "m".into(),
            stream: false,
            wants_usage_chunk: false,
            sampling: Sampling::Varying,
            needs: Needs::default(),
            prompt_tokens: 1,
            max_output_tokens: None,
            choices: 1,
            prefix: [].into(),
            deadline,
            client: "".into(),
            grant: None,
            traceparent: "".into(),
            only_worker: None,
        }
    }
}

/// What the client of an interrupted answer already holds; the next run goes on behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Continuation {
    /// Text of the answer so far.
    pub text: String,
    /// Reasoning so far.
    pub thinking: String,
    /// Id of the answer that the client saw first; empty when it saw none.
    pub response_id: String,
    /// Model name that the client saw.
    pub model: String,
    /// Unix seconds that the client saw as the time of creation.
    pub created_s: u64,
    /// Tokens so far, as far as they were counted.
    pub tokens: u32,
    /// Those of them that are reasoning, which no engine gets back.
    pub thinking_tokens: u32,
}

/// One inference request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What routing needs.
    pub head: AskHead,
    /// The client's bytes, unchanged.
    pub body: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        assert!(Dialect::ALL.iter().all(|&dialect| Dialect::parse(dialect.as_str()) == Some(dialect)));
        assert!(Kind::ALL.iter().all(|&kind| Kind::parse(kind.as_str()) == Some(kind)));
        assert_eq!(Priority::parse("urgent"), None);
    }
}
