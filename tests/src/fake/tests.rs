//! The fake engine over real sockets, in this process: every dialect, every fault.

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::client::Client;

/// A served engine; gone when dropped.
struct Served {
    client: Client,
    engine: std::sync::Arc<engine::Engine>,
    _server: JoinSet<()>,
}

async fn start(speak: &str, args: &[&str]) -> Served {
    let fixed = ["fake-engine", "--speak", speak, "--ttft", "0ms", "--token", "0ms", "--tokens", "20"];
    let options = Options::parse_from(fixed.iter().chain(args));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client =
        Client::new(&listener.local_addr().unwrap().to_string()).with_header("anthropic-version", "2023-06-01");
    let engine = engine::Engine::new(options);
    let mut server = JoinSet::new();
    let served = engine.clone();
    server.spawn(async move { serve::serve(listener, served).await.unwrap() });
    Served { client, engine, _server: server }
}

impl Served {
    async fn control(&self, change: Value) {
        assert_eq!(self.client.post_json("/fake/control", &change).await.unwrap().status, 200);
    }

    /// Waits until a number of the statistics is as wanted.
    async fn wait_stat(&self, name: &str, wanted: u64) {
        tokio::time::timeout(std::time::Duration::from_secs(10), async {
            while self.engine.stats()[name] != wanted {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{name} is not {wanted}: {}", self.engine.stats()));
    }
}

fn path(speak: Speak) -> &'static str {
    match speak {
        Speak::Ollama => "/api/chat",
        Speak::Anthropic => "/v1/messages",
        Speak::Perplexity => "/chat/completions",
        _ => "/v1/chat/completions",
    }
}

fn body(stream: bool) -> Value {
    json!({"model": "fake", "stream": stream, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]})
}

fn answer() -> String {
    text::expected(&text::render(&[("user", "hello")]), 20)
}

#[tokio::test]
async fn every_dialect_gives_the_same_answer_streamed_and_whole() {
    for &speak in Speak::value_variants() {
        let name = speak.to_possible_value().unwrap();
        let served = start(name.get_name(), &[]).await;
        for stream in [true, false] {
            let told = served.client.ask(path(speak), &body(stream)).await.unwrap();
            assert!(told.is_good(), "{speak:?} {told:?}");
            assert_eq!(told.text, answer(), "{speak:?}");
            assert_eq!(told.pieces, if stream { 20 } else { 1 }, "{speak:?}");
            assert!(["stop", "end_turn"].contains(&told.finish.as_deref().unwrap()), "{speak:?} {told:?}");
        }
        if speak != Speak::Perplexity {
            let models = served.client.get("/v1/models").await.unwrap().json().unwrap();
            let listed = models.pointer("/data/0/id").and_then(Value::as_str);
            assert_eq!(listed, Some("fake"), "{speak:?}");
        }
        assert_eq!(served.engine.stats()["tokens_generated"], 40);
    }
}

#[tokio::test]
async fn an_unknown_model_is_refused_in_the_words_of_each_engine() {
    for (speak, route, pointer) in [
        ("ollama", "/api/chat", "/error"),
        ("ollama", "/v1/chat/completions", "/error/message"),
        ("vllm", "/v1/chat/completions", "/error/message"),
        ("anthropic", "/v1/messages", "/error/message"),
    ] {
        let served = start(speak, &["--models", "other"]).await;
        let reply = served.client.post_json(route, &body(true)).await.unwrap();
        assert_eq!(reply.status, 404);
        let message = reply.json().unwrap().pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
        assert_eq!(message, "model 'fake' not found", "{speak} {route}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_generation() {
    let served = start("openai", &["--token", "5ms", "--tokens", "100000"]).await;
    let mut stream = served.client.stream("/v1/chat/completions", &body(true)).await.unwrap();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    served.wait_stat("cancelled", 1).await;
    assert_eq!(served.engine.stats()["running"], 0);
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let served = start("ollama", &["--slots", "1", "--queue", "0", "--token", "1h"]).await;
    let mut first = served.client.stream("/api/chat", &body(true)).await.unwrap();
    first.next().await.unwrap().unwrap();
    let refused = served.client.post_json("/api/chat", &body(true)).await.unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("maximum pending requests exceeded"));
}

#[tokio::test]
async fn a_stream_breaks_as_it_is_told_and_only_as_often() {
    let served = start("openai", &[]).await;
    let whole = answer();
    let first = |n| text::expected(&text::render(&[("user", "hello")]), n);
    for (fail, text, ends) in [
        (json!({"cut_at": 7}), first(7), "broken"),
        (json!({"error_mid": 4}), first(4), "error"),
        (json!("junk"), first(3), "error"),
        (json!("half_utf8"), first(3), "broken"),
        (json!("wrong_length"), whole.clone(), "broken"),
    ] {
        served.control(json!({"fail": fail, "fail_count": 1})).await;
        let told = served.client.ask("/v1/chat/completions", &body(true)).await.unwrap();
        assert_eq!(told.text, text, "{fail}");
        let seen = if told.broken.is_some() { "broken" } else { "error" };
        assert!(seen == ends && !(told.is_done && told.is_good()), "{fail} {told:?}");
        let again = served.client.ask("/v1/chat/completions", &body(true)).await.unwrap();
        assert!(again.is_good() && again.text == whole, "{fail} {again:?}");
    }
}

#[tokio::test]
async fn a_connection_is_cut_at_the_byte() {
    let served = start("ollama", &[]).await;
    served.control(json!({"fail": {"cut_at_byte": 333}})).await;
    let mut stream = served.client.stream("/api/chat", &body(true)).await.unwrap();
    let mut bytes = 0;
    while let Ok(Some(chunk)) = stream.chunk().await {
        bytes += chunk.len();
    }
    assert_eq!(bytes, 333);
}

#[tokio::test]
async fn statuses_loading_and_refusals_are_as_told() {
    let served = start("llamacpp", &[]).await;
    served.control(json!({"fail": {"status": {"code": 429, "retry_after_s": 3}}, "fail_count": 1})).await;
    let reply = served.client.post_json("/v1/chat/completions", &body(true)).await.unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (429, "3"));
    served.control(json!({"fail": {"loading_ms": 3_600_000}})).await;
    let reply = served.client.post_json("/v1/chat/completions", &body(true)).await.unwrap();
    assert_eq!((reply.status, reply.json().unwrap()["error"]["message"].as_str()), (503, Some("Loading model")));
    assert_eq!(served.client.get("/health").await.unwrap().status, 503);
    served.control(json!({"fail": "refuse"})).await;
    assert!(served.client.get("/health").await.is_err());
    served.control(json!({"fail": "none"})).await;
    assert_eq!(served.client.get("/health").await.unwrap().status, 200);
}

#[tokio::test]
async fn llama_server_repeats_the_prefill_and_ollama_does_not() {
    let whole = answer();
    let (held, rest) = whole.split_at(50);
    let mut body = body(true);
    body["messages"].as_array_mut().unwrap().push(json!({"role": "assistant", "content": held}));
    let echoing = start("llamacpp", &[]).await;
    assert_eq!(echoing.client.ask("/v1/chat/completions", &body).await.unwrap().text, whole);
    assert_eq!(echoing.client.ask("/v1/messages", &body).await.unwrap().text, whole);
    let ollama = start("ollama", &[]).await;
    assert_eq!(ollama.client.ask("/api/chat", &body).await.unwrap().text, rest);
    body["_debug_render_only"] = true.into();
    let shown = ollama.client.post_json("/api/chat", &body).await.unwrap().json().unwrap();
    let raw = json!({"model": "fake", "raw": true, "prompt": shown["_debug_info"]["rendered_template"]});
    assert_eq!(ollama.client.ask("/api/generate", &raw).await.unwrap().text, rest);
}

#[tokio::test]
async fn models_come_and_go_as_memory_allows() {
    let served = start("ollama", &["--models", "a,b,c", "--vram", "10GiB", "--model-memory", "5GiB"]).await;
    let load = |model: &str| json!({"model": model, "stream": false});
    for model in ["a", "b", "c"] {
        let reply = served.client.post_json("/api/generate", &load(model)).await.unwrap().json().unwrap();
        assert_eq!(reply["done_reason"], "load");
    }
    assert_eq!(served.engine.stats()["loaded"], json!(["b", "c"]));
    let unload = json!({"model": "b", "keep_alive": 0});
    let reply = served.client.post_json("/api/generate", &unload).await.unwrap().json().unwrap();
    assert_eq!(reply["done_reason"], "unload");
    let listed = served.client.get("/api/ps").await.unwrap().json().unwrap();
    assert_eq!(listed["models"][0]["name"], "c");
    served.client.post_json("/api/pull", &json!({"model": "d"})).await.unwrap();
    assert_eq!(served.client.post_json("/api/generate", &load("d")).await.unwrap().status, 200);
    served.client.post_json("/api/delete", &json!({"model": "d"})).await.unwrap();
    assert_eq!(served.client.post_json("/api/generate", &load("d")).await.unwrap().status, 404);
    served.control(json!({"fail": {"load_fail": "a"}})).await;
    assert_eq!(served.client.post_json("/api/generate", &load("a")).await.unwrap().status, 500);
}

#[tokio::test]
async fn what_was_read_before_costs_no_time_again() {
    let served = start("llamacpp", &["--prefill-rate", "1e6"]).await;
    let cached = |reply: crate::client::Reply| {
        reply.json().unwrap().pointer("/usage/prompt_tokens_details/cached_tokens").and_then(Value::as_u64).unwrap()
    };
    let post = async || served.client.post_json("/v1/chat/completions", &body(false)).await.unwrap();
    assert_eq!(cached(post().await), 0);
    assert!(cached(post().await) > 10);
}

#[tokio::test]
async fn thoughts_come_before_the_answer_where_they_are_wanted() {
    let thoughts = text::expected(&text::thinking(&text::render(&[("user", "hello")])), 5);
    for (speak, wish) in [
        ("ollama", json!({"think": true})),
        ("vllm", json!({})),
        ("anthropic", json!({"thinking": {"type": "enabled", "budget_tokens": 1024}})),
    ] {
        let served = start(speak, &["--thinking", "5"]).await;
        for stream in [true, false] {
            let mut body = body(stream);
            body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
            let told = served.client.ask(path(served.engine.options.speak), &body).await.unwrap();
            assert!(told.is_good(), "{told:?}");
            assert_eq!((told.thinking, told.text), (thoughts.clone(), answer()), "{speak} {stream}");
        }
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let served = start("perplexity", &["--key", "secret"]).await;
    assert_eq!(served.client.post_json("/chat/completions", &body(false)).await.unwrap().status, 401);
    let client = served.client.clone().with_header("authorization", "Bearer secret");
    assert_eq!(client.post_json("/chat/completions", &body(false)).await.unwrap().status, 200);
}

#[tokio::test]
async fn slots_taken_from_running_asks_end_with_them() {
    let served = start("openai", &["--slots", "2", "--queue", "0"]).await;
    served.control(json!({"fail": {"hang_mid": 1}, "fail_count": 2})).await;
    let hanging = [
        served.client.stream("/v1/chat/completions", &body(true)).await.unwrap(),
        served.client.stream("/v1/chat/completions", &body(true)).await.unwrap(),
    ];
    served.control(json!({"slots": 1})).await;
    drop(hanging);
    served.wait_stat("running", 0).await;
    served.control(json!({"fail": {"hang_mid": 1}, "fail_count": 1})).await;
    let _one = served.client.stream("/v1/chat/completions", &body(true)).await.unwrap();
    assert_eq!(served.client.post_json("/v1/chat/completions", &body(true)).await.unwrap().status, 503);
}

#[tokio::test]
async fn tools_schemas_vectors_and_ranks_work_in_their_dialects() {
    let tool = json!({"type": "function", "function": {"name": "add", "parameters": {
        "type": "object", "properties": {"n": {"const": 7}}, "required": ["n"]}}});
    let served = start("ollama", &[]).await;
    for (route, stream) in [("/api/chat", true), ("/api/chat", false), ("/v1/chat/completions", true)] {
        let ask = json!({"model": "fake", "stream": stream, "tools": [tool], "format": "json",
            "messages": [{"role": "user", "content": "call:add"}]});
        let told = served.client.ask(route, &ask).await.unwrap();
        assert_eq!((told.calls.as_str(), told.text.as_str()), ("add{\"n\":7}", ""), "{route}");
    }
    let schema = json!({"model": "fake", "stream": false, "format": {"type": "object", "properties": {"a": {"const": 1}}},
        "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(served.client.ask("/api/chat", &schema).await.unwrap().text, "{\"a\":1}");
    let embed = json!({"model": "fake", "input": ["one", "two"]});
    let vectors = served.client.post_json("/api/embed", &embed).await.unwrap().json().unwrap();
    let same = served.client.post_json("/v1/embeddings", &embed).await.unwrap().json().unwrap();
    assert_eq!(vectors["embeddings"][1], same["data"][1]["embedding"]);
    let llama = start("llamacpp", &[]).await;
    let ask = json!({"query": "quick fox", "documents": ["a turtle", "the quick fox"], "top_n": 1});
    let ranks = llama.client.post_json("/v1/rerank", &ask).await.unwrap().json().unwrap();
    assert_eq!((&ranks["results"][0]["index"], ranks["results"].as_array().unwrap().len()), (&json!(1), 1));
}
