//! One order out of two kinds of scores: each is spread over 0 to 1 among the candidates, then weighed; and a passage that
//! is much like the best ones is lifted towards them. Pure.

use simsimd::SpatialSimilarity;

use super::{Candidate, Ranked};

/// What words weigh beside vectors.
const WORDS_WEIGHT: f32 = 0.4;
/// So many of the most alike decide about a lift …
const NEIGHBOURS: usize = 3;
/// … among so many of the best …
const LIFTED: usize = 100;
/// … by this share of what they are ahead.
const LIFT: f32 = 0.6;

/// All candidates, best first; equal ones by their places.
pub fn order(candidates: Vec<Candidate>) -> Vec<Ranked> {
    let words = spread(candidates.iter().map(|one| one.text));
    let dense = spread(candidates.iter().map(|one| one.dense));
    let has_dense = candidates.iter().any(|one| one.dense.is_some());
    let has_words = candidates.iter().any(|one| one.text.is_some());
    let weight = match (has_words, has_dense) {
        (true, true) => WORDS_WEIGHT,
        (true, false) => 1.0,
        _ => 0.0,
    };
    let scores = words.into_iter().zip(dense).map(|(words, dense)| weight * words + (1.0 - weight) * dense);
    let mut ranked: Vec<Ranked> =
        candidates.into_iter().zip(scores).map(|(candidate, score)| Ranked { candidate, score, lifted: 0.0 }).collect();
    sort(&mut ranked);
    lift(&mut ranked);
    sort(&mut ranked);
    ranked
}

fn sort(ranked: &mut [Ranked]) {
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.candidate.place.cmp(&b.candidate.place)));
}

/// From 0 for the lowest to 1 for the highest; what has no score counts as the lowest.
fn spread(scores: impl Iterator<Item = Option<f32>> + Clone) -> Vec<f32> {
    let told = || scores.clone().flatten();
    let (least, most) = (told().fold(f32::INFINITY, f32::min), told().fold(f32::NEG_INFINITY, f32::max));
    let range = most - least;
    let place = |score: f32| if range > 0.0 { (score - least) / range } else { 1.0 };
    scores.map(|score| score.map_or(0.0, place)).collect()
}

/// Lifts each towards those that are most like it, where they are ahead. Nothing falls by it.
fn lift(ranked: &mut [Ranked]) {
    let best = ranked.get(..LIFTED).unwrap_or(ranked);
    // Each with how much it is like the others, and their scores.
    let mut alike: Vec<Vec<(f32, f32)>> = vec![Vec::with_capacity(best.len()); best.len()];
    for (at, own) in best.iter().enumerate() {
        let Some(vector) = &own.candidate.middle else { continue };
        for (beyond, other) in best.iter().enumerate().skip(at + 1) {
            // The next chunk of the same document is always alike, and says nothing new.
            let is_other = other.candidate.place.document != own.candidate.place.document;
            if is_other && let Some(other_vector) = &other.candidate.middle {
                let likeness = dot(vector, other_vector);
                if let Ok([of_own, of_other]) = alike.get_disjoint_mut([at, beyond]) {
                    of_own.push((likeness, other.score));
                    of_other.push((likeness, own.score));
                }
            }
        }
    }
    for (one, mut alike) in ranked.iter_mut().zip(alike) {
        alike.sort_by(|a, b| b.0.total_cmp(&a.0));
        alike.truncate(NEIGHBOURS);
        let weight: f32 = alike.iter().map(|(likeness, _)| likeness.max(0.0)).sum();
        if weight > 0.0 {
            let mean = alike.iter().map(|(likeness, score)| likeness.max(0.0) * score).sum::<f32>() / weight;
            one.lifted = LIFT * (mean - one.score).max(0.0);
            one.score += one.lifted;
        }
    }
}

/// The cosine of two vectors of length 1.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Both are of one embedder, and so of one length.
    f32::dot(a, b).map_or(0.0, |dot| dot as f32)
}
