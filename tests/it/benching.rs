//! How fast models are, measured at an owner's order: the figures are those of the engine, they are known in the next life,
//! and no client waits for them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::process::{Child, binary};

use crate::lab::{Lab, Node, SOON, Setup, bounded, chat, until};

/// On a machine that is busy with other tests an engine is slower than it was told to be; a figure that is the difference of
/// two times may come out faster as well.
const SLOWER: f64 = 3.0;
const NO_FASTER: f64 = 2.0;

/// What `tmctl models` printed, when it was done.
async fn told(node: &Node, arguments: &[&str]) -> Value {
    serde_json::from_str(&node.done(&[&["--json", "models"], arguments].concat()).await).unwrap()
}

/// Starts `tmctl models bench` and leaves it to itself.
fn begun(lab: &Lab, arguments: &[&str]) -> Child {
    let all = [&["--server", lab.nodes[0].grpc.as_str(), "models", "bench"], arguments].concat();
    Child::start("tmctl", binary("tmctl").unwrap(), &all).unwrap()
}

fn is_near(figure: &Value, wanted: f64) {
    let value = figure.as_f64().unwrap_or_else(|| panic!("no figure: {figure}"));
    assert!(value <= wanted * NO_FASTER && value >= wanted / SLOWER, "{value}, and {wanted} was told to the engine");
}

/// Asks that run at the engine.
async fn running(lab: &Lab) -> u64 {
    lab.engines[0].stats().await.unwrap()["running"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_as_fast_as_its_engine_and_known_to_be_in_the_next_life() {
    let mut lab = Lab::cluster().await;
    let engine = ["--ttft", "0ms", "--token", "10ms", "--prefill-rate", "2000", "--load", "300ms", "--context", "1024"];
    lab.gateway_and_workers("ollama", 1, &engine, "").await;
    let before = told(&lab.nodes[0], &["show", "fake"]).await;
    assert!(before["places"][0]["decode_tok_s"].is_null(), "{before}");

    let measured = told(&lab.nodes[0], &["bench", "--worker", "w0/engine", "--tokens", "16"]).await;
    let item = &measured["items"][0];
    assert_eq!((&item["worker"], &item["model"]), (&json!("w0/engine"), &json!("fake")));
    let load_s = item["load_s"].as_f64().unwrap();
    assert!((0.3..2.0).contains(&load_s), "{load_s}");
    let buckets = item["buckets"].as_array().unwrap();
    let lengths: Vec<u64> = buckets.iter().map(|bucket| bucket["tokens"].as_u64().unwrap()).collect();
    assert_eq!(lengths, [128, 512], "what fits the context");
    for bucket in buckets {
        is_near(&bucket["prefill_tok_s"], 2000.0);
        is_near(&bucket["decode_tok_s"], 100.0);
        is_near(&bucket["prompt_tokens"], bucket["tokens"].as_f64().unwrap());
        assert_eq!(bucket["runs"], 3);
    }
    let quick = &measured["recommendations"][0];
    assert_eq!((&quick["work"], &quick["best"]["worker"]), (&json!("quick answers"), &json!("w0/engine")));

    until("the gateway knows the speeds", SOON, async || {
        told(&lab.nodes[0], &["show", "fake"]).await["places"][0]["decode_tok_s"].is_number()
    })
    .await;
    let learned = told(&lab.nodes[0], &["show", "fake"]).await;
    is_near(&learned["places"][0]["decode_tok_s"], 100.0);
    is_near(&learned["places"][0]["prefill_tok_s"], 2000.0);

    lab.nodes[1].child.kill().await.unwrap();
    lab.nodes[1].again().await;
    lab.workers_are(1, "ready", 1).await;
    let recalled = told(&lab.nodes[1], &["show", "fake"]).await;
    is_near(&recalled["places"][0]["decode_tok_s"], 100.0);
    is_near(&recalled["places"][0]["prefill_tok_s"], 2000.0);
    assert!(recalled["places"][0]["load_s"].as_f64().unwrap() >= 0.3, "{recalled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_in_the_middle_is_served_first() {
    let mut lab = Lab::single();
    // A prompt of the measurement takes seconds, one of a client next to nothing.
    let engine = ["--ttft", "0ms", "--token", "1ms", "--prefill-rate", "30", "--slots", "1", "--tokens", "10"];
    let url = lab.engine("ollama", &engine).await;
    lab.node(Setup::new("home").worker_with("engine", "ollama", &url, "slots = 1\nmemory = \"24GiB\"")).await;
    lab.workers_are(0, "ready", 1).await;
    let mut bench = begun(&lab, &["--tokens", "16"]);
    until("a long prompt is read", SOON, async || running(&lab).await == 1).await;

    let client = lab.http(0);
    for number in 0..3 {
        let (asked, body) = (Instant::now(), chat(&format!("hi {number}"), false));
        let reply = client.post_json("/v1/chat/completions", &body);
        let reply = bounded("a client's answer", SOON, reply).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(asked.elapsed() < Duration::from_millis(2500), "it waited for {:?}", asked.elapsed());
    }
    assert!(bench.is_running().unwrap(), "the measurement goes on behind the clients: {}", bench.stderr());
    until("the measurement goes on", SOON, async || running(&lab).await == 1).await;

    // Who no longer wants to know ends it, down to the engine.
    bench.kill().await.unwrap();
    until("the engine has nothing to do", Duration::from_secs(2), async || running(&lab).await == 0).await;
    assert!(lab.nodes[0].failures().await.unwrap().is_empty(), "a measurement that ends is no failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_told_in_its_place_and_ends_nothing() {
    let mut lab = Lab::single();
    let engine = ["--ttft", "5ms", "--token", "1ms", "--models", "broken,tiny:1b,tiny-embed", "--context", "1024"];
    let url = lab.engine("ollama", &engine).await;
    lab.engines[0].control(&json!({"fail": {"load_fail": "broken"}})).await.unwrap();
    lab.node(Setup::new("home").worker("engine", "ollama", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    let measured = told(&lab.nodes[0], &["bench", "--tokens", "16"]).await;
    let item = |model: &str| measured["items"].as_array().unwrap().iter().find(|item| item["model"] == model).unwrap();
    let failure = item("broken")["failure"]["message"].as_str().unwrap();
    assert!(failure.contains("broken"), "{failure}");
    assert!(item("tiny:1b")["failure"].is_null() && item("tiny:1b")["buckets"][1]["decode_tok_s"].is_number());
    let vectors = &item("tiny-embed")["buckets"][0];
    assert!(vectors["texts_s"].as_f64() > Some(0.0) && vectors["decode_tok_s"].is_null(), "{vectors}");
    let advice = measured["recommendations"].as_array().unwrap();
    let embeddings = advice.iter().find(|one| one["work"] == "embeddings").unwrap();
    assert_eq!(embeddings["best"]["model"], "tiny-embed");

    let unknown = lab.nodes[0].tmctl(&["models", "bench", "nobody"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    let nothing = lab.nodes[0].tmctl(&["models", "bench", "broken"]).await;
    assert_eq!(nothing.status.code(), Some(1), "nothing was measured");
}
