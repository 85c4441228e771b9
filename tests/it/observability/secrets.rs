//! Scenario 79 for what a node tells of itself: canaries for every secret and for what is said, and none of them in logs,
//! spans, metrics, refusals, command lines or the shown configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};
use tests::client::Client;
use tests::port::free_port;
use tests::process::binary;
use tokio::task::JoinSet;

use crate::certificates::House;
use crate::collector::Collector;
use crate::lab::{Face, Lab, Node, SOON, Setup, chat, until};

const ENGINE_KEY: &str = "canary-engine-key-81d0";
const CLOUD_KEY: &str = "canary-cloud-key-2fd9";
const REDIS_PASSWORD: &str = "canary-redis-password-6c11";
const PASSPHRASE: &str = "canary-passphrase-of-backups-d3a8";
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
            // A name is written as it is.
            let begin = message.trim_start_matches("Redis");
            assert!(!begin.is_empty() && !begin.starts_with(char::is_uppercase), "{line}");
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
    let put = |name: &str, secret: &str| {
        let path = dir.path().join(name);
        fs::write(&path, secret).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let store_key = net::random::key().unwrap();
    let store_key_file = put("store.key", &store_key);
    let mut lab = Lab::single();
    let url = lab.engine("openai", &["--key", ENGINE_KEY, "--token", "0ms", "--context", "65536"]).await;
    let more = format!(
        "{telemetry}log = \"debug\"\njson = true\n[hooks.github]\nsecret = \"{HOOK_SECRET}\"\n\
         project = \"home\"\n[cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"\npassword_file = {:?}\n",
        // Nobody is there, which is told again and again.
        free_port().unwrap(),
        put("redis.password", REDIS_PASSWORD),
    );
    let key = format!("key_file = {:?}\n", put("engine.key", ENGINE_KEY));
    let cloud = format!("key_file = {:?}\nmodels = [\"claude\"]\n", put("cloud.key", CLOUD_KEY));
    let setup = Setup::new("a").worker_with("engine", "openai", &url, &key);
    let setup = setup.worker_with("cloud", "anthropic", "https://192.0.2.1", &cloud);
    let sealed = format!("encryption = true\nkey_file = {store_key_file:?}\nlease_ttl = \"2s\"");
    lab.node(setup.store(&sealed).more(&more)).await;
    // A key is made while none is needed; from then on one is.
    let shown = lab.nodes[0].create_key("laptop").await.unwrap();
    lab.nodes[0].child.terminate().unwrap();
    lab.nodes[0].child.wait(SOON).await.unwrap();
    let mut log = lab.nodes[0].child.stderr();
    let config = fs::read_to_string(lab.nodes[0].config()).unwrap() + "[auth]\nkeys = \"store\"\n";
    fs::write(lab.nodes[0].config(), config).unwrap();
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
    told.push_str(&shown_of(&lab.nodes[0]));
    // Another face's refusals, and another's errors.
    told.push_str(&format!("{:?}", lab.nodes[0].nodes().await.unwrap_err()));
    let agent = client.clone().with_header("accept", "application/json, text/event-stream");
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "read_document", "arguments": {"collection": "house", "document": "not there"}}});
    let refused = agent.post_json("/mcp", &call).await.unwrap().text();
    assert!(refused.contains("error") || refused.contains("isError"), "{refused}");
    told.push_str(&refused);
    let (backup, passphrase) = (dir.path().join("backup.age").display().to_string(), put("passphrase", PASSPHRASE));
    let backed_up =
        lab.nodes[0].tmctl(&["--key", &shown, "backup", "--to", &backup, "--passphrase-file", &passphrase]).await;
    assert!(backed_up.status.success(), "{}", String::from_utf8_lossy(&backed_up.stderr));
    told.push_str(&String::from_utf8_lossy(&[backed_up.stdout, backed_up.stderr].concat()));
    told.push_str(&String::from_utf8_lossy(&fs::read(&backup).unwrap()));
    lab.nodes[0].child.terminate().unwrap();
    lab.nodes[0].child.wait(SOON).await.unwrap();
    log.push_str(&lab.nodes[0].child.stderr());
    let spans = collector.all();
    // It told enough to find something in.
    assert!(log.lines().count() > 20 && spans.len() > 15, "{} lines, {} spans", log.lines().count(), spans.len());
    told.push_str(&log);
    are_well_written(&log);
    let secrets = [ENGINE_KEY, CLOUD_KEY, REDIS_PASSWORD, PASSPHRASE, HOOK_SECRET, SAID, SYSTEM, WRITTEN];
    for secret in secrets.into_iter().chain([store_key.trim(), &shown]) {
        is_not_told(&told, secret);
        assert!(!format!("{spans:?}").contains(secret), "`{secret}` is in a span");
    }
    assert!(!told.contains(MADE_UP), "a client's word for a model is in a log or a metric");
}

/// What anybody on the machine sees of a node: its command line, and what `tmd config` shows of its settings.
fn shown_of(node: &Node) -> String {
    let mut command = Command::new(binary("tmd").unwrap());
    let config = command.arg("config").arg("--config").arg(node.config()).output().unwrap();
    assert!(config.status.success(), "{}", String::from_utf8_lossy(&config.stderr));
    let line = fs::read(format!("/proc/{}/cmdline", node.child.pid())).unwrap();
    assert!(String::from_utf8_lossy(&line).contains("--config"));
    String::from_utf8_lossy(&[line, config.stdout, config.stderr].concat()).into_owned()
}

fn is_not_told(told: &str, secret: &str) {
    assert!(secret.len() > 8, "`{secret}` could stand anywhere");
    let place = told.find(secret).map(|at| told.get(at.saturating_sub(300)..at + 100));
    assert_eq!(place, None, "`{secret}` is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_certificates_and_the_cookie_of_a_cluster_are_in_nothing_that_its_nodes_tell() {
    let house = House::new();
    let mut lab = Lab::cluster().await;
    for name in ["a", "b"] {
        house.issue(name, &[]);
    }
    house.give_issuer("a");
    for name in ["a", "b"] {
        let more = house.sections(name, name == "a") + "[telemetry]\nlog = \"debug\"\n";
        lab.node(Setup::new(name).more(&more)).await;
    }
    for at in 0..2 {
        lab.nodes_are(at, "alive", &["a", "b"], SOON).await;
    }
    let mut cookie = None;
    until("the nodes have a cookie", SOON, async || {
        cookie = lab.store().get("settings/cookie").await.unwrap();
        cookie.is_some()
    })
    .await;
    let mut secrets = vec![String::from_utf8(cookie.unwrap().value.to_vec()).unwrap()];
    for file in ["a/a.key", "a/a-issuer.key", "b/b.key"] {
        let pem = fs::read_to_string(house.path(file)).unwrap();
        let first = pem.lines().find(|line| !line.starts_with("-----")).unwrap();
        // The beginning says which kind of key it is, and is the same of all.
        secrets.push(first[first.len() - 24..].to_owned());
    }
    let mut told = String::new();
    for node in &mut lab.nodes {
        told.push_str(&shown_of(node));
        told.push_str(&node.client.get("/metrics").await.unwrap().text());
        told.push_str(&format!("{:?}{:?}", node.actors().await.unwrap(), node.failures().await.unwrap()));
        node.child.terminate().unwrap();
        node.child.wait(SOON).await.unwrap();
        assert!(node.child.stderr().lines().count() > 20, "it told nothing");
        told.push_str(&node.child.stderr());
    }
    for secret in secrets {
        is_not_told(&told, &secret);
    }
}
