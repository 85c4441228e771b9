//! A node as a process, with a configuration and a data folder of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result};
use proto::admin::admin_client::AdminClient;
use proto::admin::{
    ActorItem, CreateKeyRequest, ExplainRequest, ExplainResponse, FailureItem, GetModeRequest, InjectRequest,
    ListActorsRequest, ListFailuresRequest, ListKeysRequest, ListModelsRequest, ListNodesRequest, ListNodesResponse,
    ListWorkersRequest, ModelItem, NodeItem, RevokeKeyRequest, SetModeRequest, WorkerItem,
};
use tests::client::Client;
use tests::process::{Child, binary};
use tonic::transport::{Channel, Endpoint};

/// A node that does not serve by then does not start.
const READY: Duration = Duration::from_secs(20);
/// No admin call takes longer.
const CALL: Duration = Duration::from_secs(5);
/// Below this everything of a lab is in etcd.
pub const PREFIX: &str = "/it";
/// Lines of a node's log that a failed test shows.
const LINES_SHOWN: usize = 60;

/// What a node is told.
#[derive(Clone)]
pub struct Setup {
    name: String,
    workers: String,
    more: String,
    etcd: Vec<String>,
    store: String,
    roles: String,
}

impl Setup {
    /// A node without workers.
    pub fn new(name: &str) -> Self {
        let store = "lease_ttl = \"2s\"".to_owned();
        let roles = "[\"gateway\", \"worker\", \"research\"]".to_owned();
        Self { name: name.to_owned(), workers: String::new(), more: String::new(), etcd: Vec::new(), store, roles }
    }

    /// One more worker; its engine runs already.
    pub fn worker(self, name: &str, backend: &str, url: &str) -> Self {
        self.worker_with(name, backend, url, "")
    }

    /// One more worker, with more lines of its table.
    pub fn worker_with(mut self, name: &str, backend: &str, url: &str, more: &str) -> Self {
        let _ = write!(
            self.workers,
            "[[workers]]\nname = \"{name}\"\nbackend = \"{backend}\"\nurl = \"{url}\"\n{}{more}\n",
            if more.contains("slots") { "" } else { "slots = 64\n" }
        );
        self
    }

    /// More sections: TOML.
    pub fn more(mut self, toml: &str) -> Self {
        self.more.push_str(toml);
        self.more.push('\n');
        self
    }

    /// It reaches etcd at this URL, too, instead of the lab's.
    pub fn etcd_at(mut self, url: &str) -> Self {
        self.etcd.push(url.to_owned());
        self
    }

    /// Lines of the table `store`, in place of a lease that is shorter than the default.
    pub fn store(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.store);
        self
    }

    /// The role `research` is left to others.
    pub fn without_documents(mut self) -> Self {
        "[\"gateway\", \"worker\"]".clone_into(&mut self.roles);
        self
    }

    fn toml(&self, dir: &Path, etcd: Option<&str>) -> String {
        let endpoints: Vec<&str> = match etcd.filter(|_| self.etcd.is_empty()) {
            Some(url) => vec![url],
            None => self.etcd.iter().map(String::as_str).collect(),
        };
        let store = match endpoints.is_empty() {
            false => format!("kind = \"etcd\"\nendpoints = {endpoints:?}\nprefix = \"{PREFIX}\"\n{}", self.store),
            true => format!("kind = \"sled\"\n{}", self.store),
        };
        let (name, data) = (&self.name, dir.join(&self.name));
        let loopback = "listen = \"127.0.0.1:0\"";
        let mut toml = format!(
            "[node]\nname = \"{name}\"\nroles = {}\ndata_dir = \"{}\"\n[http]\n{loopback}\n[grpc]\n{loopback}\n[peers]\n{loopback}\n\
             [store]\n{store}\n{}",
            self.roles,
            data.display(),
            self.workers
        );
        if !self.more.contains("[[models]]") {
            // Engines that tell no digest have the same model by declaration.
            toml.push_str("[[models]]\nname = \"fake\"\n");
        }
        toml + &self.more
    }
}

/// A running node.
pub struct Node {
    /// Its name in the cluster.
    pub name: String,
    /// The process, to kill and freeze.
    pub child: Child,
    /// Asks it over HTTP.
    pub client: Client,
    /// `host:port` of its gRPC.
    pub grpc: String,
    /// `host:port` of its HTTP.
    pub http: String,
    config: PathBuf,
    admin: AdminClient<Channel>,
}

impl Node {
    pub(super) async fn start(dir: &Path, etcd: Option<&str>, setup: Setup) -> Result<Self> {
        let config = dir.join(format!("{}.toml", setup.name));
        std::fs::write(&config, setup.toml(dir, etcd)).context("could not write the configuration")?;
        Self::run(setup.name, config).await
    }

    async fn run(name: String, config: PathBuf) -> Result<Self> {
        let child = tmd(&name, &config)?;
        Self::of(name, config, child).await
    }

    async fn of(name: String, config: PathBuf, mut child: Child) -> Result<Self> {
        let line = child.wait_line("ready http=", READY).await?;
        let address = |key: &str| {
            let field = line.split_whitespace().find_map(|field| field.strip_prefix(key));
            field.map(str::to_owned).with_context(|| format!("`{line}` lacks {key}"))
        };
        let (http, grpc) = (address("http=")?, address("grpc=")?);
        let channel = Endpoint::try_from(format!("http://{grpc}"))?.timeout(CALL).connect_lazy();
        Ok(Self { name, child, client: Client::new(&http), grpc, http, config, admin: AdminClient::new(channel) })
    }

