//! Clients as people install them, unchanged, against three nodes whose engines speak three protocols.
//!
//! The scripts and the versions of the clients are in `tests/clients`. They are installed once for a list of versions;
//! where there is no Python or no registry, the tests say so and pass as skipped.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::process::Child;
use xxhash_rust::xxh3::xxh3_64;

use crate::lab::{Lab, Setup, chat};

/// A registry far away and a busy machine.
const INSTALL: Duration = Duration::from_secs(600);
/// Of one script; the slowest takes a quarter on a machine of its own.
const SCRIPT: Duration = Duration::from_secs(240);
/// What all nodes are told of the models. The engines of OpenAI's dialect do not say what a model can do.
const MODELS: &str = "[[models]]\nname = \"eyes\"\ncapabilities = [\"completion\", \"vision\"]\n";
/// Node, protocol of its engine, models that the engine has.
const NODES: [(&str, &str, &str); 3] = [
    ("alpha", "ollama", "chat,spread,embed-text,on-ollama"),
    ("beta", "vllm", "chat,spread,embed-text,on-vllm,eyes"),
    ("gamma", "llamacpp", "chat,spread,on-llamacpp"),
];

#[tokio::test(flavor = "multi_thread")]
async fn openais_client_is_served_by_every_engine() {
    let Some((python, lab)) = lab().await else { return };
    run(&python, "openai_client.py", &http(&lab)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_client_gets_responses_from_every_engine() {
    let Some((python, lab)) = lab().await else { return };
    run(&python, "responses_client.py", &http(&lab)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropics_client_is_served_by_every_engine() {
    let Some((python, lab)) = lab().await else { return };
    run(&python, "anthropic_client.py", &http(&lab)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ollamas_client_is_served_by_every_engine() {
    let Some((python, lab)) = lab().await else { return };
    run(&python, "ollama_client.py", &http(&lab)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_is_served_by_every_engine() {
    let Some((python, lab)) = lab().await else { return };
    run(&python, "langchain_client.py", &http(&lab)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_reflection_is_served_by_every_engine() {
    let Some((python, lab)) = lab().await else { return };
    let addresses: Vec<String> = lab.nodes.iter().map(|node| node.grpc.clone()).collect();
    run(&python, "grpc_client.py", &addresses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_one_piece_counts_as_done() {
    let mut lab = Lab::single();
    let url = lab.engine("vllm", &[]).await;
    lab.node(Setup::new("alone").worker("gpu", "vllm", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    assert_eq!(lab.http(0).post_json("/v1/chat/completions", &chat("hello", false)).await.unwrap().status, 200);
    let metrics = lab.http(0).get("/metrics").await.unwrap().text();
    let counted: Vec<&str> = metrics.lines().filter(|line| line.starts_with("tm_asks_total")).collect();
    assert!(counted.len() == 1 && counted[0].contains("outcome=\"ok\"") && counted[0].ends_with(" 1"), "{counted:?}");
}

fn http(lab: &Lab) -> Vec<String> {
    lab.nodes.iter().map(|node| format!("http://{}", node.http)).collect()
}

/// Three nodes that see each other; `None` where the clients cannot be installed.
async fn lab() -> Option<(PathBuf, Lab)> {
    let python = python().await?;
    let mut lab = Lab::cluster().await;
    for (name, speak, models) in NODES {
        let url = lab.engine(speak, &["--models", models, "--token", "3ms"]).await;
        lab.node(Setup::new(name).worker_with("gpu", speak, &url, "slots = 2\n").more(MODELS)).await;
    }
    for at in 0..NODES.len() {
        lab.workers_are(at, "ready", NODES.len()).await;
    }
    Some((python, lab))
}

/// Runs a script to its good end.
pub async fn run(python: &Path, script: &str, arguments: &[String]) {
    let mut command = Command::new(python);
    command.arg(folder().join(script)).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut child = Child::spawn(script, command).unwrap();
    let status = child.wait(SCRIPT).await.unwrap();
    assert!(status.success(), "{script}\n{}\n{}", child.stdout(), child.stderr());
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// The Python that has the clients; installed by the first test that asks.
pub async fn python() -> Option<PathBuf> {
    python_with("clients", &folder().join("requirements.txt")).await
}

/// The Python that has the packages of a list, in a folder of that name; installed by the first test that asks.
pub async fn python_with(name: &str, list: &Path) -> Option<PathBuf> {
    match install(name, list).await {
        Ok(python) => Some(python),
        Err(why) => {
            // A test's own stderr, shown with --nocapture.
            let _ = writeln!(std::io::stderr(), "skipped: {why}");
            None
        }
    }
}

/// Installs the pinned packages into a folder of their own, unless an earlier run did.
async fn install(name: &str, list: &Path) -> Result<PathBuf, String> {
    let pins = std::fs::read(list).map_err(|error| format!("{}: {error}", list.display()))?;
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:016x}", xxh3_64(&pins)));
    let (python, done) = (home.join("bin/python3"), home.join("installed"));
    // Tests may be processes of their own; all but the first wait here.
    let lock = home.with_extension("lock");
    let locked = std::fs::File::create(&lock).and_then(|file| file.lock().map(|()| file));
    let _one_at_a_time = locked.map_err(|error| format!("{}: {error}", lock.display()))?;
    if done.is_file() {
        return Ok(python);
    }
    let home = home.display().to_string();
    step("python3", &["-m", "venv", "--clear", &home]).await?;
    let list = list.display().to_string();
    step(&python, &["-m", "pip", "install", "--quiet", "--requirement", &list]).await?;
    std::fs::write(&done, "").map_err(|error| format!("{}: {error}", done.display()))?;
    Ok(python)
}

async fn step(program: impl AsRef<Path>, arguments: &[&str]) -> Result<(), String> {
    let program = program.as_ref();
    let what = format!("{} {}", program.display(), arguments.join(" "));
    let mut child = Child::start(&what, program, arguments).map_err(|error| format!("{error:#}"))?;
    let status = child.wait(INSTALL).await.map_err(|error| format!("{error:#}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("`{what}` failed: {}", child.stderr())),
    }
}
