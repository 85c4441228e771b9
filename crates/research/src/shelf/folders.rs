//! The records of watched folders: `research/folders/NODE/COLLECTION/HASH`, the hash being that of the path.
//!
//! Any node writes and lists them; the node that has the folder works on it, and tells in the record how it stands. What
//! it tells is written only over the record that it looked at, so that a folder whose watching ended never comes back.

use base::{NodeId, Result};
use serde::{Deserialize, Serialize};
use store::{Guard, MAX_TXN_OPS, Revision, StoreError, Txn, framed};

use super::Shelf;
use crate::knowledge::Folder;
use crate::names::{BlobId, CollectionName};

/// Below this lie the folders of all nodes.
const FOLDERS: &str = "research/folders/";

/// A watched folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// As it was asked for, with the node named, and with how it stands.
    pub folder: Folder,
    /// What the sources of its documents begin with; empty until its node has looked at it.
    #[serde(default)]
    pub below: String,
}

impl Watched {
    /// Where its record is.
    pub fn key(&self) -> String {
        let Folder { node, collection, path, .. } = &self.folder;
        key(&NodeId::new(node.as_str()), collection, path)
    }

    /// Whether both ask for the same, however they stand.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        Folder { state: String::new(), ..self.folder.clone() }
            == Folder { state: String::new(), ..other.folder.clone() }
    }
}

/// Below this lie the folders of a node.
pub fn of_node(node: &NodeId) -> String {
    format!("{FOLDERS}{node}/")
}

/// The key of a folder's record.
pub fn key(node: &NodeId, collection: &CollectionName, path: &str) -> String {
    format!("{FOLDERS}{node}/{collection}/{}", BlobId::of(path.as_bytes()))
}

/// What a record says.
pub fn read(key: &str, value: &[u8]) -> Result<Watched> {
    Ok(framed::read(key, value)?)
}

impl Shelf {
    /// All watched folders. One whose record cannot be read is told in the log, and left out.
    pub async fn folders(&self) -> Result<Vec<Watched>> {
        let listing = self.store.list(FOLDERS).await?;
        for damaged in &listing.damaged {
            tracing::error!(key = damaged.key, reason = damaged.reason, "the record of a folder is damaged");
        }
        let mut all = Vec::with_capacity(listing.entries.len());
        for entry in listing.entries {
            match read(&entry.key, &entry.value) {
                Ok(watched) => all.push(watched),
                Err(fault) => tracing::error!(key = entry.key, error = %fault, "the record of a folder cannot be read"),
            }
        }
        Ok(all)
    }

    /// The folder whose record is at `key`, with its revision.
    pub async fn folder(&self, key: &str) -> Result<Option<(Watched, Revision)>> {
        let Some(entry) = self.store.get(key).await? else { return Ok(None) };
        Ok(Some((read(key, &entry.value)?, entry.modified)))
    }

    /// Writes a folder down, over whatever its record said.
    pub async fn put_folder(&self, watched: &Watched) -> Result<()> {
        let key = watched.key();
        self.store.commit(Txn::new().put(key.clone(), framed::write(&key, watched)?)).await?;
        Ok(())
    }

    /// Writes a folder down if its record is still the one of that revision; else somebody wants something else of it.
    pub async fn tell_folder(&self, watched: &Watched, at: Revision) -> Result<()> {
        let key = watched.key();
        let txn = Txn::new().when(Guard::ModifiedAt(key.clone(), at)).put(key.clone(), framed::write(&key, watched)?);
        match self.store.commit(txn).await {
            Ok(_) | Err(StoreError::Refused { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets folders; those that are not there are fine.
    pub async fn forget_folders(&self, keys: &[String]) -> Result<()> {
        for some in keys.chunks(MAX_TXN_OPS) {
            self.store.commit(some.iter().fold(Txn::new(), |txn, key| txn.delete(key))).await?;
        }
        Ok(())
    }
}
