//! Numbers that look random and are the same on every machine: integers only, no function of a mathematical library.

/// The constants of SplitMix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX: [u64; 2] = [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];

/// A seeded generator (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The generator that belongs to a word.
    pub fn of(word: &str, seed: u64) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64_with_seed(word.as_bytes(), seed))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(MIX[0]);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(MIX[1]);
        mixed ^ (mixed >> 31)
    }

    /// About zero, nearly a normal distribution with the spread 1: the sum of four even ones.
    pub fn normal(&mut self) -> f32 {
        const MIDDLE: f32 = 4.0 * 65535.0 / 2.0;
        const SPREAD: f32 = 37837.23;
        let bits = self.bits();
        let sum = (bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48);
        (sum as f32 - MIDDLE) / SPREAD
    }

    /// That many of them, spread as told.
    pub fn normals(&mut self, count: usize, spread: f32) -> Vec<f32> {
        (0..count).map(|_| self.normal() * spread).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_normals_is_one_and_their_middle_is_zero() {
        let numbers = Random::new(1).normals(100_000, 1.0);
        let mean = numbers.iter().sum::<f32>() / 100_000.0;
        let square = numbers.iter().map(|x| x * x).sum::<f32>() / 100_000.0;
        assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.02, "{mean} {square}");
    }
}
