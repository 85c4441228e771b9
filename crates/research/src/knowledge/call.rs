//! A call of the knowledge base as a value, so that a node that keeps no documents has another one answer it.
//!
//! It travels between neighbouring releases. Fields are only added, with a default that means what was meant before; a
//! new call, and a new field of a filter, is a feature of its own: an older node refuses it, rather than to answer less.

use std::future::{Future, ready};

use base::{BoxFuture, Code, Fault, Result};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{
    Added, Clusters, CollectionView, Documents, Folder, Found, IndexKind, Knowledge, LoopOrder, Migrated, Moving,
    NewCollection, Page, Question, Removed, Said, Say, Search, Status, Tell, Which,
};
use crate::answer::Answer;
use crate::document::{Document, NewDocument, NewMeta};
use crate::names::CollectionName;

/// What may wait to be told on its way.
const WAITING: usize = 64;

/// A call of [`Knowledge`]. The bytes of documents that are added travel beside it, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// [`Knowledge::create`].
    Create(NewCollection),
    /// [`Knowledge::collections`].
    Collections,
    /// [`Knowledge::delete`].
    Delete(CollectionName),
    /// [`Knowledge::add`].
    Add { collection: CollectionName, documents: Vec<NewDocumentHead> },
    /// [`Knowledge::add_urls`].
    AddUrls { collection: CollectionName, urls: Vec<String>, meta: NewMeta },
    /// [`Knowledge::documents`].
    Documents(Page),
    /// [`Knowledge::document`].
    Document { collection: CollectionName, which: String },
    /// [`Knowledge::original`].
    Original(Document),
    /// [`Knowledge::remove`].
    Remove { collection: CollectionName, which: Which },
    /// [`Knowledge::watch_folder`].
    WatchFolder(Folder),
    /// [`Knowledge::folders`].
    Folders { collection: Option<CollectionName> },
    /// [`Knowledge::unwatch_folder`].
    UnwatchFolder { folder: Folder, keep_documents: bool },
    /// [`Knowledge::search`].
    Search(Search),
    /// [`Knowledge::ask`].
    Ask(Question),
    /// [`Knowledge::start_loop`].
    StartLoop { order: LoopOrder, key: Option<String> },
    /// [`Knowledge::clusters`].
    Clusters { collection: CollectionName, count: u32, svg: bool },
    /// [`Knowledge::migrate`].
    Migrate(IndexKind),
    /// [`Knowledge::status`].
    Status,
}

/// A document that is added, but for its bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewDocumentHead {
    /// Where it comes from.
    pub source: String,
    /// What is told about it.
    pub meta: NewMeta,
}

/// What comes back in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The result as JSON; of [`Call::Original`] it is `null`.
    pub json: Bytes,
    /// The bytes of [`Call::Original`].
    pub file: Option<Bytes>,
}

/// What is told on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Of [`Call::Ask`].
    Said(Said),
    /// Of [`Call::Migrate`].
    Moving(Moving),
}

