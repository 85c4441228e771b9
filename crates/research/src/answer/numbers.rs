//! Numbers as texts say them: in digits or in small words, with what is counted beside them.

use crate::text::{Terms, is_stop_word, whole_words};

/// The words for numbers from two on; `one` is mostly none.
const WORDS: [(&str, &str); 33] = [
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("eleven", "11"),
    ("twelve", "12"),
    ("zwei", "2"),
    ("drei", "3"),
    ("vier", "4"),
    ("fünf", "5"),
    ("sechs", "6"),
    ("sieben", "7"),
    ("acht", "8"),
    ("neun", "9"),
    ("zehn", "10"),
    ("deux", "2"),
    ("trois", "3"),
    ("quatre", "4"),
    ("cinq", "5"),
    ("sept", "7"),
    ("huit", "8"),
    ("neuf", "9"),
    ("dix", "10"),
    ("dos", "2"),
    ("tres", "3"),
    ("cuatro", "4"),
    ("cinco", "5"),
    ("ocho", "8"),
];

/// Letters that may stand at a number as its unit.
const MOST_UNIT: usize = 4;

/// A number, and the stems of the telling words beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// In digits.
    pub number: String,
    /// The word behind it, such as its unit; empty at the end.
    pub behind: String,
    /// The word before it; empty at the begin.
    pub before: String,
    /// What is counted, as it stands there: the word behind, else the one before.
    pub what: String,
}

/// The numbers of a text, in order.
pub(super) fn counted(text: &str, language: &str, terms: &mut Terms) -> Vec<Counted> {
    let said: Vec<Word> = read(text).collect();
    let telling = |word: &Word| match word {
        Word::Plain(word) if !is_stop_word(word, language) => Some(word.clone()),
        _ => None,
    };
    let mut found = Vec::new();
    for (at, word) in said.iter().enumerate() {
        let Word::Number { digits, unit } = word else { continue };
        let behind =
            if unit.is_empty() { said.iter().skip(at + 1).take(2).find_map(telling) } else { Some(unit.clone()) };
        let before = said.iter().take(at).rev().take(3).find_map(telling);
        let what = behind.clone().or(before.clone()).unwrap_or_default();
        let mut stem = |word: Option<String>| word.map(|word| terms.stem(&word).to_owned()).unwrap_or_default();
        found.push(Counted { number: digits.clone(), behind: stem(behind), before: stem(before), what });
    }
    found
}

/// The words of a text that are no numbers, with a blank between them.
pub(super) fn without(text: &str) -> String {
    let plain = read(text).filter_map(|word| match word {
        Word::Plain(word) => Some(word),
        Word::Number { .. } => None,
    });
    plain.collect::<Vec<_>>().join(" ")
}

/// The words of a text; the whole of `1.2.3` or `snake_case` says enough.
fn read(text: &str) -> impl Iterator<Item = Word> {
    whole_words(text).map(|(_, word)| Word::read(&word))
}

/// A word, told from a number such as `4`, `1.2.3`, `v2`, `8tb`, `two`.
enum Word {
    Plain(String),
    Number { digits: String, unit: String },
}

impl Word {
    fn read(word: &str) -> Self {
        if let Some((_, digits)) = WORDS.iter().find(|(name, _)| *name == word) {
            return Self::Number { digits: (*digits).to_owned(), unit: String::new() };
        }
        let number = word.strip_prefix('v').filter(|rest| rest.starts_with(is_digit)).unwrap_or(word);
        let end = number.find(|c: char| !is_digit(c) && c != '.').unwrap_or(number.len());
        let (digits, unit) = number.split_at_checked(end).unwrap_or((number, ""));
        if !digits.starts_with(is_digit) || unit.chars().count() > MOST_UNIT || !unit.chars().all(char::is_alphabetic) {
            return Self::Plain(word.to_owned());
        }
        Self::Number { digits: digits.trim_end_matches('.').to_owned(), unit: unit.to_owned() }
    }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// The numbers alone, without thousands' commas.
pub(super) fn numbers(text: &str) -> Vec<String> {
    let number = |word| match word {
        Word::Number { digits, .. } => Some(digits),
        Word::Plain(_) => None,
    };
    read(text).filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_in_words_and_digits() {
        assert_eq!(numbers("Two disks, 1,500 files, v1.2.3 and port 8080."), ["2", "1500", "1.2.3", "8080"]);
        assert_eq!(numbers("one of them"), Vec::<String>::new());
        assert_eq!(numbers("Postgres16 and p53"), Vec::<String>::new());
    }

    #[test]
    fn what_is_counted_stands_beside_it() {
        let found = counted("The NAS has four new disks of 8 TB or 4TB", "en", &mut Terms::new("en"));
        let beside: Vec<_> = found.iter().map(|one| (one.number.as_str(), one.behind.as_str())).collect();
        assert_eq!(beside, [("4", "new"), ("8", "tb"), ("4", "tb")]);
    }
}
