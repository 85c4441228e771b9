//! Taking documents in: read, kept on this node and on another one, then written down. Only then they are acknowledged.
//!
//! Files come first and the record last, so a record never names bytes that nobody has; files without a record are swept
//! away later. What was there already costs a hash and no write.

pub mod checks;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base::retry::Backoff;
use base::time::unix_ms;
use base::{Code, Fault, Result};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use store::Revision;

use crate::blobs::Blobs;
use crate::document::{Document, Meta, NewDocument, NewMeta, State};
use crate::knowledge::{Added, Outcome};
use crate::names::{BlobId, CollectionName, DocId};
use crate::neighbours::Neighbours;
use crate::shelf::{self, Known, MOST_AT_ONCE, Shelf};
use crate::{blocking, text, texts};
use extract::child::Reader;
use extract::{Extracted, Hint, READER, ReadError, limits};

/// Documents that are read at once; parsers bound themselves beside that.
const READ_AT_ONCE: usize = 4;
/// Files that are synced at once: a disk does several for little more than the time of one.
const KEPT_AT_ONCE: usize = 8;
/// How often a document that changes under our hands is tried again, and how long is waited before: others who write it
/// have ended theirs by then.
const TRIES: u32 = 24;
const PAUSE: Backoff = Backoff { first: Duration::from_millis(2), most: Duration::from_millis(250), jitter: 1.0 };
/// The most bytes of a title, a note or a reason that a reader gives: they stand in the record, which must stay small.
const MOST_TOLD: usize = 1 << 10;

/// Takes documents in, on one node.
pub struct Intake {
    shelf: Shelf,
    blobs: Blobs,
    reader: Reader,
    known: Arc<ArcSwap<Known>>,
    neighbours: Arc<dyn Neighbours>,
}

/// What is to be done about a document.
enum Prepared {
    /// It was read, and is not kept yet; its record says of it what it says itself.
    Read(Box<Fresh>, Vec<Bytes>),
    /// Nothing, if it still is what it was at that revision.
    Known(Box<(NewDocument, Document, Revision)>),
    /// Nothing: it was refused.
    Refused(Box<Added>),
}

/// A document that was read, and what is told about it.
type Fresh = (Document, NewMeta);

impl Prepared {
    fn refused(source: &str, fault: &Fault) -> Self {
        Self::Refused(Box::new(refused(source, fault)))
    }
}

/// What is told of a document that was not taken.
pub(crate) fn refused(source: &str, fault: &Fault) -> Added {
    Added {
        source: source.to_owned(),
        outcome: Outcome::Refused,
        reason: fault.message.clone(),
        hint: fault.hint.clone().unwrap_or_default(),
        document: None,
        copies: 0,
    }
}

impl Intake {
    /// Keeps files in `blobs` and with `neighbours`, records on `shelf`.
    pub fn new(
        shelf: Shelf,
        blobs: Blobs,
        reader: Reader,
        known: Arc<ArcSwap<Known>>,
        neighbours: Arc<dyn Neighbours>,
    ) -> Self {
        Self { shelf, blobs, reader, known, neighbours }
    }

    /// Takes documents in; one result for each, in their order. A source that comes twice is taken twice, in order.
    pub async fn add(&self, collection: &CollectionName, documents: Vec<NewDocument>) -> Result<Vec<Added>> {
        self.shelf.find_or_create(collection).await?;
        let mut results = Vec::with_capacity(documents.len());
        let (mut batch, mut sources) = (Vec::new(), HashSet::new());
        for document in documents {
            if batch.len() == MOST_AT_ONCE || !sources.insert(document.source.clone()) {
                results.extend(self.add_batch(collection, std::mem::take(&mut batch)).await?);
                sources = [document.source.clone()].into();
            }
            batch.push(document);
        }
        results.extend(self.add_batch(collection, batch).await?);
        Ok(results)
    }

