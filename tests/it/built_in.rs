//! Nodes with the built-in engine: a model file is all that they need, and a dead process costs one restart.
//!
//! Where `tm-engine` was not built (it wants cmake and libclang), these tests say so and pass.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::client::{Client, Told};
use tests::process::binary;
use tokio::task::JoinSet;

use crate::lab::{Lab, SOON, Setup, bounded, is_soak, pieces, until};
use crate::models;

/// A folder of models for a node.
struct Models {
    folder: tempfile::TempDir,
}

impl Models {
    /// With copies of `files`, under these names.
    fn of(files: &[(&str, PathBuf)]) -> Option<Self> {
        if binary("tm-engine").is_err() {
            eprintln!("skipped: no tm-engine was built");
            return None;
        }
        let models = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(models.path()).unwrap();
        for (name, file) in files {
            std::fs::copy(file, models.file(name)).unwrap();
        }
        Some(models)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.gguf"))
    }

    /// A node with these models; `more` are lines of its worker.
    fn setup(&self, node: &str, more: &str) -> Setup {
        let engine = format!("[engine]\nfolder = \"{}\"\nstores = []\nthreads = 1\n", self.path().display());
        uncached(node).worker_with("own", "engine", "http://127.0.0.1", more).more(&engine)
    }
}

/// A node that answers every ask anew.
fn uncached(node: &str) -> Setup {
    Setup::new(node).more("[cache]\nkind = \"off\"")
}

/// A single node whose models are known.
async fn serving(setup: Setup) -> Lab {
    let mut lab = Lab::single();
    lab.node(setup).await;
    lab.workers_are(0, "ready", 1).await;
    lab
}

/// An answer of some fifty tokens, always the same.
fn long(question: &str) -> Value {
    json!({"model": "chat", "temperature": 0, "stream": true, "messages": [{"role": "user", "content": question}]})
}

fn short(question: &str) -> Value {
    json!({"model": "chat", "temperature": 0, "max_tokens": 30, "messages": [{"role": "user", "content": question}]})
}

/// Processes of the built-in engine that `node` has.
fn engines(node: u32) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_one = |pid: &i32| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let parent = read("stat").rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parent == Some(node) && read("comm").trim() == "tm-engine"
    };
    pids.filter(is_one).filter_map(Pid::from_raw).collect()
}

async fn whole(client: &Client, body: &Value) -> Told {
    bounded("an answer", Duration::from_secs(60), client.ask("/v1/chat/completions", body)).await.unwrap()
}

