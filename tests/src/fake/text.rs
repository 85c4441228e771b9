//! The words of the fake engine: every token is a pure function of the prompt, the seed and its index.
//!
//! Whoever holds the conversation can compute the whole answer, so a test sees a lost, repeated or foreign token at once.
//! A continued answer goes on byte-exactly, also from the middle of a token.

use std::fmt::Write;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// What opens the turn of the assistant; a rendered prompt ends with it.
pub const ASSISTANT: &str = "<|im_start|>assistant\n";
/// Bytes of JSON that count as one token.
const JSON_TOKEN_BYTES: usize = 4;
/// How every answer in words begins; where a raw prompt may have been continued.
const FIRST_WORD: &str = " w0-";

/// The first `n` tokens of the answer to `prompt` (see [`render`]) without a seed.
pub fn expected(prompt: &str, n: usize) -> String {
    Script::words(prompt, 0, n).text
}

/// The prompt whose answer is what is thought before the answer to `prompt`.
pub fn thinking(prompt: &str) -> String {
    format!("{prompt}<think>")
}

/// A conversation (role and text of each message) as the prompt of the model, in ChatML.
pub fn render<R: AsRef<str>, T: AsRef<str>>(messages: &[(R, T)]) -> String {
    let mut prompt = String::new();
    for (role, text) in messages {
        let _ = writeln!(prompt, "<|im_start|>{}\n{}<|im_end|>", role.as_ref(), text.as_ref());
    }
    prompt + ASSISTANT
}

/// Splits a raw prompt into the prompt proper and the part of the answer that it already holds.
///
/// A rendered conversation is split behind its last assistant mark. Any other text is split at the first place where
/// all that follows is the beginning of the answer to all that precedes.
pub fn split_raw(raw: &str, seed: u64, n: usize) -> (&str, &str) {
    if let Some(at) = raw.rfind(ASSISTANT) {
        return raw.split_at(at + ASSISTANT.len());
    }
    let whole_words = memchr::memmem::find_iter(raw.as_bytes(), FIRST_WORD);
    let begun_words = raw.len().saturating_sub(FIRST_WORD.len() - 1)..raw.len();
    for at in whole_words.chain(begun_words) {
        let Some((prompt, rest)) = raw.split_at_checked(at) else { continue };
        if FIRST_WORD.starts_with(rest) || (rest.starts_with(FIRST_WORD) && is_begun(prompt, seed, n, rest)) {
            return (prompt, rest);
        }
    }
    (raw, "")
}

fn is_begun(prompt: &str, seed: u64, n: usize, rest: &str) -> bool {
    Script::words(prompt, seed, n).text.starts_with(rest)
}

/// An answer before it is given: its text, cut into tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// All of the text.
    pub text: String,
    /// Where each token ends.
    ends: Vec<usize>,
}

impl Script {
    /// `n` words such as ` w17-ab3f`: the index and four digits of a hash.
    pub fn words(prompt: &str, seed: u64, n: usize) -> Self {
        let of_prompt = xxh3_64_with_seed(prompt.as_bytes(), seed);
        let mut script = Self { text: String::with_capacity(n * 10), ends: Vec::with_capacity(n) };
        for index in 0..n {
            let hash = xxh3_64_with_seed(&index.to_le_bytes(), of_prompt) & 0xffff;
            let _ = write!(script.text, " w{index}-{hash:04x}");
            script.ends.push(script.text.len());
        }
        script
    }

    /// A text of its own (JSON of a schema, arguments of a tool) in tokens of a few bytes.
    pub fn json(text: String) -> Self {
        let mut ends: Vec<usize> =
            (1..text.len()).filter(|&at| at % JSON_TOKEN_BYTES == 0 && text.is_char_boundary(at)).collect();
        if !text.is_empty() {
            ends.push(text.len());
        }
        Self { text, ends }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Token `index`; empty behind the end.
    pub fn token(&self, index: usize) -> &str {
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(index).and_then(|&end| self.text.get(start..end)).unwrap_or("")
    }

    /// What is left behind `prefill`. A prefill that the answer does not begin with counts by its words.
    pub fn after(&self, prefill: &str) -> Self {
        let from = if self.text.starts_with(prefill) {
            prefill.len()
        } else {
            let words = prefill.split_whitespace().count();
            words.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(self.text.len())
        };
        let ends = self.ends.iter().filter(|&&end| end > from).map(|&end| end - from).collect();
        Self { text: self.text.get(from..).unwrap_or("").to_owned(), ends }
    }

    /// Only what stands before the first of `stops`; says whether any was there.
    pub fn stop_at(&mut self, stops: &[&str]) -> bool {
        let found = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| self.text.find(stop)).min();
        let Some(at) = found else { return false };
        self.ends.retain(|&end| end < at);
        if at > 0 {
            self.ends.push(at);
        }
        self.text.truncate(at);
        true
    }

