//! The form of records that are JSON: `{"v": VERSION, "value": …}`. A later release may change `value`, never the frame.

use base::{Code, Fault};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version that this release writes, and the newest that it reads.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a, T> {
    v: u32,
    value: &'a T,
}

#[derive(Deserialize)]
struct Found<'a> {
    v: u32,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// Why a stored value cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FramedError {
    /// Written by a later release.
    #[error("`{key}` was written in version {version}, and this release knows {VERSION}")]
    Newer {
        /// Where it stands.
        key: String,
        /// What it was written in.
        version: u32,
    },
    /// Not what it should be.
    #[error("could not read `{key}`")]
    Malformed {
        /// Where it stands.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Cannot be written as JSON.
    #[error("could not write `{key}` as json")]
    Unwritable {
        /// Where it stands.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// `value` as it is put at `key`.
pub fn write<T: Serialize>(key: &str, value: &T) -> Result<Bytes, FramedError> {
    let written = serde_json::to_vec(&Written { v: VERSION, value });
    written.map(Bytes::from).map_err(|source| FramedError::Unwritable { key: key.to_owned(), source })
}

/// What was put at `key`.
pub fn read<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, FramedError> {
    let malformed = |source| FramedError::Malformed { key: key.to_owned(), source };
    let found: Found = serde_json::from_slice(bytes).map_err(malformed)?;
    if found.v > VERSION {
        return Err(FramedError::Newer { key: key.to_owned(), version: found.v });
    }
    serde_json::from_str(found.value.get()).map_err(malformed)
}

impl From<FramedError> for Fault {
    fn from(error: FramedError) -> Fault {
        let message = error.to_string();
        match error {
            FramedError::Newer { .. } => {
                Fault::new(Code::NotSupported, message).hint("update this node, or leave it to a newer one")
            }
            FramedError::Malformed { source, .. } => {
                Fault::internal(message).because(source).hint("restore the store from a backup, or make it anew")
            }
            FramedError::Unwritable { source, .. } => {
                Fault::internal(message).because(source).hint("this is a fault of ours: report it")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_named_and_never_guessed_at() {
        assert_eq!(read::<u32>("k", &write("k", &7).unwrap()).unwrap(), 7);
        let fault = Fault::from(read::<u32>("k", br#"{"v": 2, "value": {"seven": 7}, "more": 1}"#).unwrap_err());
        assert_eq!(fault.code, Code::NotSupported);
        assert_eq!(fault.message, "`k` was written in version 2, and this release knows 1");
    }

    #[test]
    fn junk_is_an_error() {
        for junk in ["", "{}", r#"{"v": 1}"#, r#"{"v": 1, "value": "seven"}"#, r#"{"value": 7}"#] {
            assert!(matches!(read::<u32>("k", junk.as_bytes()), Err(FramedError::Malformed { .. })), "{junk}");
        }
    }
}
