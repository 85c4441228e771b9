//! The index of one node: which words stand in which chunks, and which chunks there are. Derived; may be thrown away.
//!
//! One writer owns [`Index`]; readers hold a [`Snapshot`], in which every document is whole: its old version or its new
//! one, never both, never neither. A commit of tantivy is atomic on the disk, and each chunk carries what it was made
//! from, so after a kill the index is compared with the records and only what differs is made anew.

mod room;
mod sealed;
mod shards;
mod words;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base::{Fault, Result};
use serde::{Deserialize, Serialize};
use store::Seal;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::chunk::{CHUNKER, Chunk};
use crate::document::Document;
use crate::names::{BlobId, ChunkHash, DocId};
pub(crate) use shards::Shards;
pub use words::{Allowed, TextHit, Words};
pub(crate) use words::{PAIRS_WEIGHT, TITLE_WEIGHT, pairs};

/// The form of the index on the disk; another one there is thrown away and made anew.
const FORMAT: u32 = 4;
/// Where the form is written.
const FORMAT_FILE: &str = "format";

/// A document as it is indexed.
#[derive(Clone, Debug)]
pub struct Indexed {
    /// Its record.
    pub document: Arc<Document>,
    /// What its chunks were made from.
    pub basis: Basis,
    /// Its chunks, in order.
    pub chunks: Arc<[Chunk]>,
}

impl Indexed {
    /// What its chunks are found by: another one for each version, so that a new one can be written while the old one is
    /// found.
    pub fn key(&self) -> u64 {
        key(&self.document, self.basis)
    }
}

/// The key of what is made of a document from that.
pub fn key(document: &Document, basis: Basis) -> u64 {
    xxh3_64_with_seed(&document.id.0, basis.0 ^ xxh3_64(document.language.as_bytes()))
}

/// What chunks are made from, in a few bytes: text, title, size, and the rules of cutting. Equal ones give equal chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Basis(u64);

impl Basis {
    /// Of a text under a title, cut to chunks that aim at so many tokens.
    pub fn of(text: BlobId, title: &str, chunk_tokens: u32) -> Self {
        Self(xxh3_64(format!("{CHUNKER}/{chunk_tokens}/{text}/{title}").as_bytes()))
    }
}

/// A change of the index.
#[derive(Clone, Debug)]
pub enum IndexChange {
    /// Chunks of a document, from one on. With the last one it takes the place of what was there of it; until then nobody
    /// finds them, and it is the only document that is put in several slices.
    Put {
        /// The document, with all its chunks.
        indexed: Indexed,
        /// The first chunk of these.
        from: usize,
        /// The characters of each.
        texts: Vec<String>,
    },
    /// What was put in slices under that key is not wanted any more.
    Abandon(u64),
    /// A record that changed and gives the same chunks.
    Describe(Arc<Document>),
    /// A document is gone.
    Remove(DocId),
}

/// What all readers of one moment see.
pub struct Snapshot {
    /// For searches by words.
    pub words: Words,
    documents: Shards<DocId, Arc<Indexed>>,
    keys: Shards<u64, DocId>,
    /// The key of the document of which only some slices are there.
    pub hidden: Option<u64>,
    places: Shards<ChunkHash, Vec<Place>>,
    languages: Arc<[(String, usize)]>,
    chunks: usize,
}

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its document.
    pub document: DocId,
    /// Counts from 0 in it.
    pub ordinal: u32,
}

impl Snapshot {
    /// A document as it is indexed.
    pub fn document(&self, id: DocId) -> Option<&Arc<Indexed>> {
        self.documents.get(&id)
    }

    /// The document that is indexed under that key.
    pub fn by_key(&self, key: u64) -> Option<&Arc<Indexed>> {
        self.keys.get(&key).and_then(|id| self.documents.get(id))
    }

    /// The languages of the documents, the most frequent first.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.languages.iter().map(|(language, _)| language.as_str())
    }

    /// In how many chunks a stem stands, of how many.
    pub fn frequency(&self, stem: &str) -> Result<(u64, u64)> {
        self.words.frequency(stem, self.languages()).map_err(failed)
    }

    /// All documents, in no order.
    pub fn documents(&self) -> impl Iterator<Item = &Arc<Indexed>> {
        self.documents.values()
    }

    /// The chunks that have that part.
    pub fn places(&self, hash: &ChunkHash) -> &[Place] {
        self.places.get(hash).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every part that stands anywhere, once.
    pub fn hashes(&self) -> impl Iterator<Item = &ChunkHash> {
        self.places.keys()
    }

    /// How many documents there are.
    pub fn document_count(&self) -> usize {
        self.documents.len()
    }

    /// How many chunks those have.
    pub fn chunk_count(&self) -> usize {
        self.chunks
    }
}

