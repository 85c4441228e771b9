//! Candidates: the best chunks by words and the best by vectors, each with both scores.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base::{Fault, Result};

use super::rank::dot;
use super::{Dense, Finder};
use crate::filter::Filter;
use crate::index::{Allowed, Indexed, Place, TextHit};
use crate::knowledge::Mode;
use crate::names::DocId;
use crate::outside::aside::{Aside, Asked};
use crate::text::Spoken;
use crate::vectors;

/// For each candidate so many parts are looked at: it may have several of them.
const PARTS_FOR_EACH: usize = 3;

/// A chunk that may answer.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where it stands.
    pub place: Place,
    /// Its document.
    pub indexed: Arc<Indexed>,
    /// BM25; `None`: it has no word of the question.
    pub text: Option<f32>,
    /// Its place by that, where it was found that way.
    pub text_rank: Option<u32>,
    /// Its nearness to the question by vectors: half by the nearest of its parts, half by their middle. `None`: none of
    /// its parts has a vector.
    pub dense: Option<f32>,
    /// Its place by that, where it was found that way.
    pub dense_rank: Option<u32>,
    /// The cosine of the nearest of its parts.
    pub cosine: Option<f32>,
    /// The middle of the vectors of its parts, of length 1.
    pub middle: Option<Arc<[f32]>>,
}

/// Documents that a filter lets pass.
struct Passing {
    documents: Vec<Arc<Indexed>>,
    keys: Arc<HashSet<u64>>,
}

impl Passing {
    fn of(documents: Vec<Arc<Indexed>>) -> Self {
        let keys = Arc::new(documents.iter().map(|one| one.key()).collect());
        Self { documents, keys }
    }
}

/// Both lists as one, in the order of places.
pub fn find(finder: &Finder, question: &str, filter: &Filter, mode: Mode, depth: usize) -> Result<Vec<Candidate>> {
    let passing = passing(finder, filter);
    if passing.as_ref().is_some_and(|passing| passing.documents.is_empty()) {
        return Ok(Vec::new());
    }
    let mut found: HashMap<Place, Candidate> = HashMap::new();
    let terms = terms(finder, question);
    // A server that could not answer is not waited for again by the same question.
    let is_found = match finder.aside.as_ref().filter(|aside| aside.fell_back().is_none()) {
        Some(aside) => by_server(finder, aside, &terms, (filter, passing.as_ref()), mode, depth, &mut found)?,
        None => false,
    };
    if !is_found {
        let by_words = || by_words(finder, &terms, passing.as_ref(), depth);
        let by_vectors = || by_vectors(finder, passing.as_ref(), depth);
        let (words, near) = match mode {
            Mode::Text => (by_words(), Ok(Vec::new())),
            Mode::Dense => (Ok(HashMap::new()), by_vectors()),
            Mode::Hybrid if finder.dense.is_none() => (by_words(), Ok(Vec::new())),
            Mode::Hybrid => side_by_side(by_words, by_vectors),
        };
        found = words?;
        add_near(near?, &mut found);
    }
    if mode == Mode::Hybrid && finder.dense.is_some() {
        fill_words(finder, &terms, &mut found)?;
        fill_vectors(finder, &mut found);
    }
    let mut found: Vec<Candidate> = found.into_values().collect();
    found.sort_by_key(|one| one.place);
    Ok(found)
}

/// Both, the first in a thread of its own: neither waits for the other's memory.
fn side_by_side<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|threads| {
        let one = threads.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    })
}

/// The terms of a question in each language of the index, that of most chunks first.
fn terms(finder: &Finder, question: &str) -> Vec<Spoken> {
    let languages = finder.languages();
    let main = languages.first().map(String::as_str).unwrap_or_default();
    let in_each = |terms: &dyn Fn(&str) -> Spoken| {
        let spoken = languages.iter().map(|language| terms(language));
        spoken.filter(|spoken| !spoken.terms.is_empty()).collect::<Vec<_>>()
    };
    let telling = in_each(&|language| Spoken::telling(question, language, main));
    // A question of nothing but small words, such as the name of a band, is still a question.
    if telling.is_empty() { in_each(&|language| Spoken::whole(question, language)) } else { telling }
}

