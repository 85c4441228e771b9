//! Documents are found whole, in their old version or their new one, and are there again after opening.

use std::collections::BTreeSet;

use super::*;
use crate::chunk::Part;
use crate::document::{Meta, State};
use crate::names::CollectionName;
use crate::text::Spoken;

fn document(name: &str, version: u64) -> Arc<Document> {
    let collection = CollectionName::parse("house").unwrap();
    let text = BlobId::of(format!("{name}{version}").as_bytes());
    Arc::new(Document {
        id: DocId::of(&collection, name),
        collection,
        source: name.to_owned(),
        version,
        original: text,
        bytes: 1,
        meta: Meta::default(),
        language: "en".to_owned(),
        state: State::Ready { text, chars: 1, notes: Vec::new() },
        added_ms: 0,
        changed_ms: 0,
        reader: 1,
    })
}

fn open(dir: &Path) -> Index {
    Index::open(dir, Snapshots::default()).unwrap()
}

fn now(index: &Index) -> Arc<Snapshot> {
    index.published.load_full().unwrap()
}

fn put(document: Arc<Document>, texts: &[&str]) -> IndexChange {
    let chunk = |(ordinal, text): (usize, &&str)| Chunk {
        ordinal: ordinal as u32,
        start: 0,
        end: text.len() as u32,
        headings: "manual".to_owned(),
        page: None,
        turns: Vec::new(),
        hash: ChunkHash::of("manual", text),
        parts: vec![Part { start: 0, end: text.len() as u32, hash: ChunkHash::of("manual", text) }],
    };
    let chunks = texts.iter().enumerate().map(chunk).collect();
    let basis = Basis::of(document.original, "", 220);
    IndexChange::Put {
        indexed: Indexed { document, basis, chunks },
        from: 0,
        texts: texts.iter().map(|t| (*t).to_owned()).collect(),
    }
}

/// The key of what `put` makes of a document.
fn key_of(document: &Document) -> u64 {
    key(document, Basis::of(document.original, "", 220))
}

fn found(snapshot: &Snapshot, word: &str) -> BTreeSet<(u64, u32)> {
    let hits = snapshot.words.search(&[Spoken::whole(word, "en")], 10, None).unwrap();
    hits.iter().map(|hit| (hit.document, hit.ordinal)).collect()
}

#[test]
fn a_new_version_takes_the_place_of_the_old_one_for_new_readers_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    let (pump, heater) = (document("pump", 1), document("heater", 1));
    index
        .apply(vec![put(pump.clone(), &["water pump", "spare parts"]), put(heater.clone(), &["water heater"])])
        .unwrap();
    let before = now(&index);
    assert_eq!(found(&before, "water").len(), 2);
    assert_eq!(found(&before, "parts"), [(key_of(&pump), 1)].into());
    index.apply(vec![put(document("pump", 2), &["oil pump"])]).unwrap();
    let after = now(&index);
    assert_eq!((found(&after, "water").len(), found(&after, "parts").len(), found(&after, "oil").len()), (1, 0, 1));
    assert_eq!((found(&before, "water").len(), before.chunk_count()), (2, 3));
    assert_eq!((after.document_count(), after.chunk_count()), (2, 2));
    assert_eq!(after.places(&ChunkHash::of("manual", "oil pump")), [Place { document: pump.id, ordinal: 0 }]);
    assert!(after.places(&ChunkHash::of("manual", "water pump")).is_empty());
    index.apply(vec![IndexChange::Remove(heater.id)]).unwrap();
    assert_eq!(found(&now(&index), "water").len(), 0);
}

#[test]
fn what_was_indexed_is_there_after_opening_and_another_form_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    index.apply(vec![put(document("pump", 3), &["water pump", "spare parts"])]).unwrap();
    drop(index);
    let opened = open(dir.path());
    let snapshot = now(&opened);
    let known = snapshot.documents().next().unwrap();
    assert_eq!((known.document.version, known.chunks.len(), known.chunks[1].ordinal), (3, 2, 1));
    assert_eq!(found(&snapshot, "spare").len(), 1);
    drop((opened, snapshot));
    fs::write(dir.path().join(FORMAT_FILE), "0/0").unwrap();
    assert_eq!(now(&open(dir.path())).chunk_count(), 0);
}

#[test]
fn a_damaged_index_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    index.apply(vec![put(document("pump", 3), &["water pump"])]).unwrap();
    drop(index);
    fs::write(dir.path().join("words").join("meta.json"), "{").unwrap();
    let mut opened = open(dir.path());
    assert_eq!(now(&opened).chunk_count(), 0);
    opened.apply(vec![put(document("pump", 4), &["water pump"])]).unwrap();
    assert_eq!(found(&now(&opened), "pump").len(), 1);
}

#[test]
fn the_order_of_equal_chunks_does_not_tell_which_was_indexed_first() {
    let order = |names: [&str; 4]| {
        let dir = tempfile::tempdir().unwrap();
        let mut index = open(dir.path());
        names.into_iter().for_each(|name| index.apply(vec![put(document(name, 1), &["water pump"])]).unwrap());
        now(&index).words.search(&[Spoken::whole("water", "en")], 10, None).unwrap()
    };
    assert_eq!(order(["a", "b", "c", "d"]), order(["d", "b", "a", "c"]));
}

