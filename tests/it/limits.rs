//! Clients that leave, ask too much, or ask for what there is not.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::client::Told;
use tokio::task::JoinSet;

use crate::lab::{Face, Lab, Setup, chat, pieces, until};

/// Clients that leave at once.
const CLIENTS: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_cancel_their_work_down_to_the_engine() {
    let mut lab = Lab::cluster().await;
    lab.node(Setup::new("gateway")).await;
    let url = lab.engine("llamacpp", &["--token", "100ms"]).await;
    lab.node(Setup::new("w0").worker_with("engine", "llamacpp", &url, "slots = 128")).await;
    lab.workers_are(0, "ready", 1).await;
    let mut open = Vec::new();
    for at in 0..CLIENTS {
        let face = if at % 2 == 0 { Face::Chat } else { Face::OllamaChat };
        let mut stream = lab.http(0).stream(face.path(), &face.body(&format!("leaving {at}"))).await.unwrap();
        let mut told = Told::new(stream.status);
        pieces(&mut stream, &mut told, 1).await;
        open.push(stream);
    }
    let running = async || lab.engines[0].stats().await.unwrap();
    let before = running().await;
    assert!(before["running"].as_u64().unwrap() > CLIENTS * 4 / 5, "{before}");
    drop(open);
    until("no ask runs in the engine", Duration::from_secs(1), async || running().await["running"] == 0).await;
    let after = running().await;
    assert_eq!(after["cancelled"].as_u64().unwrap() + after["finished"].as_u64().unwrap(), CLIENTS, "{after}");
    assert!(after["cancelled"].as_u64().unwrap() > CLIENTS * 4 / 5, "{after}");
    until("no slot is busy", Duration::from_secs(2), async || {
        lab.nodes[1].worker("w0/engine").await.is_some_and(|worker| worker.busy == 0 && worker.queued == 0)
    })
    .await;
    until("every ask is counted", Duration::from_secs(2), async || {
        lab.nodes[0].metric("tm_asks_total").await == CLIENTS as f64
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_asks_than_there_is_room_for_are_refused_fast() {
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "10ms"]).await;
    let worker = Setup::new("a").worker_with("engine", "llamacpp", &url, "slots = 2\nqueue = 4");
    lab.node(worker).await;
    lab.workers_are(0, "ready", 1).await;
    let mut asks = JoinSet::new();
    for at in 0..30 {
        let client = lab.http(0);
        asks.spawn(async move {
            let began = Instant::now();
            let reply = client.post_json("/v1/chat/completions", &chat(&format!("crowd {at}"), false)).await.unwrap();
            (reply, began.elapsed())
        });
    }
    let mut answered = 0;
    for (reply, took) in asks.join_all().await {
        if reply.status == 200 {
            answered += 1;
            continue;
        }
        assert_eq!(reply.status, 429, "{}", reply.text());
        assert!(reply.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{:?}", reply.headers);
        assert!(took < Duration::from_secs(1), "refused only after {took:?}");
    }
    assert!((2..=12).contains(&answered), "{answered} were answered");
    let most = lab.engines[0].stats().await.unwrap()["max_running"].as_u64().unwrap();
    assert!(most <= 2, "{most} ran at once");
    assert!(lab.nodes[0].metric("tm_refused_total").await >= 18.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_is_not_found_and_the_nearest_are_named() {
    let mut lab = Lab::single();
    let url = lab.engine("ollama", &["--models", "llama3.1:8b,qwen3:4b"]).await;
    lab.node(Setup::new("a").worker("engine", "ollama", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    for (path, model) in
        [("/v1/chat/completions", "lama3.1:8b"), ("/api/chat", "llama3.1:8"), ("/api/show", "lama3.1:8b")]
    {
        let body = json!({"model": model, "messages": messages});
        let reply = lab.http(0).post_json(path, &body).await.unwrap();
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
        assert!(reply.text().contains("llama3.1:8b"), "{path}: {}", reply.text());
        assert!(!reply.json().unwrap()["error"].is_null(), "{path}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_at_the_end_mark_counts_as_answered() {
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    for at in 0..10 {
        let body = Face::Chat.body(&format!("closing {at}"));
        let mut stream = lab.http(0).stream(Face::Chat.path(), &body).await.unwrap();
        let mut told = Told::new(stream.status);
        while !told.is_done {
            told.note(&stream.next().await.unwrap().unwrap());
        }
    }
    until("all ten are counted", Duration::from_secs(2), async || lab.nodes[0].metric("tm_asks_total").await == 10.0)
        .await;
    assert_eq!(lab.nodes[0].metric("tm_asks_total{face=\"openai\",model=\"fake\",outcome=\"ok\"}").await, 10.0);
    assert!(lab.nodes[0].metric("tm_tokens_total").await > 500.0);
}
