//! What the faces ask of the knowledge base: one trait, which a node that keeps documents implements.

pub mod call;

use base::{BoxFuture, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::answer::Answer;
use crate::document::{Document, NewDocument, NewMeta};
use crate::filter::Filter;
use crate::hit::Hit;
use crate::names::{CollectionName, DocId};

/// The knowledge base behind the faces.
pub trait Knowledge: Send + Sync + 'static {
    /// Makes a collection; one of that name is a conflict.
    fn create(&self, new: NewCollection) -> BoxFuture<'_, Result<CollectionView>>;

    /// All collections, by name.
    fn collections(&self) -> BoxFuture<'_, Result<Vec<CollectionView>>>;

    /// Deletes a collection with its documents; gives how many those were.
    fn delete(&self, name: CollectionName) -> BoxFuture<'_, Result<u64>>;

    /// Adds documents or new versions of them; the collection is made if it does not exist. One result for each, in
    /// order, once it is durable; a fault is about the call, not about a document.
    fn add(&self, collection: CollectionName, documents: Vec<NewDocument>) -> BoxFuture<'_, Result<Vec<Added>>>;

    /// Fetches pages and adds them, where the mode allows it.
    fn add_urls(
        &self,
        collection: CollectionName,
        urls: Vec<String>,
        meta: NewMeta,
    ) -> BoxFuture<'_, Result<Vec<Added>>>;

    /// Documents, a page at a time, in the order of their sources.
    fn documents(&self, page: Page) -> BoxFuture<'_, Result<Documents>>;

    /// A document, by id or source, with its text; the text is empty where it failed.
    fn document(&self, collection: CollectionName, which: String) -> BoxFuture<'_, Result<(Document, String)>>;

    /// The bytes of a document as they were added.
    fn original(&self, document: Document) -> BoxFuture<'_, Result<Bytes>>;

    /// Removes documents.
    fn remove(&self, collection: CollectionName, which: Which) -> BoxFuture<'_, Result<Removed>>;

    /// Keeps a collection in step with a folder of a node.
    fn watch_folder(&self, folder: Folder) -> BoxFuture<'_, Result<Folder>>;

    /// The folders of a collection, or of all.
    fn folders(&self, collection: Option<CollectionName>) -> BoxFuture<'_, Result<Vec<Folder>>>;

    /// Ends that; gives how many documents were removed with it.
    fn unwatch_folder(&self, folder: Folder, keep_documents: bool) -> BoxFuture<'_, Result<u64>>;

    /// Finds passages.
    fn search(&self, search: Search) -> BoxFuture<'_, Result<Found>>;

    /// Answers a question; what is done meanwhile goes to `say`. Dropping the future ends the work, down to the engine.
    fn ask(&self, question: Question, say: Say) -> BoxFuture<'_, Result<Answer>>;

    /// Begins a research in rounds; gives the id of its job.
    fn start_loop(&self, order: LoopOrder, key: Option<String>) -> BoxFuture<'_, Result<String>>;

    /// Groups of documents that are about the same.
    fn clusters(&self, collection: CollectionName, count: u32, svg: bool) -> BoxFuture<'_, Result<Clusters>>;

    /// Moves searches to a server of vectors, or back to the nodes' own indexes, and checks that they find the same;
    /// what is done meanwhile goes to `tell`. Dropping the future ends the watching, not the move.
    fn migrate(&self, to: IndexKind, tell: Tell) -> BoxFuture<'_, Result<Migrated>> {
        let _ = (to, tell);
        let fault = base::Fault::new(base::Code::NotSupported, "this node has no index to move");
        Box::pin(std::future::ready(Err(fault.hint("ask a node that keeps documents"))))
    }

    /// Who holds what, who writes, what is still to be done.
    fn status(&self) -> BoxFuture<'_, Result<Status>>;
}

/// Where searches take their candidates from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexKind {
    /// Each node's own index.
    Embedded,
    /// A Qdrant.
    Qdrant,
}

/// Where it is told how far a move is.
pub type Tell = mpsc::Sender<Moving>;

