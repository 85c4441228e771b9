//! Random bytes of the operating system, for keys that people keep.

use base::{Fault, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::identity::provider;

/// A new key of 32 bytes, as base64.
pub fn key() -> Result<String> {
    Ok(STANDARD.encode(bytes::<32>()?))
}

pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| Fault::internal("could not get random bytes for a key"))?;
    Ok(bytes)
}