/// Where readers find the newest snapshot; `None` until the index was opened once. It outlives its writers.
pub type Snapshots = Arc<ArcSwapOption<Snapshot>>;

/// The writer's side. Dropping it lets the next one open the same folder.
pub struct Index {
    words: words::Writer,
    documents: Shards<DocId, Arc<Indexed>>,
    keys: Shards<u64, DocId>,
    hidden: Option<u64>,
    places: Shards<ChunkHash, Vec<Place>>,
    /// How many documents are in a language.
    languages: HashMap<String, usize>,
    chunks: usize,
    published: Snapshots,
}

impl Index {
    /// Opens the index in `dir`, or begins an empty one where there is none, or one that is damaged or of another form.
    /// Documents come back without their records' newest state: compare with [`Snapshot::documents`]. Blocks.
    pub fn open(dir: &Path, published: Snapshots) -> Result<Self> {
        Self::open_sealed(dir, published, &Seal::default())
    }

    /// As [`Index::open`], with files sealed where `seal` is on. One that is not, or under another key, is made anew.
    pub fn open_sealed(dir: &Path, published: Snapshots, seal: &Seal) -> Result<Self> {
        let form = form(seal);
        if !is_of_this_form(dir, &form) {
            begin_anew(dir, &form)?;
        }
        let opened =
            words::Writer::open(&dir.join("words"), seal).and_then(|words| words.chunks().map(|all| (words, all)));
        let (words, chunks) = match opened {
            Ok(opened) => opened,
            // What is there is good: it is opened when there is room.
            Err(error) if room::full(&error).is_some() => return Err(failed(error)),
            Err(error @ tantivy::TantivyError::LockFailure(..)) => {
                return Err(Fault::unavailable("the index is still open elsewhere").because(error));
            }
            Err(error) => {
                tracing::error!(%error, "the index cannot be opened, and is made anew");
                begin_anew(dir, &form)?;
                (words::Writer::open(&dir.join("words"), seal).map_err(failed)?, Vec::new())
            }
        };
        let mut index = Self {
            words,
            documents: Shards::default(),
            keys: Shards::default(),
            hidden: None,
            places: Shards::default(),
            languages: HashMap::new(),
            chunks: 0,
            published,
        };
        let (whole, parts) = gather(chunks);
        whole.into_iter().for_each(|indexed| index.enter(indexed));
        // Slices of what was never put as a whole: they go with the next commit, and nobody finds them until then.
        parts.into_iter().for_each(|key| index.words.remove(key));
        index.publish();
        Ok(index)
    }

    /// Makes changes, all at once for every reader, and durable. Blocks.
    pub fn apply(&mut self, changes: Vec<IndexChange>) -> Result<()> {
        let mut touches_words = false;
        for change in changes {
            match change {
                IndexChange::Put { indexed, from, texts } => {
                    self.words.put(&indexed, from, &texts).map_err(failed)?;
                    let key = indexed.key();
                    if from + texts.len() < indexed.chunks.len() {
                        self.hidden = Some(key);
                    } else {
                        let old = self.leave(indexed.document.id).filter(|old| *old != key);
                        old.into_iter().for_each(|old| self.words.remove(old));
                        self.hidden.take_if(|hidden| *hidden == key);
                        self.enter(indexed);
                    }
                    touches_words = true;
                }
                IndexChange::Abandon(key) => {
                    self.words.remove(key);
                    self.hidden = None;
                    touches_words = true;
                }
                IndexChange::Describe(document) => self.describe(document),
                IndexChange::Remove(id) => {
                    let old = self.leave(id);
                    old.into_iter().for_each(|old| self.words.remove(old));
                    touches_words = true;
                }
            }
        }
        if touches_words {
            self.words.commit().map_err(failed)?;
        }
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        self.published.store(Some(Arc::new(Snapshot {
            words: self.words.reader(),
            documents: self.documents.clone(),
            keys: self.keys.clone(),
            hidden: self.hidden,
            places: self.places.clone(),
            languages: self.languages_in_order(),
            chunks: self.chunks,
        })));
    }

