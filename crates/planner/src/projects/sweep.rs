//! Deletes records that nobody can read any more.
//!
//! Whatever may become such is named by a loose record first: a generation while it is written, and one that the tag's
//! record does not name any more; a tag that is deleted. So what a writer that died left behind is found later, without
//! a search through everything. The ids of tags and generations are never used again, so a late sweep harms nobody. Only
//! who copies a large tag meanwhile begins anew: until its tag is there, nobody can tell it from one that died.

use std::collections::HashMap;

use base::Result;
use bytes::Bytes;
use store::{Guard, MAX_TXN_OPS, Revision, StoreError, Txn};

use super::record::{self, Tag};
use super::{Projects, names};

impl Projects {
    /// Deletes what is loose in a project. A failure costs room only, until the next sweep.
    pub(super) async fn sweep(&self, project: &str) {
        if let Err(error) = self.sweep_all(project).await {
            tracing::warn!(%error, project, "could not delete old records of tasks");
        }
    }

    async fn sweep_all(&self, project: &str) -> Result<()> {
        let prefix = names::loose_prefix(project);
        let loose = self.store.list(&prefix).await?.entries;
        if loose.is_empty() {
            return Ok(());
        }
        // Read after the loose records: a tag is there before any of its own, and as long as it is, names what it needs.
        let tags = names::tags_prefix(project);
        let tags = record::read_all::<Tag>(&tags, &self.store.list(&tags).await?)?;
        let tags: HashMap<String, Tag> = tags.into_iter().map(|(_, tag)| (tag.id.clone(), tag)).collect();
        for entry in loose {
            let Some((id, generation)) = entry.key.strip_prefix(&prefix).and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            let seen = match tags.get(id) {
                Some(tag) if tag.may_need(generation) => continue,
                Some(tag) => {
                    self.delete_below(&names::generation_prefix(project, &tag.id, generation)).await?;
                    entry.modified
                }
                // Somebody may be writing the tag yet: by this record, so nothing of it lands any more.
                None => match self.if_still(&entry.key, entry.modified, |txn, key| txn.put(key, Bytes::new())).await? {
                    Some(taken) => {
                        self.purge(project, id).await?;
                        taken
                    }
                    None => continue,
                },
            };
            // Whoever still writes into the generation has put the record again: then it stays for the next sweep.
            self.if_still(&entry.key, seen, |txn, key| txn.delete(key)).await?;
        }
        Ok(())
    }

    /// Changes a record that was last put at that revision; `None` where it was put since, or is gone.
    async fn if_still(
        &self,
        key: &str,
        modified: Revision,
        change: impl FnOnce(Txn, String) -> Txn,
    ) -> Result<Option<Revision>> {
        let txn = Txn::new().when(Guard::ModifiedAt(key.to_owned(), modified));
        match self.store.commit(change(txn, key.to_owned())).await {
            Ok(revision) => Ok(Some(revision)),
            Err(StoreError::Refused { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes all that was ever written of the tag with that id.
    async fn purge(&self, project: &str, id: &str) -> Result<()> {
        for prefix in names::prefixes_of(project, id) {
            self.delete_below(&prefix).await?;
        }
        Ok(())
    }

    /// Deletes all below a prefix, in as many transactions as that takes.
    async fn delete_below(&self, prefix: &str) -> Result<()> {
        let listing = self.store.list(prefix).await?;
        let damaged = listing.damaged.into_iter().map(|damaged| damaged.key);
        let keys: Vec<String> = listing.entries.into_iter().map(|entry| entry.key).chain(damaged).collect();
        for some in keys.chunks(MAX_TXN_OPS) {
            self.store.commit(some.iter().fold(Txn::new(), |txn, key| txn.delete(key.clone()))).await?;
        }
        Ok(())
    }
}
