//! How weights are stored: whole, halved, or in blocks of 32 that share a scale, byte for byte as llama.cpp stores them.

use clap::ValueEnum;

/// Weights that share a scale.
pub const BLOCK: usize = 32;

/// A way to store weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Quant {
    /// 32 bits.
    #[value(name = "F32")]
    F32,
    /// 16 bits.
    #[value(name = "F16")]
    F16,
    /// A byte and its share of a scale of 16 bits.
    #[value(name = "Q8_0")]
    Q8,
    /// 4 bits and their share of a scale of 16 bits.
    #[value(name = "Q4_0")]
    Q4,
}

impl Quant {
    /// As its users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q8 => "Q8_0",
            Self::Q4 => "Q4_0",
        }
    }

    /// The type of a tensor, in a GGUF file.
    pub fn code(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4 => 2,
            Self::Q8 => 8,
        }
    }

    /// `general.file_type` of a model that is mostly stored so.
    pub fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4 => 2,
            Self::Q8 => 7,
        }
    }

    /// What so many weights take; for blocks, the count is a multiple of theirs.
    pub fn bytes(self, weights: usize) -> u64 {
        let bytes = match self {
            Self::F32 => 4 * weights,
            Self::F16 => 2 * weights,
            Self::Q8 => weights / BLOCK * (2 + BLOCK),
            Self::Q4 => weights / BLOCK * (2 + BLOCK / 2),
        };
        bytes as u64
    }

    /// Appends the weights as they are stored.
    pub fn encode(self, weights: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::F32 => weights.iter().for_each(|weight| out.extend(weight.to_le_bytes())),
            Self::F16 => weights.iter().for_each(|weight| out.extend(half(*weight).to_le_bytes())),
            Self::Q8 => weights.chunks(BLOCK).for_each(|block| encode_q8(block, out)),
            Self::Q4 => weights.chunks(BLOCK).for_each(|block| encode_q4(block, out)),
        }
    }

    /// What a reader gets back.
    pub fn seen(self, weights: &[f32]) -> Vec<f32> {
        match self {
            Self::F32 => weights.to_vec(),
            Self::F16 => weights.iter().map(|weight| whole(half(*weight))).collect(),
            Self::Q8 => weights.chunks(BLOCK).flat_map(seen_q8).collect(),
            Self::Q4 => weights.chunks(BLOCK).flat_map(seen_q4).collect(),
        }
    }
}

/// The largest weight of a block by size, with its sign.
fn extreme(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |most: f32, weight| if weight.abs() > most.abs() { *weight } else { most })
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

fn q8(block: &[f32]) -> (u16, impl Iterator<Item = i8>) {
    let scale = extreme(block).abs() / 127.0;
    let inverse = inverse(scale);
    (half(scale), block.iter().map(move |weight| (weight * inverse).round() as i8))
}

fn encode_q8(block: &[f32], out: &mut Vec<u8>) {
    let (scale, steps) = q8(block);
    out.extend(scale.to_le_bytes());
    out.extend(steps.map(i8::cast_unsigned));
}

fn seen_q8(block: &[f32]) -> Vec<f32> {
    let (scale, steps) = q8(block);
    steps.map(|step| f32::from(step) * whole(scale)).collect()
}

/// Steps of 0 to 15, of which 8 is zero.
fn q4(block: &[f32]) -> (u16, Vec<u8>) {
    let scale = extreme(block) / -8.0;
    let inverse = inverse(scale);
    (half(scale), block.iter().map(|weight| (weight * inverse + 8.5).clamp(0.0, 15.0) as u8).collect())
}

fn encode_q4(block: &[f32], out: &mut Vec<u8>) {
    let (scale, steps) = q4(block);
    out.extend(scale.to_le_bytes());
    let (low, high) = steps.split_at(steps.len() / 2);
    out.extend(low.iter().zip(high).map(|(low, high)| low | (high << 4)));
}

fn seen_q4(block: &[f32]) -> Vec<f32> {
    let (scale, steps) = q4(block);
    steps.iter().map(|step| (f32::from(*step) - 8.0) * whole(scale)).collect()
}

/// The nearest number of 16 bits, ties to the even one.
pub fn half(number: f32) -> u16 {
    let bits = number.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let size = number.abs();
    if size.is_nan() || size >= 65520.0 {
        return sign | 0x7c00 | (u16::from(size.is_nan()) << 9);
    }
    if size < 6.103_515_6e-5 {
        // Below the smallest normal number the steps are even: 2^-24.
        return sign | (size * 16_777_216.0).round_ties_even() as u16;
    }
    let odd = (bits >> 13) & 1;
    let rounded = (bits & 0x7fff_ffff) + 0x0fff + odd;
    sign | ((rounded >> 13) - (112 << 10)) as u16
}

/// The number of 32 bits that equals one of 16.
pub fn whole(half: u16) -> f32 {
    let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = u32::from(half >> 10) & 31;
    let fraction = u32::from(half) & 0x3ff;
    match exponent {
        0 => sign * fraction as f32 / 16_777_216.0,
        31 => sign * f32::from_bits(0x7f80_0000 | (fraction << 13)),
        _ => sign * f32::from_bits(((exponent + 112) << 23) | (fraction << 13)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_to_32_bits_and_back() {
        for bits in 0..=u16::MAX {
            let number = whole(bits);
            assert!(number.is_nan() || half(number) == bits, "{bits:#x} {number}");
        }
        assert_eq!(half(1.0 + 1.0 / 2048.0), half(1.0), "ties go to the even one");
        assert_eq!(whole(half(1e9)), f32::INFINITY);
    }

    #[test]
    fn a_block_is_off_by_half_a_step_at_most() {
        let block: Vec<f32> = (0..32).map(|at| (at as f32 * 0.7).sin() * 3.0).collect();
        for (quant, step) in [(Quant::Q8, 3.0 / 127.0), (Quant::Q4, 3.0 / 8.0)] {
            for (weight, seen) in block.iter().zip(quant.seen(&block)) {
                // The end of the scale that has one step less may lose a whole one.
                let bound = if quant == Quant::Q4 { step * 1.01 } else { step * 0.51 };
                assert!((weight - seen).abs() <= bound, "{quant:?}: {weight} is seen as {seen}");
            }
            let mut bytes = Vec::new();
            quant.encode(&block, &mut bytes);
            assert_eq!(bytes.len() as u64, quant.bytes(32));
        }
    }

    #[test]
    fn nothing_but_one_weight_is_stored_exactly() {
        let mut block = [0.0; 32];
        block[5] = 1.0;
        for quant in [Quant::F32, Quant::F16, Quant::Q8, Quant::Q4] {
            let seen = quant.seen(&block);
            assert!(seen.iter().zip(block).all(|(seen, weight)| (seen - weight).abs() < 1e-3), "{quant:?}: {seen:?}");
        }
    }
}
