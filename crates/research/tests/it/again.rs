//! Documents that are added again: what was told of them stays, and what is wrong with them is said again.

use std::time::Duration;

use futures_util::future::join_all;
use research::filter::Filter;
use research::knowledge::{Added, Outcome};
use research::models::Embeds;
use research::{CollectionName, Knowledge, NewDocument, NewMeta};

use crate::library::{Place, document, sled, until};

async fn add(place: &Place, meta: NewMeta, text: &str) -> Added {
    let new = NewDocument { meta, ..document("file:/pumps.md", text) };
    place.add("house", vec![new]).await.unwrap().remove(0)
}

fn word(word: &str) -> Option<String> {
    Some(word.to_owned())
}

#[tokio::test]
async fn an_edited_document_keeps_the_category_that_it_had_until_it_is_taken_away() {
    let (store, dir) = sled();
    let place = Place::open("one", &dir.path().join("one"), store).await.indexing();
    place.is_in_step().await;
    let told = NewMeta { category: word("hardware"), tags: Some(vec!["pump".into()]), ..NewMeta::default() };
    add(&place, told, "# Pumps\n\nA pump.").await;
    let edited = add(&place, NewMeta::default(), "# Better pumps\n\nA better pump.").await;
    assert_eq!(edited.outcome, Outcome::Changed);
    let meta = edited.document.unwrap().meta;
    assert_eq!(
        (meta.title.as_str(), meta.category.as_str(), meta.tags),
        ("Better pumps", "hardware", vec!["pump".to_owned()])
    );
    let emptied = NewMeta { category: word(""), ..NewMeta::default() };
    let emptied = add(&place, emptied, "# Better pumps\n\nA better pump.").await;
    assert_eq!(
        (emptied.outcome, emptied.document.as_ref().unwrap().version),
        (Outcome::Changed, 2),
        "its text is the same"
    );
    let meta = emptied.document.unwrap().meta;
    assert_eq!((meta.category.as_str(), meta.tags.len()), ("", 1));
}

#[tokio::test]
async fn the_same_added_many_times_at_once_is_added_once_and_unchanged_every_other_time() {
    let (store, dir) = sled();
    let place = Place::open("one", &dir.path().join("one"), store).await.indexing();
    place.is_in_step().await;
    let all = join_all((0..32).map(|_| add(&place, NewMeta::default(), "# Pumps\n\nA pump."))).await;
    let of = |outcome| all.iter().filter(|added| added.outcome == outcome).count();
    assert_eq!((of(Outcome::Added), of(Outcome::Unchanged)), (1, 31), "{all:?}");
    assert!(all.iter().all(|added| added.document.as_ref().unwrap().version == 1));
}

#[tokio::test]
async fn different_texts_of_one_source_that_come_at_once_are_all_taken_one_after_the_other() {
    let (store, dir) = sled();
    let place = Place::open("one", &dir.path().join("one"), store).await.indexing();
    place.is_in_step().await;
    let texts: Vec<String> = (0..16).map(|at| format!("# Pumps\n\nPump {at}.")).collect();
    let all = join_all(texts.iter().map(|text| add(&place, NewMeta::default(), text))).await;
    let mut versions: Vec<u64> = all.iter().map(|added| added.document.as_ref().unwrap().version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=16).collect::<Vec<u64>>());
}

#[tokio::test]
async fn what_could_not_be_read_is_told_each_time_that_it_is_added() {
    let (store, dir) = sled();
    let place = Place::open("one", &dir.path().join("one"), store).await.indexing();
    place.is_in_step().await;
    let first = add(&place, NewMeta::default(), " \n").await;
    assert_eq!(first.outcome, Outcome::Failed);
    until("the record is known", async || place.library.collections().await.unwrap()[0].failed == 1).await;
    let again = add(&place, NewMeta::default(), " \n").await;
    assert_eq!((again.outcome, &again.reason, &again.hint), (Outcome::Failed, &first.reason, &first.hint));
    assert!(!again.reason.is_empty() && !again.hint.is_empty(), "{again:?}");
    assert_eq!(again.document.unwrap().version, 1, "nothing was written");
}

