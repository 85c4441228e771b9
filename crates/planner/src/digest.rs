//! What a value is, in a few bytes: who sends something under the same key twice must mean the same.

use aws_lc_rs::digest::{SHA256, digest};
use base::{Fault, Result};
use serde::Serialize;

/// Half of a SHA-256 in hex; nobody gains anything by a collision with work of their own.
const BYTES: usize = 16;

/// The digest of a value's JSON.
pub fn of(value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_vec(value).map_err(|error| Fault::internal("could not write JSON").because(error))?;
    let sum = digest(&SHA256, &json);
    Ok(sum.as_ref().iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_different_has_another_digest() {
        assert_eq!(of(&("a", 1)).unwrap(), of(&("a", 1)).unwrap());
        assert_ne!(of(&("a", 1)).unwrap(), of(&("a", 2)).unwrap());
        assert_eq!(of(&()).unwrap().len(), 32);
    }
}
