//! What an answer is made from, out of a search: the best passages, those for parts of the question that they leave open,
//! and how far the best document is ahead of the rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::Result;

use crate::answer::asked::{self, Counts};
use crate::answer::evidence::{Margin, OpenPart};
use crate::answer::{Evidence, Passage, confidence, statements};
use crate::filter::Filter;
use crate::hit::Span;
use crate::index::{Place, Snapshot};
use crate::knowledge::Mode;
use crate::names::DocId;
use crate::rounds::residual;
use crate::search::{Candidate, Dense, Finder, LeftOut, OpenTexts, Ranked};

/// What is left of the fit of code, where nobody asked for code.
const CODE_SHARE: f32 = 0.6;
/// Candidates of a search that count for the margins.
const LISTED: usize = 100;

/// Gathers it. `looked_for` is the question with what helps to find it. Blocks.
pub fn gather(finder: &Finder, looked_for: &str, asked: &str, filter: &Filter, passages: usize) -> Result<Evidence> {
    let ranked = finder.rank(looked_for, filter, Mode::Hybrid, LISTED.max(passages))?;
    let fits = fits(&ranked);
    let margin = margin(&ranked, &fits, searched(&finder.snapshot, filter));
    let (ranked, fits) = prose_first(asked, ranked, fits);
    let mut open = OpenTexts::of(&finder.blobs);
    let (mut found, mut read, mut left_out) = (Vec::with_capacity(passages), Vec::new(), LeftOut::default());
    for (one, fit) in ranked.iter().zip(&fits) {
        if found.len() == passages {
            break;
        }
        match passage(one, *fit, &mut open) {
            Ok(passage) => {
                found.push(passage);
                read.push(&one.candidate);
            }
            Err(fault) => left_out.add(&fault),
        }
    }
    let first_round = found.len();
    let counts = counts(finder.snapshot.clone());
    let mut evidence = Evidence {
        passages: found,
        first_round,
        open: Vec::new(),
        margin,
        nearness: Vec::new(),
        counts,
        search: String::new(),
        notes: Vec::new(),
    };
    if residual::may_have_parts(asked) {
        look_for_open_parts(finder, asked, filter, &read, (&mut open, &mut left_out), &mut evidence)?;
    }
    evidence.notes.extend(left_out.note());
    Ok(evidence)
}

/// How well each fits, 0 to 1. Without vectors it is the share of the best one's score, as answers were fitted with.
fn fits(ranked: &[Ranked]) -> Vec<f32> {
    let has_vectors = ranked.iter().any(|one| one.candidate.dense.is_some());
    let best = ranked.iter().filter_map(|one| one.candidate.text).fold(0.0, f32::max);
    let by_words = |one: &Ranked| if best > 0.0 { one.candidate.text.unwrap_or_default() / best } else { 0.0 };
    ranked.iter().map(|one| if has_vectors { one.score } else { by_words(one) }).collect()
}

/// For a question in plain words a text comes before the code that has these words; other orders stay as they are.
fn prose_first(asked: &str, ranked: Vec<Ranked>, fits: Vec<f32>) -> (Vec<Ranked>, Vec<f32>) {
    let is_code = |one: &Ranked| extract::is_code(&one.candidate.indexed.document.source);
    if asked::speaks_code(asked) || !ranked.iter().any(is_code) {
        return (ranked, fits);
    }
    let weighed = |(one, fit): (Ranked, f32)| {
        let fit = if is_code(&one) { CODE_SHARE * fit } else { fit };
        (one, fit)
    };
    let mut both: Vec<(Ranked, f32)> = ranked.into_iter().zip(fits).map(weighed).collect();
    both.sort_by(|a, b| b.1.total_cmp(&a.1));
    both.into_iter().unzip()
}

/// How far the best document is ahead, of so many.
fn margin(ranked: &[Ranked], fits: &[f32], documents: usize) -> Margin {
    let mut best: HashMap<DocId, (f32, f32)> = HashMap::new();
    for (one, fit) in ranked.iter().zip(fits) {
        let entry = best.entry(one.candidate.place.document).or_default();
        *entry = (entry.0.max(*fit), entry.1.max(one.candidate.text.unwrap_or_default()));
    }
    let in_order = |of: fn(&(f32, f32)) -> f32| {
        let mut all: Vec<f32> = best.values().map(of).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        all
    };
    let (fits, words) = (in_order(|one| one.0), in_order(|one| one.1));
    let first = |all: &[f32], at: usize| all.get(at).copied().unwrap_or_default();
    let others: f32 = words.iter().skip(1).take(confidence::OTHERS).sum();
    let mean = others / confidence::OTHERS as f32;
    Margin {
        fit: first(&fits, 0) - first(&fits, 1),
        words: if first(&words, 0) > 0.0 { 1.0 - mean / first(&words, 0) } else { 0.0 },
        others: documents.saturating_sub(1),
    }
}

