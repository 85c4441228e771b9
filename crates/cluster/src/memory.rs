//! What a node remembers across its own restarts: its lives, the highest epoch that it saw, who the others were.

use std::sync::atomic::{AtomicU64, Ordering};

use base::{Epoch, Incarnation};
use bytes::Bytes;
use store::StoreError;
use store::local::Table;

use crate::view::Member;

const INCARNATION_KEY: &[u8] = b"incarnation";
const EPOCH_KEY: &[u8] = b"epoch";
const MEMBERS_KEY: &[u8] = b"members";

/// A node's memory, in its local table.
pub(crate) struct Memory {
    table: Table,
    incarnation: AtomicU64,
    epoch: AtomicU64,
}

impl Memory {
    /// What is in `table`. Damaged values count as forgotten: the store knows better, and the node must start.
    pub fn open(table: Table) -> Result<Self, StoreError> {
        let incarnation = AtomicU64::new(number(&table, INCARNATION_KEY)?);
        let epoch = AtomicU64::new(number(&table, EPOCH_KEY)?);
        Ok(Self { table, incarnation, epoch })
    }

    /// The life that the node is in.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.load(Ordering::Acquire))
    }

    /// Begins the next life. It has its number even where that cannot be kept.
    pub async fn begin_life(&self) -> Result<(), StoreError> {
        let incarnation = self.incarnation.fetch_add(1, Ordering::AcqRel) + 1;
        self.table.put_durable(INCARNATION_KEY, incarnation.to_string().as_bytes()).await
    }

    /// The highest epoch that the node ever saw.
    pub fn highest_epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Remembers `epoch` if it is the highest one.
    pub async fn saw_epoch(&self, epoch: Epoch) -> Result<(), StoreError> {
        if self.epoch.fetch_max(epoch.0, Ordering::AcqRel) >= epoch.0 {
            return Ok(());
        }
        self.table.put_durable(EPOCH_KEY, epoch.0.to_string().as_bytes()).await
    }

    /// Who was in the cluster when the node last ran.
    pub fn members(&self) -> Result<Vec<Member>, StoreError> {
        let read = |bytes: Bytes| serde_json::from_slice(&bytes).ok();
        Ok(get(&self.table, MEMBERS_KEY, read)?.unwrap_or_default())
    }

    /// Keeps the members for a start without the store. Losing this costs a slower start, so it is not made durable.
    pub fn keep_members(&self, members: &[Member]) {
        let kept = serde_json::to_vec(members).map_err(|error| error.to_string());
        let kept = kept.and_then(|bytes| self.table.put(MEMBERS_KEY, &bytes).map_err(|error| error.to_string()));
        if let Err(error) = kept {
            tracing::warn!(error, "could not keep the last known members");
        }
    }
}

fn number(table: &Table, key: &[u8]) -> Result<u64, StoreError> {
    let read = |bytes: Bytes| std::str::from_utf8(&bytes).ok()?.parse().ok();
    Ok(get(table, key, read)?.unwrap_or(0))
}

fn get<T>(table: &Table, key: &[u8], read: impl Fn(Bytes) -> Option<T>) -> Result<Option<T>, StoreError> {
    let value = match table.get(key) {
        Ok(None) => return Ok(None),
        Ok(Some(bytes)) => read(bytes),
        Err(StoreError::Damaged(_)) => None,
        Err(error) => return Err(error),
    };
    if value.is_none() {
        tracing::error!(key = %key.escape_ascii(), "what this node remembered is damaged; it goes on without");
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(dir: &std::path::Path) -> Table {
        store::Local::open(dir).unwrap().store.table("cluster").unwrap()
    }

    #[tokio::test]
    async fn lives_and_epochs_only_grow_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::open(table(dir.path())).unwrap();
        memory.begin_life().await.unwrap();
        memory.saw_epoch(Epoch(9)).await.unwrap();
        memory.saw_epoch(Epoch(4)).await.unwrap();
        drop(memory);
        let memory = Memory::open(table(dir.path())).unwrap();
        memory.begin_life().await.unwrap();
        assert_eq!((memory.incarnation(), memory.highest_epoch()), (Incarnation(2), Epoch(9)));
    }

    #[tokio::test]
    async fn a_damaged_memory_does_not_stop_the_node() {
        let dir = tempfile::tempdir().unwrap();
        let table = table(dir.path());
        for key in [INCARNATION_KEY, EPOCH_KEY, MEMBERS_KEY] {
            table.put(key, b"\xffjunk").unwrap();
        }
        let memory = Memory::open(table).unwrap();
        memory.begin_life().await.unwrap();
        assert_eq!((memory.incarnation(), memory.members().unwrap()), (Incarnation(1), Vec::new()));
    }
}
