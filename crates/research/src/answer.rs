//! Answers: sentences, each with what it cites, how sure one may be of them, and what was not found.

//!
//! `evidence` is what an answer is made from, and `statements` what can be cited of it. `extractive` chooses sentences as
//! they stand, `written` has a model write and `support` looks up what it wrote; `confidence` says how sure one may be,
//! and `contradictions` which sources disagree. All of them are pure; `compose` puts their parts together.

pub mod asked;
pub mod compose;
pub mod confidence;
pub mod contradictions;
mod doubts;
pub mod evidence;
pub mod extractive;
mod negations;
mod numbers;
mod opposites;
mod statements;
pub mod support;
pub mod written;

use serde::{Deserialize, Serialize};

use crate::hit::Span;
use crate::names::CollectionName;
pub use evidence::{Evidence, Passage};
pub use statements::statements;

/// An answer to a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The question.
    pub question: String,
    /// Whether the knowledge base says it.
    pub verdict: Verdict,
    /// All sentences, with `[1]` and so on behind what cites the source of that number.
    pub text: String,
    /// Sentence by sentence.
    pub sentences: Vec<Sentence>,
    /// What is cited, in the order of its numbers, from 1.
    pub citations: Vec<Citation>,
    /// How sure one may be.
    pub confidence: Confidence,
    /// Pairs of sources that do not say the same.
    pub contradictions: Vec<Contradiction>,
    /// Who wrote it: a model's name; empty: nobody, the sentences stand so in the sources.
    pub model: String,
    /// Whether vectors took part in the search; if not, why.
    pub search: String,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// Whether the knowledge base answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does.
    Answered,
    /// It has something near, and nothing that one should rely on.
    Unsure,
    /// It is not in the knowledge base.
    NotFound,
}

/// A sentence of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sentence {
    /// As it stands in the answer, without numbers.
    pub text: String,
    /// Numbers of what it cites.
    pub cites: Vec<u32>,
    /// Whether what it cites says it.
    pub support: Support,
}

/// Whether a cited span says what a sentence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// It stands there word for word.
    Quoted,
    /// Its words and meaning are there.
    Supported,
    /// The program could not find it there.
    Unsupported,
}

/// A source of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Citation {
    /// From 1.
    pub number: u32,
    /// Which characters.
    pub span: Span,
    /// Those characters.
    pub quote: String,
    /// In which collection.
    pub collection: CollectionName,
    /// Where the document comes from.
    pub source: String,
    /// What it is called.
    pub title: String,
    /// The headings above it.
    pub headings: String,
    /// Its page, where there are pages.
    pub page: Option<u32>,
    /// When the document was written or came, Unix milliseconds.
    pub dated_ms: u64,
    /// Under which terms it may be used.
    pub licence: String,
}

impl Citation {
    /// What people call its document.
    pub fn name(&self) -> &str {
        if self.title.is_empty() { &self.source } else { &self.title }
    }
}

/// How sure one may be, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// The probability that the cited sentences answer the question, from 0 to 1.
    pub value: f32,
    /// What it was computed from.
    pub because: Vec<Because>,
}

/// One reason of a confidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Because {
    /// What was measured.
    pub name: String,
    /// What it was.
    pub value: f32,
    /// How much it moved the confidence; above 0 is up.
    pub moved: f32,
}

/// Two sources that do not say the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contradiction {
    /// Number of the one.
    pub one: u32,
    /// Number of the other.
    pub other: u32,
    /// What they differ in.
    pub about: String,
}
