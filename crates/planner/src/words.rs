//! The words by which requirements are known, in four languages at once: documents mix them.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// What a phrase says about the text that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Must,
    Should,
    May,
    /// What someone or something can or will do: a requirement only where requirements are listed.
    Ability,
    Not,
    /// What makes nobody of whom something may: `no user may` is no wish, but a ban.
    Nobody,
    /// The word for requirement itself.
    Marker,
    Wanted,
    Acceptance,
    Unwanted,
    Context,
    Waits,
    Before,
    /// As `Waits` and `Before`, but only in front of a name such as `REQ-2`.
    After,
    Ahead,
    /// A list whose numbers are an order.
    Steps,
    Story,
    Wish,
    Given,
    Then,
    High,
    Low,
    /// What may stand before the name of a thing that is waited for, such as `section`.
    Place,
}

/// A phrase found in a text, with its place in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub class: Class,
    pub start: usize,
    pub end: usize,
}

/// Words in lower case without accents, with their places.
pub(crate) fn split(text: &str) -> Vec<(usize, usize, String)> {
    let mut found = Vec::new();
    let mut word: Option<(usize, String)> = None;
    for (at, c) in text.char_indices() {
        if c.is_alphanumeric() || is_combining(c) {
            fold(c, &mut word.get_or_insert_with(|| (at, String::new())).1);
        } else if let Some((start, word)) = word.take() {
            found.push((start, at, unmasked(word)));
        }
    }
    if let Some((start, word)) = word {
        found.push((start, text.len(), unmasked(word)));
    }
    found
}

/// Whether a character shows itself: no control, no mark that hides or turns what is around it. Joiners do: they shape the
/// letters of some scripts, and pictures.
pub(crate) fn is_seen(c: char) -> bool {
    let is_format = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !is_format
}

/// What is seen of a text, in one line: all that parts words is a blank.
pub(crate) fn seen(chars: impl Iterator<Item = char>) -> String {
    chars.map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c }).filter(|&c| is_seen(c)).collect()
}

/// The Latin letter that a Cyrillic, Greek or Armenian one of lower case is mistaken for.
fn lookalike(c: char) -> Option<char> {
    const MASKS: &str = "асԁеһіјӏոоοрԛѕսνԝху";
    const LETTERS: &str = "acdehijlnoopqsuvwxy";
    MASKS.chars().zip(LETTERS.chars()).find(|(mask, _)| *mask == c).map(|(_, letter)| letter)
}

/// Whether a word of lower case mixes Latin letters with others that only look like some.
pub(crate) fn is_masked(word: &str) -> bool {
    word.contains(|c: char| c.is_ascii_lowercase()) && word.contains(|c| lookalike(c).is_some())
}

/// A text in lower case without accents, everything else as it is.
pub(crate) fn folded(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    text.chars().for_each(|c| fold(c, &mut plain));
    plain
}

/// The words of a text, joined by one blank: two texts that differ in case, accents and marks only become the same.
pub(crate) fn normal(text: &str) -> String {
    let words: Vec<String> = split(text).into_iter().map(|(_, _, word)| word).collect();
    words.join(" ")
}

/// Every phrase in a text, in order. Where phrases overlap, the longest of each class counts.
pub(crate) fn scan(text: &str) -> Vec<Hit> {
    let words = split(text);
    let mut hits: Vec<Hit> = Vec::new();
    for (index, (start, _, word)) in words.iter().enumerate() {
        for phrase in KNOWN.phrases.get(word).into_iter().flatten() {
            let Some(end) = phrase.end(&words, index) else { continue };
            let is_inside = hits.iter().rev().take(4).any(|hit| hit.class == phrase.class && hit.end >= end);
            if !is_inside {
                hits.push(Hit { class: phrase.class, start: *start, end });
            }
        }
    }
    hits
}

/// Whether a text has a phrase of a class.
pub(crate) fn has(hits: &[Hit], class: Class) -> bool {
    hits.iter().any(|hit| hit.class == class)
}

const LANGUAGES: [(&str, &str); 4] = [
    ("en", include_str!("words/en.toml")),
    ("de", include_str!("words/de.toml")),
    ("es", include_str!("words/es.toml")),
    ("fr", include_str!("words/fr.toml")),
];

static KNOWN: LazyLock<Known> = LazyLock::new(Known::read);

#[derive(Default)]
struct Known {
    /// By their first word.
    phrases: HashMap<String, Vec<Phrase>>,
}

struct Phrase {
    rest: Vec<String>,
    class: Class,
}