fn french(name: &str) -> Arc<Document> {
    Arc::new(Document { language: "fr".to_owned(), ..(*document(name, 1)).clone() })
}

#[test]
fn what_one_language_makes_of_a_word_is_no_word_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    let (house, church) = (document("house", 1), document("church", 1));
    let garden = put(french("garden"), &["le jardin est vert"]);
    index.apply(vec![put(house.clone(), &["a dry basement"]), put(church, &["a bas relief"]), garden]).unwrap();
    let asked = [Spoken::whole("basement", "en"), Spoken::whole("basement", "fr")];
    assert_eq!(asked[1].stems(), ["bas"]);
    let hits = now(&index).words.search(&asked, 10, None).unwrap();
    assert!(hits.len() == 1 && hits[0].document == key_of(&house), "{hits:?}");
}

#[test]
fn a_word_is_as_rare_in_the_only_text_of_a_language_as_it_is_in_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    let names: Vec<String> = (0..30).map(|at| format!("note {at}")).collect();
    let notes = names.iter().enumerate().map(|(at, name)| {
        put(document(name, 1), &[if at < 10 { "water from the pump" } else { "water from the well" }])
    });
    let wanted = document("wanted", 1);
    let others = [put(wanted.clone(), &["the pump moves water"]), put(french("eau"), &["water est un mot anglais"])];
    index.apply(notes.chain(others).collect()).unwrap();
    let asked = [Spoken::whole("pump moves water", "en"), Spoken::whole("pump moves water", "fr")];
    let snapshot = now(&index);
    let hits = snapshot.words.search(&asked, 40, None).unwrap();
    assert!(hits[0].document == key_of(&wanted), "{hits:?}");
    let place = |of: &Document| hits.iter().position(|hit| hit.document == key_of(of)).unwrap();
    assert!(place(&french("eau")) > place(&document("note 0", 1)), "one word of the question against two: {hits:?}");
    assert_eq!(snapshot.frequency("water").unwrap(), (31, 32));
    let some: std::collections::HashSet<_> = hits.iter().map(|hit| (hit.document, hit.ordinal)).collect();
    for other in snapshot.words.scores(&asked, &some).unwrap() {
        let same = hits.iter().find(|hit| (hit.document, hit.ordinal) == (other.document, other.ordinal)).unwrap();
        assert!((same.score - other.score).abs() < 1e-4, "{same:?} {other:?}");
    }
}

#[test]
fn only_documents_that_pass_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    let (pump, heater) = (document("pump", 1), document("heater", 1));
    index.apply(vec![put(pump.clone(), &["water pump"]), put(heater, &["water heater"])]).unwrap();
    let only = key_of(&pump);
    let snapshot = now(&index);
    let hits =
        snapshot.words.search(&[Spoken::whole("water", "en")], 10, Some(Arc::new(move |key| key == only))).unwrap();
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].document, only);
    assert_eq!(snapshot.frequency("water").unwrap(), (2, 2));
}

#[test]
fn what_is_put_in_slices_is_found_with_the_last_one_and_what_it_replaces_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    index.apply(vec![put(document("pump", 1), &["water pump"])]).unwrap();
    let IndexChange::Put { indexed, texts, .. } = put(document("pump", 2), &["oil pump", "steel valve"]) else {
        panic!()
    };
    let part = |indexed: Indexed, from: usize| IndexChange::Put { indexed, from, texts: vec![texts[from].clone()] };
    let hidden = key_of(&document("pump", 2));
    index.apply(vec![part(indexed.clone(), 0)]).unwrap();
    assert_eq!((now(&index).hidden, now(&index).chunk_count()), (Some(hidden), 1));
    // A crash: the slice goes, and what was there is there.
    drop(index);
    let mut index = open(dir.path());
    assert_eq!((now(&index).hidden, now(&index).chunk_count()), (None, 1));
    index.apply(vec![put(document("heater", 1), &["water heater"])]).unwrap();
    assert_eq!((found(&now(&index), "oil").len(), found(&now(&index), "water").len()), (0, 2));
    // Given up, and begun again.
    index.apply(vec![part(indexed.clone(), 0)]).unwrap();
    assert_eq!(found(&now(&index), "oil").len(), 1, "the words are there, hidden");
    index.apply(vec![IndexChange::Abandon(hidden)]).unwrap();
    assert_eq!((now(&index).hidden, found(&now(&index), "oil").len()), (None, 0));
    index.apply(vec![part(indexed.clone(), 0)]).unwrap();
    index.apply(vec![part(indexed, 1)]).unwrap();
    let after = now(&index);
    assert_eq!((after.hidden, after.document_count(), after.chunk_count()), (None, 2, 3));
    let pump: BTreeSet<_> = [(hidden, 0)].into();
    assert_eq!((found(&after, "oil"), found(&after, "water").len(), found(&after, "valve").len()), (pump, 1, 1));
    drop(index);
    assert_eq!(now(&open(dir.path())).chunk_count(), 3);
}