    fn enter(&mut self, indexed: Indexed) {
        let document = indexed.document.id;
        for chunk in indexed.chunks.iter() {
            let place = Place { document, ordinal: chunk.ordinal };
            for part in &chunk.parts {
                self.places.change(part.hash, |places| places.push(place), Vec::is_empty);
            }
        }
        self.chunks += indexed.chunks.len();
        *self.languages.entry(indexed.document.language.clone()).or_default() += 1;
        self.keys.insert(indexed.key(), document);
        self.documents.insert(document, Arc::new(indexed));
    }

    /// Forgets a document; gives its key.
    fn leave(&mut self, id: DocId) -> Option<u64> {
        let gone = self.documents.remove(&id)?;
        for part in gone.chunks.iter().flat_map(|chunk| &chunk.parts) {
            let others = |places: &mut Vec<Place>| places.retain(|place| place.document != id);
            self.places.change(part.hash, others, Vec::is_empty);
        }
        self.chunks -= gone.chunks.len();
        let key = gone.key();
        self.keys.remove(&key);
        if let Some(count) = self.languages.get_mut(&gone.document.language) {
            *count -= 1;
        }
        Some(key)
    }

    fn languages_in_order(&self) -> Arc<[(String, usize)]> {
        let spoken = self.languages.iter().filter(|(_, count)| **count > 0);
        let mut languages: Vec<(String, usize)> = spoken.map(|(name, count)| (name.clone(), *count)).collect();
        languages.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        languages.into()
    }

    fn describe(&mut self, document: Arc<Document>) {
        let Some(known) = self.documents.get(&document.id) else { return };
        let (basis, chunks) = (known.basis, known.chunks.clone());
        self.documents.insert(document.id, Arc::new(Indexed { document, basis, chunks }));
    }
}

/// A chunk as it is kept in the index itself, so that a node that starts knows its chunks without cutting texts again.
#[derive(Serialize, Deserialize)]
struct Kept {
    chunk: Chunk,
    /// With the first chunk only.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<Whole>,
}

/// What chunks are put together to.
#[derive(Serialize, Deserialize)]
struct Whole {
    document: Arc<Document>,
    basis: Basis,
    chunks: usize,
}

/// Puts chunks together to documents; gives those that are whole, and the keys of those that are not.
fn gather(kept: Vec<(u64, Kept)>) -> (Vec<Indexed>, Vec<u64>) {
    let mut gathered: HashMap<u64, (Option<Whole>, Vec<Chunk>)> = HashMap::new();
    for (key, Kept { chunk, of }) in kept {
        let (whole, chunks) = gathered.entry(key).or_default();
        *whole = whole.take().or(of);
        chunks.push(chunk);
    }
    let (mut whole, mut parts) = (Vec::with_capacity(gathered.len()), Vec::new());
    for (key, (of, mut chunks)) in gathered {
        chunks.sort_by_key(|chunk| chunk.ordinal);
        match of.filter(|of| of.chunks == chunks.len()) {
            Some(Whole { document, basis, .. }) => whole.push(Indexed { document, basis, chunks: chunks.into() }),
            None => parts.push(key),
        }
    }
    (whole, parts)
}

fn is_of_this_form(dir: &Path, form: &str) -> bool {
    fs::read_to_string(dir.join(FORMAT_FILE)).is_ok_and(|found| found == form)
}

fn form(seal: &Seal) -> String {
    let sealed = if seal.is_on() { "/sealed" } else { "" };
    format!("{FORMAT}/{CHUNKER}{sealed}")
}

fn begin_anew(dir: &Path, form: &str) -> Result<()> {
    let done = || -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(dir.join("words"))?;
        fs::write(dir.join(FORMAT_FILE), form)
    };
    done().map_err(|error| match crate::is_full_disk(&error) {
        true => room::none(error.kind()),
        false => {
            let hint =
                "look at the disk of `node.data_dir`; the index may be deleted while the node is off, it is made anew";
            Fault::internal(format!("could not make the index `{}`", dir.display())).because(error).hint(hint)
        }
    })
}

fn failed(error: tantivy::TantivyError) -> Fault {
    match room::full(&error) {
        Some(why) => room::none(why),
        None => Fault::internal("the text index failed").because(error),
    }
}

#[cfg(test)]
mod tests;
