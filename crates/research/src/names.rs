//! Names of things: collections by what their owner calls them, documents by where they come from, bytes by what they are.

use std::fmt;

use base::{Fault, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The most characters of a collection's name.
const MOST_CHARS: usize = 64;

/// What a collection is called: small letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CollectionName(String);

impl CollectionName {
    /// Checks a name.
    pub fn parse(name: &str) -> Result<Self> {
        let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let good = !name.is_empty() && name.len() <= MOST_CHARS && name.chars().all(is_letter);
        if !good || name.starts_with(['-', '_']) {
            return Err(Fault::invalid(format!("`{}` cannot be the name of a collection", name.escape_debug())).hint(
                format!(
                    "use small letters, digits, `-` and `_`, beginning with a letter or digit, at most {MOST_CHARS}"
                ),
            ));
        }
        Ok(Self(name.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CollectionName {
    type Error = Fault;

    fn try_from(name: String) -> Result<Self> {
        Self::parse(&name)
    }
}

impl From<CollectionName> for String {
    fn from(name: CollectionName) -> Self {
        name.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes the shapes of an id of so many bytes: hexadecimal in text and JSON.
macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Reads what `Display` wrote.
            pub fn parse(text: &str) -> Result<Self> {
                let wrong = || Fault::invalid(format!("`{}` is not the id of {}", text.escape_debug(), $what));
                if text.len() != 2 * $bytes || !text.is_ascii() {
                    return Err(wrong());
                }
                let mut id = [0; $bytes];
                for (at, byte) in id.iter_mut().enumerate() {
                    let digits = text.get(2 * at..2 * at + 2).ok_or_else(wrong)?;
                    *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
                }
                Ok(Self(id))
            }

            fn first_of(hash: &[u8]) -> Self {
                let mut id = [0; $bytes];
                for (to, from) in id.iter_mut().zip(hash) {
                    *to = *from;
                }
                Self(id)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Fault;

            fn try_from(text: String) -> Result<Self> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hex_id!(
    /// Which document: by its collection and its source, so that a new version of it keeps its id.
    DocId, 12, "a document"
);
hex_id!(
    /// Bytes by their SHA-256.
    BlobId, 32, "stored bytes"
);
hex_id!(
    /// A chunk, or a part of one, by its text with its headings; equal ones share a vector.
    ChunkHash, 16, "a chunk"
);

impl DocId {
    /// The id of what comes from `source` in `collection`.
    pub fn of(collection: &CollectionName, source: &str) -> Self {
        Self::first_of(hash_of_parts(&[collection.as_str(), source]).as_ref())
    }
}

impl BlobId {
    /// The id of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::first_of(&Sha256::digest(bytes))
    }
}

impl ChunkHash {
    /// The hash of a chunk's text below its headings.
    pub fn of(headings: &str, text: &str) -> Self {
        Self::first_of(hash_of_parts(&[headings, text]).as_ref())
    }
}

/// Each part goes in with its length, so that no two lists of parts look alike.
fn hash_of_parts(parts: &[&str]) -> impl AsRef<[u8]> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let collection = CollectionName::parse("house").unwrap();
        let id = DocId::of(&collection, "file:/notes/a.md");
        assert_eq!(DocId::parse(&id.to_string()).unwrap(), id);
        assert!(DocId::parse("zz").is_err());
        assert!(DocId::parse("ääääääääääää").is_err());
        assert_ne!(id, DocId::of(&collection, "file:/notes/b.md"));
    }

    #[test]
    fn names_that_could_be_mistaken_are_refused() {
        for name in ["", "House", "a b", "../x", "-a", "ä", &"a".repeat(65)] {
            assert!(CollectionName::parse(name).is_err(), "{name}");
        }
        assert_eq!(CollectionName::parse("my-notes_2").unwrap().as_str(), "my-notes_2");
    }
}
