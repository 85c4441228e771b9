//! What the store does to documents: answers that are lost, two nodes at once, a collection that goes while it is
//! filled, a store that is away. None of it loses what was acknowledged, or leaves a half of anything.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::Code;
use research::filter::Filter;
use research::knowledge::{Added, Mode, NewCollection, Outcome, Question, Say, Search};
use research::shelf::Shelf;
use research::{Knowledge, NewDocument, NewMeta};
use store::Txn;
use tokio::task::JoinSet;

use crate::library::{Place, document, id, introduce, name, records, sled, until, words};
use crate::store_with_faults::StoreWithFaults;
use crate::stores::EtcdProcess;

fn outcome(added: &Added) -> (Outcome, u64) {
    (added.outcome, added.document.as_ref().unwrap().version)
}

#[tokio::test]
async fn a_document_whose_acknowledgement_was_lost_is_there_once_after_it_was_added_again() {
    let (inner, dir) = sled();
    let store = Arc::new(StoreWithFaults::new(inner.clone()));
    let place = Place::start("one", &dir.path().join("one"), store.clone()).await;
    place.add_one("a", words(1, 50)).await;
    for (source, lost) in [("b", &store.answers_lost), ("c", &store.requests_lost)] {
        // The writer may have written something else just before.
        until("an answer is lost", async || {
            lost.store(1, Ordering::SeqCst);
            let added = place.add("house", vec![document(source, words(2, 50))]).await;
            added.is_err_and(|fault| fault.code == Code::Unavailable && fault.hint.is_some())
        })
        .await;
        lost.store(0, Ordering::SeqCst);
        let again = place.add_one(source, words(2, 50)).await;
        assert_eq!(again.document.unwrap().version, 1);
    }
    let known = records(&inner).await;
    assert_eq!(known.all_documents().count(), 3);
    assert!(known.all_documents().all(|one| one.value.version == 1));
}

#[tokio::test]
async fn two_nodes_that_change_one_document_at_once_both_count() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    let two = Place::start("two", &dir.path().join("two"), store.clone()).await;
    introduce(&[&one, &two]);
    for round in 0..5 {
        let (here, there) = tokio::join!(
            one.add_one("a", format!("here {}", words(2 * round, 50))),
            two.add_one("a", format!("there {}", words(2 * round + 1, 50)))
        );
        assert_eq!((here.copies, there.copies), (2, 2));
        let (here, there) = (here.document.unwrap(), there.document.unwrap());
        let (first, last) = if here.version < there.version { (here, there) } else { (there, here) };
        assert_eq!((first.version, last.version), (2 * round + 1, 2 * round + 2));
        let known = records(&store).await;
        let record = known.document(&name("house"), id("a")).unwrap();
        assert_eq!((record.value.version, record.value.original), (last.version, last.original));
        assert_eq!(known.all_documents().count(), 1);
    }
}

#[tokio::test]
async fn a_document_that_was_removed_elsewhere_a_moment_ago_is_added_and_not_taken_for_known() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    one.add_one("a", words(1, 50)).await;
    one.is_in_step().await;
    // From here on this node hears nothing of the store any more.
    let one = one.deaf().await;
    Shelf::new(store.clone()).remove(&name("house"), &[id("a")]).await.unwrap();
    let again = one.add_one("a", words(1, 50)).await;
    assert_eq!(outcome(&again).0, Outcome::Added);
    assert!(records(&store).await.document(&name("house"), id("a")).is_some());
}

#[tokio::test]
async fn a_document_that_was_added_elsewhere_a_moment_ago_is_removed() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    until("the records are seen", async || one.library.report().seen_records).await;
    let one = one.deaf().await;
    let two = Place::start("two", &dir.path().join("two"), store.clone()).await;
    two.add_one("a", words(1, 50)).await;
    one.remove("a").await;
    assert_eq!(records(&store).await.all_documents().count(), 0);
}

