//! Calls that another node answers: every one of them says what it says where the documents are.

use std::sync::Arc;

use base::{BoxFuture, Code, Result};
use bytes::Bytes;
use research::filter::Filter;
use research::knowledge::call::{Call, Carrier, Elsewhere, Listener, Progress, Reply};
use research::knowledge::{
    Folder, IndexKind, LoopOrder, NewCollection, Outcome, Page, Question, Said, Say, Search, Which, Writer,
};
use research::library::Library;
use research::{CollectionName, Knowledge, NewDocument, NewMeta};
use tokio::sync::mpsc;

use crate::bed::{Bed, Scripted};

const PUMP: &str = "# The pump\n\nThe pump starts when the soil is dry. It stops when the tank is empty.\n";
const QUESTION: &str = "When does the pump start?";

/// The way between two nodes: everything passes it as bytes.
struct Wire(Arc<Library>);

impl Carrier for Wire {
    fn carry(&self, call: Call, files: Vec<Bytes>, listener: Listener) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            let sent = serde_json::to_vec(&call).unwrap();
            let call: Call = serde_json::from_slice(&sent).unwrap();
            let (told, mut heard) = mpsc::channel(4);
            let served = async move { call.serve(&*self.0, files, &told).await };
            let hear = async {
                while let Some(progress) = heard.recv().await {
                    let sent = serde_json::to_vec(&progress).unwrap();
                    listener.hear(serde_json::from_slice::<Progress>(&sent).unwrap()).await;
                }
            };
            tokio::join!(served, hear).0
        })
    }

    fn node(&self) -> String {
        "gateway".to_owned()
    }
}

fn house() -> CollectionName {
    CollectionName::parse("house").unwrap()
}

/// All that is said while a question is answered, and the answer.
async fn asked(knowledge: &dyn Knowledge, mode: Writer) -> (Vec<Said>, Result<research::answer::Answer>) {
    let (said, mut heard) = mpsc::channel(256);
    let question = Question { question: QUESTION.to_owned(), mode, ..Question::default() };
    let answer = knowledge.ask(question, Say::to(said)).await;
    let mut all = Vec::new();
    while let Some(one) = heard.recv().await {
        all.push(one);
    }
    (all, answer)
}

#[tokio::test]
async fn what_another_node_answers_is_what_it_says_itself() {
    let bed = Bed::new();
    let node = bed.node("nas", Scripted::nobody()).await;
    let here = node.library.clone();
    let there = Elsewhere(Wire(node.library.clone()));

    let new = NewCollection { name: CollectionName::parse("other").unwrap(), description: "x".into(), chunk_tokens: 0 };
    assert_eq!(there.create(new.clone()).await.unwrap().description, "x");
    assert_eq!(there.create(new).await.unwrap_err().code, Code::Conflict);
    let meta = NewMeta { category: Some("garden".into()), tags: Some(vec!["water".into()]), ..NewMeta::default() };
    let pump = NewDocument { source: "file:/pump.md".into(), meta: meta.clone(), bytes: PUMP.into() };
    let added = there
        .add(
            house(),
            vec![pump.clone(), NewDocument { source: "file:/empty.md".into(), bytes: "".into(), ..pump.clone() }],
        )
        .await
        .unwrap();
    assert_eq!((added[0].outcome, added.len()), (Outcome::Added, 2), "{added:?}");
    assert_eq!(there.add(house(), vec![pump.clone()]).await.unwrap(), here.add(house(), vec![pump]).await.unwrap());
    crate::library::until("all is indexed", async || here.report().waiting == 0 && here.report().chunks > 0).await;

    assert_eq!(there.collections().await.unwrap(), here.collections().await.unwrap());
    let page =
        Page { collection: house(), filter: Filter::default(), state: String::new(), after: String::new(), limit: 0 };
    let documents = there.documents(page.clone()).await.unwrap();
    assert_eq!(documents, here.documents(page).await.unwrap());
    let read = there.document(house(), "file:/pump.md".into()).await.unwrap();
    assert_eq!(read, here.document(house(), "file:/pump.md".into()).await.unwrap());
    assert_eq!(there.original(read.0).await.unwrap(), PUMP);
    let search = Search { question: QUESTION.into(), neighbours: true, ..Search::default() };
    let found = there.search(search.clone()).await.unwrap();
    assert!(!found.hits.is_empty());
    assert_eq!(found, here.search(search).await.unwrap());
    let clusters = there.clusters(house(), 1, true).await.unwrap();
    assert_eq!(clusters, here.clusters(house(), 1, true).await.unwrap());
    assert_eq!(there.status().await.unwrap(), here.status().await.unwrap());

    for mode in [Writer::Extractive, Writer::Auto] {
        let (said, answer) = asked(&there, mode).await;
        let (said_here, answer_here) = asked(&*here, mode).await;
        assert_eq!((said, answer.unwrap()), (said_here, answer_here.unwrap()), "{mode:?}");
    }
    let (_, refused) = asked(&there, Writer::Model).await;
    let refused_here = asked(&*here, Writer::Model).await.1.unwrap_err();
    assert_eq!(refused.unwrap_err().full_message(), refused_here.full_message());

    let order = LoopOrder { question: QUESTION.into(), who: "me".into(), ..LoopOrder::default() };
    let key = Some("one".to_owned());
    let job = there.start_loop(order.clone(), key.clone()).await.unwrap();
    assert_eq!(job, here.start_loop(order, key).await.unwrap());
    let (tell, mut heard) = mpsc::channel(256);
    let (tell_here, mut heard_here) = mpsc::channel(256);
    let moved = there.migrate(IndexKind::Embedded, tell).await.unwrap();
    assert_eq!(moved, here.migrate(IndexKind::Embedded, tell_here).await.unwrap());
    assert_eq!(heard.recv().await, heard_here.recv().await);
    let urls = there.add_urls(house(), vec!["http://127.0.0.1/".into()], meta).await;
    assert!(urls.is_err() || urls.unwrap()[0].outcome == Outcome::Refused, "pages are fetched for nobody here");
    assert_eq!(there.folders(None).await.unwrap(), here.folders(None).await.unwrap());

    let which = Which { documents: vec!["file:/pump.md".into(), "file:/no.md".into()], below: String::new() };
    let removed = there.remove(house(), which).await.unwrap();
    assert_eq!((removed.removed, removed.unknown), (1, vec!["file:/no.md".to_owned()]));
    assert_eq!(there.delete(house()).await.unwrap(), 1, "the empty one");
}

