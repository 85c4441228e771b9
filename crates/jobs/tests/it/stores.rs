//! Real stores for tests: an etcd process, and a sled that another process, or another life of this one, had open. The
//! tests of `planner` take this file as theirs.

#[path = "../../../../tests/src/port.rs"]
mod port;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::config::Etcd;
use rustix::process::{Pid, Signal, kill_process};
use store::{EtcdStore, Opened, SharedStore, SledStore};
use tempfile::TempDir;

use port::free_port;

const BINARY: &str = "/usr/bin/etcd";

/// A sled that was closed in a process that lives on keeps its lock until its last thread has ended; so does one of a
/// process that was killed, for as long as a child that was forked meanwhile holds its files.
pub async fn open_sled(dir: &Path) -> Opened<SledStore> {
    let started = Instant::now();
    loop {
        match SledStore::open(dir) {
            Ok(opened) => return opened,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(5), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An etcd of one member on ports from the kernel, ended with the test.
pub struct EtcdProcess {
    process: Child,
    url: String,
    _dir: TempDir,
}

impl EtcdProcess {
    /// One that answers; `None`, with a printed reason, where etcd is not installed.
    pub async fn start() -> Option<Self> {
        if !Path::new(BINARY).exists() {
            println!("skipped: {BINARY} is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let [url, peer] = [(); 2].map(|()| format!("http://127.0.0.1:{}", free_port().unwrap()));
        let process = Command::new(BINARY)
            .args(["--name", "m", "--log-level", "error", "--unsafe-no-fsync", "--data-dir"])
            .arg(dir.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("m={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env_clear()
            .spawn()
            .unwrap();
        let etcd = Self { process, url, _dir: dir };
        let store = etcd.store("/ready", Duration::from_secs(1));
        let started = Instant::now();
        while store.list("").await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "etcd does not answer");
        }
        Some(etcd)
    }

    pub fn store(&self, prefix: &str, timeout: Duration) -> SharedStore {
        let config = Etcd {
            endpoints: vec![self.url.clone()],
            prefix: prefix.to_owned(),
            lease_ttl: Duration::from_secs(4),
            timeout,
            user: None,
        };
        let dial: store::etcd::Dial =
            Arc::new(|url| Ok(tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy()));
        Arc::new(EtcdStore::open(&config, &dial).unwrap())
    }

    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
