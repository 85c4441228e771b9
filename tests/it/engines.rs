//! Engines that do not start, hang, run out of memory, or cannot load: one worker suffers, and says why.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::client::{Client, Told};
use tests::port::free_port;
use tests::process::binary;
use tokio::task::JoinSet;

use crate::lab::{Face, Lab, SOON, Setup, bounded, chat, is_soak, until};

/// A worker that starts its engine by itself.
fn owned(args: &[&str]) -> (String, String) {
    let port = free_port().unwrap();
    let engine = binary("fake-engine").unwrap();
    let listen = format!("127.0.0.1:{port}");
    let all = [&["--speak", "llamacpp", "--listen", &listen], args].concat();
    let quoted: Vec<String> = all.iter().map(|arg| format!("\"{arg}\"")).collect();
    let command = format!("command = [\"{}\", {}]", engine.display(), quoted.join(", "));
    (format!("http://{listen}"), command)
}

/// The processes whose parent is `pid`.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |child: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parent == Some(pid)
    };
    pids.filter(is_child).collect()
}

/// Whether a process has ended, even if nobody has waited for it.
pub fn is_gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_cannot_start_is_given_up_with_its_last_words() {
    let mut lab = Lab::single();
    let (url, command) = owned(&["--stderr", "no such file: model.gguf", "--exit-at-start", "3"]);
    lab.node(Setup::new("a").worker_with("engine", "llamacpp", &url, &command)).await;
    let node = &lab.nodes[0];
    until("it is given up", Duration::from_secs(30), async || {
        node.worker("a/engine").await.is_some_and(|worker| worker.state == "failed")
    })
    .await;
    let worker = node.worker("a/engine").await.unwrap();
    assert!(worker.reason.contains("no such file: model.gguf"), "{worker:?}");
    let failures = node.failures().await.unwrap();
    assert!(failures.iter().any(|failure| failure.detail.contains("exit code 3")), "{failures:?}");
    let restarts = node.metric("tm_engine_restarts_total").await;
    assert!(restarts <= 5.0, "{restarts} restarts");
    let reply = node.client.post_json("/v1/chat/completions", &chat("hi", false)).await.unwrap();
    assert!([404, 503].contains(&reply.status), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_memory_is_told_apart_and_started_again() {
    let mut lab = Lab::single();
    let (url, command) = owned(&["--token", "1ms"]);
    lab.node(Setup::new("a").worker_with("engine", "llamacpp", &url, &command)).await;
    lab.workers_are(0, "ready", 1).await;
    let engine = tests::client::Client::new(&url);
    engine.post_json("/fake/control", &json!({"fail": "oom_exit"})).await.unwrap();
    let _ = lab.http(0).post_json("/v1/chat/completions", &chat("too much", false)).await.unwrap();
    let node = &lab.nodes[0];
    until("it is told as out of memory", SOON, async || {
        let failures = node.failures().await.unwrap_or_default();
        failures.iter().any(|one| one.kind == "resource-exhaustion" && one.detail.contains("out of memory"))
    })
    .await;
    until("it answers again", SOON, async || {
        let reply = node.client.post_json("/v1/chat/completions", &chat("less", false)).await;
        reply.is_ok_and(|reply| reply.status == 200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_engine_outlives_its_node() {
    let mut lab = Lab::single();
    let (url, command) = owned(&[]);
    lab.node(Setup::new("a").worker_with("engine", "llamacpp", &url, &command)).await;
    lab.workers_are(0, "ready", 1).await;
    let engines = children(lab.nodes[0].child.pid());
    assert_eq!(engines.len(), 1);
    lab.nodes[0].child.kill().await.unwrap();
    until("the engine is gone", Duration::from_secs(3), async || engines.iter().all(|&pid| is_gone(pid))).await;
    lab.nodes[0].again().await;
    lab.workers_are(0, "ready", 1).await;
    let engines = children(lab.nodes[0].child.pid());
    lab.nodes[0].child.terminate().unwrap();
    assert!(lab.nodes[0].child.wait(SOON).await.unwrap().success());
    assert!(engines.iter().all(|&pid| is_gone(pid)), "{engines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revived_engine_is_used_again_at_once() {
    let mut lab = Lab::cluster().await;
    lab.gateway_and_workers("llamacpp", 1, &["--token", "1ms"], "").await;
    lab.engines[0].child.kill().await.unwrap();
    let reply = lab.http(0).post_json("/v1/chat/completions", &chat("nobody", false)).await.unwrap();
    assert!([502, 503].contains(&reply.status), "{} {}", reply.status, reply.text());
    lab.workers_are(0, "down", 1).await;
    lab.revive(0, "llamacpp", &["--token", "1ms"]).await;
    let revived = Instant::now();
    until("an answer", Duration::from_secs(2), async || {
        let reply = lab.http(0).post_json("/v1/chat/completions", &chat("back", false)).await.unwrap();
        reply.status == 200
    })
    .await;
    eprintln!("used again after {:?}", revived.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_leaves_an_engine_that_never_answers() {
    let mut lab = Lab::single();
    let (one, two) = (lab.engine("llamacpp", &[]).await, lab.engine("llamacpp", &[]).await);
    let limits = "[limits]\nfirst_token = \"1s\"\nidle_token = \"1s\"";
    lab.node(Setup::new("a").worker("one", "llamacpp", &one).worker("two", "llamacpp", &two).more(limits)).await;
    lab.workers_are(0, "ready", 2).await;
    lab.engines[0].child.freeze().unwrap();
    for at in 0..6 {
        let prompt = format!("hello {at}");
        let told = lab.http(0).ask("/v1/chat/completions", &Face::Chat.body(&prompt)).await.unwrap();
        assert_eq!(told.text, Face::Chat.answer(&prompt), "{told:?}");
    }
    until("it is down", Duration::from_secs(20), async || {
        lab.nodes[0].worker("a/one").await.is_some_and(|worker| worker.state == "down")
    })
    .await;
    lab.engines[0].child.thaw().unwrap();
    lab.workers_are(0, "ready", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_leaves_an_engine_that_is_stuck_on_it() {
    let mut lab = Lab::single();
    let args = ["--token", "1ms"];
    let (one, two) = (lab.engine("llamacpp", &args).await, lab.engine("llamacpp", &args).await);
    let limits = "[limits]\nfirst_token = \"3s\"\nidle_token = \"3s\"";
    let setup = Setup::new("a").worker_with("one", "llamacpp", &one, "slots = 2");
    lab.node(setup.worker_with("two", "llamacpp", &two, "slots = 2").more(limits)).await;
    lab.workers_are(0, "ready", 2).await;
    let ask = async |prompt: String| {
        let mut body = chat(&prompt, false);
        body["max_tokens"] = 60.into();
        let reply = lab.http(0).post_json("/v1/chat/completions", &body).await.unwrap();
        let answer = reply.json().unwrap()["choices"][0]["message"]["content"].clone();
        assert_eq!(answer, Face::Chat.answer(&prompt), "{}: {}", reply.status, reply.text());
    };
    // How fast both are must have been seen: nobody is stuck by a guess.
    for engine in &lab.engines {
        let begin = engine.stats().await.unwrap()["finished"].as_u64();
        let mut at = 0;
        until("it has answered", SOON, async || {
            at += 1;
            ask(format!("first {at} of {}", engine.url())).await;
            engine.stats().await.unwrap()["finished"].as_u64() > begin
        })
        .await;
    }
    // Alive all the time, and to probes it is well.
    lab.engines[0].control(&json!({"fail": {"hang_mid": 5}})).await.unwrap();
    let mut at = 0;
    bounded("an ask at the stuck engine, and its answer", Duration::from_secs(60), async {
        while lab.engines[0].stats().await.unwrap()["cancelled"].as_u64() == Some(0) {
            at += 1;
            ask(format!("second {at}")).await;
        }
    })
    .await;
    lab.workers_are(0, "ready", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_is_killed_and_started_again() {
    let mut lab = Lab::single();
    let (url, command) = owned(&["--token", "1ms"]);
    lab.node(Setup::new("a").worker_with("engine", "llamacpp", &url, &command)).await;
    lab.workers_are(0, "ready", 1).await;
    let before = children(lab.nodes[0].child.pid());
    tests::client::Client::new(&url).post_json("/fake/control", &json!({"fail": "hang"})).await.unwrap();
    until("another process answers", Duration::from_secs(30), async || {
        let now = children(lab.nodes[0].child.pid());
        now.len() == 1 && now != before
    })
    .await;
    lab.workers_are(0, "ready", 1).await;
    let told = lab.http(0).ask("/v1/chat/completions", &Face::Chat.body("again")).await.unwrap();
    assert_eq!(told.text, Face::Chat.answer("again"), "{told:?}");
    assert!(before.iter().all(|&pid| is_gone(pid)), "{before:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_be_loaded_on_one_node_is_used_on_the_other() {
    let mut lab = Lab::cluster().await;
    lab.gateway_and_workers("ollama", 2, &["--token", "1ms"], "").await;
    lab.engines[0].control(&json!({"fail": {"load_fail": "fake"}})).await.unwrap();
    for at in 0..12 {
        let prompt = format!("load {at}");
        let told = lab.http(0).ask("/api/chat", &Face::OllamaChat.body(&prompt)).await.unwrap();
        assert_eq!(told.text, Face::OllamaChat.answer(&prompt), "{told:?}");
    }
    // The worker itself is not to blame.
    lab.workers_are(0, "ready", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_models_that_do_not_fit_together_take_turns() {
    let mut lab = Lab::single();
    let args = ["--models", "left,right", "--vram", "6GiB", "--load", "100ms", "--token", "1ms", "--tokens", "10"];
    let url = lab.engine("ollama", &args).await;
    let worker = Setup::new("a").worker_with("engine", "ollama", &url, "slots = 4\nmemory = \"7GiB\"");
    lab.node(worker).await;
    lab.workers_are(0, "ready", 1).await;
    let mut asks = JoinSet::new();
    for at in 0..50 {
        let (client, model) = (lab.http(0), if at % 2 == 0 { "left" } else { "right" });
        let mut body = chat(&format!("{model} {at}"), false);
        body["model"] = json!(model);
        asks.spawn(async move { client.post_json("/v1/chat/completions", &body).await.unwrap() });
    }
    for reply in bounded("fifty answers", Duration::from_secs(20), asks.join_all()).await {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let loads = lab.engines[0].stats().await.unwrap()["loads"].as_u64().unwrap();
    assert!(loads <= 7, "{loads} loads for fifty asks");
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_for_the_other_model_wait_no_longer_than_they_must_although_the_swaps_are_spent() {
    const MAX_WAIT: Duration = Duration::from_secs(3);
    let mut lab = Lab::single();
    let args = ["--models", "left,right", "--vram", "6GiB", "--load", "50ms", "--token", "1ms", "--tokens", "10"];
    let url = lab.engine("ollama", &args).await;
    let worker = Setup::new("a").worker_with("engine", "ollama", &url, "slots = 2\nmemory = \"7GiB\"");
    lab.node(worker.more("[routing]\nswaps_per_minute = 1\nmax_wait = \"3s\"")).await;
    lab.workers_are(0, "ready", 1).await;
    let begin = Instant::now();
    let mut sides = JoinSet::new();
    for model in ["left", "right"] {
        let client = lab.http(0);
        sides.spawn(async move {
            let (mut longest, mut at) = (Duration::ZERO, 0);
            while begin.elapsed() < MAX_WAIT * 6 {
                at += 1;
                let mut body = chat(&format!("{model} {at}"), false);
                body["model"] = json!(model);
                let asked = Instant::now();
                let reply = client.post_json("/v1/chat/completions", &body).await.unwrap();
                assert_eq!(reply.status, 200, "{}", reply.text());
                longest = longest.max(asked.elapsed());
            }
            (longest, at)
        });
    }
    let sides = bounded("both sides", Duration::from_secs(90), sides.join_all()).await;
    let took = begin.elapsed();
    for (longest, count) in sides {
        // The gate looks once a second; the rest is for a machine with other things to do.
        assert!(longest < MAX_WAIT + Duration::from_secs(4), "waited for {longest:?}");
        assert!(count > 10, "only {count} answers");
    }
    let loads = lab.engines[0].stats().await.unwrap()["loads"].as_u64().unwrap();
    // One is in the setting, and one came into an empty engine.
    let most = 2 + took.as_secs() / MAX_WAIT.as_secs();
    assert!((3..=most).contains(&loads), "{loads} loads in {took:?}");
}

/// Streams to a gateway for a while, a new one each time: how long each took, and which worker answered.
async fn steady(lab: &Lab, every: Duration, lasting: Duration) -> Vec<(Duration, String)> {
    let (begun, mut asks, mut ticks) = (Instant::now(), JoinSet::new(), tokio::time::interval(every));
    while begun.elapsed() < lasting {
        ticks.tick().await;
        asks.spawn(timed(lab.http(0)));
    }
    let mut all = asks.join_all().await;
    all.sort();
    all
}

async fn timed(client: Client) -> (Duration, String) {
    let (asked, prompt) = (Instant::now(), format!("quick {}", fastrand::u64(..)));
    let mut stream = client.stream(Face::Chat.path(), &Face::Chat.body(&prompt)).await.unwrap();
    // The headers of an ask that waits long leave before its worker is known.
    let worker = stream.headers.get("x-tm-worker").map_or("", |name| name.to_str().unwrap()).to_owned();
    let mut told = Told::new(stream.status);
    stream.tell(&mut told).await;
    assert!(told.is_good(), "{told:?}");
    (asked.elapsed(), worker)
}

#[tokio::test(flavor = "multi_thread")]
async fn new_work_leaves_an_engine_whose_answers_became_slow() {
    const OFTEN: Duration = Duration::from_millis(100);
    const NOISE: Duration = Duration::from_millis(100);
    let mut lab = Lab::cluster().await;
    // All nodes are on this machine; that it is busy with other tests says nothing for one of them.
    lab.node(Setup::new("gateway").more("[routing]\nbusy_above = 1.0")).await;
    for name in ["w0", "w1"] {
        let url = lab.engine("llamacpp", &["--token", "10ms", "--tokens", "40"]).await;
        lab.node(Setup::new(name).worker_with("engine", "llamacpp", &url, "slots = 16")).await;
    }
    lab.workers_are(0, "ready", 2).await;
    // More at once than one has slots for, so that the speed of both is known.
    let crowd: JoinSet<_> = (0..40).map(|_| timed(lab.http(0))).collect();
    let crowd = crowd.join_all().await;
    assert!(["w0/engine", "w1/engine"].iter().all(|name| crowd.iter().any(|(_, worker)| worker == name)), "{crowd:?}");
    let before = steady(&lab, OFTEN, Duration::from_secs(2)).await;
    // The one that routing likes best.
    let at_second = before.iter().filter(|(_, worker)| worker == "w1/engine").count();
    let slow = usize::from(at_second > before.len() / 2);
    let token_ms = if is_soak() { 1000 } else { 250 };
    lab.engines[slow].control(&json!({"token_ms": token_ms})).await.unwrap();
    let other = format!("w{}/engine", 1 - slow);
    // A speed is learned from answers that ended: the first slow ones must.
    until("new work goes elsewhere", Duration::from_secs(60), async || {
        steady(&lab, OFTEN * 5, Duration::from_secs(4)).await;
        timed(lab.http(0)).await.1 == other
    })
    .await;
    let after = steady(&lab, OFTEN, Duration::from_secs(4)).await;
    let (others, at_slow): (Vec<_>, Vec<_>) = after.iter().cloned().partition(|(_, worker)| *worker == other);
    assert!(at_slow.len() * 10 <= after.len(), "{} of {} went to the slow one", at_slow.len(), after.len());
    let p95 = |asks: &[(Duration, String)]| asks[asks.len() * 95 / 100].0;
    assert!(p95(&others) <= p95(&before) * 3 / 2 + NOISE, "{:?} after {:?}", p95(&others), p95(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_that_ran_twice_at_once_and_failed_is_tried_on_no_worker_again() {
    let mut lab = Lab::single();
    let mut setup = Setup::new("a").more("[routing]\nhedge = true");
    for name in ["one", "two", "three"] {
        let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
        setup = setup.worker(name, "llamacpp", &url);
    }
    lab.node(setup).await;
    lab.workers_are(0, "ready", 3).await;
    let client = lab.http(0);
    // What an answer takes is known from now on, so that a slow one gets company.
    assert_eq!(client.post_json(Face::Chat.path(), &chat("quick", false)).await.unwrap().status, 200);
    for engine in &lab.engines {
        engine.control(&json!({"token_ms": 100, "fail": {"cut_at": 25}})).await.unwrap();
    }
    let reply = client.post_json(Face::Chat.path(), &chat("slow", false)).await.unwrap();
    assert!(reply.text().contains("engine_cut"), "{} {}", reply.status, reply.text());
    let why = lab.nodes[0].explain(reply.header("x-tm-ask")).await.unwrap();
    let mut ran: Vec<&str> = why.runs.iter().map(|run| run.worker.as_str()).collect();
    ran.sort_unstable();
    assert_eq!(ran, ["a/one", "a/three", "a/two"], "{why:?}");
}
