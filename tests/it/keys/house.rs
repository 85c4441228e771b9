//! A cluster with keys on, and the owner's key to it.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::client::Client;
use tests::process::binary;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab::{Lab, SOON, Setup, until};

/// What a node sees is in its routing table this much later, at most.
const ROUTED: Duration = Duration::from_millis(150);

/// Nodes over etcd, an engine each.
pub struct House {
    pub lab: Lab,
    /// A key that may do everything.
    pub owner: String,
}

/// The asks of an hour, as `tmctl keys list` has them.
pub fn asks(key: &Value) -> u64 {
    key["asks_of_hour"].as_u64().unwrap_or(0)
}

impl House {
    /// Nodes of these names, whose engines and workers get these arguments.
    pub async fn of(names: &[&str], engine: &[&str], worker: &str) -> Self {
        Self::speaking("llamacpp", names, engine, worker).await
    }

    /// The same with engines of that kind.
    pub async fn speaking(speak: &str, names: &[&str], engine: &[&str], worker: &str) -> Self {
        let mut lab = Lab::cluster().await;
        for name in names {
            let url = lab.engine(speak, engine).await;
            let setup = Setup::new(name).worker_with("engine", speak, &url, worker);
            lab.node(setup.more("[auth]\nkeys = \"store\"\n")).await;
        }
        let config = lab.nodes[0].config().to_owned();
        let mut command = Command::new(binary("tmd").unwrap());
        command.args(["first-key", "owner", "--config"]).arg(config);
        let made = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let owner = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let house = Self { lab, owner };
        for at in 0..names.len() {
            house.knows(at, &house.owner).await;
            until("every worker is ready", SOON, async || {
                let workers = house.workers(at).await;
                workers.iter().filter(|worker| worker["state"] == "ready").count() == names.len()
            })
            .await;
        }
        tokio::time::sleep(ROUTED).await;
        house
    }

    /// Asks node `at` with a key.
    pub fn http(&self, at: usize, key: &str) -> Client {
        self.lab.http(at).with_header("authorization", &format!("Bearer {key}"))
    }

    /// What node `at` answers to a look at `path`; 0 while it does not.
    pub async fn status(&self, at: usize, key: &str, path: &str) -> u16 {
        self.http(at, key).get(path).await.map_or(0, |reply| reply.status)
    }

    /// Makes a key as an owner does; every node knows it when this returns.
    pub async fn key(&self, name: &str, arguments: &[&str]) -> String {
        let key = self.owner_does(0, &[&["keys", "create", name], arguments].concat()).await.trim().to_owned();
        for at in 0..self.lab.nodes.len() {
            self.knows(at, &key).await;
        }
        key
    }

    async fn knows(&self, at: usize, key: &str) {
        // Whatever it opens, one that is known gets another answer than 401.
        until("the node knows the key", SOON, async || ![0, 401].contains(&self.status(at, key, "/v1/models").await))
            .await;
    }

    /// Runs `tmctl` with the owner's key; what it printed.
    pub async fn owner_does(&self, at: usize, arguments: &[&str]) -> String {
        self.lab.nodes[at].done(&[&["--key", &self.owner], arguments].concat()).await
    }

    /// A key as `tmctl keys list` shows it at node `at`.
    pub async fn listed(&self, at: usize, name: &str) -> Value {
        let output = self.lab.nodes[at].tmctl(&["--key", &self.owner, "--json", "keys"]).await;
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let found = list["items"].as_array().into_iter().flatten().find(|key| key["name"] == name).cloned();
        found.unwrap_or_default()
    }

    async fn workers(&self, at: usize) -> Vec<Value> {
        let reply = self.http(at, &self.owner).get("/api/cluster/workers").await;
        let list = reply.and_then(|reply| reply.json()).unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Asks that wait at the worker of node `at`.
    pub async fn queued(&self, at: usize) -> u64 {
        self.workers(at).await.iter().filter_map(|worker| worker["queued"].as_u64()).sum()
    }

    /// The head of the answer to a request that names a host of elsewhere.
    pub async fn rebound(&self, at: usize, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.lab.nodes[at].http).await.unwrap();
        let key = &self.owner;
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: evil.example:3001\r\nauthorization: Bearer {key}\r\ncontent-length: 2\r\n\
             connection: close\r\n\r\n{{}}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    }
}
