//! A knowledge base that takes its candidates from a Qdrant: searches find the same, whatever becomes of the Qdrant.
//!
//! `qdrant/service.py` is Qdrant's protocol over its real engine; where it cannot be installed the tests say so and pass as
//! skipped. The test by hand takes the address of a real one.

mod service;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use proto::research::migrate_response::Part;
use proto::research::research_client::ResearchClient;
use proto::research::{
    AddDocumentsRequest, MigrateRequest, MigrateResponse, Migrated, RemoveDocumentsRequest, SearchRequest,
    SearchResponse, StatusRequest, StatusResponse,
};
use tonic::transport::{Channel, Endpoint};

use crate::lab::{Lab, Setup, until};
use service::Service;

/// A pass of the writer, and another one for what was too many, on a busy machine.
const IN_STEP: Duration = Duration::from_secs(40);
/// Documents at the begin.
const DOCUMENTS: usize = 60;
/// Everyday words; each document has some of its own beside them.
const WORDS: [&str; 12] = [
    "disk", "network", "backup", "printer", "garden", "kitchen", "battery", "window", "cable", "router", "heating",
    "roof",
];

/// A research service over gRPC.
struct Desk(ResearchClient<Channel>);

impl Desk {
    fn of(lab: &Lab, at: usize) -> Self {
        let channel = Endpoint::try_from(format!("http://{}", lab.nodes[at].grpc)).unwrap().connect_lazy();
        Self(ResearchClient::new(channel))
    }

    async fn add(&mut self, documents: Vec<(String, String)>) {
        let count = documents.len();
        let one = |(source, text): (String, String)| AddDocumentsRequest {
            collection: "house".into(),
            source,
            content: text.into_bytes().into(),
            ..Default::default()
        };
        let requests: Vec<_> = documents.into_iter().map(one).collect();
        let mut told = self.0.add_documents(futures_util::stream::iter(requests)).await.unwrap().into_inner();
        for _ in 0..count {
            let added = told.message().await.unwrap().unwrap();
            assert!(["added", "changed"].contains(&added.outcome.as_str()), "{added:?}");
        }
    }

    async fn search(&mut self, question: &str) -> SearchResponse {
        self.search_by("hybrid", question).await
    }

    async fn search_by(&mut self, mode: &str, question: &str) -> SearchResponse {
        let request = SearchRequest { question: question.into(), limit: 5, mode: mode.into(), ..Default::default() };
        self.0.search(request).await.unwrap().into_inner()
    }

    async fn status(&mut self) -> StatusResponse {
        self.0.status(StatusRequest {}).await.unwrap().into_inner()
    }

    async fn migrate(&mut self, to: &str) -> Migrated {
        let mut parts = self.0.migrate(MigrateRequest { to: to.into() }).await.unwrap().into_inner();
        loop {
            match parts.message().await.unwrap() {
                Some(MigrateResponse { part: Some(Part::Migrated(migrated)) }) => return migrated,
                Some(_) => {}
                None => panic!("the move ended without a result"),
            }
        }
    }

    /// Waits until searches take their candidates from the Qdrant, and it has exactly the points that it should.
    async fn in_step(&mut self, url: &str) {
        until("the Qdrant is in step", IN_STEP, async || {
            let (status, how) = (self.status().await, self.search("disk").await.search);
            is_out_of_qdrant(&how)
                && how.contains("and vectors of")
                && status.embedded >= status.chunks
                && service::collections(url).await.len() == 1
                && service::points(url).await == status.chunks
        })
        .await;
    }
}

fn is_out_of_qdrant(how: &str) -> bool {
    how.contains("candidates out of Qdrant at") && !how.contains("; no,")
}

/// The source of a document and what it says: every one has a word of its own.
fn document(number: usize, version: &str) -> (String, String) {
    let mut text = format!("# Note {number}\n\n");
    for paragraph in 0..4 {
        let _ = write!(text, "The {version}{number}p{paragraph} tells of");
        for word in 0..30 {
            let _ = write!(text, " {}", WORDS[(number * 7 + paragraph * 5 + word * (number % 5 + 1)) % WORDS.len()]);
        }
        text.push_str(".\n\n## Part\n\n");
    }
    (format!("note-{number}.md"), text)
}

