//! Why no text could be read from a document, in words that stand in its record.

use serde::{Deserialize, Serialize};

/// Why a document could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum ReadError {
    /// It has no words.
    #[error("it holds no text")]
    Empty,
    /// Its bytes are not letters.
    #[error("it is not text, and of no kind that can be read")]
    NotText,
    /// It is something that nothing here reads.
    #[error("it is {what}, which cannot be read")]
    Unreadable {
        /// What it is.
        what: String,
    },
    /// It is larger than a limit allows.
    #[error("it is too large: more than {}", amount(*.limit, .what))]
    TooMuch {
        /// What there is too much of.
        what: String,
        /// How many there may be.
        limit: u64,
    },
    /// It opens only with a password.
    #[error("it is encrypted")]
    Encrypted,
    /// It has pages, and no letters on them.
    #[error("{} and no text", pictures(*.pages))]
    Scanned {
        /// How many pages.
        pages: u64,
    },
    /// It is not what it claims to be.
    #[error("it is not a well-formed {kind}: {why}")]
    Broken {
        /// What it should have been.
        kind: String,
        /// What is wrong.
        why: String,
    },
    /// Its reader took too long.
    #[error("reading it took longer than {seconds} s")]
    TooSlow {
        /// How long it may take.
        seconds: u64,
    },
    /// Its reader ended without an answer.
    #[error("its reader broke down: {how}")]
    Died {
        /// What became of the reader.
        how: String,
    },
    /// Its reader gave something that breaks the rules for texts.
    #[error("its reader gave a text that contradicts itself: {why}")]
    Confused {
        /// Which rule.
        why: String,
    },
    /// No reader could be run.
    #[error("no reader could be run: {why}")]
    NoReader {
        /// Why not.
        why: String,
    },
}

impl ReadError {
    /// It is not what it claims to be.
    pub(super) fn broken(kind: &str, why: impl std::fmt::Display) -> Self {
        Self::Broken { kind: kind.to_owned(), why: why.to_string() }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "look whether the file is whole; a text that cannot be found is not needed here",
            Self::NotText | Self::Unreadable { .. } => "save it as text, Markdown, HTML or PDF, and add that",
            Self::TooMuch { .. } => "split it, and add the parts",
            Self::Encrypted => "save a copy without the password, and add that",
            Self::Scanned { .. } => "run it through character recognition (OCR), and add what that gives",
            Self::Broken { .. } => "open it with the program that made it, save it anew, and add that",
            Self::TooSlow { .. } => "split it, or save it as text, and add that",
            Self::Died { .. } | Self::Confused { .. } => "save it as text, and add that",
            Self::NoReader { .. } => "add it again in a moment",
        }
    }

    /// Whether another try on another day could go better: nothing was wrong with the document.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::NoReader { .. })
    }
}

/// So many of something; bytes as people count them.
fn amount(limit: u64, what: &str) -> String {
    let (mib, rest) = (limit >> 20, limit % (1 << 20));
    match what.strip_prefix("bytes of ") {
        Some(of) if mib > 0 && rest == 0 => format!("{mib} MiB of {of}"),
        None if what == "unpacked bytes" && mib > 0 && rest == 0 => format!("{mib} MiB when unpacked"),
        _ => format!("{limit} {what}"),
    }
}

fn pictures(pages: u64) -> String {
    if pages == 1 { "its only page holds pictures".to_owned() } else { format!("its {pages} pages hold pictures") }
}