impl Phrase {
    fn end(&self, words: &[(usize, usize, String)], at: usize) -> Option<usize> {
        let there = words.get(at..=at + self.rest.len())?;
        let fits = there.iter().skip(1).map(|(_, _, word)| word).eq(&self.rest);
        there.last().filter(|_| fits).map(|(_, end, _)| *end)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    must: Vec<String>,
    should: Vec<String>,
    may: Vec<String>,
    ability: Vec<String>,
    not: Vec<String>,
    nobody: Vec<String>,
    marker: Vec<String>,
    wanted: Vec<String>,
    acceptance: Vec<String>,
    unwanted: Vec<String>,
    context: Vec<String>,
    waits: Vec<String>,
    before: Vec<String>,
    after: Vec<String>,
    ahead: Vec<String>,
    steps: Vec<String>,
    story: Vec<String>,
    wish: Vec<String>,
    given: Vec<String>,
    then: Vec<String>,
    high: Vec<String>,
    low: Vec<String>,
    place: Vec<String>,
}

impl Known {
    /// A file that does not parse leaves its language out; a test reads them all.
    fn read() -> Self {
        let mut known = Self::default();
        for (_, text) in LANGUAGES {
            if let Ok(file) = toml::from_str::<File>(text) {
                known.add(file);
            }
        }
        for phrases in known.phrases.values_mut() {
            phrases.sort_by_key(|phrase| std::cmp::Reverse(phrase.rest.len()));
        }
        known
    }

    fn add(&mut self, file: File) {
        let lists = [
            (Class::Must, file.must),
            (Class::Should, file.should),
            (Class::May, file.may),
            (Class::Ability, file.ability),
            (Class::Not, file.not),
            (Class::Nobody, file.nobody),
            (Class::Marker, file.marker),
            (Class::Wanted, file.wanted),
            (Class::Acceptance, file.acceptance),
            (Class::Unwanted, file.unwanted),
            (Class::Context, file.context),
            (Class::Waits, file.waits),
            (Class::Before, file.before),
            (Class::After, file.after),
            (Class::Ahead, file.ahead),
            (Class::Steps, file.steps),
            (Class::Story, file.story),
            (Class::Wish, file.wish),
            (Class::Given, file.given),
            (Class::Then, file.then),
            (Class::High, file.high),
            (Class::Low, file.low),
            (Class::Place, file.place),
        ];
        for (class, phrases) in lists {
            for phrase in phrases {
                let mut words = split(&phrase).into_iter().map(|(_, _, word)| word);
                if let Some(first) = words.next() {
                    self.phrases.entry(first).or_default().push(Phrase { rest: words.collect(), class });
                }
            }
        }
    }
}

fn unmasked(word: String) -> String {
    if word.is_ascii() || !is_masked(&word) {
        return word;
    }
    word.chars().map(|c| lookalike(c).unwrap_or(c)).collect()
}

fn is_combining(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

fn fold(c: char, into: &mut String) {
    if c.is_ascii() {
        into.push(c.to_ascii_lowercase());
        return;
    }
    for c in c.to_lowercase().filter(|&c| !is_combining(c)) {
        match c {
            'à'..='å' => into.push('a'),
            'ç' => into.push('c'),
            'è'..='ë' => into.push('e'),
            'ì'..='ï' => into.push('i'),
            'ñ' => into.push('n'),
            'ò'..='ö' => into.push('o'),
            'ù'..='ü' => into.push('u'),
            'ß' => into.push_str("ss"),
            'œ' => into.push_str("oe"),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_is_read() {
        for (name, text) in LANGUAGES {
            if let Err(error) = toml::from_str::<File>(text) {
                panic!("{name}: {error}");
            }
        }
    }

    #[test]
    fn phrases_are_found_whatever_their_case_and_accents() {
        let classes = |text: &str| scan(text).into_iter().map(|hit| hit.class).collect::<Vec<_>>();
        assert_eq!(classes("It MUST work"), [Class::Must]);
        assert_eq!(classes("Sie mu\u{308}ssen"), [Class::Must]);
        assert_eq!(classes("El sistema DEBERÁ"), [Class::Must, Class::Place].into_iter().rev().collect::<Vec<_>>());
        assert!(classes("La tâche dépend de B").contains(&Class::Waits));
        assert!(classes("out-of scope").contains(&Class::Unwanted));
        assert!(!classes("mustard").contains(&Class::Must));
    }

    #[test]
    fn what_hides_is_not_seen_and_what_parts_words_is_a_blank() {
        assert_eq!(seen("a\u{2028}b\tc\u{ad}d\u{e0041}\u{180e}\u{7}e\u{202e}".chars()), "a b cd e");
    }
}
