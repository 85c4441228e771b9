//! A node's knowledge base on real disks, with a few documents and models that say what a test tells them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{BoxFuture, Code, Fault, NodeId, Result};
use extract::child::Reader;
use research::knowledge::{Knowledge, Question, Say, Writer};
use research::library::{Library, Parts};
use research::models::{Embedded, Embedder, Embeds, Models, Prompt, Reply};
use research::neighbours::Nobody;
use research::{CollectionName, NewDocument};
use store::SharedStore;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::library::{sled, until};

/// What a model says to a prompt.
pub type Script = Box<dyn Fn(&Prompt) -> Option<Result<String>> + Send + Sync>;

/// Models that follow a script; `None` of it: they never answer.
pub struct Scripted {
    pub script: Script,
    pub asked: Mutex<VecDeque<Prompt>>,
    /// The name of who embeds; empty: nobody.
    pub embedder: &'static str,
}

impl Scripted {
    pub fn new(script: impl Fn(&Prompt) -> Option<Result<String>> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), asked: Mutex::default(), embedder: "" })
    }

    pub fn nobody() -> Arc<Self> {
        Self::new(|_| Some(Err(Fault::new(Code::ModelNotFound, "no model is for `research`"))))
    }

    /// How many prompts had this in their rules.
    pub fn count(&self, rule: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|prompt| prompt.system.contains(rule)).count()
    }
}

/// A vector by the words of a text: texts with the same words have the same one.
fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.01f32; 64];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 3) {
        let place = word.bytes().fold(7usize, |sum, byte| (sum * 31 + usize::from(byte)) % 64);
        vector[place] += 1.0;
    }
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    vector.into_iter().map(|number| number / length).collect()
}

impl Models for Scripted {
    fn embedder(&self, _: Option<&str>) -> Embeds {
        Embeds { model: (!self.embedder.is_empty()).then(|| "sha-of-it".to_owned()), ..Embeds::default() }
    }

    fn name_of(&self, _: &str) -> String {
        self.embedder.to_owned()
    }

    fn embed<'a>(&'a self, model: &'a str, texts: Vec<String>) -> BoxFuture<'a, Result<Embedded>> {
        let by = Embedder { model: model.to_owned(), dims: 64 };
        let vectors = texts.iter().map(|text| vector(text)).collect();
        Box::pin(std::future::ready(Ok(Embedded { by, vectors })))
    }

    fn ask(&self, prompt: Prompt) -> BoxFuture<'_, Result<Reply>> {
        let said = (self.script)(&prompt);
        self.asked.lock().unwrap().push_back(prompt);
        Box::pin(async move {
            let Some(said) = said else { return std::future::pending().await };
            said.map(|text| Reply { text, model: "scripted".to_owned(), is_whole: true })
        })
    }

    fn rerank<'a>(&'a self, _: &'a str, _: Vec<String>) -> BoxFuture<'a, Result<Option<Vec<f32>>>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// A node that is on.
pub struct Node {
    pub library: Arc<Library>,
    pub stop: CancellationToken,
    work: JoinSet<()>,
}

/// Where a node's files are, and the store that outlives it.
pub struct Bed {
    pub store: SharedStore,
    dir: TempDir,
}

impl Bed {
    pub fn new() -> Self {
        let (store, dir) = sled();
        Self { store, dir }
    }

    /// Switches the node on, and waits until its index is open.
    pub async fn node(&self, name: &str, models: Arc<Scripted>) -> Node {
        let parts = Parts {
            node: NodeId::new(name),
            dir: self.dir.path().join("node"),
            store: self.store.clone(),
            // Plain text and Markdown are read without a child.
            reader: Reader::new("/nonexistent".into(), Vec::new(), 1),
            models: models.clone(),
            neighbours: Arc::new(Nobody),
            server: None,
        };
        let library = Arc::new(Library::open(parts).unwrap());
        let (stop, mut work) = (CancellationToken::new(), JoinSet::new());
        let (index, writing, vectors) = (library.clone(), library.clone(), library.clone());
        work.spawn(async move { index.keep_index().await.unwrap() });
        if models.embedder(None).model.is_some() {
            let (of_writing, of_vectors) = (stop.clone(), stop.clone());
            work.spawn(async move { writing.keep_writing(Duration::from_secs(2), of_writing).await });
            work.spawn(async move { vectors.keep_vectors(of_vectors).await });
        }
        until("the records are seen", async || library.report().seen_records).await;
        Node { library, stop, work }
    }
}

impl Node {
    /// Adds Markdown documents, each a name and its text.
    pub async fn add(&self, collection: &str, documents: &[(&str, &str)]) {
        let new = |(name, text): &(&str, &str)| NewDocument {
            source: format!("file:/{name}.md"),
            bytes: bytes::Bytes::copy_from_slice(text.as_bytes()),
            ..NewDocument::default()
        };
        let collection = CollectionName::parse(collection).unwrap();
        let expected = self.library.report().documents + documents.len() as u64;
        let added = self.library.add(collection, documents.iter().map(new).collect()).await.unwrap();
        assert!(added.iter().all(|one| one.document.is_some()), "{added:?}");
        until("all is indexed", async || self.library.report().documents == expected).await;
    }

    pub async fn ask(&self, question: &str, mode: Writer) -> Result<research::answer::Answer> {
        self.ask_for(Question { question: question.to_owned(), mode, ..Question::default() }).await
    }

    pub async fn ask_for(&self, question: Question) -> Result<research::answer::Answer> {
        self.library.ask(question, Say::default()).await
    }

    /// Switches the node off, and waits until it has let go of its files.
    pub async fn off(mut self) {
        self.stop.cancel();
        self.work.shutdown().await;
        let library = Arc::downgrade(&self.library);
        drop(self.library);
        until("the node is off", async || library.strong_count() == 0).await;
    }

    /// Carries out loops here, until the node is off.
    pub fn serve_loops(&mut self) {
        let (library, stop) = (self.library.clone(), self.stop.clone());
        self.work.spawn(library.serve_loops(Duration::from_secs(2), stop));
    }
}
