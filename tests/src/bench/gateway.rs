//! The gateways under test: nginx and `tmd`, pinned to core 0, in front of the same engines.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tempfile::TempDir;

use super::GATEWAY_CORE;
use super::load::{Ask, Connection, Meter};
use crate::port::free_port;
use crate::process::{Child, binary};

/// A gateway that does not answer by then never will.
const READY: Duration = Duration::from_secs(20);
/// Between two tries while it starts; the time to ready is known to this.
const TRY: Duration = Duration::from_millis(2);

/// Which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// nginx with `least_conn`.
    Nginx,
    /// Our own.
    Tmd,
}

/// A running gateway.
pub struct Gateway {
    /// Where it listens.
    pub address: String,
    /// Time from its start to its first answer.
    pub ready: Duration,
    started: Instant,
    child: Child,
    _dir: TempDir,
}

/// How the nodes of a cluster find each other; nginx needs no such thing.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Name of this node.
    pub node: String,
    /// URL of etcd.
    pub etcd: String,
}

impl Gateway {
    /// Starts one in front of `engines` (`host:port`), with `slots` asks at once for each, and waits for an answer.
    pub async fn start(kind: Kind, engines: &[String], slots: u32) -> Result<Self> {
        let gateway = Self::launch(kind, engines, slots, None)?;
        gateway.wait_ready().await
    }

    /// Starts one as part of a cluster, without waiting.
    pub fn launch(kind: Kind, engines: &[String], slots: u32, cluster: Option<&Cluster>) -> Result<Self> {
        let dir = tempfile::tempdir().context("no directory for a gateway")?;
        let port = free_port()?;
        let (program, file, text) = match kind {
            Kind::Nginx => (nginx()?, "nginx.conf", nginx_config(&dir, port, engines)),
            Kind::Tmd => (binary("tmd")?, "tmd.toml", tmd_config(&dir, port, engines, slots, cluster)?),
        };
        let config = dir.path().join(file);
        std::fs::write(&config, text).context("could not write a configuration")?;
        let mut command = Command::new("taskset");
        command.arg("-c").arg(GATEWAY_CORE.to_string()).arg(program);
        match kind {
            Kind::Nginx => command.arg("-p").arg(dir.path()).arg("-c").arg(config),
            Kind::Tmd => command.arg("--config").arg(config),
        };
        let started = Instant::now();
        let child = Child::spawn(&format!("{kind:?}"), command)?;
        Ok(Self { address: format!("127.0.0.1:{port}"), ready: Duration::ZERO, started, child, _dir: dir })
    }

    /// Waits for the first good answer.
    pub async fn wait_ready(mut self) -> Result<Self> {
        let (ask, meter) = (Ask::plain(0), Meter::default());
        loop {
            let answered = async { Connection::open(&self.address).await?.ask(&ask, &meter).await };
            let error = match answered.await {
                Ok(_) => break,
                Err(error) => error,
            };
            if !self.child.is_running()? || self.started.elapsed() > READY {
                bail!("the gateway is not ready: {error:#}; it said:\n{}{}", self.child.stdout(), self.child.stderr());
            }
            tokio::time::sleep(TRY).await;
        }
        self.ready = self.started.elapsed();
        Ok(self)
    }

    /// The root of its process tree.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }
}

fn nginx() -> Result<PathBuf> {
    let known = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/run/current-system/sw/bin/nginx"];
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).map(|dir| dir.join("nginx")).collect::<Vec<_>>());
    let mut all = known.iter().map(PathBuf::from).chain(on_path);
    all.find(|path| path.is_file()).context("there is no nginx; hint: apt-get install nginx-light")
}

fn nginx_config(dir: &TempDir, port: u16, engines: &[String]) -> String {
    let servers: String = engines.iter().map(|engine| format!("    server {engine};\n")).collect();
    let dir = dir.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path {dir}/{name};\n"))
        .collect();
    format!(
        "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 65536;\npid {dir}/pid;\nerror_log stderr error;\n\
         events {{ worker_connections 16384; }}\nhttp {{\n  access_log off;\n{temporary}  \
         client_body_buffer_size 128k;\n  client_max_body_size 64m;\n  keepalive_requests 100000000;\n  \
         upstream engines {{\n    least_conn;\n{servers}    keepalive 1024;\n    keepalive_requests 100000000;\n  }}\n  \
         server {{\n    listen 127.0.0.1:{port} backlog=4096;\n    location / {{\n      proxy_pass http://engines;\n      \
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_buffering off;\n      \
         proxy_next_upstream error timeout non_idempotent;\n    }}\n  }}\n}}\n"
    )
}

fn tmd_config(dir: &TempDir, port: u16, engines: &[String], slots: u32, cluster: Option<&Cluster>) -> Result<String> {
    let name = cluster.map_or("bench", |cluster| &cluster.node);
    let mut config = format!(
        "[node]\nname = \"{name}\"\ndata_dir = \"{}/data\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n\
         [grpc]\nlisten = \"127.0.0.1:{}\"\n[peers]\nlisten = \"127.0.0.1:{}\"\n[actors]\nenabled = false\n\
         [auth]\nkeys = \"off\"\n[limits]\nconnections = 20000\n",
        dir.path().display(),
        free_port()?,
        free_port()?,
    );
    if let Some(Cluster { etcd, .. }) = cluster {
        config += &format!("[store]\nkind = \"etcd\"\nendpoints = [\"{etcd}\"]\nprefix = \"/taskmaster/bench\"\n");
    }
    for (index, engine) in engines.iter().enumerate() {
        config += &format!(
            "[[workers]]\nname = \"fake{index}\"\nbackend = \"openai\"\nurl = \"http://{engine}\"\nslots = {slots}\n"
        );
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use base::config::{Config, Sources};

    use super::*;

    #[test]
    fn the_configuration_for_tmd_is_a_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster { node: "front".to_owned(), etcd: "http://127.0.0.1:2379".to_owned() };
        for cluster in [None, Some(&cluster)] {
            let text = tmd_config(&dir, 3001, &["127.0.0.1:9".to_owned()], 4, cluster).unwrap();
            let file = Some((dir.path().join("tmd.toml"), text));
            let sources = Sources { file, env: Vec::new(), flags: Vec::new(), folder: dir.path().to_owned() };
            let config = Config::resolve(&sources).unwrap();
            assert_eq!((config.workers.len(), config.limits.connections), (1, 20_000));
        }
    }
}
