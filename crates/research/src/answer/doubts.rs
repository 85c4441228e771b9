//! Doubts that the fit of the confidence does not know. It was fitted on questions of many words, each with its answer or
//! without: two words that stand together somewhere are no answer yet, and neither is a sentence without a number where one
//! asks how many.

use super::asked::Telling;
use super::confidence::{NOT_FOUND_BELOW, lowered};
use super::extractive::Scored;
use super::{Confidence, Evidence, numbers};
use crate::text::words;

/// What is left of the confidence with one word to go by, and with two.
const KEPT_WITH_FEW: [f32; 2] = [0.35, 0.5];
/// What is left where the kind of thing that was asked for stands nowhere.
const KEPT_WITHOUT_KIND: f32 = 0.5;

/// What a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Time,
}

/// A word with the one before it, as questions for a number have them; empty: whatever is before it.
const NUMBER: [(&str, &str); 30] = [
    ("how", "many"),
    ("how", "much"),
    ("how", "old"),
    ("how", "long"),
    ("how", "often"),
    ("how", "far"),
    ("how", "large"),
    ("how", "big"),
    ("how", "high"),
    ("how", "heavy"),
    ("how", "fast"),
    ("wie", "viel"),
    ("wie", "viele"),
    ("wie", "alt"),
    ("wie", "lange"),
    ("wie", "oft"),
    ("wie", "weit"),
    ("wie", "groß"),
    ("wie", "hoch"),
    ("wie", "schwer"),
    ("wie", "schnell"),
    ("", "wieviel"),
    ("", "wieviele"),
    ("", "combien"),
    ("", "cuánto"),
    ("", "cuánta"),
    ("", "cuántos"),
    ("", "cuántas"),
    ("what", "percentage"),
    ("what", "share"),
];
/// The same for a time.
const TIME: [(&str, &str); 9] = [
    ("", "when"),
    ("", "wann"),
    ("", "quand"),
    ("", "cuándo"),
    ("what", "year"),
    ("which", "year"),
    ("what", "date"),
    ("what", "day"),
    ("what", "month"),
];
/// Words that count without being a number.
const COUNTS: [&str; 19] = [
    "one", "once", "twice", "none", "no", "single", "both", "half", "each", "every", "all", "ein", "eine", "kein",
    "keine", "un", "une", "uno", "una",
];
/// Words that tell a time without a number.
const TIMES: [&str; 46] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "day",
    "daily",
    "night",
    "morning",
    "noon",
    "evening",
    "week",
    "weekly",
    "month",
    "monthly",
    "year",
    "yearly",
    "hour",
    "hourly",
    "minute",
    "before",
    "after",
    "until",
    "while",
    "when",
    "once",
    "then",
    "always",
    "never",
    "today",
    "tomorrow",
    "during",
];

/// The confidence with what speaks against it; `cited` are the sentences that it was computed from.
pub fn doubted(question: &str, cited: &[Scored], evidence: &Evidence, confidence: Confidence) -> Confidence {
    let Some(best) = cited.first().and_then(|best| evidence.passages.get(best.passage)) else { return confidence };
    let kind = kind(question);
    let mut texts = cited.iter().filter_map(|one| Some(evidence.passages.get(one.passage)?.of(&one.range)));
    let is_there = kind.is_some_and(|kind| texts.any(|text| has(kind, text, question)));
    let found = Telling::of(question, &best.language, &evidence.counts).len() + usize::from(is_there);
    let mut doubted = confidence;
    if let Some(kept) = found.checked_sub(1).and_then(|at| KEPT_WITH_FEW.get(at)) {
        doubted = doubt(doubted, "words to go by", found as f32, *kept);
    }
    match kind {
        Some(Kind::Number) if !is_there => doubt(doubted, "numbers, which were asked for", 0.0, KEPT_WITHOUT_KIND),
        Some(Kind::Time) if !is_there => doubt(doubted, "times, which were asked for", 0.0, KEPT_WITHOUT_KIND),
        _ => doubted,
    }
}

/// Whoever doubts is unsure, and does not know that there is nothing.
fn doubt(confidence: Confidence, name: &str, measured: f32, kept: f32) -> Confidence {
    let least = (1.01 * NOT_FOUND_BELOW).min(confidence.value);
    let kept = if confidence.value * kept < least { least / confidence.value } else { kept };
    lowered(confidence, name, measured, kept)
}

fn kind(question: &str) -> Option<Kind> {
    let all: Vec<_> = words(question).map(|(_, word)| word).collect();
    let is_said = |pairs: &[(&str, &str)]| {
        pairs.iter().any(|(before, word)| match before.is_empty() {
            true => all.iter().any(|one| one == word),
            false => all.windows(2).any(|pair| matches!(pair, [one, other] if one == before && other == word)),
        })
    };
    if is_said(&NUMBER) {
        return Some(Kind::Number);
    }
    is_said(&TIME).then_some(Kind::Time)
}

/// Whether a text has a thing of that kind which the question does not have itself.
fn has(kind: Kind, text: &str, question: &str) -> bool {
    let asked = numbers::numbers(question);
    if numbers::numbers(text).iter().any(|number| !asked.contains(number)) {
        return true;
    }
    let others: &[&str] = match kind {
        Kind::Number => &COUNTS,
        Kind::Time => &TIMES,
    };
    words(text).any(|(_, word)| others.contains(&word.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::evidence::tests::{evidence, passage};

    fn kept(question: &str, text: &str) -> f32 {
        let evidence = evidence(vec![passage("a", text, 1.0)]);
        let range = 0..text.len();
        let cited = Scored { passage: 0, place: 0, range, score: 0.0, runs: 1.0, passage_share: 1.0, cosine: None };
        let before = Confidence { value: 0.9, because: Vec::new() };
        doubted(question, &[cited], &evidence, before).value / 0.9
    }

    #[test]
    fn two_words_that_stand_together_are_no_answer_yet() {
        assert!(kept("What is a run?", "One run of an engine ends there.") < 0.4);
        assert!(kept("Which licence has sled?", "The licence file beside sled is read.") < 0.51);
        assert!((kept("Which licence has the sled database?", "The sled database has a licence.") - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_was_asked_for_is_one_more_word() {
        assert!((kept("How many disks has the NAS?", "The NAS has four disks.") - 1.0).abs() < 1e-6);
        assert!((kept("When was the pump replaced?", "The pump was replaced in 2019.") - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_doubt_alone_finds_nothing_missing() {
        let least = Confidence { value: NOT_FOUND_BELOW * 1.5, because: Vec::new() };
        let doubted = doubt(least, "words to go by", 1.0, 0.35);
        assert!((NOT_FOUND_BELOW..NOT_FOUND_BELOW * 1.02).contains(&doubted.value), "{doubted:?}");
        assert_eq!(doubt(Confidence::default(), "words to go by", 1.0, 0.35).value, 0.0);
    }

    #[test]
    fn no_number_is_no_answer_to_how_many() {
        assert!(kept("How many disks has the large NAS?", "The large NAS has disks that sleep.") < 0.51);
        assert!(kept("When was tmctl released?", "tmctl is released with the daemon.") < 0.3);
        assert!(kept("In what year was the old pump built?", "The old pump is built of steel.") < 0.51);
    }
}
