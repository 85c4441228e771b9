//! A cluster of real etcd processes on ports from the kernel, ended with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::config::Etcd;
use rustix::process::{Pid, Signal, kill_process};
use store::{EtcdStore, Seal, SharedStore};
use tempfile::TempDir;

use crate::port::free_port;

const BINARY: &str = "/usr/bin/etcd";

pub struct Cluster {
    members: Vec<Member>,
    dir: TempDir,
}

struct Member {
    args: Vec<String>,
    data_dir: PathBuf,
    url: String,
    process: Option<Child>,
}

impl Cluster {
    /// A cluster that answers; `None`, with a printed reason, where etcd is not installed.
    pub async fn start(size: usize) -> Option<Self> {
        if !Path::new(BINARY).exists() {
            println!("skipped: {BINARY} is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let urls: Vec<String> = (0..2 * size).map(|_| format!("http://127.0.0.1:{}", free_port().unwrap())).collect();
        let url = |i: usize| urls[i].clone();
        let peers: Vec<String> = (0..size).map(|i| format!("m{i}={}", url(size + i))).collect();
        let member = |i: usize| {
            let data_dir = dir.path().join(format!("m{i}"));
            let args = [
                ("--name", format!("m{i}")),
                ("--data-dir", data_dir.display().to_string()),
                ("--listen-client-urls", url(i)),
                ("--advertise-client-urls", url(i)),
                ("--listen-peer-urls", url(size + i)),
                ("--initial-advertise-peer-urls", url(size + i)),
                ("--initial-cluster", peers.join(",")),
                ("--log-level", "error".to_owned()),
            ];
            let args = args.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
            let args = args.chain(["--unsafe-no-fsync".to_owned()]).collect();
            Member { args, data_dir, url: url(i), process: None }
        };
        let members = (0..size).map(member).collect();
        let mut cluster = Self { members, dir };
        (0..size).for_each(|i| cluster.start_member(i));
        cluster.wait_until_it_answers().await;
        Some(cluster)
    }

    pub fn config(&self, prefix: &str) -> Etcd {
        Etcd {
            endpoints: self.members.iter().map(|member| member.url.clone()).collect(),
            prefix: prefix.to_owned(),
            lease_ttl: Duration::from_secs(4),
            timeout: Duration::from_secs(2),
            user: None,
        }
    }

    pub fn store(&self, prefix: &str) -> SharedStore {
        self.sealed_store(prefix, &Seal::default())
    }

    pub fn sealed_store(&self, prefix: &str, seal: &Seal) -> SharedStore {
        Arc::new(open_sealed(&self.config(prefix), seal))
    }

    /// A client beside the store: for what a person would do with `etcdctl`.
    pub async fn client(&self) -> etcd_client::Client {
        etcd_client::Client::connect(self.config("").endpoints, None).await.unwrap()
    }

    /// The member that leads.
    pub async fn leader(&self) -> usize {
        for i in 0..self.members.len() {
            let mut client = etcd_client::Client::connect([&self.members[i].url], None).await.unwrap();
            let status = client.status().await.unwrap();
            if status.leader() == status.header().unwrap().member_id() {
                return i;
            }
        }
        panic!("no member leads");
    }

    pub fn kill(&mut self, i: usize) {
        self.members[i].end();
    }

    pub fn start_member(&mut self, i: usize) {
        let member = &mut self.members[i];
        let command =
            Command::new(BINARY).args(&member.args).stdout(Stdio::null()).stderr(Stdio::null()).env_clear().spawn();
        member.process = Some(command.unwrap());
    }

    /// As after a restore from an empty backup.
    pub fn forget_everything(&mut self, i: usize) {
        std::fs::remove_dir_all(&self.members[i].data_dir).unwrap();
    }

    pub fn freeze_all(&self) {
        self.members.iter().for_each(|member| member.signal(Signal::STOP));
    }

    pub fn thaw_all(&self) {
        self.members.iter().for_each(|member| member.signal(Signal::CONT));
    }

    pub async fn wait_until_it_answers(&self) {
        let store = self.store("/ready");
        let started = Instant::now();
        while store.list("").await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "etcd does not answer");
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

pub fn open(config: &Etcd) -> EtcdStore {
    open_sealed(config, &Seal::default())
}

pub fn open_sealed(config: &Etcd, seal: &Seal) -> EtcdStore {
    let dial: store::etcd::Dial =
        Arc::new(|url| Ok(tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy()));
    EtcdStore::open_sealed(config, &dial, seal).unwrap()
}

impl Member {
    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            kill_process(Pid::from_child(process), signal).unwrap();
        }
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end();
    }
}
