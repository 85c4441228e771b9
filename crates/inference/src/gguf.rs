//! What a GGUF file says about its model, read from its header alone. Nothing in it is believed: every count, length and
//! place is bounded, and however the file is made, little memory and time go into it.
//!
//! `source` reads forwards, `metadata` and `tensors` are the two lists of a header, `describe` makes a [`Header`] of them.

mod describe;
mod error;
mod memory;
mod metadata;
#[cfg(test)]
pub(crate) mod sample;
mod source;
mod tensors;
#[cfg(test)]
mod tests;

use std::io::{Read, Seek};

use base::report::Capability;

pub use error::GgufError;
pub use memory::{Correction, Memory};
use metadata::Metadata;
use source::Source;
use tensors::Tensors;

/// A model, as its file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Kind of network, such as `llama`; empty for an adapter that does not say.
    pub architecture: String,
    /// What its makers call it.
    pub name: Option<String>,
    /// What it is for.
    pub kind: Kind,
    /// How its numbers are packed, such as `Q4_K_M`.
    pub quantisation: String,
    /// Numbers in all its tensors.
    pub parameters: u64,
    /// The longest context that it was trained on; 0 where it does not say.
    pub context_tokens: u32,
    /// Numbers that stand for one token; 0 where it does not say.
    pub embedding_length: u32,
    /// Numbers between the two halves of a layer; 0 where it does not say.
    pub feed_forward_length: u32,
    /// Layers.
    pub layers: u32,
    /// Heads of attention.
    pub heads: PerLayer,
    /// Heads whose keys and values are kept.
    pub kv_heads: PerLayer,
    /// Numbers of a key; the even share of the embedding where it does not say.
    pub key_length: u32,
    /// Numbers of a value; likewise.
    pub value_length: u32,
    /// Tokens that it knows; 0 where it does not say.
    pub vocabulary: u32,
    /// Layers that look back only so far.
    pub sliding_window: Option<SlidingWindow>,
    /// How vectors of tokens become one of a text.
    pub pooling: Option<Pooling>,
    /// Whether a token sees those behind it: then nothing is kept between two texts.
    pub is_encoder: bool,
    /// State of recurrent layers that each sequence holds, in bytes.
    pub state_bytes: u64,
    /// Whether it brings a template for chats.
    pub has_chat_template: bool,
    /// Whether that template knows tools.
    pub supports_tools: bool,
    /// Whether that template knows reasoning apart from the answer.
    pub supports_thinking: bool,
    /// Bytes of its tensors.
    pub tensor_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text to text.
    Chat,
    /// Text to vector.
    Embedding,
    /// Orders documents.
    Rerank,
    /// Changes another model.
    Adapter,
    /// Lets another model see or hear; no model by itself.
    Projector,
}

/// How vectors of tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// They do not.
    None,
    /// Their mean.
    Mean,
    /// The first one.
    Cls,
    /// The last one.
    Last,
    /// A score instead of a vector.
    Rank,
}

/// A number that may differ from layer to layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerLayer(Vec<u32>);

impl From<Vec<u32>> for PerLayer {
    /// One number for each layer; a single one holds for all.
    fn from(numbers: Vec<u32>) -> Self {
        Self(numbers)
    }
}

impl PerLayer {
    /// The number of one layer, counted from 0; the last one holds for all that follow.
    pub fn at(&self, layer: u32) -> u32 {
        self.0.get(layer as usize).or(self.0.last()).copied().unwrap_or(0)
    }

    /// The greatest of all.
    pub fn most(&self) -> u32 {
        self.0.iter().copied().max().unwrap_or(0)
    }
}

/// Attention that looks back only so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// How far.
    pub tokens: u32,
    /// Whether a layer has it, as far as the file itself tells; of the others it is taken that they look back in full.
    pub layers: Vec<bool>,
}

impl Header {
    /// Reads the header of a file of `file_bytes`. Models are told apart from adapters and projectors by [`Header::kind`].
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn read<R: Read + Seek>(file: &mut R, file_bytes: u64) -> Result<Self, GgufError> {
        let mut source = Source::new(file, file_bytes)?;
        check_begin(&mut source)?;
        let tensor_count = tensors::count(&mut source)?;
        let entries = metadata::entries(&mut source)?;
        let metadata = Metadata::read(&mut source, entries)?;
        refuse_pieces(&metadata)?;
        if tensor_count == 0 {
            return Err(GgufError::NoTensors);
        }
        let mut tensors = Tensors::read(&mut source, tensor_count)?;
        let alignment = alignment(&metadata)?;
        tensors.check_places(source.at().next_multiple_of(alignment), alignment, source.file_bytes())?;
        describe::header(&metadata, &tensors, file_bytes)
    }

    /// What the model can do, in the words of reports.
    pub fn capabilities(&self) -> Vec<Capability> {
        match self.kind {
            Kind::Embedding => vec![Capability::Embedding],
            Kind::Rerank => vec![Capability::Rerank],
            Kind::Adapter | Kind::Projector => Vec::new(),
            Kind::Chat => {
                let mut capabilities = vec![Capability::Completion];
                capabilities.extend(self.supports_tools.then_some(Capability::Tools));
                capabilities.extend(self.supports_thinking.then_some(Capability::Thinking));
                capabilities
            }
        }
    }
}

/// The first eight bytes: what it is, and of which version.
fn check_begin<R: Read + Seek>(source: &mut Source<'_, R>) -> Result<(), GgufError> {
    let magic: [u8; 4] = source.take("the first bytes")?;
    match &magic {
        b"GGUF" => {}
        b"FUGG" => return Err(GgufError::BigEndian),
        b"lmgg" => return Err(GgufError::OldFormat { found: "ggml" }),
        b"fmgg" => return Err(GgufError::OldFormat { found: "ggmf" }),
        b"tjgg" => return Err(GgufError::OldFormat { found: "ggjt" }),
        _ => return Err(GgufError::NotGguf { found: format!("`{}`", magic.escape_ascii()) }),
    }
    match source.u32("the version")? {
        2 | 3 => Ok(()),
        found if found.trailing_zeros() >= 16 && found != 0 => Err(GgufError::BigEndian),
        found => Err(GgufError::Version { found }),
    }
}

/// A piece of a model opens, but lacks most of the weights.
fn refuse_pieces(metadata: &Metadata) -> Result<(), GgufError> {
    match metadata.number("split.count")? {
        Some(count) if count > 1 => Err(GgufError::Split { count: count.into() }),
        _ => Ok(()),
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, GgufError> {
    const KEY: &str = "general.alignment";
    const MOST: u32 = 1 << 20;
    let alignment = metadata.number(KEY)?.unwrap_or(32);
    if !alignment.is_power_of_two() || alignment > MOST {
        return Err(metadata::bad(KEY, format!("is {alignment}, and must be a power of two up to {MOST}")));
    }
    Ok(alignment.into())
}
