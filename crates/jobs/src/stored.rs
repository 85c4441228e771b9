//! The form of every stored value: `{"v": VERSION, "value": …}`. A later release may change `value`, never the frame.

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
pub(crate) enum StoredError {
    /// Written by a later release.
    #[error("`{key}` was written in version {version}, and this release knows {VERSION}")]
    Newer { key: String, version: u32 },
    /// Not what it should be.
    #[error("could not read `{key}`")]
    Malformed { key: String, source: serde_json::Error },
    /// Cannot be written as JSON.
    #[error("could not write `{key}` as json")]
    Unwritable { key: String, source: serde_json::Error },
}

/// `value` as it is put at `key`.
pub(crate) fn write<T: Serialize>(key: &str, value: &T) -> Result<Bytes, StoredError> {
    let written = serde_json::to_vec(&Written { v: VERSION, value });
    written.map(Bytes::from).map_err(|source| StoredError::Unwritable { key: key.to_owned(), source })
}

/// What was put at `key`.
pub(crate) fn read<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, StoredError> {
    let malformed = |source| StoredError::Malformed { key: key.to_owned(), source };
    let found: Found = serde_json::from_slice(bytes).map_err(malformed)?;
    if found.v > VERSION {
        return Err(StoredError::Newer { key: key.to_owned(), version: found.v });
    }
    serde_json::from_str(found.value.get()).map_err(malformed)
}

impl From<StoredError> for Fault {
    fn from(error: StoredError) -> Fault {
        let message = error.to_string();
        match error {
            StoredError::Newer { .. } => {
                Fault::new(Code::NotSupported, message).hint("update this node, or leave the job to a newer one")
            }
            StoredError::Malformed { source, .. } => Fault::internal(message)
                .because(source)
                .hint("restore the store from a backup, or submit the job again"),
            StoredError::Unwritable { source, .. } => {
                Fault::internal(message).because(source).hint("this is a fault of the work: report it")
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
            assert!(matches!(read::<u32>("k", junk.as_bytes()), Err(StoredError::Malformed { .. })), "{junk}");
        }
    }
}