/// How far a move is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// What is done now, in words.
    pub doing: String,
    /// So many …
    pub done: u64,
    /// … of so many; 0: nothing is counted now.
    pub total: u64,
}

/// What a move came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Migrated {
    /// `embedded`, or the address of a Qdrant.
    pub index: String,
    /// Points in the Qdrant.
    pub points: u64,
    /// Chunks that this node has indexed.
    pub chunks: u64,
    /// Searches that were done both ways.
    pub samples: u32,
    /// What of their ten best hits is the same, 0 to 1.
    pub overlap: f64,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// A collection to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCollection {
    /// What it is called.
    pub name: CollectionName,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// What chunks aim at, in tokens; 0: the default.
    #[serde(default)]
    pub chunk_tokens: u32,
}

/// A collection as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionView {
    /// What it is called.
    pub name: CollectionName,
    /// What it is for.
    pub description: String,
    /// What chunks aim at, in tokens.
    pub chunk_tokens: u32,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// Documents that can be found.
    pub documents: u64,
    /// Documents from which no text could be read.
    pub failed: u64,
    /// Documents that say the same as another one.
    pub folded: u64,
    /// Chunks as the answering node has indexed them.
    pub chunks: u64,
    /// Of those, with a vector.
    pub embedded: u64,
    /// Bytes of all documents as they were added.
    pub bytes: u64,
    /// Languages of its documents.
    pub languages: Vec<String>,
    /// Categories of its documents.
    pub categories: Vec<String>,
}

/// What became of a document that was to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// Its source.
    pub source: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused or failed; into which source it was folded.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
    /// As it stands now; `None` where it was refused.
    pub document: Option<Document>,
    /// Nodes that hold it durably.
    pub copies: u32,
}

/// What became of a document that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is new.
    Added,
    /// It is a new version.
    Changed,
    /// It was there already.
    Unchanged,
    /// It says the same as another one, and is kept beside it.
    Folded,
    /// It is kept, and no text could be read from it.
    Failed,
    /// It was not taken.
    Refused,
}

/// Which page of which documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Of which collection.
    pub collection: CollectionName,
    /// Which of them.
    #[serde(default)]
    pub filter: Filter,
    /// In which state: `ready`, `failed`, `folded`; empty: all.
    #[serde(default)]
    pub state: String,
    /// Behind this source.
    #[serde(default)]
    pub after: String,
    /// How many; 0: 100.
    #[serde(default)]
    pub limit: u32,
}

/// A page of documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Documents {
    /// These.
    pub items: Vec<Document>,
    /// How many pass in all.
    pub total: u64,
    /// For the next page's `after`; `None`: there is no more.
    pub next: Option<String>,
}

/// Documents to remove: those named and those below.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Which {
    /// By id or source.
    pub documents: Vec<String>,
    /// All whose source begins so; empty: none.
    pub below: String,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// How many documents.
    pub removed: u64,
    /// What was named and is not there.
    pub unknown: Vec<String>,
}

/// A folder that a node keeps a collection in step with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Which collection.
    pub collection: CollectionName,
    /// On which node; empty: the called one.
    #[serde(default)]
    pub node: String,
    /// Where on that node.
    pub path: String,
    /// Which files, as in .gitignore; empty: all that can be read.
    #[serde(default)]
    pub patterns: Vec<String>,
    /// The category of its documents.
    #[serde(default)]
    pub category: String,
    /// The tags of its documents.
    #[serde(default)]
    pub tags: Vec<String>,
    /// How it stands, in words.
    #[serde(default)]
    pub state: String,
}

impl Folder {
    /// What it tells of its documents.
    pub fn meta(&self) -> NewMeta {
        NewMeta {
            category: Some(self.category.clone()).filter(|category| !category.is_empty()),
            tags: Some(self.tags.clone()).filter(|tags| !tags.is_empty()),
            ..NewMeta::default()
        }
    }
}

