//! Disks without room: what waits for some says so, loses nothing that was acknowledged, and goes on by itself.
//!
//! A folder of a node lies on a small disk in memory, in a mount namespace of the node's own. Where the kernel gives none, a
//! test says so and passes as skipped.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use proto::research::SearchRequest;
use proto::research::research_client::ResearchClient;
use tests::process::{Child, binary};
use tonic::transport::Endpoint;

use crate::lab::{Lab, Node, SOON, Setup, until};

/// Longer than the longest pause between two tries.
const AFTER_A_PAUSE: Duration = Duration::from_secs(30);
/// Runs the rest of its arguments with a disk of so many MiB at a folder.
const MOUNT: &str = r#"mount -t tmpfs -o "size=$2m" none "$1" && shift 2 && exec "$@""#;

fn with_a_disk_at(folder: &Path, mib: u32) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh"]).arg(folder).arg(mib.to_string());
    command
}

fn can_mount() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let can = with_a_disk_at(dir.path(), 1).arg("true").output().is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("skipped: this machine lets nobody mount a disk in a namespace of their own");
    }
    can
}

/// A disk of a node.
struct Disk {
    /// As seen from outside of its namespace.
    folder: PathBuf,
}

impl Disk {
    /// Starts the node again, with a disk at a folder of its data.
    async fn of(node: &mut Node, folder: &str, mib: u32) -> Self {
        node.child.terminate().unwrap();
        node.child.wait(SOON).await.unwrap();
        let folder = node.data().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = with_a_disk_at(&folder, mib);
        command.arg(binary("tmd").unwrap()).arg("--config").arg(node.config());
        node.take_over(Child::spawn(&node.name, command).unwrap()).await.unwrap();
        let root = PathBuf::from(format!("/proc/{}/root", node.child.pid()));
        Self { folder: root.join(folder.strip_prefix("/").unwrap()) }
    }

    /// Takes all room but so many MiB.
    fn leave(&self, mib: u64) {
        let room = rustix::fs::statvfs(&self.folder).unwrap();
        let taken = (room.f_bavail * room.f_frsize).saturating_sub(mib << 20);
        std::fs::write(self.folder.join("filler"), vec![1; usize::try_from(taken).unwrap()]).unwrap();
    }

    /// Takes all room that there is.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.folder.join("filler")).unwrap();
        for piece in [1 << 20, 4 << 10] {
            while file.write_all(&vec![1; piece]).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

async fn add(node: &Node, name: &str, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("added.md");
    std::fs::write(&file, text).unwrap();
    node.done(&["research", "add", file.to_str().unwrap(), "--source", name]).await
}

async fn finds(node: &Node, question: &str, source: &str) -> bool {
    let channel = Endpoint::from_shared(format!("http://{}", node.grpc)).unwrap().timeout(SOON).connect_lazy();
    let request = SearchRequest { question: question.to_owned(), ..SearchRequest::default() };
    let found = ResearchClient::new(channel).search(request).await;
    found.is_ok_and(|found| found.into_inner().hits.iter().any(|hit| hit.source == source))
}

/// What `tmctl health` says; a node without an engine is never well.
async fn health(node: &Node) -> String {
    String::from_utf8(node.tmctl(&["health"]).await.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_without_room_waits_for_some_and_goes_on_by_itself() {
    if !can_mount() {
        return;
    }
    let mut lab = Lab::single();
    lab.node(Setup::new("alone")).await;
    let node = &mut lab.nodes[0];
    let disk = Disk::of(node, "research/index/words", 4).await;
    add(node, "moon.md", "The moon has no light of its own.\n").await;
    until("it is found", SOON, async || finds(node, "moon", "moon.md").await).await;
    disk.fill();
    let told = add(node, "rocket.md", "The rocket flies to the moon.\n").await;
    assert!(told.contains("1 added"), "{told}");
    until("the failure is open", SOON, async || {
        let told = node.done(&["failures"]).await;
        told.lines().any(|line| line.contains("index of documents") && line.contains("open"))
    })
    .await;
    let health_now = health(node).await;
    assert!(
        health_now.contains("no room for the index of documents") && health_now.contains("make room"),
        "{health_now}"
    );
    // More tries than an actor has restarts, were each of them one.
    until("it tried again and again", AFTER_A_PAUSE, async || node.child.stderr().contains("times=4")).await;
    assert!(finds(node, "moon", "moon.md").await, "what was indexed is found meanwhile");
    assert_eq!(node.metric("tm_actor_restarts_total{actor=\"indexer\"}").await, 0.0);
    disk.make_room();
    until("what was acknowledged is found", AFTER_A_PAUSE, async || finds(node, "rocket", "rocket.md").await).await;
    until("the failure is over", SOON, async || {
        node.failures().await.unwrap().iter().all(|failure| !failure.is_active)
    })
    .await;
    assert!(!health(node).await.contains("index"));
    assert_eq!(node.metric("tm_actor_restarts_total{actor=\"indexer\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_disk_is_full_to_the_last_byte_goes_on_when_there_is_room() {
    if !can_mount() {
        return;
    }
    let mut lab = Lab::single();
    lab.node(Setup::new("alone")).await;
    let node = &mut lab.nodes[0];
    let disk = Disk::of(node, "store", 96).await;
    for (name, text) in [("moon.md", "The moon is grey.\n"), ("mars.md", "Mars is red.\n")] {
        add(node, name, text).await;
    }
    until("both are found", SOON, async || {
        finds(node, "moon", "moon.md").await && finds(node, "mars", "mars.md").await
    })
    .await;
    disk.leave(16);
    let refused = node.create_key("late").await.unwrap_err();
    assert!(refused.to_string().contains("the store is full"), "{refused:#}");
    node.done(&["research", "remove", "moon.md", "--yes"]).await;
    disk.fill();
    // Deleting is not tried: it would be what breaks the store for as long as the node runs.
    for _ in 0..5 {
        let told = node.tmctl(&["research", "remove", "mars.md", "--yes"]).await;
        let said = String::from_utf8_lossy(&told.stderr).into_owned() + &String::from_utf8_lossy(&told.stdout);
        assert!(!told.status.success() && said.contains("the store is full"), "{said}");
    }
    until("the failure is open", SOON, async || {
        node.failures().await.unwrap().iter().any(|failure| failure.is_active && failure.subject == "store")
    })
    .await;
    disk.make_room();
    until("there is room", SOON, async || node.create_key("late").await.is_ok()).await;
    node.done(&["research", "remove", "mars.md", "--yes"]).await;
    until("the failure is over", SOON, async || {
        node.failures().await.unwrap().iter().all(|failure| !failure.is_active)
    })
    .await;
    assert!(!node.child.stderr().contains("takes no more writes"));
}
