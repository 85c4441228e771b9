//! What passages leave open of a question, and how to look for just that: the words that they do not have, and the
//! question's vector turned away from theirs. Needs no model, and no new vector.

use std::collections::HashSet;

use crate::answer::Passage;
use crate::answer::asked::{Counts, weight};
use crate::search::rank::dot;
use crate::text::{Terms, is_stop_word, words};
use crate::vectors::unit;

/// A question is open while the words that are left have this share of its weight.
pub const OPEN_FROM: f32 = 0.20;
/// Searches for one question, with the first one.
pub const SEARCHES: usize = 3;
/// … and for one that has many parts.
pub const MANY_SEARCHES: usize = 4;
/// How far a vector is turned away from a passage.
const TURN: f32 = 0.5;
/// What joins the parts of a question, in the languages whose small words are known.
const JOINTS: [&str; 13] =
    ["and", "or", "where", "then", "und", "oder", "wobei", "et", "ou", "y", "o", "donde", "dont"];

/// What is left of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// The words, in their order.
    pub words: String,
    /// Their share of the question's weight. Words that the knowledge base does not know count nothing.
    pub share: f32,
    /// How many there are that it knows.
    pub known: usize,
}

impl Left {
    /// Whether it is worth a search of its own.
    pub fn is_open(&self) -> bool {
        self.share >= OPEN_FROM && self.known > 0
    }
}

/// The words of a question that stand in none of the passages.
pub fn left(question: &str, passages: &[&Passage], counts: &Counts) -> Left {
    let texts = passages.iter().map(|one| (format!("{}\n{}", one.headings, one.text), one.language.as_str()));
    left_of(question, &texts.collect::<Vec<_>>(), counts)
}

/// The words of a question that stand in none of the texts, each with its language.
pub fn left_of(question: &str, texts: &[(String, &str)], counts: &Counts) -> Left {
    let mut languages: Vec<&str> = texts.iter().map(|(_, language)| *language).collect();
    languages.sort_unstable();
    languages.dedup();
    let mut covered: Vec<(Terms, HashSet<String>)> = Vec::new();
    for language in &languages {
        let mut terms = Terms::new(language);
        let of_language = texts.iter().filter(|(_, of)| of == language);
        let stems = of_language.flat_map(|(text, _)| terms.telling(text)).collect();
        covered.push((terms, stems));
    }
    let (mut left, mut seen) = (Vec::new(), HashSet::new());
    let (mut all_weight, mut left_weight, mut known) = (0.0, 0.0, 0);
    for (_, word) in words(question) {
        if languages.iter().any(|language| is_stop_word(&word, language)) || !seen.insert(word.to_string()) {
            continue;
        }
        let mut weights = Vec::new();
        let mut is_covered = false;
        for (terms, stems) in &mut covered {
            let stem = terms.stem(&word).to_owned();
            is_covered |= stems.contains(&stem);
            weights.push(counts(&stem));
        }
        let heaviest = weights.into_iter().filter(|(with, _)| *with > 0).map(weight).fold(0.0, f32::max);
        all_weight += heaviest;
        if !is_covered {
            left_weight += heaviest;
            known += usize::from(heaviest > 0.0);
            left.push(word.into_owned());
        }
    }
    let share = if all_weight > 0.0 { left_weight / all_weight } else { 0.0 };
    Left { words: left.join(" "), share, known }
}

/// A question's vector, turned away from those of passages that were found, one after another; of length 1.
pub fn turned<'a>(question: &[f32], found: impl IntoIterator<Item = &'a [f32]>) -> Vec<f32> {
    let mut turned = question.to_vec();
    for middle in found {
        let along = TURN * dot(&turned, middle);
        turned.iter_mut().zip(middle).for_each(|(number, other)| *number -= along * other);
    }
    // What has no direction stays as it is.
    unit(&turned, turned.len() as u32).unwrap_or(turned)
}

/// Whether a question may have several parts: it has several marks, or something that joins them.
pub fn may_have_parts(question: &str) -> bool {
    parts(question) > 1
}

/// How often a question may be searched for.
pub fn searches(question: &str) -> usize {
    if parts(question) > 2 { MANY_SEARCHES } else { SEARCHES }
}

fn parts(question: &str) -> usize {
    let marks = question.trim_end_matches(['?', '.', ' ']).matches([',', ';', '?', ':']).count();
    1 + marks.max(words(question).filter(|(_, word)| JOINTS.contains(&word.as_ref())).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::evidence::tests::passage;
    use std::sync::Arc;

    fn counts() -> Counts {
        Arc::new(|stem| if stem == "zzyzx" { (0, 100) } else { (2, 100) })
    }

    #[test]
    fn what_a_passage_says_is_not_looked_for_again() {
        let first = passage("Pumps", "The pump in the cellar moves 300 litres.", 1.0);
        let question = "What moves the pump and who repaired the garden valve?";
        let found = left(question, &[&first], &counts());
        assert_eq!(found.words, "repaired garden valve");
        assert!((found.share - 0.6).abs() < 1e-5 && found.is_open(), "{found:?}");
        let second = passage("Valves", "Anna repaired the valve in the garden.", 1.0);
        assert!(!left(question, &[&first, &second], &counts()).is_open());
    }

    #[test]
    fn words_that_nobody_knows_leave_nothing_open() {
        let first = passage("Pumps", "The pump moves water.", 1.0);
        let found = left("Does the pump move zzyzx?", &[&first], &counts());
        assert_eq!((found.words.as_str(), found.share, found.is_open()), ("zzyzx", 0.0, false));
    }

    #[test]
    fn a_turned_vector_is_further_from_what_was_found() {
        let (question, found) = ([0.6, 0.8, 0.0], [1.0, 0.0, 0.0]);
        let turned = turned(&question, [&found[..]]);
        assert!(dot(&turned, &found) < dot(&question, &found));
        assert!((dot(&turned, &turned) - 1.0).abs() < 1e-6);
        // 0.6 - 0.5 * 0.6 = 0.3, beside 0.8.
        assert!((turned[0] / turned[1] - 0.375).abs() < 1e-6);
    }

    #[test]
    fn questions_of_several_parts_are_told() {
        assert!(!may_have_parts("How many points did they surrender?"));
        assert!(may_have_parts("Who built it and when was it sold?"));
        assert_eq!(searches("Who built it, who sold it, and who owns it?"), MANY_SEARCHES);
    }
}
