//! A server that fails at any call is in step in the end, and never lacks a document that it had; what it gives is only
//! believed where it stands here. The server is one in memory, since a real one does not fail on demand.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use base::Fault;
use proptest::prelude::*;
use store::{Entry, Revision, WatchEvent};

use super::aside::{Aside, Asked};
use super::step::{Here, There, look};
use super::*;
use crate::blobs::Blobs;
use crate::chunk::{Chunk, Part};
use crate::document::{Document, Meta, State};
use crate::filter::Filter;
use crate::index::{Basis, Index, IndexChange, Indexed, Snapshots};
use crate::knowledge::Mode;
use crate::names::BlobId;
use crate::search::Finder;
use crate::shelf::Known;
use crate::texts;
use extract::Extracted;

const COLLECTION: &str = "house-0000000000000000";

/// Points in memory. Calls that change something are done or not done, and either way may fail.
#[derive(Default)]
struct Memory {
    points: Mutex<BTreeMap<PointId, Placed>>,
    /// Of the next calls that change something: whether each fails, and whether it is done all the same.
    trouble: Mutex<Vec<(bool, bool)>>,
    /// How often it was asked for what is near, and whether it fails then.
    asked: AtomicUsize,
    is_away: bool,
}

impl Memory {
    fn all(&self) -> Vec<Placed> {
        self.points.lock().unwrap().values().cloned().collect()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<PointId, Placed>)) -> Result<()> {
        let (fails, is_done) = self.trouble.lock().unwrap().pop().unwrap_or((false, true));
        if !fails || is_done {
            change(&mut self.points.lock().unwrap());
        }
        if fails { Err(Fault::unavailable("trouble")) } else { Ok(()) }
    }
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

impl Server for Memory {
    fn address(&self) -> &str {
        "memory"
    }

    fn prefix(&self) -> &str {
        "house"
    }

    fn make<'a>(&'a self, _: &'a str, _: Option<u32>) -> BoxFuture<'a, Result<()>> {
        ready(Ok(()))
    }

    fn collections(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        ready(Ok(vec![COLLECTION.to_owned()]))
    }

    fn delete<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        ready(Ok(()))
    }

    fn put<'a>(&'a self, _: &'a str, version: u64, points: Vec<Point>) -> BoxFuture<'a, Result<()>> {
        ready(self.change(|all| {
            for point in points {
                let had = all.get(&point.placed.id);
                if had.is_none_or(|had| had.version <= version) {
                    all.insert(point.placed.id, point.placed);
                }
            }
        }))
    }

    fn take<'a>(&'a self, _: &'a str, version: u64, ids: Vec<PointId>) -> BoxFuture<'a, Result<()>> {
        ready(self.change(|all| all.retain(|id, placed| !ids.contains(id) || placed.version > version)))
    }

    fn count<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<u64>> {
        ready(Ok(self.all().len() as u64))
    }

    fn page<'a>(&'a self, _: &'a str, from: Option<PointId>) -> BoxFuture<'a, Result<(Vec<Placed>, Next)>> {
        let mut rest: Vec<Placed> = self.all().into_iter().filter(|one| Some(one.id) >= from).collect();
        let next = rest.get(3).map(|one| one.id);
        rest.truncate(3);
        ready(Ok((rest, next)))
    }

    fn find<'a>(&'a self, _: &'a str, wanted: &'a Wanted) -> BoxFuture<'a, Result<Near>> {
        self.asked.fetch_add(1, Relaxed);
        if self.is_away {
            return ready(Err(Fault::unavailable("it is away")));
        }
        let words: Vec<Placed> = self.all().into_iter().take(wanted.limit).collect();
        ready(Ok(Near { words, vectors: Vec::new() }))
    }
}

