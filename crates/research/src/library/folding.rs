//! Documents of a collection that say the same are found once: the later one is folded into the one that was there first.
//!
//! The writer decides, document by document as they change, and unfolds when the first one goes or says something else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use base::Result;
use store::Leadership;

use super::Library;
use crate::document::{Document, State};
use crate::likeness::{Alike, Fingerprint, fingerprint};
use crate::names::{BlobId, CollectionName, DocId};
use crate::shelf::Known;
use crate::{blocking, texts};

/// Documents that are looked at in one go; the rest follows in the next.
const AT_ONCE: usize = 500;

/// What the writer knows of the documents: what each said when it was looked at, and which ones stand for themselves.
#[derive(Default)]
pub struct Folding {
    seen: HashMap<DocId, Seen>,
    first: BTreeMap<CollectionName, Alike<DocId>>,
    /// Those that are folded, by what they are folded into.
    behind: HashMap<DocId, BTreeSet<DocId>>,
    /// The records of which all was looked at; nothing is to be done while they are the same.
    done: Weak<Known>,
}

/// What was decided about a document.
struct Seen {
    text: BlobId,
    /// What it is folded into.
    into: Option<DocId>,
    order: Order,
}

/// Of two that say the same the one that was there first stands for both, whichever was looked at first.
type Order = (u64, DocId);

fn order(document: &Document) -> Order {
    (document.added_ms, document.id)
}

impl Folding {
    /// The documents to look at, oldest first: those that are new, say something else or do not stand as was decided,
    /// and those that were folded into one that is gone or is to be looked at.
    fn changed(&mut self, known: &Known) -> Vec<Arc<Document>> {
        let current: HashMap<DocId, &Arc<Document>> =
            known.all_documents().map(|record| (record.value.id, &record.value)).collect();
        let is_other = |id: &DocId, seen: &Seen| current.get(id).is_none_or(|now| !seen.is_so(now));
        let gone: Vec<DocId> = self.seen.iter().filter(|(id, seen)| is_other(id, seen)).map(|(id, _)| *id).collect();
        for id in gone {
            self.forget(id);
        }
        let mut changed: Vec<Arc<Document>> = current
            .into_values()
            .filter(|one| one.text().is_some() && !self.seen.contains_key(&one.id))
            .cloned()
            .collect();
        changed.sort_by_key(|one| order(one));
        changed
    }

    /// Forgets what was decided about a document, and about those that are folded into it.
    fn forget(&mut self, id: DocId) {
        match self.seen.remove(&id).and_then(|seen| seen.into) {
            Some(into) => drop(self.behind.get_mut(&into).map(|behind| behind.remove(&id))),
            None => self.first.values_mut().for_each(|alike| alike.remove(id)),
        }
        for behind in self.behind.remove(&id).unwrap_or_default() {
            self.forget(behind);
        }
    }

    /// What a document is folded into; `None`: it stands for itself. What stood for the same and came later is looked at
    /// again.
    fn place(&mut self, document: &Document, text: BlobId, print: Fingerprint) -> Option<DocId> {
        let mut into = None;
        while let Some((same, _)) = self.first.entry(document.collection.clone()).or_default().same_as(&print) {
            if self.seen.get(&same).is_some_and(|seen| seen.order < order(document)) {
                into = Some(same);
                break;
            }
            self.forget(same);
        }
        self.seen.insert(document.id, Seen { text, into, order: order(document) });
        match into {
            Some(into) => drop(self.behind.entry(into).or_default().insert(document.id)),
            None => self.first.entry(document.collection.clone()).or_default().insert(document.id, print),
        }
        into
    }
}

impl Seen {
    /// Whether the record says what was decided.
    fn is_so(&self, now: &Document) -> bool {
        match &now.state {
            State::Ready { text, .. } => (*text, None, order(now)) == (self.text, self.into, self.order),
            State::Folded { into, text } => (*text, Some(*into), order(now)) == (self.text, self.into, self.order),
            State::Failed { .. } => false,
        }
    }
}

/// The record as it should be; `None`: it is so.
fn folded(document: &Document, into: Option<DocId>, chars: u64, notes: Vec<String>) -> Option<Document> {
    let text = document.text()?;
    let state = match into {
        Some(into) => State::Folded { into, text },
        None => State::Ready { text, chars, notes },
    };
    let is_so = match (&document.state, &state) {
        (State::Ready { .. }, State::Ready { .. }) => true,
        (before, after) => before == after,
    };
    (!is_so).then(|| Document { state, ..document.clone() })
}

impl Library {
    /// Looks at the documents that changed, and folds and unfolds.
    pub(super) async fn fold(&self, leadership: &Leadership, folding: &mut Folding) -> Result<()> {
        let known = self.known.load_full();
        if folding.done.as_ptr() == Arc::as_ptr(&known) {
            return Ok(());
        }
        let (mut placed, mut is_all) = (0, true);
        for document in folding.changed(&known) {
            if placed == AT_ONCE {
                is_all = false;
                break;
            }
            let Some(text) = document.text() else { continue };
            // It waits until its text is here; the others do not.
            let Some((print, chars, notes)) = self.read_to_fold(text).await else {
                is_all = false;
                continue;
            };
            placed += 1;
            let into = folding.place(&document, text, print);
            if let Some(changed) = folded(&document, into, chars, notes)
                && !self.write_folded(leadership, changed).await?
            {
                folding.forget(document.id);
                is_all = false;
            }
        }
        if is_all {
            folding.done = Arc::downgrade(&known);
        }
        Ok(())
    }

    /// What folding goes by, and what the record of a document that stands for itself says; `None`: it cannot be read now.
    async fn read_to_fold(&self, text: BlobId) -> Option<(Fingerprint, u64, Vec<String>)> {
        let blobs = self.blobs.clone();
        let read = move || {
            let Some(file) = blobs.get(text)? else { return Ok(None) };
            let extracted = texts::read(&file)?;
            let chars = extracted.text.chars().count() as u64;
            Ok(Some((fingerprint(&extracted.text), chars, extracted.notes)))
        };
        let read = blocking(read).await;
        read.inspect_err(|fault| tracing::warn!(blob = %text, error = %fault, "a text cannot be compared")).ok()?
    }

    /// `false`: the document changed meanwhile, and is looked at again.
    async fn write_folded(&self, leadership: &Leadership, document: Document) -> Result<bool> {
        let Some((_, at)) = self.shelf.find(&document.collection).await? else { return Ok(false) };
        let Some((before, had)) = self.shelf.document(&document.collection, document.id).await? else {
            return Ok(false);
        };
        if before.text() != document.text() {
            return Ok(false);
        }
        // Whatever else was told about it meanwhile stays.
        let document = Document { state: document.state, ..before };
        let collection = document.collection.clone();
        self.shelf.put_guarded(&collection, at, &[(document, Some(had))], leadership.guard()).await
    }
}

#[cfg(test)]
mod tests;
