//! Watched folders on a real disk, with a real library over a real store: what changes there is found, what is gone is not,
//! and a disk that is not mounted deletes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Code, NodeId, Result};
use research::folders::{Watching, sources_below};
use research::knowledge::{Folder, Mode, Page, Search, Which};
use research::library::{Library, Parts};
use research::neighbours::Nobody;
use research::{CollectionName, Document, Knowledge, State};
use store::Local;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bed::Scripted;
use crate::library::until;
use crate::reader::reader;
use crate::stores::open_sled;

/// So seldom that only what the kernel tells is noticed.
const SELDOM: Duration = Duration::from_secs(3600);
const OFTEN: Duration = Duration::from_secs(1);

/// The disk of a machine.
struct Disk {
    dir: tempfile::TempDir,
    docs: PathBuf,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let docs = fs::canonicalize(dir.path()).unwrap().join("docs");
        fs::create_dir(&docs).unwrap();
        Self { dir, docs }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.docs.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn source(&self, name: &str) -> String {
        format!("{}{name}", sources_below(&self.docs).unwrap())
    }
}

/// A node that keeps documents.
struct Keeper {
    library: Arc<Library>,
    _loops: JoinSet<()>,
    stop: CancellationToken,
}

impl Keeper {
    async fn start(disk: &Disk, allowed: &Path, scan_every: Duration) -> Self {
        let at = |name: &str| disk.dir.path().join(name);
        let store = Arc::new(open_sled(&at("store")).await.store);
        let seen = Local::open(&at("local")).unwrap().store.table("seen").unwrap();
        let parts = Parts {
            node: NodeId::new("nas"),
            dir: at("research"),
            store,
            reader: reader(2),
            models: Scripted::nobody(),
            neighbours: Arc::new(Nobody),
            server: None,
        };
        let watching = Watching { allowed: vec![allowed.to_owned()], scan_every, seen };
        let library = Arc::new(Library::open(parts).unwrap().watching(watching));
        let (mut loops, stop) = (JoinSet::new(), CancellationToken::new());
        let (index, folders, ends) = (library.clone(), library.clone(), stop.clone());
        loops.spawn(async move {
            // What the one before was writing holds the index for a moment.
            while index.keep_index().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        loops.spawn(async move { folders.keep_folders(ends).await });
        let keeper = Self { library, _loops: loops, stop };
        until("the records are seen", async || keeper.library.collections().await.is_ok()).await;
        keeper
    }

    async fn end(self) {
        self.stop.cancel();
        let Self { library, _loops: mut loops, .. } = self;
        loops.shutdown().await;
        until("nothing of it runs", async || Arc::strong_count(&library) == 1).await;
    }

    async fn watch(&self, path: &Path) -> Result<Folder> {
        self.library.watch_folder(folder(path)).await
    }

    async fn documents(&self) -> Vec<Document> {
        let page = Page {
            collection: house(),
            filter: Default::default(),
            state: String::new(),
            after: String::new(),
            limit: 0,
        };
        self.library.documents(page).await.map(|found| found.items).unwrap_or_default()
    }

    async fn names(&self, disk: &Disk) -> String {
        let below = sources_below(&disk.docs).unwrap();
        let names = self.documents().await.into_iter().map(|one| one.source.strip_prefix(&below).unwrap().to_owned());
        names.collect::<Vec<_>>().join(" ")
    }

    async fn finds(&self, words: &str) -> bool {
        let search = Search { question: words.into(), mode: Mode::Text, ..Search::default() };
        self.library.search(search).await.is_ok_and(|found| !found.hits.is_empty())
    }

    async fn state(&self) -> String {
        let folders = self.library.folders(None).await.unwrap();
        folders.into_iter().map(|folder| folder.state).collect::<Vec<_>>().join("\n")
    }

    /// Waits until the folder holds these documents, and says so.
    async fn has(&self, disk: &Disk, names: &str) {
        let count = format!(": {} document", names.split_whitespace().count());
        until(names, async || self.names(disk).await == names && self.state().await.contains(&count)).await;
    }
}

fn house() -> CollectionName {
    CollectionName::parse("house").unwrap()
}

fn folder(path: &Path) -> Folder {
    Folder {
        collection: house(),
        node: String::new(),
        path: path.to_str().unwrap().to_owned(),
        patterns: Vec::new(),
        category: "notes".into(),
        tags: vec!["watched".into()],
        state: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_in_a_watched_folder_is_found_at_once() {
    let disk = Disk::new();
    disk.write("a.md", "# Pumps\n\nThe heat pump is in the cellar.");
    disk.write("deep/b.txt", "The router stands in the hall.");
    let keeper = Keeper::start(&disk, &disk.docs, SELDOM).await;
    keeper.watch(&disk.docs).await.unwrap();
    keeper.has(&disk, "a.md deep/b.txt").await;
    let document = keeper.documents().await.remove(0);
    assert_eq!((document.source, document.meta.category.as_str()), (disk.source("a.md"), "notes"));
    assert_eq!((document.meta.title.as_str(), document.meta.tags), ("Pumps", vec!["watched".to_owned()]));

    disk.write("a.md", "# Pumps\n\nThe heat pump moved to the attic.");
    until("an edit is found", async || keeper.finds("attic").await && !keeper.finds("cellar").await).await;
    disk.write("new/c.md", "A goldfish swims in the pond.");
    until("a new folder is found", async || keeper.finds("goldfish").await).await;
    fs::rename(disk.docs.join("deep/b.txt"), disk.docs.join("hall.txt")).unwrap();
    keeper.has(&disk, "a.md hall.txt new/c.md").await;
    fs::remove_dir_all(disk.docs.join("new")).unwrap();
    keeper.has(&disk, "a.md hall.txt").await;
    until("what is gone is not found", async || !keeper.finds("goldfish").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_not_mounted_deletes_nothing() {
    let disk = Disk::new();
    disk.write("a.md", "The heat pump is in the cellar.");
    disk.write("b.md", "The router stands in the hall.");
    let keeper = Keeper::start(&disk, &disk.docs, OFTEN).await;
    keeper.watch(&disk.docs).await.unwrap();
    keeper.has(&disk, "a.md b.md").await;
    let away = disk.dir.path().join("away");
    fs::rename(&disk.docs, &away).unwrap();
    until("it is told that it is gone", async || keeper.state().await.contains("there is no folder")).await;
    fs::create_dir(&disk.docs).unwrap();
    until("it is told that nothing is there", async || keeper.state().await.contains("they are kept")).await;
    assert_eq!(keeper.names(&disk).await, "a.md b.md");
    fs::remove_dir(&disk.docs).unwrap();
    fs::remove_file(away.join("b.md")).unwrap();
    fs::rename(&away, &disk.docs).unwrap();
    keeper.has(&disk, "a.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_a_folder_is_watched_on_and_nothing_unchanged_is_written_anew() {
    let disk = Disk::new();
    disk.write("a.md", "The heat pump is in the cellar.");
    disk.write("scan.pdf", "%PDF-1.4\nthis is none");
    disk.write("picture.png", "\u{89}PNG\r\n\0\0");
    fs::write(disk.docs.join("film.mkv"), [0x1a, 0x45, 0xdf, 0xa3, 0, 0, 0, 0, 1]).unwrap();
    disk.write(".hidden", "nobody sees this");
    let keeper = Keeper::start(&disk, &disk.docs, SELDOM).await;
    keeper.watch(&disk.docs).await.unwrap();
    keeper.has(&disk, "a.md scan.pdf").await;
    let state = keeper.state().await;
    assert!(
        state.ends_with(": 2 documents, of 1 no text could be read; left out: 1 hidden, 2 without text"),
        "{state}"
    );
    let before = keeper.documents().await;
    assert!(matches!(&before[1].state, State::Failed { reason, .. } if reason.contains("PDF")), "{before:?}");
    keeper.end().await;

    disk.write("while-off.md", "A goldfish came while the node was off.");
    let keeper = Keeper::start(&disk, &disk.docs, SELDOM).await;
    keeper.has(&disk, "a.md scan.pdf while-off.md").await;
    assert_eq!(keeper.documents().await[..2], before[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_allowed_folders_are_watched_whoever_asks_and_however() {
    let disk = Disk::new();
    disk.write("open/a.md", "The heat pump is in the cellar.");
    disk.write("closed/secret.md", "The code of the safe is 1234.");
    let keeper = Keeper::start(&disk, &disk.docs.join("open"), OFTEN).await;
    let refused = keeper.watch(&disk.docs.join("closed")).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    assert!(refused.hint.unwrap().contains("`folders` below [research]"));
    std::os::unix::fs::symlink(disk.docs.join("closed"), disk.docs.join("open/way")).unwrap();
    assert_eq!(keeper.watch(&disk.docs.join("open/way")).await.unwrap_err().code, Code::PermissionDenied);
    assert_eq!(keeper.library.folders(None).await.unwrap(), []);
    let other = Folder { node: "../nas".into(), ..folder(&disk.docs) };
    assert_eq!(keeper.library.watch_folder(other).await.unwrap_err().code, Code::InvalidArgument);

    // A way that was good may lead elsewhere later.
    let open = disk.docs.join("open");
    keeper.watch(&open).await.unwrap();
    keeper.has(&disk, "open/a.md").await;
    fs::rename(&open, disk.docs.join("was-open")).unwrap();
    std::os::unix::fs::symlink(disk.docs.join("closed"), &open).unwrap();
    until("it is told", async || keeper.state().await.contains("another folder than before")).await;
    assert_eq!(keeper.names(&disk).await, "open/a.md");
    assert!(!keeper.finds("safe").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_watching_ends_documents_go_or_stay_and_a_folder_within_keeps_its_own() {
    let disk = Disk::new();
    disk.write("a.md", "The heat pump is in the cellar.");
    disk.write("own/b.md", "The router stands in the hall.");
    let keeper = Keeper::start(&disk, &disk.docs, SELDOM).await;
    let inner = keeper.watch(&disk.docs.join("own")).await.unwrap();
    let outer = keeper.watch(&disk.docs).await.unwrap();
    until("both are in step", async || keeper.state().await.matches(": 1 document").count() == 2).await;
    until("both have their documents", async || keeper.names(&disk).await == "a.md own/b.md").await;
    assert_eq!(keeper.library.unwatch_folder(outer.clone(), false).await.unwrap(), 1);
    until("the outer one's are gone", async || keeper.names(&disk).await == "own/b.md").await;
    assert_eq!(keeper.library.unwatch_folder(outer, false).await.unwrap_err().code, Code::NotFound);
    assert_eq!(keeper.library.unwatch_folder(inner, true).await.unwrap(), 0);
    disk.write("own/c.md", "Nobody looks any more.");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(keeper.names(&disk).await, "own/b.md");
    assert_eq!(keeper.library.folders(Some(house())).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_watched_folder_has_is_not_removed_beside_it_and_a_node_that_is_not_there_watches_none() {
    let disk = Disk::new();
    disk.write("a.md", "The heat pump is in the cellar.");
    let keeper = Keeper::start(&disk, &disk.docs, SELDOM).await;
    let ghost = Folder { node: "ghost".into(), ..folder(&disk.docs) };
    let refused = keeper.library.watch_folder(ghost).await.unwrap_err();
    assert_eq!((refused.code, refused.hint.as_deref()), (Code::NotFound, Some("name one of nas")));
    keeper.watch(&disk.docs).await.unwrap();
    keeper.has(&disk, "a.md").await;
    let which = Which { documents: vec![disk.source("a.md")], ..Which::default() };
    let refused = keeper.library.remove(house(), which.clone()).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.hint.unwrap().contains("tmctl research folders unwatch"));
    assert_eq!(keeper.names(&disk).await, "a.md");
    keeper.library.unwatch_folder(folder(&disk.docs), true).await.unwrap();
    assert_eq!(keeper.library.remove(house(), which).await.unwrap().removed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_is_deleted_does_not_come_back_from_its_folder() {
    let disk = Disk::new();
    disk.write("a.md", "The heat pump is in the cellar.");
    let keeper = Keeper::start(&disk, &disk.docs, OFTEN).await;
    keeper.watch(&disk.docs).await.unwrap();
    keeper.has(&disk, "a.md").await;
    assert_eq!(keeper.library.delete(house()).await.unwrap(), 1);
    disk.write("b.md", "The router stands in the hall.");
    tokio::time::sleep(OFTEN * 2).await;
    assert_eq!(keeper.library.collections().await.unwrap(), []);
}
