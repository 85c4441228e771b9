//! Tiny models in GGUF, made here: nothing is downloaded, the same arguments give the same bytes.
//!
//! They exercise an engine and say nothing about quality. `chat` writes broken English and ends by itself, `embed` knows
//! which words mean the same, `rerank` counts words that have a partner, `lora` is an adapter that can be seen at work.

mod bert;
mod bpe;
mod chat;
mod corpus;
mod file;
mod header;
mod quantise;
mod random;
pub mod reference;
#[cfg(test)]
mod tests;
mod wordpiece;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

pub use bpe::Bpe;
pub use file::{Gguf, Tensor, Value, Weights};
pub use header::Header;
pub use quantise::Quant;
pub use wordpiece::WordPiece;

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Continues a conversation in ChatML; architecture `llama`.
    Chat,
    /// Makes a vector of a text; architecture `bert`, the mean of all tokens.
    Embed,
    /// Scores pairs of question and document; architecture `bert`.
    Rerank,
    /// An adapter for the tiny chat model in words: its answers begin with one certain word.
    Lora,
}

impl Kind {
    /// As its users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embed => "embed",
            Self::Rerank => "rerank",
            Self::Lora => "lora",
        }
    }
}

/// What a model that chats writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// Broken but wordy English that ends by itself.
    Words,
    /// Whatever random weights say: the hard case for grammars.
    Noise,
}

/// How large a model that chats is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// A million weights.
    Tiny,
    /// What the tiny model in words writes, but slowly enough to be watched, and caught in the middle: most of its 57
    /// million weights are zero, and are computed all the same.
    Slow,
    /// 158 million weights, always noise: for speed only.
    Bench,
}

/// All that a model depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What it is for.
    pub kind: Kind,
    /// What it writes, if it chats.
    pub style: Style,
    /// How large it is, if it chats.
    pub preset: Preset,
    /// How its matrices are stored.
    pub quant: Quant,
}

impl Recipe {
    /// The tiny model of a kind, in words, halved.
    pub fn tiny(kind: Kind) -> Self {
        Self { kind, style: Style::Words, preset: Preset::Tiny, quant: Quant::F16 }
    }

    /// The model, its random weights not made yet.
    pub fn model(&self) -> Result<Gguf> {
        match self.kind {
            Kind::Chat => Ok(chat::model(self)),
            Kind::Embed | Kind::Rerank => Ok(bert::model(self)),
            Kind::Lora => adapter(&[chat::WORDS.width, chat::WORDS.vocabulary]),
        }
    }

    /// Writes the model into a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        write(&self.model()?, path)
    }
}

/// The adapter for a model with such an output matrix.
pub fn adapter(output: &[usize]) -> Result<Gguf> {
    let bpe = tokenizer();
    chat::adapter(output, &bpe).context("the adapter fits only the tiny chat model in words")
}

/// The tokenizer of every model that chats.
pub fn tokenizer() -> Bpe {
    chat::tokenizer(&corpus::texts())
}

/// Writes `model` into a file.
pub fn write(model: &Gguf, path: &Path) -> Result<()> {
    let could_not = || format!("could not write {}", path.display());
    let file = std::fs::File::create(path).with_context(could_not)?;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, file);
    model.write(&mut out).with_context(could_not)?;
    out.flush().with_context(could_not)
}

/// The metadata that every model begins with.
fn begin(file: &mut Gguf, architecture: &str, recipe: &Recipe) {
    let mut name = format!("tiny-{}", recipe.kind.name());
    if recipe.preset == Preset::Bench {
        name = "bench".to_owned();
    } else if recipe.kind == Kind::Chat && recipe.style == Style::Noise {
        name += "-noise";
    }
    file.set("general.architecture", Value::Text(architecture.to_owned()));
    file.set("general.type", Value::Text("model".to_owned()));
    file.set("general.name", Value::Text(name));
    file.set("general.license", Value::Text("CC0-1.0".to_owned()));
    file.set("general.file_type", Value::U32(recipe.quant.file_type()));
    file.set("general.quantization_version", Value::U32(2));
}
