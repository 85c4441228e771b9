//! API keys: 256 random bits, shown once, kept as a hash with what their holder may do.
//!
//! A plain SHA-256 suffices because a key is random, not chosen. Comparing takes the same time whichever record fits.

mod guesses;

use std::net::IpAddr;
use std::sync::Arc;

use base::grant::PREFIX;
use base::{Grant, KeyLimits, Result, Scope};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};

use crate::hash::sha256_hex;
use crate::random;

pub use guesses::{Guesses, Refusal};

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
    /// What it opens. Releases that knew no scopes let every key do everything, and their records still mean that.
    #[serde(default = "everything")]
    pub scopes: Vec<Scope>,
    /// The only models that it may ask; all of them when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// From when on it is refused, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// How much it may ask for.
    #[serde(default)]
    pub limits: KeyLimits,
}

fn everything() -> Vec<Scope> {
    vec![Scope::Admin]
}

impl KeyRecord {
    /// What its holder may do.
    pub fn grant(&self) -> Arc<Grant> {
        Arc::new(Grant {
            name: self.name.as_str().into(),
            id: self.sha256.as_str().into(),
            scopes: self.scopes.clone(),
            models: self.models.clone(),
            limits: self.limits,
        })
    }

    /// Whether it is over at `now_ms`.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|end| end <= now_ms)
    }
}

/// A key at the only moment when its text is known.
pub struct Key {
    /// `tm-…`, for the owner; it is not kept anywhere.
    pub shown: String,
    /// For the store.
    pub record: KeyRecord,
}

impl Key {
    /// A new key from the operating system's randomness, which may do everything.
    pub fn generate(name: &str) -> Result<Self> {
        let shown = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::bytes::<BYTES>()?));
        let record = KeyRecord {
            name: name.to_owned(),
            sha256: sha256_hex(shown.as_bytes()),
            created_ms: base::time::unix_ms(),
            scopes: everything(),
            models: Vec::new(),
            expires_ms: None,
            limits: KeyLimits::default(),
        };
        Ok(Self { shown, record })
    }
}

/// The place of the record of the key `shown`, if there is one.
pub fn verify<'a>(shown: &str, records: impl IntoIterator<Item = &'a KeyRecord>) -> Option<usize> {
    let hash = sha256_hex(shown.as_bytes());
    let mut found = None;
    for (at, record) in records.into_iter().enumerate() {
        let fits: Choice = record.sha256.as_bytes().ct_eq(hash.as_bytes());
        // Goes on to the end: where a key stands in the list must not show in the time.
        if bool::from(fits) {
            found = Some(at);
        }
    }
    found
}

/// Somebody was not let in: who (where the key is known), from where, to what, and why. Never the key.
pub fn audit_refusal(name: Option<&str>, from: Option<IpAddr>, call: &str, why: &str) {
    let (key, from) = (name.unwrap_or_default(), from.map(|from| from.to_string()).unwrap_or_default());
    tracing::warn!(target: "net::audit", key, from, call, why, "refused a client");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_text_alone() {
        let keys: Vec<Key> = ["editor", "phone"].map(|name| Key::generate(name).unwrap()).into();
        let records: Vec<KeyRecord> = keys.iter().map(|key| key.record.clone()).collect();
        for (at, key) in keys.iter().enumerate() {
            assert!(base::grant::looks_like_a_key(&key.shown), "{}", key.shown);
            assert_eq!(verify(&key.shown, &records), Some(at));
            assert_eq!(verify(&key.record.sha256, &records), None);
        }
        let other = Key::generate("other").unwrap();
        for wrong in [other.shown.as_str(), "", "tm-", &keys[0].shown[..45]] {
            assert_eq!(verify(wrong, &records), None, "{wrong}");
        }
    }

    #[test]
    fn a_record_of_a_release_without_scopes_still_may_do_everything() {
        let old = r#"{"name":"laptop","sha256":"00","created_ms":7}"#;
        let record: KeyRecord = serde_json::from_str(old).unwrap();
        assert_eq!((record.scopes.as_slice(), record.expires_ms), ([Scope::Admin].as_slice(), None));
        assert_eq!(record.grant().limits, KeyLimits::default());
        // What a later release can do is not taken for everything.
        let later = r#"{"name":"laptop","sha256":"00","created_ms":7,"scopes":["fly"]}"#;
        assert!(serde_json::from_str::<KeyRecord>(later).is_err());
    }

    #[test]
    fn a_record_reads_back_and_ends_when_it_says() {
        let mut record = Key::generate("phone").unwrap().record;
        assert!(!record.is_expired(u64::MAX));
        record.scopes = vec![Scope::Infer, Scope::Read];
        record.models = vec!["llama3.1:8b".to_owned()];
        record.expires_ms = Some(1000);
        record.limits = KeyLimits { asks_per_hour: Some(5), at_once: Some(1), ..KeyLimits::default() };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<KeyRecord>(&text).unwrap(), record);
        assert!(!record.is_expired(999) && record.is_expired(1000));
    }

    #[test]
    fn what_is_kept_does_not_hold_the_key() {
        let Key { shown, record } = Key::generate("editor").unwrap();
        assert!(!format!("{record:?}").contains(&shown[PREFIX.len()..]));
        // SHA-256 of the empty text, so that the hash stays what other tools compute.
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