/// What a node is told of the Qdrant, and of who embeds.
fn told(url: &str, more: &str) -> String {
    format!("[roles]\nembed = [\"embed-text\"]\n[research]\nqdrant = {{ url = \"{url}\"{more} }}\n")
}

async fn lab(url: &str, more: &str) -> Lab {
    let mut lab = Lab::single();
    let engine = lab.engine("ollama", &["--models", "chat,embed-text"]).await;
    let toml = told(url, more);
    lab.node(Setup::new("alone").worker("gpu", "ollama", &engine).more(&toml)).await;
    lab.workers_are(0, "ready", 1).await;
    lab
}

/// A build without it says so, and there is nothing to test.
fn is_built_in() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tmd.toml");
    std::fs::write(&config, "[research]\nqdrant = { url = \"http://127.0.0.1:1\" }\n").unwrap();
    let tmd = tests::process::binary("tmd").unwrap();
    let checked = std::process::Command::new(tmd).arg("check").arg("--config").arg(&config).output().unwrap();
    let told = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    if told.contains("this build of tmd cannot use a Qdrant") {
        let _ = writeln!(std::io::stderr(), "skipped: tmd is built without the feature qdrant");
        return false;
    }
    assert!(checked.status.success(), "{told}");
    true
}

/// First hits of questions for words that only one document has.
async fn every_document_is_found(desk: &mut Desk, version: &str, numbers: impl Iterator<Item = usize>) {
    for number in numbers {
        // The vectors of the fake engine mean nothing.
        let found = desk.search_by("text", &format!("{version}{number}p2")).await;
        let first = found.hits.first().map(|hit| hit.source.clone());
        assert_eq!(first, Some(document(number, version).0), "{}", found.search);
    }
}

