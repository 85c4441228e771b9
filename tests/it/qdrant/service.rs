//! Qdrant's protocol over its real engine, as a process: `tests/qdrant/service.py`, and what it has, read as a client.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use proto::qdrant as q;
use proto::qdrant::collections_client::CollectionsClient;
use proto::qdrant::points_client::PointsClient;
use tests::port::free_port;
use tests::process::Child;
use tonic::transport::{Channel, Endpoint};

use crate::clients::python_with;

/// Python reads a lot of files before it serves, on a busy machine.
const STARTED: Duration = Duration::from_secs(60);
/// Of one call.
const CALL: Duration = Duration::from_secs(10);

/// The service; its folder ends with it.
pub struct Service {
    /// Its address, as the configuration names it.
    pub url: String,
    address: String,
    python: PathBuf,
    data: tempfile::TempDir,
    child: Option<Child>,
    key: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("qdrant")
}

impl Service {
    /// Starts one; `None`, and said so, where it cannot be installed.
    pub async fn start(key: Option<&str>) -> Option<Self> {
        let python = python_with("qdrant", &folder().join("requirements.txt")).await?;
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let data = tempfile::tempdir().unwrap();
        let url = format!("http://{address}");
        let mut service = Self { url, address, python, data, child: None, key: key.map(str::to_owned) };
        service.again().await;
        Some(service)
    }

    /// Starts it again, with what is in its folder.
    pub async fn again(&mut self) {
        let mut command = Command::new(&self.python);
        command.arg(folder().join("service.py")).arg(self.data.path().join("shards")).arg(&self.address);
        command.args(&self.key).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = Child::spawn("qdrant", command).unwrap();
        child.wait_line("ready ", STARTED).await.unwrap();
        self.child = Some(child);
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// Takes its data away; it is killed.
    pub fn lose_all(&self) {
        std::fs::remove_dir_all(self.data.path().join("shards")).unwrap();
    }

    /// Calls that it refused, as it told of them.
    pub fn refusals(&self) -> String {
        self.child.as_ref().map(Child::stderr).unwrap_or_default()
    }

    /// The names of its collections.
    pub async fn collections(&self) -> Vec<String> {
        collections(&self.url).await
    }

    /// The points of all its collections.
    pub async fn points(&self) -> u64 {
        points(&self.url).await
    }
}

fn channel(url: &str) -> Channel {
    Endpoint::from_shared(url.to_owned()).unwrap().timeout(CALL).connect_lazy()
}

/// The names of the collections of a Qdrant.
pub async fn collections(url: &str) -> Vec<String> {
    let listed = CollectionsClient::new(channel(url)).list(q::ListCollectionsRequest {}).await;
    listed.unwrap().into_inner().collections.into_iter().map(|one| one.name).collect()
}

/// The points of all collections of a Qdrant.
pub async fn points(url: &str) -> u64 {
    let mut points = 0;
    for collection_name in collections(url).await {
        let count = q::CountPoints { collection_name, exact: Some(true) };
        let counted = PointsClient::new(channel(url)).count(count).await.unwrap().into_inner();
        points += counted.result.unwrap().count;
    }
    points
}
