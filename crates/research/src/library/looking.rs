//! One look through a watched folder: find what there is, read what was touched, add it, and remove what is gone.
//!
//! Before each batch the folder's record is read again, and behind it once more: when the watching ends, nothing stays
//! that came after the end.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use base::time::unix_ms;
use base::{Code, Fault, Result};
use bytes::Bytes;

use super::Library;
use super::keeping::{inner_of, is_own};
use crate::blocking;
use crate::document::{Document, NewDocument, State};
use crate::folders::files::{self, Found, Patterns, Root, Stamp};
use crate::folders::seen::{Seen, SeenFiles};
use crate::folders::tally::Tally;
use crate::folders::{Content, Kept, Plan, Watching, decide};
use crate::knowledge::{Added, Folder, Outcome};
use crate::names::{BlobId, DocId};
use crate::shelf::folders::Watched;
use extract::{READER, no_document};

/// Files of one batch, and about how many bytes.
const BATCH_FILES: usize = 64;
const BATCH_BYTES: u64 = 16 << 20;

/// A look through a folder, underway.
struct Look<'a> {
    watched: &'a Watched,
    root: Root,
    /// What the sources of folders below that are watched by themselves begin with.
    inner: Vec<String>,
    seen: SeenFiles,
    kept: BTreeMap<String, Kept>,
    tally: Tally,
}

/// A file that was read.
struct Read {
    source: String,
    bytes: Bytes,
    stamp: Option<Stamp>,
}

impl Library {
    /// Looks through the folder that is really at `path`. Gives how it stands; `None`: its watching ended, or something else
    /// is asked of it.
    pub(super) async fn look_through(
        &self,
        watching: &Watching,
        watched: &Watched,
        (path, below): (PathBuf, String),
        blind: &str,
    ) -> Result<Option<String>> {
        if !watched.below.is_empty() && watched.below != below {
            let message = format!("`{}` leads to another folder than before", watched.folder.path);
            return Err(Fault::new(Code::Conflict, message).hint("end its watching, and watch it anew"));
        }
        let inner = inner_of(&Watched { below: below.clone(), ..watched.clone() }, &self.shelf.folders().await?);
        let inner_paths = inner.iter().filter_map(|inner| inner.strip_prefix(&below));
        let inner_paths = inner_paths.map(|inner| path.join(inner.trim_end_matches('/'))).collect();
        let patterns = Patterns::parse(&watched.folder.patterns)?;
        let root = Root { path, below, patterns, inner: inner_paths };
        let (table, collection) = (watching.seen.clone(), watched.folder.collection.clone());
        let (root, found, seen) = blocking(move || {
            let seen = SeenFiles::load(table, &collection, &root.below)?;
            let found = files::find(&root);
            Ok((root, found, seen))
        })
        .await?;
        let (kept, failed) = self.kept_below(&watched.folder, &root.below, &inner);
        let tally = Tally { blind: blind.to_owned(), ..Tally::default() };
        Look { watched, root, inner, seen, kept, tally }.run(self, found, &failed).await
    }

    /// The documents of a folder, and which of them could not be read, by source.
    fn kept_below(&self, folder: &Folder, below: &str, inner: &[String]) -> (BTreeMap<String, Kept>, BTreeSet<String>) {
        let known = self.known.load_full();
        let (mut kept, mut failed) = (BTreeMap::new(), BTreeSet::new());
        let own = known.documents(&folder.collection).map(|record| &record.value);
        for document in own.filter(|document| is_own(below, inner, &document.source)) {
            let is_current = is_current(document, folder);
            kept.insert(document.source.clone(), Kept { id: document.id, original: document.original, is_current });
            if matches!(document.state, State::Failed { .. }) {
                failed.insert(document.source.clone());
            }
        }
        (kept, failed)
    }

    /// Whether the folder is still watched as it was.
    async fn is_still_watched(&self, watched: &Watched) -> Result<bool> {
        let found = self.shelf.folder(&watched.key()).await?;
        Ok(found.is_some_and(|(now, _)| now.asks_the_same(watched)))
    }
}

/// Whether adding the document again as the folder tells of it would change nothing, its bytes being the same.
fn is_current(document: &Document, folder: &Folder) -> bool {
    document.reader == READER
        && (folder.category.is_empty() || folder.category == document.meta.category)
        && (folder.tags.is_empty() || folder.tags == document.meta.tags)
}

