//! What the faces ask, done: mostly a few calls of the parts, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::report::ResearchReport;
use base::{BoxFuture, Code, Fault, Result};
use bytes::Bytes;

use super::Library;
use crate::answer::Answer;
use crate::chunk::Chunk;
use crate::document::{Document, NewDocument, NewMeta, State};
use crate::knowledge::{
    Added, Clusters, CollectionView, Documents, Folder, Found, Holder, IndexKind, Knowledge, LoopOrder, Migrated,
    NewCollection, Outcome, Page, Question, Removed, Say, Search, Status, Tell, Which,
};
use crate::models::Doing;
use crate::names::{CollectionName, DocId};
use crate::shelf::Known;
use crate::{blocking, bounds, texts};

/// The most documents of a page.
pub(crate) const MOST_IN_PAGE: u32 = 1_000;
/// Where nobody said how many.
const USUAL_PAGE: u32 = 100;
/// Whoever adds documents finds them at once, unless indexing takes longer than this.
const INDEXED_WITHIN: Duration = Duration::from_secs(1);
/// Whoever asks a node that has just started is not sent away, unless it takes longer than this.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

impl Knowledge for Library {
    fn create(&self, new: NewCollection) -> BoxFuture<'_, Result<CollectionView>> {
        Box::pin(async move {
            let collection = self.shelf.create(new).await?;
            Ok(self.view(&self.known.load(), &collection))
        })
    }

    fn collections(&self) -> BoxFuture<'_, Result<Vec<CollectionView>>> {
        Box::pin(async move {
            let known = self.records().await?;
            Ok(known.collections().map(|record| self.view(&known, &record.value)).collect())
        })
    }

    fn delete(&self, name: CollectionName) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            self.end_folders_of(&name).await?;
            self.shelf.delete(&name).await?.ok_or_else(|| no_collection(&name))
        })
    }

    fn add(&self, collection: CollectionName, documents: Vec<NewDocument>) -> BoxFuture<'_, Result<Vec<Added>>> {
        Box::pin(async move {
            let added = self.intake.add(&collection, documents).await?;
            self.wait_until_indexed(&added).await;
            Ok(added)
        })
    }

    fn add_urls(
        &self,
        collection: CollectionName,
        urls: Vec<String>,
        meta: NewMeta,
    ) -> BoxFuture<'_, Result<Vec<Added>>> {
        Box::pin(async move {
            let added = self.add_pages(&collection, urls, &meta).await?;
            self.wait_until_indexed(&added).await;
            Ok(added)
        })
    }

    fn documents(&self, page: Page) -> BoxFuture<'_, Result<Documents>> {
        Box::pin(async move {
            let known = self.records().await?;
            if known.collection(&page.collection).is_none() {
                return Err(no_collection(&page.collection));
            }
            page_of(&known, &page)
        })
    }

    fn document(&self, collection: CollectionName, which: String) -> BoxFuture<'_, Result<(Document, String)>> {
        Box::pin(async move {
            let document = find(&*self.records().await?, &collection, &which)?;
            let Some(text) = document.text() else { return Ok(((*document).clone(), String::new())) };
            let file = self.file_of_anybody(text).await?.ok_or_else(|| gone(&document))?;
            let extracted = blocking(move || texts::read(&file)).await?;
            Ok(((*document).clone(), extracted.text))
        })
    }

    fn original(&self, document: Document) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(async move { self.file_of_anybody(document.original).await?.ok_or_else(|| gone(&document)) })
    }

    fn remove(&self, collection: CollectionName, which: Which) -> BoxFuture<'_, Result<Removed>> {
        Box::pin(async move {
            let known = self.records().await?;
            if known.collection(&collection).is_none() && self.shelf.find(&collection).await?.is_none() {
                return Err(no_collection(&collection));
            }
            let mut ids = BTreeSet::new();
            let mut unknown = Vec::new();
            for name in which.documents {
                let id = DocId::parse(&name).unwrap_or_else(|_| DocId::of(&collection, &name));
                // What came a moment ago, maybe at another node, need not be known here.
                match find(&known, &collection, &name) {
                    Ok(document) => drop(ids.insert(document.id)),
                    Err(_) if self.shelf.document(&collection, id).await?.is_some() => drop(ids.insert(id)),
                    Err(_) => unknown.push(name),
                }
            }
            if !which.below.is_empty() {
                let below = known.documents(&collection).filter(|one| one.value.source.starts_with(&which.below));
                ids.extend(below.map(|one| one.value.id));
            }
            let ids: Vec<DocId> = ids.into_iter().collect();
            self.check_not_watched(&known, &collection, &ids).await?;
            self.shelf.remove(&collection, &ids).await?;
            Ok(Removed { removed: ids.len() as u64, unknown })
        })
    }

    fn watch_folder(&self, folder: Folder) -> BoxFuture<'_, Result<Folder>> {
        Box::pin(self.watch(folder))
    }

    fn folders(&self, collection: Option<CollectionName>) -> BoxFuture<'_, Result<Vec<Folder>>> {
        Box::pin(self.watched(collection))
    }

    fn unwatch_folder(&self, folder: Folder, keep_documents: bool) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.unwatch(folder, keep_documents))
    }

    fn search(&self, search: Search) -> BoxFuture<'_, Result<Found>> {
        let searched = async move {
            bounds::search(&search)?;
            self.check_filter(&search.filter).await?;
            let (finder, note) = self.finder(&search.question, search.mode).await?;
            let aside = finder.aside.clone();
            let filter = search.filter.clone();
            let mut found = self.found(finder, search, note).await?;
            if found.hits.is_empty()
                && let Some(why) = self.excluded(&filter)
            {
                found.search = format!("{}; {why}", found.search);
            }
            found.search.extend(aside.map(|aside| aside.told()));
            Ok(found)
        };
        Box::pin(self.seen(Doing::Search, searched))
    }

    fn ask(&self, question: Question, say: Say) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(self.seen(Doing::Question, self.answer(question, say)))
    }

    fn start_loop(&self, order: LoopOrder, key: Option<String>) -> BoxFuture<'_, Result<String>> {
        Box::pin(self.order_loop(order, key))
    }

    fn clusters(&self, collection: CollectionName, count: u32, svg: bool) -> BoxFuture<'_, Result<Clusters>> {
        Box::pin(self.group(collection, count, svg))
    }

    fn migrate(&self, to: IndexKind, tell: Tell) -> BoxFuture<'_, Result<Migrated>> {
        Box::pin(self.move_index(to, tell))
    }

    fn status(&self) -> BoxFuture<'_, Result<Status>> {
        Box::pin(async move {
            let (writer, writer_epoch) = self.who_writes().await.unwrap_or_else(|| (base::NodeId::new(""), 0));
            let report = self.report();
            Ok(Status {
                node: self.node.to_string(),
                writer: writer.to_string(),
                writer_epoch,
                embedder: self.vectors.in_use().map(|by| self.models.name_of(&by.embedder().model)).unwrap_or_default(),
                embedder_note: self.embedding.borrow().clone(),
                chunks: report.chunks,
                embedded: report.embedded,
                waiting: report.waiting,
                holders: self.holders(),
                index: self.index_now(),
            })
        })
    }
}

