//! What a store holds: entries with the revisions that made them, and the damaged ones beside them.

use std::fmt;

use bytes::Bytes;

/// A point in the history of a store; grows with every commit that changes something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a lease, unique in its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key, without the store's own prefix.
    pub key: String,
    /// The bytes that were put.
    pub value: Bytes,
    /// When the key came into being; a key that was deleted and put again has a new one.
    pub created: Revision,
    /// When the value was last put.
    pub modified: Revision,
    /// The lease that the entry ends with.
    pub lease: Option<LeaseId>,
}

/// An entry whose value cannot be read: junk, a wrong checksum, or a format of a later release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its key; what is not UTF-8 in it is replaced.
    pub key: String,
    /// What is wrong with the value.
    pub reason: String,
    /// As in [`Entry`].
    pub created: Revision,
    /// As in [`Entry`]; a repair guards itself with it.
    pub modified: Revision,
}

/// What the value of a key is sealed for.
pub(crate) fn place(key: &[u8]) -> Vec<u8> {
    [b"store/", key].concat()
}

/// The entries below a prefix as of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order of their keys.
    pub entries: Vec<Entry>,
    /// Those that cannot be read.
    pub damaged: Vec<Damaged>,
    /// The revision that the listing is a picture of.
    pub revision: Revision,
}

/// A part of a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What is in it.
    pub listing: Listing,
    /// Whether more comes after it.
    pub has_more: bool,
}

impl Listing {
    /// The entry of `key`.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The last key, by which the next page is asked for.
    pub fn last_key(&self) -> &str {
        let entry = self.entries.last().map(|entry| entry.key.as_str());
        let damaged = self.damaged.last().map(|damaged| damaged.key.as_str());
        entry.max(damaged).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, entry: std::result::Result<Entry, Damaged>) {
        match entry {
            Ok(entry) => self.entries.push(entry),
            Err(damaged) => self.damaged.push(damaged),
        }
    }
}