/// A search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Search {
    /// What is looked for.
    pub question: String,
    /// Where.
    pub filter: Filter,
    /// How many hits; 0: 10.
    pub limit: u32,
    /// How.
    pub mode: Mode,
    /// How much hits that say the same are pushed down, 0 to 1.
    pub diversity: f32,
    /// Whether the chunks before and behind are wanted.
    pub neighbours: bool,
}

/// How to search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// By words and by vectors, where there are any.
    #[default]
    Hybrid,
    /// By words alone.
    Text,
    /// By vectors alone; a fault where there are none.
    Dense,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Best first.
    pub hits: Vec<Hit>,
    /// How it was searched, in words: with vectors of which model, or why without.
    pub search: String,
}

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Question {
    /// What is asked.
    pub question: String,
    /// What it is asked for; helps to find, and is never cited.
    pub context: String,
    /// Where to look.
    pub filter: Filter,
    /// Who writes the answer.
    pub mode: Writer,
    /// The most sentences of an answer without a model; 0: 3.
    pub sentences: u32,
    /// The most passages that a model is shown; 0: 8.
    pub passages: u32,
}

/// Who writes an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// A model where one answers well, else nobody.
    #[default]
    Auto,
    /// A model; without one it is a fault.
    Model,
    /// Nobody: sentences as they stand in the sources.
    Extractive,
}

/// Where it is told what is done for an answer. Nobody has to listen.
#[derive(Clone, Debug, Default)]
pub struct Say(Option<mpsc::Sender<Said>>);

/// What is told while an answer is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// What is done now.
    Doing(String),
    /// The next piece of the text, unchecked.
    Delta(String),
}

impl Say {
    /// To that channel.
    pub fn to(channel: mpsc::Sender<Said>) -> Self {
        Self(Some(channel))
    }

    /// What is done now.
    pub async fn doing(&self, what: impl Into<String>) {
        self.send(Said::Doing(what.into())).await;
    }

    /// The next piece of the text.
    pub async fn delta(&self, text: impl Into<String>) {
        self.send(Said::Delta(text.into())).await;
    }

    async fn send(&self, said: Said) {
        if let Some(channel) = &self.0 {
            // Who stopped listening drops the whole answer soon.
            let _ = channel.send(said).await;
        }
    }
}

/// A research in rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoopOrder {
    /// What is asked.
    pub question: String,
    /// What it is asked for.
    pub context: String,
    /// Where to look.
    pub filter: Filter,
    /// The most rounds; 0: 3.
    pub max_iterations: u32,
    /// The most time in seconds; 0: half an hour.
    pub deadline_s: u64,
    /// Who writes.
    pub mode: Writer,
    /// Who asks.
    pub who: String,
}

/// Groups of documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clusters {
    /// The largest first.
    pub items: Vec<Cluster>,
    /// A picture, where it was asked for.
    pub svg: String,
    /// How likeness was measured, in words.
    pub method: String,
}

/// A group of documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Words that its documents have in common.
    pub label: String,
    /// Nearest to its middle first.
    pub documents: Vec<ClusterDocument>,
    /// The mean likeness to its middle, 0 to 1.
    pub cohesion: f64,
}

/// A document of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterDocument {
    /// Which.
    pub id: DocId,
    /// Where it comes from.
    pub source: String,
    /// What it is called.
    pub title: String,
    /// How near it is to the middle, 0 to 1.
    pub likeness: f64,
}

/// How the knowledge base stands, as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whose view this is.
    pub node: String,
    /// The node that embeds; empty: none now.
    pub writer: String,
    /// Its epoch.
    pub writer_epoch: u64,
    /// The model of the vectors in use; empty: none.
    pub embedder: String,
    /// Why there is none, or which model comes next.
    pub embedder_note: String,
    /// Chunks that this node has indexed.
    pub chunks: u64,
    /// Of those, with a vector.
    pub embedded: u64,
    /// Documents that this node has not indexed yet.
    pub waiting: u64,
    /// Who holds documents.
    pub holders: Vec<Holder>,
    /// `embedded`, or the address of a Qdrant.
    pub index: String,
}

/// A node that holds documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Which.
    pub node: String,
    /// How it stands, in words.
    pub state: String,
    /// How many documents it has indexed.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
}
