//! GitHub's webhook at the door: what reaches the desk, and which status a delivery gets. What a delivery does to tasks,
//! and that a refused one stores nothing, is tested where it is decided, in `planner::github`.

use base::{Code, Fault, Result};
use planner::github::{Delivery, Received};

use crate::client::{Reply, send};
use crate::desk::{Script, Server, limits, serve, serve_desk};

const HOOK: &str = "/hooks/github";

/// What a desk says of a delivery, by its event.
pub fn scripted(delivery: &Delivery) -> Result<Received> {
    // The example of GitHub's documentation is the only body that is signed here.
    planner::github::verify(b"It's a Secret to Everybody", &delivery.signature, &delivery.body)?;
    match delivery.event.as_str() {
        "ping" => Ok(Received::Pong),
        "issues" => {
            let changes = vec!["1: added `The lamp stays on (#5)`".to_owned()];
            Ok(Received::Taken { changes, notes: vec!["a note".to_owned()] })
        }
        "replayed" => Err(Fault::new(Code::Conflict, "delivery `d-1` was taken before").hint("nothing is to be done")),
        "malformed" => Err(Fault::invalid("the delivery is not JSON").hint("choose application/json")),
        event => Ok(Received::Ignored { why: format!("event `{event}` is not handled") }),
    }
}

async fn post(server: &Server, headers: &str, body: &str) -> Reply {
    send(server.address, "POST", HOOK, headers, body).await
}

fn headers(event: &str) -> String {
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    format!("X-GitHub-Event: {event}\r\nX-GitHub-Delivery: d-1\r\nX-Hub-Signature-256: {signature}\r\n")
}

#[tokio::test]
async fn without_a_webhook_there_is_nothing() {
    let server = serve(limits()).await;
    server.desk.has_hook.store(false, std::sync::atomic::Ordering::Relaxed);
    let reply = post(&server, &headers("issues"), "Hello, World!").await;
    assert!(reply.status == 404 && reply.body.contains("[hooks.github]"), "{reply:?}");
}

#[tokio::test]
async fn every_end_of_a_delivery_has_its_status_and_shape() {
    // With API keys on: GitHub has none, and needs none.
    let server = serve_desk(limits(), Script::new(true)).await;
    let mut shown = String::new();
    for event in ["ping", "issues", "star", "replayed", "malformed"] {
        let reply = post(&server, &headers(event), "Hello, World!").await;
        shown.push_str(&format!("{event}\n{}\n\n", reply.shown()));
    }
    let reply = send(server.address, "GET", HOOK, "", "").await;
    shown.push_str(&format!("GET\n{}", reply.shown()));
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn a_delivery_reaches_the_desk_to_the_byte() {
    let server = serve(limits()).await;
    assert_eq!(post(&server, &headers("issues"), "Hello, World!").await.status, 200);
    let seen = server.desk.delivery.lock().unwrap().take().unwrap();
    assert_eq!((seen.event.as_str(), seen.id.as_str(), &seen.body[..]), ("issues", "d-1", b"Hello, World!".as_slice()));
}

#[tokio::test]
async fn what_is_not_signed_or_signed_for_other_bytes_is_refused() {
    let server = serve(limits()).await;
    let unsigned = "X-GitHub-Event: issues\r\nX-GitHub-Delivery: d-1\r\n";
    for (headers, body) in [(unsigned, "Hello, World!"), (&headers("issues"), "Hello, World"), ("", "{}")] {
        let reply = post(&server, headers, body).await;
        assert!(reply.status == 401 && reply.body.contains("hint:"), "{reply:?}");
    }
}

#[tokio::test]
async fn a_body_over_a_mebibyte_never_reaches_the_desk() {
    let server = serve(limits()).await;
    let reply = post(&server, &headers("issues"), &"x".repeat((1 << 20) + 1)).await;
    assert!(reply.status == 413 && reply.body.contains("fewer kinds of events"), "{reply:.300?}");
    assert!(server.desk.delivery.lock().unwrap().is_none());
}
