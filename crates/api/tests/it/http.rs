//! Every route, and every shape of an error.

use base::{Face, Kind, Priority};

use crate::client::{Reply, exchange, request, send};
use crate::desk::{Script, Server, limits, serve, serve_desk};

const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

async fn get(server: &Server, path: &str) -> Reply {
    send(server.address, "GET", path, "", "").await
}

async fn post(server: &Server, path: &str, body: &str) -> Reply {
    send(server.address, "POST", path, "", body).await
}

#[tokio::test]
async fn every_route_of_asks_answers_in_its_dialect() {
    let server = serve(limits()).await;
    let cases = [
        ("/v1/chat/completions", CHAT, "application/json"),
        ("/chat/completions", CHAT, "application/json"),
        ("/v1/chat/completions/", CHAT, "application/json"),
        ("/v1//chat/completions", CHAT, "application/json"),
        ("/v1/chat/completions", r#"{"model":"m","stream":true,"messages":[]}"#, "text/event-stream"),
        ("/v1/completions", r#"{"model":"m","prompt":"hi"}"#, "application/json"),
        ("/completions", r#"{"model":"m","prompt":"hi"}"#, "application/json"),
        ("/v1/responses", r#"{"model":"m","input":"hi"}"#, "application/json"),
        ("/v1/responses", r#"{"model":"m","input":"hi","stream":true}"#, "text/event-stream"),
        ("/v1/messages", r#"{"model":"m","max_tokens":1,"messages":[]}"#, "application/json"),
        ("/v1/messages", r#"{"model":"m","max_tokens":1,"messages":[],"stream":true}"#, "text/event-stream"),
        ("/v1/embeddings", r#"{"model":"m","input":["a"]}"#, "application/json"),
        ("/embeddings/", r#"{"model":"m","input":["a"]}"#, "application/json"),
        ("/v1/rerank", r#"{"model":"m","query":"q","documents":["d"]}"#, "application/json"),
        ("/api/chat", r#"{"model":"m","messages":[]}"#, "application/x-ndjson"),
        ("/api/chat", r#"{"model":"m","messages":[],"stream":false}"#, "application/json"),
        ("/api/generate", r#"{"model":"m","prompt":"hi"}"#, "application/x-ndjson"),
        ("/api/embed", r#"{"model":"m","input":"a"}"#, "application/json"),
        ("/api/embeddings", r#"{"model":"m","prompt":"a"}"#, "application/json"),
    ];
    for (path, body, content_type) in cases {
        let reply = post(&server, path, body).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(content_type)), "{path} {reply:?}");
        assert!(reply.is_whole && reply.header("content-length").is_some(), "{path} {reply:?}");
        assert!(base::AskId::parse(reply.header("x-tm-ask").unwrap()).is_some(), "{path}");
    }
}

#[tokio::test]
async fn an_answer_tells_who_made_it() {
    let server = serve(limits()).await;
    let reply = post(&server, "/v1/chat/completions", &CHAT.replace("\"m\"", "\"auto\"")).await;
    insta::assert_snapshot!(reply.shown());
}

#[tokio::test]
async fn the_ask_carries_the_body_as_it_came_and_the_clients_wishes() {
    let server = serve_desk(limits(), Script::new(true)).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = format!(
        "authorization: Bearer secret\r\nx-tm-priority: batch\r\nx-tm-kind: analysis\r\nx-tm-timeout: 90s\r\n\
         traceparent: {trace}\r\n"
    );
    assert_eq!(send(server.address, "POST", "/v1/chat/completions", &headers, CHAT).await.status, 200);
    let (head, body, _) = server.desk.seen.lock().unwrap().take().unwrap();
    assert_eq!(body, CHAT);
    assert_eq!((head.face, head.kind, head.priority), (Face::OpenAi, Kind::Analysis, Priority::Batch));
    assert_eq!((&*head.client, &*head.traceparent, &*head.model), ("laptop", trace, "m"));
    let left = head.deadline.left(std::time::Instant::now()).as_secs();
    assert!((60..=90).contains(&left), "{left}");
}

#[tokio::test]
async fn errors_have_their_status_and_the_shape_of_the_face() {
    let server = serve(limits()).await;
    let mut shown = String::new();
    for (method, path, body) in [
        ("POST", "/v1/chat/completions", r#"{"model":"x","messages":[]}"#),
        ("POST", "/api/chat", r#"{"model":"x","messages":[]}"#),
        ("POST", "/v1/chat/completions", r#"{"model":"busy","messages":[]}"#),
        ("POST", "/api/chat", r#"{"model":"down","messages":[]}"#),
        ("POST", "/v1/chat/completions", r#"{"model":"m","messages":"hi"}"#),
        ("POST", "/api/generate", r#"{"model":"m","prompt":["#),
        ("POST", "/v1/chat/completions", ""),
        ("GET", "/v1/chat/completions", ""),
        ("DELETE", "/v1/models", ""),
        ("PUT", "/api/tags", ""),
        ("GET", "/v1/models/llama3:8b", ""),
        ("GET", "/v1/nothing", ""),
        ("GET", "/api/nothing", ""),
        ("POST", "/api/show", "{}"),
        ("POST", "/api/show", r#"{"model":"lama"}"#),
        ("POST", "/api/pull", r#"{"model":"x"}"#),
        ("DELETE", "/api/delete", r#"{"model":"x"}"#),
    ] {
        let reply = send(server.address, method, path, "", body).await;
        shown.push_str(&format!("{method} {path} {body}\n{}\n\n", reply.shown()));
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn a_wrong_wish_names_its_header() {
    let server = serve(limits()).await;
    for header in ["x-tm-priority: now", "x-tm-kind: ?", "x-tm-timeout: soon"] {
        let reply = send(server.address, "POST", "/v1/chat/completions", &format!("{header}\r\n"), CHAT).await;
        let name = header.split(':').next().unwrap();
        assert!(reply.status == 400 && reply.body.contains(name), "{reply:?}");
    }
}

#[tokio::test]
async fn lists_and_pages_look_as_clients_expect() {
    let server = serve(limits()).await;
    let mut shown = String::new();
    for path in [
        "/v1/models",
        "/v1/models/org/phi",
        "/api/tags/",
        "/api/ps",
        "/api/version",
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        shown.push_str(&format!("GET {path}\n{}\n\n", get(&server, path).await.shown()));
    }
    let show = post(&server, "/api/show", r#"{"model":"llama3.1:8b"}"#).await;
    shown.push_str(&format!("POST /api/show\n{}\n\n", show.shown()));
    let page = send(server.address, "GET", "/", "accept: text/html\r\n", "").await;
    insta::assert_snapshot!(shown);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "browsers get the page");
    assert_eq!(send(server.address, "HEAD", "/", "", "").await.status, 200);
}

#[tokio::test]
async fn readyz_tells_why_not() {
    let server = serve(limits()).await;
    *server.desk.is_ready.lock().unwrap() = false;
    let reply = get(&server, "/readyz").await;
    assert_eq!((reply.status, reply.body.as_str()), (503, r#"{"ready":false,"reasons":["no worker is ready"]}"#));
    assert_eq!(get(&server, "/healthz").await.status, 200);
}

#[tokio::test]
async fn with_keys_on_only_health_is_open() {
    let server = serve_desk(limits(), Script::new(true)).await;
    for (method, path) in [
        ("POST", "/v1/chat/completions"),
        ("POST", "/api/chat"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("GET", "/v1/models"),
        ("GET", "/api/tags"),
        ("GET", "/metrics"),
    ] {
        let body = if method == "POST" { CHAT } else { "" };
        assert_eq!(send(server.address, method, path, "", body).await.status, 401, "{path}");
        assert_eq!(send(server.address, method, path, "x-api-key: wrong\r\n", body).await.status, 401, "{path}");
        assert_eq!(send(server.address, method, path, "x-api-key: secret\r\n", body).await.status, 200, "{path}");
    }
    assert_eq!(get(&server, "/healthz").await.status, 200);
    // The page itself, which holds no data; what it shows it asks for with a key.
    assert_eq!(send(server.address, "GET", "/", "accept: text/html\r\n", "").await.status, 200);
}

#[tokio::test]
async fn foreign_pages_are_refused_before_anything_else() {
    let server = serve(limits()).await;
    let evil = "origin: https://evil.example\r\n";
    for (method, path, body) in [("POST", "/v1/chat/completions", CHAT), ("GET", "/v1/models", "")] {
        let reply = send(server.address, method, path, evil, body).await;
        assert!(reply.status == 403 && reply.body.contains("evil.example"), "{reply:?}");
    }
    let rebound = b"GET /v1/models HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(server.address, rebound).await.status, 403);
    assert!(server.desk.seen.lock().unwrap().is_none());
}

#[tokio::test]
async fn pages_of_the_house_may_read_what_they_asked_for() {
    let server = serve(limits()).await;
    let page = "origin: http://localhost:5173\r\n";
    let reply = send(server.address, "POST", "/v1/chat/completions", page, CHAT).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some("http://localhost:5173")));
    // A client names headers of its own; the page's origin decides, not the names.
    let names = "authorization,content-type,x-stainless-helper-method";
    let question = format!("{page}access-control-request-method: POST\r\naccess-control-request-headers: {names}\r\n");
    let reply = send(server.address, "OPTIONS", "/v1/chat/completions", &question, "").await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("access-control-allow-headers"), Some(names));
    let reply = send(server.address, "OPTIONS", "/v1/chat/completions", "", "").await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (405, None));
}

#[tokio::test]
async fn a_compressed_body_is_refused_as_what_it_is() {
    let server = serve(limits()).await;
    for (path, coding, status) in
        [("/v1/chat/completions", "gzip", 400), ("/api/chat", "br", 400), ("/v1/chat/completions", "identity", 200)]
    {
        let header = format!("content-encoding: {coding}\r\n");
        let reply = send(server.address, "POST", path, &header, CHAT).await;
        assert_eq!((reply.status, reply.body.contains("compressed")), (status, status == 400), "{path} {reply:?}");
    }
}

#[tokio::test]
async fn requests_sent_back_to_back_are_answered_in_order() {
    let server = serve(limits()).await;
    let keep = |path: &str, body: &str| request("POST", path, "", body).replace("connection: close\r\n", "");
    let all = keep("/v1/chat/completions", CHAT)
        + &keep("/api/embed", r#"{"model":"m","input":"a"}"#)
        + &request("GET", "/healthz", "", "");
    let reply = exchange(server.address, all.as_bytes()).await;
    assert_eq!(format!("{}{}", reply.head, reply.body).matches("HTTP/1.1 200 OK").count(), 3, "{reply:?}");
    assert!(reply.body.ends_with("ok\n"));
}
