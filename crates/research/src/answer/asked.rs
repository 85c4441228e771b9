//! A question as answers see it: its telling words with what each weighs, in the language of each passage, and the runs of
//! four letters that it has in common with a text whose words end otherwise.

use std::collections::HashSet;
use std::sync::Arc;

use crate::text::{Spoken, Terms, is_stop_word, terms, words};

/// In how many chunks a stem stands, of how many.
pub type Counts = Arc<dyn Fn(&str) -> (u64, u64) + Send + Sync>;

/// Letters of a run.
const RUN: usize = 4;
/// A question word stands among so many of the first.
const FIRST_WORDS: usize = 4;

/// Words that begin a question in the languages whose small words are known.
const QUESTION_WORDS: [&str; 58] = [
    "what", "who", "whom", "whose", "which", "when", "where", "why", "how", "was", "wer", "wen", "wem", "wessen",
    "welche", "welcher", "welches", "welchen", "wann", "wo", "woher", "wohin", "warum", "wieso", "weshalb", "wie",
    "womit", "wozu", "wodurch", "que", "qui", "quoi", "quel", "quelle", "quels", "quelles", "quand", "où", "pourquoi",
    "comment", "combien", "lequel", "laquelle", "qué", "quién", "quiénes", "cuál", "cuáles", "cuándo", "cuando",
    "dónde", "donde", "cómo", "cuánto", "cuánta", "cuántos", "cuántas", "porqué",
];

/// What a stem weighs: rare ones much. One that stands nowhere weighs the most.
pub fn weight((with, of): (u64, u64)) -> f32 {
    let (with, of) = (with.min(of) as f32, of as f32);
    (1.0 + (of - with + 0.5) / (with + 0.5)).ln()
}

/// Stems with what each weighs, each once.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    stems: Vec<(String, f32)>,
    total: f32,
    /// It has none but small words, which count then.
    is_small: bool,
}

impl Telling {
    /// The telling words of a text in one language. Where all of its words are small ones, those.
    pub fn of(text: &str, language: &str, counts: &Counts) -> Self {
        let telling = Spoken::telling(text, language, language).stems();
        let is_small = telling.is_empty();
        let stems = if is_small { Spoken::whole(text, "").stems() } else { telling };
        let weighed = |stem: String| {
            let weight = weight(counts(&stem));
            (stem, weight)
        };
        let stems: Vec<(String, f32)> = stems.into_iter().map(weighed).collect();
        let total = stems.iter().map(|(_, weight)| weight).sum();
        Self { stems, total, is_small }
    }

    /// The stems of another text in the same language that may be among them.
    pub fn stems_in(&self, text: &str, of_language: &mut Terms) -> Vec<String> {
        if self.is_small { terms(text, "") } else { of_language.telling(text) }
    }

    /// The share of the weight that `share_of` gives, 0 to 1 for each stem; 0 where there are no words.
    pub fn share(&self, share_of: impl Fn(&str) -> f32) -> f32 {
        let sum: f32 = self.stems.iter().map(|(stem, weight)| weight * share_of(stem)).sum();
        if self.total > 0.0 { sum / self.total } else { 0.0 }
    }

    /// The share of the weight that stands in a set of stems.
    pub fn within(&self, stems: &HashSet<String>) -> f32 {
        self.share(|stem| f32::from(u8::from(stems.contains(stem))))
    }

    /// The stems, in their order.
    pub fn stems(&self) -> impl Iterator<Item = &str> {
        self.stems.iter().map(|(stem, _)| stem.as_str())
    }

    /// How many stems there are.
    pub fn len(&self) -> usize {
        self.stems.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.stems.is_empty()
    }
}

/// Whether it is a question rather than a claim: by its mark, or by a question word at its begin.
pub fn is_question(text: &str) -> bool {
    let ends = text.trim_end().trim_end_matches(['"', '”', ')', '»']).ends_with(['?', '？', '؟']);
    ends || words(text).take(FIRST_WORDS).any(|(_, word)| QUESTION_WORDS.contains(&word.as_ref()))
}

