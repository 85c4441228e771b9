//! kill -9 at random instants while documents are added, changed and removed: this test binary runs itself as the node,
//! ends it, and looks whether all that was acknowledged holds, and whether what is derived is what it would be anew.
//!
//! `TM_LIBRARY_CRASHES` sets how many times (200 in the soak), `TM_LIBRARY_SEED` when.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use extract::Hint;
use research::blobs::Blobs;
use research::chunk::embed_text;
use research::document::State;
use research::filter::Filter;
use research::index::{Index, Snapshot, Snapshots};
use research::indexing::{Indexing, Progress};
use research::likeness::{Alike, fingerprint};
use research::neighbours::Nobody;
use research::shelf::Known;
use research::text::Spoken;
use research::vectors::generations::Generations;
use research::vectors::unit;
use research::{Document, Knowledge, texts};
use store::SharedStore;
use tokio::task::JoinSet;

use crate::killed::until_killed;
use crate::library::{DIMS, Place, SOON, document, id, records, until, vector, words};
use crate::stores::open_sled;

const DIR: &str = "TM_LIBRARY_CRASH_DIR";
const FROM: &str = "TM_LIBRARY_CRASH_FROM";
/// These are never removed and like no other, so that a search must always find them whole.
const WATCHED: u64 = 3;
const SOURCES: u64 = 24;
/// So many of them are changed at once.
const LANES: u64 = 3;
/// No document takes so long to be added; older files without a record are swept away meanwhile.
const SWEPT_AFTER: Duration = Duration::from_secs(5);

fn source(number: u64) -> String {
    format!("file:/notes/{number}.md")
}

/// What the so-maniest thing that is done makes of a source; `None`: it removes it.
fn text(number: u64, step: u64) -> Option<String> {
    let mut random = fastrand::Rng::with_seed(step);
    if number < WATCHED {
        let middle = words(step, if random.bool() { 40 } else { 1_500 }).replace(".\n\n", " everypart.\n\n");
        return Some(format!("version{step}begin everypart.\n\n{middle} everypart.\n\nversion{step}end everypart."));
    }
    match random.u8(..10) {
        0..2 => None,
        2..7 => {
            let twist = ["", "and no word more", "as everybody in the house knows well by now"][random.usize(..3)];
            Some(format!("{}{twist}", words(random.u64(1..6), 200)))
        }
        _ => Some(words(step, random.usize(10..400))),
    }
}

/// What is known of a source.
#[derive(Clone, Debug, Default)]
struct Told {
    /// What it was when the node last said so, with its version; `None`: it is not there.
    last: Option<(String, u64)>,
    /// What was begun, and may be done or not.
    begun: Option<u64>,
}

impl Told {
    /// What it is when the step was done as well.
    fn then(&self, number: u64, step: u64) -> Option<(String, u64)> {
        let text = text(number, step)?;
        let version = match &self.last {
            Some((before, version)) => version + u64::from(*before != text),
            None => 1,
        };
        Some((text, version))
    }

    /// What it may be now.
    fn possible(&self, number: u64) -> Vec<Option<(String, u64)>> {
        let begun = self.begun.map(|step| self.then(number, step));
        std::iter::once(self.last.clone()).chain(begun).collect()
    }
}

/// All that the nodes said.
#[derive(Default)]
struct Log {
    of: BTreeMap<u64, Told>,
    /// The next step.
    next: u64,
    done: usize,
}

impl Log {
    /// Takes down one line; `true` where the node began.
    fn note(&mut self, line: &str) -> bool {
        assert!(!line.contains("broken"), "{line}");
        // The first one stands behind what the test harness prints on its line.
        let numbers = |rest: &str| {
            let (number, step) = rest.split_once(' ').unwrap();
            (number.parse::<u64>().unwrap(), step.parse::<u64>().unwrap())
        };
        if let Some((_, rest)) = line.split_once("doing ") {
            let (number, step) = numbers(rest);
            self.of.entry(number).or_default().begun = Some(step);
            self.next = self.next.max(step + 1);
        } else if let Some((_, rest)) = line.split_once("done ") {
            let (number, step) = numbers(rest);
            let told = self.of.entry(number).or_default();
            told.last = told.then(number, step);
            told.begun = None;
            self.done += 1;
        }
        line.contains("began")
    }
}

