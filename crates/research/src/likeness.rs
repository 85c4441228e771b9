//! Documents that say the same: the share of equal runs of words decides, and the least hashes of runs find whom to compare
//! with. Numbers and negations must all be equal, since one of them can turn a text into another: `1.2` is not `1.3`. A word
//! that the other lacks must stay findable, so a text that has one stands for itself.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::text::{denies, whole_words};

/// So many words make a run.
const RUN: usize = 3;
/// Two texts with at least this share of equal runs say the same.
const SAME: f64 = 0.9;
/// Of the runs so many are kept, those with the least hashes: they tell the share within about 0.01.
const MOST_RUNS: usize = 1024;
/// Of the words so many are kept, in the same way: more than most texts have.
const MOST_WORDS: usize = 4096;
/// A text is found by so many of its least hashes. Of two texts that share 0.9 of their runs, hardly a pair in 1,000 shares none
/// of four; bands of a simhash, which differs in 6 of its 64 bits then, would miss every second pair.
const KEYS: usize = 4;
/// So many texts are compared with at most; more that share a run have a common letterhead or licence.
const MOST_COMPARED: usize = 1000;
/// What denies only with another word, mostly.
const HALF_DENIALS: [&str; 2] = ["ne", "ni"];

/// What a text is compared by. Case, blanks and most punctuation are no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hashes of the runs of words, sorted; of a long text the least ones.
    runs: Vec<u64>,
    /// Hashes of the words, sorted; of a text with very many the least ones.
    words: Vec<u32>,
    /// Of all numbers, with the word behind each, and all negations, in order.
    exact: u64,
}

/// The fingerprint of a text.
pub fn fingerprint(text: &str) -> Fingerprint {
    let mut hashes = Vec::new();
    let mut exact = 0;
    let mut is_behind_number = false;
    for (range, word) in whole_words(text) {
        let hash = xxh3_64(word.as_bytes());
        let is_number = word.bytes().any(|byte| byte.is_ascii_digit());
        if is_number {
            exact = mixed(exact, mixed(hash, signs(text, &range)));
        } else if is_behind_number || denies(&word) || HALF_DENIALS.contains(&&*word) {
            exact = mixed(exact, hash);
        }
        is_behind_number = is_number;
        hashes.push(hash);
    }
    let mut words: Vec<u32> = hashes.iter().map(|hash| *hash as u32).collect();
    words.sort_unstable();
    words.dedup();
    words.truncate(MOST_WORDS);
    words.shrink_to_fit();
    let mut runs: Vec<u64> = match hashes.len() {
        0 => Vec::new(),
        short if short < RUN => vec![hashes.into_iter().fold(0, mixed)],
        _ => hashes.windows(RUN).map(|run| run.iter().copied().fold(0, mixed)).collect(),
    };
    runs.sort_unstable();
    runs.dedup();
    runs.truncate(MOST_RUNS);
    Fingerprint { runs, words, exact }
}

impl Fingerprint {
    /// The share of equal runs, from 0 to 1; an estimate where a text is long. `None`: it is below `least`, which most pairs
    /// show in their first few runs.
    fn likeness(&self, other: &Self, least: f64) -> Option<f64> {
        let is_part = self.runs.len().max(other.runs.len()) == MOST_RUNS;
        // The least hashes of both together are a fair sample of both; further on, one of them may be cut.
        let limit = if is_part { MOST_RUNS } else { self.runs.len() + other.runs.len() };
        let most_unequal = (1.0 - least) * limit as f64;
        let (mut ours, mut theirs) = (self.runs.iter().peekable(), other.runs.iter().peekable());
        let (mut all, mut equal) = (0usize, 0usize);
        while let (Some(our), Some(their), true) = (ours.peek(), theirs.peek(), all < limit) {
            let order = our.cmp(their);
            equal += usize::from(order.is_eq());
            all += 1;
            if (all - equal) as f64 > most_unequal {
                return None;
            }
            if order.is_le() {
                ours.next();
            }
            if order.is_ge() {
                theirs.next();
            }
        }
        all = (all + ours.len() + theirs.len()).min(limit);
        let likeness = if all == 0 { 0.0 } else { equal as f64 / all as f64 };
        (likeness >= least).then_some(likeness)
    }

