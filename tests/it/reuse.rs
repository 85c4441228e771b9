//! What need not be asked twice: cached answers, shared runs, clients that come back; and what is told of each ask.

use serde_json::json;
use tokio::task::JoinSet;

use crate::lab::{Face, Lab, SOON, Setup, chat, deterministic, expected, until};

async fn one(args: &[&str]) -> Lab {
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", args).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    lab
}

async fn engine_asks(lab: &Lab) -> u64 {
    lab.engines[0].stats().await.unwrap()["asks"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_deterministic_answers_are_kept() {
    let lab = one(&["--token", "1ms"]).await;
    let client = lab.http(0);
    let path = "/v1/chat/completions";
    let first = client.post_json(path, &deterministic("again")).await.unwrap();
    assert_eq!(first.header("x-tm-worker"), "a/engine");
    let second = client.post_json(path, &deterministic("again")).await.unwrap();
    assert_eq!((second.header("x-tm-worker"), second.status), ("", 200));
    assert_eq!(second.json().unwrap()["choices"], first.json().unwrap()["choices"]);
    assert_eq!(engine_asks(&lab).await, 1);
    let mut warm = deterministic("again");
    warm["temperature"] = json!(1);
    for _ in 0..2 {
        assert_eq!(client.post_json(path, &warm).await.unwrap().header("x-tm-worker"), "a/engine");
    }
    assert_eq!(engine_asks(&lab).await, 3);
    assert_eq!(lab.nodes[0].metric("tm_cache_asks_total{result=\"hit\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_is_kept_too() {
    let lab = one(&["--token", "1ms"]).await;
    let mut body = deterministic("stream it");
    body["stream"] = json!(true);
    for _ in 0..2 {
        let told = lab.http(0).ask("/v1/chat/completions", &body).await.unwrap();
        assert!(told.is_good(), "{told:?}");
        assert_eq!(told.text, expected("stream it"));
    }
    assert_eq!(engine_asks(&lab).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_deterministic_ask_at_the_same_time_runs_once() {
    let lab = one(&["--token", "5ms"]).await;
    let mut asks = JoinSet::new();
    for _ in 0..10 {
        let client = lab.http(0);
        asks.spawn(async move { client.post_json("/v1/chat/completions", &deterministic("together")).await.unwrap() });
    }
    for reply in asks.join_all().await {
        assert_eq!(reply.json().unwrap()["choices"][0]["message"]["content"], expected("together"));
    }
    assert_eq!(engine_asks(&lab).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_gets_the_answer_of_its_first_ask() {
    let lab = one(&["--token", "20ms"]).await;
    let client = lab.http(0);
    let impatient = client.clone();
    let first = tokio::spawn(async move { impatient.post_json("/v1/chat/completions", &chat("wait", false)).await });
    until("the engine works on it", SOON, async || lab.engines[0].stats().await.unwrap()["running"] == 1).await;
    first.abort();
    let _ = first.await;
    until("the node noticed that the client left", SOON, async || lab.nodes[0].metric("tm_parked_asks").await == 1.0)
        .await;
    let reply = client.post_json("/v1/chat/completions", &chat("wait", false)).await.unwrap();
    assert_eq!(reply.json().unwrap()["choices"][0]["message"]["content"], expected("wait"));
    let stats = lab.engines[0].stats().await.unwrap();
    assert_eq!((stats["asks"].as_u64(), stats["cancelled"].as_u64()), (Some(1), Some(0)), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_every_candidate_and_every_run() {
    let mut lab = Lab::cluster().await;
    lab.gateway_and_workers("llamacpp", 2, &["--token", "1ms"], "").await;
    for engine in &lab.engines {
        engine.control(&json!({"fail": {"status": {"code": 500}}, "fail_count": 1})).await.unwrap();
    }
    let reply = lab.http(0).post_json("/v1/chat/completions", &chat("explain", false)).await.unwrap();
    assert!(reply.status >= 500, "{} {}", reply.status, reply.text());
    let why = lab.nodes[0].explain(reply.header("x-tm-ask")).await.unwrap();
    let mut candidates: Vec<&str> = why.candidates.iter().map(|one| one.worker.as_str()).collect();
    candidates.sort_unstable();
    assert_eq!(candidates, ["w0/engine", "w1/engine"], "{why:?}");
    let mut runs: Vec<&str> = why.runs.iter().map(|run| run.worker.as_str()).collect();
    runs.sort_unstable();
    assert_eq!(runs, candidates, "{why:?}");
    assert!(why.runs.iter().all(|run| run.outcome != "ok"), "{why:?}");
    let reply = lab.http(0).post_json("/v1/chat/completions", &chat("explain", false)).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    // Asked by another node, the one that decided is found.
    let why = lab.nodes[1].explain(reply.header("x-tm-ask")).await.unwrap();
    assert_eq!((why.decided_by.as_str(), why.chosen.as_str()), ("gateway", reply.header("x-tm-worker")));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_the_run_that_a_stream_lost() {
    let mut lab = Lab::cluster().await;
    lab.gateway_and_workers("llamacpp", 2, &["--token", "5ms"], "").await;
    let mut stream = lab.http(0).stream("/v1/chat/completions", &Face::Chat.body("lost")).await.unwrap();
    let ask = stream.headers["x-tm-ask"].to_str().unwrap().to_owned();
    let worker = stream.headers["x-tm-worker"].to_str().unwrap().to_owned();
    let mut told = tests::client::Told::new(stream.status);
    crate::lab::pieces(&mut stream, &mut told, 5).await;
    let at = usize::from(worker == "w1/engine");
    lab.engines[at].child.kill().await.unwrap();
    stream.tell(&mut told).await;
    assert_eq!(told.text, expected("lost"), "{told:?}");
    until("two runs are known", SOON, async || {
        let why = lab.nodes[0].explain(&ask).await.unwrap();
        let outcome = |at: usize| why.runs.get(at).map(|run| (run.worker == worker, run.outcome == "ok"));
        (outcome(0), outcome(1)) == (Some((true, false)), Some((false, true)))
    })
    .await;
    assert_eq!(lab.nodes[0].metric("tm_resumes_total{outcome=\"resumed\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_promised_metrics_are_there_and_move() {
    let lab = one(&["--token", "1ms"]).await;
    let told = lab.http(0).ask("/v1/chat/completions", &Face::Chat.body("count me")).await.unwrap();
    assert!(told.is_good(), "{told:?}");
    let node = &lab.nodes[0];
    until("the ask is counted", SOON, async || node.metric("tm_asks_total{").await == 1.0).await;
    for name in ["tm_ask_seconds_count", "tm_first_token_seconds_count", "tm_tokens_total", "tm_egress_total"] {
        assert!(node.metric(name).await > 0.0, "{name}");
    }
    assert_eq!(node.metric("tm_tokens_total{kind=\"completion\"}").await, 60.0);
    assert_eq!(node.metric("tm_worker_state{worker=\"a/engine\",state=\"ready\"}").await, 1.0);
    assert_eq!(node.metric("tm_model_resident").await, 1.0);
    assert_eq!(node.metric("tm_node_state{node=\"a\",state=\"alive\"}").await, 1.0);
    let text = node.client.get("/metrics").await.unwrap().text();
    for name in
        ["tm_retries_total", "tm_queue_asks", "tm_epoch", "tm_view_stale_seconds", "tm_stale_writes_refused_total"]
    {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is missing");
    }
}
