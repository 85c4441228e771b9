//! Nodes beside each other on one store: one of them writes, the next one takes over, vectors are made once, and what
//! was acknowledged last is found first.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base::{Code, Epoch, NodeId};
use research::filter::Filter;
use research::knowledge::{Mode, Outcome, Search};
use research::{BlobId, Document, Knowledge, NewDocument, NewMeta, State};
use store::SharedStore;
use tempfile::TempDir;

use crate::library::{LEASE, Place, document, id, introduce, name, records, sled, until, words};
use crate::stores::EtcdProcess;

async fn writer(place: &Place) -> (String, u64) {
    let status = place.library.status().await.unwrap();
    (status.writer, status.writer_epoch)
}

/// Whether all chunks of all collections have vectors.
async fn is_embedded(place: &Place) -> bool {
    let collections = place.library.collections().await.unwrap_or_default();
    !collections.is_empty() && collections.iter().all(|one| one.chunks > 0 && one.embedded == one.chunks)
}

async fn folded(store: &SharedStore) -> u64 {
    let known = records(store).await;
    known.all_documents().filter(|one| matches!(one.value.state, research::State::Folded { .. })).count() as u64
}

#[tokio::test]
async fn another_node_writes_when_the_writer_is_gone_and_embeds_nothing_that_was() {
    let (store, dir) = sled();
    take_over(store.clone(), store, &dir).await;
}

#[tokio::test]
async fn another_node_writes_when_the_writer_is_gone_on_etcd() {
    let Some(etcd) = EtcdProcess::start().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let [here, there] = [(); 2].map(|()| etcd.store("/writer", Duration::from_secs(2)));
    take_over(here, there, &dir).await;
}

async fn take_over(here: SharedStore, there: SharedStore, dir: &TempDir) {
    let one = Place::start("one", &dir.path().join("one"), here.clone()).await;
    until("one writes", async || writer(&one).await.0 == "one").await;
    let two = Place::start("two", &dir.path().join("two"), there.clone()).await;
    introduce(&[&one, &two]);
    let first = writer(&one).await;
    assert_eq!(writer(&two).await, first);
    let many = (0..20).map(|at| document(&format!("{at}"), words(at, 200)));
    one.add("house", many.collect()).await.unwrap();
    for place in [&one, &two] {
        until("all is embedded", async || is_embedded(place).await).await;
    }
    let made = one.models.texts.load(Ordering::SeqCst);
    assert!(made >= 20 && two.models.texts.load(Ordering::SeqCst) == 0, "each text is embedded once, by the writer");

    one.end().await;
    until("two writes", async || writer(&two).await.0 == "two").await;
    assert!(writer(&two).await.1 > first.1);
    // It folds and embeds what is new, and nothing else.
    two.add("house", vec![document("copy", words(3, 200)), document("new", words(99, 30))]).await.unwrap();
    until("the copy is folded", async || folded(&there).await == 1).await;
    until("all is embedded", async || is_embedded(&two).await).await;
    assert!(two.models.texts.load(Ordering::SeqCst) < 10, "{} of {made}", two.models.texts.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_writer_whose_time_is_over_writes_nothing_any_more() {
    let Some(etcd) = EtcdProcess::start().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = etcd.store("/late", Duration::from_secs(2));
    let one = Place::open("one", &dir.path().join("one"), store.clone()).await.indexing();
    one.add_one("a", words(1, 200)).await;
    let lease = store.lease(LEASE).await.unwrap();
    let old =
        store.campaign("research", NodeId::new("old").as_str().to_owned().into(), &lease, Epoch(0)).await.unwrap();
    let shelf = research::shelf::Shelf::new(store.clone());
    let (_, at) = shelf.find(&name("house")).await.unwrap().unwrap();
    let (document, had) = shelf.document(&name("house"), id("a")).await.unwrap().unwrap();
    let write = [(document, Some(had))];
    drop(lease);
    let one = one.writing();
    until("one writes", async || writer(&one).await.0 == "one").await;
    assert!(!shelf.put_guarded(&name("house"), at, &write, old.guard()).await.unwrap(), "a late write was taken");
    assert!(shelf.put(&name("house"), at, &write).await.unwrap());
}

#[tokio::test]
async fn a_folded_document_that_is_told_more_about_stays_folded() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    one.add_one("a", words(1, 200)).await;
    one.add_one("b", words(1, 200)).await;
    until("it is folded", async || folded(&store).await == 1).await;
    let meta = NewMeta { title: Some("Another title".into()), ..NewMeta::default() };
    one.add("house", vec![NewDocument { meta, ..document("b", words(1, 200)) }]).await.unwrap();
    until("it is folded again", async || folded(&store).await == 1).await;
    let known = records(&store).await;
    assert_eq!(known.document(&name("house"), id("b")).unwrap().value.meta.title, "Another title");
    one.remove("a").await;
    until("it stands for itself", async || one.found(&words(1, 2)).await == ["b"]).await;
}

#[tokio::test]
async fn documents_whose_text_is_nowhere_or_unreadable_do_not_keep_others_from_being_folded() {
    let (store, dir) = sled();
    let one = Place::open("one", &dir.path().join("one"), store.clone()).await.indexing();
    let like = one.add_one("a", words(1, 200)).await.document.unwrap();
    // They are looked at first: they are the oldest.
    let old = |at: u64, text: &[u8]| {
        let (source, text) = (format!("old {at}"), BlobId::of(text));
        let state = State::Ready { text, chars: 1, notes: Vec::new() };
        Document { id: id(&source), source, state, added_ms: at, ..like.clone() }
    };
    one.library.keep_file("no text".into()).await.unwrap();
    let mut olds = vec![old(0, b"no text")];
    olds.extend((1..=600).map(|at| old(at, format!("nowhere {at}").as_bytes())));
    let shelf = research::shelf::Shelf::new(store.clone());
    let (_, at) = shelf.find(&name("house")).await.unwrap().unwrap();
    for some in olds.chunks(100) {
        let writes: Vec<_> = some.iter().map(|document| (document.clone(), None)).collect();
        assert!(shelf.put(&name("house"), at, &writes).await.unwrap());
    }
    one.add_one("b", words(1, 200)).await;
    let one = one.writing();
    until("the copy is folded", async || folded(&store).await == 1).await;
    let again = one.add_one("b", words(1, 200)).await;
    assert_eq!((again.outcome, again.reason.as_str()), (Outcome::Folded, "a"));
}

#[tokio::test]
async fn a_node_whose_work_was_broken_off_does_not_say_that_it_writes() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    until("one writes", async || writer(&one).await.0 == "one").await;
    let one = one.deaf().await;
    until("nobody writes", async || writer(&one).await == (String::new(), 0)).await;
}

