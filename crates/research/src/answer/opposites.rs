//! Words that say the opposite of each other: a text that has one of them does not say what one with the other says.

use std::collections::HashSet;

use crate::text::{Terms, words};

/// Pairs of English words, or of their stems; not those that also say the same the other way round, such as `before` and `after`.
const PAIRS: [(&str, &str); 20] = [
    ("all", "some"),
    ("every", "some"),
    ("above", "below"),
    ("begin", "end"),
    ("start", "stop"),
    ("start", "end"),
    ("open", "close"),
    ("first", "last"),
    ("increas", "decreas"),
    ("rise", "fall"),
    ("minimum", "maximum"),
    ("least", "most"),
    ("import", "export"),
    ("enabl", "disabl"),
    ("allow", "forbid"),
    ("north", "south"),
    ("east", "west"),
    ("left", "right"),
    ("hot", "cold"),
    ("always", "sometimes"),
];
/// In front of a word they make its opposite.
const PREFIXES: [&str; 4] = ["un", "in", "im", "dis"];
/// Shorter words begin with these letters for other reasons.
const LEAST_LETTERS: usize = 5;

/// The words of a text that opposites are looked for in: as they stand, and by their stems.
pub(super) struct Said(HashSet<String>);

impl Said {
    /// Reads a text.
    pub(super) fn of(text: &str, terms: &mut Terms) -> Self {
        let mut said = HashSet::new();
        for (_, word) in words(text) {
            said.insert(terms.stem(&word).to_owned());
            said.insert(word.into_owned());
        }
        Self(said)
    }

    /// Whether one has a word whose opposite the other has in its place.
    pub(super) fn is_opposed_to(&self, other: &Self) -> bool {
        let differs = |one: &str, opposite: &str| {
            self.0.contains(one) && !self.0.contains(opposite) && other.0.contains(opposite) && !other.0.contains(one)
        };
        PAIRS.iter().any(|(one, opposite)| differs(one, opposite) || differs(opposite, one))
            || self.has_prefixed(other)
            || other.has_prefixed(self)
    }

    /// Whether it has `unlikely` where the other has `likely`.
    fn has_prefixed(&self, other: &Self) -> bool {
        self.0.iter().any(|word| {
            PREFIXES.iter().filter_map(|prefix| word.strip_prefix(prefix)).any(|bare| {
                bare.chars().count() >= LEAST_LETTERS
                    && other.0.contains(bare)
                    && !other.0.contains(word)
                    && !self.0.contains(bare)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_opposed(one: &str, other: &str) -> bool {
        let mut terms = Terms::new("en");
        let (one, other) = (Said::of(one, &mut terms), Said::of(other, &mut terms));
        assert_eq!(one.is_opposed_to(&other), other.is_opposed_to(&one));
        one.is_opposed_to(&other)
    }

    #[test]
    fn opposites_are_told() {
        for (one, other) in [
            ("All of the disks failed.", "Some of the disks failed."),
            ("It is likely that the roof leaks.", "It is unlikely that the roof leaks."),
            ("Temperatures below 80 stop it.", "Temperatures above 80 stop it."),
            ("The contract begins in May.", "The contract ends in May."),
            ("At least four run.", "At most four run."),
            ("The rule is enabled.", "The rule is disabled."),
        ] {
            assert!(are_opposed(one, other), "{one} / {other}");
        }
    }

    #[test]
    fn what_only_differs_is_no_opposite() {
        for (one, other) in [
            ("It starts and stops by itself.", "It stops and starts by itself."),
            ("The NAS sleeps.", "The router wakes."),
            ("The index is stored.", "The dex is stored."),
            ("Some disks failed.", "Some of all disks failed."),
        ] {
            assert!(!are_opposed(one, other), "{one} / {other}");
        }
    }
}