    /// Only the first `n` tokens.
    pub fn truncate(&mut self, n: usize) {
        self.ends.truncate(n);
        self.text.truncate(self.ends.last().copied().unwrap_or(0));
    }
}

/// Tokens of a prompt, as the fake counts them: a quarter of its bytes, at least one.
pub fn count(text: &str) -> usize {
    (text.len() / 4).max(1)
}

/// A number that stands for a text; seeds everything else that the fake derives from it.
pub fn hash(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_depends_on_prompt_seed_and_index_only() {
        let long = Script::words("hello", 0, 60);
        assert_eq!(long.text, expected("hello", 60));
        assert!(long.text.starts_with(&expected("hello", 17)));
        assert_eq!((0..60).map(|index| long.token(index)).collect::<String>(), long.text);
        assert_ne!(Script::words("hello", 1, 60), long);
        assert_ne!(expected("hello!", 1), expected("hello", 1));
        assert!(long.token(17).starts_with(" w17-"));
    }

    #[test]
    fn an_answer_goes_on_byte_exactly_from_every_byte() {
        let prompt = render(&[("system", "be short"), ("user", "hello")]);
        let whole = Script::words(&prompt, 7, 12);
        for at in 0..=whole.text.len() {
            let (held, rest) = whole.text.split_at(at);
            let continued = whole.after(held);
            assert_eq!(continued.text, rest);
            assert_eq!((0..continued.len()).map(|index| continued.token(index)).collect::<String>(), rest);
        }
    }

    #[test]
    fn a_raw_prompt_goes_on_byte_exactly_from_every_byte() {
        for prompt in ["Once upon a time", "ends with a space ", "ends with w", "has w0-dead inside", ""] {
            let answer = |raw: &str| {
                let (prompt, held) = split_raw(raw, 0, 9);
                Script::words(prompt, 0, 9).after(held).text
            };
            let whole = answer(prompt);
            for at in 0..=whole.len() {
                let raw = format!("{prompt}{}", &whole[..at]);
                assert_eq!(answer(&raw), whole[at..], "{raw:?}");
            }
        }
    }

    #[test]
    fn a_rendered_prompt_splits_behind_its_last_assistant_mark() {
        let prompt = render(&[("user", "hi"), ("assistant", "yes?"), ("user", "go on")]);
        let raw = format!("{prompt} w0-x");
        assert_eq!(split_raw(&raw, 0, 9), (prompt.as_str(), " w0-x"));
    }

    #[test]
    fn a_foreign_prefill_counts_by_its_words() {
        let whole = Script::words("hello", 0, 5);
        assert_eq!(whole.after("three foreign words").text, format!("{}{}", whole.token(3), whole.token(4)));
        assert!(whole.after("more words than there are tokens").is_empty());
    }

    #[test]
    fn a_stop_string_ends_the_text_before_it() {
        let whole = Script::words("hello", 0, 9);
        let mut stopped = whole.clone();
        assert!(stopped.stop_at(&["nowhere", "w4-", ""]));
        assert_eq!(stopped.text, format!("{} ", expected("hello", 4)));
        assert_eq!((0..stopped.len()).map(|index| stopped.token(index)).collect::<String>(), stopped.text);
        assert!(!stopped.stop_at(&["w4-"]));
    }

    #[test]
    fn json_is_cut_at_characters() {
        let script = Script::json("{\"größe\":\"ü\"}".to_owned());
        assert_eq!((0..script.len()).map(|index| script.token(index)).collect::<String>(), script.text);
    }
}
