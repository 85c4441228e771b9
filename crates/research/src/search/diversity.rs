//! Hits that say the same are pushed down: the next one is the best of those that differ from what was taken. Pure.

use super::Ranked;
use super::rank::dot;
use crate::index::Place;

/// Chunks of one document that stand side by side are alike by this, where no vectors tell.
const BESIDE: f32 = 0.5;
/// Only so many of the best are looked at.
const LOOKED_AT: usize = 200;

/// The first `limit` in an order in which each counts less by how much it is like one before it; the rest behind them.
pub fn spread(ranked: Vec<Ranked>, diversity: f32, limit: usize) -> Vec<Ranked> {
    let mut left: Vec<Option<Ranked>> = ranked.into_iter().map(Some).collect();
    let looked_at = left.len().min(LOOKED_AT.max(limit));
    let mut taken: Vec<Ranked> = Vec::with_capacity(left.len());
    let mut likeness = vec![0.0f32; looked_at];
    while taken.len() < limit.min(looked_at) {
        let worth = |(at, one): (usize, &Option<Ranked>)| {
            let likeness = likeness.get(at).copied().unwrap_or_default();
            one.as_ref().map(|one| (at, (1.0 - diversity) * one.score - diversity * likeness))
        };
        let best = left.iter().take(looked_at).enumerate().filter_map(worth).max_by(|a, b| {
            // Of equal ones the first.
            a.1.total_cmp(&b.1).then_with(|| b.0.cmp(&a.0))
        });
        let Some(one) = best.and_then(|(at, _)| left.get_mut(at)).and_then(Option::take) else { break };
        for (other, likeness) in left.iter().zip(likeness.iter_mut()) {
            if let Some(other) = other {
                *likeness = likeness.max(alike(&one, other));
            }
        }
        taken.push(one);
    }
    taken.extend(left.into_iter().flatten());
    taken
}

fn alike(one: &Ranked, other: &Ranked) -> f32 {
    match (&one.candidate.middle, &other.candidate.middle) {
        (Some(one), Some(other)) => dot(one, other).max(0.0),
        _ => {
            let (Place { document, ordinal }, other) = (one.candidate.place, other.candidate.place);
            if document == other.document && ordinal.abs_diff(other.ordinal) <= 1 { BESIDE } else { 0.0 }
        }
    }
}
