//! The records of collections and documents in the store: the truth about what the knowledge base holds.
//!
//! `research/collections/NAME` and `research/documents/NAME/ID`. A document is written under the revision that it had, and
//! under its collection's: nothing is written into a collection that goes. A collection goes in steps, marked first, so
//! that a node that dies in between leaves something to finish and nothing to find.

pub mod folders;
mod known;

use base::time::unix_ms;
use base::{Code, Fault, Result};
use serde::{Deserialize, Serialize};
use store::{Guard, MAX_TXN_BYTES, MAX_TXN_OPS, Revision, SharedStore, StoreError, Txn, framed};

use crate::document::Document;
use crate::knowledge::NewCollection;
use crate::names::{BlobId, CollectionName, DocId};
use crate::outside::Standing;
pub use known::{Change, Known, Record};

/// Below this lies everything of the knowledge base.
pub const ALL: &str = "research/";
const COLLECTIONS: &str = "research/collections/";
const DOCUMENTS: &str = "research/documents/";
/// What is known of the server of vectors.
const OUTSIDE: &str = "research/outside";

/// What chunks aim at where nobody said anything, in tokens.
pub const CHUNK_TOKENS: u32 = 310;
/// The least and the most that chunks may aim at.
const CHUNK_TOKENS_WITHIN: std::ops::RangeInclusive<u32> = 40..=2000;
/// The most bytes of a description.
const MOST_DESCRIPTION: usize = 4 << 10;
/// Documents of one transaction; each is a put and a guard, and the collection's guard comes on top.
pub const MOST_AT_ONCE: usize = MAX_TXN_OPS - 1;
/// The most bytes of their records, with room for the guards of a collection and a writer.
const RECORDS_BYTES: usize = MAX_TXN_BYTES - (8 << 10);
/// A document's key in its put and in its guard, with the frame of its record.
const KEYS_BYTES: usize = 512;

/// A collection's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// What it is called.
    pub name: CollectionName,
    /// What it is for.
    pub description: String,
    /// What chunks aim at, in tokens.
    pub chunk_tokens: u32,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// It goes: nothing of it is found any more.
    #[serde(default)]
    pub goes: bool,
}

/// The records of the store.
#[derive(Clone)]
pub struct Shelf {
    store: SharedStore,
}

/// A document as it shall be, and the revision that it has now; `None`: it does not exist.
pub type Write = (Document, Option<Revision>);

impl Shelf {
    /// The records in `store`.
    pub fn new(store: SharedStore) -> Self {
        Self { store }
    }

