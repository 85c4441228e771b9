//! A wish that others wait: a change of many tasks takes longer to write than one of few, so without it the small ones of
//! another node would come first again and again.
//!
//! It stands in the tag's record, and whoever makes a change looks there first. Nothing depends on it but who comes first:
//! whoever waited for a while goes on, and the change that comes next takes it away.

use std::time::Duration;

use base::Result;
use store::{Guard, StoreError, Txn};
use tokio::time::{Instant, sleep};

use super::record::{self, Tag};
use super::{Projects, Snapshot, names};

/// How long others are waited for, who may be gone: ten thousand tasks take about a second.
const MOST_WAIT: Duration = Duration::from_secs(3);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// How often the wish is tried to be put while others change the tag's record.
const MOST_TRIES: usize = 20;

impl Projects {
    /// What a change is decided on, once no other node wants this one to wait.
    pub(super) async fn before(&self, project: &str, tag: &str) -> Result<Snapshot> {
        let until = Instant::now() + MOST_WAIT;
        loop {
            let snapshot = self.snapshot(project, tag).await?;
            let held_by = &snapshot.about.held_by;
            if held_by.is_empty() || *held_by == self.node || Instant::now() >= until {
                return Ok(snapshot);
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Lets the others wait, unless one of them wants that already.
    pub(super) async fn hold(&self, project: &str, tag: &str) -> Result<()> {
        for _ in 0..MOST_TRIES {
            if self.put_holder("", &self.node, project, tag).await? {
                break;
            }
        }
        Ok(())
    }

    /// Lets nobody wait for a change any more that this node gave up.
    pub(super) async fn release(&self, project: &str, tag: &str) {
        if let Err(error) = self.put_holder(&self.node, "", project, tag).await {
            tracing::warn!(%error, project, "changes by other nodes wait for some seconds");
        }
    }

    /// Puts `to` in the place of `from` in the tag's record, if that stands there; `false` when others came first.
    async fn put_holder(&self, from: &str, to: &str, project: &str, tag: &str) -> Result<bool> {
        let Some(entry) = self.store.get(&names::tag_key(project, tag)).await? else { return Ok(true) };
        let about = record::tag(tag, &entry)?;
        if about.held_by != from {
            return Ok(true);
        }
        let about = record::write_about(&Tag { held_by: to.to_owned(), ..about })?;
        let guard = Guard::ModifiedAt(entry.key.clone(), entry.modified);
        match self.store.commit(Txn::new().when(guard).put(entry.key, about)).await {
            Ok(_) => Ok(true),
            Err(StoreError::Refused { .. } | StoreError::Unclear { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