impl Library {
    /// This node and the others that keep documents.
    fn holders(&self) -> Vec<Holder> {
        let own = (self.node.to_string(), "here".to_owned(), self.report());
        let holder = |(node, state, report): (String, String, ResearchReport)| Holder {
            node,
            state: match (report.seen_records, report.waiting) {
                (false, _) => format!("{state}, has not seen the records yet"),
                (true, 0) => format!("{state}, all indexed"),
                (true, waiting) => format!("{state}, {waiting} documents to index"),
            },
            documents: report.documents,
            bytes: report.bytes,
        };
        let mut all: Vec<Holder> = [own].into_iter().chain(self.neighbours.holders()).map(holder).collect();
        all.sort_by(|a, b| a.node.cmp(&b.node));
        all
    }

    /// The records, once they have been seen: a node that starts has them in a moment, and the index is open before.
    pub(super) async fn records(&self) -> Result<Arc<Known>> {
        if tokio::time::timeout(SEEN_WITHIN, self.until_seen()).await.is_err() {
            return Err(Fault::unavailable("the records of the knowledge base have not been seen yet")
                .hint("ask again in a moment, or another node")
                .retry_after(Duration::from_secs(1)));
        }
        Ok(self.known.load_full())
    }

    fn view(&self, known: &Known, collection: &crate::shelf::Collection) -> CollectionView {
        let mut view = CollectionView {
            name: collection.name.clone(),
            description: collection.description.clone(),
            chunk_tokens: collection.chunk_tokens,
            created_ms: collection.created_ms,
            documents: 0,
            failed: 0,
            folded: 0,
            chunks: 0,
            embedded: 0,
            bytes: 0,
            languages: Vec::new(),
            categories: Vec::new(),
        };
        let mut languages: BTreeMap<&str, u64> = BTreeMap::new();
        let mut categories: BTreeMap<&str, u64> = BTreeMap::new();
        let snapshot = self.snapshots.load_full();
        let vectors = self.vectors.in_use().map(|vectors| vectors.snapshot());
        for record in known.documents(&collection.name) {
            let document = &record.value;
            view.bytes += document.bytes;
            match document.state {
                State::Ready { .. } => view.documents += 1,
                State::Failed { .. } => view.failed += 1,
                State::Folded { .. } => view.folded += 1,
            }
            *languages.entry(&document.language).or_default() += 1;
            *categories.entry(&document.meta.category).or_default() += 1;
            if let Some(indexed) = snapshot.as_ref().and_then(|snapshot| snapshot.document(document.id)) {
                view.chunks += indexed.chunks.len() as u64;
                if let Some(vectors) = &vectors {
                    let is_embedded = |chunk: &&Chunk| chunk.parts.iter().all(|part| vectors.contains(&part.hash));
                    let embedded = indexed.chunks.iter().filter(is_embedded);
                    view.embedded += embedded.count() as u64;
                }
            }
        }
        view.languages = named(languages);
        view.categories = named(categories);
        view
    }

