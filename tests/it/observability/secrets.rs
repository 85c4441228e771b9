//! Scenario 79 for what a node tells of itself: canaries for every secret and for what is said, and none of them in logs,
//! spans, metrics or refusals.

use serde_json::{Value, json};
use tests::client::Client;
use tokio::task::JoinSet;

use crate::collector::Collector;
use crate::lab::{Face, Lab, SOON, Setup, chat, until};

const ENGINE_KEY: &str = "canary-engine-key-81d0";
const HOOK_SECRET: &str = "canary-hook-secret-93a7-0123456789abcdef";
const SAID: &str = "canary-prompt-5b1e";
const SYSTEM: &str = "canary-system-77f2";
const WRITTEN: &str = "canary-document-c40d";
const MADE_UP: &str = "canary-model-0e66";

async fn asked(client: &Client) {
    let body = json!({"model": "fake", "stream": true, "messages": [
        {"role": "system", "content": SYSTEM}, {"role": "user", "content": SAID}]});
    assert!(client.ask("/v1/chat/completions", &body).await.unwrap().is_good());
    for face in [Face::OllamaChat, Face::Completion] {
        assert!(client.ask(face.path(), &face.body(SAID)).await.unwrap().is_good());
    }
    let document = json!({"source": "note:a", "text": format!("The pump is blue. {WRITTEN}.")});
    assert!(client.post_json("/api/research/collections/house/documents", &document).await.unwrap().status < 300);
    assert_eq!(client.post_json("/api/research/search", &json!({"question": SAID})).await.unwrap().status, 200);
    let question = json!({"question": format!("is the pump {SAID}?")});
    assert_eq!(client.post_json("/api/research/ask", &question).await.unwrap().status, 200);
    assert!(client.post_json("/api/projects", &json!({"name": "garden"})).await.unwrap().status < 300);
    let plan = json!({"work": "parse-prd", "planner": "model", "prd": format!("# Garden\n\nThe pump must {SAID}.")});
    assert!(client.post_json("/api/projects/garden/jobs", &plan).await.unwrap().status < 300);
}

/// Each line is JSON; ours have messages in lower case, and the end of an ask names it.
fn are_well_written(log: &str) {
    const OURS: &[&str] =
        &["tmd", "api", "base", "cluster", "inference", "jobs", "net", "planner", "research", "store"];
    let mut asks = 0;
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let target = line["target"].as_str().unwrap_or_default().split("::").next().unwrap_or_default().to_owned();
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        if OURS.contains(&&*target) {
            assert!(!message.is_empty() && !message.starts_with(char::is_uppercase), "{line}");
        }
        if message == "an ask ended" {
            asks += 1;
            assert!(line["fields"]["ask"].as_str().is_some_and(|ask| ask.starts_with("ask-")), "{line}");
        }
    }
    assert!(asks > 5, "{asks} ends of asks in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_nothing_that_was_said_is_in_what_a_node_tells_of_itself() {
    let mut servers = JoinSet::new();
    let (collector, telemetry) = Collector::serve(&mut servers).await;
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("engine.key");
    std::fs::write(&key_file, ENGINE_KEY).unwrap();
    let mut lab = Lab::single();
    let url = lab.engine("openai", &["--key", ENGINE_KEY, "--token", "0ms", "--context", "65536"]).await;
    let more = format!(
        "{telemetry}log = \"debug\"\njson = true\n[hooks.github]\nsecret = \"{HOOK_SECRET}\"\n\
         project = \"home\"\n"
    );
    let key = format!("key_file = \"{}\"\n", key_file.display());
    lab.node(Setup::new("a").worker_with("engine", "openai", &url, &key).more(&more)).await;
    // A key is made while none is needed; from then on one is.
    let shown = lab.nodes[0].create_key("laptop").await.unwrap();
    lab.nodes[0].child.terminate().unwrap();
    lab.nodes[0].child.wait(SOON).await.unwrap();
    let config = std::fs::read_to_string(lab.nodes[0].config()).unwrap() + "[auth]\nkeys = \"store\"\n";
    std::fs::write(lab.nodes[0].config(), config).unwrap();
    lab.nodes[0].again().await;
    let client = lab.http(0).with_header("authorization", &format!("Bearer {shown}"));
    until("a worker that is ready", SOON, async || client.get("/readyz").await.is_ok_and(|reply| reply.status == 200))
        .await;

    asked(&client).await;
    // What goes wrong is told with more words.
    let mut told = String::new();
    for (client, body) in [
        (client.clone(), json!({"model": MADE_UP, "messages": [{"role": "user", "content": SAID}]})),
        (lab.http(0), chat(SAID, false)),
        (lab.http(0).with_header("authorization", &format!("Bearer {shown}x")), chat(SAID, false)),
    ] {
        let refused = client.post_json("/v1/chat/completions", &body).await.unwrap();
        assert!(refused.status >= 400, "{}", refused.text());
        // A client may be told what it said itself: which model there is not.
        told.push_str(&refused.text().replace(MADE_UP, ""));
    }
    lab.engines[0].control(&json!({"fail": {"status": {"code": 500}}})).await.unwrap();
    let failed = client.post_json("/v1/chat/completions", &chat(SAID, false)).await.unwrap();
    assert!(failed.status >= 500, "{}", failed.text());
    told.push_str(&failed.text());
    told.push_str(&client.get("/metrics").await.unwrap().text());
    told.push_str(&client.get("/readyz").await.unwrap().text());
    lab.nodes[0].child.terminate().unwrap();
    lab.nodes[0].child.wait(SOON).await.unwrap();
    let log = lab.nodes[0].child.stderr();
    let spans = collector.all();
    // It told enough to find something in.
    assert!(log.lines().count() > 20 && spans.len() > 15, "{} lines, {} spans", log.lines().count(), spans.len());
    told.push_str(&log);
    are_well_written(&log);
    for secret in [ENGINE_KEY, HOOK_SECRET, SAID, SYSTEM, WRITTEN, &shown] {
        let place = told.find(secret).map(|at| told.get(at.saturating_sub(300)..at + 100));
        assert_eq!(place, None, "`{secret}` is told");
        assert!(!format!("{spans:?}").contains(secret), "`{secret}` is in a span");
    }
    assert!(!told.contains(MADE_UP), "a client's word for a model is in a log or a metric");
}