#[test]
fn what_was_acknowledged_holds_after_a_kill_and_what_is_derived_is_as_if_made_anew() {
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (crashes, seed) = (number("TM_LIBRARY_CRASHES", 12), number("TM_LIBRARY_SEED", 7));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log { next: seed << 20, ..Log::default() };
    for _ in 0..crashes {
        run_until_killed(dir.path(), &mut log, Duration::from_millis(random.u64(..1_500)));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(look(dir.path(), &mut log));
    }
    println!("{} changes were acknowledged", log.done);
    assert!(log.done as u64 >= crashes, "too little was done to prove anything");
}

/// Runs the node, kills it so long after it began, and notes what it said.
fn run_until_killed(dir: &Path, log: &mut Log, after: Duration) {
    let from = log.next.to_string();
    let given = [(DIR, dir.as_os_str()), (FROM, from.as_ref())];
    until_killed("library_crash::node_that_is_killed", &given, after, |line| log.note(line));
}

async fn look(dir: &Path, log: &mut Log) {
    let opened = open_sled(dir.join("store").as_ref()).await;
    assert_eq!((opened.set_aside, opened.lost), (None, None));
    let store: SharedStore = Arc::new(opened.store);
    // One after the other, so that each finds its work at once.
    let place = Place::open("parent", &dir.join("library"), store.clone()).await.indexing();
    place.is_in_step().await;
    let place = place.writing();
    until("what says the same is folded", async || is_folded(&records(&store).await, &place).await).await;
    place.is_in_step().await;
    let known = records(&store).await;
    check_records(&known, &place, log).await;
    let place = place.embedding();
    until("all is embedded", async || {
        let collections = place.library.collections().await.unwrap();
        collections.iter().all(|collection| collection.embedded == collection.chunks)
    })
    .await;
    place.library.sweep_files(Duration::ZERO).await.unwrap();
    place.end().await;
    let blobs = Blobs::open(&dir.join("library/files")).unwrap();
    let named: HashSet<_> =
        known.all_documents().flat_map(|one| [Some(one.value.original), one.value.text()]).flatten().collect();
    let there: HashSet<_> = blobs.all().unwrap().into_iter().collect();
    assert_eq!(there, named, "files that no record names, or the other way round");
    let kept = kept_index(&dir.join("library/index")).await;
    let fresh = fresh_index(&store, &blobs).await;
    check_index(&kept, &fresh, &known);
    check_vectors(&dir.join("library/vectors"), &kept, &blobs).await;
    store.close().await;
}

/// Every source is what the node said last, or what it was about to make of it.
async fn check_records(known: &Known, place: &Place, log: &mut Log) {
    for (number, told) in &mut log.of {
        let record = known.document(&crate::library::name("house"), id(&source(*number)));
        let found = match record {
            None => None,
            Some(record) => {
                let document = (*record.value).clone();
                let original = place.library.original(document.clone()).await.unwrap();
                let read = extract::read(&original, &Hint { media: "", name: "a.md" }).unwrap();
                let which = document.id.to_string();
                let (_, text) = place.library.document(document.collection, which).await.unwrap();
                assert_eq!(text, read.text);
                Some((String::from_utf8(original.to_vec()).unwrap(), document.version))
            }
        };
        let possible = told.possible(*number);
        assert!(possible.contains(&found), "source {number} is {found:?} and not {possible:?}");
        *told = Told { last: found, begun: None };
    }
    assert_eq!(known.all_documents().count(), log.of.values().filter(|told| told.last.is_some()).count());
}