impl Call {
    /// Whether it may be made a second time where nobody knows what became of the first.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Create(_) | Self::Delete(_) | Self::Remove { .. } | Self::UnwatchFolder { .. } | Self::Migrate(_) => {
                false
            }
            // By its key the same order again is the same job.
            Self::StartLoop { key, .. } => key.is_some(),
            _ => true,
        }
    }

    /// Has `knowledge` answer it, with `files` as the bytes of the documents that it adds.
    pub async fn serve(
        self,
        knowledge: &dyn Knowledge,
        files: Vec<Bytes>,
        told: &mpsc::Sender<Progress>,
    ) -> Result<Reply> {
        match self {
            Self::Create(new) => reply(knowledge.create(new).await?),
            Self::Collections => reply(knowledge.collections().await?),
            Self::Delete(name) => reply(knowledge.delete(name).await?),
            Self::Add { collection, documents: heads } => {
                if heads.len() != files.len() {
                    let counts = format!("{} documents came with the bytes of {}", heads.len(), files.len());
                    return Err(Fault::invalid(counts));
                }
                let document = |(NewDocumentHead { source, meta }, bytes)| NewDocument { source, meta, bytes };
                let documents = heads.into_iter().zip(files).map(document).collect();
                reply(knowledge.add(collection, documents).await?)
            }
            Self::AddUrls { collection, urls, meta } => reply(knowledge.add_urls(collection, urls, meta).await?),
            Self::Documents(page) => reply(knowledge.documents(page).await?),
            Self::Document { collection, which } => reply(knowledge.document(collection, which).await?),
            Self::Original(document) => {
                let file = Some(knowledge.original(document).await?);
                Ok(Reply { file, ..reply(())? })
            }
            Self::Remove { collection, which } => reply(knowledge.remove(collection, which).await?),
            Self::WatchFolder(folder) => reply(knowledge.watch_folder(folder).await?),
            Self::Folders { collection } => reply(knowledge.folders(collection).await?),
            Self::UnwatchFolder { folder, keep_documents } => {
                reply(knowledge.unwatch_folder(folder, keep_documents).await?)
            }
            Self::Search(search) => reply(knowledge.search(search).await?),
            Self::Ask(question) => {
                let (said, heard) = mpsc::channel(WAITING);
                let asked = knowledge.ask(question, Say::to(said));
                reply(telling(asked, heard, Progress::Said, told).await?)
            }
            Self::StartLoop { order, key } => reply(knowledge.start_loop(order, key).await?),
            Self::Clusters { collection, count, svg } => reply(knowledge.clusters(collection, count, svg).await?),
            Self::Migrate(to) => {
                let (tell, heard) = mpsc::channel(WAITING);
                reply(telling(knowledge.migrate(to, tell), heard, Progress::Moving, told).await?)
            }
            Self::Status => reply(knowledge.status().await?),
        }
    }
}

fn reply(result: impl Serialize) -> Result<Reply> {
    let json = serde_json::to_vec(&result)
        .map_err(|error| Fault::internal("could not write what the knowledge base answered").because(error))?;
    Ok(Reply { json: json.into(), file: None })
}

/// Does `work`, and passes on what it says, in order and all of it. It owns the sender of `heard`.
async fn telling<T, S>(
    work: impl Future<Output = T>,
    mut heard: mpsc::Receiver<S>,
    as_progress: fn(S) -> Progress,
    told: &mpsc::Sender<Progress>,
) -> T {
    let pass_on = async {
        while let Some(said) = heard.recv().await {
            // Who stopped listening drops the whole call soon.
            let _ = told.send(as_progress(said)).await;
        }
    };
    tokio::join!(work, pass_on).0
}

/// Who hears what is told on the way.
pub enum Listener {
    /// Nobody; nothing is told.
    Nobody,
    /// Who asked.
    Asker(Say),
    /// Who ordered a move.
    Mover(Tell),
}

impl Listener {
    /// Passes it on.
    pub async fn hear(&self, progress: Progress) {
        match (self, progress) {
            (Self::Asker(say), Progress::Said(said)) => say.send(said).await,
            (Self::Mover(tell), Progress::Moving(moving)) => drop(tell.send(moving).await),
            _ => {}
        }
    }
}

/// Carries calls to nodes that keep documents.
pub trait Carrier: Send + Sync + 'static {
    /// Has one of them answer. Dropping the future ends the work there.
    fn carry(&self, call: Call, files: Vec<Bytes>, listener: Listener) -> BoxFuture<'_, Result<Reply>>;

    /// The name of this node, for folders that are meant to be its own.
    fn node(&self) -> String;
}

/// The knowledge base of the house, for a node that keeps no documents.
pub struct Elsewhere<C>(pub C);

impl<C: Carrier> Elsewhere<C> {
    fn call<T: DeserializeOwned + Send + 'static>(&self, call: Call) -> BoxFuture<'_, Result<T>> {
        self.with(call, Vec::new(), Listener::Nobody)
    }

    fn with<T: DeserializeOwned + Send + 'static>(
        &self,
        call: Call,
        files: Vec<Bytes>,
        listener: Listener,
    ) -> BoxFuture<'_, Result<T>> {
        Box::pin(async move {
            let reply = self.0.carry(call, files, listener).await?;
            serde_json::from_slice(&reply.json).map_err(|error| {
                Fault::internal("could not read what another node answered")
                    .because(error)
                    .hint("run the same release of tmd on both nodes")
            })
        })
    }
}

