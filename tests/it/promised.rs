//! What clients that plan rely on: JSON that is whole or an error, limits that are too large, counts in every answer.
//!
//! The rest of what they rely on is shown elsewhere: early heads and signs of life in `api/tests/it/patience.rs`, a client
//! that comes back in `reuse.rs`, one that leaves in `limits.rs`.

use serde_json::{Value, json};

use crate::lab::{Lab, MODEL, Setup};

/// A node with one engine.
async fn one(speak: &str, args: &[&str]) -> Lab {
    let mut lab = Lab::single();
    let url = lab.engine(speak, args).await;
    lab.node(Setup::new("alone").worker("gpu", speak, &url)).await;
    lab.workers_are(0, "ready", 1).await;
    lab
}

fn plan(more: &Value) -> Value {
    let schema = json!({"type": "object", "required": ["tasks"], "properties": {"tasks": {"type": "array", "minItems": 3,
        "items": {"type": "object", "required": ["id", "title"], "properties": {
            "id": {"type": "integer"}, "title": {"type": "string", "minLength": 30}}}}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "tasks", "schema": schema}});
    let mut body =
        json!({"model": MODEL, "messages": [{"role": "user", "content": "plan"}], "response_format": format});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_cut_is_never_told_as_whole() {
    let lab = one("ollama", &[]).await;
    let whole = lab.http(0).post_json("/v1/chat/completions", &plan(&json!({}))).await.unwrap();
    assert_eq!(whole.status, 200, "{}", whole.text());
    for stream in [false, true] {
        let cut = plan(&json!({"max_tokens": 5, "stream": stream}));
        let reply = lab.http(0).post_json("/v1/chat/completions", &cut).await.unwrap();
        assert!(reply.status == 200 && reply.text().contains("\"finish_reason\":\"length\""), "{}", reply.text());
    }
    // A context that is smaller than the limit is no wish of the client's.
    let lab = one("ollama", &["--context", "40"]).await;
    let beyond = lab.http(0).post_json("/v1/chat/completions", &plan(&json!({"max_tokens": 120_000}))).await.unwrap();
    assert!(beyond.status == 400 && beyond.text().contains("of 120000 tokens"), "{}", beyond.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn prose_is_no_answer_to_who_asks_for_json() {
    // These engines take a schema and do not look at it.
    let mut lab = Lab::single();
    let mut node = Setup::new("alone");
    for name in ["a", "b", "c"] {
        let url = lab.engine("webui", &[]).await;
        node = node.worker(name, "webui", &url);
    }
    lab.node(node).await;
    lab.workers_are(0, "ready", 3).await;
    let mut before = [0; 3];
    // Again of the same engine what may turn out otherwise, else of another one.
    for (more, runs) in [(json!({}), [0, 0, 2]), (json!({"temperature": 0}), [0, 1, 1])] {
        let reply = lab.http(0).post_json("/v1/chat/completions", &plan(&more)).await.unwrap();
        assert_eq!(reply.status, 502, "{}", reply.text());
        assert!(reply.text().contains("JSON") && reply.text().contains("hint"), "{}", reply.text());
        let mut now = [0; 3];
        for (engine, asks) in lab.engines.iter().zip(&mut now) {
            *asks = engine.stats().await.unwrap()["asks"].as_u64().unwrap();
        }
        let mut ran = [0, 1, 2].map(|engine| now[engine] - before[engine]);
        ran.sort_unstable();
        assert_eq!(ran, runs, "{more}");
        before = now;
    }
    // Of a stream the prose is out already: it does not end as if it were good.
    let reply = lab.http(0).post_json("/v1/chat/completions", &plan(&json!({"stream": true}))).await.unwrap();
    assert!(reply.text().contains("engine_failed") && !reply.text().contains("[DONE]"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shape_that_only_prose_tells_is_kept_to() {
    let lab = one("ollama", &[]).await;
    let system = "Respond with a JSON object with a single \"steps\" property containing an array of these:\n\
        - id: its number (positive integer)\n- title: what to do (5-200 characters)\n- level: one of 'low' or 'high'\n";
    let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": "exactly 4 steps"}]);
    let format = json!({"type": "json_object"});
    let openai = json!({"model": MODEL, "messages": messages, "response_format": format});
    let ollama = json!({"model": MODEL, "messages": messages, "format": "json", "stream": false});
    for (path, body, place) in
        [("/v1/chat/completions", openai, "/choices/0/message/content"), ("/api/chat", ollama, "/message/content")]
    {
        let reply = lab.http(0).post_json(path, &body).await.unwrap().json().unwrap();
        let text = reply.pointer(place).and_then(Value::as_str).unwrap_or_else(|| panic!("{reply}"));
        let answer: Value = serde_json::from_str(text).unwrap();
        let ids: Vec<u64> = answer["steps"].as_array().unwrap().iter().filter_map(|step| step["id"].as_u64()).collect();
        assert_eq!(ids, [1, 2, 3, 4], "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_beyond_the_context_are_clamped_and_every_answer_is_counted() {
    let lab = one("vllm", &["--context", "4096"]).await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    let limits = [
        ("/v1/chat/completions", json!({"max_tokens": 120_000})),
        ("/v1/messages", json!({"max_tokens": 64_000})),
        ("/v1/responses", json!({"max_output_tokens": 64_000, "input": "hello"})),
        ("/api/chat", json!({"max_output_tokens": 64_000, "temperature": 0.2})),
    ];
    for (path, limit) in limits {
        for stream in [false, true] {
            let mut body = json!({"model": MODEL, "messages": messages, "stream": stream});
            if path == "/v1/responses" {
                body.as_object_mut().unwrap().remove("messages");
            }
            body.as_object_mut().unwrap().extend(limit.as_object().unwrap().clone());
            let reply = lab.http(0).post_json(path, &body).await.unwrap();
            assert_eq!(reply.status, 200, "{path} {}", reply.text());
            let counts = ["\"completion_tokens\":60", "\"output_tokens\":60", "\"eval_count\":60"];
            assert!(counts.iter().any(|count| reply.text().contains(count)), "{path} {}", reply.text());
        }
    }
}