/// This node's side: documents of some chunks, each a record and indexed.
struct House {
    index: Index,
    snapshots: Snapshots,
    known: Known,
    blobs: Blobs,
    revision: u64,
    versions: BTreeMap<u8, u64>,
    _dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::default();
        let index = Index::open(&dir.path().join("index"), snapshots.clone()).unwrap();
        let blobs = Blobs::open(&dir.path().join("files")).unwrap();
        let mut house = Self {
            index,
            snapshots,
            known: Known::default(),
            blobs,
            revision: 0,
            versions: BTreeMap::new(),
            _dir: dir,
        };
        let collection = serde_json::json!({
            "name": "house", "description": "", "chunk_tokens": 310, "created_ms": 0,
        });
        house.record("research/collections/house", &collection);
        house
    }

    fn record(&mut self, key: &str, value: &impl Serialize) {
        self.revision += 1;
        let value = serde_json::to_vec(&serde_json::json!({ "v": 1, "value": value })).unwrap().into();
        let entry = Entry {
            key: key.to_owned(),
            value,
            created: Revision(self.revision),
            modified: Revision(self.revision),
            lease: None,
        };
        self.known.apply(WatchEvent::Put(entry));
    }

    fn id(name: u8) -> DocId {
        DocId::of(&CollectionName::parse("house").unwrap(), &name.to_string())
    }

    /// A new version of a document, which has these chunks.
    fn write(&mut self, name: u8, words: &[u8]) {
        let version = self.versions.entry(name).or_default();
        *version += 1;
        let version = *version;
        let text = words.iter().map(|word| format!("word{word}\n")).collect::<String>();
        let file = texts::write(&Extracted { text: text.clone(), ..Extracted::default() }).unwrap();
        let blob = self.blobs.put(&file).unwrap();
        let document = Arc::new(document(name, version, blob));
        self.record(&format!("research/documents/house/{}", document.id), &*document);
        let mut start = 0;
        let mut chunks = Vec::new();
        for (ordinal, line) in text.split_inclusive('\n').enumerate() {
            let (end, hash) = (start + line.len() as u32, ChunkHash::of("", line));
            let parts = vec![Part { start, end, hash }];
            chunks.push(Chunk {
                ordinal: ordinal as u32,
                start,
                end,
                headings: String::new(),
                page: None,
                turns: Vec::new(),
                hash,
                parts,
            });
            start = end;
        }
        let texts = text.split_inclusive('\n').map(str::to_owned).collect();
        let basis = Basis::of(blob, "", 310);
        let indexed = Indexed { document, basis, chunks: chunks.into() };
        self.index.apply(vec![IndexChange::Put { indexed, from: 0, texts }]).unwrap();
    }

    fn remove(&mut self, name: u8) {
        let id = Self::id(name);
        self.revision += 1;
        let key = format!("research/documents/house/{id}");
        self.known.apply(WatchEvent::Deleted { key, revision: Revision(self.revision) });
        self.index.apply(vec![IndexChange::Remove(id)]).unwrap();
    }

    fn here(&self) -> Here {
        Here {
            known: Arc::new(self.known.clone()),
            snapshot: self.snapshots.load_full().unwrap(),
            vectors: None,
            blobs: self.blobs.clone(),
        }
    }

    /// What the server should have.
    fn wanted(&self) -> Vec<(DocId, u32, ChunkHash, u64)> {
        let here = self.here();
        let mut wanted = Vec::new();
        for indexed in here.snapshot.documents() {
            let document = &indexed.document;
            wanted.extend(indexed.chunks.iter().map(|one| (document.id, one.ordinal, one.hash, document.version)));
        }
        wanted.sort_unstable();
        wanted
    }
}

fn document(name: u8, version: u64, text: BlobId) -> Document {
    let collection = CollectionName::parse("house").unwrap();
    Document {
        id: House::id(name),
        collection,
        source: name.to_string(),
        version,
        original: text,
        bytes: 1,
        meta: Meta::default(),
        language: "en".to_owned(),
        state: State::Ready { text, chars: 1, notes: Vec::new() },
        added_ms: 0,
        changed_ms: version,
        reader: 1,
    }
}

