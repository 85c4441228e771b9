//! What a node tells its service manager, read from a real socket: that it serves, that it lives, that it stops.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tests::process::{Child, binary};

use crate::lab::{Lab, SOON, Setup};

/// What the service manager of these tests calls too long.
const WATCHDOG: Duration = Duration::from_secs(3);

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    /// Where the socket is, for as long as it is used.
    _dir: TempDir,
}

impl Manager {
    fn listen(path: &Path, dir: TempDir) -> Self {
        Self { socket: UnixDatagram::bind(path).unwrap(), _dir: dir }
    }

    /// What is told within `within`; `None` when nothing is.
    fn told(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut message = [0; 4096];
        match self.socket.recv(&mut message) {
            Ok(length) => Some(String::from_utf8_lossy(&message[..length]).into_owned()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message that holds `line`.
    fn next(&self, line: &str) -> String {
        let until = Instant::now() + SOON;
        loop {
            let left = until.checked_duration_since(Instant::now());
            let told = left.filter(|left| !left.is_zero()).and_then(|left| self.told(left));
            match told {
                Some(told) if told.lines().any(|told| told == line) => return told,
                Some(_) => {}
                None => panic!("{line} was not told within {SOON:?}"),
            }
        }
    }
}

/// A node as a service, with a socket and a watchdog; the node of the lab lent it its configuration.
async fn service() -> (Lab, Manager, Child) {
    let mut lab = Lab::single();
    lab.node(Setup::new("a")).await;
    lab.nodes[0].child.kill().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let manager = Manager::listen(&socket, dir);
    let node = &lab.nodes[0];
    let mut command = Command::new(binary("tmd").unwrap());
    command.arg("--config").arg(node.config()).env("NOTIFY_SOCKET", &socket);
    command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    let child = Child::spawn("a service", command).unwrap();
    (lab, manager, child)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_is_told_that_a_node_serves_lives_and_stops() {
    let (_lab, manager, mut child) = service().await;
    let first = manager.told(SOON).unwrap();
    assert!(first.starts_with("READY=1\nSTATUS=http="), "{first}");
    assert!(child.stdout().contains("ready http="), "it serves by then");
    let begun = Instant::now();
    for _ in 0..4 {
        manager.next("WATCHDOG=1");
    }
    // The first comes at once, three more at a third of the limit each; on a busy machine later.
    assert!(begun.elapsed() >= WATCHDOG * 3 / 4, "{:?}", begun.elapsed());
    child.terminate().unwrap();
    manager.next("STOPPING=1");
    assert_eq!(child.wait(SOON).await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_supervision_hangs_no_longer_says_that_it_lives() {
    let (mut lab, manager, child) = service().await;
    manager.next("WATCHDOG=1");
    lab.nodes[0].take_over(child).await.unwrap();
    lab.nodes[0].inject("root", "hang").await.unwrap();
    // One that was on its way may still come; after it, none in twice the time in which the node would be ended.
    while manager.told(WATCHDOG / 2).is_some() {}
    assert_eq!(manager.told(WATCHDOG * 2), None);
    assert!(lab.nodes[0].client.get("/healthz").await.is_ok(), "only the supervision hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_is_told_when_a_configuration_is_being_read_and_when_that_is_done() {
    let (lab, manager, mut child) = service().await;
    manager.next("READY=1");
    // Also where the file is wrong: the node goes on as it was.
    for text in [None, Some("[node")] {
        text.map_or(Ok(()), |text| std::fs::write(lab.nodes[0].config(), text)).unwrap();
        child.signal(rustix::process::Signal::HUP).unwrap();
        let reloads = manager.next("RELOADING=1");
        assert!(reloads.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloads}");
        let done = manager.next("READY=1");
        assert!(done.contains("STATUS=http="), "{done}");
    }
    assert!(child.is_running().unwrap());
}