    /// Takes documents of different sources in.
    async fn add_batch(&self, collection: &CollectionName, documents: Vec<NewDocument>) -> Result<Vec<Added>> {
        let prepared = futures_util::stream::iter(documents.into_iter().map(|new| self.prepare(collection, new)))
            .buffered(READ_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let prepared = self.ask_whether_known(collection, prepared).await?;
        let (mut results, mut places) = (Vec::with_capacity(prepared.len()), Vec::new());
        let (mut documents, mut files) = (Vec::new(), Vec::new());
        for (at, one) in prepared.into_iter().enumerate() {
            results.push(match one {
                Prepared::Read(document, of_it) => {
                    places.push(at);
                    documents.push(*document);
                    files.extend(of_it);
                    None
                }
                Prepared::Known(known) => Some(self.added(Outcome::Unchanged, known.1, 0)),
                Prepared::Refused(refused) => Some(*refused),
            });
        }
        if !documents.is_empty() {
            let copies = self.keep(files).await?;
            let mut places = places.into_iter();
            let known = self.known.load_full();
            let record_of = |fresh: &Fresh| {
                let had = known.document(collection, fresh.0.id);
                let meta = fresh.1.over(&fresh.0.meta, had.map(|had| &had.value.meta));
                Document { meta, ..fresh.0.clone() }
            };
            for group in shelf::in_groups(documents, record_of) {
                for (added, at) in self.write_down(collection, group, copies).await?.into_iter().zip(&mut places) {
                    if let Some(place) = results.get_mut(at) {
                        *place = Some(added);
                    }
                }
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// What is known here may be behind the store: of documents that would be left as they are it is asked, together.
    /// Those that are something else by now are read.
    async fn ask_whether_known(&self, collection: &CollectionName, all: Vec<Prepared>) -> Result<Vec<Prepared>> {
        let known = all.iter().filter_map(|one| match one {
            Prepared::Known(known) => Some((known.1.id, known.2)),
            Prepared::Read(..) | Prepared::Refused(_) => None,
        });
        if self.shelf.are_still(collection, &known.collect::<Vec<_>>()).await? {
            return Ok(all);
        }
        let mut asked = Vec::with_capacity(all.len());
        for one in all {
            asked.push(match one {
                Prepared::Known(known) if !self.shelf.are_still(collection, &[(known.1.id, known.2)]).await? => {
                    self.read(collection, known.0, known.1.original, &known.1.meta.media).await
                }
                other => other,
            });
        }
        Ok(asked)
    }

    /// Reads a document, unless it was refused or is there.
    async fn prepare(&self, collection: &CollectionName, new: NewDocument) -> Prepared {
        if let Err(fault) = checks::check(&new) {
            return Prepared::refused(&new.source, &fault);
        }
        let id = DocId::of(collection, &new.source);
        let bytes = new.bytes.clone();
        let original = match blocking(move || Ok(BlobId::of(&bytes))).await {
            Ok(original) => original,
            Err(fault) => return Prepared::refused(&new.source, &fault),
        };
        let known = self.known.load().document(collection, id).cloned();
        let media = known.as_ref().map(|known| known.value.meta.media.clone()).unwrap_or_default();
        let Some(known) = known.filter(|known| is_the_same(&known.value, &new, original)) else {
            return self.read(collection, new, original, &media).await;
        };
        let document = (*known.value).clone();
        if self.blobs.has(original) && document.text().is_none_or(|text| self.blobs.has(text)) {
            return Prepared::Known(Box::new((new, document, known.at)));
        }
        // Nothing is new about it, but that its files are here again.
        match self.read(collection, new, original, &media).await {
            Prepared::Read(read, files) if read.0.text() == document.text() => {
                Prepared::Read(Box::new((document, NewMeta::default())), files)
            }
            other => other,
        }
    }

    /// Reads a document; `media` is of what type it was before.
    async fn read(&self, collection: &CollectionName, new: NewDocument, original: BlobId, media: &str) -> Prepared {
        let name = file_name(&new.source);
        let source = new.source.clone();
        let media = new.meta.media.as_deref().unwrap_or(media);
        let read = self.reader.read(new.bytes.clone(), &Hint { media, name: &name }).await;
        let collection = collection.clone();
        match blocking(move || describe(&collection, original, new, read)).await {
            Ok(prepared) => prepared,
            Err(fault) => Prepared::refused(&source, &fault),
        }
    }

    /// Keeps files here and on another node; gives how many nodes have them.
    async fn keep(&self, files: Vec<Bytes>) -> Result<u32> {
        let puts = files.clone().into_iter().map(|file| {
            let blobs = self.blobs.clone();
            blocking(move || blobs.put(&file).map_err(Fault::from))
        });
        let here = futures_util::stream::iter(puts).buffer_unordered(KEPT_AT_ONCE).try_collect::<Vec<_>>();
        let (here, there) = tokio::join!(here, self.neighbours.keep(files));
        here?;
        match there {
            Ok(true) => Ok(2),
            Ok(false) => Ok(1),
            Err(fault) => {
                tracing::warn!(error = %fault, "documents are kept on this node alone for now");
                Ok(1)
            }
        }
    }

    /// Writes documents down together; where one of them changed meanwhile, each is looked at again.
    async fn write_down(&self, collection: &CollectionName, fresh: Vec<Fresh>, copies: u32) -> Result<Vec<Added>> {
        let mut found = Vec::with_capacity(fresh.len());
        let known = self.known.load_full();
        for (document, _) in &fresh {
            let record = known.document(collection, document.id);
            found.push(record.map(|record| ((*record.value).clone(), record.at)));
        }
        for times in 0..TRIES {
            let wanted: Vec<_> = fresh.iter().zip(&found).map(|(fresh, had)| succeed(fresh, had.as_ref())).collect();
            if self.put(collection, &wanted, &found).await? {
                let added = wanted.into_iter().map(|(document, outcome)| self.added(outcome, document, copies));
                return Ok(added.collect());
            }
            tokio::time::sleep(PAUSE.delay(times, fastrand::f64())).await;
            for ((document, _), had) in fresh.iter().zip(found.iter_mut()) {
                *had = self.shelf.document(collection, document.id).await?;
            }
        }
        let fault = Fault::new(Code::Conflict, format!("documents of `{collection}` are being changed by others"));
        Err(fault.hint("add them again"))
    }

    /// Writes down what is new, in place of what was found. `Ok(false)`: some of it is something else by now.
    async fn put(
        &self,
        collection: &CollectionName,
        wanted: &[(Document, Outcome)],
        found: &[Option<(Document, Revision)>],
    ) -> Result<bool> {
        let (_, at) = self.shelf.find_or_create(collection).await?;
        let (mut writes, mut same) = (Vec::new(), Vec::new());
        for ((document, outcome), had) in wanted.iter().zip(found) {
            match (outcome, had) {
                // Not even as it is: whoever writes the same at this moment would be in our way, and we in theirs.
                (Outcome::Unchanged, Some((_, at))) => same.push((document.id, *at)),
                (_, had) => writes.push((document.clone(), had.as_ref().map(|(_, at)| *at))),
            }
        }
        let is_so = self.shelf.are_still(collection, &same).await?;
        Ok(is_so && (writes.is_empty() || self.shelf.put(collection, at, &writes).await?))
    }

    /// What is told of a document that is kept.
    fn added(&self, outcome: Outcome, document: Document, copies: u32) -> Added {
        let hint = match &document.state {
            State::Failed { hint, .. } => hint.clone(),
            State::Ready { .. } | State::Folded { .. } => String::new(),
        };
        let (outcome, reason) = match (&document.state, outcome) {
            // Also where it was known: it is as unreadable as it was.
            (State::Failed { reason, .. }, _) => (Outcome::Failed, reason.clone()),
            (State::Folded { into, .. }, Outcome::Unchanged) => {
                let known = self.known.load();
                let other = known.document(&document.collection, *into);
                (Outcome::Folded, other.map(|other| other.value.source.clone()).unwrap_or_default())
            }
            _ => (outcome, String::new()),
        };
        Added { source: document.source.clone(), outcome, reason, hint, document: Some(document), copies }
    }
}

/// The record and the files of a document that was read, or could not be. Blocks.
fn describe(
    collection: &CollectionName,
    original: BlobId,
    new: NewDocument,
    read: Result<Extracted, ReadError>,
) -> Result<Prepared> {
    let id = DocId::of(collection, &new.source);
    let NewDocument { source, meta: told, bytes } = new;
    let (mut files, mut meta) = (vec![bytes.clone()], Meta::default());
    let (state, language, title) = match read {
        Ok(mut extracted) => {
            clip(&mut extracted);
            let file = texts::write(&extracted)?;
            let text = BlobId::of(&file);
            files.push(file);
            let chars = extracted.text.chars().count() as u64;
            meta.dated_ms = extracted.dated_ms;
            let language = text::language(&extracted.text).to_owned();
            (State::Ready { text, chars, notes: extracted.notes }, language, extracted.title)
        }
        // It may be read well another time, so nothing is written down.
        Err(error) if error.is_passing() => {
            return Err(Fault::unavailable(error.to_string()).hint("add it again in a moment"));
        }
        Err(error) => {
            let state = State::Failed { reason: clipped(error.to_string()), hint: error.hint().to_owned() };
            (state, String::new(), String::new())
        }
    };
    meta.title = if title.is_empty() { file_name(&source) } else { title };
    let now = unix_ms();
    let document = Document {
        id,
        collection: collection.clone(),
        source,
        version: 1,
        original,
        bytes: bytes.len() as u64,
        meta,
        language,
        state,
        added_ms: now,
        changed_ms: now,
        reader: READER,
    };
    Ok(Prepared::Read(Box::new((document, told)), files))
}

/// Bounds what a reader says of a document: it may have been made to say anything.
fn clip(extracted: &mut Extracted) {
    extracted.title = clipped(std::mem::take(&mut extracted.title));
    let notes = &mut extracted.notes;
    // A reader that keeps to the limit adds one that says how many more there were.
    if notes.len() > limits::NOTES + 1 {
        let untold = notes.len() - limits::NOTES;
        notes.truncate(limits::NOTES);
        notes.push(format!("there are {untold} more notes"));
    }
    for note in notes {
        *note = clipped(std::mem::take(note));
    }
}

fn clipped(told: String) -> String {
    match told.get(..told.floor_char_boundary(MOST_TOLD)) {
        Some(begin) if begin.len() < told.len() => format!("{begin}… (cut, it has {} bytes)", told.len()),
        _ => told,
    }
}

/// The record of a document in the place of the one that was there.
fn succeed((read, told): &Fresh, had: Option<&(Document, Revision)>) -> (Document, Outcome) {
    let meta = told.over(&read.meta, had.map(|(had, _)| &had.meta));
    let mut document = Document { meta, ..read.clone() };
    if let Some((had, _)) = had.filter(|(had, _)| says_the_same(had, &document)) {
        return (had.clone(), Outcome::Unchanged);
    }
    document.version = 1;
    let outcome = match had {
        None => Outcome::Added,
        Some((had, _)) => {
            document.added_ms = had.added_ms;
            // What only is described otherwise, or read by newer code, has the same characters: spans stay true.
            let same = had.text().is_some() && had.text() == document.text();
            document.version = if same { had.version } else { had.version + 1 };
            Outcome::Changed
        }
    };
    (document, outcome)
}

/// Whether a record is as one that was just read, whenever that came, and whatever it was folded into.
fn says_the_same(had: &Document, read: &Document) -> bool {
    let state = match (&had.state, &read.state) {
        (State::Folded { text: one, .. }, State::Ready { text: other, .. }) => one == other,
        (had, read) => had == read,
    };
    state
        && (had.original, had.reader) == (read.original, read.reader)
        && (&had.meta, &had.language) == (&read.meta, &read.language)
}

/// Whether nothing would change by adding it again.
fn is_the_same(known: &Document, new: &NewDocument, original: BlobId) -> bool {
    known.original == original && known.reader == READER && new.meta.is_told_by(&known.meta)
}

/// The last part of a source, without what the address of a page has behind it; in the name of a file such a sign is one
/// like any other.
fn file_name(source: &str) -> String {
    let is_page = source.starts_with("http://") || source.starts_with("https://");
    let path = if is_page { source.split(['?', '#']).next().unwrap_or(source) } else { source };
    let last = PathBuf::from(path).file_name().map(|name| name.to_string_lossy().into_owned());
    last.unwrap_or_else(|| source.to_owned())
}

#[cfg(test)]
mod tests;