/// Whether what is folded is what would be if it were decided anew.
async fn is_folded(known: &Known, place: &Place) -> bool {
    let mut documents: Vec<Arc<Document>> = known.all_documents().map(|one| one.value.clone()).collect();
    documents.sort_by_key(|one| (one.added_ms, one.id));
    let mut first = Alike::default();
    for document in documents {
        let file = place.library.file(document.text().unwrap()).await.unwrap().unwrap();
        let print = fingerprint(&texts::read(&file).unwrap().text);
        let same = first.same_as(&print).map(|(into, _)| into);
        if same.is_none() {
            first.insert(document.id, print);
        }
        let is = match document.state {
            State::Folded { into, .. } => Some(into),
            _ => None,
        };
        if is != same {
            return false;
        }
    }
    true
}

async fn kept_index(dir: &Path) -> Arc<Snapshot> {
    let snapshots = Snapshots::default();
    until("the index is closed", async || Index::open(dir, snapshots.clone()).is_ok()).await;
    snapshots.load_full().unwrap()
}

/// An index that is made of the records and the files, in another folder.
async fn fresh_index(store: &SharedStore, blobs: &Blobs) -> Arc<Snapshot> {
    let dir = tempfile::tempdir().unwrap();
    let (snapshots, progress) = (Snapshots::default(), Arc::new(Progress::default()));
    let index = Index::open(dir.path(), snapshots.clone()).unwrap();
    let known = Arc::new(ArcSwap::default());
    let parts = (store.clone(), blobs.clone(), Arc::new(Nobody), known, progress.clone(), index);
    let indexing = Indexing::new(parts.0, parts.1, parts.2, parts.3, parts.4, parts.5, snapshots.clone());
    let mut loops = JoinSet::new();
    loops.spawn(indexing.run());
    until("the fresh index is in step", async || {
        *progress.seen_records.borrow() && progress.waiting.load(Ordering::SeqCst) == 0
    })
    .await;
    loops.shutdown().await;
    snapshots.load_full().unwrap()
}

fn check_index(kept: &Snapshot, fresh: &Snapshot, known: &Known) {
    let chunks = |snapshot: &Snapshot| -> BTreeSet<_> {
        let of = snapshot.documents().flat_map(|one| one.chunks.iter().map(move |chunk| (one.document.id, chunk)));
        of.map(|(id, chunk)| (id, chunk.ordinal, chunk.start, chunk.end, chunk.hash, chunk.parts.len())).collect()
    };
    assert_eq!(chunks(kept), chunks(fresh));
    for snapshot in [kept, fresh] {
        // None of what is gone is left among the words.
        assert_eq!(snapshot.frequency("everypart").unwrap().1 as usize, snapshot.chunk_count());
    }
    let found = |snapshot: &Snapshot, word: &str| -> BTreeSet<(u64, u32)> {
        let asked: Vec<Spoken> = snapshot.languages().map(|language| Spoken::whole(word, language)).collect();
        let hits = snapshot.words.search(&asked, 10_000, None).unwrap();
        hits.into_iter().map(|hit| (hit.document, hit.ordinal)).collect()
    };
    assert_eq!(found(kept, "everypart"), found(fresh, "everypart"));
    for seed in (1..6).chain(known.all_documents().map(|one| one.value.version)) {
        for word in words(seed, 40).split_whitespace() {
            assert_eq!(found(kept, word), found(fresh, word), "{word}");
        }
    }
    let ready = known.all_documents().filter(|one| matches!(one.value.state, State::Ready { .. }));
    let ready: BTreeSet<_> = ready.map(|one| (one.value.id, one.value.version, one.value.text())).collect();
    let indexed = |one: &Arc<research::index::Indexed>| (one.document.id, one.document.text());
    assert_eq!(
        fresh.documents().map(indexed).collect::<BTreeSet<_>>(),
        ready.into_iter().map(|(id, _, text)| (id, text)).collect()
    );
}

