//! Answers without a model: the sentences that say the most of what was asked, word for word.
//!
//! Each sentence gets a score, which is about the logarithm of its odds to be the answer; what it is made of was fitted
//! on half of the questions of a reading collection, with the vectors of all-MiniLM-L6-v2. Another embedder's cosines lie
//! in another range, so for those, and without vectors, the other fit counts, which looks at words alone.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use extract::one_line;

use super::asked::{Counts, Telling, is_question, runs};
use super::compose::Cited;
use super::evidence::{Evidence, Passage};
use super::{Sentence, Support};
use crate::text::Terms;

/// The most sentences, where nobody said how many.
pub const USUAL_SENTENCES: u32 = 3;
/// Only the sentences of so many of the best passages are looked at.
pub const LOOKED_AT: usize = 4;
/// A sentence is taken while it is no further behind the best one: for a question, …
const QUESTION_GAP: f32 = 2.5;
/// … for a claim, …
const CLAIM_GAP: f32 = 1.0;
/// … and for the confidence, which was fitted so.
const CONFIDENCE_GAP: f32 = 1.5;
/// A passage for an open part says at least this share of it, and so many of its words.
const OPEN_SHARE: f32 = 0.35;
const OPEN_WORDS: usize = 2;
/// A sentence about another part of the question says at least this share of it that the chosen ones do not, and so many words.
const LEFT_SHARE: f32 = 0.25;
const LEFT_WORDS: usize = 2;

/// What a sentence has of the question.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Its passage, among those of the evidence.
    pub passage: usize,
    /// Its place among the statements of its passage.
    pub place: usize,
    /// Bytes of its passage.
    pub range: Range<usize>,
    /// All of it, in log-odds.
    pub score: f32,
    /// The share of the question's runs of letters that it has.
    pub runs: f32,
    /// The share of the question's weight that its passage has.
    pub passage_share: f32,
    /// Its cosine with the question, where that counts.
    pub cosine: Option<f32>,
}

/// The sentences of the first round's best passages, best first.
pub fn rank(question: &str, evidence: &Evidence) -> Vec<Scored> {
    let first = evidence.passages.get(..evidence.first_round.min(LOOKED_AT)).unwrap_or(&evidence.passages);
    // The two fits cannot be compared: one passage without a vector, such as a new one, and words decide about all.
    let has_vectors = evidence.nearness.len() >= first.len() && first.iter().all(|passage| passage.cosine.is_some());
    let nearness = if has_vectors { evidence.nearness.as_slice() } else { &[] };
    let of_passage = |(at, passage)| {
        let cosines = nearness.get(at).map(Vec::as_slice).unwrap_or_default();
        of_passage(question, (at, passage), cosines, &evidence.counts)
    };
    let mut all: Vec<Scored> = first.iter().enumerate().flat_map(of_passage).collect();
    sort(&mut all);
    all
}

/// The sentences to cite: as many as are near the best one, at most `most`; those for open parts, or for what those near the
/// best one leave out, before the last of them.
/// Sentences of one passage stand together, in its order.
pub fn choose(question: &str, ranked: &[Scored], evidence: &Evidence, most: usize) -> Vec<Scored> {
    let gap = if is_question(question) { QUESTION_GAP } else { CLAIM_GAP };
    let mut said = HashSet::new();
    // Two documents that say it in the same words say it once.
    let is_first = |one: &&Scored| {
        let text = evidence.passages.get(one.passage).map(|passage| one_line(passage.of(&one.range)));
        said.insert(text)
    };
    let different: Vec<Scored> = ranked.iter().filter(is_first).cloned().collect();
    let mut chosen = within(&different, gap, most);
    let open = open_sentences(evidence, &chosen, most.saturating_sub(1));
    chosen.truncate(most.saturating_sub(open.len()));
    // A claim is one thing, which more sentences only blur.
    if open.is_empty()
        && most > 1
        && is_question(question)
        && let Some(other) = for_what_is_left(question, &chosen, &different, evidence)
    {
        chosen.truncate(most - 1);
        chosen.push(other);
    }
    chosen.extend(open);
    in_reading_order(chosen)
}

