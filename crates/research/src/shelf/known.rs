//! The records as one node knows them, kept in step by a watch: what listings, filters and the index go by.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Fault;
use store::{Entry, Listing, Revision, WatchEvent, framed};

use super::{COLLECTIONS, Collection, DOCUMENTS, OUTSIDE};
use crate::document::Document;
use crate::index::Shards;
use crate::names::{CollectionName, DocId};
use crate::outside::Standing;

/// A record with the revision that it was read at.
#[derive(Clone, Debug)]
pub struct Record<T> {
    /// The record.
    pub value: Arc<T>,
    /// When it was last put.
    pub at: Revision,
}

/// The documents of a collection.
#[derive(Clone, Debug, Default)]
struct Documents {
    records: Shards<DocId, Record<Document>>,
    /// Of all of them.
    bytes: u64,
}

/// All records. Cheap to clone: the parts are shared until they change.
#[derive(Clone, Debug, Default)]
pub struct Known {
    collections: Arc<BTreeMap<CollectionName, Record<Collection>>>,
    documents: Arc<BTreeMap<CollectionName, Arc<Documents>>>,
    /// Records that this release cannot read, with why; they are left alone.
    unreadable: Arc<BTreeMap<String, String>>,
    standing: Arc<Standing>,
    revision: Revision,
}

/// What an event changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that matters here.
    None,
    /// That document, or it is gone.
    Document(CollectionName, DocId),
    /// A collection came, changed or went; or all may be different.
    All,
}

impl Known {
    /// The collections that do not go, by name.
    pub fn collections(&self) -> impl Iterator<Item = &Record<Collection>> {
        self.collections.values().filter(|record| !record.value.goes)
    }

    /// The collections that go.
    pub fn going(&self) -> impl Iterator<Item = &CollectionName> {
        self.collections.iter().filter(|(_, record)| record.value.goes).map(|(name, _)| name)
    }

    /// The collection of that name, unless it goes.
    pub fn collection(&self, name: &CollectionName) -> Option<&Record<Collection>> {
        self.collections.get(name).filter(|record| !record.value.goes)
    }

    /// The documents of a collection that does not go, in no order.
    pub fn documents(&self, collection: &CollectionName) -> impl Iterator<Item = &Record<Document>> {
        let found = self.collection(collection).and_then(|_| self.documents.get(collection));
        found.into_iter().flat_map(|documents| documents.records.values())
    }

    /// All documents of all collections that do not go, in no order.
    pub fn all_documents(&self) -> impl Iterator<Item = &Record<Document>> {
        self.collections().flat_map(|record| self.documents(&record.value.name))
    }

    /// The bytes of all documents of all collections that do not go.
    pub fn bytes(&self) -> u64 {
        self.collections().filter_map(|record| self.documents.get(&record.value.name)).map(|found| found.bytes).sum()
    }

    /// A document by its id.
    pub fn document(&self, collection: &CollectionName, id: DocId) -> Option<&Record<Document>> {
        self.collection(collection).and_then(|_| self.documents.get(collection)?.records.get(&id))
    }

    /// Records that cannot be read, by key, with why.
    pub fn unreadable(&self) -> &BTreeMap<String, String> {
        &self.unreadable
    }

    /// What is known of the server of vectors.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The newest revision that was heard of.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Takes an event of the watch below [`super::ALL`].
    pub fn apply(&mut self, event: WatchEvent) -> Change {
        match event {
            WatchEvent::Reset(listing) => self.reset(listing),
            WatchEvent::Put(entry) => self.put(entry),
            WatchEvent::Damaged(damaged) => {
                self.forget(&damaged.key);
                Arc::make_mut(&mut self.unreadable).insert(damaged.key, damaged.reason);
                Change::All
            }
            WatchEvent::Deleted { key, revision } => {
                self.revision = self.revision.max(revision);
                self.forget(&key)
            }
        }
    }

    fn reset(&mut self, listing: Listing) -> Change {
        *self = Self { revision: listing.revision, ..Self::default() };
        let damaged = listing.damaged.into_iter().map(|damaged| (damaged.key, damaged.reason));
        self.unreadable = Arc::new(damaged.collect());
        for entry in listing.entries {
            self.put(entry);
        }
        Change::All
    }

    fn put(&mut self, entry: Entry) -> Change {
        let Entry { key, value, modified, .. } = entry;
        self.revision = self.revision.max(modified);
        let taken = if let Some(name) = key.strip_prefix(COLLECTIONS) {
            self.put_collection(name, &key, &value, modified)
        } else if let Some(place) = key.strip_prefix(DOCUMENTS) {
            self.put_document(place, &key, &value, modified)
        } else if key == OUTSIDE {
            framed::read(&key, &value).map_err(Fault::from).map(|standing| {
                self.standing = Arc::new(standing);
                Change::None
            })
        } else {
            return Change::None;
        };
        match taken {
            Ok(change) => {
                if self.unreadable.contains_key(&key) {
                    Arc::make_mut(&mut self.unreadable).remove(&key);
                }
                change
            }
            Err(fault) => {
                tracing::error!(key, error = %fault, "a record of the knowledge base cannot be read");
                self.forget(&key);
                Arc::make_mut(&mut self.unreadable).insert(key, fault.full_message());
                Change::All
            }
        }
    }

