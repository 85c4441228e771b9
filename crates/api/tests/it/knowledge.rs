//! A knowledge base in memory: documents are lines of text, found by the words that they have in common with a question.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use base::{BoxFuture, Code, Fault, Result};
use bytes::Bytes;
use research::answer::{Answer, Because, Citation, Confidence, Sentence, Support, Verdict};
use research::hit::{Hit, Span, Why};
use research::knowledge::*;
use research::{BlobId, CollectionName, DocId, Document, Knowledge, NewDocument, State};
use tokio::sync::watch;

/// When everything in it was added.
const NOW: u64 = 1_795_215_900_250;

type Shelf = BTreeMap<CollectionName, BTreeMap<String, (Document, Bytes)>>;

/// The documents. A question `wait` is never answered.
#[derive(Default)]
pub struct Memory {
    shelf: Mutex<Shelf>,
    folders: Mutex<Vec<Folder>>,
    /// How many documents came together, call by call.
    pub batches: Mutex<Vec<usize>>,
    /// The last question and the last order as they were asked.
    pub asked: Mutex<Option<Question>>,
    pub ordered: Mutex<Option<(LoopOrder, Option<String>)>>,
    /// Questions that were given up.
    pub dropped: watch::Sender<usize>,
}

/// Counts a question whose work ends, however that comes.
struct Ends<'a>(&'a watch::Sender<usize>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

fn now<T: Send + 'static>(result: Result<T>) -> BoxFuture<'static, Result<T>> {
    Box::pin(std::future::ready(result))
}

fn missing(collection: &CollectionName) -> Fault {
    Fault::new(Code::NotFound, format!("there is no collection `{collection}`")).hint("`tmctl research collections`")
}

impl Memory {
    fn put(shelf: &mut Shelf, collection: &CollectionName, new: NewDocument) -> Added {
        let documents = shelf.entry(collection.clone()).or_default();
        let (original, id) = (BlobId::of(&new.bytes), DocId::of(collection, &new.source));
        let before = documents.get(&new.source).map(|(document, _)| document.clone());
        let outcome = match &before {
            None => Outcome::Added,
            Some(before) if before.original == original => Outcome::Unchanged,
            Some(_) => Outcome::Changed,
        };
        let state = match std::str::from_utf8(&new.bytes) {
            Ok(text) => State::Ready { text: original, chars: text.chars().count() as u64, notes: Vec::new() },
            Err(error) => State::Failed { reason: error.to_string(), hint: String::new() },
        };
        let outcome = if matches!(state, State::Failed { .. }) { Outcome::Failed } else { outcome };
        let document = Document {
            id,
            collection: collection.clone(),
            source: new.source.clone(),
            version: before.as_ref().map_or(1, |before| before.version + u64::from(outcome == Outcome::Changed)),
            original,
            bytes: new.bytes.len() as u64,
            meta: new.meta.over(&research::Meta::default(), before.as_ref().map(|before| &before.meta)),
            language: "en".into(),
            state,
            added_ms: NOW,
            changed_ms: NOW,
            reader: 1,
        };
        documents.insert(new.source.clone(), (document.clone(), new.bytes));
        let reason = if outcome == Outcome::Failed { "it is no text" } else { "" };
        let document = Some(document);
        Added { source: new.source, outcome, reason: reason.into(), hint: String::new(), document, copies: 1 }
    }

    /// The lines that have a word of the question, those with the most words first.
    fn found(&self, question: &str, filter: &research::filter::Filter, limit: u32) -> Vec<Hit> {
        let words: Vec<String> = question.split_whitespace().map(str::to_lowercase).collect();
        let shelf = self.shelf.lock().unwrap();
        let mut hits = Vec::new();
        for (document, bytes) in shelf.values().flat_map(BTreeMap::values) {
            if !filter.passes(document) || document.text().is_none() {
                continue;
            }
            let mut start = 0;
            for (ordinal, line) in std::str::from_utf8(bytes).unwrap_or("").lines().enumerate() {
                let end = start + line.chars().count() as u64;
                let has = |word: &&String| line.to_lowercase().contains(*word);
                let shared: Vec<String> = words.iter().filter(has).cloned().collect();
                if !shared.is_empty() {
                    hits.push(hit(document, (start, end), ordinal as u32, line, shared, words.len()));
                }
                start = end + 1;
            }
        }
        hits.sort_by(|one, other| other.score.total_cmp(&one.score));
        hits.truncate(if limit == 0 { 10 } else { limit as usize });
        hits
    }

    fn check(&self, filter: &research::filter::Filter) -> Result<()> {
        let shelf = self.shelf.lock().unwrap();
        match filter.collections.iter().find(|name| !shelf.contains_key(*name)) {
            Some(name) => Err(missing(name)),
            None => Ok(()),
        }
    }

