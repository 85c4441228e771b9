//! What an answer is made from: passages with their statements, how well they fit, and what the search tells of the rest.

use std::ops::Range;

use super::Citation;
use super::asked::Counts;
use crate::hit::Span;
use crate::names::CollectionName;

/// A passage that may answer: a chunk of a document.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Which characters.
    pub span: Span,
    /// In which collection.
    pub collection: CollectionName,
    /// Where its document comes from.
    pub source: String,
    /// What its document is called.
    pub title: String,
    /// The title and the headings above it.
    pub headings: String,
    /// Where its pages begin, where there are pages: bytes of `text`, page.
    pub pages: Vec<(usize, u32)>,
    /// When its document was written or came, Unix milliseconds.
    pub dated_ms: u64,
    /// Whether it is known when it was written.
    pub is_dated: bool,
    /// Under which terms it may be used.
    pub licence: String,
    /// The language of its document; empty: unknown.
    pub language: String,
    /// The characters of the span.
    pub text: String,
    /// Bytes of `text` that can be cited, in order; see [`super::statements`].
    pub statements: Vec<Range<usize>>,
    /// How well it fits beside the others of the search, 0 to 1.
    pub fit: f32,
    /// The cosine of its nearest part and the question, where there are vectors.
    pub cosine: Option<f32>,
}

impl Passage {
    /// The characters of a part; empty where there is no such part.
    pub fn of(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// The citation of a part.
    pub fn cite(&self, range: &Range<usize>, number: u32) -> Citation {
        let before = self.text.get(..range.start).unwrap_or_default();
        let quote = self.of(range).to_owned();
        let start = self.span.start + before.chars().count() as u64;
        let end = start + quote.chars().count() as u64;
        Citation {
            number,
            span: Span { start, end, ..self.span.clone() },
            quote,
            collection: self.collection.clone(),
            source: self.source.clone(),
            title: self.title.clone(),
            headings: self.headings.clone(),
            page: self.pages.iter().rev().find(|(at, _)| *at <= range.start).map(|(_, page)| *page),
            dated_ms: self.dated_ms,
            licence: self.licence.clone(),
        }
    }

    /// What people call its document.
    pub fn name(&self) -> &str {
        if self.title.is_empty() { &self.source } else { &self.title }
    }
}

/// A part of a question that the best passage leaves open, and the passage that was found for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPart {
    /// Its words.
    pub words: String,
    /// The passage, among those of the evidence.
    pub passage: usize,
}

/// How far the best document is ahead of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Margin {
    /// How much better it fits than the next one.
    pub fit: f32,
    /// By words, beside the mean of the next five: 0 as good as they, 1 nothing like it.
    pub words: f32,
    /// How many other documents were searched.
    pub others: usize,
}

/// All that an answer is made from.
#[derive(Clone)]
pub struct Evidence {
    /// Best first; behind `first_round` of them, those that were found for open parts.
    pub passages: Vec<Passage>,
    /// How many passages the question itself found.
    pub first_round: usize,
    /// Parts of the question that the best passage leaves open.
    pub open: Vec<OpenPart>,
    /// How far the best document is ahead.
    pub margin: Margin,
    /// For each statement of each of the first passages its cosine with the question; empty: by words alone.
    pub nearness: Vec<Vec<f32>>,
    /// How rare a stem is.
    pub counts: Counts,
    /// How it was searched, in words.
    pub search: String,
    /// What a person should know of the search.
    pub notes: Vec<String>,
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::answer::statements;
    use crate::names::DocId;

    /// A passage of a document of that name, with its text from its tenth character on.
    pub(crate) fn passage(name: &str, text: &str, fit: f32) -> Passage {
        let collection = CollectionName::parse("house").unwrap();
        let chars = text.chars().count() as u64;
        Passage {
            span: Span { document: DocId::of(&collection, name), version: 1, start: 10, end: 10 + chars },
            collection,
            source: format!("file:/{name}.md"),
            title: name.to_owned(),
            headings: name.to_owned(),
            pages: Vec::new(),
            dated_ms: 0,
            is_dated: true,
            licence: String::new(),
            language: "en".to_owned(),
            text: text.to_owned(),
            statements: statements(text),
            fit,
            cosine: None,
        }
    }

    #[test]
    fn a_citation_has_the_page_that_it_stands_on() {
        let one = Passage { pages: vec![(0, 4), (16, 5)], ..passage("lid", "The lid is red. The base is blue.", 1.0) };
        let pages: Vec<_> = one.statements.iter().map(|range| one.cite(range, 1).page).collect();
        assert_eq!(pages, [Some(4), Some(5)]);
    }

    /// Passages of a large collection, in which all words are as rare.
    pub(crate) fn evidence(passages: Vec<Passage>) -> Evidence {
        Evidence {
            first_round: passages.len(),
            passages,
            open: Vec::new(),
            margin: Margin { fit: 0.4, words: 0.7, others: 100 },
            nearness: Vec::new(),
            counts: Arc::new(|_| (3, 1_000)),
            search: "by words alone".to_owned(),
            notes: Vec::new(),
        }
    }

    proptest::proptest! {
        #[test]
        fn a_citation_is_exactly_the_characters_that_it_names(text in "[a-zäß東.!? \\n]{0,120}", before in "[ä東 a]{10}") {
            let document: Vec<char> = before.chars().chain(text.chars()).collect();
            let passage = passage("a", &text, 1.0);
            for range in &passage.statements {
                let citation = passage.cite(range, 1);
                let (start, end) = (citation.span.start as usize, citation.span.end as usize);
                proptest::prop_assert_eq!(document.get(start..end).unwrap().iter().collect::<String>(), citation.quote);
            }
        }
    }
}
