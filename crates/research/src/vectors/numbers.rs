//! The numbers of a vector: made to have length 1, and made small for the first pass of a search. Pure.

/// Why numbers are no vector that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not as many as the embedder gives.
    #[error("it has {found} numbers in place of {wanted}")]
    Dims {
        /// How many it has.
        found: usize,
        /// How many it should have.
        wanted: u32,
    },
    /// One is infinite, or no number at all.
    #[error("one of its numbers is infinite or not a number")]
    NotFinite,
    /// All are nothing, or next to it.
    #[error("all its numbers are 0, so that it points nowhere")]
    Zero,
}

/// The same direction with length 1.
pub fn unit(vector: &[f32], dims: u32) -> Result<Vec<f32>, Unfit> {
    if vector.len() != dims as usize {
        return Err(Unfit::Dims { found: vector.len(), wanted: dims });
    }
    let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if !length.is_finite() {
        return Err(Unfit::NotFinite);
    }
    if length < f64::from(f32::MIN_POSITIVE) {
        return Err(Unfit::Zero);
    }
    Ok(vector.iter().map(|number| (f64::from(*number) / length) as f32).collect())
}

/// Adds a vector to `small` as whole numbers from -127 to 127; gives what those are to be multiplied by.
pub(super) fn shrink(vector: &[f32], small: &mut Vec<i8>) -> f32 {
    let largest = vector.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
    let scale = largest / f32::from(i8::MAX);
    small.extend(vector.iter().map(|number| (number / scale).round() as i8));
    scale
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_compared_is_refused() {
        assert_eq!(unit(&[1.0, 2.0], 3), Err(Unfit::Dims { found: 2, wanted: 3 }));
        assert_eq!(unit(&[1.0, f32::NAN], 2), Err(Unfit::NotFinite));
        assert_eq!(unit(&[1.0, f32::NEG_INFINITY], 2), Err(Unfit::NotFinite));
        assert_eq!(unit(&[0.0, -0.0], 2), Err(Unfit::Zero));
    }

    #[test]
    fn numbers_near_the_limits_of_their_type_keep_their_direction() {
        let half = 0.5_f32.sqrt();
        for size in [1e-30, 1.0, 3e38] {
            assert_eq!(unit(&[size, -size], 2), Ok(vec![half, -half]), "{size}");
        }
    }

    proptest! {
        #[test]
        fn a_small_number_is_off_by_half_a_step_at_most(vector in prop::collection::vec(-1.0_f32..1.0, 1..100)) {
            prop_assume!(vector.iter().any(|number| number.abs() > 1e-6));
            let unit = unit(&vector, vector.len() as u32).unwrap();
            let mut small = Vec::new();
            let scale = shrink(&unit, &mut small);
            for (exact, small) in unit.iter().zip(small) {
                prop_assert!((exact - f32::from(small) * scale).abs() <= scale * 0.5001);
            }
        }
    }
}
