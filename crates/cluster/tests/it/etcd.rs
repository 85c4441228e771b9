//! One real etcd on ports from the kernel, ended with the test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use store::{EtcdStore, SharedStore};
use tempfile::TempDir;

use crate::link::Link;
use crate::port::free_port;

const BINARY: &str = "/usr/bin/etcd";

pub struct Etcd {
    dir: TempDir,
    client: String,
    peer: String,
    process: Option<Child>,
}

impl Etcd {
    /// `None`, with a printed reason, where etcd is not installed.
    pub fn start() -> Option<Self> {
        if !Path::new(BINARY).exists() {
            println!("skipped: {BINARY} is not installed");
            return None;
        }
        let [client, peer] = [(); 2].map(|()| format!("http://127.0.0.1:{}", free_port().unwrap()));
        let mut etcd = Self { dir: tempfile::tempdir().unwrap(), client, peer, process: None };
        etcd.start_again();
        Some(etcd)
    }

    pub fn start_again(&mut self) {
        let data = self.dir.path().display().to_string();
        let cluster = format!("one={}", self.peer);
        let args = [
            ("--name", "one"),
            ("--data-dir", &data),
            ("--listen-client-urls", &self.client),
            ("--advertise-client-urls", &self.client),
            ("--listen-peer-urls", &self.peer),
            ("--initial-advertise-peer-urls", &self.peer),
            ("--initial-cluster", &cluster),
            ("--heartbeat-interval", "20"),
            ("--election-timeout", "200"),
            ("--log-level", "error"),
        ];
        let mut command = Command::new(BINARY);
        command.args(args.iter().flat_map(|(name, value)| [name, value])).arg("--unsafe-no-fsync");
        command.stdout(Stdio::null()).stderr(Stdio::null()).env_clear();
        self.process = Some(command.spawn().unwrap());
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// As after a restore from an empty backup.
    pub fn forget_everything(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.dir.path()).unwrap();
        self.start_again();
    }

    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// A store of one node; it belongs to the runtime that it is used in.
    pub fn store(&self) -> SharedStore {
        self.store_at(&self.client)
    }

    /// A store whose calls go through `link`.
    pub fn store_through(&self, link: &Link) -> SharedStore {
        self.store_at(&link.url())
    }

    /// A link that only leads here.
    pub fn link(&self) -> Link {
        Link::to(self.client.trim_start_matches("http://").parse().unwrap())
    }

    fn store_at(&self, url: &str) -> SharedStore {
        let config = base::config::Etcd {
            endpoints: vec![url.to_owned()],
            prefix: "/test".to_owned(),
            lease_ttl: crate::bed::TTL,
            timeout: Duration::from_millis(500),
            user: None,
        };
        let dial: store::etcd::Dial =
            Arc::new(|url| Ok(tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy()));
        Arc::new(EtcdStore::open(&config, &dial).unwrap())
    }

    /// A client beside the store: for what a person would do with `etcdctl`.
    pub async fn client(&self) -> etcd_client::Client {
        etcd_client::Client::connect([&self.client], None).await.unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.process.as_ref().unwrap()), signal).unwrap();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