#[tokio::test]
async fn who_asks_a_node_that_has_just_started_waits_for_it() {
    let (store, dir) = sled();
    let place = Place::start("one", &dir.path().join("one"), store.clone()).await;
    place.add_one("file:/a.md", "The pump stands in the cellar.").await;
    place.end().await;
    // Nobody has opened its index when it is asked.
    let place = Place::open("one", &dir.path().join("one"), store).await;
    let house = vec![CollectionName::parse("house").unwrap()];
    let asked = place.search("pump", Filter { collections: house, ..Filter::default() });
    let listed = place.library.collections();
    tokio::select! {
        biased;
        (found, listed) = async { tokio::join!(asked, listed) } => {
            assert_eq!(found.unwrap().hits.len(), 1);
            assert_eq!(listed.unwrap()[0].documents, 1);
        }
        ended = place.library.keep_index() => panic!("the index is not kept any more: {ended:?}"),
    }
}

#[tokio::test]
async fn what_is_said_of_the_embedder_is_what_is_so_now() {
    let (store, dir) = sled();
    let place = Place::start("one", &dir.path().join("one"), store).await;
    let note = async || place.library.status().await.unwrap().embedder_note;
    let say = |embeds: Embeds| *place.models.embeds.lock().unwrap() = Some(embeds);
    say(Embeds { model: None, note: "several models embed (`a`, `b`)".into() });
    place.add_one("file:/a.md", "A pump.").await;
    until("it is said which there are", async || note().await.starts_with("several models")).await;
    say(Embeds { note: "the only model".into(), ..Embeds::with("a") });
    until("it embeds", async || place.library.status().await.unwrap().embedded == 1).await;
    until("it is said why", async || note().await == "the only model").await;
    say(Embeds::default());
    until("nobody embeds", async || note().await.starts_with("no worker embeds with `a`")).await;
    say(Embeds::with("a"));
    until("the note is gone", async || note().await.is_empty()).await;
    tokio::time::timeout(Duration::from_secs(30), place.end()).await.unwrap();
}

/// A text of more than a million characters whose first and last sentence have a word of their own.
fn large(word: &str) -> String {
    let middle: String = (0..25_000).map(|at| format!("Pump {at} stands by the valve of hall {}.\n", at / 7)).collect();
    format!("The {word} is on.\n\n{middle}\nThe {word} is off.\n")
}

#[tokio::test]
async fn a_large_document_holds_up_nobody_and_is_never_found_in_part() {
    let (store, dir) = sled();
    let place = Place::open("one", &dir.path().join("one"), store).await.indexing();
    place.add("house", vec![document("file:/large.txt", large("heron"))]).await.unwrap();
    place.is_in_step().await;
    let hits = async |word: &str| place.found(word).await.len();
    assert_eq!((hits("heron").await, hits("ibis").await), (2, 0));
    let changed = place.add("house", vec![document("file:/large.txt", large("ibis"))]);
    let beside = async {
        // The record of the large one is there first.
        until("the large one is waited for", async || place.library.report().waiting > 0).await;
        place.add("house", vec![document("file:/small.txt", "A stork.")]).await
    };
    let (changed, beside) = tokio::join!(changed, beside);
    assert_eq!((changed.unwrap()[0].outcome, beside.unwrap()[0].outcome), (Outcome::Changed, Outcome::Added));
    let mut before = 0;
    until("the new version is found", async || {
        let (stork, found) = (hits("stork").await, (hits("heron").await, hits("ibis").await));
        // Between two searches the version may change.
        assert!(matches!(found, (2, 0) | (0, 2) | (2, 2)), "{found:?}");
        before += u32::from(stork == 1 && found == (2, 0));
        found == (0, 2)
    })
    .await;
    assert!(before > 0, "the small one was found after the large one");
    // One that goes away while it is written leaves nothing.
    let again = place.add("house", vec![document("file:/large.txt", large("egret"))]);
    again.await.unwrap();
    place.remove("file:/large.txt").await;
    place.is_in_step().await;
    assert_eq!((hits("ibis").await, hits("egret").await, hits("pump").await), (0, 0, 0));
    assert_eq!(hits("stork").await, 1);
}