    /// Waits a little until what was added is found, so that whoever added it finds it.
    async fn wait_until_indexed(&self, added: &[Added]) {
        let is_new = |one: &&Added| matches!(one.outcome, Outcome::Added | Outcome::Changed);
        let mut new: Vec<&Document> = added.iter().filter(is_new).filter_map(|one| one.document.as_ref()).collect();
        let waits = async {
            loop {
                let changed = self.progress.changed.notified();
                if let Some(snapshot) = self.snapshots.load().as_deref() {
                    // Not by its version, which begins anew when it was removed meanwhile.
                    let is_indexed = |one: &Document| {
                        snapshot.document(one.id).is_some_and(|found| found.document.changed_ms >= one.changed_ms)
                    };
                    new.retain(|one| !is_indexed(one));
                }
                if new.is_empty() {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(INDEXED_WITHIN, waits).await;
    }
}

/// The most frequent first; what has no name is left out.
fn named(counts: BTreeMap<&str, u64>) -> Vec<String> {
    let mut counts: Vec<(&str, u64)> = counts.into_iter().filter(|(name, _)| !name.is_empty()).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    counts.into_iter().map(|(name, _)| name.to_owned()).collect()
}

fn page_of(known: &Known, page: &Page) -> Result<Documents> {
    bounds::page(page)?;
    let limit = if page.limit == 0 { USUAL_PAGE } else { page.limit };
    let state = page.state.as_str();
    let passes =
        |document: &Document| page.filter.passes(document) && (state.is_empty() || state == state_of(document));
    let mut all: Vec<&Arc<Document>> = known.documents(&page.collection).map(|record| &record.value).collect();
    all.retain(|document| passes(document));
    all.sort_by(|a, b| a.source.cmp(&b.source));
    let total = all.len() as u64;
    let rest = all.into_iter().filter(|document| page.after.is_empty() || document.source > page.after);
    let mut items: Vec<Document> = rest.take(limit as usize + 1).map(|one| (**one).clone()).collect();
    let next = (items.len() > limit as usize).then(|| {
        items.truncate(limit as usize);
        items.last().map(|one| one.source.clone()).unwrap_or_default()
    });
    Ok(Documents { items, total, next })
}

/// How a document fared, in a word.
fn state_of(document: &Document) -> &'static str {
    match document.state {
        State::Ready { .. } => "ready",
        State::Failed { .. } => "failed",
        State::Folded { .. } => "folded",
    }
}

/// A document by its id or its source.
fn find(known: &Known, collection: &CollectionName, which: &str) -> Result<Arc<Document>> {
    if known.collection(collection).is_none() {
        return Err(no_collection(collection));
    }
    let by_id = DocId::parse(which).ok().and_then(|id| known.document(collection, id));
    let found = by_id.or_else(|| known.document(collection, DocId::of(collection, which)));
    found.map(|record| record.value.clone()).ok_or_else(|| {
        Fault::new(Code::NotFound, format!("collection `{collection}` has no document `{}`", which.escape_debug()))
            .hint(format!(
                "name it by its id or its whole source; `tmctl research list --collection {collection}` shows them"
            ))
    })
}

pub(super) fn no_collection(name: &CollectionName) -> Fault {
    Fault::new(Code::NotFound, format!("there is no collection `{name}`"))
        .hint("`tmctl research collections` lists those that there are; adding a document makes its collection")
}

fn gone(document: &Document) -> Fault {
    Fault::unavailable(format!("the bytes of `{}` are on no node that can be reached", document.source))
        .hint("switch on the node that it was added at, or add it again")
}
