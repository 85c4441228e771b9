//! A byte-level BPE tokenizer, trained here: tokens in the alphabet that spells bytes as letters, merges, and how a text
//! is cut. What GGUF calls the model `gpt2` with the cut `gpt-2`.

use std::collections::BTreeMap;

/// Ends a text.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Opens a turn.
pub const TURN: &str = "<|im_start|>";
/// Closes a turn, and an answer.
pub const END_OF_TURN: &str = "<|im_end|>";
/// Tokens that no text is made of; they come first.
pub const SPECIALS: [&str; 3] = [END_OF_TEXT, TURN, END_OF_TURN];

/// The tokenizer of a model.
#[derive(Clone, Debug)]
pub struct Bpe {
    /// Specials, bytes, merged tokens; the position is the id.
    pub tokens: Vec<String>,
    /// The pairs, first learned first.
    pub merges: Vec<(String, String)>,
    ids: BTreeMap<String, usize>,
    ranks: BTreeMap<(String, String), usize>,
}

impl Bpe {
    /// Learns from `texts` until it has `size` tokens, or nothing is left to be merged.
    pub fn train<'a>(texts: impl Iterator<Item = &'a str>, size: usize) -> Self {
        let mut counts: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        for text in texts {
            for word in words(text) {
                *counts.entry(letters(word)).or_default() += 1;
            }
        }
        let mut tokens: Vec<String> = SPECIALS.map(str::to_owned).to_vec();
        tokens.extend((0..=u8::MAX).map(|byte| letter(byte).to_string()));
        let mut merges = Vec::new();
        while tokens.len() < size {
            let Some(pair) = most_frequent(&counts) else { break };
            counts = counts.into_iter().map(|(word, count)| (merge(word, &pair), count)).collect();
            tokens.push(format!("{}{}", pair.0, pair.1));
            merges.push(pair);
        }
        let ids = tokens.iter().enumerate().map(|(id, token)| (token.clone(), id)).collect();
        let ranks = merges.iter().enumerate().map(|(rank, pair)| (pair.clone(), rank)).collect();
        Self { tokens, merges, ids, ranks }
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<usize> {
        self.ids.get(token).copied()
    }

    /// The ids of a text; specials in it are cut like any other text.
    pub fn encode(&self, text: &str) -> Vec<usize> {
        let mut ids = Vec::new();
        for word in words(text) {
            let mut parts = letters(word);
            let rank = |pair: &[String]| match pair {
                [first, second] => self.ranks.get(&(first.clone(), second.clone())).copied(),
                _ => None,
            };
            while let Some(best) = parts.windows(2).filter_map(rank).min() {
                parts = merge(parts, &self.merges[best]);
            }
            ids.extend(parts.iter().filter_map(|part| self.id(part)));
        }
        ids
    }

    /// The ids of a conversation in ChatML, up to where the answer begins.
    pub fn encode_chat(&self, turns: &[(&str, &str)]) -> Vec<usize> {
        let mut ids = Vec::new();
        for (role, text) in turns {
            ids.extend(self.id(TURN));
            ids.extend(self.encode(&format!("{role}\n{text}")));
            ids.extend(self.id(END_OF_TURN));
            ids.extend(self.encode("\n"));
        }
        ids.extend(self.id(TURN));
        ids.extend(self.encode("assistant\n"));
        ids
    }

    /// The text of ids; specials are left out.
    pub fn decode(&self, ids: &[usize]) -> String {
        let bytes: BTreeMap<char, u8> = (0..=u8::MAX).map(|byte| (letter(byte), byte)).collect();
        let tokens = ids.iter().filter(|id| **id >= SPECIALS.len()).filter_map(|id| self.tokens.get(*id));
        let bytes: Vec<u8> = tokens.flat_map(|token| token.chars()).filter_map(|c| bytes.get(&c).copied()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn most_frequent(counts: &BTreeMap<Vec<String>, usize>) -> Option<(String, String)> {
    let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (word, count) in counts {
        for pair in word.windows(2) {
            if let [first, second] = pair {
                *pairs.entry((first, second)).or_default() += count;
            }
        }
    }
    // Of equals the first in the order of the alphabet: `max_by_key` takes the last.
    let ((first, second), _) = pairs.into_iter().rev().max_by_key(|(_, count)| *count)?;
    Some((first.to_owned(), second.to_owned()))
}

fn merge(word: Vec<String>, pair: &(String, String)) -> Vec<String> {
    let mut merged: Vec<String> = Vec::with_capacity(word.len());
    let mut is_first_waiting = false;
    for part in word {
        if is_first_waiting && part == pair.1 {
            if let Some(last) = merged.last_mut() {
                last.push_str(&part);
            }
            is_first_waiting = false;
        } else {
            is_first_waiting = part == pair.0;
            merged.push(part);
        }
    }
    merged
}

/// The letter that stands for a byte: itself where it can be seen, else one from above the first 256.
pub fn letter(byte: u8) -> char {
    let is_seen = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if is_seen(byte) {
        return char::from(byte);
    }
    let unseen_before = (0..byte).filter(|other| !is_seen(*other)).count() as u32;
    char::from_u32(256 + unseen_before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn letters(word: &str) -> Vec<String> {
    word.bytes().map(|byte| letter(byte).to_string()).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Space,
    Other,
}

fn class(c: char) -> Class {
    match c {
        _ if c.is_alphabetic() => Class::Letter,
        _ if c.is_numeric() => Class::Number,
        _ if c.is_whitespace() => Class::Space,
        _ => Class::Other,
    }
}

/// Cuts a text where no token may cross, as GPT-2's expression does:
/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
fn words(text: &str) -> Vec<&str> {
    const ENDINGS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if let Some(ending) = ENDINGS.iter().find(|ending| rest.starts_with(**ending)) {
            ending.len()
        } else if class(first) == Class::Space {
            space(rest)
        } else {
            run(rest, class(first))
        };
        let (word, after) = rest.split_at(length);
        found.push(word);
        rest = after;
    }
    found
}

/// The length of the run of one class at the beginning.
fn run(text: &str, of: Class) -> usize {
    text.find(|c| class(c) != of).unwrap_or(text.len())
}

/// The length of the piece that begins with a space: a word with its blank, or spaces without the last before a word.
fn space(text: &str) -> usize {
    let spaces = run(text, Class::Space);
    let Some(next) = text.get(spaces..).and_then(|after| after.chars().next()) else { return spaces };
    if spaces == 1 && text.starts_with(' ') {
        return 1 + run(text.get(1..).unwrap_or_default(), class(next));
    }
    let last = text.get(..spaces).and_then(|all| all.chars().next_back()).map_or(0, char::len_utf8);
    if spaces > last { spaces - last } else { spaces }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_as_gpt_2_cuts_it() {
        assert_eq!(
            words("It's 12 o'clock,  Bob!\n\n- x"),
            ["It", "'s", " 12", " o", "'", "clock", ",", " ", " Bob", "!", "\n", "\n", "-", " x"]
        );
        assert_eq!(words("a \n"), ["a", " \n"]);
    }

    #[test]
    fn every_text_comes_back_from_its_tokens() {
        let bpe = Bpe::train(["the node and the other node"].into_iter(), 300);
        for text in ["the node", "zażółć 例 \u{1f600}\n\t{\"a\": [1]}"] {
            assert_eq!(bpe.decode(&bpe.encode(text)), text);
        }
        assert!(bpe.encode("the node").len() < 4, "{:?}", bpe.merges);
    }
}
