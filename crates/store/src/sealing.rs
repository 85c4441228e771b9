//! Values at rest: sealed with XChaCha20-Poly1305 under a key of the owner's, or plain where encryption is off.
//!
//! A sealed value is `key id · nonce · ciphertext and tag`, bound to its place: moved to another one it does not open. Each
//! has a nonce of its own out of the kernel's random numbers; of 24 bytes, none comes twice. The key id says which key
//! opens it, so that a key can be replaced: what is written is sealed under the first one, older ones still open.

mod key_file;

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

pub use key_file::{KEY_BYTES, read};

const ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// How much longer than what is in it a sealed value is.
pub const OVERHEAD: usize = ID_BYTES + NONCE_BYTES + TAG_BYTES;

/// How values are written and read; clones are the same. `default()` leaves them plain.
#[derive(Clone, Default)]
pub struct Seal(Option<Arc<Keys>>);

struct Keys {
    /// What is written is sealed under this one.
    current: Key,
    /// What was written earlier may need one of these.
    old: Vec<Key>,
}

struct Key {
    id: KeyId,
    cipher: XChaCha20Poly1305,
}

/// Tells one key from others, and nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId([u8; ID_BYTES]);

/// Why a value cannot be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Sealed under a key that is not here.
    #[error("it is sealed under key {0}, which this node does not have")]
    OtherKey(KeyId),
    /// Changed, cut, or moved from another place.
    #[error("it was changed, or moved here from another place")]
    Changed,
    /// There is no key.
    #[error("it is sealed, and store.encryption is off")]
    NoKey,
    /// The kernel gave no random numbers.
    #[error("there were no random numbers to seal it with")]
    NoNumbers,
}

impl Seal {
    /// Seals under `current`, and opens what any of `old` sealed as well.
    pub fn with_keys(current: [u8; KEY_BYTES], old: &[[u8; KEY_BYTES]]) -> Self {
        let old = old.iter().map(|key| Key::new(*key)).collect();
        Self(Some(Arc::new(Keys { current: Key::new(current), old })))
    }

    /// Whether values are sealed.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether what was sealed under that key is to be sealed anew some time.
    pub fn is_old(&self, sealed: &[u8]) -> bool {
        let id = key_id(sealed);
        self.0.as_ref().is_some_and(|keys| id.is_some_and(|id| id != keys.current.id))
    }

    /// Seals `plain` for `place`; with encryption off there is nothing to seal it with.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let Key { id, cipher } = &self.0.as_ref().ok_or(SealError::NoKey)?.current;
        let nonce = XNonce::try_generate().map_err(|_| SealError::NoNumbers)?;
        let sealed = cipher.encrypt(&nonce, Payload { msg: plain, aad: place }).map_err(|_| SealError::Changed)?;
        Ok([&id.0, nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for `place`.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let keys = self.0.as_ref().ok_or(SealError::NoKey)?;
        let id = key_id(sealed).ok_or(SealError::Changed)?;
        let mut known = std::iter::once(&keys.current).chain(&keys.old);
        let key = known.find(|key| key.id == id).ok_or(SealError::OtherKey(id))?;
        let (_, rest) = sealed.split_at_checked(ID_BYTES).ok_or(SealError::Changed)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or(SealError::Changed)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| SealError::Changed)?;
        key.cipher.decrypt(&nonce, Payload { msg: sealed, aad: place }).map_err(|_| SealError::Changed)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(keys) => write!(f, "Seal({}, {} old)", keys.current.id, keys.old.len()),
            None => f.write_str("Seal(off)"),
        }
    }
}

impl Key {
    fn new(key: [u8; KEY_BYTES]) -> Self {
        let digest: [u8; 32] = Sha256::new().chain_update("taskmaster key id\0").chain_update(key).finalize().into();
        let id = *digest.first_chunk().unwrap_or(&[0; ID_BYTES]);
        Self { id: KeyId(id), cipher: XChaCha20Poly1305::new(&key.into()) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn key_id(sealed: &[u8]) -> Option<KeyId> {
    sealed.first_chunk().copied().map(KeyId)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [u8; KEY_BYTES] = [1; KEY_BYTES];
    const TWO: [u8; KEY_BYTES] = [2; KEY_BYTES];

    #[test]
    fn what_was_sealed_opens_at_its_place_alone() {
        let seal = Seal::with_keys(ONE, &[]);
        for plain in [&b""[..], b"x", &[7; 100_000]] {
            let sealed = seal.seal(b"here", plain).unwrap();
            assert_eq!(sealed.len(), plain.len() + OVERHEAD);
            assert_eq!(seal.open(b"here", &sealed).unwrap(), plain);
            assert_eq!(seal.open(b"there", &sealed), Err(SealError::Changed));
            assert_ne!(seal.seal(b"here", plain).unwrap(), sealed, "two are alike");
        }
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let seal = Seal::with_keys(ONE, &[]);
        let sealed = seal.seal(b"here", b"the value").unwrap();
        for at in 0..sealed.len() * 8 {
            let mut junk = sealed.clone();
            junk[at / 8] ^= 1 << (at % 8);
            assert!(seal.open(b"here", &junk).is_err(), "bit {at}");
        }
        for len in 0..sealed.len() {
            assert!(seal.open(b"here", &sealed[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn an_old_key_opens_and_does_not_seal() {
        let sealed = Seal::with_keys(ONE, &[]).seal(b"here", b"x").unwrap();
        let alone = Seal::with_keys(TWO, &[]);
        assert!(matches!(alone.open(b"here", &sealed), Err(SealError::OtherKey(_))));
        let both = Seal::with_keys(TWO, &[ONE]);
        assert_eq!(both.open(b"here", &sealed).unwrap(), b"x");
        assert!(both.is_old(&sealed));
        let anew = both.seal(b"here", b"x").unwrap();
        assert!(!both.is_old(&anew));
        assert_eq!(alone.open(b"here", &anew).unwrap(), b"x");
    }

    #[test]
    fn without_a_key_nothing_is_sealed_or_opened() {
        let off = Seal::default();
        assert_eq!(off.seal(b"here", b"x"), Err(SealError::NoKey));
        let sealed = Seal::with_keys(ONE, &[]).seal(b"here", b"x").unwrap();
        assert_eq!(off.open(b"here", &sealed), Err(SealError::NoKey));
    }
}
