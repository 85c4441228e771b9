//! A real etcd of one member for tests, in a directory and on ports of its own; it can go back to an older state.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::port::free_port;
use crate::process::Child;

const READY: Duration = Duration::from_secs(20);

/// A running etcd; gone, with its data, when dropped.
pub struct Etcd {
    /// Where clients find it.
    pub url: String,
    /// The process, to freeze and kill.
    pub child: Child,
    args: Vec<String>,
    dir: TempDir,
}

/// The data of an etcd as they were at some instant.
pub struct Backup(TempDir);

impl Etcd {
    /// Starts one that wants certificates of clients, as the files of `pki` say: `ca.pem`, `etcd.pem`, `etcd.key` and
    /// `crl.pem`, of which the last may be empty of numbers but not absent.
    pub async fn start_with_tls(pki: &Path) -> Result<Self> {
        let file = |name: &str| pki.join(name).display().to_string();
        let url = format!("https://localhost:{}", free_port()?);
        let peers = format!("http://127.0.0.1:{}", free_port()?);
        let dir = tempfile::tempdir().context("no directory for etcd")?;
        let args = [
            ["--data-dir", &dir.path().display().to_string()],
            ["--listen-client-urls", &url.replace("localhost", "127.0.0.1")],
            ["--advertise-client-urls", &url],
            ["--listen-peer-urls", &peers],
            ["--initial-advertise-peer-urls", &peers],
            ["--initial-cluster", &format!("default={peers}")],
            ["--cert-file", &file("etcd.pem")],
            ["--key-file", &file("etcd.key")],
            ["--trusted-ca-file", &file("ca.pem")],
            ["--client-crl-file", &file("crl.pem")],
        ];
        let mut args: Vec<String> = args.as_flattened().iter().map(|arg| (*arg).to_owned()).collect();
        args.push("--client-cert-auth".to_owned());
        let child = run(&args).await?;
        Ok(Self { url, child, args, dir })
    }

    /// Starts one and waits until it serves.
    pub async fn start() -> Result<Self> {
        Self::members(1).await?.pop().context("an etcd has a member")
    }

    /// Starts a cluster of so many members, and waits until each serves.
    pub async fn members(count: usize) -> Result<Vec<Self>> {
        let mut members = Vec::new();
        for at in 0..count {
            let port = || free_port().map(|port| format!("http://127.0.0.1:{port}"));
            members.push((format!("m{at}"), port()?, port()?));
        }
        let cluster: Vec<String> = members.iter().map(|(name, _, peers)| format!("{name}={peers}")).collect();
        let mut started = Vec::new();
        for (name, url, peers) in &members {
            let dir = tempfile::tempdir().context("no directory for etcd")?;
            let args = [
                ["--name", name],
                ["--data-dir", &dir.path().display().to_string()],
                ["--listen-client-urls", url],
                ["--advertise-client-urls", url],
                ["--listen-peer-urls", peers],
                ["--initial-advertise-peer-urls", peers],
                ["--initial-cluster", &cluster.join(",")],
            ];
            let args: Vec<String> = args.as_flattened().iter().map(|arg| (*arg).to_owned()).collect();
            let child = Child::start("etcd", "etcd", &args)?;
            started.push(Self { url: url.clone(), child, args, dir });
        }
        for member in &mut started {
            member.child.wait_line("ready to serve client requests", READY).await?;
        }
        Ok(started)
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it holds now, as its files say. Nobody can write meanwhile.
    pub fn backup(&self) -> Result<Backup> {
        let backup = tempfile::tempdir().context("no directory for a backup")?;
        self.child.freeze()?;
        let copied = copy(self.dir.path(), backup.path());
        self.child.thaw()?;
        copied.map(|()| Backup(backup))
    }

    /// Dies, and comes back at the same address with what it held then.
    pub async fn restore(&mut self, backup: &Backup) -> Result<()> {
        self.child.kill().await?;
        fs::remove_dir_all(self.dir.path()).context("could not remove the data of etcd")?;
        copy(backup.0.path(), self.dir.path())?;
        self.child = run(&self.args).await?;
        Ok(())
    }
}

async fn run(args: &[String]) -> Result<Child> {
    let mut child = Child::start("etcd", "etcd", args)?;
    child.wait_line("ready to serve client requests", READY).await?;
    Ok(child)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("could not make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("could not read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), &target).with_context(|| format!("could not copy {target:?}"))?),
        }
    }
    Ok(())
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