    /// The share of equal runs with `other`, where it says the same and has no word that `other` lacks. A text without words
    /// says nothing.
    pub fn adds_nothing_to(&self, other: &Self) -> Option<f64> {
        let likeness = (self.exact == other.exact).then(|| self.likeness(other, SAME)).flatten()?;
        self.has_no_other_word(other).then_some(likeness)
    }

    fn has_no_other_word(&self, other: &Self) -> bool {
        // Of a text with very many words those with higher hashes are not kept.
        let limit = other.words.get(MOST_WORDS - 1).copied().unwrap_or(u32::MAX);
        self.words.iter().take_while(|word| **word <= limit).all(|word| other.words.binary_search(word).is_ok())
    }

    fn keys(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().copied().take(KEYS)
    }
}

/// Fingerprints under names, so that the like of a text is found without comparing it with all.
#[derive(Clone, Debug)]
pub struct Alike<K> {
    all: BTreeMap<K, Fingerprint>,
    /// Names by key, with the exact part, which most that share a key do not share.
    by_key: HashMap<(u64, u64), Vec<K>>,
}

impl<K> Default for Alike<K> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), by_key: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash> Alike<K> {
    /// Puts a fingerprint under a name, in place of an earlier one.
    pub fn insert(&mut self, name: K, fingerprint: Fingerprint) {
        self.remove(name);
        for key in fingerprint.keys() {
            self.by_key.entry((key, fingerprint.exact)).or_default().push(name);
        }
        self.all.insert(name, fingerprint);
    }

    /// Takes a name out.
    pub fn remove(&mut self, name: K) {
        let Some(fingerprint) = self.all.remove(&name) else { return };
        for key in fingerprint.keys().map(|key| (key, fingerprint.exact)) {
            if let Some(names) = self.by_key.get_mut(&key) {
                names.retain(|other| *other != name);
                if names.is_empty() {
                    self.by_key.remove(&key);
                }
            }
        }
    }

    /// To which one a text adds nothing, with the share of equal runs; of several the likest, then the least name.
    pub fn same_as(&self, fingerprint: &Fingerprint) -> Option<(K, f64)> {
        let mut lists: Vec<&Vec<K>> =
            fingerprint.keys().filter_map(|key| self.by_key.get(&(key, fingerprint.exact))).collect();
        lists.sort_by_key(|names| names.len());
        let mut names: Vec<K> = lists.into_iter().flatten().copied().take(MOST_COMPARED).collect();
        names.sort_unstable();
        names.dedup();
        let same = names.into_iter().filter_map(|name| Some((name, self.all.get(&name)?)));
        same.filter_map(|(name, other)| Some((name, fingerprint.adds_nothing_to(other)?)))
            .reduce(|best, next| if next.1 > best.1 { next } else { best })
    }
}

/// What stands right before and behind a number and changes what it says.
fn signs(text: &str, range: &Range<usize>) -> u64 {
    let before = text.get(..range.start).and_then(|before| before.trim_end().chars().next_back());
    let behind = text.get(range.end..).and_then(|behind| behind.trim_start().chars().next());
    let says = |c: &char| {
        matches!(c, '-' | '−' | '+' | '<' | '>' | '≤' | '≥' | '±' | '~' | '%' | '‰' | '°' | '€' | '$' | '£' | '¥')
    };
    let sign = |c: Option<char>| c.filter(says).map_or(0, |c| u64::from(u32::from(c)));
    sign(before) << 32 | sign(behind)
}

