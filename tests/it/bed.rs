//! A home lab of network namespaces: each node a machine of its own, with a cable that can be pulled.
//!
//! Drives the script `netns.sh` of a test bed that lies beside the repository or where `TM_TESTBED` says. Where it, root
//! or the kernel's help is missing, a test says why and passes as skipped. Clients run on threads inside a node's
//! namespace, since every client-facing listener is on the node's loopback.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::client::{Client, Told};
use tests::fake::text::{expected, render};
use tests::process::binary;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The namespace of etcd.
pub const STORE: &str = "db";
/// How long the lease of a node lives without it.
pub const LEASE_TTL: Duration = Duration::from_secs(4);
/// The model that every worker has.
pub const MODEL: &str = "fake";
/// Where a node serves HTTP and gRPC, on its own loopback.
const HTTP: &str = "127.0.0.1:3001";
const GRPC: &str = "127.0.0.1:3002";
/// A node that is not ready by then never will be; the machine may be busy with other tests.
const READY: Duration = Duration::from_secs(40);
/// The script says with it that this machine cannot do it.
const CANNOT: i32 = 77;

/// A running lab; gone when dropped.
pub struct Bed {
    script: PathBuf,
    lab: String,
    dir: TempDir,
}

/// What a node of a lab runs.
#[derive(Clone, Copy)]
pub struct Machine {
    /// Its name.
    pub name: &'static str,
    /// Whether an engine runs on it.
    pub has_engine: bool,
}

/// A machine with an engine.
pub const fn worker(name: &'static str) -> Machine {
    Machine { name, has_engine: true }
}

/// A machine that only takes asks.
pub const fn gateway(name: &'static str) -> Machine {
    Machine { name, has_engine: false }
}

/// A lab in which a cluster serves.
pub struct Home {
    /// The lab.
    pub bed: Bed,
    machines: Vec<Machine>,
    key: String,
}

/// One small ask of a row.
#[derive(Clone, Debug)]
pub struct Probe {
    /// When it was sent.
    pub at: Instant,
    /// How long its answer took.
    pub took: Duration,
    /// HTTP status; 0 when the connection broke.
    pub status: u16,
    /// The header `retry-after`.
    pub retry_after: String,
    /// The node that answered.
    pub node: String,
    /// Why there is no answer.
    pub refusal: String,
}

/// One look at whether a node acts as the leader.
pub struct Acting {
    /// The epoch that it acts on.
    pub epoch: Option<u64>,
    /// It was so at some instant from here…
    pub from: Instant,
    /// …to here.
    pub to: Instant,
}

impl Bed {
    /// A lab with these nodes. `None`, with the reason on stderr, where this machine cannot have one.
    pub fn up(lab: &str, nodes: &[&str]) -> Result<Option<Self>> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/testbed");
        let folder = std::env::var_os("TM_TESTBED").map_or(beside, PathBuf::from);
        let script = folder.join("netns.sh");
        if !script.is_file() {
            return Ok(skipped("there is no test bed; TM_TESTBED names its folder"));
        }
        let bed = Self { script, lab: lab.to_owned(), dir: tempfile::tempdir()? };
        // What an earlier run left behind when it was killed.
        bed.call("down", &[])?;
        let output = bed.command("up", nodes).output().context("could not run the test bed")?;
        match output.status.code() {
            Some(0) => Ok(Some(bed)),
            Some(CANNOT) => Ok(skipped(String::from_utf8_lossy(&output.stderr).trim())),
            _ => bail!("the test bed did not come up: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// Runs a verb of the script; what it printed.
    pub fn call(&self, verb: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(verb, arguments).output().context("could not run the test bed")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{verb} {arguments:?} failed: {error}{said}");
        Ok(said)
    }

    /// Runs a verb of the script; `false`, with the reason on stderr, where this machine cannot do that.
    pub fn call_if_able(&self, verb: &str, arguments: &[&str]) -> Result<bool> {
        let output = self.command(verb, arguments).output().context("could not run the test bed")?;
        let error = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => Ok(true),
            Some(CANNOT) => Ok(skipped::<()>(error.trim()).is_some()),
            _ => bail!("{verb} {arguments:?} failed: {error}"),
        }
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.script);
        command.arg(verb).args(arguments).env("LAB", &self.lab).env("LAB_DIR", self.dir.path().join("lab"));
        command
    }

    /// Ends every fault of the network.
    pub fn heal(&self) -> Result<()> {
        self.call("heal", &[]).map(drop)
    }

