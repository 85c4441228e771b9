//! What may leave the house: modes that choose between its workers and those outside, a history to go back in, triggers,
//! and a record of every connection that nobody changes unseen.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::client::Client;

use crate::lab::{Lab, Node, SOON, Setup, until};
use crate::webhook;

/// A mode holds everywhere within this time.
const AT_ONCE: Duration = Duration::from_secs(1);
const MODELS: &str = "[roles]\nmain = [\"claude\", \"fake\"]\n";

/// A node with a worker of the house and one outside; the role `main` names the one outside first.
async fn with_both(more: &str) -> Lab {
    let mut lab = Lab::single();
    let home = lab.engine("llamacpp", &["--models", "fake", "--tokens", "5"]).await;
    let outside = lab.engine("anthropic", &["--models", "claude", "--tokens", "5"]).await;
    let setup = Setup::new("n").worker("home", "llamacpp", &home);
    let setup = setup.worker_with("cloud", "anthropic", &outside, "models = [\"claude\"]");
    lab.node(setup.more(MODELS).more(more)).await;
    lab.workers_are(0, "ready", 2).await;
    lab
}

fn small() -> Value {
    json!({"model": "main", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5})
}

/// One that looks hard: thinking is asked for, and a long answer.
fn hard() -> Value {
    json!({"model": "main", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4096, "reasoning_effort": "high"})
}