fn searched(snapshot: &Snapshot, filter: &Filter) -> usize {
    match filter.is_empty() {
        true => snapshot.document_count(),
        // A handful is enough to know.
        false => snapshot.documents().filter(|one| filter.passes(&one.document)).take(confidence::OTHERS + 1).count(),
    }
}

/// How rare stems are, in the index of this moment.
pub fn counts(snapshot: Arc<Snapshot>) -> Counts {
    let count = move |stem: &str| match snapshot.frequency(stem) {
        Ok(counts) => counts,
        Err(error) => {
            // The search itself went well: this word counts as an unknown one.
            tracing::warn!(%error, "the index cannot say how rare a word is");
            (0, snapshot.chunk_count() as u64)
        }
    };
    // Every passage wants to know it of the same words.
    let known: Mutex<HashMap<String, (u64, u64)>> = Mutex::default();
    Arc::new(move |stem| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(stem) {
            Some(counts) => *counts,
            None => *known.entry(stem.to_owned()).or_insert(count(stem)),
        }
    })
}

fn passage(ranked: &Ranked, fit: f32, open: &mut OpenTexts<'_>) -> Result<Passage> {
    let hit = Finder::bare_hit(ranked, open)?;
    let document = &ranked.candidate.indexed.document;
    Ok(Passage {
        span: Span { document: document.id, version: document.version, start: hit.start, end: hit.end },
        collection: document.collection.clone(),
        source: document.source.clone(),
        title: document.meta.title.clone(),
        headings: hit.headings,
        pages: hit.pages,
        dated_ms: document.meta.dated_ms.unwrap_or(document.changed_ms),
        is_dated: document.meta.dated_ms.is_some(),
        licence: document.meta.licence.clone(),
        language: document.language.clone(),
        statements: statements(&hit.text),
        text: hit.text,
        fit,
        cosine: ranked.candidate.cosine,
    })
}

/// A passage that a search was about: its place, its vector, and where it is among those of the evidence.
type Found = (Place, Option<Arc<[f32]>>, usize);

/// Searches again for what the best passages do not say; `read` are those that the passages so far are of.
fn look_for_open_parts(
    finder: &Finder,
    asked: &str,
    filter: &Filter,
    read: &[&Candidate],
    (open, left_out): (&mut OpenTexts<'_>, &mut LeftOut),
    evidence: &mut Evidence,
) -> Result<()> {
    let Some(best) = read.first() else { return Ok(()) };
    let mut found: Vec<Found> = vec![(best.place, best.middle.clone(), 0)];
    let mut places: Vec<Place> = read.iter().map(|one| one.place).collect();
    for _ in 1..residual::searches(asked) {
        let covering: Vec<&Passage> = found.iter().filter_map(|(_, _, at)| evidence.passages.get(*at)).collect();
        let left = residual::left(asked, &covering, &evidence.counts);
        if !left.is_open() {
            break;
        }
        let turned = finder.dense.as_ref().map(|dense| Dense {
            vectors: dense.vectors.clone(),
            question: residual::turned(&dense.question, found.iter().filter_map(|(_, middle, _)| middle.as_deref())),
        });
        let (snapshot, aside, blobs) = (finder.snapshot.clone(), finder.aside.clone(), finder.blobs.clone());
        let again = Finder { snapshot, dense: turned, aside, blobs };
        let ranked = again.rank(&left.words, filter, Mode::Hybrid, LISTED)?;
        let is_new = |one: &&Ranked| !found.iter().any(|(place, _, _)| *place == one.candidate.place);
        let Some(next) = ranked.iter().find(is_new) else { break };
        let place = next.candidate.place;
        let at = match places.iter().position(|known| *known == place) {
            Some(at) => at,
            None => match passage(next, next.score, open) {
                Ok(passage) => {
                    evidence.passages.push(passage);
                    places.push(place);
                    places.len() - 1
                }
                Err(fault) => {
                    left_out.add(&fault);
                    break;
                }
            },
        };
        evidence.open.push(OpenPart { words: left.words, passage: at });
        found.push((place, next.candidate.middle.clone(), at));
    }
    Ok(())
}
