//! Which documents a question is about.

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::names::{CollectionName, DocId};

/// Documents that pass all of it; empty fields let all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// In one of these.
    pub collections: Vec<CollectionName>,
    /// With one of these categories.
    pub categories: Vec<String>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// Whose source holds this, in any case.
    pub path: String,
    /// In one of these languages.
    pub languages: Vec<String>,
    /// Written at or after, Unix milliseconds; those of unknown date by when they came.
    pub from_ms: Option<u64>,
    /// Written before.
    pub until_ms: Option<u64>,
    /// Only these.
    pub documents: Vec<DocId>,
}

impl Filter {
    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Why none of the documents passes: the parts of it that none does alone. `None`: some do, or there are none.
    pub fn excludes_all(&self, documents: &[&Document]) -> Option<String> {
        if documents.is_empty() || documents.iter().any(|one| self.passes(one)) {
            return None;
        }
        let none = |part: &Filter| !documents.iter().any(|one| part.passes(one));
        let culprits: Vec<String> =
            self.parts().into_iter().filter(|(_, part)| none(part)).map(|(name, _)| name).collect();
        Some(match culprits.is_empty() {
            true => "no document passes all parts of the filter together, though some pass each".to_owned(),
            false => format!("no document passes the filter: none has {}", culprits.join(", nor ")),
        })
    }

    /// Each part alone, with its name for people.
    fn parts(&self) -> Vec<(String, Filter)> {
        let words = |words: &[String]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
        let mut parts = Vec::new();
        if !self.collections.is_empty() {
            let names: Vec<String> = self.collections.iter().map(ToString::to_string).collect();
            let part = Filter { collections: self.collections.clone(), ..Filter::default() };
            parts.push((format!("the collection {}", words(&names)), part));
        }
        if !self.categories.is_empty() {
            let part = Filter { categories: self.categories.clone(), ..Filter::default() };
            parts.push((format!("the category {}", words(&self.categories)), part));
        }
        for tag in &self.tags {
            let part = Filter { tags: vec![tag.clone()], ..Filter::default() };
            parts.push((format!("the tag `{tag}`"), part));
        }
        if !self.path.is_empty() {
            let part = Filter { path: self.path.clone(), ..Filter::default() };
            parts.push((format!("`{}` in its source", self.path), part));
        }
        if !self.languages.is_empty() {
            let part = Filter { languages: self.languages.clone(), ..Filter::default() };
            parts.push((format!("the language {}", words(&self.languages)), part));
        }
        if self.from_ms.is_some() || self.until_ms.is_some() {
            let part = Filter { from_ms: self.from_ms, until_ms: self.until_ms, ..Filter::default() };
            parts.push(("a date in that time".to_owned(), part));
        }
        if !self.documents.is_empty() {
            let part = Filter { documents: self.documents.clone(), ..Filter::default() };
            parts.push(("one of those ids".to_owned(), part));
        }
        parts
    }

    /// Whether a document passes.
    pub fn passes(&self, document: &Document) -> bool {
        let dated = document.meta.dated_ms.unwrap_or(document.changed_ms);
        let among = |wanted: &[String], one: &str| wanted.is_empty() || wanted.iter().any(|w| w == one);
        (self.collections.is_empty() || self.collections.contains(&document.collection))
            && among(&self.categories, &document.meta.category)
            && among(&self.languages, &document.language)
            && self.tags.iter().all(|tag| document.meta.tags.contains(tag))
            && (self.path.is_empty() || document.source.to_lowercase().contains(&self.path.to_lowercase()))
            && self.from_ms.is_none_or(|from| dated >= from)
            && self.until_ms.is_none_or(|until| dated < until)
            && (self.documents.is_empty() || self.documents.contains(&document.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Meta, State};
    use crate::names::BlobId;

    fn document(source: &str, category: &str, language: &str) -> Document {
        let collection = CollectionName::parse("house").unwrap();
        Document {
            id: DocId::of(&collection, source),
            collection,
            source: source.to_owned(),
            version: 1,
            original: BlobId::of(b""),
            bytes: 0,
            meta: Meta { category: category.to_owned(), ..Meta::default() },
            language: language.to_owned(),
            state: State::Failed { reason: String::new(), hint: String::new() },
            added_ms: 1,
            changed_ms: 1,
            reader: 1,
        }
    }

    #[test]
    fn the_part_that_lets_nothing_pass_is_named() {
        let (a, b) = (document("file:/a", "hardware", "en"), document("file:/b", "", "de"));
        let all = [&a, &b];
        let why = |filter: Filter| filter.excludes_all(&all);
        assert_eq!(why(Filter::default()), None);
        assert_eq!(why(Filter { path: "/A".into(), ..Filter::default() }), None);
        let tagged = Filter { tags: vec!["nas".into()], path: "/a".into(), ..Filter::default() };
        assert_eq!(why(tagged).unwrap(), "no document passes the filter: none has the tag `nas`");
        let apart = Filter { categories: vec!["hardware".into()], languages: vec!["de".into()], ..Filter::default() };
        assert!(why(apart.clone()).unwrap().contains("together"));
        assert_eq!(apart.excludes_all(&[]), None, "there is nothing to pass");
    }
}
