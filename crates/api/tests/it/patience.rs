//! Clients that leave, asks that take long, answers that break off, servers that stop.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{PATIENCE, Reply, exchange, read_reply, read_until, request};
use crate::desk::{Server, limits, reaches, serve};

const SECOND: Duration = Duration::from_secs(1);

fn ask(path: &str, model: &str, stream: bool) -> String {
    let body = format!(r#"{{"model":"{model}","stream":{stream},"messages":[]}}"#);
    request("POST", path, "", &body)
}

async fn open(server: &Server, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Heads go out at once, and signs of life every 20 ms.
async fn hasty() -> Server {
    let heartbeat = Duration::from_millis(20);
    serve(api::http::HttpLimits { early_head: heartbeat, heartbeat, ..limits() }).await
}

#[tokio::test]
async fn a_client_that_leaves_mid_stream_ends_the_work_within_a_second() {
    let server = serve(limits()).await;
    let mut stream = open(&server, &ask("/v1/chat/completions", "endless", true)).await;
    read_until(&mut stream, "choices").await;
    assert_eq!(*server.desk.dropped.borrow(), 0);
    drop(stream);
    reaches(&server.desk.dropped, 1, SECOND).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_ends_the_work_within_a_second() {
    for server in [serve(limits()).await, hasty().await] {
        let stream = open(&server, &ask("/v1/chat/completions", "never", false)).await;
        reaches(&server.desk.begun, 1, PATIENCE).await;
        drop(stream);
        reaches(&server.desk.dropped, 1, SECOND).await;
    }
}

#[tokio::test]
async fn a_hundred_clients_that_leave_at_once_leave_nothing_behind() {
    let server = serve(limits()).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(open(&server, &ask("/v1/chat/completions", "endless", true)).await);
    }
    reaches(&server.desk.begun, 100, PATIENCE).await;
    drop(streams);
    reaches(&server.desk.dropped, 100, SECOND).await;
}

/// The answer to an ask that is only released after two signs of life.
async fn answer_after_waiting(path: &str, model: &str, stream: bool, sign: &str) -> Reply {
    let server = hasty().await;
    let mut connection = open(&server, &ask(path, model, stream)).await;
    let before = read_until(&mut connection, sign).await + &read_until(&mut connection, sign).await;
    server.desk.release.add_permits(1);
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut connection, &mut rest).await.unwrap();
    crate::client::parse_all(&(before + std::str::from_utf8(&rest).unwrap()))
}

#[tokio::test]
async fn a_json_answer_that_takes_long_begins_with_whitespace() {
    let reply = answer_after_waiting("/v1/chat/completions", "waits", false, "1\r\n\n\r\n").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert!(reply.header("x-tm-ask").is_some() && reply.is_whole, "{reply:?}");
    assert!(reply.body.starts_with("\n\n"), "{reply:?}");
    serde_json::from_str::<serde_json::Value>(&reply.body).unwrap();
}

#[tokio::test]
async fn a_stream_that_takes_long_begins_with_comments() {
    let reply = answer_after_waiting("/v1/chat/completions", "waits", true, ": waiting").await;
    assert!(reply.body.starts_with(": waiting\n\n: waiting\n\n"), "{reply:?}");
    assert!(reply.body.ends_with("data: {\"choices\":[]}\n\ndata: [DONE]\n\n"), "{reply:?}");
}

#[tokio::test]
async fn ollamas_lines_that_take_long_begin_with_spaces_and_are_never_blank() {
    let reply = answer_after_waiting("/api/chat", "waits", true, "1\r\n \r\n").await;
    assert!(reply.body.starts_with("  ") && reply.is_whole, "{reply:?}");
    assert_eq!(reply.body.trim_start(), "{\"done\":false}\n{\"done\":true}\n");
    for line in reply.body.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[tokio::test]
async fn a_late_failure_is_told_in_the_form_of_the_answer() {
    let (chat, ollama) = ("/v1/chat/completions", "/api/chat");
    let mut shown = String::new();
    for (path, stream, sign) in [
        (chat, false, "\r\n\n\r\n"),
        (chat, true, ": waiting"),
        (ollama, false, "\r\n\n\r\n"),
        (ollama, true, "\r\n \r\n"),
    ] {
        let reply = answer_after_waiting(path, "waits-and-fails", stream, sign).await;
        assert!(reply.status == 200 && reply.is_whole, "{reply:?}");
        let body = reply.body.trim_start().replace(": waiting\n\n", "");
        shown.push_str(&format!("{path} stream={stream}\n{body}\n"));
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn an_ask_that_fails_early_keeps_its_status() {
    let server = serve(limits()).await;
    server.desk.release.add_permits(1);
    let reply = exchange(server.address, ask("/v1/chat/completions", "waits-and-fails", true).as_bytes()).await;
    assert_eq!((reply.status, reply.header("content-type")), (503, Some("application/json")));
    assert!(reply.header("x-tm-ask").is_some());
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_ends_cleanly() {
    let server = serve(limits()).await;
    let reply = exchange(server.address, ask("/v1/chat/completions", "cut", true).as_bytes()).await;
    assert!(reply.body.contains("choices") && !reply.is_whole, "{reply:?}");
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_lives() {
    let server = hasty().await;
    let mut stream = open(&server, &ask("/v1/chat/completions", "endless", true)).await;
    let seen = read_until(&mut stream, ": waiting").await;
    assert!(seen.contains("choices"), "{seen}");
}

#[tokio::test]
async fn an_object_that_answers_an_ask_for_a_stream_gets_no_comments() {
    let server = hasty().await;
    let mut stream = open(&server, &ask("/v1/chat/completions", "one-object", true)).await;
    let seen = read_until(&mut stream, "\r\n\n\r\n").await;
    assert!(!seen.contains("waiting"), "{seen}");
}

#[tokio::test]
async fn a_client_that_takes_no_byte_is_cut_at_the_write_timeout() {
    let server = serve(api::http::HttpLimits { write: Duration::from_millis(200), ..limits() }).await;
    let _stuck = open(&server, &ask("/v1/chat/completions", "flood", true)).await;
    reaches(&server.desk.dropped, 1, PATIENCE).await;
}

#[tokio::test]
async fn a_stopping_server_finishes_what_runs_and_takes_nothing_new() {
    let server = serve(limits()).await;
    let mut running = open(&server, &ask("/v1/chat/completions", "waits", false)).await;
    let idle = open(&server, "").await;
    reaches(&server.desk.begun, 1, PATIENCE).await;
    server.cancel.cancel();
    let mut idle = idle;
    assert_eq!(read_reply(&mut idle).await.status, 0, "an idle connection is closed");
    server.desk.release.add_permits(1);
    let reply = read_reply(&mut running).await;
    assert!(reply.status == 200 && reply.is_whole, "{reply:?}");
    server.tracker.close();
    tokio::time::timeout(PATIENCE, server.tracker.wait()).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn the_drain_time_ends_what_does_not_finish() {
    let server = serve(api::http::HttpLimits { drain: Duration::from_millis(50), ..limits() }).await;
    let _running = open(&server, &ask("/v1/chat/completions", "never", false)).await;
    reaches(&server.desk.begun, 1, PATIENCE).await;
    server.cancel.cancel();
    server.tracker.close();
    tokio::time::timeout(PATIENCE, server.tracker.wait()).await.unwrap();
    reaches(&server.desk.dropped, 1, SECOND).await;
}