/// Both hashes in order, spread over all bits.
fn mixed(first: u64, second: u64) -> u64 {
    xxh3_64((u128::from(second) << 64 | u128::from(first)).to_le_bytes().as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "The storage in the cellar runs version 1.2 and costs 300 euro. It is backed up every night at three, \
        and copies lie on two different disks. When a device fails, nothing is lost, since the other one has all of it. \
        The lights should be green. A spare part is ordered from the dealer, who needs several weeks to deliver it here. \
        Whoever finds the fan loud opens a ticket, and somebody will look at it within a day or so, mostly in the morning.";

    fn is_same(one: &str, other: &str) -> bool {
        fingerprint(other).adds_nothing_to(&fingerprint(one)).is_some()
    }

    #[test]
    fn a_text_in_other_clothes_says_the_same() {
        let other = TEXT.to_uppercase().replace(". ", " --\n\n").replace(',', " ,");
        assert!(is_same(TEXT, &other));
        assert!(is_same(TEXT, &TEXT.replace("spare part", "spare device")));
        assert!(!is_same(TEXT, &TEXT[..TEXT.len() / 2]));
        assert!(!is_same("", "") && !is_same(TEXT, "") && is_same("Hello", "hello!"));
    }

    #[test]
    fn a_word_that_the_other_lacks_stays_findable() {
        let stove = TEXT.replace("spare part", "spare thing");
        assert!(fingerprint(TEXT).likeness(&fingerprint(&stove), SAME).is_some());
        assert!(!is_same(TEXT, &stove));
        let lamps = |what: &str| {
            let houses = ["red", "blue", "green", "white", "old"];
            houses.map(|house| format!("The lamp of the {house} house hangs beside the {what}.")).join(" ")
        };
        assert!(!is_same(&lamps("oven"), &lamps("stove")));
        // Many words, of which not all are kept.
        let many = (0..2 * MOST_WORDS as u16).map(spelled).collect::<String>();
        assert!(is_same(&many, &format!("{many} b")) && !is_same(&many, &format!("{many} {TEXT}")));
    }

    #[test]
    fn a_number_a_sign_or_a_negation_makes_another_text() {
        let long = format!("{TEXT} ").repeat(3);
        for (from, to) in [
            ("1.2", "1.3"),
            ("300", "3000"),
            ("300 euro", "300 dollar"),
            ("version 1.2", "version -1.2"),
            ("should be", "should not be"),
            ("should be", "shouldn't be"),
            ("nothing is lost", "nothing is not lost"),
            ("nothing is lost", "something is lost"),
        ] {
            for text in [TEXT, &long] {
                let other = text.replacen(from, to, 1);
                assert!(other != text && !is_same(text, &other), "{to}");
            }
        }
    }

    #[test]
    fn among_many_the_like_are_found() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut text = |words: usize| (0..words).map(|_| spelled(random.u16(..2000))).collect::<String>();
        let texts: Vec<String> = (0..600).map(|at| text(60 + at)).collect();
        let mut alike = Alike::default();
        texts.iter().enumerate().for_each(|(name, text)| alike.insert(name, fingerprint(text)));
        for (name, text) in texts.iter().enumerate() {
            let other = format!("{text} {}", text.split(' ').next().unwrap());
            assert_eq!(alike.same_as(&fingerprint(&other)).map(|(found, _)| found), Some(name));
        }
        alike.remove(7);
        assert_eq!(alike.same_as(&fingerprint(&texts[7])), None);
        alike.insert(8, fingerprint(&texts[7]));
        assert_eq!(alike.same_as(&fingerprint(&texts[7])), Some((8, 1.0)));
        assert_eq!(alike.same_as(&fingerprint(&texts[8])), None);
    }

    /// A number in letters only, since digits must be equal.
    fn spelled(number: u16) -> String {
        number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>() + " "
    }

    #[test]
    fn long_texts_are_estimated_well() {
        let mut random = fastrand::Rng::with_seed(4);
        let text: String = (0..20_000).map(|_| spelled(random.u16(..))).collect();
        for share in [0.5, 0.9, 0.99] {
            let cut = (text.len() as f64 * share) as usize;
            let likeness = fingerprint(&text).likeness(&fingerprint(&text[..cut]), 0.0).unwrap();
            assert!((likeness - share).abs() < 0.04, "{likeness} for {share}");
        }
    }
}