#[tokio::test]
async fn a_folder_of_a_node_that_keeps_no_documents_is_refused() {
    let bed = Bed::new();
    let node = bed.node("nas", Scripted::nobody()).await;
    let there = Elsewhere(Wire(node.library.clone()));
    let folder = |named: &str| Folder {
        collection: house(),
        node: named.to_owned(),
        path: "/srv".to_owned(),
        patterns: Vec::new(),
        category: String::new(),
        tags: Vec::new(),
        state: String::new(),
    };
    for named in ["", "gateway"] {
        let fault = there.watch_folder(folder(named)).await.unwrap_err();
        assert_eq!(fault.code, Code::NotSupported);
        assert!(fault.full_message().contains("`gateway` keeps no documents"), "{fault:?}");
    }
    assert_eq!(there.unwatch_folder(folder(""), true).await.unwrap_err().code, Code::NotSupported);
    // One that it has from when it kept documents is known by its name.
    let (named, here) =
        (there.unwatch_folder(folder("gateway"), true), node.library.unwatch_folder(folder("gateway"), true));
    assert_eq!(named.await.unwrap_err().full_message(), here.await.unwrap_err().full_message());
}

#[test]
fn only_calls_that_change_nothing_the_second_time_may_be_made_twice() {
    let order = |key: Option<&str>| Call::StartLoop { order: LoopOrder::default(), key: key.map(str::to_owned) };
    let add = Call::Add { collection: house(), documents: Vec::new() };
    for call in [Call::Collections, Call::Status, Call::Ask(Question::default()), add, order(Some("k"))] {
        assert!(call.is_repeatable(), "{call:?}");
    }
    let new = NewCollection { name: house(), description: String::new(), chunk_tokens: 0 };
    let remove = Call::Remove { collection: house(), which: Which::default() };
    for call in [Call::Create(new), Call::Delete(house()), remove, order(None), Call::Migrate(IndexKind::Qdrant)] {
        assert!(!call.is_repeatable(), "{call:?}");
    }
}

#[test]
fn what_a_newer_release_adds_to_a_call_is_read_over_and_a_filter_that_is_not_understood_is_refused() {
    let newer = r#"{"document":{"collection":"house","which":"a","colour":"red"}}"#;
    assert_eq!(serde_json::from_str::<Call>(newer).unwrap(), Call::Document { collection: house(), which: "a".into() });
    assert!(serde_json::from_str::<Call>(r#"{"search":{"question":"a","filter":{"colour":"red"}}}"#).is_err());
}