    fn put_collection(&mut self, name: &str, key: &str, value: &[u8], at: Revision) -> base::Result<Change> {
        let name = CollectionName::parse(name)?;
        let collection: Collection = framed::read(key, value)?;
        Arc::make_mut(&mut self.collections).insert(name, Record { value: Arc::new(collection), at });
        Ok(Change::All)
    }

    fn put_document(&mut self, place: &str, key: &str, value: &[u8], at: Revision) -> base::Result<Change> {
        let (collection, id) = parse_place(place)?;
        let document: Document = framed::read(key, value)?;
        let documents = Arc::make_mut(&mut self.documents).entry(collection.clone()).or_default();
        Arc::make_mut(documents).put(id, Record { value: Arc::new(document), at });
        Ok(Change::Document(collection, id))
    }

    fn forget(&mut self, key: &str) -> Change {
        if self.unreadable.contains_key(key) {
            Arc::make_mut(&mut self.unreadable).remove(key);
        }
        if key == OUTSIDE {
            self.standing = Arc::default();
            return Change::None;
        }
        if let Some(Ok(name)) = key.strip_prefix(COLLECTIONS).map(CollectionName::parse) {
            Arc::make_mut(&mut self.collections).remove(&name);
            return Change::All;
        }
        let Some(Ok((collection, id))) = key.strip_prefix(DOCUMENTS).map(parse_place) else { return Change::None };
        let all = Arc::make_mut(&mut self.documents);
        if let Some(documents) = all.get_mut(&collection) {
            Arc::make_mut(documents).forget(&id);
            if documents.records.len() == 0 {
                all.remove(&collection);
            }
        }
        Change::Document(collection, id)
    }
}

impl Documents {
    fn put(&mut self, id: DocId, record: Record<Document>) {
        self.forget(&id);
        self.bytes += record.value.bytes;
        self.records.insert(id, record);
    }

    fn forget(&mut self, id: &DocId) {
        self.bytes -= self.records.remove(id).map_or(0, |gone| gone.value.bytes);
    }
}

/// `NAME/ID`, as it stands behind the prefix of a document's key.
fn parse_place(place: &str) -> base::Result<(CollectionName, DocId)> {
    let (name, id) = place.split_once('/').unwrap_or((place, ""));
    Ok((CollectionName::parse(name)?, DocId::parse(id)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(key: &str, value: serde_json::Value, at: u64) -> WatchEvent {
        let (at, value) = (Revision(at), json!({"v": 1, "value": value}).to_string());
        WatchEvent::Put(Entry { key: key.to_owned(), value: value.into(), created: at, modified: at, lease: None })
    }

    #[test]
    fn the_sum_of_bytes_is_that_of_the_documents_that_are_there() {
        let collection =
            |goes| json!({"name": "a", "description": "", "chunk_tokens": 300, "created_ms": 1, "goes": goes});
        let key = |id: &str| format!("research/documents/a/{}", id.repeat(24));
        let document = |id: &str, bytes: u64| {
            json!({
                "id": id.repeat(24), "collection": "a", "source": id, "version": 1, "original": "0".repeat(64),
                "bytes": bytes, "meta": {}, "language": "", "state": "failed", "reason": "", "added_ms": 1,
                "changed_ms": 1, "reader": 1,
            })
        };
        let mut known = Known::default();
        let steps = [
            (entry("research/collections/a", collection(false), 1), 0),
            (entry(&key("1"), document("1", 5), 2), 5),
            (entry(&key("2"), document("2", 7), 3), 12),
            (entry(&key("1"), document("1", 50), 4), 57),
            (WatchEvent::Deleted { key: key("3"), revision: Revision(5) }, 57),
            (WatchEvent::Deleted { key: key("2"), revision: Revision(6) }, 50),
            (entry(&key("1"), json!("none"), 7), 0),
            (entry(&key("1"), document("1", 3), 8), 3),
            (entry("research/collections/a", collection(true), 9), 0),
        ];
        for (at, (event, bytes)) in steps.into_iter().enumerate() {
            let before = known.clone();
            known.apply(event);
            assert_eq!(known.bytes(), bytes, "after step {at}");
            assert_eq!(known.all_documents().map(|one| one.value.bytes).sum::<u64>(), bytes, "after step {at}");
            drop(before);
        }
    }
}