    /// Makes a collection.
    pub async fn create(&self, new: NewCollection) -> Result<Collection> {
        let collection = fresh(new)?;
        let key = collection_key(&collection.name);
        let txn = Txn::new().when(Guard::Absent(key.clone())).put(key.clone(), framed::write(&key, &collection)?);
        match self.store.commit(txn).await {
            Ok(_) => Ok(collection),
            Err(StoreError::Refused { .. }) => {
                let fault = Fault::new(Code::Conflict, format!("there is a collection `{}` already", collection.name));
                Err(fault.hint("add to it, or choose another name"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The collection of that name, with its revision.
    pub async fn find(&self, name: &CollectionName) -> Result<Option<(Collection, Revision)>> {
        let key = collection_key(name);
        let Some(entry) = self.store.get(&key).await? else { return Ok(None) };
        Ok(Some((framed::read(&key, &entry.value)?, entry.modified)))
    }

    /// The collection of that name; it is made where it does not exist.
    pub async fn find_or_create(&self, name: &CollectionName) -> Result<(Collection, Revision)> {
        loop {
            if let Some((collection, at)) = self.find(name).await? {
                if collection.goes {
                    let fault = Fault::new(Code::Conflict, format!("collection `{name}` is being deleted"));
                    return Err(fault.hint("wait until it is gone, or choose another name"));
                }
                return Ok((collection, at));
            }
            let new = NewCollection { name: name.clone(), description: String::new(), chunk_tokens: 0 };
            match self.create(new).await {
                Err(fault) if fault.code != Code::Conflict => return Err(fault),
                // Somebody else was first; either way it is there now.
                _ => {}
            }
        }
    }

    /// The document, with its revision.
    pub async fn document(&self, collection: &CollectionName, id: DocId) -> Result<Option<(Document, Revision)>> {
        let key = document_key(collection, id);
        let Some(entry) = self.store.get(&key).await? else { return Ok(None) };
        Ok(Some((framed::read(&key, &entry.value)?, entry.modified)))
    }

    /// The documents of a collection, as the store has them this moment; what cannot be read is left out.
    pub async fn documents(&self, collection: &CollectionName) -> Result<Vec<Document>> {
        let entries = self.store.list(&documents_prefix(collection)).await?.entries;
        Ok(entries.iter().filter_map(|entry| framed::read(&entry.key, &entry.value).ok()).collect())
    }

    /// Writes documents of one collection: all or none. `Ok(false)`: one of them, or the collection, changed meanwhile.
    pub async fn put(&self, collection: &CollectionName, at: Revision, writes: &[Write]) -> Result<bool> {
        self.commit_below(collection, at, writes, None).await
    }

    /// The same, as long as `holds` does: for what only the writer may do.
    pub async fn put_guarded(
        &self,
        collection: &CollectionName,
        at: Revision,
        writes: &[Write],
        holds: Guard,
    ) -> Result<bool> {
        self.commit_below(collection, at, writes, Some(holds)).await
    }

    async fn commit_below(
        &self,
        collection: &CollectionName,
        at: Revision,
        writes: &[Write],
        holds: Option<Guard>,
    ) -> Result<bool> {
        let mut txn = Txn::new().when(Guard::ModifiedAt(collection_key(collection), at));
        if let Some(holds) = holds {
            txn = txn.when(holds);
        }
        for (document, had) in writes {
            let key = document_key(collection, document.id);
            let value = framed::write(&key, document)?;
            let guard = match had {
                Some(revision) => Guard::ModifiedAt(key.clone(), *revision),
                None => Guard::Absent(key.clone()),
            };
            txn = txn.when(guard).put(key, value);
        }
        match self.store.commit(txn).await {
            Ok(_) => Ok(true),
            Err(StoreError::Refused { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes documents; those that do not exist are fine.
    pub async fn remove(&self, collection: &CollectionName, ids: &[DocId]) -> Result<()> {
        for ids in ids.chunks(MAX_TXN_OPS) {
            let txn = ids.iter().fold(Txn::new(), |txn, id| txn.delete(document_key(collection, *id)));
            self.store.commit(txn).await?;
        }
        Ok(())
    }

    /// What is known of the server of vectors, with its revision; the default where nobody wrote anything.
    pub async fn standing(&self) -> Result<(Standing, Option<Revision>)> {
        let Some(entry) = self.store.get(OUTSIDE).await? else { return Ok(Default::default()) };
        Ok((framed::read(OUTSIDE, &entry.value)?, Some(entry.modified)))
    }

    /// Writes it down, in place of that revision, and as long as `holds` does. `Ok(false)`: it changed meanwhile.
    pub async fn put_standing(&self, standing: &Standing, had: Option<Revision>, holds: Option<Guard>) -> Result<bool> {
        let guard = match had {
            Some(revision) => Guard::ModifiedAt(OUTSIDE.to_owned(), revision),
            None => Guard::Absent(OUTSIDE.to_owned()),
        };
        let txn = holds.into_iter().fold(Txn::new().when(guard), Txn::when);
        match self.store.commit(txn.put(OUTSIDE, framed::write(OUTSIDE, standing)?)).await {
            Ok(_) => Ok(true),
            Err(StoreError::Refused { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a collection with its documents; gives how many those were. `None`: there is none of that name.
    pub async fn delete(&self, name: &CollectionName) -> Result<Option<u64>> {
        let key = collection_key(name);
        loop {
            let Some((mut collection, at)) = self.find(name).await? else { return Ok(None) };
            if collection.goes {
                break;
            }
            collection.goes = true;
            let txn = Txn::new().when(Guard::ModifiedAt(key.clone(), at)).put(&key, framed::write(&key, &collection)?);
            match self.store.commit(txn).await {
                Ok(_) => break,
                Err(StoreError::Refused { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.finish_deleting(name).await.map(Some)
    }

    /// Deletes what is left of a collection that goes; gives how many documents. Where another one was faster, the name
    /// may stand for a new collection by now, of which nothing is touched.
    pub async fn finish_deleting(&self, name: &CollectionName) -> Result<u64> {
        let Some((_, at)) = self.find(name).await?.filter(|(collection, _)| collection.goes) else { return Ok(0) };
        let it_goes = Guard::ModifiedAt(collection_key(name), at);
        let listing = self.store.list(&documents_prefix(name)).await?;
        let damaged = listing.damaged.into_iter().map(|damaged| damaged.key);
        let keys: Vec<String> = listing.entries.into_iter().map(|entry| entry.key).chain(damaged).collect();
        let documents = keys.chunks(MAX_TXN_OPS).map(<[String]>::to_vec);
        for some in documents.chain(std::iter::once(vec![collection_key(name)])) {
            let txn = some.into_iter().fold(Txn::new().when(it_goes.clone()), Txn::delete);
            match self.store.commit(txn).await {
                Ok(_) => {}
                Err(StoreError::Refused { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(keys.len() as u64)
    }

    /// Whether documents are what they were at these revisions.
    pub async fn are_still(&self, collection: &CollectionName, documents: &[(DocId, Revision)]) -> Result<bool> {
        for some in documents.chunks(MAX_TXN_OPS) {
            let guard = |(id, at): &(DocId, Revision)| Guard::ModifiedAt(document_key(collection, *id), *at);
            match self.store.commit(some.iter().map(guard).fold(Txn::new(), Txn::when)).await {
                Ok(_) => {}
                Err(StoreError::Refused { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

/// The files that the document's record at `key` names; `None`: there is no document's record at that key.
pub fn files_of(key: &str, value: &[u8]) -> Option<Result<Vec<BlobId>>> {
    key.strip_prefix(DOCUMENTS)?;
    let read = framed::read::<Document>(key, value).map_err(Fault::from);
    Some(read.map(|document| std::iter::once(document.original).chain(document.text()).collect()))
}

/// What becomes records, in groups, each of which goes into one transaction.
pub fn in_groups<T>(documents: Vec<T>, record_of: impl Fn(&T) -> Document) -> Vec<Vec<T>> {
    let (mut groups, mut group, mut bytes) = (Vec::new(), Vec::new(), 0);
    for document in documents {
        // What cannot be written is refused when it is to be.
        let size = serde_json::to_vec(&record_of(&document)).map_or(0, |record| record.len() + KEYS_BYTES);
        if !group.is_empty() && bytes + size > RECORDS_BYTES {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes += size;
        group.push(document);
    }
    groups.extend(Some(group).filter(|group| !group.is_empty()));
    groups
}

fn fresh(new: NewCollection) -> Result<Collection> {
    let NewCollection { name, description, chunk_tokens } = new;
    if description.len() > MOST_DESCRIPTION {
        let fault =
            format!("the description of `{name}` has {} bytes; at most {MOST_DESCRIPTION} are kept", description.len());
        return Err(Fault::new(Code::TooLarge, fault).hint("say it shorter"));
    }
    let chunk_tokens = if chunk_tokens == 0 { CHUNK_TOKENS } else { chunk_tokens };
    if !CHUNK_TOKENS_WITHIN.contains(&chunk_tokens) {
        let (least, most) = (CHUNK_TOKENS_WITHIN.start(), CHUNK_TOKENS_WITHIN.end());
        return Err(Fault::invalid(format!("chunks of {chunk_tokens} tokens are not made"))
            .hint(format!("choose from {least} to {most}, or leave it away for {CHUNK_TOKENS}")));
    }
    Ok(Collection { name, description, chunk_tokens, created_ms: unix_ms(), goes: false })
}

fn collection_key(name: &CollectionName) -> String {
    format!("{COLLECTIONS}{name}")
}

fn documents_prefix(collection: &CollectionName) -> String {
    format!("{DOCUMENTS}{collection}/")
}

fn document_key(collection: &CollectionName, id: DocId) -> String {
    format!("{DOCUMENTS}{collection}/{id}")
}
