//! The page's files and the JSON that it draws from.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::client::{read_until, request, send};
use crate::desk::{Script, limits, serve, serve_desk};
use tokio::io::AsyncWriteExt;

const BROWSER: &str = "accept: text/html\r\n";

#[tokio::test]
async fn the_page_may_load_from_this_server_alone_and_is_not_sent_twice() {
    let server = serve_desk(limits(), Script::new(true)).await;
    for (path, headers) in [("/", BROWSER), ("/page/app.js", ""), ("/page/style.css", "")] {
        // Without a key: it holds no data.
        let reply = send(server.address, "GET", path, headers, "").await;
        assert_eq!(reply.status, 200, "{path}");
        let policy = reply.header("content-security-policy").unwrap();
        for rule in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "connect-src 'self';",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        let tag = reply.header("etag").unwrap();
        let again = send(server.address, "GET", path, &format!("{headers}if-none-match: W/\"x\", {tag}\r\n"), "").await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        let other = send(server.address, "GET", path, &format!("{headers}if-none-match: \"x\"\r\n"), "").await;
        assert_eq!(other.status, 200, "{path}");
    }
    let page = send(server.address, "GET", "/", BROWSER, "").await.body;
    assert!(page.contains("/page/app.js") && !page.contains("grey-area"), "{page}");
}

#[tokio::test]
async fn lists_of_the_cluster_and_their_refusals_as_json() {
    let server = serve(limits()).await;
    let mut shown = String::new();
    for (method, path, body) in [
        ("GET", "/api/cluster/nodes", ""),
        ("GET", "/api/cluster/workers", ""),
        ("GET", "/api/cluster/models", ""),
        ("GET", "/api/cluster/asks?limit=1", ""),
        ("GET", "/api/cluster/asks?limit=1001", ""),
        ("GET", "/api/cluster/asks?most=1", ""),
        ("GET", "/api/cluster/asks/ask-1", ""),
        ("GET", "/api/cluster/failures", ""),
        ("GET", "/api/cluster/health", ""),
        ("GET", "/api/cluster/mode", ""),
        ("POST", "/api/cluster/mode", r#"{"mode":"hybrid"}"#),
        ("POST", "/api/cluster/mode", r#"{"mood":"hybrid"}"#),
        ("POST", "/api/cluster/nodes/grey-area/drain", ""),
        ("POST", "/api/cluster/nodes/grey-area/drain", r#"{"undo":true}"#),
        ("GET", "/api/cluster/load", ""),
        ("GET", "/api/cluster/dialled", ""),
        ("GET", "/api/cluster/nothing", ""),
        ("DELETE", "/api/cluster/nodes", ""),
    ] {
        let reply = send(server.address, method, path, "", body).await;
        shown.push_str(&format!("{method} {path} {body}\n{}\n\n", reply.shown()));
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn changes_and_lists_want_a_key_and_a_page_of_the_house() {
    let server = serve_desk(limits(), Script::new(true)).await;
    let key = "authorization: Bearer secret\r\n";
    for (method, path) in [("GET", "/api/cluster/nodes"), ("GET", "/api/cluster/live"), ("POST", "/api/cluster/mode")] {
        assert_eq!(send(server.address, method, path, "", "{}").await.status, 401, "{path}");
        let foreign = format!("{key}origin: https://evil.example\r\n");
        assert_eq!(send(server.address, method, path, &foreign, "{}").await.status, 403, "{path}");
    }
    let own = format!("{key}origin: http://localhost\r\n");
    let reply = send(server.address, "POST", "/api/cluster/mode", &own, r#"{"mode":"hybrid"}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(*server.desk.mode_set_by.lock().unwrap(), ["laptop"], "the name of the key");
}

#[tokio::test]
async fn a_live_stream_tells_pictures_and_events_and_only_so_many_are_open() {
    let server = serve(limits()).await;
    let open = async || {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request("GET", "/api/cluster/live", "", "").as_bytes()).await.unwrap();
        stream
    };
    let mut first = open().await;
    read_until(&mut first, "event: event").await;
    read_until(&mut first, "event: picture").await;
    // The second one comes by itself.
    read_until(&mut first, "event: picture").await;
    let mut all = vec![first];
    for _ in 1..32 {
        let mut stream = open().await;
        read_until(&mut stream, "event: picture").await;
        all.push(stream);
    }
    let refused = send(server.address, "GET", "/api/cluster/live", "", "").await;
    assert!(refused.status == 429 || refused.status == 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some() && refused.body.contains("hint"), "{refused:?}");
    // Who leaves makes room.
    drop(all.pop());
    let free = async {
        loop {
            let mut stream = open().await;
            let mut status = [0; 12];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut status).await.unwrap();
            if status.ends_with(b"200") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), free).await.unwrap();
}