fn passing(finder: &Finder, filter: &Filter) -> Option<Passing> {
    if filter.is_empty() {
        return None;
    }
    let documents: Vec<Arc<Indexed>> =
        finder.snapshot.documents().filter(|one| filter.passes(&one.document)).cloned().collect();
    Some(Passing::of(documents))
}

/// Both lists out of what a server beside this node gives, by the same exact scores as without it. Gives whether it was
/// so; where not, the search says why.
fn by_server(
    finder: &Finder,
    aside: &Aside,
    terms: &[Spoken],
    (filter, passing): (&Filter, Option<&Passing>),
    mode: Mode,
    depth: usize,
    found: &mut HashMap<Place, Candidate>,
) -> Result<bool> {
    let passing: Option<HashSet<DocId>> =
        passing.map(|passing| passing.documents.iter().map(|one| one.document.id).collect());
    let dense = finder.dense.as_ref().filter(|_| mode != Mode::Text);
    let is_by_words = mode != Mode::Dense && !terms.is_empty();
    // The server knows no languages; what it gives by another one's stem has no score here.
    let mut stems: Vec<String> = Vec::new();
    for (stem, _) in terms.iter().flat_map(|spoken| &spoken.terms) {
        if !stems.contains(stem) {
            stems.push(stem.clone());
        }
    }
    let asked = Asked {
        terms: is_by_words.then_some(stems.as_slice()),
        vector: dense.map(|dense| dense.question.as_slice()),
        filter,
        passing: passing.as_ref(),
        depth,
    };
    let given = match aside.find(asked, &finder.snapshot) {
        Ok(given) => given,
        Err(fault) => {
            aside.fall_back(&fault);
            return Ok(false);
        }
    };
    let here = Passing::of(given.here.iter().filter_map(|id| finder.snapshot.document(*id).cloned()).collect());
    if is_by_words {
        words_of(finder, terms, given.words, &here, depth, found)?;
    }
    if let Some(dense) = dense {
        let mut near: HashMap<Place, Candidate> =
            given.vectors.into_iter().map(|(place, indexed)| (place, fresh(place, indexed))).collect();
        for indexed in &here.documents {
            for chunk in indexed.chunks.iter() {
                let place = Place { document: indexed.document.id, ordinal: chunk.ordinal };
                near.entry(place).or_insert_with(|| fresh(place, indexed.clone()));
            }
        }
        add_near(nearest_first(dense, near.into_values().collect(), depth), found);
    }
    Ok(true)
}

/// The best by words of those that were given, and of the documents that are searched here.
fn words_of(
    finder: &Finder,
    terms: &[Spoken],
    given: Vec<(Place, Arc<Indexed>)>,
    here: &Passing,
    depth: usize,
    found: &mut HashMap<Place, Candidate>,
) -> Result<()> {
    let mut near = match here.keys.is_empty() {
        true => HashMap::new(),
        false => by_words(finder, terms, Some(here), depth)?,
    };
    let wanted = given.iter().map(|(place, indexed)| (indexed.key(), place.ordinal)).collect();
    for hit in finder.snapshot.words.scores(terms, &wanted).map_err(failed)? {
        if let Some((place, indexed)) = locate(finder, hit) {
            near.entry(place).or_insert_with(|| fresh(place, indexed)).text = Some(hit.score);
        }
    }
    let mut near: Vec<Candidate> = near.into_values().collect();
    near.sort_by(|a, b| {
        b.text.unwrap_or_default().total_cmp(&a.text.unwrap_or_default()).then_with(|| a.place.cmp(&b.place))
    });
    for (at, mut one) in near.into_iter().take(depth).enumerate() {
        one.text_rank = Some(at as u32 + 1);
        found.insert(one.place, one);
    }
    Ok(())
}