fn had(server: &Memory) -> Vec<(DocId, u32, ChunkHash, u64)> {
    let of = |one: Placed| (one.document, one.ordinal, one.chunk, one.version);
    let mut all: Vec<_> = server.all().into_iter().map(of).collect();
    all.sort_unstable();
    all
}

/// Passes until two in a row went well and nothing is too many; after a failed one all is looked at again, as the writer does.
async fn until_in_step(server: &Memory, house: &House) -> step::Pass {
    let mut there: Option<There> = None;
    for _ in 0..100 {
        let mut kept = match there.take() {
            Some(kept) => kept,
            None => look(server, COLLECTION).await.unwrap(),
        };
        if let Ok(pass) = kept.catch_up(server, COLLECTION, &house.here()).await {
            if pass.put == 0 && pass.taken == 0 && !kept.has_condemned() {
                assert_eq!(kept.count(), server.count(COLLECTION).await.unwrap());
                return pass;
            }
            there = Some(kept);
        }
    }
    panic!("never in step");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[derive(Clone, Debug)]
enum Act {
    Write(u8, Vec<u8>),
    Remove(u8),
    /// A pass of a writer that knows what was there, or has to look.
    Pass {
        looks: bool,
    },
    Trouble(Vec<(bool, bool)>),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..4u8, proptest::collection::vec(0..6u8, 1..5)).prop_map(|(name, words)| Act::Write(name, words)),
        1 => (0..4u8).prop_map(Act::Remove),
        4 => any::<bool>().prop_map(|looks| Act::Pass { looks }),
        2 => proptest::collection::vec(any::<(bool, bool)>(), 1..4).prop_map(Act::Trouble),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_server_that_fails_at_any_call_is_in_step_in_the_end(acts in proptest::collection::vec(act(), 1..14)) {
        let (server, mut house, runtime) = (Memory::default(), House::new(), runtime());
        let mut there: Option<There> = None;
        for act in acts {
            match act {
                Act::Write(name, words) => house.write(name, &words),
                Act::Remove(name) => house.remove(name),
                Act::Trouble(trouble) => *server.trouble.lock().unwrap() = trouble,
                Act::Pass { looks } => runtime.block_on(async {
                    let kept = there.take().filter(|_| !looks);
                    let mut kept = match kept {
                        Some(kept) => kept,
                        None => look(&server, COLLECTION).await.unwrap(),
                    };
                    if kept.catch_up(&server, COLLECTION, &house.here()).await.is_ok() {
                        let (have, wanted) = (had(&server), house.wanted());
                        assert!(wanted.iter().all(|one| have.contains(one)), "{have:?} lacks of {wanted:?}");
                        there = Some(kept);
                    }
                }),
            }
        }
        let pass = runtime.block_on(until_in_step(&server, &house));
        prop_assert_eq!(had(&server), house.wanted());
        prop_assert_eq!(pass.upto, Revision(house.revision));
    }
}

#[test]
fn the_old_version_stays_until_the_pass_after_the_new_one() {
    let (server, mut house, runtime) = (Memory::default(), House::new(), runtime());
    house.write(1, &[1, 2]);
    runtime.block_on(async {
        let mut there = look(&server, COLLECTION).await.unwrap();
        there.catch_up(&server, COLLECTION, &house.here()).await.unwrap();
        house.write(1, &[3]);
        let pass = there.catch_up(&server, COLLECTION, &house.here()).await.unwrap();
        assert_eq!((pass.put, pass.taken, server.all().len()), (1, 0, 3));
        let pass = there.catch_up(&server, COLLECTION, &house.here()).await.unwrap();
        assert_eq!((pass.put, pass.taken), (0, 2));
    });
    assert_eq!(had(&server), house.wanted());
}

