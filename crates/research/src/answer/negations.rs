//! Which words of a text are denied: two texts with the same words say the opposite where one of them denies one.

use std::collections::HashMap;

use crate::text::{self, Terms, is_stop_word, words};

/// So many telling words behind a denial are denied by it, or before it where nothing follows.
const REACH: usize = 3;
const REACH_BACK: usize = 2;

/// The stems of a text, each with how far behind a denial it stands, from 1; 0: it is not denied.
pub(super) fn stems(text: &str, language: &str, terms: &mut Terms) -> HashMap<String, usize> {
    let mut said: HashMap<String, usize> = HashMap::new();
    for clause in clauses(text) {
        let denied = denied(clause, language, terms);
        for (_, word) in words(clause).filter(|(_, word)| !is_stop_word(word, language)) {
            let stem = terms.stem(&word).to_owned();
            let at = denied.iter().position(|other| *other == stem).map_or(0, |at| at + 1);
            said.entry(stem).and_modify(|known| *known = (*known).max(at)).or_insert(at);
        }
    }
    said
}

/// Whether two texts agree about what both speak of.
pub(super) fn agree(one: &HashMap<String, usize>, other: &HashMap<String, usize>) -> bool {
    first_clash(one, other).is_none()
}

/// The word next to a denial in one of them that the other has and does not deny. Where both deny a word they agree,
/// whatever else stands beside it: "it does not sleep at night" is "at night it does not sleep".
pub(super) fn first_clash<'a>(one: &'a HashMap<String, usize>, other: &HashMap<String, usize>) -> Option<&'a str> {
    let both = |(stem, at): (&'a String, &usize)| other.get(stem).map(|there| (stem, *at, *there));
    let shared: Vec<(&String, usize, usize)> = one.iter().filter_map(both).collect();
    if shared.iter().any(|(_, here, there)| *here > 0 && *there > 0) {
        return None;
    }
    let clashes = shared.into_iter().filter(|(_, here, there)| here.max(there) > &0);
    clashes.min_by_key(|(stem, here, there)| (*here.max(there), *stem)).map(|(stem, _, _)| stem.as_str())
}

fn clauses(text: &str) -> impl Iterator<Item = &str> {
    text.split(['.', ',', ';', ':', '!', '?', '(', ')', '\n']).filter(|clause| !clause.trim().is_empty())
}

/// What a clause denies, the nearest first.
fn denied(clause: &str, language: &str, terms: &mut Terms) -> Vec<String> {
    let all: Vec<_> = words(clause).map(|(_, word)| word).collect();
    let mut denied = Vec::new();
    for (at, word) in all.iter().enumerate().filter(|(_, word)| denies(word, language)) {
        let telling = |word: &&std::borrow::Cow<'_, str>| !is_stop_word(word, language) && !denies(word, language);
        let mut reached: Vec<_> = all.iter().skip(at + 1).filter(telling).take(REACH).collect();
        if reached.is_empty() {
            reached = all.iter().take(at).rev().filter(telling).take(REACH_BACK).collect();
        }
        // `unable to start` and `without power` deny what follows them, and are no telling words themselves.
        denied.extend(reached.into_iter().filter(|other| *other != word).map(|word| terms.stem(word).to_owned()));
    }
    denied
}

fn denies(word: &str, language: &str) -> bool {
    // `plus`, `sin` and `pas` are other words in other languages.
    text::denies(word)
        && match word {
            "pas" | "sans" => language == "fr",
            "sin" => language == "es",
            "nie" => language == "de",
            _ => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees(one: &str, other: &str, language: &str) -> bool {
        let mut terms = Terms::new(language);
        agree(&stems(one, language, &mut terms), &stems(other, language, &mut terms))
    }

    #[test]
    fn a_denied_word_is_the_opposite() {
        for (one, other, language) in [
            ("The NAS sleeps at night.", "The NAS does not sleep at night.", "en"),
            ("It starts.", "It doesn't start.", "en"),
            ("It does not always sleep", "It sleeps", "en"),
            ("The disk cannot be replaced", "The disk can be replaced", "en"),
            ("Der Server startet nicht.", "Der Server startet.", "de"),
            ("Le serveur ne démarre pas.", "Le serveur démarre.", "fr"),
        ] {
            assert!(!agrees(one, other, language), "{one} / {other}");
        }
    }

    #[test]
    fn a_denial_elsewhere_changes_nothing() {
        for (one, other) in [
            ("The NAS sleeps at night.", "The NAS sleeps at night, but the router does not."),
            ("Backups run daily.", "There is no tape. Backups run daily."),
            ("It does not start.", "It never starts."),
            ("It does not sleep at night.", "At night it does not sleep."),
        ] {
            assert!(agrees(one, other, "en"), "{one} / {other}");
        }
    }
}