/// The best by words.
fn by_words(
    finder: &Finder,
    terms: &[Spoken],
    passing: Option<&Passing>,
    depth: usize,
) -> Result<HashMap<Place, Candidate>> {
    if terms.is_empty() {
        return Ok(HashMap::new());
    }
    let allowed: Option<Allowed> = match (passing, finder.snapshot.hidden) {
        (Some(passing), _) => {
            let keys = passing.keys.clone();
            Some(Arc::new(move |key| keys.contains(&key)))
        }
        (None, Some(hidden)) => Some(Arc::new(move |key| key != hidden)),
        (None, None) => None,
    };
    let mut found = HashMap::new();
    let hits = finder.snapshot.words.search(terms, depth, allowed).map_err(failed)?;
    for (at, hit) in hits.into_iter().enumerate() {
        let Some((place, indexed)) = locate(finder, hit) else { continue };
        let (text, text_rank) = (Some(hit.score), Some(at as u32 + 1));
        found.insert(place, Candidate { text, text_rank, ..fresh(place, indexed) });
    }
    Ok(found)
}

/// The best by vectors, nearest first.
fn by_vectors(finder: &Finder, passing: Option<&Passing>, depth: usize) -> Result<Vec<Candidate>> {
    let Some(dense) = &finder.dense else { return Ok(Vec::new()) };
    let rows = passing.map(|passing| {
        let chunks = passing.documents.iter().flat_map(|indexed| indexed.chunks.iter());
        chunks
            .flat_map(|chunk| &chunk.parts)
            .filter_map(|part| dense.vectors.row(&part.hash))
            .collect::<vectors::Rows>()
    });
    let allowed = rows.as_ref().map_or(vectors::Allowed::All, vectors::Allowed::Only);
    let mut near: HashMap<Place, Candidate> = HashMap::new();
    for row in nearest(finder, dense, allowed, PARTS_FOR_EACH * depth)? {
        for place in places(finder, dense, row) {
            let is_allowed =
                |indexed: &&Arc<Indexed>| passing.is_none_or(|passing| passing.keys.contains(&indexed.key()));
            if let Some(indexed) = finder.snapshot.document(place.document).filter(is_allowed) {
                near.entry(*place).or_insert_with(|| fresh(*place, indexed.clone()));
            }
        }
    }
    Ok(nearest_first(dense, near.into_values().collect(), depth))
}

/// The nearest, in order: by small numbers, which cost little, those that may be among them, then by exact ones.
fn nearest_first(dense: &Dense, mut near: Vec<Candidate>, depth: usize) -> Vec<Candidate> {
    let may_be = depth + depth / 2;
    if near.len() > may_be {
        near.iter_mut().for_each(|one| measure(dense, one, |row| dense.vectors.small_vector(row)));
        keep_nearest(&mut near, may_be);
    }
    near.iter_mut().for_each(|one| measure_exactly(dense, one));
    keep_nearest(&mut near, depth);
    near
}

fn keep_nearest(near: &mut Vec<Candidate>, most: usize) {
    near.retain(|one| one.dense.is_some());
    near.sort_by(|a, b| {
        b.dense.unwrap_or(-1.0).total_cmp(&a.dense.unwrap_or(-1.0)).then_with(|| a.place.cmp(&b.place))
    });
    near.truncate(most);
}

/// Adds the nearest to what was found by words.
fn add_near(near: Vec<Candidate>, found: &mut HashMap<Place, Candidate>) {
    for (at, one) in near.into_iter().enumerate() {
        let candidate = found.entry(one.place).or_insert_with(|| fresh(one.place, one.indexed.clone()));
        (candidate.dense, candidate.cosine, candidate.middle) = (one.dense, one.cosine, one.middle);
        candidate.dense_rank = Some(at as u32 + 1);
    }
}