#[tokio::test]
async fn a_document_whose_files_are_lost_is_whole_again_when_it_is_added_again() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    let added = one.add_one("a", words(1, 50)).await.document.unwrap();
    std::fs::remove_dir_all(dir.path().join("one/files")).unwrap();
    assert_eq!(one.library.original(added.clone()).await.unwrap_err().code, Code::Unavailable);
    one.add_one("a", words(1, 50)).await;
    assert_eq!(one.library.original(added).await.unwrap(), words(1, 50));
    assert_eq!(one.library.document(name("house"), "a".into()).await.unwrap().1.trim_end(), words(1, 50).trim_end());
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_of_a_search_and_told_of() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    for source in ["a", "b"] {
        one.add_one(source, format!("everypart {}", words(source.len() as u64, 50) + source)).await;
    }
    one.is_in_step().await;
    let text = records(&store).await.document(&name("house"), id("a")).unwrap().value.text().unwrap().to_string();
    let path = dir.path().join("one/files").join(&text[..2]).join(&text[2..]);
    std::fs::write(&path, "TMT1").unwrap();
    let found = one.search("everypart", Filter::default()).await.unwrap();
    assert_eq!(found.hits.iter().map(|hit| hit.source.as_str()).collect::<Vec<_>>(), ["b"]);
    assert!(found.search.contains("1 that cannot be read now left out"), "{}", found.search);
    assert!(!path.exists(), "it is not fetched again");
    let answer = one.library.ask(Question { question: "everypart".into(), ..Question::default() }, Say::default());
    let notes = answer.await.unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("left out")), "{notes:?}");
}

#[tokio::test]
async fn a_question_with_a_vector_of_another_length_is_looked_for_by_its_words() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store).await;
    one.add_one("a", words(1, 50)).await;
    let question = Search { question: words(1, 3), mode: Mode::Hybrid, ..Search::default() };
    until("it is found by vectors as well", async || {
        one.library.search(question.clone()).await.is_ok_and(|found| found.search.starts_with("by words and vectors"))
    })
    .await;
    one.models.is_short_for_who_waits.store(true, Ordering::SeqCst);
    let found = one.library.search(question.clone()).await.unwrap();
    assert!(found.search.starts_with("by words alone: ") && found.search.contains("23 numbers"), "{}", found.search);
    assert_eq!(found.hits.len(), 1);
    let dense = one.library.search(Search { mode: Mode::Dense, ..question }).await.unwrap_err();
    assert_eq!(dense.code, Code::EngineFailed);
}

#[tokio::test]
async fn documents_that_are_much_told_about_are_added_together_all_the_same() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    let tags: Vec<String> = (0..32).map(|tag| format!("{tag}{}", "x".repeat(120))).collect();
    let meta = NewMeta {
        tags: Some(tags),
        title: Some("y".repeat(1_000)),
        licence: Some("z".repeat(1_000)),
        ..NewMeta::default()
    };
    let source = |at: usize| format!("{at}{}", "s".repeat(2_000));
    let many = (0..200).map(|at| NewDocument { meta: meta.clone(), ..document(&source(at), words(at as u64, 9)) });
    let added = one.add("house", many.collect()).await.unwrap();
    assert!(added.iter().enumerate().all(|(at, one)| one.source == source(at) && one.outcome == Outcome::Added));
    assert_eq!(records(&store).await.all_documents().count(), 200);
}

#[tokio::test]
async fn a_collection_that_goes_takes_all_documents_and_none_of_the_next_one_of_its_name() {
    let (inner, dir) = sled();
    let slow = Arc::new(StoreWithFaults::new(inner.clone()));
    let one = Place::start("one", &dir.path().join("one"), inner.clone()).await;
    one.add_one("a", words(1, 50)).await;
    let (shelf, other) = (Shelf::new(slow.clone()), Shelf::new(inner.clone()));
    let (arrived, go_on) = slow.hold_before("research/documents/");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { shelf.delete(&name("house")).await });
    arrived.await.unwrap();
    let refused = one.add("house", vec![document("b", words(2, 50))]).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict, "{refused:?}");
    // Another one finishes it, and the name is free.
    other.finish_deleting(&name("house")).await.unwrap();
    until("the collection is gone", async || {
        one.add("house", vec![document("a", words(3, 50))]).await.is_ok_and(|added| added[0].document.is_some())
    })
    .await;
    go_on.send(()).unwrap();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    let known = records(&inner).await;
    assert!(known.document(&name("house"), id("a")).is_some(), "an acknowledged document is gone");
}

