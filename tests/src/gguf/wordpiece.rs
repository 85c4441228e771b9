//! A WordPiece vocabulary made of word lists, and how a text is cut with it: the GGUF tokenizer `bert`.

use std::collections::{BTreeMap, BTreeSet};

use super::corpus;

/// The marks, in the order of their ids.
pub const MARKS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// What is before the first piece of a word; the others have nothing.
const BEGINNING: char = '\u{2581}';
/// Ends of words that do not change what they mean.
const ENDINGS: [&str; 12] = ["s", "es", "d", "ed", "ing", "er", "ers", "or", "ly", "ion", "ions", "able"];

/// What a piece stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A mark, a sign, a word or an ending that says nothing about the subject.
    Nothing,
    /// Its own.
    Own,
    /// Nearly what the other words of this line of [`corpus::MEANINGS`] mean.
    Shared(usize),
}

/// The tokenizer of a model.
#[derive(Clone, Debug)]
pub struct WordPiece {
    /// As they stand in the file; the position is the id.
    pub tokens: Vec<String>,
    /// What each stands for.
    pub meanings: Vec<Meaning>,
    ids: BTreeMap<String, usize>,
}

impl WordPiece {
    /// The vocabulary: marks, signs, letters and pairs of letters, known words and endings.
    pub fn new() -> Self {
        let mut pieces = Self { tokens: Vec::new(), meanings: Vec::new(), ids: BTreeMap::new() };
        for mark in MARKS {
            pieces.add(mark.to_owned(), Meaning::Nothing);
        }
        for ending in ENDINGS {
            pieces.add(ending.to_owned(), Meaning::Nothing);
        }
        for word in corpus::FUNCTION_WORDS {
            pieces.add(format!("{BEGINNING}{word}"), Meaning::Nothing);
        }
        for (line, words) in corpus::MEANINGS.iter().enumerate() {
            for word in *words {
                pieces.add(format!("{BEGINNING}{word}"), Meaning::Shared(line));
            }
        }
        let texts = corpus::texts();
        let words: BTreeSet<String> = texts.iter().flat_map(|text| words(text)).collect();
        for word in words.iter().filter(|word| word.len() > 2) {
            pieces.add(format!("{BEGINNING}{word}"), Meaning::Own);
        }
        pieces.add_letters();
        pieces
    }

    fn add_letters(&mut self) {
        let signs = (b'!'..=b'~').map(char::from).filter(|sign| !sign.is_ascii_uppercase());
        for sign in signs {
            let meaning = if sign.is_ascii_alphanumeric() { Meaning::Own } else { Meaning::Nothing };
            self.add(format!("{BEGINNING}{sign}"), meaning);
            self.add(sign.to_string(), meaning);
        }
        for first in 'a'..='z' {
            for second in 'a'..='z' {
                self.add(format!("{BEGINNING}{first}{second}"), Meaning::Own);
                self.add(format!("{first}{second}"), Meaning::Own);
            }
        }
    }

    /// Adds a piece, if it is a new one.
    fn add(&mut self, piece: String, meaning: Meaning) {
        if !self.ids.contains_key(&piece) {
            self.ids.insert(piece.clone(), self.tokens.len());
            self.tokens.push(piece);
            self.meanings.push(meaning);
        }
    }

    /// The id of a mark or a piece, as it stands in the file.
    pub fn id(&self, piece: &str) -> usize {
        self.ids.get(piece).copied().unwrap_or(1)
    }

    /// The ids of a text, without marks before and behind it.
    pub fn encode(&self, text: &str) -> Vec<usize> {
        words(text).iter().flat_map(|word| self.encode_word(&format!("{BEGINNING}{word}"))).collect()
    }

    /// The longest pieces, from the left; a word with a part that is no piece is unknown as a whole.
    fn encode_word(&self, word: &str) -> Vec<usize> {
        let mut ids = Vec::new();
        let mut rest = word;
        while !rest.is_empty() {
            let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).rev();
            let pieces = ends.filter_map(|end| rest.split_at_checked(end));
            let known = pieces.filter_map(|(piece, after)| Some((*self.ids.get(piece)?, after))).next();
            let Some((id, after)) = known else { return vec![self.id("[UNK]")] };
            ids.push(id);
            rest = after;
        }
        ids
    }
}

impl Default for WordPiece {
    fn default() -> Self {
        Self::new()
    }
}

/// Words and single signs, in small letters. Accents, which llama.cpp takes off, are left on: keep to ASCII.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.to_lowercase().chars() {
        let is_sign = c.is_ascii_punctuation();
        if c.is_whitespace() || is_sign {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        }
        if is_sign {
            words.push(c.to_string());
        } else if !c.is_whitespace() {
            word.push(c);
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pieces_are_taken_from_the_left() {
        let pieces = WordPiece::new();
        let cut = |text: &str| -> Vec<String> {
            pieces.encode(text).into_iter().map(|id| pieces.tokens[id].clone()).collect()
        };
        assert_eq!(
            cut("Restarted nodes, quux!"),
            ["\u{2581}restart", "ed", "\u{2581}node", "s", "\u{2581},", "\u{2581}qu", "ux", "\u{2581}!"]
        );
        assert_eq!(cut("za\u{17c}"), ["[UNK]"]);
    }
}