/// Loads the model and gives what it answers when nothing happens.
async fn undisturbed(client: &Client, body: &Value) -> Told {
    let told = whole(client, body).await;
    assert!(told.is_good(), "{told:?}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn every_face_answers_from_a_file_alone() {
    let files = [("chat", models::words()), ("embed", models::embed()), ("rerank", models::rerank())];
    let Some(models) = Models::of(&files) else { return };
    let lab = serving(models.setup("a", "")).await;
    let client = lab.http(0);
    let chat = client.post_json("/v1/chat/completions", &short("What must be done?")).await.unwrap().json().unwrap();
    let text = chat["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(text.len() > 40, "{chat}");
    let messages = json!([{"role": "user", "content": "What must be done?"}]);
    let ollama = json!({"model": "chat", "stream": false, "options": {"temperature": 0, "num_predict": 30},
        "messages": messages});
    let ollama = client.post_json("/api/chat", &ollama).await.unwrap().json().unwrap();
    assert_eq!(ollama["message"]["content"], text.as_str());
    assert_eq!(ollama["eval_count"], chat["usage"]["completion_tokens"]);
    let raw = json!({"model": "chat", "temperature": 0, "max_tokens": 5, "prompt": "The worker must"});
    let raw = client.post_json("/v1/completions", &raw).await.unwrap().json().unwrap();
    assert_eq!(raw["choices"][0]["finish_reason"], "length", "{raw}");
    let vectors = json!({"model": "embed", "input": ["a task", "every log"]});
    let vectors = client.post_json("/v1/embeddings", &vectors).await.unwrap().json().unwrap();
    assert_eq!(vectors["data"].as_array().unwrap().len(), 2, "{vectors}");
    let ranked = json!({"model": "rerank", "query": "the worker", "documents": ["a log", "the worker stops"]});
    let ranked = client.post_json("/v1/rerank", &ranked).await.unwrap().json().unwrap();
    assert_eq!(ranked["results"][0]["index"], 1, "{ranked}");
}

/// Reads an answer to its end; gives the longest time between two pieces behind `position`, where the engine's process
/// is killed.
async fn killed_at(lab: &Lab, position: usize) -> (Told, Duration) {
    let mut stream = lab.http(0).stream("/v1/chat/completions", &long("Which way?")).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, position).await;
    let victims: Vec<Pid> = lab.nodes.iter().flat_map(|node| engines(node.child.pid())).collect();
    kill_process(*victims.first().unwrap(), Signal::KILL).unwrap();
    let (mut last, mut gap) = (Instant::now(), Duration::ZERO);
    while let Some(frame) = bounded("the next piece", SOON, stream.next()).await.unwrap() {
        gap = gap.max(last.elapsed());
        last = Instant::now();
        told.note(&frame);
    }
    (told, gap)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_survives_the_death_of_its_process_to_the_byte() {
    let Some(models) = Models::of(&[("chat", models::slow())]) else { return };
    let mut gaps = Vec::new();
    let positions: Vec<usize> = (1..60).step_by(if is_soak() { 1 } else { 11 }).collect();
    // A model that dies five times in ten minutes is left alone, so after four deaths another node goes on.
    for positions in positions.chunks(4) {
        let lab = serving(models.setup("a", "")).await;
        let expected = undisturbed(&lab.http(0), &long("Which way?")).await;
        for &position in positions.iter().filter(|position| **position < expected.pieces) {
            let (told, gap) = killed_at(&lab, position).await;
            assert!(told.is_good(), "killed behind piece {position}: {told:?}");
            assert_eq!(told.text, expected.text, "killed behind piece {position}");
            assert_eq!(told.usage, expected.usage, "killed behind piece {position}");
            gaps.push(gap);
        }
        let reached = positions.iter().any(|position| *position < expected.pieces);
        assert_eq!(lab.nodes[0].metric("tm_resumes_total").await > 0.0, reached);
    }
    gaps.sort();
    eprintln!(
        "{} kills; longest gap of each stream: median {:?}, p95 {:?}",
        gaps.len(),
        gaps[gaps.len() / 2],
        gaps[gaps.len() * 95 / 100]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_on_at_another_node_with_the_same_file() {
    let Some(models) = Models::of(&[("chat", models::slow())]) else { return };
    let mut lab = Lab::cluster().await;
    lab.node(uncached("gateway")).await;
    lab.node(models.setup("w0", "")).await;
    lab.node(models.setup("w1", "")).await;
    lab.workers_are(0, "ready", 2).await;
    until("both files are known to be the same", SOON, async || {
        let models = lab.nodes[0].models().await.unwrap_or_default();
        models.iter().any(|model| model.id.starts_with("sha256:") && model.places.len() == 2)
    })
    .await;
    let expected = undisturbed(&lab.http(0), &long("Which way?")).await;
    let mut stream = lab.http(0).stream("/v1/chat/completions", &long("Which way?")).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, 10).await;
    let at = (1..=2).find(|at| !engines(lab.nodes[*at].child.pid()).is_empty()).unwrap();
    lab.nodes[at].child.kill().await.unwrap();
    bounded("the rest", SOON, stream.tell(&mut told)).await;
    assert!(told.is_good(), "{told:?}");
    assert_eq!(told.text, expected.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_the_engine_end_with_their_node() {
    let Some(models) = Models::of(&[("chat", models::words())]) else { return };
    for force in [true, false] {
        let mut lab = serving(models.setup("a", "")).await;
        let node = &mut lab.nodes[0];
        undisturbed(&node.client, &short("Hello")).await;
        let engine = *engines(node.child.pid()).first().unwrap();
        match force {
            true => drop(node.child.kill().await.unwrap()),
            false => {
                node.child.signal(Signal::TERM).unwrap();
                node.child.wait(SOON).await.unwrap();
            }
        }
        until("the process is gone", SOON, async || rustix::process::test_kill_process(engine).is_err()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_process_is_killed_and_its_answer_goes_on() {
    let Some(models) = Models::of(&[("chat", models::slow())]) else { return };
    let lab = serving(models.setup("a", "")).await;
    let client = lab.http(0);
    let expected = undisturbed(&client, &long("Which way?")).await;
    let mut stream = client.stream("/v1/chat/completions", &long("Which way?")).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, 10).await;
    kill_process(*engines(lab.nodes[0].child.pid()).first().unwrap(), Signal::STOP).unwrap();
    bounded("the rest", Duration::from_secs(40), stream.tell(&mut told)).await;
    assert!(told.is_good(), "{told:?}");
    assert_eq!(told.text, expected.text);
    assert!(lab.nodes[0].child.stderr().contains("was frozen"));
    assert!(!lab.nodes[0].failures().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_by_name_and_costs_no_process() {
    let Some(models) = Models::of(&[("chat", models::words())]) else { return };
    let good = std::fs::read(models.file("chat")).unwrap();
    std::fs::write(models.file("cut"), &good[..good.len() / 2]).unwrap();
    std::fs::write(models.file("junk"), b"not a model").unwrap();
    let lab = serving(models.setup("a", "")).await;
    for name in ["cut", "junk"] {
        let body = json!({"model": name, "messages": [{"role": "user", "content": "hi"}]});
        let reply = lab.http(0).post_json("/v1/chat/completions", &body).await.unwrap();
        assert_eq!(reply.status, 404, "{}", reply.text());
    }
    undisturbed(&lab.http(0), &short("Hello")).await;
    let log = lab.nodes[0].child.stderr();
    assert!(log.contains("cut.gguf") && log.contains("junk.gguf"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_five_times_is_left_alone_and_told() {
    let Some(models) = Models::of(&[("chat", models::words())]) else { return };
    let lab = serving(models.setup("a", "")).await;
    let node = &lab.nodes[0];
    for death in 1..=5 {
        until("it is up", SOON, async || {
            let told = node.client.ask("/v1/chat/completions", &short("Hello")).await;
            told.is_ok_and(|told| told.is_good())
        })
        .await;
        kill_process(*engines(node.child.pid()).first().unwrap(), Signal::KILL).unwrap();
        if death < 5 {
            let noticed = format!("death {death} is noticed");
            until(&noticed, SOON, async || node.metric("tm_engine_restarts_total").await >= f64::from(death)).await;
        }
    }
    until("it is left alone", SOON, async || {
        let failures = node.failures().await.unwrap_or_default();
        failures.iter().any(|failure| failure.severity == "high" && failure.detail.contains("left alone"))
    })
    .await;
    assert!(engines(node.child.pid()).is_empty());
    let reply = node.client.post_json("/v1/chat/completions", &short("Hello")).await.unwrap();
    assert!(reply.status >= 400, "{}", reply.text());
    assert!(reply.text().contains("hint"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_under_its_process_is_not_answered_from() {
    let Some(models) = Models::of(&[("chat", models::words())]) else { return };
    let lab = serving(models.setup("a", "")).await;
    let node = &lab.nodes[0];
    undisturbed(&node.client, &short("Hello")).await;
    // As a copy over it does: cut first, then written.
    let other = std::fs::read(models::noise()).unwrap();
    std::fs::write(models.file("chat"), &other).unwrap();
    until("the process is another one", SOON, async || {
        node.failures().await.is_ok_and(|failures| !failures.is_empty())
    })
    .await;
    until("the new file answers", SOON, async || {
        let told = node.client.ask("/v1/chat/completions", &short("Hello")).await;
        told.is_ok_and(|told| told.is_good())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_go_on_with_other_weights() {
    let Some(models) = Models::of(&[("chat", models::slow())]) else { return };
    let lab = serving(models.setup("a", "")).await;
    let client = lab.http(0);
    let expected = undisturbed(&client, &long("Which way?")).await;
    let mut stream = client.stream("/v1/chat/completions", &long("Which way?")).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, 10).await;
    std::fs::write(models.file("chat"), std::fs::read(models::noise()).unwrap()).unwrap();
    bounded("an end", Duration::from_secs(40), stream.tell(&mut told)).await;
    assert!(expected.text.starts_with(&told.text), "{told:?}");
    assert!(told.error.is_some(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_comes_goes_or_is_replaced_costs_the_other_models_nothing() {
    let Some(models) = Models::of(&[("chat", models::words()), ("noise", models::noise())]) else { return };
    let lab = serving(models.setup("a", "")).await;
    let client = lab.http(0);
    let noise = || {
        let mut body = short("Hello");
        body["model"] = "noise".into();
        body
    };
    undisturbed(&client, &short("Hello")).await;
    let before = undisturbed(&client, &noise()).await;
    std::fs::copy(models::words(), models.file("new")).unwrap();
    std::fs::copy(models::words(), models.path().join("next")).unwrap();
    std::fs::rename(models.path().join("next"), models.file("noise")).unwrap();
    until("the file that replaced another one is served", SOON, async || {
        undisturbed(&client, &short("Hello")).await;
        let told = whole(&client, &noise()).await;
        told.is_good() && told.text != before.text
    })
    .await;
    std::fs::remove_file(models.file("noise")).unwrap();
    until("its process has ended", SOON, async || {
        undisturbed(&client, &short("Hello")).await;
        engines(lab.nodes[0].child.pid()).len() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_wait_for_a_model_that_is_being_unloaded() {
    let Some(models) = Models::of(&[("chat", models::slow())]) else { return };
    let lab = serving(models.setup("a", "")).await;
    let client = lab.http(0);
    let mut stream = client.stream("/v1/chat/completions", &long("Which way?")).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, 5).await;
    let unload = client.post_json("/api/generate", &json!({"model": "chat", "keep_alive": 0})).await.unwrap();
    assert_eq!(unload.status, 200, "{}", unload.text());
    undisturbed(&client, &short("Hello")).await;
    bounded("the rest", SOON, stream.tell(&mut told)).await;
    assert!(told.is_good(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_texts_at_once_may_be_longer_than_one_may() {
    let Some(models) = Models::of(&[("embed", models::embed()), ("rerank", models::rerank())]) else { return };
    let lab = serving(models.setup("a", "")).await;
    let texts: Vec<String> = (0..300).map(|n| format!("the worker number {n} must report every task")).collect();
    let reply = lab.http(0).post_json("/v1/embeddings", &json!({"model": "embed", "input": texts})).await.unwrap();
    assert_eq!(reply.json().unwrap()["data"].as_array().unwrap().len(), 300);
    let body = json!({"model": "rerank", "query": "worker", "documents": texts});
    let reply = lab.http(0).post_json("/v1/rerank", &body).await.unwrap();
    assert_eq!(reply.json().unwrap()["results"].as_array().unwrap().len(), 300);
    let long = json!({"model": "embed", "input": "w ".repeat(5000)});
    assert_eq!(lab.http(0).post_json("/api/embed", &long).await.unwrap().status, 200, "its end is left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_do_not_fit_together_take_turns() {
    let files = [("chat", models::words()), ("noise", models::noise()), ("embed", models::embed())];
    let Some(models) = Models::of(&files) else { return };
    // Each takes some 20 MiB, and is believed to take twice that before it was seen.
    let lab = serving(models.setup("a", "memory = \"60MiB\"\n")).await;
    let node = &lab.nodes[0];
    for _ in 0..3 {
        for model in ["chat", "noise"] {
            let mut body = short("Hello");
            body["model"] = model.into();
            undisturbed(&node.client, &body).await;
            let running = engines(node.child.pid()).len();
            assert!(running <= 1, "{running} processes beside each other");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_kept_to_and_one_that_cannot_be_is_refused_by_its_keyword() {
    let Some(models) = Models::of(&[("chat", models::noise())]) else { return };
    let lab = serving(models.setup("a", "")).await;
    let schema = json!({"type": "object", "required": ["title", "done"], "additionalProperties": false,
        "properties": {"title": {"type": "string", "maxLength": 12}, "done": {"type": "boolean"}}});
    let with = |schema: &Value, seed: u32| {
        json!({"model": "chat", "temperature": 1, "seed": seed, "max_tokens": 200,
            "response_format": {"type": "json_schema", "json_schema": {"name": "task", "schema": schema}},
            "messages": [{"role": "user", "content": "A task"}]})
    };
    for seed in 0..10 {
        let told = undisturbed(&lab.http(0), &with(&schema, seed)).await;
        let task: Value = serde_json::from_str(&told.text).unwrap_or_else(|error| panic!("{error}: {}", told.text));
        assert!(task["done"].is_boolean(), "{task}");
    }
    let reply = lab.http(0).post_json("/v1/chat/completions", &with(&json!({"not": {"type": "string"}}), 1)).await;
    let reply = reply.unwrap();
    assert!(reply.status == 400 && reply.text().contains("not"), "{} {}", reply.status, reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_has_its_own_system_text_and_adapter() {
    let Some(models) = Models::of(&[("chat", models::words())]) else { return };
    std::fs::copy(models::adapter(), models.path().join("first.gguf")).unwrap();
    let variant = "base = \"chat\"\nadapter = \"first.gguf\"\nsystem = \"Be brief.\"\n[parameters]\nnum_predict = 4\n";
    std::fs::write(models.path().join("tuned.toml"), variant).unwrap();
    let lab = serving(models.setup("a", "")).await;
    let client = lab.http(0);
    let ask = |model: &str| json!({"model": model, "temperature": 0, "messages": [{"role": "user", "content": "Hi"}]});
    let (plain, tuned) = (undisturbed(&client, &ask("chat")).await, undisturbed(&client, &ask("tuned")).await);
    assert_ne!(plain.text, tuned.text);
    let (prompt, output) = tuned.usage.unwrap();
    assert!(prompt > plain.usage.unwrap().0 && output == 4, "{tuned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_run_together_survive_the_death_of_their_process() {
    const STREAMS: usize = 20;
    let Some(models) = Models::of(&[("chat", models::slow())]) else { return };
    let lab = serving(models.setup("a", "slots = 8\nqueue = 64\n")).await;
    let client = lab.http(0);
    undisturbed(&client, &short("Hello")).await;
    let mut streams = JoinSet::new();
    for at in 0..STREAMS {
        let client = client.clone();
        streams.spawn(async move {
            let mut stream = client.stream("/v1/chat/completions", &long(&format!("Stream {at}"))).await.unwrap();
            let mut told = Told::new(stream.status);
            stream.tell(&mut told).await;
            told
        });
    }
    until("eight of them run", SOON, async || {
        lab.nodes[0].worker("a/own").await.is_some_and(|worker| worker.busy == 8)
    })
    .await;
    kill_process(*engines(lab.nodes[0].child.pid()).first().unwrap(), Signal::KILL).unwrap();
    let told = bounded("every answer", Duration::from_secs(90), streams.join_all()).await;
    for told in told {
        assert!(told.is_good() && told.finish.as_deref() == Some("stop"), "{told:?}");
    }
    until("every slot is free again", SOON, async || {
        lab.nodes[0].worker("a/own").await.is_some_and(|worker| worker.busy == 0 && worker.queued == 0)
    })
    .await;
}

/// The file that limits the memory of a process's cgroup, where it has one that the engine's worker made.
fn memory_limit_of(engine: Pid) -> Option<PathBuf> {
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", engine.as_raw_nonzero())).ok()?;
    let line = own.lines().find(|line| line.contains("/taskmaster-"))?;
    let (kind, path) = line.split_once(":/")?;
    let root = if kind.contains("memory") { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" };
    let file = if kind.contains("memory") { "memory.limit_in_bytes" } else { "memory.max" };
    Some(std::path::Path::new(root).join(path).join(file))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_has_no_memory_left_is_told_as_such_and_its_answer_goes_on() {
    let Some(models) = Models::of(&[("chat", models::slow())]) else { return };
    let lab = serving(models.setup("a", "")).await;
    let client = lab.http(0);
    let expected = undisturbed(&client, &long("Which way?")).await;
    let engine = *engines(lab.nodes[0].child.pid()).first().unwrap();
    let Some(limit) = memory_limit_of(engine) else {
        eprintln!("skipped: no cgroup can be made here");
        return;
    };
    let configured: u64 = std::fs::read_to_string(&limit).unwrap().trim().parse().unwrap();
    assert!(configured > 256 << 20 && configured < 4 << 30, "{configured}");
    let mut stream = client.stream("/v1/chat/completions", &long("Which way?")).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, 10).await;
    // What it has is all that it may have, and then comes an ask that is larger than that.
    let used =
        limit.with_file_name(if limit.ends_with("memory.max") { "memory.current" } else { "memory.usage_in_bytes" });
    let used: u64 = std::fs::read_to_string(used).unwrap().trim().parse().unwrap();
    let is_limited = (1..20).any(|room: u64| std::fs::write(&limit, (used + (room << 20)).to_string()).is_ok());
    assert!(is_limited, "the limit cannot be set");
    let mut large = short("Hello");
    large["stop"] = vec!["x".repeat(1600); 10_000].into();
    let reply = bounded("a refusal", SOON, client.post_json("/v1/chat/completions", &large)).await.unwrap();
    assert_eq!(reply.status, 400, "the next process says what is wrong with it: {}", reply.text());
    bounded("the rest", Duration::from_secs(40), stream.tell(&mut told)).await;
    assert!(told.is_good(), "{told:?}");
    assert_eq!(told.text, expected.text);
    let failures = lab.nodes[0].failures().await.unwrap();
    assert!(failures.iter().any(|failure| failure.kind == "resource-exhaustion"), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_left_alone_at_one_node_is_asked_at_another() {
    let Some(models) = Models::of(&[("chat", models::words())]) else { return };
    let mut lab = Lab::cluster().await;
    lab.node(models.setup("w0", "")).await;
    lab.node(models.setup("w1", "")).await;
    lab.workers_are(0, "ready", 2).await;
    let w0 = &lab.nodes[0];
    let ask =
        async || bounded("an answer", SOON, w0.client.ask("/v1/chat/completions", &short("Hello"))).await.unwrap();
    until("it is left alone at one node", Duration::from_secs(60), async || {
        // Those of this node alone: while its process is away, the other node is the one that has to answer.
        for engine in engines(w0.child.pid()) {
            let _ = kill_process(engine, Signal::KILL);
        }
        ask().await;
        let mut places = w0.models().await.unwrap_or_default().into_iter().flat_map(|model| model.places);
        places.any(|place| place.quarantined_s.is_some())
    })
    .await;
    for _ in 0..5 {
        assert!(ask().await.is_good());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_the_command_line_is_all_that_a_node_needs() {
    let Some(models) = Models::of(&[("chat", models::words())]) else { return };
    let home = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(binary("tmd").unwrap());
    command.arg("--dev").arg("--model").arg(models.file("chat"));
    command.env("XDG_STATE_HOME", home.path()).env("HOME", home.path());
    for port in ["HTTP", "GRPC", "PEERS"] {
        command.env(format!("TMD_{port}__LISTEN"), "127.0.0.1:0");
    }
    let mut node = tests::process::Child::spawn("tmd", command).unwrap();
    let line = node.wait_line("ready http=", SOON).await.unwrap();
    let http = line.split_whitespace().find_map(|field| field.strip_prefix("http=")).unwrap();
    let client = Client::new(http);
    until("it answers", SOON, async || {
        client.ask("/v1/chat/completions", &short("Hello")).await.is_ok_and(|told| told.is_good())
    })
    .await;
    node.signal(Signal::TERM).unwrap();
    assert!(node.wait(SOON).await.unwrap().success());
}
