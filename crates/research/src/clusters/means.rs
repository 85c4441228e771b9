//! Spherical k-means: points on a sphere go to the nearest of some middles, which go to the midst of their points, until
//! nothing moves. Where the middles begin is drawn far from each other by k-means++, from a seed.

/// Rounds after which it is good enough.
const MOST_ROUNDS: usize = 30;
/// Beginnings; the one that ends best counts.
const BEGINNINGS: u64 = 3;

/// A point of length 1, or without any direction.
#[derive(Clone, Debug)]
pub(super) struct Point<'a> {
    values: Values<'a>,
    /// What makes its length 1.
    scale: f32,
}

#[derive(Clone, Debug)]
enum Values<'a> {
    Dense(&'a [f32]),
    /// Where it is not zero.
    Sparse(Vec<(u32, f32)>),
}

impl<'a> Point<'a> {
    pub fn dense(values: &'a [f32]) -> Self {
        let scale = scale(values.iter().copied());
        Self { values: Values::Dense(values), scale }
    }

    pub fn sparse(values: Vec<(u32, f32)>) -> Self {
        let scale = scale(values.iter().map(|(_, value)| *value));
        Self { values: Values::Sparse(values), scale }
    }

    fn dimensions(&self) -> usize {
        match &self.values {
            Values::Dense(values) => values.len(),
            Values::Sparse(values) => values.iter().map(|(at, _)| *at as usize + 1).max().unwrap_or(0),
        }
    }

    fn cosine(&self, middle: &[f32]) -> f32 {
        if self.scale == 0.0 {
            return 0.0;
        }
        let sum: f32 = match &self.values {
            Values::Dense(values) => values.iter().zip(middle).map(|(a, b)| a * b).sum(),
            Values::Sparse(values) => {
                values.iter().filter_map(|(at, value)| Some(value * middle.get(*at as usize)?)).sum()
            }
        };
        sum * self.scale
    }

    fn add_to(&self, middle: &mut [f32]) {
        if self.scale == 0.0 {
            return;
        }
        match &self.values {
            Values::Dense(values) => middle.iter_mut().zip(*values).for_each(|(sum, value)| *sum += value * self.scale),
            Values::Sparse(values) => {
                for (at, value) in values {
                    if let Some(sum) = middle.get_mut(*at as usize) {
                        *sum += value * self.scale;
                    }
                }
            }
        }
    }
}

/// 0 where there is no direction, also where a value is no number.
fn scale(values: impl Iterator<Item = f32>) -> f32 {
    let length = values.map(|value| value * value).sum::<f32>().sqrt();
    if length.is_finite() && length > f32::MIN_POSITIVE { 1.0 / length } else { 0.0 }
}

/// Which point is in which group.
#[derive(Clone, Debug)]
pub(super) struct Grouping {
    /// Of each point.
    pub groups: Vec<usize>,
    /// Of each point to the middle of its group.
    pub likeness: Vec<f32>,
    /// Of length 1.
    pub middles: Vec<Vec<f32>>,
}

/// Puts points in at most so many groups.
pub(super) fn group(points: &[Point], count: usize, seed: u64) -> Grouping {
    let dimensions = points.iter().map(Point::dimensions).max().unwrap_or(0);
    let tries = (0..BEGINNINGS).map(|nth| {
        let mut grouping = assigned(points, beginning(points, count, dimensions, seed.wrapping_add(nth)));
        for _ in 0..MOST_ROUNDS {
            let next = assigned(points, middles(points, &grouping, dimensions));
            let is_still = next.groups == grouping.groups;
            grouping = next;
            if is_still {
                break;
            }
        }
        grouping
    });
    let total = |grouping: &Grouping| grouping.likeness.iter().sum::<f32>();
    let best = tries.reduce(|best, next| if total(&next) > total(&best) { next } else { best });
    best.unwrap_or_else(|| Grouping { groups: Vec::new(), likeness: Vec::new(), middles: Vec::new() })
}

/// Points drawn as middles, farther ones likelier.
fn beginning(points: &[Point], count: usize, dimensions: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut far = vec![1.0f32; points.len()];
    let mut middles: Vec<Vec<f32>> = Vec::new();
    while middles.len() < count {
        let mut left = random.f32() * far.iter().sum::<f32>();
        let drawn = far.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        // All lie on middles already: more groups than different points.
        let Some(point) = drawn.and_then(|at| points.get(at)) else { break };
        let mut middle = vec![0.0; dimensions];
        point.add_to(&mut middle);
        for (weight, point) in far.iter_mut().zip(points) {
            let distance = (1.0 - point.cosine(&middle)).max(0.0);
            *weight = weight.min(if distance < 1e-5 { 0.0 } else { distance });
        }
        middles.push(middle);
    }
    middles
}

fn assigned(points: &[Point], middles: Vec<Vec<f32>>) -> Grouping {
    let nearest = |point: &Point| {
        let all = middles.iter().map(|middle| point.cosine(middle)).enumerate();
        all.reduce(|best, next| if next.1 > best.1 { next } else { best }).unwrap_or((0, 0.0))
    };
    let (groups, likeness) = points.iter().map(nearest).unzip();
    Grouping { groups, likeness, middles }
}

/// The midst of each group; a group without points keeps its place.
fn middles(points: &[Point], grouping: &Grouping, dimensions: usize) -> Vec<Vec<f32>> {
    let mut sums = vec![vec![0.0; dimensions]; grouping.middles.len()];
    for (point, group) in points.iter().zip(&grouping.groups) {
        if let Some(sum) = sums.get_mut(*group) {
            point.add_to(sum);
        }
    }
    let settle = |(mut sum, old): (Vec<f32>, &Vec<f32>)| {
        let scale = scale(sum.iter().copied());
        sum.iter_mut().for_each(|value| *value *= scale);
        if scale > 0.0 { sum } else { old.clone() }
    };
    sums.into_iter().zip(&grouping.middles).map(settle).collect()
}

impl Grouping {
    /// How much nearer points are to their own middle than to the next one: -1 to 1, on average. A point that is a group
    /// by itself counts as 0, else the most groups would always be best.
    pub fn silhouette(&self, points: &[Point]) -> f64 {
        let mut sizes = vec![0usize; self.middles.len()];
        for group in &self.groups {
            if let Some(size) = sizes.get_mut(*group) {
                *size += 1;
            }
        }
        let of = |((point, group), likeness): ((&Point, &usize), &f32)| {
            let others = self.middles.iter().enumerate().filter(|(at, _)| at != group && sizes.get(*at) > Some(&0));
            let next = others.map(|(_, middle)| point.cosine(middle)).reduce(f32::max).unwrap_or(0.0);
            let (own, next) = (1.0 - f64::from(*likeness), 1.0 - f64::from(next));
            let is_alone = sizes.get(*group) == Some(&1);
            if is_alone || own.max(next) <= 0.0 { 0.0 } else { (next - own) / own.max(next) }
        };
        let all = points.iter().zip(&self.groups).zip(&self.likeness).map(of);
        all.sum::<f64>() / points.len().max(1) as f64
    }
}
