//! The words of documents: as points where there are no vectors, and as labels of groups. A word labels a group that is
//! frequent in it and rare in the others; it is shown as it is mostly written there.

use std::collections::{BTreeMap, HashMap};

use super::means::Point;
use super::{Member, TEXT_BYTES};
use crate::text::{Terms, is_stop_word, whole_words};

/// Words of a label.
const LABEL_WORDS: usize = 4;

/// Which document says what, how often.
pub(super) struct Vocabulary {
    /// How each term is written, and how often so.
    forms: Vec<BTreeMap<String, u32>>,
    /// Documents that have each term.
    holders: Vec<u32>,
    /// Terms of each document with their weights, by term.
    documents: Vec<Vec<(u32, f32)>>,
}

impl Vocabulary {
    pub fn of(members: &[Member]) -> Self {
        let mut all = Self { forms: Vec::new(), holders: Vec::new(), documents: Vec::new() };
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut terms: BTreeMap<&str, Terms> = BTreeMap::new();
        for member in members {
            let end = member.text.floor_char_boundary(TEXT_BYTES);
            let stems = terms.entry(member.language).or_insert_with(|| Terms::new(member.language));
            let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
            for text in [member.title, member.text.get(..end).unwrap_or_default()] {
                for (_, word) in whole_words(text).filter(|(_, word)| is_telling(word, member.language)) {
                    let next = all.forms.len() as u32;
                    let number = *numbers.entry(stems.stem(&word).to_owned()).or_insert(next);
                    if number == next {
                        all.forms.push(BTreeMap::new());
                        all.holders.push(0);
                    }
                    if let Some(forms) = all.forms.get_mut(number as usize) {
                        *forms.entry(word.into_owned()).or_insert(0) += 1;
                    }
                    *counts.entry(number).or_insert(0) += 1;
                }
            }
            for number in counts.keys() {
                if let Some(holders) = all.holders.get_mut(*number as usize) {
                    *holders += 1;
                }
            }
            let weight = |(number, count): (u32, u32)| (number, 1.0 + (count as f32).ln());
            all.documents.push(counts.into_iter().map(weight).collect());
        }
        all
    }

    /// Documents as points; what only one document says brings no two together, and is left out.
    pub fn points(&self) -> Vec<Point<'static>> {
        // Numbered anew: a middle of points has room for the highest number.
        let shared = (0..self.holders.len() as u32).filter(|number| self.held_by(*number) > 1.0);
        let places: HashMap<u32, u32> = shared.zip(0..).collect();
        let of = |document: &Vec<(u32, f32)>| {
            let place = |(number, weight): &(u32, f32)| Some((*places.get(number)?, weight * self.rarity(*number)));
            Point::sparse(document.iter().filter_map(place).collect())
        };
        self.documents.iter().map(of).collect()
    }

    /// A label for each group; empty where its documents have no words.
    pub fn labels(&self, groups: &[usize], count: usize) -> Vec<String> {
        let mut within: Vec<BTreeMap<u32, (f32, u32)>> = vec![BTreeMap::new(); count];
        let mut sizes = vec![0u32; count];
        for (document, group) in self.documents.iter().zip(groups) {
            let (Some(terms), Some(size)) = (within.get_mut(*group), sizes.get_mut(*group)) else { continue };
            *size += 1;
            for (number, weight) in document {
                let (sum, holders) = terms.entry(*number).or_insert((0.0, 0));
                *sum += weight;
                *holders += 1;
            }
        }
        within.iter().zip(sizes).map(|(terms, size)| self.label(terms, size)).collect()
    }

    fn label(&self, terms: &BTreeMap<u32, (f32, u32)>, size: u32) -> String {
        // What a single document of many says is no label for all of them.
        let shared = terms.iter().filter(|(_, (_, holders))| *holders > 1 || size < 3);
        let mut best: Vec<(f32, &str)> = shared
            .map(|(number, (sum, holders))| {
                let own = *holders as f32 / self.held_by(*number);
                (sum * self.rarity(*number) * own, self.form(*number))
            })
            .collect();
        best.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let mut words: Vec<&str> = Vec::new();
        for (_, word) in best {
            // `tokio::spawn` says `spawn` already.
            if !words.iter().any(|other| other.contains(word) || word.contains(other)) {
                words.push(word);
            }
            if words.len() == LABEL_WORDS {
                break;
            }
        }
        words.join(", ")
    }

    fn held_by(&self, number: u32) -> f32 {
        self.holders.get(number as usize).map_or(1.0, |holders| *holders as f32)
    }

    fn rarity(&self, number: u32) -> f32 {
        (1.0 + self.documents.len() as f32 / self.held_by(number)).ln()
    }

    /// As it is mostly written.
    fn form(&self, number: u32) -> &str {
        let forms = self.forms.get(number as usize).into_iter().flatten();
        // The first of equal ones, in the order of the alphabet.
        let best = forms.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map_or("", |(form, _)| form)
    }
}

/// Whether a word can say what a text is about.
fn is_telling(word: &str, language: &str) -> bool {
    let is_stop = is_stop_word(word, language) || language.is_empty() && is_stop_word(word, "en");
    !is_stop && word.chars().nth(1).is_some() && !word.chars().all(|c| c.is_numeric() || c == '.')
}