#[tokio::test]
async fn a_delete_that_was_interrupted_is_finished_by_the_writer_and_nothing_is_found_meanwhile() {
    let (inner, dir) = sled();
    let slow = Arc::new(StoreWithFaults::new(inner.clone()));
    let one = Place::open("one", &dir.path().join("one"), inner.clone()).await.indexing();
    let many = (0..200).map(|at| document(&format!("{at}"), format!("everypart {}", words(at, 20))));
    one.add("house", many.collect()).await.unwrap();
    one.is_in_step().await;
    assert_eq!(one.found("everypart").await.len(), 200);
    let (arrived, _go_on) = slow.hold_before("research/documents/");
    let mut tasks = JoinSet::new();
    let shelf = Shelf::new(slow.clone());
    tasks.spawn(async move { shelf.delete(&name("house")).await });
    arrived.await.unwrap();
    tasks.shutdown().await;
    assert_eq!(inner.list("research/documents/").await.unwrap().entries.len(), 200);
    until("nothing is found", async || one.found("everypart").await.is_empty()).await;
    let _one = one.writing();
    until("all is gone", async || inner.list("research/").await.unwrap().entries.is_empty()).await;
}

#[tokio::test]
async fn documents_that_are_added_while_their_collection_goes_are_there_or_refused() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    let two = Place::start("two", &dir.path().join("two"), store.clone()).await;
    introduce(&[&one, &two]);
    for round in 0..6 {
        one.library
            .create(NewCollection { name: name("house"), description: String::new(), chunk_tokens: 0 })
            .await
            .ok();
        let adding = async {
            for at in 0..8 {
                let _ = one.add("house", vec![document(&format!("{at}"), words(round * 8 + at, 20))]).await;
            }
        };
        let deleting = async {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..200))).await;
            two.library.delete(name("house")).await.unwrap();
        };
        tokio::join!(adding, deleting);
        let known = records(&store).await;
        let all = store.list("research/documents/").await.unwrap().entries.len();
        assert_eq!(known.all_documents().count(), all, "documents without a collection");
        assert_eq!(known.going().count(), 0);
    }
}

#[tokio::test]
async fn files_that_a_record_of_another_release_may_name_are_not_swept() {
    let (store, dir) = sled();
    let one = Place::start("one", &dir.path().join("one"), store.clone()).await;
    let added = one.add_one("a", words(1, 50)).await.document.unwrap();
    let key = format!("research/documents/house/{}", added.id);
    store.commit(Txn::new().put(key.clone(), &br#"{"v":99,"value":{}}"#[..])).await.unwrap();
    until("the record is not read", async || one.found(&words(1, 2)).await.is_empty()).await;
    assert_eq!(one.library.sweep_files(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(one.library.original(added).await.unwrap(), words(1, 50));
    store.commit(Txn::new().delete(key)).await.unwrap();
    until("the files are swept", async || one.library.sweep_files(Duration::ZERO).await.unwrap() == 2).await;
}

#[tokio::test]
async fn searches_go_on_while_the_store_is_away() {
    let Some(etcd) = EtcdProcess::start().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = etcd.store("/away", Duration::from_secs(1));
    let one = Place::start("one", dir.path(), store.clone()).await;
    one.add_one("a", words(1, 50)).await;
    one.is_in_step().await;
    etcd.freeze();
    let refused = one.add("house", vec![document("b", words(2, 50))]).await.unwrap_err();
    assert!(refused.code.is_retriable() && refused.hint.is_some(), "{refused:?}");
    assert_eq!(one.found(&words(1, 2)).await, ["a"]);
    etcd.thaw();
    until("it is added", async || one.add("house", vec![document("b", words(2, 50))]).await.is_ok()).await;
    until("it is found", async || one.found(&words(2, 2)).await == ["b"]).await;
    assert_eq!(records(&store).await.document(&name("house"), id("b")).unwrap().value.version, 1);
    store.close().await;
}