    async fn answer(&self, question: Question, say: Say) -> Result<Answer> {
        let _ends = Ends(&self.dropped);
        *self.asked.lock().unwrap() = Some(question.clone());
        self.check(&question.filter)?;
        say.doing("searching").await;
        if question.question == "wait" {
            std::future::pending::<()>().await;
        }
        let hits = self.found(&question.question, &question.filter, 3);
        let verdict = if hits.is_empty() { Verdict::NotFound } else { Verdict::Answered };
        let mut text = String::new();
        for (number, hit) in (1..).zip(&hits) {
            let piece = format!("{}{} [{number}]", if number > 1 { " " } else { "" }, hit.text);
            say.delta(piece.clone()).await;
            text.push_str(&piece);
        }
        if hits.is_empty() {
            text = "This is not in the knowledge base.".into();
        }
        let sentences = (1..).zip(&hits).map(|(number, hit)| Sentence {
            text: hit.text.clone(),
            cites: vec![number],
            support: Support::Quoted,
        });
        Ok(Answer {
            verdict,
            text,
            sentences: sentences.collect(),
            citations: (1..).zip(&hits).map(|(number, hit)| citation(number, hit)).collect(),
            confidence: Confidence {
                value: 0.9,
                because: vec![Because { name: "coverage".into(), value: 1.0, moved: 0.4 }],
            },
            contradictions: Vec::new(),
            model: String::new(),
            search: "by words alone: no model embeds".into(),
            notes: vec!["no model was asked".into()],
            question: question.question,
        })
    }
}

fn hit(document: &Document, (start, end): (u64, u64), ordinal: u32, line: &str, words: Vec<String>, of: usize) -> Hit {
    let score = words.len() as f32 / of as f32;
    let why = Why { text: Some(score), text_rank: Some(1), words, ..Why::default() };
    Hit {
        span: Span { document: document.id, version: document.version, start, end },
        collection: document.collection.clone(),
        source: document.source.clone(),
        title: document.meta.title.clone(),
        headings: String::new(),
        page: None,
        ordinal,
        text: line.to_owned(),
        before: String::new(),
        after: String::new(),
        score,
        why,
    }
}

fn citation(number: u32, hit: &Hit) -> Citation {
    Citation {
        number,
        span: hit.span.clone(),
        quote: hit.text.clone(),
        collection: hit.collection.clone(),
        source: hit.source.clone(),
        title: hit.title.clone(),
        headings: hit.headings.clone(),
        page: None,
        dated_ms: NOW,
        licence: String::new(),
    }
}

fn view(name: &CollectionName, documents: &BTreeMap<String, (Document, Bytes)>) -> CollectionView {
    CollectionView {
        name: name.clone(),
        description: String::new(),
        chunk_tokens: 300,
        created_ms: NOW,
        documents: documents.len() as u64,
        failed: 0,
        folded: 0,
        chunks: documents.len() as u64,
        embedded: 0,
        bytes: documents.values().map(|(document, _)| document.bytes).sum(),
        languages: vec!["en".into()],
        categories: Vec::new(),
    }
}

