//! What a thief of a disk or a backup finds, and what an owner gets back of one: nodes whose values are sealed, with a real
//! etcd; backups that are of one moment, refused when they are damaged, and restored equal; and backups made by schedule.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use backup::frames::{Part, Reader};
use backup::lock::Unlock;
use serde_json::Value;
use store::{SharedStore, Txn};
use tests::process::{Child, binary};

use crate::lab::{Lab, Node, SOON, Setup, until};

/// Words that stand nowhere by chance, in different forms as they go through planner and index.
const CANARIES: [&str; 3] = ["heronstand", "shallowater", "reedwarbler"];
const PRD: &str = "# Garden\n\n## Features\n\n- The heronstand is cleaned each morning.\n- The shallowater level is measured \
                   each hour.\n\n## Requirements\n\n- A reedwarbler that is heard is written down with its hour.\n";
const NOTE: &str = "# The heronstand\n\nThe shallowater is where the reedwarbler sings.\n";
const PASSPHRASE: &str = "a passphrase for backups in tests";

/// A folder beside the lab's, with files that only their owner reads.
struct Secrets(tempfile::TempDir);

impl Secrets {
    fn new() -> Self {
        let secrets = Self(tempfile::tempdir().unwrap());
        secrets.put("store.key", &net::random::key().unwrap());
        secrets.put("passphrase", PASSPHRASE);
        secrets
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A node whose values are sealed.
    fn sealed(&self, name: &str) -> Setup {
        let key = self.text("store.key");
        Setup::new(name).store(&format!("encryption = true\nkey_file = \"{key}\"\nlease_ttl = \"2s\"\n"))
    }

    /// Takes a backup into a file.
    async fn back_up(&self, node: &Node, file: &str) -> Value {
        let (to, passphrase) = (self.text(file), self.text("passphrase"));
        json(&node.done(&["--json", "backup", "--to", &to, "--passphrase-file", &passphrase]).await)
    }

    async fn tmctl(&self, node: &Node, verb: &str, file: &str, more: &[&str]) -> Output {
        let (file, passphrase) = (self.text(file), self.text("passphrase"));
        node.tmctl(&[&["--json", verb, &file, "--passphrase-file", &passphrase], more].concat()).await
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn stdout(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    json(&String::from_utf8_lossy(&output.stdout))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Files below `dir` that hold any of the canaries, in whatever case.
fn readable(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(readable(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            let bytes = bytes.to_ascii_lowercase();
            let has = |canary: &&str| memchr::memmem::find(&bytes, canary.as_bytes()).is_some();
            found.extend(CANARIES.iter().any(has).then_some(path));
        }
    }
    found
}

/// Plans a project, adds a document, asks for both, and waits until all of it is indexed.
async fn fill(node: &Node) {
    let dir = tempfile::tempdir().unwrap();
    let (prd, note) = (dir.path().join("prd.md"), dir.path().join("note.md"));
    fs::write(&prd, PRD).unwrap();
    fs::write(&note, NOTE).unwrap();
    node.done(&["plan", "parse", prd.to_str().unwrap(), "--project", "garden"]).await;
    node.done(&["research", "add", note.to_str().unwrap(), "--source", "note.md"]).await;
    until("the document is found", SOON, async || finds(node).await).await;
    let tasks = node.done(&["--json", "tasks", "--project", "garden"]).await.to_ascii_lowercase();
    assert!(CANARIES.iter().any(|canary| tasks.contains(canary)), "{tasks}");
}

async fn finds(node: &Node) -> bool {
    let found = node.tmctl(&["--json", "research", "search", "where does the reedwarbler sing"]).await;
    String::from_utf8_lossy(&found.stdout).contains("note.md")
}

/// Runs the daemon, which must refuse to start; what it said.
async fn refusal(config: &Path) -> (i32, String) {
    let mut child =
        Child::start("refused", binary("tmd").unwrap(), &["--config".as_ref(), config.as_os_str()]).unwrap();
    let status = child.wait(SOON).await.unwrap();
    (status.code().unwrap(), child.stderr())
}

fn rewrite(config: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(config).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(config, text.replace(from, to)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_said_is_readable_on_a_disk_or_in_a_backup_and_without_the_key_nothing_starts() {
    let secrets = Secrets::new();
    let mut lab = Lab::cluster().await;
    for name in ["a", "b"] {
        lab.node(secrets.sealed(name)).await;
    }
    lab.nodes_are(0, "alive", &["a", "b"], SOON).await;
    fill(&lab.nodes[0]).await;
    until("b finds it, too", SOON, async || finds(&lab.nodes[1]).await).await;
    let written = secrets.back_up(&lab.nodes[0], "sealed.age").await;
    assert!(written["files"].as_u64().unwrap() >= 2, "{written}");
    for node in &mut lab.nodes {
        node.child.terminate().unwrap();
        node.child.wait(SOON).await.unwrap();
    }
    let etcd = lab.etcd.as_ref().unwrap().dir().to_owned();
    for dir in [&etcd, &lab.nodes[0].data(), &lab.nodes[1].data(), &secrets.0.path().to_owned()] {
        assert_eq!(readable(dir), [] as [PathBuf; 0]);
    }

    let config = lab.nodes[0].config().to_owned();
    let own = fs::read_to_string(secrets.path("store.key")).unwrap();
    secrets.put("store.key", &net::random::key().unwrap());
    let (code, said) = refusal(&config).await;
    assert!(code == 1 && said.contains("does not open") && said.contains("hint: give the key"), "{said}");
    fs::remove_file(secrets.path("store.key")).unwrap();
    let (code, said) = refusal(&config).await;
    assert!(code == 2 && said.contains("store.key_file") && said.contains("tmctl store key"), "{said}");
    secrets.put("store.key", &own);
    fs::set_permissions(secrets.path("store.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = refusal(&config).await;
    assert!(code == 2 && said.contains("anybody on this machine may read"), "{said}");
    secrets.put("store.key", &own);
    rewrite(&config, "encryption = true\n", "encryption = false\n");
    rewrite(&config, "key_file", "# key_file");
    let (code, said) = refusal(&config).await;
    assert!(code == 1 && said.contains("sealed, and store.encryption is off"), "{said}");
    // With a data folder of its own it meets the sealed etcd, and is refused by that.
    rewrite(&config, "/a\"", "/fresh\"");
    let (code, said) = refusal(&config).await;
    assert!(code == 1 && said.contains("the values in etcd are sealed"), "{said}");

    lab.nodes[1].again().await;
    until("all is there with the key", SOON, async || finds(&lab.nodes[1]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_data_is_found_by_the_same_search_and_is_not_sealed_silently() {
    let secrets = Secrets::new();
    let mut lab = Lab::single();
    lab.node(Setup::new("plain")).await;
    fill(&lab.nodes[0]).await;
    secrets.back_up(&lab.nodes[0], "plain.age").await;
    lab.nodes[0].child.terminate().unwrap();
    lab.nodes[0].child.wait(SOON).await.unwrap();
    let found = readable(&lab.nodes[0].data());
    let below = |folder: &str| found.iter().any(|path| path.to_string_lossy().contains(folder));
    assert!(below("/store/") && below("/research/files/") && below("/research/index/"), "{found:?}");
    let key = secrets.text("store.key");
    let config = lab.nodes[0].config().to_owned();
    rewrite(&config, "kind = \"sled\"\n", &format!("kind = \"sled\"\nencryption = true\nkey_file = \"{key}\"\n"));
    let (code, said) = refusal(&config).await;
    assert!(code == 1 && said.contains("are plain, and store.encryption is on"), "{said}");
    assert!(said.contains("tmctl backup") && said.contains("tmctl restore"), "{said}");
    assert_eq!(readable(&lab.nodes[0].data()), found, "something was touched");

    // The way that it says: a backup of the plain one, into an empty sealed one.
    lab.node(secrets.sealed("sealed")).await;
    let restored = stdout(&secrets.tmctl(&lab.nodes[1], "restore", "plain.age", &[]).await);
    assert_eq!(restored["is_equal"], true, "{restored}");
    until("the document is found again", SOON, async || finds(&lab.nodes[1]).await).await;
    lab.nodes[1].child.terminate().unwrap();
    lab.nodes[1].child.wait(SOON).await.unwrap();
    assert_eq!(readable(&lab.nodes[1].data()), [] as [PathBuf; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_cluster_comes_back_equal_in_an_empty_one_and_in_no_other() {
    let secrets = Secrets::new();
    let mut lab = Lab::cluster().await;
    lab.node(secrets.sealed("a")).await;
    fill(&lab.nodes[0]).await;
    let written = secrets.back_up(&lab.nodes[0], "one.age").await;
    let verified = stdout(&secrets.tmctl(&lab.nodes[0], "verify", "one.age", &[]).await);
    for field in ["entries", "files", "keyspace", "revision"] {
        assert_eq!(verified[field], written[field], "{field}");
    }
    let full = secrets.tmctl(&lab.nodes[0], "restore", "one.age", &[]).await;
    assert!(!full.status.success() && stderr(&full).contains("the cluster is not empty"), "{}", stderr(&full));

    let mut empty = Lab::cluster().await;
    empty.node(Setup::new("new")).await;
    let new = &empty.nodes[0];
    let would = stdout(&secrets.tmctl(new, "restore", "one.age", &["--dry-run"]).await);
    assert_eq!((&would["dry_run"], &would["entries"]), (&Value::from(true), &written["entries"]));
    assert!(!new.done(&["--json", "projects"]).await.contains("garden"), "a dry run wrote something");
    let restored = stdout(&secrets.tmctl(new, "restore", "one.age", &[]).await);
    assert_eq!((&restored["is_equal"], &restored["keyspace"]), (&Value::from(true), &written["keyspace"]));
    assert_eq!((&restored["entries"], &restored["files"]), (&written["entries"], &written["files"]));
    let tasks = async |node: &Node| node.done(&["--json", "tasks", "--project", "garden"]).await;
    let items = |text: &str| json(text)["items"].clone();
    assert_eq!(items(&tasks(new).await), items(&tasks(&lab.nodes[0]).await));
    until("the document is found in the new one", SOON, async || finds(new).await).await;
    let again = secrets.tmctl(new, "restore", "one.age", &[]).await;
    assert!(!again.status.success() && stderr(&again).contains("the cluster is not empty"), "{}", stderr(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_was_damaged_anywhere_or_torn_is_refused_and_named() {
    let secrets = Secrets::new();
    let mut lab = Lab::single();
    lab.node(Setup::new("a")).await;
    fill(&lab.nodes[0]).await;
    secrets.back_up(&lab.nodes[0], "whole.age").await;
    let whole = fs::read(secrets.path("whole.age")).unwrap();
    let length = whole.len();
    let places = (0..12).map(|part| part * (length - 1) / 11);
    for at in places.chain([100]) {
        let mut junk = whole.clone();
        junk[at] ^= 1;
        fs::write(secrets.path("junk.age"), &junk).unwrap();
        let refused = secrets.tmctl(&lab.nodes[0], "verify", "junk.age", &[]).await;
        let said = stderr(&refused);
        let names =
            ["could not open the backup", "cannot be read after", "damaged"].iter().any(|how| said.contains(how));
        assert!(refused.status.code() == Some(1) && names, "byte {at} of {length}: {said}");
    }
    for length in [length - 1, length / 2, 70_000.min(length - 2), 10] {
        fs::write(secrets.path("torn.age"), &whole[..length]).unwrap();
        let refused = secrets.tmctl(&lab.nodes[0], "restore", "torn.age", &["--dry-run"]).await;
        assert_eq!(refused.status.code(), Some(1), "{length} bytes: {}", stderr(&refused));
    }
    secrets.put("other", "another passphrase than that");
    let (file, other) = (secrets.text("whole.age"), secrets.text("other"));
    let refused = lab.nodes[0].tmctl(&["verify", &file, "--passphrase-file", &other]).await;
    assert!(!refused.status.success() && stderr(&refused).contains("could not open the backup"));
    let there = lab.nodes[0].tmctl(&["backup", "--to", &file, "--passphrase-file", &other]).await;
    assert!(!there.status.success() && stderr(&there).contains("is there already"));
    assert_eq!(fs::read(secrets.path("whole.age")).unwrap(), whole);
}

/// All parts of a backup.
fn parts_of(secrets: &Secrets, file: &str) -> Vec<Part> {
    let unlock = Unlock::passphrase_file(&secrets.path("passphrase")).unwrap();
    let mut reader = Reader::new(unlock.open_file(&secrets.path(file)).unwrap()).unwrap();
    std::iter::from_fn(|| reader.next_part().unwrap()).collect()
}

/// By which a restore that broke off is known.
fn mark(parts: &[Part]) -> Vec<u8> {
    let about = parts.iter().find_map(|part| if let Part::About(about) = part { Some(about) } else { None });
    serde_json::to_vec(about.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_broke_off_goes_on_and_is_mixed_with_no_other_backup() {
    let secrets = Secrets::new();
    let mut lab = Lab::single();
    lab.node(Setup::new("a")).await;
    fill(&lab.nodes[0]).await;
    secrets.back_up(&lab.nodes[0], "one.age").await;
    secrets.back_up(&lab.nodes[0], "two.age").await;
    let parts = parts_of(&secrets, "one.age");
    let entries = parts.iter().filter_map(|part| match part {
        Part::Entry { key, value } => Some((key.clone(), value.clone())),
        _ => None,
    });
    let entries: Vec<_> = entries.collect();

    // What a restore leaves that ends with its server: the mark, and the first half of the keys.
    let mut broken = Lab::cluster().await;
    broken.node(Setup::new("new")).await;
    let half = entries.iter().take(entries.len() / 2);
    let txn = half.fold(Txn::new(), |txn, (key, value)| txn.put(key, value.clone()));
    broken.store().commit(txn.put("backups/restoring", mark(&parts))).await.unwrap();
    let new = &broken.nodes[0];
    let other = secrets.tmctl(new, "restore", "two.age", &[]).await;
    assert!(
        !other.status.success() && stderr(&other).contains("another backup was being restored"),
        "{}",
        stderr(&other)
    );
    let restored = stdout(&secrets.tmctl(new, "restore", "one.age", &[]).await);
    assert_eq!((&restored["is_equal"], restored["entries"].as_u64()), (&Value::from(true), Some(entries.len() as u64)));
    assert_eq!(broken.store().get("backups/restoring").await.unwrap(), None);

    // A key that is there and says something else is named, and kept.
    let mut full = Lab::cluster().await;
    full.node(Setup::new("new")).await;
    let (first, _) = &entries[0];
    full.store().commit(Txn::new().put(first, "of somebody").put("backups/restoring", mark(&parts))).await.unwrap();
    let refused = secrets.tmctl(&full.nodes[0], "restore", "one.age", &[]).await;
    let said = stderr(&refused);
    assert!(!refused.status.success() && said.contains("is there already") && said.contains(first), "{said}");
    assert_eq!(full.store().get(first).await.unwrap().unwrap().value, "of somebody");
}

/// What a backup says of two keys that are always written together.
fn pair_in(secrets: &Secrets, file: &str) -> (u64, u64) {
    let (mut left, mut right) = (0, 0);
    for part in parts_of(secrets, file) {
        if let Part::Entry { key, value } = part {
            let number = || String::from_utf8_lossy(&value).parse().unwrap();
            match &*key {
                "aa/left" => left = number(),
                "zz/right" => right = number(),
                _ => {}
            }
        }
    }
    (left, right)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_taken_under_writes_is_of_one_moment() {
    let secrets = Secrets::new();
    let mut lab = Lab::cluster().await;
    lab.node(Setup::new("a")).await;
    let store = lab.store();
    // Between the two lie many pages of a listing.
    for group in 0..12 {
        let filler = (0..100).fold(Txn::new(), |txn, at| txn.put(format!("mm/{group:02}{at:02}"), vec![b'x'; 500]));
        store.commit(filler).await.unwrap();
    }
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writing = tokio::spawn(write_pairs(store, stop.clone(), written.clone()));
    until("writes are under way", SOON, async || written.load(Ordering::SeqCst) > 10).await;
    for round in 0..4 {
        let before = written.load(Ordering::SeqCst);
        let file = format!("{round}.age");
        let told = secrets.back_up(&lab.nodes[0], &file).await;
        let after = written.load(Ordering::SeqCst);
        let (left, right) = pair_in(&secrets, &file);
        assert_eq!(left, right, "round {round}");
        assert!((before..=after + 1).contains(&left), "{left} is not between {before} and {after}");
        assert!(told["entries"].as_u64().unwrap() >= 1202, "{told}");
        assert!(after > before, "nothing was written meanwhile, which proves nothing");
    }
    stop.store(true, Ordering::SeqCst);
    writing.await.unwrap();
}

async fn write_pairs(store: SharedStore, stop: Arc<AtomicBool>, written: Arc<AtomicU64>) {
    while !stop.load(Ordering::SeqCst) {
        let next = (written.load(Ordering::SeqCst) + 1).to_string();
        store.commit(Txn::new().put("aa/left", next.clone()).put("zz/right", next)).await.unwrap();
        written.fetch_add(1, Ordering::SeqCst);
    }
}

fn backups_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_alone_makes_backups_by_schedule_once_and_keeps_as_many_as_it_is_told() {
    let secrets = Secrets::new();
    let identity = age::x25519::Identity::generate();
    secrets.put("identity", identity.to_string().expose_secret());
    let folder = secrets.path("backups");
    fs::create_dir(&folder).unwrap();
    let old = (1..=3).map(|day| backup::folder::name(day * 86_400_000)).collect::<Vec<_>>();
    let torn = format!("{}.unfinished", old[0]);
    for name in old.iter().chain([&torn, &"notes.txt".to_owned()]) {
        fs::write(folder.join(name), "x").unwrap();
    }
    let told = format!(
        "[backup]\nto = \"{}\"\nevery = \"1h\"\nkeep = 2\nrecipient = \"{}\"\n",
        folder.display(),
        identity.to_public()
    );
    let mut lab = Lab::cluster().await;
    for name in ["a", "b"] {
        lab.node(secrets.sealed(name).more(&told)).await;
    }
    let kept = async || {
        let names = backups_in(&folder);
        names.len() == 3 && names[0] == "notes.txt" && names[1] == old[2]
    };
    until("one was made, and those that are too many are gone", SOON, kept).await;
    let made = backups_in(&folder)[2].clone();
    let (file, key) = (folder.join(&made).display().to_string(), secrets.text("identity"));
    lab.nodes[0].done(&["verify", &file, "--identity", &key]).await;
    let age_known = async |node: &Node| node.metric("tm_backup_every_seconds").await == 3600.0;
    for at in 0..2 {
        until("its age is told", SOON, async || age_known(&lab.nodes[at]).await).await;
        assert!(lab.nodes[at].metric("tm_backup_age_seconds").await < 600.0);
    }
    // Neither a restart of all nor another leader makes one more: the store knows the last one.
    for node in &mut lab.nodes {
        node.child.kill().await.unwrap();
    }
    for at in 0..2 {
        lab.nodes[at].again().await;
    }
    lab.leader(0, SOON).await;
    for at in 0..2 {
        until("its age is told again", SOON, async || age_known(&lab.nodes[at]).await).await;
    }
    assert_eq!(backups_in(&folder), ["notes.txt", &old[2], &made]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_by_schedule_that_fails_is_a_failure_that_is_shown() {
    let secrets = Secrets::new();
    let in_the_way = secrets.put("file", "no folder");
    let recipient = age::x25519::Identity::generate().to_public();
    let told = format!("[backup]\nto = \"{}/backups\"\nrecipient = \"{recipient}\"\n", in_the_way.display());
    let mut lab = Lab::single();
    lab.node(Setup::new("a").more(&told)).await;
    let node = &lab.nodes[0];
    until("the failure is shown", SOON, async || {
        let failures = node.failures().await.unwrap_or_default();
        failures.iter().any(|failure| failure.subject == "backup" && failure.severity == "high")
    })
    .await;
    let shown = node.done(&["failures"]).await;
    assert!(shown.contains("could not write a backup"), "{shown}");
    until("its age is told", Duration::from_secs(5), async || node.metric("tm_backup_every_seconds").await == 86_400.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_keeps_no_documents_backs_up_and_restores_by_those_that_do() {
    let secrets = Secrets::new();
    let (mut lab, scheduled) = (Lab::cluster().await, secrets.path("scheduled"));
    let key = age::x25519::Identity::generate().to_public();
    let made = || fs::read_dir(&scheduled).map_or(0, |files| files.filter(is_whole).count());
    lab.node(Setup::new("a")).await;
    let note = secrets.put("note.md", NOTE);
    lab.nodes[0].done(&["research", "add", note.to_str().unwrap(), "--source", "note.md"]).await;
    let every = format!("[backup]\nto = {scheduled:?}\nrecipient = \"{key}\"\nnode = \"b\"\n");
    lab.node(Setup::new("b").without_documents().more(&every)).await;
    lab.nodes_are(1, "alive", &["a", "b"], SOON).await;
    until("a answers for b", SOON, async || finds(&lab.nodes[1]).await).await;
    let written = secrets.back_up(&lab.nodes[1], "whole.age").await;
    assert!(written["files"].as_u64().unwrap() >= 1 && written["missing"].as_array().unwrap().is_empty(), "{written}");
    until("the scheduled one is there", SOON, async || made() == 1).await;
    let health = lab.nodes[1].tmctl(&["health"]).await;
    assert!(!String::from_utf8_lossy(&health.stdout).contains("backup"), "{health:?}");

    lab.nodes[0].child.kill().await.unwrap();
    lab.nodes_are(1, "lost", &["a"], SOON).await;
    let (to, passphrase) = (secrets.text("lacking.age"), secrets.text("passphrase"));
    let refused = lab.nodes[1].tmctl(&["backup", "--to", &to, "--passphrase-file", &passphrase]).await;
    assert!(!refused.status.success() && stderr(&refused).contains("keeps no documents"), "{}", stderr(&refused));
    assert!(!secrets.path("lacking.age").exists());

    let mut other = Lab::cluster().await;
    other.node(Setup::new("c")).await;
    other.node(Setup::new("d").without_documents()).await;
    other.nodes_are(1, "alive", &["c", "d"], SOON).await;
    let restored = secrets.tmctl(&other.nodes[1], "restore", "whole.age", &[]).await;
    assert!(restored.status.success(), "{}", stderr(&restored));
    until("the document is found", SOON, async || finds(&other.nodes[0]).await).await;
}

/// Whether a backup has its name.
fn is_whole(file: &std::io::Result<fs::DirEntry>) -> bool {
    file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|end| end == "age"))
}
