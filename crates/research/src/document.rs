//! A document as the knowledge base knows it: where it comes from, which version, what it is, and how it fared.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::names::{BlobId, CollectionName, DocId};

/// What is told about a document when it is added, beside its bytes. Nothing of it is trusted further than to be shown
/// and filtered by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// What it is called; empty: as the document says itself.
    pub title: String,
    /// Its media type, such as `text/markdown`; empty: found out by its name and bytes.
    pub media: String,
    /// Its one category, such as `domain_expertise`.
    pub category: String,
    /// Words to filter by.
    pub tags: Vec<String>,
    /// Under which terms it may be used.
    pub licence: String,
    /// When it was written, as Unix milliseconds; `None`: as the document says itself.
    pub dated_ms: Option<u64>,
    /// What of the title and the date was told, and is not what the document says itself.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub told: BTreeSet<Told>,
}

/// What a document says itself unless it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// What it is called.
    Title,
    /// When it was written.
    Date,
}

/// What is told about a document that is added. `None`: it stays as it was. Empty: it is taken away, and is again what the
/// document says itself, if it says that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewMeta {
    /// What it is called.
    pub title: Option<String>,
    /// Its media type.
    pub media: Option<String>,
    /// Its category.
    pub category: Option<String>,
    /// Words to filter by.
    pub tags: Option<Vec<String>>,
    /// Under which terms it may be used.
    pub licence: Option<String>,
    /// When it was written, as Unix milliseconds.
    pub dated_ms: Option<u64>,
}

impl NewMeta {
    /// What is told about the document by now, where `own` is what it says itself and `had` what was told before.
    pub fn over(&self, own: &Meta, had: Option<&Meta>) -> Meta {
        let had = had.unwrap_or(own);
        let word = |new: &Option<String>, had: &String| new.as_ref().unwrap_or(had).clone();
        let mut meta = Meta {
            title: own.title.clone(),
            media: word(&self.media, &had.media),
            category: word(&self.category, &had.category),
            tags: self.tags.as_ref().unwrap_or(&had.tags).clone(),
            licence: word(&self.licence, &had.licence),
            dated_ms: own.dated_ms,
            told: BTreeSet::new(),
        };
        let kept = |what| had.told.contains(&what);
        let title = self.title.as_ref().or_else(|| Some(&had.title).filter(|_| kept(Told::Title)));
        if let Some(title) = title.filter(|title| !title.is_empty()) {
            meta.title.clone_from(title);
            meta.told.insert(Told::Title);
        }
        if let Some(dated_ms) = self.dated_ms.or(had.dated_ms.filter(|_| kept(Told::Date))) {
            meta.dated_ms = Some(dated_ms);
            meta.told.insert(Told::Date);
        }
        meta
    }

    /// Whether it changes nothing of what is told, the document being the same.
    pub fn is_told_by(&self, had: &Meta) -> bool {
        let is_kept = |new: &Option<String>, had: &String| new.as_ref().is_none_or(|new| new == had);
        let is_title = |new: &String| match had.told.contains(&Told::Title) {
            true => *new == had.title,
            false => new.is_empty(),
        };
        is_kept(&self.media, &had.media)
            && is_kept(&self.category, &had.category)
            && is_kept(&self.licence, &had.licence)
            && self.tags.as_ref().is_none_or(|tags| *tags == had.tags)
            && self.title.as_ref().is_none_or(is_title)
            && self.dated_ms.is_none_or(|dated| had.dated_ms == Some(dated) && had.told.contains(&Told::Date))
    }
}

/// A document to be added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewDocument {
    /// Where it comes from, such as `file:/srv/notes/nas.md`; the same source again is a new version.
    pub source: String,
    /// What is told about it.
    pub meta: NewMeta,
    /// All of it.
    pub bytes: bytes::Bytes,
}

/// How a document fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Its text is found by searches.
    Ready {
        /// Its text with its structure, as a file of [`crate::texts`].
        text: BlobId,
        /// Characters of its text.
        chars: u64,
        /// What of it could not be read, and why.
        notes: Vec<String>,
    },
    /// No text could be read from it.
    Failed {
        /// Why.
        reason: String,
        /// What to do about it; empty where it was read by code that did not say.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        hint: String,
    },
    /// It says the same as another one, which is found in its place.
    Folded {
        /// That one.
        into: DocId,
        /// Its text.
        text: BlobId,
    },
}

/// A document's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Which.
    pub id: DocId,
    /// In which collection.
    pub collection: CollectionName,
    /// Where it comes from.
    pub source: String,
    /// Counts the contents that it had, from 1.
    pub version: u64,
    /// Its bytes.
    pub original: BlobId,
    /// How many those are.
    pub bytes: u64,
    /// What is told about it, with what the document itself says filled in.
    pub meta: Meta,
    /// The language of its text as ISO 639-1, such as `en`; empty where nobody can tell.
    pub language: String,
    /// How it fared.
    #[serde(flatten)]
    pub state: State,
    /// When it was first added, Unix milliseconds.
    pub added_ms: u64,
    /// When this version came.
    pub changed_ms: u64,
    /// The version of the code that read it; an older one may be read again.
    pub reader: u32,
}

impl Document {
    /// The text's blob, if it has any.
    pub fn text(&self) -> Option<BlobId> {
        match &self.state {
            State::Ready { text, .. } | State::Folded { text, .. } => Some(*text),
            State::Failed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(word: &str) -> Option<String> {
        Some(word.to_owned())
    }

    #[test]
    fn what_a_new_addition_does_not_say_stays_and_what_it_says_empty_goes() {
        let own = Meta { title: "Pumps".into(), dated_ms: Some(1), ..Meta::default() };
        let told = NewMeta {
            title: word("My pumps"),
            category: word("hardware"),
            tags: Some(vec!["nas".into()]),
            licence: word("MIT"),
            dated_ms: Some(7),
            ..NewMeta::default()
        };
        let first = told.over(&own, None);
        assert!(told.is_told_by(&first) && NewMeta::default().is_told_by(&first));
        // The document was edited: it has another title, and says another date.
        let edited = Meta { title: "Better pumps".into(), dated_ms: Some(2), ..Meta::default() };
        assert_eq!(NewMeta::default().over(&edited, Some(&first)), first);
        let emptied = NewMeta { category: word(""), tags: Some(Vec::new()), title: word(""), ..NewMeta::default() };
        assert!(!emptied.is_told_by(&first));
        let second = emptied.over(&edited, Some(&first));
        let expected = Meta { title: "Better pumps".into(), category: String::new(), tags: Vec::new(), ..first };
        assert_eq!(second, Meta { told: [Told::Date].into(), ..expected });
        assert!(emptied.is_told_by(&second));
    }

    #[test]
    fn what_a_document_says_itself_follows_the_document() {
        let had = NewMeta::default().over(&Meta { title: "Pumps".into(), ..Meta::default() }, None);
        let edited = Meta { title: "Better pumps".into(), ..Meta::default() };
        assert_eq!(NewMeta::default().over(&edited, Some(&had)).title, "Better pumps");
    }
}
