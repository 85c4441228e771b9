//! Why a call to a store failed, in the ways that a caller tells apart.

use std::time::Duration;

use base::{Code, Fault};

use crate::txn::{MAX_TXN_BYTES, MAX_TXN_OPS};
use crate::{Damaged, Guard, LeaseId};

/// What brings a store back whose disk failed.
const BROKEN_HINT: &str = "make room on the disk that `[node] data_dir` is on if it is full, then start tmd again on this \
                           node: what was acknowledged is kept";

/// Why a call to a store failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nobody answered in time; nothing was written.
    #[error("could not reach the store: {why}")]
    Unavailable {
        /// What the last attempt met.
        why: String,
    },
    /// The answer got lost: the transaction may have happened, or may still happen.
    #[error("could not learn whether the transaction happened: {why}")]
    Unclear {
        /// What the last attempt met.
        why: String,
    },
    /// A guard did not hold; nothing was written.
    #[error("the guard does not hold: {guard}")]
    Refused {
        /// The first one that did not.
        guard: Guard,
    },
    /// More bytes than a transaction takes.
    #[error("the transaction has {bytes} bytes, over the limit of {MAX_TXN_BYTES}")]
    TooLarge {
        /// Keys and values together.
        bytes: usize,
    },
    /// More operations or guards than a transaction takes.
    #[error("the transaction has {ops} operations, over the limit of {MAX_TXN_OPS}")]
    TooManyOps {
        /// How many.
        ops: usize,
    },
    /// A call that no store could do.
    #[error("{why}")]
    Invalid {
        /// What is wrong with it.
        why: String,
    },
    /// The value of the key cannot be read.
    #[error("the value of `{}` is damaged: {}", .0.key, .0.reason)]
    Damaged(Damaged),
    /// The lease has ended, and its keys with it.
    #[error("lease {lease} is lost")]
    LeaseLost {
        /// Which one.
        lease: LeaseId,
    },
    /// No room for another write; reads go on.
    #[error("the store is full: {why}")]
    Full {
        /// Which limit was met.
        why: String,
        /// How this kind of store gets room.
        hint: &'static str,
    },
    /// The disk failed in the middle of a write. Nothing is written until the store is opened again; reads go on.
    #[error("the store takes no more writes: {why}")]
    Broken {
        /// What the disk said.
        why: String,
    },
    /// The store does not know us, or does not let us.
    #[error("the store refuses access: {why}")]
    Denied {
        /// Its words.
        why: String,
    },
    /// Values are sealed where they should be plain, plain where they should be sealed, or sealed under another key.
    #[error("the store is not sealed as this node seals: {why}")]
    Mixed {
        /// What was found.
        why: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// Anything else; it does not go away by itself.
    #[error("the store failed: {why}")]
    Failed {
        /// What happened.
        why: String,
    },
}

impl StoreError {
    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        StoreError::Invalid { why: why.into() }
    }

    pub(crate) fn failed(why: impl ToString) -> Self {
        StoreError::Failed { why: why.to_string() }
    }

    /// Whether the same call may well succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Unavailable { .. } | StoreError::Unclear { .. } | StoreError::Full { .. })
    }

    fn code_and_hint(&self) -> (Code, &'static str) {
        match self {
            StoreError::Unavailable { .. } => (Code::Unavailable, "check that etcd runs, and `[store] endpoints`"),
            StoreError::Unclear { .. } => (Code::Unavailable, "read the value again before repeating the change"),
            StoreError::Refused { guard: Guard::CreatedAt(..) } => {
                (Code::StaleEpoch, "another node leads by now; send the request again")
            }
            StoreError::Refused { .. } => (Code::Conflict, "somebody else changed it first; read it again and retry"),
            StoreError::TooLarge { .. } | StoreError::TooManyOps { .. } => {
                (Code::TooLarge, "split it into smaller parts")
            }
            StoreError::Invalid { .. } => (Code::InvalidArgument, "name it without a leading `/`, at most 1024 bytes"),
            StoreError::Damaged(_) => (Code::Internal, "restore the value from a backup, or put or delete it"),
            StoreError::LeaseLost { .. } => {
                (Code::StaleEpoch, "the node joins again by itself; send the request again")
            }
            StoreError::Full { hint, .. } => (Code::StorageFull, hint),
            StoreError::Denied { .. } => (Code::Internal, "check `[store] user` and its role's rights on the prefix"),
            StoreError::Mixed { hint, .. } => (Code::NotSupported, hint),
            StoreError::Broken { .. } => (Code::Internal, BROKEN_HINT),
            StoreError::Failed { .. } => (Code::Internal, "look for the cause in the log of this node"),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        let (code, hint) = error.code_and_hint();
        let fault = Fault::new(code, error.to_string()).hint(hint);
        // Room does not come by waiting for a second.
        match code.is_retriable() && code != Code::StorageFull {
            true => fault.retry_after(Duration::from_secs(1)),
            false => fault,
        }
    }
}