/// The nearest parts; some vectors are of parts that are gone, which are swept away now and then, so it is looked deeper
/// until there are enough that live.
fn nearest(finder: &Finder, dense: &Dense, allowed: vectors::Allowed<'_>, most: usize) -> Result<Vec<vectors::Row>> {
    let mut looked_at = most;
    loop {
        let found = dense.vectors.nearest(&dense.question, allowed, looked_at)?;
        let is_all = found.len() < looked_at;
        let mut rows: Vec<vectors::Row> = found.into_iter().map(|(row, _)| row).collect();
        rows.retain(|row| !places(finder, dense, *row).is_empty());
        if is_all || rows.len() >= most || looked_at >= 64 * most {
            rows.truncate(most);
            return Ok(rows);
        }
        looked_at *= 4;
    }
}

/// Gives a candidate its nearness by exact vectors. One that cannot be read is made anew after a restart; until then its
/// small numbers stand for it.
fn measure_exactly(dense: &Dense, candidate: &mut Candidate) {
    measure(dense, candidate, |row| match dense.vectors.vector(row) {
        Ok(vector) => Some(vector),
        Err(fault) => {
            tracing::warn!(row = row.0, error = fault.full_message(), "a vector is compared by its small numbers");
            dense.vectors.small_vector(row)
        }
    });
}

/// Gives a candidate its nearness by vectors, if it has any.
fn measure(dense: &Dense, candidate: &mut Candidate, read: impl Fn(vectors::Row) -> Option<Vec<f32>>) {
    let Some(chunk) = candidate.indexed.chunks.get(candidate.place.ordinal as usize) else { return };
    let mut middle = vec![0.0f32; dense.question.len()];
    let mut nearest: Option<f32> = None;
    let rows = chunk.parts.iter().filter_map(|part| dense.vectors.row(&part.hash));
    for vector in rows.filter_map(read) {
        let cosine = dot(&dense.question, &vector);
        nearest = Some(nearest.map_or(cosine, |nearest| nearest.max(cosine)));
        middle.iter_mut().zip(vector.iter()).for_each(|(sum, number)| *sum += number);
    }
    let Some(cosine) = nearest else { return };
    let length = dot(&middle, &middle).sqrt();
    if length > 0.0 {
        middle.iter_mut().for_each(|number| *number /= length);
    }
    candidate.cosine = Some(cosine);
    candidate.dense = Some(0.5 * cosine + 0.5 * dot(&dense.question, &middle));
    candidate.middle = Some(middle.into());
}

fn places<'a>(finder: &'a Finder, dense: &Dense, row: vectors::Row) -> &'a [Place] {
    dense.vectors.hash(row).map(|hash| finder.snapshot.places(&hash)).unwrap_or_default()
}

/// Gives those that were found by their vectors alone the score of their words.
fn fill_words(finder: &Finder, terms: &[Spoken], found: &mut HashMap<Place, Candidate>) -> Result<()> {
    let without = found.values().filter(|one| one.text.is_none());
    let without: HashSet<(u64, u32)> = without.map(|one| (one.indexed.key(), one.place.ordinal)).collect();
    if without.is_empty() || terms.is_empty() {
        return Ok(());
    }
    for hit in finder.snapshot.words.scores(terms, &without).map_err(failed)? {
        if let Some((place, _)) = locate(finder, hit)
            && let Some(candidate) = found.get_mut(&place)
        {
            candidate.text.get_or_insert(hit.score);
        }
    }
    Ok(())
}

/// Gives those that were found by their words alone their nearness by vectors.
fn fill_vectors(finder: &Finder, found: &mut HashMap<Place, Candidate>) {
    let Some(dense) = &finder.dense else { return };
    found.values_mut().filter(|one| one.dense.is_none()).for_each(|one| measure_exactly(dense, one));
}

fn locate(finder: &Finder, hit: TextHit) -> Option<(Place, Arc<Indexed>)> {
    let indexed = finder.snapshot.by_key(hit.document)?;
    Some((Place { document: indexed.document.id, ordinal: hit.ordinal }, indexed.clone()))
}

fn fresh(place: Place, indexed: Arc<Indexed>) -> Candidate {
    Candidate { place, indexed, text: None, text_rank: None, dense: None, dense_rank: None, cosine: None, middle: None }
}

fn failed(error: tantivy::TantivyError) -> Fault {
    Fault::internal("the text index could not be searched").because(error)
}
