//! Why a file is not taken for a model: what is wrong, and where.

use std::io;

/// Why the header of a GGUF file was refused.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The operating system did not give the bytes.
    #[error("could not read byte {at}")]
    Io {
        /// Place in the file.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// Another kind of file.
    #[error("not a GGUF file: it begins with {found}")]
    NotGguf {
        /// Its first bytes, as text.
        found: String,
    },
    /// A format that GGUF replaced.
    #[error("the format `{found}` is older than GGUF")]
    OldFormat {
        /// Its name.
        found: &'static str,
    },
    /// Written for a machine with the other order of bytes.
    #[error("the file is big endian, and only little endian files are read")]
    BigEndian,
    /// A version that is not known.
    #[error("GGUF version {found} is not known, only 2 and 3 are")]
    Version {
        /// As the file says.
        found: u32,
    },
    /// The file ends too early.
    #[error("the file ends within {what}: byte {end} is needed, it has {file_bytes}")]
    Truncated {
        /// What is cut.
        what: String,
        /// Where that would end.
        end: u64,
        /// Where the file ends.
        file_bytes: u64,
    },
    /// More of something than any model has.
    #[error("{what} of {found} is over the limit of {limit}, at byte {at}")]
    OverLimit {
        /// What is too much.
        what: &'static str,
        /// As the file says.
        found: u64,
        /// The most that is taken.
        limit: u64,
        /// Place in the file.
        at: u64,
    },
    /// A name that is not UTF-8.
    #[error("{what} at byte {at} is not UTF-8 text")]
    NotText {
        /// What should be text.
        what: &'static str,
        /// Place in the file.
        at: u64,
    },
    /// A kind of value that is not known.
    #[error("`{key}` has a value of the unknown type {found}, at byte {at}")]
    ValueType {
        /// The entry.
        key: String,
        /// As the file says.
        found: u32,
        /// Place in the file.
        at: u64,
    },
    /// Two entries of one name.
    #[error("the entry `{key}` stands twice, again at byte {at}")]
    DuplicateKey {
        /// The entry.
        key: String,
        /// Place of the second.
        at: u64,
    },
    /// An entry that says something impossible.
    #[error("the entry `{key}` {problem}")]
    BadValue {
        /// The entry.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An entry that every model has.
    #[error("the entry `{key}` is missing")]
    Missing {
        /// The entry.
        key: String,
    },
    /// No weights.
    #[error("the file holds no tensors")]
    NoTensors,
    /// Two tensors of one name.
    #[error("the tensor `{tensor}` stands twice, again at byte {at}")]
    DuplicateTensor {
        /// Its name.
        tensor: String,
        /// Place of the second.
        at: u64,
    },
    /// A type of numbers that is not known.
    #[error("the tensor `{tensor}` has the unknown type {found}")]
    TensorType {
        /// Its name.
        tensor: String,
        /// As the file says.
        found: u32,
    },
    /// A shape that cannot be.
    #[error("the shape of the tensor `{tensor}` is impossible: {problem}")]
    TensorShape {
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor that begins between two steps.
    #[error("the tensor `{tensor}` begins at {offset}, which is no multiple of {alignment}")]
    Misaligned {
        /// Its name.
        tensor: String,
        /// Counted from the begin of the data.
        offset: u64,
        /// As the file says.
        alignment: u64,
    },
    /// Two tensors share bytes.
    #[error("the tensors `{tensor}` and `{other}` overlap")]
    Overlap {
        /// The first one.
        tensor: String,
        /// The one that begins inside it.
        other: String,
    },
    /// One piece of a model.
    #[error("the file is one of {count} pieces of a model")]
    Split {
        /// How many there are.
        count: u64,
    },
    /// Something that is kept as GGUF, but answers nothing.
    #[error("the file holds `{found}`, which is not a model")]
    NotAModel {
        /// As the file says.
        found: String,
    },
}

impl GgufError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check that the file may be read and that its disk is well",
            Self::NotGguf { .. } => "give a file in GGUF format",
            Self::OldFormat { .. } | Self::Version { .. } => "convert it with a present release of llama.cpp",
            Self::BigEndian => "convert it with llama.cpp's gguf_convert_endian.py",
            Self::Truncated { .. } => "fetch it again: it was not copied to its end",
            Self::Split { .. } => "merge the pieces with `llama-gguf-split --merge`",
            Self::NotAModel { .. } => "give a model for text, embeddings or ranking",
            Self::OverLimit { .. }
            | Self::NotText { .. }
            | Self::ValueType { .. }
            | Self::DuplicateKey { .. }
            | Self::BadValue { .. }
            | Self::Missing { .. }
            | Self::NoTensors
            | Self::DuplicateTensor { .. }
            | Self::TensorType { .. }
            | Self::TensorShape { .. }
            | Self::Misaligned { .. }
            | Self::Overlap { .. } => "fetch the file again, or from somebody else: it is damaged, or too new",
        }
    }
}
