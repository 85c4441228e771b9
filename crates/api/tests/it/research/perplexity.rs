//! Perplexity's API, as its clients speak it.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{PATIENCE, Reply, read_until, request};
use crate::desk::reaches;
use crate::projects::Bed;

fn chat(more: Value) -> Value {
    let mut body = json!({ "model": "sonar-pro", "messages": [{ "role": "user", "content": "disks volts" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// What stands behind `data:`, without the mark of the end.
fn data(reply: &Reply) -> Vec<Value> {
    let lines = reply.body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|line| *line != "[DONE]");
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_chat_is_answered_with_citations_and_what_was_found() {
    let bed = Bed::house().await;
    for path in ["/chat/completions", "/v1/chat/completions"] {
        let said = bed.call("POST", path, &chat(json!({ "search_mode": "web" }))).await;
        let content = said["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(content.contains("four disks. [1]") && content.contains("12 volts. [2]"), "{said}");
        assert!(said["citations"][0].as_str().unwrap().starts_with("tm://house/"), "{said}");
        assert_eq!(said["citations"][1], "https://example.org/pump");
        let results = said["search_results"].as_array().unwrap();
        let kinds: Vec<_> = results.iter().map(|one| (&one["source"], &one["date"])).collect();
        let day = json!("2026-11-20");
        assert_eq!(kinds, [(&json!("attachment"), &day), (&json!("web"), &day)]);
        assert_eq!((&results[0]["title"], &results[0]["snippet"]), (&json!("The NAS"), &json!("It has four disks.")));
        assert!(said["usage"]["total_tokens"].as_u64().unwrap() > 0);
        assert_eq!((&said["object"], &said["model"]), (&json!("chat.completion"), &json!("sonar-pro")));
        assert!(said["taskmaster"]["notes"].to_string().contains("search_mode"), "{said}");
    }
    assert!(bed.server.desk.seen.lock().unwrap().is_none(), "no model of the cluster was asked");
}

#[tokio::test]
async fn a_streamed_chat_has_its_citations_on_the_last_chunk() {
    let bed = Bed::house().await;
    let reply = bed.send("POST", "/chat/completions", &chat(json!({ "stream": true }))).await;
    assert!(
        reply.header("content-type").unwrap().starts_with("text/event-stream")
            && reply.body.ends_with("data: [DONE]\n\n"),
        "{reply:?}"
    );
    let chunks = data(&reply);
    let text: String = chunks.iter().map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap()).collect();
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"][0]["message"]["content"], text.as_str(), "what streamed is what stands beside it");
    assert_eq!((&last["choices"][0]["finish_reason"], &last["status"]), (&json!("stop"), &json!("COMPLETED")));
    assert_eq!((last["citations"].as_array().map(Vec::len), chunks[0].get("citations")), (Some(2), None));
}

#[tokio::test]
async fn what_a_filter_picks_is_all_that_is_asked() {
    let bed = Bed::house().await;
    let said = bed.call("POST", "/chat/completions", &chat(json!({ "search_domain_filter": ["example.org"] }))).await;
    assert_eq!(said["citations"], json!(["https://example.org/pump"]));
    let both = chat(json!({ "search_domain_filter": ["a", "b"] }));
    let refused = bed.send("POST", "/chat/completions", &both).await;
    assert_eq!((refused.status, refused.body.contains("at most one part of a source")), (400, true), "{refused:?}");
    let schema = chat(json!({ "response_format": { "type": "json_schema", "json_schema": {} } }));
    assert_eq!(bed.send("POST", "/chat/completions", &schema).await.status, 501);
}

#[tokio::test]
async fn other_models_are_asked_as_ever() {
    let bed = Bed::house().await;
    let mut body = chat(json!({}));
    for model in ["m", "sonarqube"] {
        body["model"] = json!(model);
        bed.send("POST", "/v1/chat/completions", &body).await;
        let (head, ..) = bed.server.desk.seen.lock().unwrap().take().unwrap();
        assert_eq!(&*head.model, model);
    }
}

#[tokio::test]
async fn the_agent_answers_with_a_message_and_what_was_found() {
    let bed = Bed::house().await;
    let input = json!([{ "type": "message", "role": "system", "content": "be short" }, { "type": "message", "role": "user", "content": "disks" }]);
    let said =
        bed.call("POST", "/v1/agent", &json!({ "model": "sonar", "input": input, "max_output_tokens": 800 })).await;
    assert_eq!((&said["object"], &said["status"]), (&json!("response"), &json!("completed")));
    assert_eq!((&said["output"][0]["type"], &said["output"][1]["type"]), (&json!("search_results"), &json!("message")));
    assert_eq!(said["output"][0]["results"][0]["snippet"], "It has four disks.");
    let part = &said["output"][1]["content"][0];
    assert_eq!((&part["type"], &part["text"]), (&json!("output_text"), &json!("It has four disks. [1]")));
    assert_eq!(part["annotations"][0]["url"], said["output"][0]["results"][0]["url"]);
    let usage = &said["usage"];
    assert_eq!(
        usage["total_tokens"],
        usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap()
    );
    assert_eq!(bed.server.desk.knowledge.asked.lock().unwrap().clone().unwrap().context, "system: be short");
    let reply = bed.send("POST", "/v1/responses", &json!({ "model": "sonar", "input": "disks" })).await;
    let again: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(again["output"][1]["content"], said["output"][1]["content"], "its own client calls it so");
    assert_eq!(again["id"], format!("resp_{}", reply.header("x-tm-ask").unwrap()), "the ask's own id");
    let other = bed.send("POST", "/v1/agent", &json!({ "model": "openai/gpt-5", "input": "disks" })).await;
    assert_eq!((other.status, other.body.contains("use sonar")), (404, true), "{other:?}");
}

#[tokio::test]
async fn the_agents_stream_begins_tells_and_completes() {
    let bed = Bed::house().await;
    let reply = bed.send("POST", "/v1/agent", &json!({ "input": "disks", "stream": true })).await;
    let events = data(&reply);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_text.delta",
        "response.output_text.done",
        "response.output_item.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds, expected);
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..7).collect::<Vec<_>>());
    assert_eq!(events[6]["response"]["output"][1]["content"][0]["text"], events[3]["text"]);
    assert_eq!(events[0]["response"]["id"], events[6]["response"]["id"]);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_work() {
    let bed = Bed::house().await;
    let waiting = json!([{ "role": "user", "content": "wait" }]);
    for (path, body) in [
        ("/chat/completions", chat(json!({ "messages": waiting, "stream": false }))),
        ("/v1/agent", json!({ "input": "wait", "stream": true })),
    ] {
        let before = *bed.server.desk.knowledge.dropped.borrow();
        *bed.server.desk.knowledge.asked.lock().unwrap() = None;
        let mut client = TcpStream::connect(bed.server.address).await.unwrap();
        client.write_all(request("POST", path, "", &body.to_string()).as_bytes()).await.unwrap();
        if path == "/v1/agent" {
            read_until(&mut client, "response.created").await;
        } else {
            let begun = async {
                while bed.server.desk.knowledge.asked.lock().unwrap().is_none() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, begun).await.unwrap();
        }
        drop(client);
        reaches(&bed.server.desk.knowledge.dropped, before + 1, PATIENCE).await;
    }
}
