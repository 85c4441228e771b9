//! A real etcd of one member for tests, in a directory and on ports of its own.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Child, free_port};

const READY: Duration = Duration::from_secs(20);

/// A running etcd; gone, with its data, when dropped.
pub struct Etcd {
    /// Where clients find it.
    pub url: String,
    /// The process, to freeze and kill.
    pub child: Child,
    _dir: tempfile::TempDir,
}

impl Etcd {
    /// Starts one and waits until it serves.
    pub async fn start() -> Result<Self> {
        let dir = tempfile::tempdir().context("no directory for etcd")?;
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let peers = format!("http://127.0.0.1:{}", free_port()?);
        let data = dir.path().display().to_string();
        let cluster = format!("default={peers}");
        let args = [
            ["--data-dir", &data],
            ["--listen-client-urls", &url],
            ["--advertise-client-urls", &url],
            ["--listen-peer-urls", &peers],
            ["--initial-advertise-peer-urls", &peers],
            ["--initial-cluster", &cluster],
        ];
        let mut child = Child::start("etcd", "etcd", args.as_flattened())?;
        child.wait_line("ready to serve client requests", READY).await?;
        Ok(Self { url, child, _dir: dir })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn etcd_starts_and_dies() {
        let mut etcd = Etcd::start().await.unwrap();
        assert!(etcd.child.is_running().unwrap());
        etcd.child.kill().await.unwrap();
        assert!(!etcd.child.is_running().unwrap());
    }
}
