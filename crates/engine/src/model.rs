//! The loaded model, as every part of the process shares it.

use std::sync::{Arc, Mutex};

use base::{Code, Fault, Result};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};
use llama_cpp_2::token::LlamaToken;
use proto::engine::{InfoResponse, Task};

use crate::grammar::Grammars;
use crate::load::ModelFile;
use crate::template::Template;

/// Longest text that is tokenised: as many bytes as the longest context could have, and then some.
const MOST_BYTES_PER_TOKEN: usize = 64;

/// A model with all that belongs to it.
pub struct Loaded {
    /// llama.cpp, started.
    pub backend: LlamaBackend,
    /// Weights and vocabulary.
    pub model: Arc<LlamaModel>,
    /// On top of it.
    pub adapter: Option<Adapter>,
    /// The file behind the weights.
    pub file: ModelFile,
    /// What it is for.
    pub task: Task,
    /// How a chat becomes a prompt; a template that cannot be used does so for chats alone.
    pub template: Option<Result<Template>>,
    /// How answers are bound to a schema; there for models that write.
    pub grammars: Option<Grammars>,
    /// Tokens in the cache, and so the longest ask with its answer.
    pub context_tokens: u32,
    /// What the model was made for.
    pub trained_context_tokens: u32,
    /// Asks at once.
    pub slots: u32,
    /// Threads that compute.
    pub threads: u32,
}

/// An adapter; the one context that uses it takes it once.
pub struct Adapter {
    /// As llama.cpp holds it.
    pub adapter: Mutex<LlamaLoraAdapter>,
    /// How strong it is.
    pub scale: f32,
}

impl Loaded {
    /// What it is, for the service's `Info`.
    pub fn info(&self) -> InfoResponse {
        let makes_vectors = self.task == Task::Embed;
        InfoResponse {
            architecture: self.model.meta_val_str("general.architecture").unwrap_or_default(),
            parameters: self.model.n_params(),
            file_bytes: self.file.bytes(),
            context_tokens: self.context_tokens,
            trained_context_tokens: self.trained_context_tokens,
            slots: self.slots,
            threads: self.threads,
            vector_length: if makes_vectors { u32::try_from(self.model.n_embd_out()).unwrap_or(0) } else { 0 },
            task: self.task.into(),
            has_chat_template: self.template.is_some(),
        }
    }

    /// What it is for, in one word.
    pub const fn task_word(&self) -> &'static str {
        match self.task {
            Task::Embed => "embed",
            Task::Rerank => "rerank",
            _ => "generate",
        }
    }

    /// Refuses what this model is not for.
    pub fn require(&self, task: Task) -> Result<()> {
        if self.task == task {
            return Ok(());
        }
        let wanted = match task {
            Task::Embed => "make vectors",
            Task::Rerank => "score documents",
            _ => "write text",
        };
        Err(Fault::new(Code::NotSupported, format!("this model cannot {wanted}; it is one to {}", self.task_word()))
            .hint("ask for a model of that kind; `tmctl models` shows what each one can do"))
    }

    /// Tokens of `text`. With `is_special`, marks such as `<|im_end|>` count as what they stand for.
    pub fn tokenize(&self, text: &str, add_special: bool, is_special: bool) -> Result<Vec<LlamaToken>> {
        let most = self.trained_context_tokens as usize * MOST_BYTES_PER_TOKEN;
        if text.len() > most {
            return Err(too_long(&format!("{} bytes of text", text.len()), self.context_tokens));
        }
        Ok(self.model.vocab().tokenize(text.as_bytes(), add_special, is_special))
    }

    /// The bytes that a token stands for; none for marks.
    pub fn bytes_of(&self, token: LlamaToken) -> Vec<u8> {
        self.model.vocab().token_to_piece(token, false, None)
    }

    /// Tokens whose bytes are exactly `text`, as ordinary text in the middle of an answer.
    pub fn draft_of(&self, text: &[u8]) -> Vec<LlamaToken> {
        let tokens = self.model.vocab().tokenize(text, false, false);
        let spelled: Vec<u8> = tokens.iter().flat_map(|token| self.bytes_of(*token)).collect();
        if spelled == text {
            return tokens;
        }
        // Some vocabularies put a space in front of whatever they are given.
        let trie = self.grammars.as_ref().map(|grammars| grammars.spell(text)).unwrap_or_default();
        trie.into_iter().map(|token| LlamaToken(token.cast_signed())).collect()
    }
}

/// The refusal of what the context does not hold.
pub fn too_long(what: &str, context_tokens: u32) -> Fault {
    Fault::new(Code::ContextExceeded, format!("{what} is more than the context of {context_tokens} tokens holds"))
        .hint("ask with a shorter prompt, or give the engine a longer context (engine.context)")
}
