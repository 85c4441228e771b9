//! API keys: 256 random bits, shown once, kept as a hash.
//!
//! A plain SHA-256 suffices because a key is random, not chosen. Comparing takes the same time whichever record fits.

use base::{Fault, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::identity::provider;

const PREFIX: &str = "tm-";
const BYTES: usize = 32;

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of the shown text, as hex.
    pub sha256: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// A key at the only moment when its text is known.
pub struct Key {
    /// `tm-…`, for the owner; it is not kept anywhere.
    pub shown: String,
    /// For the store.
    pub record: KeyRecord,
}

impl Key {
    /// A new key from the operating system's randomness.
    pub fn generate(name: &str) -> Result<Self> {
        let mut secret = [0; BYTES];
        provider()
            .secure_random
            .fill(&mut secret)
            .map_err(|_| Fault::internal("could not get random bytes for a key"))?;
        let shown = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        let record = KeyRecord { name: name.to_owned(), sha256: hash(&shown), created_ms: base::time::unix_ms() };
        Ok(Self { shown, record })
    }
}

/// The record of the key `shown`, if there is one.
pub fn verify<'a>(shown: &str, records: &'a [KeyRecord]) -> Option<&'a KeyRecord> {
    let hash = hash(shown);
    let mut found = None;
    for record in records {
        let fits: Choice = record.sha256.as_bytes().ct_eq(hash.as_bytes());
        // Goes on to the end: where a key stands in the list must not show in the time.
        if bool::from(fits) {
            found = Some(record);
        }
    }
    found
}

/// The key in the value of an `authorization` header.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.trim().split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

fn hash(shown: &str) -> String {
    Sha256::digest(shown.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_text_alone() {
        let keys: Vec<Key> = ["editor", "phone"].map(|name| Key::generate(name).unwrap()).into();
        let records: Vec<KeyRecord> = keys.iter().map(|key| key.record.clone()).collect();
        for key in &keys {
            assert_eq!(key.shown.len(), PREFIX.len() + 43);
            assert_eq!(verify(&key.shown, &records), Some(&key.record));
            assert_eq!(verify(&key.record.sha256, &records), None);
        }
        let other = Key::generate("other").unwrap();
        for wrong in [other.shown.as_str(), "", "tm-", &keys[0].shown[..45]] {
            assert_eq!(verify(wrong, &records), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_does_not_hold_the_key() {
        let Key { shown, record } = Key::generate("editor").unwrap();
        assert!(!format!("{record:?}").contains(&shown[PREFIX.len()..]));
        // SHA-256 of the empty text, so that the hash stays what other tools compute.
        assert_eq!(hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn bearer_reads_the_forms_that_clients_send() {
        for (header, key) in [
            ("Bearer tm-a", Some("tm-a")),
            ("bearer  tm-a ", Some("tm-a")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic tm-a", None),
            ("tm-a", None),
        ] {
            assert_eq!(bearer(header), key, "{header}");
        }
    }
}
