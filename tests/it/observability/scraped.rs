//! Real scrapes of nodes that have something to tell: by promtool, by a real Prometheus, against the table of the README.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use proto::admin::PlaceRequest;
use serde_json::{Value, json};
use tests::client::Client;
use tests::port::free_port;
use tests::process::Child;
use tokio::task::JoinSet;

use super::{conventions, deployed, folder, has};
use crate::collector::{Collector, hex};
use crate::lab::{Face, Lab, MODEL, SOON, Setup, deterministic, until};

/// Told by nodes with certificates, which these are not.
const ELSEWHERE: [&str; 1] = ["tm_cert_expiry_seconds"];

/// A stand-in for the driver of two GPUs, compiled here; `None` where there is no C compiler.
fn driver(dir: &Path) -> Option<String> {
    let (library, state) = (dir.join("libnvidia-ml.so.1"), dir.join("state"));
    fs::write(&state, "0 2 -1 97").unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/inference/tests-data/nvml_stub.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-DMILLIWATTS=212000", "-o"])
        .arg(&library)
        .arg(format!("-DSTATE=\"{}\"", state.display()))
        .arg(source)
        .status();
    match built {
        Ok(status) => assert!(status.success(), "the stand-in does not compile"),
        Err(_) => return None,
    }
    Some(format!("[gpu]\nnvml = \"{}\"\n", library.display()))
}

/// Posts JSON, which must be taken.
async fn posted(client: &Client, path: &str, body: Value) {
    let reply = client.post_json(path, &body).await.unwrap();
    assert!(reply.status < 300, "{path}: {}", reply.text());
}

/// A bit of everything that a node counts.
async fn traffic(lab: &Lab, at: usize) {
    let client = lab.http(at);
    for face in [Face::Chat, Face::OllamaChat] {
        assert!(client.ask(face.path(), &face.body("hello")).await.unwrap().is_good());
    }
    posted(&client, "/v1/chat/completions", deterministic("hello")).await;
    assert_eq!(
        client.post_json("/v1/chat/completions", &json!({"model": "nobody", "messages": []})).await.unwrap().status,
        404
    );
    posted(
        &client,
        "/api/research/collections/house/documents",
        json!({"source": "note:a", "text": "The pump is blue."}),
    )
    .await;
    posted(&client, "/api/research/search", json!({"question": "pump"})).await;
    posted(&client, "/api/research/ask", json!({"question": "pump?", "mode": "extractive"})).await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "search_documents", "arguments": {"query": "pump"}}});
    let agent = client.clone().with_header("content-type", "application/json");
    let agent = agent.with_header("accept", "application/json, text/event-stream");
    let agent = agent.with_header("mcp-protocol-version", "2025-06-18");
    assert_eq!(agent.send(Method::POST, "/mcp", call.to_string().into()).await.unwrap().status, 200);
    assert!(client.send(Method::POST, "/hooks/github", Bytes::from_static(b"{}")).await.unwrap().status >= 400);
    posted(&client, "/api/projects", json!({"name": "garden"})).await;
    let plan =
        json!({"work": "parse-prd", "planner": "structural", "prd": "# Garden\n\nThe pump must start by itself."});
    posted(&client, "/api/projects/garden/jobs", plan).await;
    // Whichever node takes it.
    until("a job that ended", SOON, async || {
        let ended = lab.nodes.iter().map(|node| node.metric("tm_job_seconds_count"));
        futures_util::future::join_all(ended).await.iter().sum::<f64>() > 0.0
    })
    .await;
    for load in [false, true] {
        let order = PlaceRequest { worker: "b/engine".into(), model: MODEL.into(), load };
        lab.nodes[at].admin().place(order).await.unwrap();
    }
    lab.nodes[at].inject("jobs", "panic").await.unwrap();
    until("an actor that was started again", SOON, async || {
        lab.nodes[at].metric("tm_actor_restarts_total").await > 0.0
    })
    .await;
}

