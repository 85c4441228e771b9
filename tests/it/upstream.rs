//! Task Master's own client, unchanged, pointed at a node by its base URL alone.
//!
//! `deploy/upstream-client.sh target/upstream-client` installs it. The kit that drives it lies beside the repository or
//! where `TM_ACCEPTANCE` says. What is not there is skipped, with the reason. The engine is the fake one: it keeps to the
//! schema that it is given, so what the client has to tell beyond that is the node's to understand.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::process::{Child, binary};

use crate::lab::{Lab, Setup, is_soak};
use crate::models;

/// The model of the engine.
const MODEL: &str = "planner";
/// Of one run of the kit, or of one command: the client takes seconds of a processor to start.
const RUN: Duration = Duration::from_secs(900);
/// What needs a model, in an order in which each has what it works on. The first ones are run always.
const COMMANDS: &[&[&str]] = &[
    &["parse-prd", ".taskmaster/docs/prd.md", "--num-tasks=4", "--force"],
    &["expand", "--id=1", "--num=3"],
    &["analyze-complexity"],
    &["expand", "--all"],
    &["add-task", "--prompt=Add rate limiting", "--priority=high"],
    &["research", "Which storage fits, and why?", "--detail=low", "--save=research.md"],
    &["update", "--from=4", "--prompt=Everything runs on one host"],
    &["update-task", "--id=3", "--prompt=Use one file for storage"],
    &["update-task", "--id=3", "--prompt=Note how often to retry", "--append"],
    &["update-subtask", "--id=1.1", "--prompt=It needs an index"],
    &["scope-up", "--id=2", "--strength=regular"],
    &["scope-down", "--id=2", "--strength=light"],
    &["parse-prd", ".taskmaster/docs/prd.md", "--num-tasks=2", "--append"],
];
/// How many of them are run always.
const ALWAYS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn the_unchanged_client_plans_over_mcp() {
    let Some(client) = Upstream::find() else { return };
    let lab = lab().await;
    client.kit(&lab, "lmstudio", &[("FLOWS", "mcp"), ("FAST", "1")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unchanged_client_passes_its_whole_kit_with_every_provider() {
    let Some(client) = Upstream::find().filter(|_| is_soak()) else { return skipped("only `make soak` runs it") };
    let lab = lab().await;
    for provider in ["lmstudio", "openai-compatible", "ollama"] {
        client.kit(&lab, provider, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unchanged_client_plans_by_responses() {
    let Some(client) = Upstream::find() else { return };
    client.plans_by("openai").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unchanged_client_plans_by_messages() {
    let Some(client) = Upstream::find() else { return };
    client.plans_by("anthropic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unchanged_client_plans_with_the_built_in_engine() {
    let Some(client) = Upstream::find() else { return };
    if binary("tm-engine").is_err() {
        return skipped("no tm-engine was built");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(models::words(), folder.path().join(format!("{MODEL}.gguf"))).unwrap();
    let engine = format!("[engine]\nfolder = \"{}\"\nstores = []\nthreads = 1\n", folder.path().display());
    let mut lab = Lab::single();
    lab.node(Setup::new("alone").worker("own", "engine", "http://127.0.0.1").more(&engine)).await;
    lab.workers_are(0, "ready", 1).await;
    let prd = "# Notes\n\nA program keeps notes in one file.\n\n- It must list them.\n- It must find words in them.\n";
    let commands: &[&[&str]] = &[
        &["parse-prd", ".taskmaster/docs/prd.md", "--num-tasks=2", "--force"],
        &["expand", "--id=1", "--num=2"],
        &["analyze-complexity"],
        &["add-task", "--prompt=Sort them"],
    ];
    let tasks = client.commands(&lab, "lmstudio", prd, commands).await;
    assert_eq!((tasks.len(), tasks[0]["subtasks"].as_array().map(Vec::len)), (3, Some(2)), "{tasks:#?}");
}

/// A node with an engine that writes fast and has a context for whole plans.
async fn lab() -> Lab {
    let mut lab = Lab::single();
    let url = lab.engine("ollama", &["--models", MODEL, "--context", "65536", "--token", "0ms"]).await;
    lab.node(Setup::new("alone").worker("gpu", "ollama", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    lab
}

/// The installed client, and the kit.
struct Upstream {
    prefix: PathBuf,
    kit: PathBuf,
}

impl Upstream {
    fn find() -> Option<Self> {
        let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("upstream-client");
        if !prefix.join("installed").is_file() {
            skipped(&format!("no client in {}; hint: deploy/upstream-client.sh", prefix.display()));
            return None;
        }
        let kit = kit("upstream_client.sh")?.parent().unwrap().to_owned();
        Some(Self { prefix, kit })
    }

    fn prd(&self) -> PathBuf {
        self.kit.join("prds/greenhouse-telemetry.md")
    }

    /// Runs the kit for one provider; every line of it must pass.
    async fn kit(&self, lab: &Lab, provider: &str, more: &[(&str, &str)]) {
        let work = tempfile::tempdir().unwrap();
        let base = format!("http://{}", lab.nodes[0].http);
        let mut command = Command::new("bash");
        command.arg(self.kit.join("upstream_client.sh"));
        command.envs([("MODEL", MODEL), ("EXACT", "1"), ("T", "300"), ("PROVIDERS", provider)]);
        command
            .env("PRD", self.prd())
            .env("TM_PREFIX", &self.prefix)
            .env("WORK", work.path())
            .envs(more.iter().copied());
        match provider {
            "ollama" => command.env("OLLAMA_URL", format!("{base}/api")),
            _ => command.env("BASE_URL", format!("{base}/v1")),
        };
        let mut child = Child::spawn(provider, command).unwrap();
        let status = child.wait(RUN).await.unwrap();
        let told = child.stdout();
        let failed: Vec<&str> = told.lines().filter(|line| line.starts_with("FAIL")).collect();
        assert!(status.success() && failed.is_empty(), "{provider}: {failed:#?}\n{}", child.stderr());
        let passed = told.lines().filter(|line| line.starts_with("PASS")).count();
        assert!(passed > 20, "{provider}: only {passed} checks ran\n{told}");
    }

    /// Runs commands that need a model, each to its good end, in a project with this PRD; gives the tasks that came of it.
    async fn commands(&self, lab: &Lab, provider: &str, prd: &str, commands: &[&[&str]]) -> Vec<Value> {
        let work = tempfile::tempdir().unwrap();
        let project = work.path().join("project");
        std::fs::create_dir(&project).unwrap();
        let run = async |arguments: &[&str]| {
            let mut command = Command::new("node");
            command.arg(self.prefix.join("node_modules/task-master-ai/dist/task-master.js")).args(arguments);
            command.current_dir(&project).env("HOME", work.path()).env("CI", "1");
            command.envs([("OPENAI_API_KEY", "local"), ("ANTHROPIC_API_KEY", "local")]);
            // Only loopback may be reached.
            let guard = format!("--require {}", self.kit.join("upstream_netguard.cjs").display());
            command.env("NODE_OPTIONS", guard).env("TM_ALLOW_HOSTS", "127.0.0.1");
            command.env("TM_NETLOG", work.path().join("net.log"));
            let mut child = Child::spawn(arguments[0], command).unwrap();
            let status = child.wait(RUN).await.unwrap();
            assert!(status.success(), "{provider} {arguments:?}\n{}\n{}", child.stdout(), child.stderr());
        };
        run(&["init", "-y", "--name=mine", "--no-git", "--no-aliases", "--skip-install"]).await;
        let folder = project.join(".taskmaster");
        for name in ["docs", "reports"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        std::fs::write(folder.join("docs/prd.md"), prd).unwrap();
        point(&folder.join("config.json"), provider, &format!("http://{}/v1", lab.nodes[0].http));
        for command in commands {
            run(command).await;
        }
        assert_eq!(std::fs::read_to_string(work.path().join("net.log")).unwrap_or_default(), "", "went elsewhere");
        let tasks = read(&folder.join("tasks/tasks.json"));
        let tasks = tasks["master"]["tasks"].as_array().unwrap().clone();
        let number = |id: &Value| id.as_u64().or_else(|| id.as_str()?.parse().ok());
        let ids: Vec<Option<u64>> = tasks.iter().map(|task| number(&task["id"])).collect();
        assert!(ids.iter().copied().eq((1..=tasks.len() as u64).map(Some)), "{ids:?}");
        tasks
    }

    /// With a provider that the kit does not know: as many commands as there is time for.
    async fn plans_by(&self, provider: &str) {
        let commands = if is_soak() { COMMANDS } else { &COMMANDS[..ALWAYS] };
        let prd = std::fs::read_to_string(self.prd()).unwrap();
        let tasks = self.commands(&lab().await, provider, &prd, commands).await;
        assert_eq!(tasks.len(), if is_soak() { 7 } else { 4 });
        assert_eq!(tasks[0]["subtasks"].as_array().map(Vec::len), Some(3));
        let has = |task: &Value, name: &str| task[name].as_str().is_some_and(|text| !text.is_empty());
        assert!(tasks.iter().all(|task| has(task, "title") && has(task, "details")), "{tasks:#?}");
    }
}

/// Points the client's roles at a node, and keeps it from telling others.
fn point(config: &Path, provider: &str, base_url: &str) {
    let mut object = read(config);
    for role in ["main", "research", "fallback"] {
        object["models"][role] =
            json!({"provider": provider, "modelId": MODEL, "maxTokens": 8000, "temperature": 0.2, "baseURL": base_url});
    }
    object["global"]["anonymousTelemetry"] = false.into();
    std::fs::write(config, object.to_string()).unwrap();
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A file of the acceptance kit; where there is none, that is said.
pub fn kit(file: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/acceptance");
    let found = std::env::var_os("TM_ACCEPTANCE").map_or(beside, PathBuf::from).join(file);
    if !found.is_file() {
        skipped("there is no acceptance kit; TM_ACCEPTANCE names its folder");
        return None;
    }
    Some(found.canonicalize().unwrap())
}

/// Says why a test does nothing.
pub fn skipped(why: &str) {
    // A test's own stderr, shown with --nocapture.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
