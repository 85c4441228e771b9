//! What a search finds: passages of documents, with where they stand and why they were found.

use serde::{Deserialize, Serialize};

use crate::names::{CollectionName, DocId};

/// A span of a document's text, in characters, which its document's version makes exact for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// Of which document.
    pub document: DocId,
    /// Of which version of it.
    pub version: u64,
    /// First character.
    pub start: u64,
    /// Behind the last character.
    pub end: u64,
}

/// A passage that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Where it stands.
    pub span: Span,
    /// In which collection.
    pub collection: CollectionName,
    /// Where its document comes from.
    pub source: String,
    /// What its document is called.
    pub title: String,
    /// The headings above it, joined by ` › `.
    pub headings: String,
    /// Its first page, where there are pages.
    pub page: Option<u32>,
    /// The chunk of its document.
    pub ordinal: u32,
    /// The characters of the span.
    pub text: String,
    /// The text of the chunk before it, where it was asked for.
    pub before: String,
    /// The text of the chunk behind it.
    pub after: String,
    /// How well it fits, from 0 to 1 beside the other hits of the same search.
    pub score: f32,
    /// What the score is made of.
    pub why: Why,
}

/// What a score is made of. `None`: it was not found that way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// BM25 of the text.
    pub text: Option<f32>,
    /// Its place by that, from 1.
    pub text_rank: Option<u32>,
    /// Cosine of the vectors.
    pub dense: Option<f32>,
    /// Its place by that, from 1.
    pub dense_rank: Option<u32>,
    /// What the light rerank added.
    pub rerank: f32,
    /// Words of the question that it has.
    pub words: Vec<String>,
}
