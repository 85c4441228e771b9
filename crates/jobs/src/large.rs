//! JSON of many megabytes in a store whose transactions take one: a head, and where needed parts beside it.
//!
//! The parts are written first. A head is put only once they are all there, in the transaction that makes it count.

use base::{Fault, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::{Store, framed};

/// The most bytes of a part, and of a value that is not cut; leaves half of a transaction to what goes with it.
const PART_BYTES: usize = 512 << 10;

/// JSON as it goes into the store.
pub(crate) struct Large {
    /// What is put at the value's key.
    pub head: Bytes,
    /// Keys and bytes that must be there before it.
    pub parts: Vec<(String, Bytes)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Head<J> {
    Inline(J),
    Parts { below: String, count: usize, bytes: usize },
}

/// Cuts `json`, which will be at `key`, into parts below `below`, if it is too large for one value.
pub(crate) fn cut(key: &str, below: &str, json: &RawValue) -> Result<Large> {
    let bytes = json.get().len();
    if bytes <= PART_BYTES {
        return Ok(Large { head: framed::write(key, &Head::Inline(json))?, parts: Vec::new() });
    }
    let text = json.get().as_bytes().chunks(PART_BYTES);
    let parts: Vec<_> = text.enumerate().map(|(n, part)| (part_key(below, n), Bytes::copy_from_slice(part))).collect();
    let head = Head::<()>::Parts { below: below.to_owned(), count: parts.len(), bytes };
    Ok(Large { head: framed::write(key, &head)?, parts })
}

/// The JSON at `key`, put together again.
pub(crate) async fn read(store: &dyn Store, key: &str) -> Result<Option<Box<RawValue>>> {
    let Some(entry) = store.get(key).await? else { return Ok(None) };
    let (below, count, bytes) = match framed::read(key, &entry.value)? {
        Head::Inline(json) => return Ok(Some(json)),
        Head::Parts { below, count, bytes } => (below, count, bytes),
    };
    let mut text = Vec::with_capacity(bytes);
    for n in 0..count {
        let part = part_key(&below, n);
        let entry = store.get(&part).await?.ok_or_else(|| Fault::internal(format!("`{part}` is missing")))?;
        text.extend_from_slice(&entry.value);
    }
    let unreadable = || Fault::internal(format!("the parts of `{key}` do not fit together"));
    if text.len() != bytes {
        return Err(unreadable());
    }
    let text = String::from_utf8(text).map_err(|error| unreadable().because(error))?;
    RawValue::from_string(text).map(Some).map_err(|error| unreadable().because(error))
}

fn part_key(below: &str, n: usize) -> String {
    format!("{below}/{n:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_of(bytes: usize) -> Box<RawValue> {
        RawValue::from_string(format!("\"{}\"", "x".repeat(bytes - 2))).unwrap()
    }

    #[test]
    fn only_what_is_too_large_is_cut() {
        assert!(cut("k", "p", &json_of(PART_BYTES)).unwrap().parts.is_empty());
        let cut = cut("k", "p", &json_of(PART_BYTES + 1)).unwrap();
        let sizes: Vec<_> = cut.parts.iter().map(|(key, part)| (key.as_str(), part.len())).collect();
        assert_eq!(sizes, [("p/0000", PART_BYTES), ("p/0001", 1)]);
        assert_eq!(&cut.head[..], br#"{"v":1,"value":{"parts":{"below":"p","count":2,"bytes":524289}}}"#);
    }
}