impl<C: Carrier> Knowledge for Elsewhere<C> {
    fn create(&self, new: NewCollection) -> BoxFuture<'_, Result<CollectionView>> {
        self.call(Call::Create(new))
    }

    fn collections(&self) -> BoxFuture<'_, Result<Vec<CollectionView>>> {
        self.call(Call::Collections)
    }

    fn delete(&self, name: CollectionName) -> BoxFuture<'_, Result<u64>> {
        self.call(Call::Delete(name))
    }

    fn add(&self, collection: CollectionName, documents: Vec<NewDocument>) -> BoxFuture<'_, Result<Vec<Added>>> {
        let head = |one: NewDocument| (NewDocumentHead { source: one.source, meta: one.meta }, one.bytes);
        let (documents, files) = documents.into_iter().map(head).unzip();
        self.with(Call::Add { collection, documents }, files, Listener::Nobody)
    }

    fn add_urls(
        &self,
        collection: CollectionName,
        urls: Vec<String>,
        meta: NewMeta,
    ) -> BoxFuture<'_, Result<Vec<Added>>> {
        self.call(Call::AddUrls { collection, urls, meta })
    }

    fn documents(&self, page: Page) -> BoxFuture<'_, Result<Documents>> {
        self.call(Call::Documents(page))
    }

    fn document(&self, collection: CollectionName, which: String) -> BoxFuture<'_, Result<(Document, String)>> {
        self.call(Call::Document { collection, which })
    }

    fn original(&self, document: Document) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(async move {
            let reply = self.0.carry(Call::Original(document), Vec::new(), Listener::Nobody).await?;
            reply.file.ok_or_else(|| Fault::internal("another node answered without the bytes of a document"))
        })
    }

    fn remove(&self, collection: CollectionName, which: Which) -> BoxFuture<'_, Result<Removed>> {
        self.call(Call::Remove { collection, which })
    }

    fn watch_folder(&self, folder: Folder) -> BoxFuture<'_, Result<Folder>> {
        if folder.node.is_empty() || folder.node == self.0.node() {
            return Box::pin(ready(Err(self.no_folders())));
        }
        self.call(Call::WatchFolder(folder))
    }

    fn folders(&self, collection: Option<CollectionName>) -> BoxFuture<'_, Result<Vec<Folder>>> {
        self.call(Call::Folders { collection })
    }

    /// Also one of this node, from when it kept documents, if it is named.
    fn unwatch_folder(&self, folder: Folder, keep_documents: bool) -> BoxFuture<'_, Result<u64>> {
        if folder.node.is_empty() {
            return Box::pin(ready(Err(self.no_folders())));
        }
        self.call(Call::UnwatchFolder { folder, keep_documents })
    }

    fn search(&self, search: Search) -> BoxFuture<'_, Result<Found>> {
        self.call(Call::Search(search))
    }

    fn ask(&self, question: Question, say: Say) -> BoxFuture<'_, Result<Answer>> {
        self.with(Call::Ask(question), Vec::new(), Listener::Asker(say))
    }

    fn start_loop(&self, order: LoopOrder, key: Option<String>) -> BoxFuture<'_, Result<String>> {
        self.call(Call::StartLoop { order, key })
    }

    fn clusters(&self, collection: CollectionName, count: u32, svg: bool) -> BoxFuture<'_, Result<Clusters>> {
        self.call(Call::Clusters { collection, count, svg })
    }

    fn migrate(&self, to: IndexKind, tell: Tell) -> BoxFuture<'_, Result<Migrated>> {
        self.with(Call::Migrate(to), Vec::new(), Listener::Mover(tell))
    }

    fn status(&self) -> BoxFuture<'_, Result<Status>> {
        self.call(Call::Status)
    }
}

impl<C: Carrier> Elsewhere<C> {
    /// A folder of no named node is the called one's, and this one looks into none.
    fn no_folders(&self) -> Fault {
        let message = format!("node `{}` keeps no documents, and so watches no folder", self.0.node());
        Fault::new(Code::NotSupported, message).hint(
            "name the node that has the folder, with `--node`, or give this one the role `research` under node.roles",
        )
    }
}