/// The sentences that the confidence is computed from. What others say of open parts counts for the best one: together
/// they are the answer.
pub fn for_confidence(ranked: &[Scored], evidence: &Evidence) -> Vec<Scored> {
    let mut all = within(ranked, CONFIDENCE_GAP, USUAL_SENTENCES as usize);
    let open = open_sentences(evidence, &all, USUAL_SENTENCES as usize - 1);
    if let Some(best) = all.first_mut() {
        for one in &open {
            best.passage_share += (1.0 - best.passage_share) * one.passage_share;
            best.runs += (1.0 - best.runs) * one.runs;
        }
    }
    all
}

/// The best ones as sentences of an answer, each citing itself, with the citations' passages in order.
pub fn sentences(chosen: &[Scored], evidence: &Evidence) -> Vec<Cited> {
    let sentence = |one: &Scored| {
        let passage = evidence.passages.get(one.passage)?;
        let text = one_line(passage.of(&one.range));
        let sentence = Sentence { text, cites: Vec::new(), support: Support::Quoted };
        Some((sentence, vec![(one.passage, one.range.clone())]))
    };
    chosen.iter().filter_map(sentence).collect()
}

fn within(ranked: &[Scored], gap: f32, most: usize) -> Vec<Scored> {
    let Some(best) = ranked.first() else { return Vec::new() };
    ranked.iter().take(most).take_while(|one| one.score >= best.score - gap).cloned().collect()
}

fn sort(all: &mut [Scored]) {
    let place = |one: &Scored| (one.passage, one.place);
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| place(a).cmp(&place(b))));
}

/// What stands in each statement.
struct Statement {
    stems: HashSet<String>,
    telling: usize,
    runs: f32,
}

fn of_passage(question: &str, (at, passage): (usize, &Passage), cosines: &[f32], counts: &Counts) -> Vec<Scored> {
    let mut terms = Terms::new(&passage.language);
    let asked = Telling::of(question, &passage.language, counts);
    let asked_runs = runs(question, &passage.language);
    let headings: HashSet<String> = asked.stems_in(&passage.headings, &mut terms).into_iter().collect();
    let read = |range: &Range<usize>| {
        let text = passage.of(range);
        let stems = asked.stems_in(text, &mut terms);
        let of_runs = runs(text, &passage.language);
        let found = asked_runs.intersection(&of_runs).count();
        Statement { telling: stems.len(), stems: stems.into_iter().collect(), runs: ratio(found, asked_runs.len()) }
    };
    let read: Vec<Statement> = passage.statements.iter().map(read).collect();
    let in_passage = |stem: &str| headings.contains(stem) || read.iter().any(|one| one.stems.contains(stem));
    let passage_share = asked.share(|stem| f32::from(u8::from(in_passage(stem))));
    let mut all = Vec::with_capacity(read.len());
    for (place, (statement, range)) in read.iter().zip(&passage.statements).enumerate() {
        let beside = |stem: &str| {
            let near = [place.checked_sub(1), Some(place + 1)].into_iter().flatten();
            headings.contains(stem) || near.filter_map(|at| read.get(at)).any(|one| one.stems.contains(stem))
        };
        let cosine = cosines.get(place).copied();
        let words = asked.within(&statement.stems);
        let around = asked.share(|stem| match (statement.stems.contains(stem), beside(stem)) {
            (true, _) => 1.0,
            (false, true) => 0.5,
            _ => 0.0,
        });
        let features = Features {
            fit: passage.fit,
            words,
            around: around - words,
            runs: statement.runs,
            length: (1.0 + statement.telling as f32).ln() / 4.0,
            passage_share,
            vectors: cosine.zip(passage.cosine),
        };
        let (score, runs) = (features.score(), statement.runs);
        all.push(Scored { passage: at, place, range: range.clone(), score, runs, passage_share, cosine });
    }
    all
}

struct Features {
    fit: f32,
    words: f32,
    around: f32,
    runs: f32,
    length: f32,
    passage_share: f32,
    /// The statement's cosine, and that of the nearest part of its passage.
    vectors: Option<(f32, f32)>,
}

