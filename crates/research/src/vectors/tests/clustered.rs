//! Vectors as embedders give them, for tests and the bench: in clusters, with near ones in plenty.

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
