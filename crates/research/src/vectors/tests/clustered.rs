//! Vectors as embedders give them, for tests and the bench: in clusters, with near ones in plenty; and the search as it is meant.

use super::{Allowed, Row, Snapshot};

/// So many vectors of length 1, about fifty to a cluster, and about `spread` from its centre.
pub fn clustered(random: &mut fastrand::Rng, count: usize, dims: usize, spread: f32) -> Vec<Vec<f32>> {
    let centres: Vec<Vec<f32>> = (0..count.div_ceil(50)).map(|_| scattered(random, dims, 1.0, None)).collect();
    let near = |_| {
        let centre = random.choice(&centres);
        scattered(random, dims, spread, centre)
    };
    (0..count).map(near).collect()
}

/// A vector of length 1 into any direction, or near a centre.
fn scattered(random: &mut fastrand::Rng, dims: usize, spread: f32, centre: Option<&Vec<f32>>) -> Vec<f32> {
    let spread = spread / (dims as f32).sqrt();
    let mut vector: Vec<f32> = (0..dims).map(|_| normal(random) * spread).collect();
    for (number, centre) in vector.iter_mut().zip(centre.into_iter().flatten()) {
        *number += centre;
    }
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    vector.iter().map(|number| number / length).collect()
}

/// The sum of twelve even chances is as good as normal.
fn normal(random: &mut fastrand::Rng) -> f32 {
    (0..12).map(|_| random.f32()).sum::<f32>() - 6.0
}

/// The nearest as a search finds them: the best by small numbers are looked at exactly. With their cosines, best first,
/// equal ones by row.
pub fn nearest(snapshot: &Snapshot, query: &[f32], allowed: Allowed<'_>, most: usize) -> Vec<(Row, f32)> {
    let near = snapshot.nearest(query, allowed, most.saturating_mul(2).saturating_add(100)).unwrap();
    let length = query.iter().map(|number| number * number).sum::<f32>().sqrt();
    let exact = |(row, _): &(Row, f32)| {
        let vector = snapshot.vector(*row).unwrap();
        (*row, vector.iter().zip(query).map(|(one, other)| one * other / length).sum::<f32>())
    };
    let mut near: Vec<(Row, f32)> = near.iter().map(exact).collect();
    near.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    near.truncate(most);
    near
}

/// The nearest by exact numbers and nothing else: places with cosines, best first, equal ones by place.
pub fn brute_force(all: &[Vec<f32>], query: &[f32], most: usize) -> Vec<(usize, f64)> {
    let product = |one: &[f32], other: &[f32]| -> f64 {
        one.iter().zip(other).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum()
    };
    let cosine = |one: &[f32]| product(one, query) / (product(one, one) * product(query, query)).sqrt();
    let mut scored: Vec<(usize, f64)> = all.iter().map(|vector| cosine(vector)).enumerate().collect();
    scored.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    scored.truncate(most);
    scored
}