    /// Starts it again, after it was ended: the same configuration and data.
    pub async fn again(&mut self) {
        *self = Self::run(self.name.clone(), self.config.clone()).await.unwrap();
    }

    /// The same with more flags, such as those of another release.
    pub async fn again_with(&mut self, flags: &[&str]) {
        let mut command = Command::new(binary("tmd").unwrap());
        command.arg("--config").arg(&self.config).args(flags);
        let child = Child::spawn(&self.name, command).unwrap();
        self.take_over(child).await.unwrap();
    }

    /// Goes on with `child`, which runs with the same configuration.
    pub async fn take_over(&mut self, child: Child) -> Result<()> {
        *self = Self::of(self.name.clone(), self.config.clone(), child).await?;
        Ok(())
    }

    /// The file of its configuration.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.config.with_extension("")
    }

    /// A second daemon with the same configuration.
    pub fn double(&self) -> Child {
        tmd("a double", &self.config).unwrap()
    }

    /// Calls that have no name here.
    pub fn admin(&self) -> AdminClient<Channel> {
        self.admin.clone()
    }

    /// The nodes that it sees.
    pub async fn nodes(&self) -> Result<Vec<NodeItem>> {
        Ok(self.view().await?.nodes)
    }

    /// The nodes that it sees, and how old that view is.
    pub async fn view(&self) -> Result<ListNodesResponse> {
        Ok(self.admin.clone().list_nodes(ListNodesRequest {}).await?.into_inner())
    }

    /// The workers that it sees.
    pub async fn workers(&self) -> Result<Vec<WorkerItem>> {
        Ok(self.admin.clone().list_workers(ListWorkersRequest {}).await?.into_inner().workers)
    }

    /// The models that it knows.
    pub async fn models(&self) -> Result<Vec<ModelItem>> {
        Ok(self.admin.clone().list_models(ListModelsRequest {}).await?.into_inner().models)
    }

    /// The worker `node/worker`.
    pub async fn worker(&self, name: &str) -> Option<WorkerItem> {
        self.workers().await.ok()?.into_iter().find(|worker| worker.name == name)
    }

    /// Failures, newest first.
    pub async fn failures(&self) -> Result<Vec<FailureItem>> {
        Ok(self.admin.clone().list_failures(ListFailuresRequest { limit: 0 }).await?.into_inner().failures)
    }

    /// Its actors.
    pub async fn actors(&self) -> Result<Vec<ActorItem>> {
        Ok(self.admin.clone().list_actors(ListActorsRequest {}).await?.into_inner().actors)
    }

    /// Why an ask went where it went.
    pub async fn explain(&self, ask: &str) -> Result<ExplainResponse> {
        Ok(self.admin.clone().explain(ExplainRequest { ask: ask.to_owned() }).await?.into_inner())
    }

    /// The mode that it goes by.
    pub async fn mode(&self) -> Result<String> {
        Ok(self.admin.clone().get_mode(GetModeRequest {}).await?.into_inner().mode)
    }

    /// Changes the mode of the cluster.
    pub async fn set_mode(&self, mode: &str) -> Result<()> {
        self.admin.clone().set_mode(SetModeRequest { mode: mode.to_owned(), ..SetModeRequest::default() }).await?;
        Ok(())
    }

    /// Makes an API key that may do everything; what is shown of it once.
    pub async fn create_key(&self, name: &str) -> Result<String> {
        let scopes = vec!["admin".to_owned()];
        let request = CreateKeyRequest { name: name.to_owned(), scopes, ..CreateKeyRequest::default() };
        Ok(self.admin.clone().create_key(request).await?.into_inner().key)
    }

    /// The names of the API keys.
    pub async fn keys(&self) -> Result<Vec<String>> {
        let listed = self.admin.clone().list_keys(ListKeysRequest {}).await?.into_inner();
        Ok(listed.keys.into_iter().map(|key| key.name).collect())
    }

    /// Makes an API key worthless.
    pub async fn revoke_key(&self, name: &str) -> Result<()> {
        self.admin.clone().revoke_key(RevokeKeyRequest { name: name.to_owned() }).await?;
        Ok(())
    }

    /// Panics or kills an actor.
    pub async fn inject(&self, actor: &str, action: &str) -> Result<()> {
        let request = InjectRequest { actor: actor.to_owned(), point: String::new(), action: action.to_owned() };
        self.admin.clone().inject(request).await?;
        Ok(())
    }

    /// Runs `tmctl` against it.
    pub async fn tmctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary("tmctl").unwrap());
        command.args(["--server", &self.grpc]).args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The same; what it printed, when it was done.
    pub async fn done(&self, arguments: &[&str]) -> String {
        let output = self.tmctl(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same; what it told, when it was refused.
    pub async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.tmctl(arguments).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        assert!(output.stdout.is_empty(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The value of a metric: the sum of the samples that begin with `sample`.
    pub async fn metric(&self, sample: &str) -> f64 {
        let text = self.client.get("/metrics").await.unwrap().text();
        let values = text.lines().filter(|line| line.starts_with(sample)).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    }

    pub(super) fn print_log(&self) {
        let log = self.child.stderr();
        let lines: Vec<&str> = log.lines().collect();
        let shown = lines.len().saturating_sub(LINES_SHOWN);
        eprintln!("---- the last lines of node {} ({})", self.name, self.child.pid());
        for line in lines.iter().skip(shown) {
            eprintln!("{line}");
        }
    }
}

fn tmd(name: &str, config: &Path) -> Result<Child> {
    Child::start(name, binary("tmd")?, &["--config".as_ref(), config.as_os_str()])
}
