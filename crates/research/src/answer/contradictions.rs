//! Sources that do not say the same: sentences of two documents about the same matter with another number beside the same
//! word, or of which one denies what the other says. It rather misses some than shows one that is none.

use std::collections::HashSet;

use super::asked::{Counts, Telling};
use super::evidence::Passage;
use super::numbers::{Counted, counted};
use super::support::Place;
use super::{negations, numbers};
use crate::text::Terms;

/// Two sentences are about the same when each has this share of the weight of the other's words, numbers apart.
const SAME_MATTER: f32 = 0.7;
/// Where one of them denies, more of it.
const SAME_DENIED: f32 = 0.8;
/// Fewer words are about nothing in particular.
const LEAST_WORDS: usize = 2;

/// A pair of places that disagree, and what about.
#[derive(Clone, Debug, PartialEq)]
pub struct Clash {
    /// The first place, among those that were given.
    pub one: usize,
    /// The second one.
    pub other: usize,
    /// What they differ in, in words, with the newer one named.
    pub about: String,
}

/// Every pair of the places that disagrees.
pub fn find(places: &[Place], passages: &[Passage], counts: &Counts) -> Vec<Clash> {
    let said: Vec<Option<Said>> =
        places.iter().map(|(at, range)| Some(Said::read(passages.get(*at)?, range, counts))).collect();
    let mut clashes = Vec::new();
    for (at, one) in said.iter().enumerate() {
        for (other_at, other) in said.iter().enumerate().skip(at + 1) {
            if let (Some(one), Some(other)) = (one, other)
                && let Some(difference) = one.clash(other)
            {
                clashes.push(Clash { one: at, other: other_at, about: format!("{difference}; {}", newer(one, other)) });
            }
        }
    }
    clashes
}

struct Said<'a> {
    passage: &'a Passage,
    /// Its telling words without numbers.
    telling: Telling,
    stems: HashSet<String>,
    numbers: Vec<Counted>,
    denied: std::collections::HashMap<String, usize>,
}

impl<'a> Said<'a> {
    fn read(passage: &'a Passage, range: &std::ops::Range<usize>, counts: &Counts) -> Self {
        let text = passage.of(range);
        let mut terms = Terms::new(&passage.language);
        let telling = Telling::of(&numbers::without(text), &passage.language, counts);
        Self {
            passage,
            stems: telling.stems().map(str::to_owned).collect(),
            telling,
            numbers: counted(text, &passage.language, &mut terms),
            denied: negations::stems(text, &passage.language, &mut terms),
        }
    }

    /// What they differ in.
    fn clash(&self, other: &Self) -> Option<String> {
        let is_other = self.passage.span.document != other.passage.span.document;
        if !is_other || self.passage.language != other.passage.language {
            return None;
        }
        if self.telling.len() < LEAST_WORDS || other.telling.len() < LEAST_WORDS {
            return None;
        }
        let alike = self.telling.within(&other.stems).min(other.telling.within(&self.stems));
        if alike >= SAME_MATTER
            && let Some(difference) = self.other_number(other)
        {
            return Some(difference);
        }
        if alike < SAME_DENIED || !self.has_numbers_of(other) {
            return None;
        }
        negations::first_clash(&self.denied, &other.denied).map(|stem| format!("only one of them denies `{stem}`"))
    }

    /// Numbers that count the same and differ; not where each has what the other has somewhere else.
    fn other_number(&self, other: &Self) -> Option<String> {
        for one in &self.numbers {
            for there in &other.numbers {
                let same_unit = !one.behind.is_empty() && one.behind == there.behind;
                let same_name = !one.before.is_empty() && one.before == there.before;
                let no_unit = one.behind.is_empty() || there.behind.is_empty();
                let counts_same = same_unit && (same_name || self.numbers.len() == 1) || same_name && no_unit;
                if counts_same && one.number != there.number && !self.says(&there.number) && !other.says(&one.number) {
                    let what = if same_unit || one.behind.is_empty() { &one.what } else { &there.what };
                    return Some(format!("`{what}`: {} here, {} there", one.number, there.number));
                }
            }
        }
        None
    }

    fn says(&self, number: &str) -> bool {
        self.numbers.iter().any(|one| one.number == number)
    }

    fn has_numbers_of(&self, other: &Self) -> bool {
        self.numbers.iter().all(|one| other.says(&one.number)) && other.numbers.iter().all(|one| self.says(&one.number))
    }
}

fn newer(one: &Said<'_>, other: &Said<'_>) -> String {
    match one.passage.dated_ms.cmp(&other.passage.dated_ms) {
        std::cmp::Ordering::Equal => "both are as old".to_owned(),
        order => {
            let newer = if order.is_gt() { one.passage } else { other.passage };
            // When a text came says little of when it was written.
            let word = if one.passage.is_dated && other.passage.is_dated { "is the newer one" } else { "came later" };
            format!("`{}` {word}", newer.name())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::evidence::tests::passage;
    use std::sync::Arc;

    fn about(one: &str, other: &str) -> Option<String> {
        let mut passages = vec![passage("old", one, 1.0), passage("new", other, 1.0)];
        passages[1].dated_ms = 5;
        let places = [(0, 0..one.len()), (1, 0..other.len())];
        let counts: Counts = Arc::new(|_| (3, 1_000));
        find(&places, &passages, &counts).into_iter().next().map(|clash| clash.about)
    }

    #[test]
    fn sources_that_disagree_are_found() {
        for (one, other, expected) in [
            ("The NAS has four bays.", "The NAS has six bays.", "`bays`: 4 here, 6 there; `new` is the newer one"),
            (
                "The gateway listens on port 3001.",
                "The gateway listens on port 8080.",
                "`port`: 3001 here, 8080 there; `new` is the newer one",
            ),
            (
                "The cluster runs Postgres version 16.2 today.",
                "Today the cluster runs Postgres version 17.0.",
                "`version`: 16.2 here, 17.0 there; `new` is the newer one",
            ),
            (
                "The backup server sleeps at night.",
                "The backup server does not sleep at night.",
                "only one of them denies `sleep`; `new` is the newer one",
            ),
        ] {
            assert_eq!(about(one, other).as_deref(), Some(expected), "{one} / {other}");
        }
    }

    #[test]
    fn sources_that_differ_in_their_matter_are_not() {
        for (one, other) in [
            ("The NAS has four bays.", "The router has six ports."),
            ("The NAS has four bays.", "The NAS in the cellar beside the boiler has six bays and a tape drive."),
            ("In 2019 the club had 40 members.", "In 2021 the club had 40 members and 3 teams."),
            ("The pump moves 300 litres per hour.", "The pump weighs 12 kilograms."),
            ("The NAS has four bays.", "The NAS has 4 bays."),
            ("The server sleeps at night.", "The server sleeps at night, the router does not."),
            ("Yes, 4.", "No, 5."),
        ] {
            assert_eq!(about(one, other), None, "{one} / {other}");
        }
    }

    #[test]
    fn a_document_does_not_contradict_itself() {
        let text = "The NAS has four bays. The NAS has six bays.";
        let one = passage("same", text, 1.0);
        let places: Vec<Place> = one.statements.iter().map(|range| (0, range.clone())).collect();
        let counts: Counts = Arc::new(|_| (3, 1_000));
        assert_eq!(find(&places, &[one], &counts), []);
    }
}