/// The worker that answered, and the ask.
async fn answered(client: &Client, body: &Value) -> (String, String) {
    let reply = client.post_json("/v1/chat/completions", body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    (reply.header("x-tm-worker").to_owned(), reply.header("x-tm-ask").to_owned())
}

/// Sets a mode; from when on it holds in routing, within its time.
async fn set(lab: &Lab, arguments: &[&str], body: &Value, worker: &str) {
    let begun = Instant::now();
    lab.nodes[0].done(&[&["mode", "set"], arguments].concat()).await;
    until(&format!("{arguments:?} sends it to {worker}"), AT_ONCE * 2, async || {
        answered(&lab.http(0), body).await.0 == worker
    })
    .await;
    assert!(begun.elapsed() < AT_ONCE * 3, "it took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_chooses_its_side_and_explains_why() {
    let lab = with_both("").await;
    let (node, client) = (&lab.nodes[0], lab.http(0));
    for (mode, of_small, of_hard, why) in [
        ("local-only", "n/home", "n/home", "at home, by mode local-only"),
        ("local-preferred", "n/home", "n/home", "at home, by mode local-preferred"),
        ("hybrid", "n/home", "n/cloud", "outside, by complexity: 0.55 of 0.50"),
        ("external-preferred", "n/cloud", "n/cloud", "outside, by mode external-preferred"),
        ("external-only", "n/cloud", "n/cloud", "outside, by mode external-only"),
    ] {
        set(&lab, &[mode], &small(), of_small).await;
        let (worker, ask) = answered(&client, &hard()).await;
        assert_eq!(worker, of_hard, "in {mode}");
        let explained = node.explain(&ask).await.unwrap();
        assert!(explained.leaning.starts_with(why), "in {mode}: {}", explained.leaning);
        let shown = node.done(&["explain", &ask]).await;
        assert!(shown.contains(&explained.leaning), "{shown}");
    }
    // Back at home, the worker outside hears nothing, whoever is asked for.
    set(&lab, &["local-only"], &small(), "n/home").await;
    let before = lab.engines[1].stats().await.unwrap()["asks"].clone();
    for body in [hard(), json!({"model": "claude", "messages": hard()["messages"]})] {
        client.post_json("/v1/chat/completions", &body).await.unwrap();
    }
    assert_eq!(lab.engines[1].stats().await.unwrap()["asks"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_asks_stays_at_home_within_noise_and_each_is_explained() {
    const ASKS: usize = 400;
    let lab = with_both("").await;
    let (node, client) = (&lab.nodes[0], lab.http(0));
    node.done(&["mode", "set", "hybrid", "--local-percent", "80"]).await;
    until("a share decides", SOON, async || {
        let (_, ask) = answered(&client, &small()).await;
        node.explain(&ask).await.unwrap().leaning.contains("by share: 80 of 100")
    })
    .await;
    let mut at_home = 0;
    for index in 0..ASKS {
        let (worker, ask) = answered(&client, &hard()).await;
        at_home += usize::from(worker == "n/home");
        if index < 20 {
            let leaning = node.explain(&ask).await.unwrap().leaning;
            assert_eq!(leaning.starts_with("at home"), worker == "n/home", "{leaning}: {worker}");
        }
    }
    let share = at_home as f64 / ASKS as f64 * 100.0;
    // Four times the standard deviation of so many.
    assert!((share - 80.0).abs() <= 8.0, "{share} % of the asks stayed at home");
    let refused = node.tmctl(&["mode", "set", "local-preferred", "--local-percent", "80"]).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && told.contains("hint: shares are for hybrid"), "{told}");
}

/// Waits until every node of the lab goes by a mode; the time that it took since `begun`.
async fn everywhere(lab: &Lab, mode: &str, begun: Instant) -> Duration {
    until(&format!("{mode} holds everywhere"), SOON, async || {
        let mut all = true;
        for node in &lab.nodes {
            all &= node.mode().await.is_ok_and(|held| held == mode);
        }
        all
    })
    .await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_holds_on_every_node_within_a_second_and_is_taken_back_as_fast() {
    let names = ["a", "b", "c"];
    let mut lab = Lab::cluster().await;
    for name in names {
        lab.node(Setup::new(name)).await;
    }
    for at in 0..3 {
        lab.nodes_are(at, "alive", &names, SOON).await;
    }
    let begun = Instant::now();
    lab.nodes[0].done(&["mode", "set", "hybrid", "--local-percent", "80", "--reason", "a trial"]).await;
    let took = everywhere(&lab, "hybrid", begun).await;
    assert!(took < AT_ONCE, "set after {took:?}");
    let shown = lab.nodes[2].done(&["mode"]).await;
    assert!(shown.contains("80 of 100 asks stay at home") && shown.contains("because: a trial"), "{shown}");
    assert!(shown.contains("set by a\n"), "{shown}");

    let begun = Instant::now();
    lab.nodes[1].done(&["mode", "rollback", "--reason", "too dear"]).await;
    let took = everywhere(&lab, "local-only", begun).await;
    assert!(took < AT_ONCE, "taken back after {took:?}");
    let refused = lab.nodes[2].tmctl(&["mode", "rollback"]).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && told.contains("no mode before") && told.contains("hint:"), "{told}");

    let listed: Value = serde_json::from_str(&lab.nodes[2].done(&["--json", "mode", "history"]).await).unwrap();
    let of = |key: &str| listed["items"].as_array().unwrap().iter().map(|item| item[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("mode"), ["local-only", "hybrid", "local-only"]);
    assert_eq!(of("set_by"), ["b", "a", "configuration"]);
    assert_eq!(of("reason"), [json!("back to turn 0: too dear"), json!("a trial"), Value::Null]);
    assert_eq!(of("local_percent"), [Value::Null, json!(80), Value::Null]);

    // What was set is in the journal of every node, and the journals are whole.
    let verified = lab.nodes[0].done(&["privacy", "verify"]).await;
    assert!(names.iter().all(|name| verified.contains(&format!("{name}: good"))), "{verified}");
    for node in &lab.nodes {
        let lines = journal(node);
        let set: Vec<_> = lines.iter().filter(|line| line["event"] == "mode-set").map(|line| &line["reason"]).collect();
        assert_eq!(set, ["a trial", "back to turn 0: too dear"], "at {}", node.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_node_goes_back_to_nothing_that_opens_it() {
    let mut lab = Lab::cluster().await;
    lab.node(Setup::new("open")).await;
    lab.node(Setup::new("locked").more("[privacy]\nlock = true\n")).await;
    for at in 0..2 {
        lab.nodes_are(at, "alive", &["open", "locked"], SOON).await;
    }
    for mode in ["hybrid", "local-only"] {
        lab.nodes[0].done(&["mode", "set", mode]).await;
    }
    let refused = lab.nodes[1].tmctl(&["mode", "rollback"]).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && told.contains("locked") && told.contains("hint:"), "{told}");
    assert_eq!(lab.nodes[0].mode().await.unwrap(), "local-only", "nothing was written down for the others");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_at_home_move_the_mode_one_step_and_from_local_only_are_a_proposal() {
    let triggers = |mode: &str| {
        format!(
            "[privacy]\nmode = \"{mode}\"\n[[privacy.triggers]]\nname = \"broken-home\"\nwhen = \"errors\"\n\
             threshold = 0.5\nwindow = \"10m\"\nact = \"step\"\nto = -40\n"
        )
    };
    let broken = json!({"fail": {"status": {"code": 500}}});
    let ask = async |lab: &Lab| {
        for _ in 0..25 {
            lab.http(0).post_json("/v1/chat/completions", &small()).await.unwrap();
        }
    };
    let lab = with_both(&triggers("local-preferred")).await;
    lab.engines[0].control(&broken).await.unwrap();
    ask(&lab).await;
    let node = &lab.nodes[0];
    until("the trigger has made its step", SOON, async || node.mode().await.unwrap() == "hybrid").await;
    let history = node.done(&["mode", "history"]).await;
    assert!(history.contains("trigger broken-home at n") && history.contains("asks that leaned home"), "{history}");
    ask(&lab).await;
    // It looks every second; a second step would come with the next look.
    until("it has looked again", SOON, async || node.metric("tm_asks_total").await >= 50.0).await;
    let listed: Value = serde_json::from_str(&node.done(&["--json", "mode", "history"]).await).unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "one step within its window: {listed}");
    assert_eq!(listed["items"][0]["local_percent"], 60);

    let lab = with_both(&triggers("local-only")).await;
    lab.engines[0].control(&broken).await.unwrap();
    ask(&lab).await;
    let node = &lab.nodes[0];
    let mut shown = String::new();
    until("it proposes a step", SOON, async || {
        shown = node.done(&["mode"]).await;
        shown.contains("trigger broken-home proposes hybrid, 60 % at home")
    })
    .await;
    assert!(shown.starts_with("local-only") && shown.contains("its owner's to make"), "{shown}");
    let failures = node.failures().await.unwrap();
    assert!(failures.iter().any(|failure| failure.subject == "trigger broken-home"), "{failures:?}");
    assert_eq!(lab.engines[1].stats().await.unwrap()["asks"], 0, "something was asked outside");
}

/// The files of a node's journal, in order.
fn files(node: &Node) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(node.data().join("audit")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "jsonl")).collect();
    files.sort();
    files
}

/// The lines of a node's journal.
fn journal(node: &Node) -> Vec<Value> {
    let text: String = files(node).iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_is_on_record_with_what_caused_it_and_the_report_says_what_left() {
    let lab = with_both("[auth]\nkeys = \"off\"\n").await;
    let (node, client) = (&lab.nodes[0], lab.http(0));
    let (_, ask) = answered(&client, &small()).await;
    let report = node.done(&["privacy", "report", "--since", "24h"]).await;
    assert!(report.starts_with("nothing left the house in the last"), "{report}");
    let all: Value = serde_json::from_str(&node.done(&["--json", "privacy", "report", "--all"]).await).unwrap();
    assert_eq!(all["nothing_left"], true);
    let of_engine = |item: &&Value| item["purpose"] == "engine" && item["verdict"] == "loopback";
    let item = all["items"].as_array().unwrap().iter().find(of_engine).unwrap();
    assert!(item["count"].as_u64() > Some(0), "{item}");
    let lines = journal(node);
    let by_setting = |line: &&Value| line["reason"].as_str().is_some_and(|reason| reason.contains("workers.home"));
    assert!(lines.iter().any(|line| line["event"] == "dialled" && by_setting(&line)), "{lines:?}");
    drop(ask);
    // What is refused is told, and does not count as left.
    let refused = node.tmctl(&["research", "add", "http://192.0.2.1/page"]).await;
    assert!(!refused.status.success());
    let report = node.done(&["privacy", "report"]).await;
    assert!(report.contains("nothing left the house") && report.contains("192.0.2.1:80"), "{report}");
    let reason = journal(node).iter().find(|line| line["host"] == "192.0.2.1").map(|line| line["reason"].clone());
    assert_eq!(reason, Some(json!("document http://192.0.2.1/page")));
    // Keys and their use are in the same chain.
    node.create_key("phone").await.unwrap();
    node.revoke_key("phone").await.unwrap();
    node.done(&["privacy", "verify"]).await;
    let events: Vec<Value> = journal(node).iter().map(|line| line["event"].clone()).collect();
    assert!(events.contains(&json!("key-created")) && events.contains(&json!("key-revoked")), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_that_were_refused_are_counted_on_record_and_no_key_is() {
    const TRIES: u64 = 50;
    let mut lab = Lab::single();
    lab.node(Setup::new("n").more("[auth]\nkeys = \"store\"\n")).await;
    let guess = lab.http(0).with_header("authorization", "Bearer tm-guessed-by-somebody");
    for _ in 0..TRIES {
        // Too many from one address are told to stay away for a while.
        assert!([401, 429].contains(&guess.get("/v1/models").await.unwrap().status));
    }
    lab.nodes[0].child.terminate().unwrap();
    lab.nodes[0].child.wait(SOON).await.unwrap();
    let lines = journal(&lab.nodes[0]);
    let refused: Vec<&Value> = lines.iter().filter(|line| line["event"] == "sign-in-refused").collect();
    let count: u64 = refused.iter().map(|line| line["times"].as_u64().unwrap_or(1)).sum();
    assert!(count == TRIES && refused.len() < 5, "{refused:?}");
    assert!(!format!("{lines:?}").contains("guessed"), "a key is on record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_edited_cut_or_re_ordered_is_named_at_its_first_bad_entry() {
    type Change = fn(&mut Vec<String>);
    let changes: [(&str, Change, u64); 4] = [
        ("untouched", |_| {}, 0),
        ("edited", |lines| lines[3] = lines[3].replace("key-3", "key-9"), 4),
        ("cut", |lines| lines.truncate(lines.len() - 2), 0),
        ("re-ordered", |lines| lines.swap(2, 3), 3),
    ];
    let mut lab = Lab::single();
    for (name, change, mut bad) in changes {
        let at = lab.node(Setup::new(name)).await;
        for key in 1..=8 {
            lab.nodes[at].create_key(&format!("key-{key}")).await.unwrap();
        }
        let verified = lab.nodes[at].done(&["privacy", "verify"]).await;
        assert!(verified.contains(&format!("{name}: good")), "{verified}");
        // An end in the middle of things is no change.
        lab.nodes[at].child.kill().await.unwrap();
        let file = files(&lab.nodes[at]).pop().unwrap();
        let mut lines: Vec<String> = std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
        let third = lines.iter().position(|line| line.contains("key-3")).unwrap();
        assert_eq!(third, 3, "behind the line of the start and two keys");
        let all = lines.len();
        change(&mut lines);
        if lines.len() < all {
            bad = lines.len() as u64 + 1;
        }
        std::fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        lab.nodes[at].again().await;
        let output = lab.nodes[at].tmctl(&["privacy", "verify"]).await;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(i32::from(bad != 0)), "{name}: {told}");
        let named = format!("NOT as it was written: entry {bad} ");
        assert_eq!(told.contains(&named), bad != 0, "{name}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_begun_anew_is_not_the_one_that_the_store_knows() {
    let mut lab = Lab::cluster().await;
    lab.node(Setup::new("n")).await;
    let anchored = async |lab: &Lab| lab.store().get("audit/n").await.is_ok_and(|entry| entry.is_some());
    until("the store knows of it", SOON, async || anchored(&lab).await).await;
    lab.nodes[0].child.kill().await.unwrap();
    lab.nodes[0].again().await;
    lab.nodes[0].done(&["privacy", "verify"]).await;
    lab.nodes[0].child.kill().await.unwrap();
    std::fs::remove_dir_all(lab.nodes[0].data().join("audit")).unwrap();
    lab.nodes[0].again().await;
    let mut told = String::new();
    until("it says that it is another one", SOON, async || {
        let output = lab.nodes[0].tmctl(&["privacy", "verify"]).await;
        told = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.code() == Some(1)
    })
    .await;
    assert!(told.contains("NOT as it was written"), "{told}");
    // It stays so, although the store knows the new one by now.
    until("it is in the journal itself", SOON, async || {
        journal(&lab.nodes[0])
            .iter()
            .any(|line| line["error"].as_str().is_some_and(|error| error.contains("the store knew")))
    })
    .await;
    assert_eq!(lab.nodes[0].tmctl(&["privacy", "verify"]).await.status.code(), Some(1));
}

/// A node with one engine, in local-only, whose trigger looks at `when`.
async fn watched(speak: &str, when: &str) -> Lab {
    let trigger = format!("[[privacy.triggers]]\nname = \"it\"\nwhen = \"{when}\"\nthreshold = 0.5\nto = \"hybrid\"\n");
    let mut lab = Lab::single();
    let engine = lab.engine(speak, &["--tokens", "40"]).await;
    lab.node(Setup::new("n").worker("engine", speak, &engine).more(&trigger)).await;
    lab.workers_are(0, "ready", 1).await;
    lab
}

/// Waits until the trigger proposes something; gives what it says.
async fn proposed(node: &Node) -> String {
    let mut shown = String::new();
    until("it is proposed", SOON, async || {
        shown = node.done(&["mode"]).await;
        shown.contains("trigger it proposes hybrid")
    })
    .await;
    assert!(shown.starts_with("local-only"), "{shown}");
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_come_slower_than_was_measured_are_noticed() {
    let lab = watched("llamacpp", "slow").await;
    lab.engines[0].control(&json!({"token_ms": 2})).await.unwrap();
    lab.nodes[0].done(&["models", "bench", "--tokens", "32"]).await;
    lab.engines[0].control(&json!({"token_ms": 30})).await.unwrap();
    for at in 0..6 {
        let messages = json!([{"role": "user", "content": format!("number {at}")}]);
        let streamed = json!({"model": "fake", "stream": true, "messages": messages});
        let told = lab.http(0).ask("/v1/chat/completions", &streamed).await.unwrap();
        assert!(told.is_good(), "{told:?}");
    }
    let shown = proposed(&lab.nodes[0]).await;
    assert!(shown.contains("answers from home came at 0.") && shown.contains("of the measured speed"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_the_schema_they_were_asked_for_are_noticed() {
    // It takes a schema and does not look at it.
    let lab = watched("webui", "quality").await;
    let schema = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "it", "schema": schema}});
    for at in 0..6 {
        let messages = json!([{"role": "user", "content": format!("number {at}")}]);
        let ask = json!({"model": "fake", "messages": messages, "response_format": format});
        lab.http(0).post_json("/v1/chat/completions", &ask).await.unwrap();
    }
    let shown = proposed(&lab.nodes[0]).await;
    assert!(shown.contains("answers from home broke their schema"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_the_house_s_own_services_by_naming_a_page_a_model_or_a_hook() {
    let mut lab = Lab::single();
    let engine = lab.engine("ollama", &["--models", "fake"]).await;
    let hook = "[hooks.github]\nsecret = \"0123456789abcdef\"\nproject = \"home\"\n[privacy]\nmode = \"hybrid\"\n";
    lab.node(Setup::new("n").worker("engine", "ollama", &engine).more(hook)).await;
    lab.workers_are(0, "ready", 1).await;
    let node = &lab.nodes[0];
    // Stands for a service of the house: whoever is asked by mistake would notice.
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let port = service.local_addr().unwrap().port();
    let hosts = [
        "127.0.0.1",
        "[::1]",
        "localhost",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.0.1",
        "[::ffff:127.0.0.1]",
        "0x7f.1",
        "127.1",
        "2130706433",
        "0.0.0.0",
    ];
    for host in hosts {
        let url = format!("http://{host}:{port}/health");
        let added = node.tmctl(&["research", "add", &url]).await;
        let told = [added.stdout, added.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(!added.status.success() && told.contains("hint"), "{url}: {told}");
        let pulled = node.tmctl(&["models", "pull", &format!("{host}:{port}/library/m")]).await;
        assert!(!pulled.status.success(), "{host}: a model was pulled from there");
        assert!(String::from_utf8_lossy(&pulled.stderr).contains("hint"), "{host}");
    }
    assert!(service.accept().is_err(), "the service was asked");
    let listed = Client::new(&lab.engines[0].address).get("/api/tags").await.unwrap().text();
    assert!(!listed.contains("library"), "the engine was told to pull: {listed}");
    // A hook's body is never an address to be asked.
    assert!(lab.http(0).post_json("/api/projects", &json!({"name": "home"})).await.unwrap().status < 300);
    let mut body: Value = serde_json::from_slice(&webhook::issue(5, "opened", "2024-05-01T10:00:00Z")).unwrap();
    for name in ["url", "html_url", "comments_url", "repository_url", "body"] {
        body["issue"][name] = format!("http://127.0.0.1:{port}/{name}").into();
        body["repository"][name] = body["issue"][name].clone();
    }
    let body = body.to_string();
    let signature = webhook::signature("0123456789abcdef", body.as_bytes());
    let taken = webhook::post(&lab.http(0), "d-1", &signature, body.as_bytes()).await;
    assert_eq!(taken.status, 200, "{}", taken.text());
    let tasks = lab.http(0).get("/api/projects/home/tasks").await.unwrap().text();
    assert!(tasks.contains("The lamp stays on (#5)"), "{tasks}");
    assert!(service.accept().is_err(), "the service was asked");
    let refused = node.done(&["privacy", "report"]).await;
    assert!(refused.contains("nothing left the house"), "{refused}");
}
