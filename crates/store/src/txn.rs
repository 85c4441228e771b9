//! A transaction: guards that must hold, then puts and deletes; all or nothing. Checked before anything is sent.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;

use crate::{LeaseId, Revision, StoreError};

/// The most operations of a transaction, and the most guards; etcd's own limit.
pub const MAX_TXN_OPS: usize = 128;

/// The most bytes of keys and values of a transaction; below etcd's 1.5 MiB for a request.
pub const MAX_TXN_BYTES: usize = 1 << 20;

const MAX_KEY_BYTES: usize = 1024;

/// A claim that must be true at the moment of the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The key does not exist.
    Absent(String),
    /// The key exists and was last put at that revision.
    ModifiedAt(String, Revision),
    /// The key exists since that revision. With an election's key this fences: see [`crate::Leadership::guard`].
    CreatedAt(String, Revision),
}

impl Guard {
    /// The key that the claim is about.
    pub fn key(&self) -> &str {
        match self {
            Guard::Absent(key) | Guard::ModifiedAt(key, _) | Guard::CreatedAt(key, _) => key,
        }
    }

    /// Whether the claim is true of a key with these `(created, modified)` revisions.
    pub(crate) fn holds(&self, found: Option<(Revision, Revision)>) -> bool {
        match (self, found) {
            (Guard::Absent(_), found) => found.is_none(),
            (Guard::ModifiedAt(_, wanted), Some((_, modified))) => *wanted == modified,
            (Guard::CreatedAt(_, wanted), Some((created, _))) => *wanted == created,
            (Guard::ModifiedAt(..) | Guard::CreatedAt(..), None) => false,
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Absent(key) => write!(f, "`{key}` does not exist"),
            Guard::ModifiedAt(key, revision) => write!(f, "`{key}` was last put at revision {revision}"),
            Guard::CreatedAt(key, revision) => write!(f, "`{key}` exists since revision {revision}"),
        }
    }
}

/// A value to put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Where.
    pub key: String,
    /// What.
    pub value: Bytes,
    /// The lease that the entry ends with; `None` takes it off any lease.
    pub lease: Option<LeaseId>,
}

/// Guards, puts and deletes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub guards: Vec<Guard>,
    /// Each key at most once in `puts` and `deletes` together.
    pub puts: Vec<Put>,
    /// Deleting what does not exist is fine.
    pub deletes: Vec<String>,
}

impl Txn {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a guard.
    pub fn when(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// Adds a put.
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.puts.push(Put { key: key.into(), value: value.into(), lease: None });
        self
    }

    /// Adds a put of an entry that ends with `lease`.
    pub fn put_leased(mut self, key: impl Into<String>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        self.puts.push(Put { key: key.into(), value: value.into(), lease: Some(lease) });
        self
    }

    /// Adds a delete.
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.deletes.push(key.into());
        self
    }

    /// Refuses what no store could take.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let ops = self.puts.len() + self.deletes.len();
        if ops > MAX_TXN_OPS || self.guards.len() > MAX_TXN_OPS {
            return Err(StoreError::TooManyOps { ops: ops.max(self.guards.len()) });
        }
        let put_keys = self.puts.iter().map(|put| put.key.as_str());
        let mut written = HashSet::with_capacity(ops);
        let mut bytes = self.puts.iter().map(|put| put.value.len()).sum::<usize>();
        for key in put_keys.chain(self.deletes.iter().map(String::as_str)) {
            check_key(key)?;
            bytes += key.len();
            if !written.insert(key) {
                return Err(StoreError::invalid(format!("key `{key}` is written twice in one transaction")));
            }
        }
        for guard in &self.guards {
            check_key(guard.key())?;
            bytes += guard.key().len();
        }
        if bytes > MAX_TXN_BYTES {
            return Err(StoreError::TooLarge { bytes });
        }
        Ok(())
    }
}

/// Refuses a key that a store could not take, or that would escape its prefix.
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES || key.starts_with('/') || key.contains('\0') {
        return Err(StoreError::invalid(format!("`{}` cannot be a key", key.escape_debug())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_written_twice_is_refused() {
        let txn = Txn::new().put("a", "1").delete("a");
        assert!(matches!(txn.check(), Err(StoreError::Invalid { .. })));
        assert!(Txn::new().put("a", "1").delete("b").check().is_ok());
    }

    #[test]
    fn sizes_are_refused_just_above_the_limit() {
        let ops = |n: usize| (0..n).fold(Txn::new(), |txn, i| txn.delete(format!("k{i}")));
        assert!(ops(MAX_TXN_OPS).check().is_ok());
        assert!(matches!(ops(MAX_TXN_OPS + 1).check(), Err(StoreError::TooManyOps { .. })));
        let bytes = |n: usize| Txn::new().put("k", vec![0; n]);
        assert!(bytes(MAX_TXN_BYTES - 1).check().is_ok());
        assert!(matches!(bytes(MAX_TXN_BYTES).check(), Err(StoreError::TooLarge { .. })));
    }
}