    /// What a process of a node wrote.
    pub fn log(&self, node: &str, process: &str) -> String {
        let path = self.dir.path().join(format!("lab/log/{node}.{process}.log"));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Runs `make`'s future on a thread inside the namespace of `node`, at once; the result is awaited.
    pub fn within<M, T, F>(&self, node: &str, make: M) -> impl Future<Output = Result<T>> + use<M, T, F>
    where
        M: FnOnce() -> F + Send + 'static,
        T: Send + 'static,
        F: Future<Output = Result<T>>,
    {
        let space = PathBuf::from(format!("/run/netns/{}-{node}", self.lab));
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            // Whoever asked may have failed by now.
            let _ = tell.send(inside(&space, make));
        });
        async { told.await.context("the thread in the namespace died")? }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // What cannot be taken down here is taken down before the next lab of this name.
        let _ = self.call("down", &[]);
    }
}

fn skipped<T>(why: &str) -> Option<T> {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
    None
}

fn inside<T, F: Future<Output = Result<T>>>(space: &Path, make: impl FnOnce() -> F) -> Result<T> {
    let file = File::open(space).with_context(|| format!("there is no namespace {}", space.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).context("could not enter it")?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(make())
}

impl Home {
    /// A cluster over etcd, with mutual TLS and keys, whose nodes all see each other. `None` where this machine cannot
    /// have one.
    pub async fn start(lab: &str, machines: &[Machine]) -> Result<Option<Self>> {
        let names: Vec<&str> = std::iter::once(STORE).chain(machines.iter().map(|machine| machine.name)).collect();
        let Some(bed) = Bed::up(lab, &names)? else { return Ok(None) };
        let mut home = Self { bed, machines: machines.to_vec(), key: String::new() };
        home.issue_certificates()?;
        home.start_store()?;
        home.make_key().await?;
        for machine in machines {
            if machine.has_engine {
                home.start_engine(machine.name)?;
            }
            home.write_config(*machine, "store", "")?;
            home.start_node(machine.name)?;
        }
        home.settled().await?;
        Ok(Some(home))
    }

    fn path(&self, name: &str) -> String {
        self.bed.dir.path().join(name).display().to_string()
    }

    fn issue_certificates(&self) -> Result<()> {
        let pki = self.path("pki");
        let passphrase = self.path("passphrase");
        std::fs::write(&passphrase, "only for this house")?;
        let open = ["--dir", &pki, "--passphrase-file", &passphrase];
        run_here("tmctl", &[&["ca", "init"], &open[..]].concat())?;
        for machine in &self.machines {
            let address = self.address(machine.name)?;
            run_here("tmctl", &[&["ca", "issue", machine.name, "--address", &address], &open[..]].concat())?;
        }
        Ok(())
    }

    /// The address of a node on the lab's segment.
    pub fn address(&self, node: &str) -> Result<String> {
        Ok(self.bed.call("ip", &[node])?.trim().to_owned())
    }

    fn start_store(&self) -> Result<()> {
        let (data, client) = (self.path("etcd"), format!("http://{}:2379", self.address(STORE)?));
        let listen = format!("{client},http://127.0.0.1:2379");
        let arguments = ["--data-dir", &data, "--listen-client-urls", &listen, "--advertise-client-urls", &client];
        self.bed.call("spawn", &[&[STORE, "etcd", "etcd"], &arguments[..]].concat())?;
        self.bed.call("waitport", &[STORE, "2379", "20"]).map(drop)
    }

    /// Starts the engine of a node.
    pub fn start_engine(&self, node: &str) -> Result<()> {
        let program = binary("fake-engine")?.display().to_string();
        let arguments = ["--listen", "127.0.0.1:8080", "--speak", "llamacpp", "--models", MODEL, "--tokens", "20"];
        self.bed.call("spawn", &[&[node, "engine", &program], &arguments[..]].concat())?;
        self.bed.call("waitport", &[node, "8080", "20"]).map(drop)
    }

    /// Writes the configuration of a node; `more` is added at its end.
    pub fn write_config(&self, machine: Machine, keys: &str, more: &str) -> Result<()> {
        let name = machine.name;
        let (address, store) = (self.address(name)?, self.address(STORE)?);
        let engine = match machine.has_engine {
            true => {
                "[[workers]]\nname = \"engine\"\nbackend = \"llamacpp\"\nurl = \"http://127.0.0.1:8080\"\nslots = 64\n"
            }
            false => "",
        };
        let text = format!(
            "[node]\nname = \"{name}\"\ndata_dir = \"{name}.data\"\n\
             [http]\nlisten = \"{HTTP}\"\n[grpc]\nlisten = \"{GRPC}\"\n\
             [peers]\nlisten = \"{address}:3003\"\nadvertise = \"{name}:3003\"\n\
             [tls]\nca = \"pki/ca.pem\"\ncert = \"pki/{name}.pem\"\nkey = \"pki/{name}.key\"\n\
             [store]\nkind = \"etcd\"\nendpoints = [\"http://{store}:2379\"]\nlease_ttl = \"{}s\"\n\
             [auth]\nkeys = \"{keys}\"\n[[models]]\nname = \"{MODEL}\"\n{engine}{more}",
            LEASE_TTL.as_secs()
        );
        self.write_file(&format!("{name}.toml"), &text)
    }

    /// Writes a file beside the configurations.
    pub fn write_file(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.path(name), text).with_context(|| format!("could not write `{name}`"))
    }

    /// Where such a file is.
    pub fn file(&self, name: &str) -> String {
        self.path(name)
    }

    /// Starts `tmd` on a node and waits until it serves.
    pub fn start_node(&self, name: &str) -> Result<()> {
        let (program, config) = (binary("tmd")?.display().to_string(), self.path(&format!("{name}.toml")));
        self.bed.call("spawn", &[name, "tmd", &program, "--config", &config])?;
        self.bed
            .call("waitport", &[name, "3001", &READY.as_secs().to_string()])
            .with_context(|| format!("{name} does not serve; it said:\n{}", self.bed.log(name, "tmd")))
            .map(drop)
    }

    /// A key is made while the cluster does not ask for one yet: by its first node, alone.
    async fn make_key(&mut self) -> Result<()> {
        let Some(&first) = self.machines.first() else { bail!("a home has at least one machine") };
        self.write_config(first, "off", "")?;
        self.start_node(first.name)?;
        self.key =
            eventually(READY, || async { self.tmctl(first.name, &["keys", "create", "test", "--scope", "admin"]) })
                .await?;
        self.key = self.key.trim().to_owned();
        // In order, so that it gives its lease back and nobody takes it for the leader any more.
        self.bed.call("kill", &[first.name, "tmd", "TERM"])?;
        eventually(READY, || async {
            ensure!(self.bed.call("alive", &[first.name, "tmd"]).is_err(), "{} does not end", first.name);
            Ok(())
        })
        .await?;
        // One that has ended but waits to be reaped still counts as running, until the bed is told to forget it.
        let _ = self.bed.call("kill", &[first.name, "tmd", "KILL"]);
        Ok(())
    }

    /// Waits until every node sees every node alive, a leader, and every worker ready.
    pub async fn settled(&self) -> Result<()> {
        let workers = self.machines.iter().filter(|machine| machine.has_engine).count();
        for machine in &self.machines {
            eventually(READY, || async {
                let nodes = self.nodes(machine.name)?;
                let alive = nodes.iter().filter(|node| node["state"] == "alive").count();
                ensure!(alive == self.machines.len(), "{} sees {nodes:?}", machine.name);
                ensure!(nodes.iter().any(|node| node["leader"] == true), "{} sees no leader", machine.name);
                let listed = self.items(machine.name, "workers")?;
                let ready = listed.iter().filter(|worker| worker["state"] == "ready").count();
                ensure!(ready == workers, "{} sees the workers {listed:?}", machine.name);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Runs `tmctl` on a node, against that node.
    pub fn tmctl(&self, node: &str, arguments: &[&str]) -> Result<String> {
        let program = binary("tmctl")?.display().to_string();
        let mut all = vec![node, &program, "--server", GRPC];
        if !self.key.is_empty() {
            all.extend(["--key", &self.key]);
        }
        all.extend(arguments);
        self.bed.call("exec", &all)
    }

    /// What a list of `tmctl` holds, as a node sees it.
    pub fn items(&self, node: &str, noun: &str) -> Result<Vec<Value>> {
        let list: Value = serde_json::from_str(&self.tmctl(node, &["--json", noun])?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// The nodes, as a node sees them.
    pub fn nodes(&self, node: &str) -> Result<Vec<Value>> {
        self.items(node, "nodes")
    }

    /// Who leads, and the epoch, as a node sees it.
    pub fn leader(&self, node: &str) -> Result<(String, u64)> {
        let nodes = self.nodes(node)?;
        let leader = nodes.iter().find(|node| node["leader"] == true).context("nobody leads")?;
        Ok((leader["name"].as_str().unwrap_or("").to_owned(), leader["epoch"].as_u64().unwrap_or(0)))
    }

    /// The state of `other`, as a node sees it.
    pub fn state(&self, node: &str, other: &str) -> Result<String> {
        let nodes = self.nodes(node)?;
        let found =
            nodes.iter().find(|seen| seen["name"] == other).with_context(|| format!("no {other}: {nodes:?}"))?;
        Ok(found["state"].as_str().unwrap_or("").to_owned())
    }

    /// Looks again and again for a time on which epoch a node acts as the leader.
    pub fn acting(&self, node: &str, lasting: Duration) -> Result<impl Future<Output = Result<Vec<Acting>>> + use<>> {
        let (program, key) = (binary("tmctl")?, self.key.clone());
        let look = move || async move {
            let (begin, mut looks) = (Instant::now(), Vec::new());
            while begin.elapsed() < lasting {
                let from = Instant::now();
                // A child is in the namespace of the thread that starts it.
                let output =
                    Command::new(&program).args(["--server", GRPC, "--key", &key, "--json", "actors"]).output()?;
                let actors: Value = serde_json::from_slice(&output.stdout)?;
                let scheduler = actors["items"].as_array().into_iter().flatten().find(|one| one["name"] == "scheduler");
                let epoch = scheduler.context("there is no scheduler")?["snapshot"]["leads"].as_u64();
                looks.push(Acting { epoch, from, to: Instant::now() });
            }
            Ok(looks)
        };
        Ok(self.bed.within(node, look))
    }

    /// A client on the machine of a node.
    pub fn client(&self) -> Client {
        Client::new(HTTP).with_header("authorization", &format!("Bearer {}", self.key))
    }

    /// What `GET path` of a node says.
    pub async fn get(&self, node: &str, path: &'static str) -> Result<(u16, String)> {
        let client = self.client();
        let get = move || async move { client.get(path).await.map(|reply| (reply.status, reply.text())) };
        self.bed.within(node, get).await
    }

    /// Asks a node again and again for a time, `at_once` asks of their own every 100 ms.
    pub fn probe(&self, node: &str, lasting: Duration) -> impl Future<Output = Result<Vec<Probe>>> + use<> {
        let client = self.client();
        self.bed.within(node, move || async move { Ok(probes(client, lasting).await) })
    }

    /// Streams of `tokens` tokens from a node's clients, all at once. Each answer stands beside the text that it must have.
    pub fn streams(
        &self,
        node: &str,
        count: usize,
        tokens: usize,
    ) -> impl Future<Output = Result<Vec<(Told, String)>>> + use<> {
        let client = self.client();
        self.bed.within(node, move || async move {
            let mut all = JoinSet::new();
            for index in 0..count {
                let client = client.clone();
                // Never asked before, so that no answer is a kept one.
                let text = format!("tell story {index} of {}", fastrand::u64(..));
                let wanted = expected(&render(&[("user", &text)]), tokens);
                let ask = json!({
                    "model": MODEL, "stream": true, "temperature": 0, "max_tokens": tokens,
                    "messages": [{"role": "user", "content": text}],
                });
                all.spawn(async move { client.ask("/v1/chat/completions", &ask).await.map(|told| (told, wanted)) });
            }
            all.join_all().await.into_iter().collect()
        })
    }

    /// Changes how the engine of a node behaves.
    pub async fn engine(&self, node: &str, change: Value) -> Result<()> {
        let post = move || async move { Client::new("127.0.0.1:8080").post_json("/fake/control", &change).await };
        let reply = self.bed.within(node, post).await?;
        ensure!(reply.status == 200, "the engine refused: {}", reply.text());
        Ok(())
    }

    /// No process of the home has panicked.
    pub fn nothing_panicked(&self) -> Result<()> {
        for machine in &self.machines {
            let log = self.bed.log(machine.name, "tmd");
            let found = log.lines().find(|line| line.contains("panicked at"));
            ensure!(found.is_none(), "{} says {found:?}", machine.name);
        }
        Ok(())
    }
}

async fn probes(client: Client, lasting: Duration) -> Vec<Probe> {
    let (begin, mut all, mut ticks) = (Instant::now(), JoinSet::new(), tokio::time::interval(PROBE_EVERY));
    while begin.elapsed() < lasting {
        ticks.tick().await;
        let client = client.clone();
        // Every prompt is new, so that no answer is kept or joined.
        let ask = json!({"model": MODEL, "messages": [{"role": "user", "content": format!("{}", fastrand::u64(..))}]});
        all.spawn(async move {
            let at = Instant::now();
            let reply = client.post_json("/v1/chat/completions", &ask).await;
            let took = at.elapsed();
            match reply {
                Ok(reply) => Probe {
                    at,
                    took,
                    status: reply.status,
                    retry_after: reply.header("retry-after").to_owned(),
                    node: reply.header("x-tm-node").to_owned(),
                    refusal: if reply.status == 200 { String::new() } else { reply.text() },
                },
                Err(error) => Probe {
                    at,
                    took,
                    status: 0,
                    retry_after: String::new(),
                    node: String::new(),
                    refusal: format!("{error:#}"),
                },
            }
        });
    }
    let mut probes = all.join_all().await;
    probes.sort_by_key(|probe| probe.at);
    probes
}

/// Between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// Runs a program of the workspace in the root namespace.
fn run_here(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(binary(program)?).args(arguments).output().context("could not run it")?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Tries until it works; the last error when the time is over.
pub async fn eventually<T, F: Future<Output = Result<T>>>(
    within: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let until = Instant::now() + within;
    loop {
        match attempt().await {
            Err(error) if Instant::now() > until => return Err(error.context(format!("not within {within:?}"))),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            done => return done,
        }
    }
}