/// Every part has the vector of its own text.
async fn check_vectors(dir: &Path, index: &Snapshot, blobs: &Blobs) {
    let mut opened = None;
    until("the vectors are closed", async || {
        opened = Generations::open(dir).ok();
        opened.is_some()
    })
    .await;
    let Some(vectors) = opened.unwrap().in_use() else { return assert_eq!(index.chunk_count(), 0) };
    let vectors = vectors.snapshot();
    for indexed in index.documents() {
        let text = texts::read(&blobs.get(indexed.document.text().unwrap()).unwrap().unwrap()).unwrap().text;
        for chunk in indexed.chunks.iter() {
            for part in &chunk.parts {
                let own = embed_text(&chunk.headings, &text[part.start as usize..part.end as usize]);
                let row = vectors.row(&part.hash).expect("a part without a vector");
                let (is, wanted) = (vectors.vector(row).unwrap(), unit(&vector(&own), DIMS).unwrap());
                // To the last bit but one: whatever passes through several hands is made a unit by each.
                let is_own = is.iter().zip(&wanted).all(|(is, wanted)| (is - wanted).abs() < 1e-6);
                assert!(is_own, "the vector of `{own}` is that of another text");
            }
        }
    }
}

/// Only does something when it is started by the test above.
#[test]
fn node_that_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let next = AtomicU64::new(std::env::var(FROM).unwrap().parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir: &Path = dir.as_ref();
        let store: SharedStore = Arc::new(open_sled(&dir.join("store")).await.store);
        let place = Arc::new(Place::start("child", &dir.join("library"), store).await);
        until("the records are seen", async || place.library.report().seen_records).await;
        println!("began");
        let next = Arc::new(next);
        let mut tasks = JoinSet::new();
        for lane in 0..LANES {
            tasks.spawn(change(place.clone(), lane, next.clone()));
        }
        tasks.spawn(search(place.clone()));
        tasks.spawn(async move {
            loop {
                place.library.sweep_files(SWEPT_AFTER).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        tokio::time::timeout(2 * SOON, tasks.join_next()).await.unwrap().unwrap().unwrap();
    });
}

async fn change(place: Arc<Place>, lane: u64, next: Arc<AtomicU64>) {
    loop {
        let step = next.fetch_add(1, Ordering::SeqCst);
        let number = fastrand::u64(..SOURCES / LANES) * LANES + lane;
        println!("doing {number} {step}");
        match text(number, step) {
            Some(text) => {
                let added = place.add("house", vec![document(&source(number), text)]).await.unwrap().remove(0);
                assert!(added.document.is_some(), "broken: {added:?}");
            }
            None => place.remove(&source(number)).await,
        }
        println!("done {number} {step}");
    }
}

/// Searches all the time for documents that are always there, in one version or the next one.
async fn search(place: Arc<Place>) {
    let mut seen = HashSet::new();
    loop {
        for number in 0..WATCHED {
            let filter = Filter { documents: vec![id(&source(number))], ..Filter::default() };
            let hits = match place.search("everypart", filter).await {
                Ok(found) => found.hits,
                Err(fault) if fault.code == base::Code::NotFound => continue,
                // The index is being opened.
                Err(fault) if seen.is_empty() && fault.code == base::Code::Unavailable => continue,
                Err(fault) => return println!("broken: {fault:?}"),
            };
            if hits.is_empty() && !seen.contains(&number) {
                continue;
            }
            seen.insert(number);
            let mut hits = hits;
            hits.sort_by_key(|hit| hit.ordinal);
            let versions: BTreeSet<u64> = hits.iter().map(|hit| hit.span.version).collect();
            let marked = |part: &str, mark: &str| {
                let word = part.split_whitespace().find(|word| word.starts_with("version") && word.ends_with(mark));
                word.map(|word| word.trim_end_matches(mark).to_owned())
            };
            let begin = hits.first().and_then(|hit| marked(&hit.text, "begin"));
            let end = hits.last().and_then(|hit| marked(&hit.text, "end"));
            let are_all = hits.iter().enumerate().all(|(at, hit)| hit.ordinal as usize == at);
            if versions.len() != 1 || begin.is_none() || begin != end || !are_all {
                let ordinals: Vec<u32> = hits.iter().map(|hit| hit.ordinal).collect();
                println!("broken: {number} is found as {begin:?} to {end:?} in {versions:?}, {ordinals:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