#[test]
fn a_writer_of_the_past_takes_nothing_of_the_present() {
    let (server, mut house, runtime) = (Memory::default(), House::new(), runtime());
    house.write(1, &[1, 2]);
    let past = house.here();
    house.write(1, &[1, 3]);
    runtime.block_on(async {
        until_in_step(&server, &house).await;
        let before = had(&server);
        let mut there = look(&server, COLLECTION).await.unwrap();
        for _ in 0..3 {
            there.catch_up(&server, COLLECTION, &past).await.unwrap();
        }
        assert!(before.iter().all(|one| had(&server).contains(one)), "{before:?} {:?}", had(&server));
        until_in_step(&server, &house).await;
    });
    assert_eq!(had(&server), house.wanted());
}

#[test]
fn a_document_whose_text_is_away_is_not_said_to_be_there() {
    let (server, mut house, runtime) = (Memory::default(), House::new(), runtime());
    house.write(1, &[1]);
    house.write(2, &[2]);
    let text = house.here().snapshot.document(House::id(2)).unwrap().document.text().unwrap();
    assert!(house.blobs.remove_older(text, std::time::Duration::ZERO).unwrap());
    let pass = runtime.block_on(async {
        let mut there = look(&server, COLLECTION).await.unwrap();
        there.catch_up(&server, COLLECTION, &house.here()).await.unwrap()
    });
    assert_eq!((pass.put, pass.upto), (1, Revision(house.revision - 1)));
}

#[test]
fn only_what_stands_here_is_a_candidate_and_the_rest_is_looked_for_here() {
    let (server, mut house, runtime) = (Arc::new(Memory::default()), House::new(), runtime());
    for name in 0..4 {
        house.write(name, &[name, name + 1]);
    }
    runtime.block_on(until_in_step(&server, &house));
    house.write(1, &[9]);
    house.remove(2);
    let behind = HashSet::from([House::id(3)]);
    let of: Arc<dyn Server> = server;
    let aside = runtime.block_on(async { Aside::new(of, COLLECTION.to_owned(), behind) });
    let (terms, filter) = (vec!["word1".to_owned()], Filter::default());
    let asked = |passing, depth| Asked { terms: Some(&terms), vector: None, filter: &filter, passing, depth };
    let snapshot = house.here().snapshot;
    let given = aside.find(asked(None, 100), &snapshot).unwrap();
    let places: HashSet<DocId> = given.words.iter().map(|(place, _)| place.document).collect();
    assert_eq!(places, HashSet::from([House::id(0), House::id(3)]));
    assert_eq!(given.here, HashSet::from([House::id(1), House::id(3)]));

    let passing = HashSet::from([House::id(0)]);
    let given = aside.find(asked(Some(&passing), 100), &snapshot).unwrap();
    assert!(given.here.is_empty() && given.words.iter().all(|(place, _)| place.document == House::id(0)));

    (0..4).for_each(|name| house.remove(name));
    let crowded = aside.find(asked(None, 1), &house.here().snapshot);
    assert!(crowded.is_err(), "a full list of which nothing is left is not taken for all that there is");
}

#[test]
fn a_server_that_is_away_is_asked_once_by_a_question() {
    let (server, mut house, runtime) =
        (Arc::new(Memory { is_away: true, ..Memory::default() }), House::new(), runtime());
    house.write(1, &[1]);
    let of: Arc<dyn Server> = server.clone();
    let aside = runtime.block_on(async { Aside::new(of, COLLECTION.to_owned(), HashSet::new()) });
    let Here { snapshot, blobs, .. } = house.here();
    let finder = Finder { snapshot, dense: None, aside: Some(aside.clone()), blobs };
    for _ in 0..3 {
        assert_eq!(finder.rank("word1", &Filter::default(), Mode::Hybrid, 10).unwrap().len(), 1);
    }
    assert_eq!(server.asked.load(Relaxed), 1);
    assert_eq!(aside.told(), "; no, out of this node's own index: it is away");
}