#[tokio::test]
async fn a_document_that_comes_during_a_large_build_is_found_before_those_that_wait() {
    let (store, dir) = sled();
    let one = Place::open("one", &dir.path().join("one"), store.clone()).await;
    let many = (0..2_000).map(|at| document(&format!("{at}"), words(at, 60)));
    one.add("house", many.collect()).await.unwrap();
    let one = one.indexing();
    until("the build runs", async || one.library.report().documents > 0).await;
    let before = one.library.report().documents;
    let added = Instant::now();
    one.add_one("new", format!("newcomer {}", words(9_999, 60))).await;
    until("the new one is found", async || one.found("newcomer").await == ["new"]).await;
    let after = one.library.report().documents;
    println!("found after {:?}; {before} documents were indexed before and {after} then", added.elapsed());
    // The batch that was under way, its own small one, and one more for whoever looks late.
    assert!(before < 1_000 && after <= before + 2 * 256 + 17, "{before} and {after}");
    one.is_in_step().await;
    assert_eq!(one.library.report().documents, 2_001);
}

#[tokio::test]
async fn a_neighbour_that_says_nothing_holds_no_other_document_up() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    let two = Place::open("two", &dir.path().join("two"), store.clone()).await.indexing();
    introduce(&[&two]);
    two.beside.hangs.store(true, Ordering::SeqCst);
    let many = (0..20).map(|at| document(&format!("{at}"), words(at, 60)));
    one.add("house", many.collect()).await.unwrap();
    until("texts are waited for", async || two.library.report().waiting == 20).await;
    let own = two.add_one("own", words(99, 60)).await;
    assert_eq!(own.copies, 1);
    until("the own one is found", async || two.found(&words(99, 2)).await == ["own"]).await;
    assert_eq!(two.library.report().waiting, 20);
}

#[tokio::test]
async fn a_node_whose_folder_was_lost_has_everything_again_by_itself() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    let two = Place::start("two", &dir.path().join("two"), store.clone()).await;
    introduce(&[&one, &two]);
    let many = (0..20).map(|at| document(&format!("{at}"), words(at, 60)));
    let added = one.add("house", many.collect()).await.unwrap();
    assert!(added.iter().all(|one| one.copies == 2));
    let question = Search { question: format!("{}?", words(3, 5)), mode: Mode::Hybrid, ..Search::default() };
    for place in [&one, &two] {
        until("all is embedded", async || is_embedded(place).await).await;
    }
    let before = one.library.search(question.clone()).await.unwrap();
    assert_eq!(two.library.search(question.clone()).await.unwrap(), before);
    one.end().await;
    std::fs::remove_dir_all(dir.path().join("one")).unwrap();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    introduce(&[&one, &two]);
    until("all is embedded", async || is_embedded(&one).await && one.library.report().documents == 20).await;
    assert_eq!(one.library.search(question).await.unwrap(), before);
    assert_eq!(one.models.texts.load(Ordering::SeqCst), 0, "vectors come from the neighbour");
    // The originals come, too, so that the other one may be lost next.
    one.library.fetch_files().await.unwrap();
    two.end().await;
    for added in added {
        let document = added.document.unwrap();
        assert_eq!(one.library.original(document.clone()).await.unwrap().len() as u64, document.bytes);
    }
    let filter = Filter { documents: vec![id("nobody")], ..Filter::default() };
    assert!(one.search(&words(3, 2), filter).await.unwrap().hits.is_empty());
    assert_eq!(one.library.document(name("house"), "nobody".into()).await.unwrap_err().code, Code::NotFound);
}
