//! Terms: the stems of a text's words, as an index keeps them and as a question is asked.

use std::collections::HashMap;
use std::ops::Range;

use rust_stemmers::Stemmer;

use super::languages::{is_plain, is_stop_word, stemmer};
use super::words;

/// Stems that are remembered; then it is begun anew, since a stream of rubbish would fill the memory.
const MOST_KNOWN: usize = 100_000;

/// The terms of a text, in order, as often as they stand there.
pub fn terms(text: &str, language: &str) -> Vec<String> {
    let mut all = Vec::new();
    Terms::new(language).each(text, |_, term| all.push(term.to_owned()));
    all
}

/// The terms of a question, as texts in one language have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// The language; empty: one that nobody knows.
    pub language: String,
    /// Each once, in the order of the question, with the word that it was made of.
    pub terms: Vec<(String, String)>,
}

impl Spoken {
    /// The telling terms. Small words are those of that language, of the question's own, and of `main`, the language of most
    /// texts: in the few texts of another language, or of one that nobody knows, they would be terms, seem rare, and outweigh
    /// all others.
    pub fn telling(question: &str, language: &str, main: &str) -> Self {
        let small = [language, super::language(question), main];
        Self::of(question, language, |word| !small.iter().any(|language| is_stop_word(word, language)))
    }

    /// Every term, the small words as well.
    pub fn whole(question: &str, language: &str) -> Self {
        Self::of(question, language, |_| true)
    }

    fn of(question: &str, language: &str, takes: impl Fn(&str) -> bool) -> Self {
        let mut terms = Terms::new(language);
        let mut all: Vec<(String, String)> = Vec::new();
        for (_, word) in words(question).filter(|(_, word)| takes(word)) {
            let stem = terms.stem(&word);
            if !all.iter().any(|(known, _)| known == stem) {
                all.push((stem.to_owned(), word.into_owned()));
            }
        }
        Self { language: language.to_owned(), terms: all }
    }

    /// The terms alone.
    pub fn stems(&self) -> Vec<String> {
        self.terms.iter().map(|(stem, _)| stem.clone()).collect()
    }
}

/// Makes terms of texts in one language, and remembers them: most words come again.
pub struct Terms {
    language: String,
    stemmer: Option<Stemmer>,
    places: HashMap<Box<str>, usize>,
    known: Vec<Known>,
}

/// What is remembered of a word.
struct Known {
    stem: Box<str>,
    /// Whether it says nothing by itself.
    is_small: bool,
}

impl Terms {
    /// For texts in that language; empty: unknown, nothing is stemmed.
    pub fn new(language: &str) -> Self {
        Self { language: language.to_owned(), stemmer: stemmer(language), places: HashMap::new(), known: Vec::new() }
    }

    /// Gives each term with the bytes of its word.
    pub fn each(&mut self, text: &str, mut take: impl FnMut(Range<usize>, &str)) {
        for (range, word) in words(text) {
            take(range, self.stem(&word));
        }
    }

    /// The terms of a text that say something by themselves, in order.
    pub fn telling(&mut self, text: &str) -> Vec<String> {
        let mut telling = Vec::new();
        for (_, word) in words(text) {
            match self.known(&word) {
                Some(known) if known.is_small => {}
                Some(known) => telling.push(known.stem.to_string()),
                // Small words are plain ones of languages with rules.
                None => telling.push(word.into_owned()),
            }
        }
        telling
    }

    /// The stem of a lower-case word; the word itself in languages without rules, and where it is no plain word.
    pub fn stem<'a>(&'a mut self, word: &'a str) -> &'a str {
        self.known(word).map_or(word, |known| &known.stem)
    }

    fn known(&mut self, word: &str) -> Option<&Known> {
        let stemmer = self.stemmer.as_ref().filter(|_| is_plain(word))?;
        let place = match self.places.get(word) {
            Some(place) => *place,
            None => {
                if self.known.len() >= MOST_KNOWN {
                    self.places.clear();
                    self.known.clear();
                }
                let is_small = is_stop_word(word, &self.language);
                self.known.push(Known { stem: stemmer.stem(word).into(), is_small });
                self.places.insert(word.into(), self.known.len() - 1);
                self.known.len() - 1
            }
        };
        self.known.get(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_and_a_text_meet_in_their_terms() {
        let text = terms("The failed disks were replaced by tokio::spawn in v1.2.3.", "en");
        for question in ["replacing a failing disk", "spawn", "1.2"] {
            let asked = terms(question, "en");
            assert!(asked.iter().filter(|term| *term != "a").all(|term| text.contains(term)), "{asked:?} {text:?}");
        }
        assert_eq!(terms("Häuser", ""), ["häuser"]);
    }

    #[test]
    fn a_question_has_no_small_words_whatever_texts_it_is_put_to() {
        assert_eq!(Spoken::telling("What is the name of the disks?", "", "").stems(), ["name", "disks"]);
        assert_eq!(Spoken::telling("What is the name of the disks?", "en", "en").stems(), ["name", "disk"]);
        // Nor has one about the only French text of an English house, which may quote the question's words.
        assert_eq!(Spoken::telling("What is the name of the disks?", "fr", "en").stems(), ["nam", "disk"]);
    }

    #[test]
    fn telling_terms_are_those_of_no_small_word() {
        let text = "The failed disks of v1.2 weren't replaced; la donnée d'hier n'est pas là. ".repeat(2);
        for language in ["en", "fr", "de", "es", "it", ""] {
            let telling = words(&text).filter(|(_, word)| !is_stop_word(word, language));
            let expected: Vec<String> = telling.map(|(_, word)| Terms::new(language).stem(&word).to_owned()).collect();
            assert_eq!(Terms::new(language).telling(&text), expected, "{language}");
        }
    }

    #[test]
    fn remembered_stems_are_the_stems() {
        let text = "Replaces replaced replacing p53 disks. ".repeat(3);
        let plain: Vec<String> = words(&text).map(|(_, word)| Terms::new("en").stem(&word).to_owned()).collect();
        assert_eq!(terms(&text, "en"), plain);
    }
}
