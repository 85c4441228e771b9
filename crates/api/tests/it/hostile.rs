//! Input that no well-meaning client sends: each is refused early, and the next client is served as ever.

use std::time::Duration;

use api::http::HttpLimits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{PATIENCE, exchange, read_reply, request, send};
use crate::desk::{Server, limits, serve};

const CHAT: &str = "/v1/chat/completions";

async fn assert_serves(server: &Server) {
    let reply = send(server.address, "POST", CHAT, "", r#"{"model":"m","messages":[]}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn hostile_requests_get_the_status_they_earn() {
    let server = serve(limits()).await;
    let deep = format!("{{\"model\":\"m\",\"messages\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let many =
        format!("{{\"model\":\"m\",\"messages\":[{}]}}", vec![r#"{"role":"user","content":"x"}"#; 10_000].join(","));
    let keys: String = (0..50_000).map(|n| format!("\"k{n}\":1,")).collect();
    let names: String = (0..10_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let value = format!("x-long: {}\r\n", "v".repeat(70_000));
    let post = |headers: &str, body: &str| request("POST", CHAT, headers, body);
    let raw = |headers: &str, body: &str| {
        format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n{body}")
    };
    let cases: Vec<(&str, u16, String)> = vec![
        ("10,000 messages", 200, post("", &many)),
        ("unknown keys", 200, post("", &format!("{{{keys}\"model\":\"m\",\"messages\":[]}}"))),
        ("deep", 400, post("", &deep)),
        ("duplicate keys", 400, post("", r#"{"model":"a","model":"b","messages":[]}"#)),
        ("byte order mark", 400, post("", "\u{feff}{\"model\":\"m\",\"messages\":[]}")),
        ("lone surrogate", 400, post("", r#"{"model":"\ud800","messages":[]}"#)),
        ("huge number", 400, post("", r#"{"model":"m","messages":[],"temperature":1e999}"#)),
        ("wrong types", 400, post("", r#"{"model":["m"],"messages":{}}"#)),
        ("array", 400, post("", "[1,2]")),
        ("multipart", 400, post("content-type: multipart/form-data; boundary=x\r\n", "--x")),
        ("NUL in a name", 404, post("", r#"{"model":"a\u0000b","messages":[]}"#)),
        ("path as a name", 404, post("", r#"{"model":"../../etc/passwd","messages":[]}"#)),
        ("10,000 headers", 431, post(&names, "{}")),
        ("long header", 431, post(&value, "{}")),
        ("too large for a list", 413, request("POST", "/api/show", "", &" ".repeat(2 << 20))),
        ("announced too large", 413, raw("content-length: 100000000\r\n", "{")),
        ("header injection", 400, raw("x-a: b\rx-c: d\r\n", "")),
        ("negative length", 400, raw("content-length: -1\r\n", "")),
        ("two lengths", 400, raw("content-length: 2\r\ncontent-length: 3\r\n", "{}")),
        ("bad chunk", 400, raw("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n")),
        ("not HTTP", 400, "\x16\x03\x01 hello\r\n\r\n".to_owned()),
        ("long path", 404, request("GET", &format!("/{}", "a".repeat(8000)), "", "")),
    ];
    for (name, status, text) in cases {
        let reply = exchange(server.address, text.as_bytes()).await;
        assert_eq!(reply.status, status, "{name}: {reply:.300?}");
    }
    let not_utf8 = [post("content-length: 2\r\n", "").as_bytes(), &[0xff, 0xfe]].concat();
    assert_eq!(exchange(server.address, &not_utf8).await.status, 400);
    assert_serves(&server).await;
}

#[tokio::test]
async fn a_length_beside_chunks_is_one_request_for_everybody() {
    let server = serve(limits()).await;
    // Read by its length, the body would hide the second request; read by its chunks, it ends before it.
    let hidden = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let text = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        5 + hidden.len()
    );
    let reply = exchange(server.address, text.as_bytes()).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(!reply.body.contains("HTTP/1.1"), "nothing else is answered: {reply:?}");
}

#[tokio::test]
async fn an_endless_chunked_body_is_refused_at_the_limit() {
    let server = serve(HttpLimits { body: 100_000, ..limits() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    for _ in 0..8 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    let seen = crate::client::read_until(&mut stream, "too_large").await;
    assert!(seen.starts_with("HTTP/1.1 413"), "{seen}");
    assert_serves(&server).await;
}

#[tokio::test]
async fn a_sender_of_too_much_still_reads_its_refusal() {
    let server = serve(HttpLimits { body: 100_000, ..limits() }).await;
    let text = request("POST", CHAT, "", &" ".repeat(8 << 20));
    let reply = exchange(server.address, text.as_bytes()).await;
    assert_eq!(reply.status, 413, "{reply:?}");
    assert!(reply.body.contains("97.7 KiB"), "{reply:?}");
}

#[tokio::test]
async fn a_body_that_never_comes_ends_at_its_deadline() {
    let server = serve(HttpLimits { read: Duration::from_millis(100), ..limits() }).await;
    // What is not there is not waited for.
    for (path, status) in [(CHAT, 504), ("/api/show", 504), ("/nothing", 404)] {
        let text =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 50\r\n\r\n{{");
        let reply = exchange(server.address, text.as_bytes()).await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_and_so_is_a_connection_without_a_request() {
    let short = Duration::from_millis(100);
    let server = serve(HttpLimits { header: short, idle: short, ..limits() }).await;
    for text in ["", "POST /v1/chat", "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let reply = read_reply(&mut stream).await;
        assert_eq!(reply.status, if text.starts_with("GET") { 200 } else { 0 }, "{reply:?}");
    }
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_head() {
    let short = Duration::from_millis(200);
    let server = serve(HttpLimits { header: short, idle: short, ..limits() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let text = request("POST", CHAT, "", r#"{"model":"waits","messages":[]}"#);
    stream.write_all(text.as_bytes()).await.unwrap();
    // Longer than each of the two limits, so that their timers have fired.
    tokio::time::sleep(3 * short).await;
    server.desk.release.add_permits(1);
    assert_eq!(read_reply(&mut stream).await.status, 200);
}

#[tokio::test]
async fn connections_over_the_cap_are_refused_and_served_again_once_others_leave() {
    let server = serve(HttpLimits { connections: 2, ..limits() }).await;
    let held = [TcpStream::connect(server.address).await.unwrap(), TcpStream::connect(server.address).await.unwrap()];
    let mut over = TcpStream::connect(server.address).await.unwrap();
    let reply = read_reply(&mut over).await;
    assert!(reply.status == 503 && reply.header("retry-after") == Some("5") && reply.is_whole, "{reply:?}");
    drop(held);
    let served = async {
        loop {
            let reply = exchange(server.address, request("GET", "/healthz", "", "").as_bytes()).await;
            if reply.status == 200 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
}