async fn there_and_back(desk: &mut Desk, url: &str) {
    desk.add((0..DOCUMENTS).map(|number| document(number, "old")).collect()).await;
    desk.in_step(url).await;
    let migrated = desk.migrate("qdrant").await;
    assert_eq!((migrated.points, migrated.samples), (migrated.chunks, 20), "{migrated:?}");
    assert!(migrated.overlap >= 0.95 && migrated.notes.is_empty(), "{migrated:?}");
    assert!(desk.status().await.index.starts_with("Qdrant at "));
    every_document_is_found(desk, "old", (0..DOCUMENTS).step_by(7)).await;

    // A new version at once, and nothing of the old one, before and after the Qdrant has it.
    desk.add((0..10).map(|number| document(number, "new")).collect()).await;
    for _ in 0..2 {
        every_document_is_found(desk, "new", 0..10).await;
        let old = desk.search_by("text", "old3p2").await;
        assert!(old.hits.iter().all(|hit| !hit.text.contains("old3p2")), "{old:?}");
        desk.in_step(url).await;
    }
    let documents = (0..5).map(|number| document(number, "new").0).collect();
    let removal = RemoveDocumentsRequest { collection: "house".into(), documents, below: String::new() };
    assert_eq!(desk.0.remove_documents(removal).await.unwrap().into_inner().removed, 5);
    until("removed documents are not found", IN_STEP, async || {
        let found = desk.search_by("text", "new2p2").await;
        found.hits.iter().all(|hit| hit.source != "note-2.md")
    })
    .await;
    desk.in_step(url).await;

    let back = desk.migrate("embedded").await;
    assert!(back.index == "embedded" && back.overlap >= 0.95 && back.samples == 20, "{back:?}");
    assert!(!desk.search("disk").await.search.contains("Qdrant"));
    until("the Qdrant is empty", IN_STEP, async || service::collections(url).await.is_empty()).await;
    every_document_is_found(desk, "new", 5..10).await;
    assert_eq!(desk.migrate("qdrant").await.points, desk.status().await.chunks);
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_find_the_same_with_a_qdrant_and_without_it_again() {
    if !is_built_in() {
        return;
    }
    let Some(service) = Service::start(None).await else { return };
    let lab = lab(&service.url, "").await;
    there_and_back(&mut Desk::of(&lab, 0), &service.url).await;
    assert_eq!(service.refusals(), "", "the engine takes all that it is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_a_qdrant_is_killed_or_loses_all() {
    if !is_built_in() {
        return;
    }
    let Some(mut service) = Service::start(None).await else { return };
    let mut lab = lab(&service.url, "").await;
    let mut desk = Desk::of(&lab, 0);
    desk.add((0..DOCUMENTS).map(|number| document(number, "old")).collect()).await;
    desk.in_step(&service.url).await;

    service.kill().await;
    let found = desk.search("old7p2").await;
    assert!(found.search.contains("; no, out of this node's own index"), "{}", found.search);
    every_document_is_found(&mut desk, "old", 5..9).await;
    desk.add((0..20).map(|number| document(number, "new")).collect()).await;
    every_document_is_found(&mut desk, "new", 0..20).await;
    service.again().await;
    desk.in_step(&service.url).await;
    every_document_is_found(&mut desk, "new", 0..20).await;

    // In the middle of many new documents, and of a node that dies as well.
    desk.add((100..160).map(|number| document(number, "more")).collect()).await;
    service.kill().await;
    lab.nodes[0].child.kill().await.unwrap();
    service.again().await;
    lab.nodes[0].again().await;
    let mut desk = Desk::of(&lab, 0);
    lab.workers_are(0, "ready", 1).await;
    until("the node has its index", IN_STEP, async || {
        let status = desk.0.status(StatusRequest {}).await;
        status.is_ok_and(|status| status.get_ref().chunks > 0 && status.get_ref().waiting == 0)
    })
    .await;
    desk.in_step(&service.url).await;
    every_document_is_found(&mut desk, "more", (100..160).step_by(9)).await;

    service.kill().await;
    service.lose_all();
    service.again().await;
    desk.in_step(&service.url).await;
    every_document_is_found(&mut desk, "new", 0..20).await;
    assert_eq!(desk.status().await.chunks, service.points().await);
    assert_eq!(service.collections().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qdrant_that_refuses_the_key_keeps_nobody_from_searching() {
    if !is_built_in() {
        return;
    }
    let Some(service) = Service::start(Some("the right key")).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("qdrant.key");
    std::fs::write(&file, "a wrong key\n").unwrap();
    let lab = lab(&service.url, &format!(", api_key_file = \"{}\"", file.display())).await;
    let mut desk = Desk::of(&lab, 0);
    desk.add((0..5).map(|number| document(number, "old")).collect()).await;
    every_document_is_found(&mut desk, "old", 0..5).await;
    let node = &lab.nodes[0];
    until("the node says that the key is refused", IN_STEP, async || {
        node.child.stderr().contains("Must provide an API key")
    })
    .await;
    assert!(!node.child.stderr().contains("a wrong key"));
    assert!(desk.status().await.index.contains("until Qdrant at"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_goes_on_with_the_qdrant_and_finds_the_same() {
    if !is_built_in() {
        return;
    }
    let Some(service) = Service::start(None).await else { return };
    let mut lab = Lab::cluster().await;
    let toml = told(&service.url, "");
    for name in ["one", "other"] {
        let engine = lab.engine("ollama", &["--models", "chat,embed-text"]).await;
        lab.node(Setup::new(name).worker("gpu", "ollama", &engine).more(&toml)).await;
    }
    lab.workers_are(0, "ready", 2).await;
    let mut desks = [Desk::of(&lab, 0), Desk::of(&lab, 1)];
    desks[0].add((0..DOCUMENTS).map(|number| document(number, "old")).collect()).await;
    for desk in &mut desks {
        desk.in_step(&service.url).await;
        every_document_is_found(desk, "old", (0..DOCUMENTS).step_by(11)).await;
    }
    let writer = desks[0].status().await.writer;
    let (killed, left) = if writer == lab.nodes[0].name { (0, 1) } else { (1, 0) };
    desks[left].add((0..10).map(|number| document(number, "new")).collect()).await;
    lab.nodes[killed].child.kill().await.unwrap();
    every_document_is_found(&mut desks[left], "new", 0..10).await;
    until("the other node writes", IN_STEP, async || desks[left].status().await.writer == lab.nodes[left].name).await;
    desks[left].in_step(&service.url).await;
    every_document_is_found(&mut desks[left], "new", 0..10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "by hand: TM_QDRANT_URL names the gRPC of a real Qdrant that has no other collections"]
async fn a_real_qdrant_finds_the_same() {
    let url = std::env::var("TM_QDRANT_URL").unwrap();
    assert!(is_built_in() && service::collections(&url).await.is_empty());
    let lab = lab(&url, "").await;
    let mut desk = Desk::of(&lab, 0);
    there_and_back(&mut desk, &url).await;
    desk.migrate("embedded").await;
}