impl Features {
    fn score(&self) -> f32 {
        let both = 6.0 * self.fit + 4.0 * self.words + 6.0 * self.around + 2.0 * self.length;
        match self.vectors {
            Some((own, part)) => both + 2.0 * self.runs + 3.0 * own + 5.5 * part,
            None => both + 2.5 * self.runs + 2.0 * self.passage_share,
        }
    }
}

fn ratio(some: usize, all: usize) -> f32 {
    if all == 0 { 0.0 } else { some as f32 / all as f32 }
}

/// For each open part the best sentence of its passage, where that says enough of it.
fn open_sentences(evidence: &Evidence, chosen: &[Scored], most: usize) -> Vec<Scored> {
    let mut found: Vec<Scored> = Vec::new();
    for open in &evidence.open {
        let Some(passage) = evidence.passages.get(open.passage) else { continue };
        let asked = Telling::of(&open.words, &passage.language, &evidence.counts);
        let text = format!("{}\n{}", passage.headings, passage.text);
        let stems: HashSet<String> = Terms::new(&passage.language).telling(&text).into_iter().collect();
        let words = asked.stems().filter(|stem| stems.contains(*stem)).count();
        if asked.within(&stems) < OPEN_SHARE || words < OPEN_WORDS {
            continue;
        }
        let mut said = of_passage(&open.words, (open.passage, passage), &[], &evidence.counts);
        sort(&mut said);
        let Some(best) = said.into_iter().next() else { continue };
        let is_there = |one: &Scored| one.passage == best.passage && one.place == best.place;
        if found.len() < most && !chosen.iter().chain(&found).any(is_there) {
            found.push(best);
        }
    }
    found
}

/// The sentence that says most of what the chosen ones leave out of the question, where that is a part of it.
fn for_what_is_left(question: &str, chosen: &[Scored], ranked: &[Scored], evidence: &Evidence) -> Option<Scored> {
    let said: Vec<String> = chosen.iter().filter_map(|one| said_with_headings(one, evidence)).collect();
    let mut left: HashMap<&str, (Telling, HashSet<String>)> = HashMap::new();
    let mut best: Option<(f32, &Scored)> = None;
    for one in ranked.iter().filter(|one| !chosen.contains(one)) {
        let Some(passage) = evidence.passages.get(one.passage) else { continue };
        let mut terms = Terms::new(&passage.language);
        let (asked, covered) = left.entry(&passage.language).or_insert_with(|| {
            let asked = Telling::of(question, &passage.language, &evidence.counts);
            let covered = said.iter().flat_map(|text| asked.stems_in(text, &mut terms)).collect();
            (asked, covered)
        });
        let own: HashSet<String> =
            asked.stems_in(&said_with_headings(one, evidence)?, &mut terms).into_iter().collect();
        let is_new = |stem: &str| own.contains(stem) && !covered.contains(stem);
        let share = asked.share(|stem| f32::from(u8::from(is_new(stem))));
        let is_enough = share >= LEFT_SHARE && asked.stems().filter(|stem| is_new(stem)).count() >= LEFT_WORDS;
        // They come best first, so that an equal one is no better.
        if is_enough && best.is_none_or(|(most, _)| share > most) {
            best = Some((share, one));
        }
    }
    best.map(|(_, one)| one.clone())
}

fn said_with_headings(one: &Scored, evidence: &Evidence) -> Option<String> {
    let passage = evidence.passages.get(one.passage)?;
    Some(format!("{}\n{}", passage.headings, passage.of(&one.range)))
}

fn in_reading_order(chosen: Vec<Scored>) -> Vec<Scored> {
    let mut first: HashMap<usize, usize> = HashMap::new();
    for (at, one) in chosen.iter().enumerate() {
        first.entry(one.passage).or_insert(at);
    }
    let mut chosen = chosen;
    chosen.sort_by_key(|one| (first.get(&one.passage).copied(), one.place));
    chosen
}

#[cfg(test)]
mod tests;
