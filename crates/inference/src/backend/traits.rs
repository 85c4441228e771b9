//! How kinds of engines differ, as data.

use base::report::Backend as Kind;
use base::{AskHead, Code, Dialect, Fault, Result};

use crate::wire::{ContinueBy, Quirks};

/// What is true of every engine of a kind.
#[derive(Debug)]
pub struct Traits {
    /// The kind.
    pub kind: Kind,
    /// What it takes as it is. Embeddings and rerank are offered where their dialects are here.
    pub dialects: &'static [Dialect],
    /// Whether their paths lack the `/v1` that others have.
    pub dialects_at_root: bool,
    /// How it continues a chat.
    pub continues_chat: ContinueBy,
    /// How it continues a raw completion.
    pub continues_completion: ContinueBy,
    /// Where it departs from its dialects.
    pub quirks: Quirks,
    /// Answers 200 when it is up.
    pub health: &'static str,
    /// How a model comes into memory.
    pub loading: Loading,
    /// Whether a model can be taken out of memory.
    pub unloads: bool,
    /// Whether it keeps to a schema by grammar; else the answer is only checked.
    pub has_grammar: bool,
    /// Where it listens when nobody says otherwise.
    pub default_port: Option<u16>,
}

/// How a model comes into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// All that it lists is loaded.
    Always,
    /// The first ask loads it.
    OnDemand,
    /// A call loads it, and an ask does as well.
    ByCallOrDemand,
    /// Only a call does; an ask is answered by whatever is loaded.
    ByCall,
}

/// Everything of OpenAI's that an engine may speak.
pub(super) const OPENAI: &[Dialect] = &[Dialect::OpenAiChat, Dialect::OpenAiCompletions, Dialect::OpenAiEmbeddings];

/// The same with rerank.
pub(super) const OPENAI_AND_RERANK: &[Dialect] =
    &[Dialect::OpenAiChat, Dialect::OpenAiCompletions, Dialect::OpenAiEmbeddings, Dialect::Rerank];

impl Traits {
    /// The dialect in which an ask in `asked` is put to the engine: as it is where possible, else the nearest one.
    pub fn dialect_for(&self, asked: Dialect) -> Option<Dialect> {
        nearest(asked).iter().copied().find(|dialect| self.dialects.contains(dialect))
    }

    /// How an answer in the engine's dialect `dialect` is continued.
    pub fn continue_by(&self, dialect: Dialect) -> ContinueBy {
        match dialect {
            Dialect::OpenAiCompletions => self.continues_completion,
            _ if dialect.is_generation() => self.continues_chat,
            _ => ContinueBy::Never,
        }
    }

    /// Whether a cut answer to such an ask can go on here.
    pub fn can_continue(&self, head: &AskHead) -> bool {
        self.dialect_for(head.dialect).is_some_and(|dialect| self.continue_by(dialect) != ContinueBy::Never)
    }

    pub(super) fn require(&self, asked: Dialect, name: &str) -> Result<Dialect> {
        self.dialect_for(asked).ok_or_else(|| {
            let message = format!("engine `{name}` ({}) cannot take an ask in `{asked}`", self.kind);
            Fault::new(Code::NotSupported, message).hint("ask for a model of another worker")
        })
    }
}

/// Dialects in which the same thing can be asked, nearest first. A raw completion is none of a chat's: the engine would
/// put a template around it.
const fn nearest(asked: Dialect) -> &'static [Dialect] {
    use Dialect::*;
    match asked {
        OpenAiChat => &[OpenAiChat, OllamaChat, AnthropicMessages],
        // Engines that have it keep answers, which ours are not to do.
        OpenAiResponses => &[OllamaChat, OpenAiChat, AnthropicMessages],
        OpenAiCompletions => &[OpenAiCompletions],
        OllamaChat => &[OllamaChat, OpenAiChat, AnthropicMessages],
        OllamaGenerate => &[OllamaGenerate, OllamaChat, OpenAiChat, AnthropicMessages],
        AnthropicMessages => &[AnthropicMessages, OllamaChat, OpenAiChat],
        OpenAiEmbeddings => &[OpenAiEmbeddings, OllamaEmbed],
        OllamaEmbed => &[OllamaEmbed, OpenAiEmbeddings],
        OllamaEmbeddings => &[OllamaEmbeddings, OllamaEmbed, OpenAiEmbeddings],
        Rerank => &[Rerank],
    }
}

#[cfg(test)]
mod tests {
    use super::super::{anthropic, llamacpp, ollama, perplexity, vllm};
    use super::*;

    #[test]
    fn asks_are_put_in_the_nearest_dialect() {
        let cases = [
            (&ollama::TRAITS, Dialect::OpenAiChat, Some(Dialect::OpenAiChat)),
            (&ollama::TRAITS, Dialect::AnthropicMessages, Some(Dialect::OllamaChat)),
            (&ollama::TRAITS, Dialect::Rerank, None),
            (&vllm::TRAITS, Dialect::OllamaGenerate, Some(Dialect::OpenAiChat)),
            (&vllm::TRAITS, Dialect::OllamaEmbeddings, Some(Dialect::OpenAiEmbeddings)),
            (&anthropic::TRAITS, Dialect::OllamaChat, Some(Dialect::AnthropicMessages)),
            (&anthropic::TRAITS, Dialect::OpenAiCompletions, None),
            (&perplexity::TRAITS, Dialect::OpenAiEmbeddings, None),
        ];
        for (traits, asked, wanted) in cases {
            assert_eq!(traits.dialect_for(asked), wanted, "{} {asked}", traits.kind);
        }
    }

    #[test]
    fn only_what_can_be_continued_exactly_is() {
        assert_eq!(llamacpp::TRAITS.continue_by(Dialect::OpenAiChat), ContinueBy::TrailingAssistant { echoes: true });
        assert_eq!(vllm::TRAITS.continue_by(Dialect::OpenAiCompletions), ContinueBy::RawPrompt);
        assert_eq!(vllm::TRAITS.continue_by(Dialect::OpenAiEmbeddings), ContinueBy::Never);
        assert_eq!(perplexity::TRAITS.continue_by(Dialect::OpenAiChat), ContinueBy::Never);
    }
}