impl Look<'_> {
    async fn run(mut self, library: &Library, mut found: Found, failed: &BTreeSet<String>) -> Result<Option<String>> {
        let plan = self.decide(&found);
        self.tally.left_out = std::mem::take(&mut found.left_out);
        self.count_in_step(&found, &plan, failed);
        for batch in batches(&plan.read, &found) {
            if !library.is_still_watched(self.watched).await? {
                return Ok(None);
            }
            let added = self.add(library, batch, &found).await?;
            if !library.is_still_watched(self.watched).await? {
                let new = added.iter().filter(|added| added.outcome == Outcome::Added);
                let ids: Vec<DocId> = new.filter_map(|added| Some(added.document.as_ref()?.id)).collect();
                library.shelf.remove(&self.watched.folder.collection, &ids).await?;
                return Ok(None);
            }
        }
        if !plan.remove.is_empty() && library.is_still_watched(self.watched).await? {
            library.shelf.remove(&self.watched.folder.collection, &plan.remove).await?;
        }
        self.tally.held_back = plan.held_back;
        let words = self.tally.words(unix_ms());
        if found.unseen.is_empty() {
            self.forget_gone(found).await?;
        }
        Ok(Some(words))
    }

    fn decide(&self, found: &Found) -> Plan {
        let content =
            |(source, (_, stamp)): (&String, &(PathBuf, Stamp))| (source.clone(), self.seen.content(source, stamp));
        let too_large = found.too_large.iter().map(|source| (source.clone(), Content::Unfit));
        let contents: BTreeMap<String, Content> = found.files.iter().map(content).chain(too_large).collect();
        decide(&self.kept, &contents, &found.unseen)
    }

    /// Counts the files that need not be read.
    fn count_in_step(&mut self, found: &Found, plan: &Plan, failed: &BTreeSet<String>) {
        let read: HashSet<&String> = plan.read.iter().collect();
        for (source, (_, stamp)) in found.files.iter().filter(|(source, _)| !read.contains(source)) {
            if self.seen.content(source, stamp) == Content::Unfit {
                self.tally.left_out.binary += 1;
            } else {
                self.tally.documents += 1;
                self.tally.failed += u64::from(failed.contains(source));
            }
        }
    }

    /// Reads some files and adds them.
    async fn add(&mut self, library: &Library, batch: &[String], found: &Found) -> Result<Vec<Added>> {
        let mut documents = Vec::new();
        let mut no_documents = Vec::new();
        for read in self.read(batch, found).await? {
            if no_document(&read.bytes).is_some() {
                no_documents.push(read);
            } else {
                documents.push(read);
            }
        }
        self.drop_documents(library, no_documents).await?;
        let folder = &self.watched.folder;
        let meta = folder.meta();
        let new =
            |read: &Read| NewDocument { source: read.source.clone(), meta: meta.clone(), bytes: read.bytes.clone() };
        let added = library.intake.add(&folder.collection, documents.iter().map(new).collect()).await?;
        let mut seen = Vec::new();
        for (read, added) in documents.into_iter().zip(&added) {
            match added.outcome {
                Outcome::Refused => {
                    self.tally.left_out.trouble(format!("`{}`: {}", added.source, added.reason));
                    continue;
                }
                Outcome::Failed => self.tally.failed += 1,
                Outcome::Added | Outcome::Changed | Outcome::Unchanged | Outcome::Folded => {}
            }
            self.tally.documents += 1;
            seen.extend(added.document.as_ref().map(|document| (read, Some(document.original))));
        }
        self.note(seen).await?;
        Ok(added)
    }

    /// What has no letters is no document, even if it was one before.
    async fn drop_documents(&mut self, library: &Library, no_documents: Vec<Read>) -> Result<()> {
        self.tally.left_out.binary += no_documents.len() as u64;
        let ids: Vec<DocId> = no_documents.iter().filter_map(|read| Some(self.kept.get(&read.source)?.id)).collect();
        library.shelf.remove(&self.watched.folder.collection, &ids).await?;
        self.note(no_documents.into_iter().map(|read| (read, None)).collect()).await
    }

    /// Reads files; those that cannot be read are told, those that are gone are found to be so by the next look.
    async fn read(&mut self, batch: &[String], found: &Found) -> Result<Vec<Read>> {
        let path = |source: &String| Some((source.clone(), found.files.get(source)?.0.clone()));
        let paths: Vec<(String, PathBuf)> = batch.iter().filter_map(path).collect();
        let root = self.root.path.clone();
        let (read, troubles) = blocking(move || {
            let (mut all, mut troubles) = (Vec::new(), Vec::new());
            for (source, path) in paths {
                match files::read(&root, &path) {
                    Ok(Some((bytes, stamp))) => all.push(Read { source, bytes, stamp }),
                    Ok(None) => {}
                    Err(error) => troubles.push(format!("`{}`: {error}", path.display())),
                }
            }
            Ok((all, troubles))
        })
        .await?;
        troubles.into_iter().for_each(|trouble| self.tally.left_out.trouble(trouble));
        Ok(read)
    }

    /// Remembers files as they were read, so that they are not read again.
    async fn note(&mut self, read: Vec<(Read, Option<BlobId>)>) -> Result<()> {
        let now = unix_ms();
        let settled = read.into_iter().filter_map(|(read, blob)| {
            let stamp = read.stamp.filter(|stamp| stamp.is_settled(now))?;
            Some((read.source, Seen { stamp, blob }))
        });
        self.seen.note(settled.collect()).await
    }

    async fn forget_gone(self, found: Found) -> Result<()> {
        let Self { mut seen, root, inner, .. } = self;
        blocking(move || {
            let are_there: HashSet<&str> = found.files.keys().map(String::as_str).collect();
            seen.keep_only(&are_there, |source| is_own(&root.below, &inner, source))
        })
        .await
    }
}

/// Files that are read together.
fn batches<'a>(sources: &'a [String], found: &'a Found) -> impl Iterator<Item = &'a [String]> {
    let mut rest = sources;
    std::iter::from_fn(move || {
        let (mut count, mut bytes) = (0, 0);
        for source in rest.iter().take(BATCH_FILES) {
            bytes += found.files.get(source).map_or(0, |(_, stamp)| stamp.bytes());
            if count > 0 && bytes > BATCH_BYTES {
                break;
            }
            count += 1;
        }
        let (batch, behind) = rest.split_at_checked(count)?;
        rest = behind;
        (!batch.is_empty()).then_some(batch)
    })
}