impl Knowledge for Memory {
    fn create(&self, new: NewCollection) -> BoxFuture<'_, Result<CollectionView>> {
        let mut shelf = self.shelf.lock().unwrap();
        if shelf.contains_key(&new.name) {
            return now(Err(Fault::new(Code::Conflict, format!("there is a collection `{}` already", new.name))));
        }
        now(Ok(view(&new.name, shelf.entry(new.name.clone()).or_default())))
    }

    fn collections(&self) -> BoxFuture<'_, Result<Vec<CollectionView>>> {
        now(Ok(self.shelf.lock().unwrap().iter().map(|(name, documents)| view(name, documents)).collect()))
    }

    fn delete(&self, name: CollectionName) -> BoxFuture<'_, Result<u64>> {
        let gone = self.shelf.lock().unwrap().remove(&name);
        now(gone.map(|gone| gone.len() as u64).ok_or_else(|| missing(&name)))
    }

    fn add(&self, collection: CollectionName, documents: Vec<NewDocument>) -> BoxFuture<'_, Result<Vec<Added>>> {
        self.batches.lock().unwrap().push(documents.len());
        let mut shelf = self.shelf.lock().unwrap();
        now(Ok(documents.into_iter().map(|new| Self::put(&mut shelf, &collection, new)).collect()))
    }

    fn add_urls(
        &self,
        _: CollectionName,
        urls: Vec<String>,
        _: research::NewMeta,
    ) -> BoxFuture<'_, Result<Vec<Added>>> {
        now(Err(Fault::new(
            Code::PermissionDenied,
            format!("could not fetch `{}`: the mode is local-only", urls.join(", ")),
        )
        .hint("`tmctl mode set`")))
    }

    fn documents(&self, page: Page) -> BoxFuture<'_, Result<Documents>> {
        let shelf = self.shelf.lock().unwrap();
        let Some(documents) = shelf.get(&page.collection) else { return now(Err(missing(&page.collection))) };
        let most = if page.limit == 0 { 100 } else { page.limit as usize };
        let passing: Vec<Document> =
            documents.values().map(|(one, _)| one.clone()).filter(|one| page.filter.passes(one)).collect();
        let total = passing.len() as u64;
        let mut items: Vec<Document> = passing.into_iter().filter(|one| one.source > page.after).collect();
        let has_more = items.len() > most;
        items.truncate(most);
        let next = items.last().filter(|_| has_more).map(|last| last.source.clone());
        now(Ok(Documents { items, total, next }))
    }

    fn document(&self, collection: CollectionName, which: String) -> BoxFuture<'_, Result<(Document, String)>> {
        let shelf = self.shelf.lock().unwrap();
        let Some(documents) = shelf.get(&collection) else { return now(Err(missing(&collection))) };
        let found = documents.values().find(|(one, _)| one.source == which || one.id.to_string() == which);
        now(found
            .map(|(document, bytes)| (document.clone(), String::from_utf8_lossy(bytes).into_owned()))
            .ok_or_else(|| Fault::new(Code::NotFound, format!("there is no document `{which}` in `{collection}`"))))
    }

    fn original(&self, document: Document) -> BoxFuture<'_, Result<Bytes>> {
        let shelf = self.shelf.lock().unwrap();
        let found = shelf.get(&document.collection).and_then(|documents| documents.get(&document.source));
        now(found.map(|(_, bytes)| bytes.clone()).ok_or_else(|| Fault::new(Code::NotFound, "it is gone")))
    }

    fn remove(&self, collection: CollectionName, which: Which) -> BoxFuture<'_, Result<Removed>> {
        let mut shelf = self.shelf.lock().unwrap();
        let Some(documents) = shelf.get_mut(&collection) else { return now(Err(missing(&collection))) };
        let mut removed = Removed::default();
        for named in which.documents {
            let source = documents.values().find(|(one, _)| one.source == named || one.id.to_string() == named);
            match source.map(|(one, _)| one.source.clone()) {
                Some(source) => removed.removed += u64::from(documents.remove(&source).is_some()),
                None => removed.unknown.push(named),
            }
        }
        if !which.below.is_empty() {
            let before = documents.len();
            documents.retain(|source, _| !source.starts_with(&which.below));
            removed.removed += (before - documents.len()) as u64;
        }
        now(Ok(removed))
    }

    fn watch_folder(&self, folder: Folder) -> BoxFuture<'_, Result<Folder>> {
        let folder = Folder { node: "grey-area".into(), state: "looked through, 2 files".into(), ..folder };
        self.folders.lock().unwrap().push(folder.clone());
        now(Ok(folder))
    }

    fn folders(&self, collection: Option<CollectionName>) -> BoxFuture<'_, Result<Vec<Folder>>> {
        let all = self.folders.lock().unwrap().clone();
        now(Ok(all.into_iter().filter(|one| collection.as_ref().is_none_or(|name| one.collection == *name)).collect()))
    }

    fn unwatch_folder(&self, folder: Folder, _: bool) -> BoxFuture<'_, Result<u64>> {
        self.folders.lock().unwrap().retain(|one| one.path != folder.path);
        now(Ok(2))
    }

    fn search(&self, search: Search) -> BoxFuture<'_, Result<Found>> {
        let found = self.check(&search.filter).map(|()| Found {
            hits: self.found(&search.question, &search.filter, search.limit),
            search: "by words alone: no model embeds".into(),
        });
        now(found)
    }

    fn ask(&self, question: Question, say: Say) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(async move { self.answer(question, say).await })
    }

    fn start_loop(&self, order: LoopOrder, key: Option<String>) -> BoxFuture<'_, Result<String>> {
        *self.ordered.lock().unwrap() = Some((order, key));
        now(Ok("job-7".into()))
    }

    fn clusters(&self, collection: CollectionName, _: u32, svg: bool) -> BoxFuture<'_, Result<Clusters>> {
        let shelf = self.shelf.lock().unwrap();
        let Some(documents) = shelf.get(&collection) else { return now(Err(missing(&collection))) };
        let one = |(document, _): &(Document, Bytes)| ClusterDocument {
            id: document.id,
            source: document.source.clone(),
            title: document.meta.title.clone(),
            likeness: 1.0,
        };
        let documents = documents.values().map(one).collect();
        let items = vec![Cluster { label: "all".into(), documents, cohesion: 1.0 }];
        now(Ok(Clusters {
            items,
            svg: if svg { "<svg/>".into() } else { String::new() },
            method: "likeness by words, 1 group as wished".into(),
        }))
    }

    fn status(&self) -> BoxFuture<'_, Result<Status>> {
        Box::pin(async {
            tokio::time::sleep(Duration::ZERO).await;
            Ok(Status { node: "grey-area".into(), index: "embedded".into(), ..Status::default() })
        })
    }
}