/// Two nodes with traffic at both.
async fn busy(more: &str) -> Lab {
    let mut lab = Lab::cluster().await;
    for name in ["a", "b"] {
        let url = lab.engine("ollama", &["--token", "1ms"]).await;
        let setup = Setup::new(name).worker_with("engine", "ollama", &url, "slots = 4\nmemory = \"24GiB\"\n");
        lab.node(setup.more(more)).await;
    }
    for at in [0, 1] {
        lab.workers_are(at, "ready", 2).await;
    }
    traffic(&lab, 1).await;
    lab
}

/// Names and types as a scrape declares them.
fn declared(scrape: &str) -> BTreeMap<String, String> {
    let declared = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    declared.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// Names and types as the README has them.
fn told() -> BTreeMap<String, String> {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let metrics = readme.split("\n## Metrics\n").nth(1).unwrap().split("\n## ").next().unwrap().to_owned();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`').to_owned(), cells.next()?.to_owned()))
    };
    metrics.lines().filter_map(row).collect()
}

/// Names of metrics in an expression, without the suffixes of histograms.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| ["tm_", "gen_ai_", "mcp_"].iter().any(|prefix| word.starts_with(prefix)));
    // Labels of the conventions begin so, too.
    let labels = [
        "gen_ai_request_model",
        "gen_ai_provider_name",
        "gen_ai_operation_name",
        "gen_ai_token_type",
        "gen_ai_tool_name",
    ];
    ours.filter(|word| !labels.contains(word)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_in_the_readme_and_in_a_real_scrape_and_dashboards_use_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let gpu = driver(dir.path());
    let lab = busy(gpu.as_deref().unwrap_or_default()).await;
    until("what the machine has", SOON, async || gpu.is_none() || lab.nodes[1].metric("tm_gpu_up").await > 0.0).await;
    let scrape = lab.http(1).get("/metrics").await.unwrap().text();
    let (mut declared, mut told) = (declared(&scrape), told());
    let other = lab.http(0).get("/metrics").await.unwrap().text();
    declared.extend(self::declared(&other));
    told.retain(|name, _| !ELSEWHERE.contains(&&**name));
    if gpu.is_none() {
        told.retain(|name, _| !name.starts_with("tm_gpu_"));
    }
    assert_eq!(declared, told, "the scrape is left, the README right");
    let conventions = conventions();
    let foreign: Vec<_> =
        declared.keys().filter(|name| !name.starts_with("tm_") && !conventions.contains(*name)).collect();
    assert!(foreign.is_empty(), "{foreign:?} are no names of the conventions");

    let rules = fs::read_to_string(folder().join("rules/taskmaster.yml")).unwrap();
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned);
    for expression in deployed::expressions().into_iter().chain(alerts) {
        for name in metrics_in(&expression) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let is_there = declared.contains_key(&name) || family.is_some_and(|family| declared.contains_key(family));
            let is_absent = gpu.is_none() && name.starts_with("tm_gpu_");
            assert!(is_there || is_absent || ELSEWHERE.contains(&&*name), "{name} of {expression} is in no scrape");
        }
    }
    if has("promtool") {
        let mut checks = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        checks.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
        let said = checks.wait_with_output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_names_of_models_that_clients_made_up_are_no_labels() {
    const NAMES: usize = 10_000;
    const AT_ONCE: usize = 8;
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &[]).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    let ask = async |client: &Client, name: String| {
        let reply = client.post_json("/v1/chat/completions", &json!({"model": name, "messages": []})).await.unwrap();
        assert_eq!(reply.status, 404, "{}", reply.text());
    };
    ask(&lab.http(0), "made-up".to_owned()).await;
    let before = lab.http(0).get("/metrics").await.unwrap().text();
    let mut clients = JoinSet::new();
    for lane in 0..AT_ONCE {
        let client = lab.http(0);
        clients.spawn(async move {
            for n in (lane..NAMES).step_by(AT_ONCE) {
                let body = json!({"model": format!("made-up-{n}"), "messages": []});
                let reply = client.post_json("/v1/chat/completions", &body).await.unwrap();
                assert_eq!(reply.status, 404, "{}", reply.text());
            }
        });
    }
    while let Some(lane) = clients.join_next().await {
        lane.unwrap();
    }
    let after = lab.http(0).get("/metrics").await.unwrap().text();
    assert!(!after.contains("made-up"), "a client's word became a label");
    assert_eq!(after.lines().count(), before.lines().count());
    assert_eq!(lab.nodes[0].metric("tm_refused_total{reason=\"model_not_found\"}").await, NAMES as f64 + 1.0);
}

/// A Prometheus that reads these nodes every second.
async fn prometheus(dir: &Path, lab: &Lab) -> (Child, Client) {
    let targets: Vec<String> = lab.nodes.iter().map(|node| node.http.clone()).collect();
    let config = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files:\n  - {}/rules/*.yml\nscrape_configs:\n  \
         - job_name: taskmaster\n    static_configs:\n      - targets: {}\n",
        folder().display(),
        json!(targets)
    );
    let path = dir.join("prometheus.yml");
    fs::write(&path, config).unwrap();
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let arguments = [
        format!("--config.file={}", path.display()),
        format!("--storage.tsdb.path={}", dir.join("data").display()),
        format!("--web.listen-address={address}"),
        "--enable-feature=exemplar-storage".to_owned(),
    ];
    let child = Child::start("prometheus", "prometheus", &arguments).unwrap();
    let client = Client::new(&address);
    until("prometheus", SOON, async || client.get("/-/ready").await.is_ok_and(|reply| reply.status == 200)).await;
    (child, client)
}

/// What Prometheus answers to a query.
async fn queried(client: &Client, path: &str, query: &str) -> Vec<Value> {
    let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let reply = client.get(&format!("{path}{query}")).await.unwrap();
    let answer = reply.json().unwrap();
    assert_eq!(answer["status"], "success", "{answer}");
    let data = &answer["data"];
    data.as_array().or_else(|| data["result"].as_array()).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exemplar_leads_from_a_real_prometheus_to_the_trace_of_an_ask() {
    if !has("prometheus") {
        return;
    }
    let mut servers = JoinSet::new();
    let (collector, telemetry) = Collector::serve(&mut servers).await;
    let dir = tempfile::tempdir().unwrap();
    let gpu = driver(dir.path()).unwrap_or_default();
    let lab = busy(&format!("{telemetry}{gpu}")).await;
    let (_prometheus, client) = prometheus(dir.path(), &lab).await;
    until("both nodes in prometheus", SOON, async || {
        queried(&client, "/api/v1/query?query=", "up{job=\"taskmaster\"} == 1").await.len() == 2
    })
    .await;

    let now = base::time::unix_ms() / 1000;
    let path = format!("/api/v1/query_exemplars?start={}&end={}&query=", now - 600, now + 600);
    let mut found = Vec::new();
    until("an exemplar", SOON, async || {
        found = queried(&client, &path, "gen_ai_server_request_duration_seconds_bucket").await;
        !found.is_empty()
    })
    .await;
    let exemplars = found.iter().flat_map(|series| series["exemplars"].as_array().cloned().unwrap_or_default());
    let traces: BTreeSet<String> =
        exemplars.map(|exemplar| exemplar["labels"]["trace_id"].as_str().unwrap().to_owned()).collect();
    let asks: BTreeSet<String> = collector
        .all()
        .iter()
        .filter(|seen| seen.span.name.starts_with("chat ") && seen.parent().is_empty())
        .map(|seen| hex(&seen.span.trace_id))
        .collect();
    assert!(!traces.is_empty() && traces.is_subset(&asks), "{traces:?} are none of {asks:?}");

    // What dashboards ask for has an answer, by the same Prometheus. Rates want two scrapes.
    let mut missing = Vec::new();
    let is_idle = |expression: &str| {
        // Where a part of it did not happen here there is nothing to show: errors of the tests' own asks do.
        let of_gpu = gpu.is_empty() && expression.contains("tm_gpu_");
        of_gpu || expression.contains("error_type!=")
    };
    until("an answer to every expression of a dashboard", Duration::from_secs(30), async || {
        missing.clear();
        for expression in deployed::expressions() {
            if !is_idle(&expression) && queried(&client, "/api/v1/query?query=", &expression).await.is_empty() {
                missing.push(expression);
            }
        }
        if !missing.is_empty() {
            eprintln!("nothing yet for {missing:#?}");
        }
        missing.is_empty()
    })
    .await;
}