/// Whether a question has a name as source code has them: `snake_case`, `camelCase`, `a::b`, `call()`, `file.rs`.
pub fn speaks_code(text: &str) -> bool {
    let is_name = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '(' && c != ')' && c != '_');
        let has_inside =
            |mark: &str| word.split_once(mark).is_some_and(|(one, other)| one.len() > 1 && other.len() > 1);
        let has_hump =
            word.chars().zip(word.chars().skip(1)).any(|(one, next)| one.is_lowercase() && next.is_uppercase());
        has_inside("_")
            || has_inside("::")
            || has_inside(".") && !word.contains(char::is_numeric)
            || word.contains("()")
            || has_hump
    };
    text.contains('`') || text.split_whitespace().any(is_name)
}

/// The runs of four letters of a text's telling words, with `_` before and behind each word; a shorter word is one run.
pub fn runs(text: &str, language: &str) -> HashSet<String> {
    let mut runs = HashSet::new();
    for (_, word) in words(text) {
        if is_stop_word(&word, language) {
            continue;
        }
        let letters: Vec<char> = std::iter::once('_').chain(word.chars()).chain(std::iter::once('_')).collect();
        if letters.len() <= RUN {
            runs.insert(letters.into_iter().collect());
        } else {
            runs.extend(letters.windows(RUN).map(|run| run.iter().collect::<String>()));
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        Arc::new(|stem| if stem == "nowher" { (0, 99) } else { (9, 99) })
    }

    #[test]
    fn rare_words_weigh_more_and_unknown_ones_the_most() {
        assert!(weight((1, 100)) > weight((50, 100)) && weight((0, 100)) > weight((1, 100)));
        // ln(1 + (243 - 1 + 0.5) / 1.5)
        assert!((weight((1, 243)) - 5.0917).abs() < 1e-3);
        assert!(weight((7, 3)) > 0.0, "counts of two moments");
    }

    #[test]
    fn a_share_is_by_weight() {
        let telling = Telling::of("Is nowhere a disk?", "en", &counts());
        assert_eq!(telling.stems().collect::<Vec<_>>(), ["nowher", "disk"]);
        let found = telling.within(&HashSet::from(["disk".to_owned()]));
        assert!(found > 0.0 && found < 0.5, "{found}");
        assert_eq!(Telling::default().within(&HashSet::new()), 0.0);
        assert_eq!(Telling::of("to be or not to be", "en", &counts()).len(), 4);
    }

    #[test]
    fn questions_are_told_from_claims() {
        for question in
            ["How many disks has it", "In which year was it built", "Wie alt ist er", "it runs?", "¿Cuándo?"]
        {
            assert!(is_question(question), "{question}");
        }
        for claim in ["Zinc inhibits copper uptake.", "Der Server steht im Keller", ""] {
            assert!(!is_question(claim), "{claim}");
        }
    }

    #[test]
    fn names_of_code_are_told_from_words() {
        for code in [
            "what does own_asks do",
            "where is Snapshot::open?",
            "who calls drop_worse()?",
            "what is in lib.rs?",
            "is totalTokens set",
            "what is `run`?",
        ] {
            assert!(speaks_code(code), "{code}");
        }
        for plain in [
            "How do I revoke a key?",
            "What is a NAS, e.g. here?",
            "Does version 1.2.3 run?",
            "What does local-preferred do?",
        ] {
            assert!(!speaks_code(plain), "{plain}");
        }
    }

    #[test]
    fn runs_go_over_the_ends_of_words() {
        let found = runs("The points of it, at 7", "en");
        let expected = ["_poi", "poin", "oint", "ints", "nts_", "_7_"];
        assert_eq!(found, expected.into_iter().map(str::to_owned).collect());
    }
}
