//! What a node that has just started says of models that it cannot know yet, and when it says that it is ready.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use tests::client::{Client, Reply};
use tests::port::free_port;

use crate::lab::{Lab, SOON, Setup, chat, until};

/// A node that has not seen every engine by then goes by what it has seen.
const LOOKS_AROUND: Duration = Duration::from_secs(10);

async fn ask(client: &Client, model: &str) -> Reply {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    client.post_json("/v1/chat/completions", &body).await.unwrap()
}

/// Whether the node refuses a model because it has only just started; a client is told when to come back, and why.
fn is_early(reply: &Reply) -> bool {
    if reply.status != 503 {
        return false;
    }
    let seconds = reply.header("retry-after").parse::<u32>();
    assert!(seconds.is_ok_and(|seconds| seconds >= 1), "{:?}", reply.headers);
    reply.text().contains("has just started")
}

async fn ready(client: &Client) -> (bool, Value) {
    let reply = client.get("/readyz").await.unwrap();
    (reply.status == 200, reply.json().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_model_is_denied_before_the_first_look_at_the_engines_ended() {
    let mut lab = Lab::single();
    // The kernel takes connections, and nobody answers: the first look lasts.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    let client = lab.http(0);
    for model in ["fake", "nobody-has-this", "auto"] {
        let reply = ask(&client, model).await;
        assert!(is_early(&reply), "{model}: {} {}", reply.status, reply.text());
    }
    let shown = [client.get("/v1/models/fake").await, client.post_json("/api/show", &json!({"model": "fake"})).await];
    for reply in shown.map(Result::unwrap) {
        assert!(is_early(&reply), "{} {}", reply.status, reply.text());
    }
    let (is_ready, told) = ready(&client).await;
    assert!(!is_ready && told.to_string().contains("has just started"), "{told}");
    // The engine counts as hanging; who asks for its models is told that nobody offers them.
    for model in ["fake", "nobody-has-this"] {
        until(&format!("{model} is not found"), LOOKS_AROUND + SOON, async || ask(&client, model).await.status == 404)
            .await;
    }
    let (is_ready, told) = ready(&client).await;
    assert!(!is_ready && told.to_string().contains("worker a/engine: hangs"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_never_comes_up_does_not_keep_unknown_names_from_being_denied() {
    let mut lab = Lab::single();
    let url = format!("http://127.0.0.1:{}", free_port().unwrap());
    let worker = Setup::new("a").worker_with("engine", "llamacpp", &url, "command = [\"sleep\", \"600\"]");
    lab.node(worker).await;
    let client = lab.http(0);
    assert!(is_early(&ask(&client, "nobody-has-this").await), "its engine may come up in a moment");
    until("it is denied", LOOKS_AROUND + SOON, async || ask(&client, "nobody-has-this").await.status == 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_engine_is_down_denies_unknown_names_at_once_and_says_why_it_is_not_ready() {
    let mut lab = Lab::single();
    let url = format!("http://127.0.0.1:{}", free_port().unwrap());
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    let client = lab.http(0);
    until("it is denied", LOOKS_AROUND / 2, async || ask(&client, "nobody-has-this").await.status == 404).await;
    let (is_ready, told) = ready(&client).await;
    let told = told.to_string();
    assert!(!is_ready && told.contains("worker a/engine: ") && !told.contains("has just started"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_workers_says_that_it_has_none() {
    let mut lab = Lab::single();
    lab.node(Setup::new("a")).await;
    let client = lab.http(0);
    until("it is denied", LOOKS_AROUND / 2, async || ask(&client, "nobody-has-this").await.status == 404).await;
    let (is_ready, told) = ready(&client).await;
    assert!(!is_ready && told.to_string().contains("this node has none of its own"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_again_denies_no_model_that_another_node_has() {
    let mut lab = Lab::cluster().await;
    lab.gateway_and_workers("llamacpp", 2, &["--token", "1ms"], "").await;
    for _ in 0..3 {
        lab.nodes[0].child.kill().await.unwrap();
        lab.nodes[0].again().await;
        let client = lab.http(0);
        until("it answers", SOON, async || {
            let reply = client.post_json("/v1/chat/completions", &chat("hi", false)).await.unwrap();
            assert!(reply.status == 200 || is_early(&reply), "{} {}", reply.status, reply.text());
            reply.status == 200
        })
        .await;
        assert_eq!(ask(&client, "nobody-has-this").await.status, 404, "every other node was heard");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_own_engine_is_down_is_ready_where_another_node_has_one() {
    let mut lab = Lab::cluster().await;
    let dead = format!("http://127.0.0.1:{}", free_port().unwrap());
    lab.node(Setup::new("a").worker("engine", "llamacpp", &dead)).await;
    let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
    lab.node(Setup::new("b").worker("engine", "llamacpp", &url)).await;
    for _ in 0..2 {
        let client = lab.http(0);
        until("it is ready", SOON, async || ready(&client).await.0).await;
        assert_eq!(ask(&client, "fake").await.status, 200);
        lab.nodes[0].child.kill().await.unwrap();
        lab.nodes[0].again().await;
    }
}
