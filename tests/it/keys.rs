//! API keys at real nodes: who is let in to what, for how much, and what somebody gets who has none.

mod house;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use api::scopes::Need;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tests::client::Told;
use tests::process::{Child, binary};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use self::house::{House, asks};
use crate::lab::{Face, SOON, chat, deterministic, is_soak, pieces, until};
use crate::standing::Peak;

const CHAT: &str = "/v1/chat/completions";
/// A revoked key is refused everywhere after this.
const REVOKED: Duration = Duration::from_secs(5);

/// What each face is asked, and where its refusals say why.
fn faces() -> [(Method, &'static str, Value, &'static str); 6] {
    [
        (Method::POST, CHAT, deterministic("x"), "/error/message"),
        (Method::POST, "/v1/messages", json!({"model": "fake", "max_tokens": 9, "messages": []}), "/error/message"),
        (Method::POST, "/api/chat", chat("x", false), "/error"),
        (Method::GET, "/v1/models", Value::Null, "/error/message"),
        (Method::GET, "/api/projects", Value::Null, "/error/hint"),
        (Method::POST, "/mcp", json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}), "/error/hint"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_revoked_expired_and_misplaced_keys_are_refused_in_every_face_and_noted_without_the_key() {
    let house = House::of(&["a"], &["--token", "1ms"], "").await;
    let gone = house.key("gone", &[]).await;
    house.owner_does(0, &["keys", "revoke", "gone", "--yes"]).await;
    until("the key is gone", REVOKED, async || house.status(0, &gone, "/v1/models").await == 401).await;
    let short = house.key("short", &["--expires", "2s"]).await;
    until("the key is over", SOON, async || house.status(0, &short, "/v1/models").await == 401).await;
    let reader = house.key("reader", &["--scope", "read"]).await;
    let wrong = format!("tm-{}", "w".repeat(43));

    let mut bodies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (method, path, body, said) in faces() {
        for (what, key, at, status) in [
            ("no key", None, path.to_owned(), 401),
            ("wrong", Some(&wrong), path.to_owned(), 401),
            ("revoked", Some(&gone), path.to_owned(), 401),
            ("expired", Some(&short), path.to_owned(), 401),
            ("in the address", None, format!("{path}?api_key={reader}"), 401),
            ("of another scope", Some(&reader), path.to_owned(), 403),
        ] {
            if path == "/mcp" && status == 403 {
                // Any key opens it; its tools have scopes of their own.
                continue;
            }
            let client = match key {
                Some(key) => house.http(0, key),
                None => house.lab.http(0),
            };
            let bytes = if body.is_null() { String::new() } else { body.to_string() };
            let reply = client.send(method.clone(), &at, bytes.into()).await.unwrap();
            assert_eq!(reply.status, status, "{what} at {path}: {}", reply.text());
            let json = reply.json().unwrap();
            let told = json.pointer(said).and_then(Value::as_str).unwrap_or_else(|| panic!("{what} at {path}: {json}"));
            assert!(told.contains("key"), "{what} at {path}: {told}");
            assert!(reply.text().contains("hint"), "{what} at {path}: {}", reply.text());
            if what == "wrong" || what == "revoked" {
                bodies.entry(path.to_owned()).or_default().push(reply.text());
            }
        }
    }
    // Nothing tells a key that was once from one that never was.
    assert!(bodies.values().all(|both| both.len() == 2 && both[0] == both[1]), "{bodies:?}");

    for (key, code) in [(&wrong, "unauthenticated"), (&gone, "unauthenticated"), (&reader, "permission_denied")] {
        let output = house.lab.nodes[0].tmctl(&["--key", key, "mode", "set", "hybrid"]).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("hint:"), "{code}: {error}");
    }
    assert!(!house.owner_does(0, &["mode"]).await.contains("hybrid"));

    let log = house.lab.nodes[0].child.stderr();
    let noted: Vec<&str> = log.lines().filter(|line| line.contains("refused a client")).collect();
    assert!(noted.iter().all(|line| line.contains("net::audit")), "{noted:?}");
    assert!(noted.iter().any(|line| line.contains("short") && line.contains("was good until")), "{noted:?}");
    assert!(noted.iter().any(|line| line.contains("127.0.0.1") && line.contains("not known")), "{noted:?}");
    for key in [&wrong, &gone, &short, &reader, &house.owner] {
        assert!(!log.contains(key.as_str()) && !log.contains(&key[3..]), "a key stands in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_request_without_a_key_no_body_is_kept() {
    const SENT_CHUNKS: usize = 31;
    /// The sockets' buffers, and what else a node does meanwhile.
    const MORE_KIB: u64 = 10 << 10;
    let house = House::of(&["a"], &["--token", "1ms"], "").await;
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let peak = Peak::from_now(house.lab.nodes[0].child.pid()).unwrap();
    let mut wrong = Vec::new();
    for (methods, route, need) in api::scopes::HTTP {
        let path = route.replace("{*name}", "x").replace(['{', '}'], "");
        for method in methods.split(' ').filter(|method| *method != "GET" && *need != Need::Open) {
            let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
            let (mut reader, mut writer) = TcpStream::connect(&house.lab.nodes[0].http).await.unwrap().into_split();
            // It has no end, and a server that has refused it may end the connection.
            let send = async {
                let mut sent = writer.write_all(head.as_bytes()).await;
                for _ in 0..SENT_CHUNKS {
                    sent = sent.and(writer.write_all(&chunk).await);
                }
                std::future::pending::<()>().await
            };
            let mut answer = [0; 4096];
            let answered = async { tokio::time::timeout(SOON, reader.read(&mut answer)).await };
            let count = tokio::select! {
                count = answered => count.map_or(0, |count| count.unwrap_or(0)),
                () = send => 0,
            };
            if !answer[..count].starts_with(b"HTTP/1.1 401") {
                // Each of them took its time.
                assert!(wrong.len() < 3, "{wrong:#?}");
                wrong.push(format!("{method} {path}: {}", String::from_utf8_lossy(&answer[..count])));
            }
        }
    }
    let grown = peak.grown_kib().unwrap();
    assert!(wrong.is_empty() && grown < MORE_KIB, "{grown} KiB more at the peak, {wrong:#?}");
    assert_eq!(house.status(0, &house.owner, "/v1/models").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_and_a_rotated_one_end_on_every_node_within_five_seconds() {
    let house = House::of(&["a", "b", "c"], &["--token", "1ms"], "").await;
    for (name, act) in [("phone", ["keys", "revoke", "phone", "--yes"]), ("pad", ["keys", "rotate", "pad", "--yes"])] {
        let key = house.key(name, &[]).await;
        // What is open already ends as well.
        let mut live = house.http(2, &key).open(Method::GET, "/api/cluster/live", Bytes::new()).await.unwrap();
        assert_eq!(live.status, 200);
        let fresh = house.owner_does(0, &act).await;
        let since = Instant::now();
        for at in 0..3 {
            until("the key is refused", REVOKED, async || house.status(at, &key, "/v1/models").await == 401).await;
        }
        let ended = async { while live.chunk().await.is_ok_and(|chunk| chunk.is_some()) {} };
        assert!(tokio::time::timeout(REVOKED, ended).await.is_ok(), "the stream of {name} goes on");
        assert!(since.elapsed() < REVOKED, "{name}: {:?}", since.elapsed());
        if name == "pad" {
            for at in 0..3 {
                until("the new key is taken", REVOKED, async || {
                    house.status(at, fresh.trim(), "/v1/models").await == 200
                })
                .await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_asks_the_models_that_it_names_and_no_other_answers_for_them() {
    let house = House::speaking("ollama", &["a"], &["--token", "1ms", "--models", "left:1b,right:1b"], "").await;
    let key = house.key("one", &["--scope", "infer", "--model", "right:1b"]).await;
    let client = house.http(0, &key);
    let listed = client.get("/v1/models").await.unwrap().json().unwrap();
    let names: Vec<&str> = listed["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert_eq!(names, ["right:1b"]);
    let ask = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    for (model, status) in [("right:1b", 200), ("auto", 200), ("left:1b", 403), ("never:1b", 403)] {
        let reply = client.post_json(CHAT, &ask(model)).await.unwrap();
        assert_eq!(reply.status, status, "{model}: {}", reply.text());
        match status {
            200 => assert_eq!(reply.header("x-tm-model"), "right:1b", "{model}"),
            _ => assert!(reply.text().contains("right:1b"), "{}", reply.text()),
        }
    }
    let stats = house.lab.engines[0].stats().await.unwrap().to_string();
    assert!(!stats.contains("left:1b\":1"), "{stats}");
    let owner = house.http(0, &house.owner);
    assert_eq!(owner.post_json(CHAT, &ask("left:1b")).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_asks_of_an_hour_are_counted_in_the_whole_cluster_and_over_a_restart() {
    let mut house = House::of(&["a", "b", "c"], &["--token", "1ms"], "").await;
    let key = house.key("phone", &["--asks-per-hour", "5"]).await;
    for at in 0..4 {
        let reply = house.http(0, &key).post_json(CHAT, &chat(&format!("count {at}"), false)).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    for at in 0..3 {
        until("all nodes know of the four", SOON, async || asks(&house.listed(at, "phone").await) == 4).await;
    }
    assert_eq!(house.http(2, &key).post_json(CHAT, &chat("the fifth", false)).await.unwrap().status, 200);
    let over = house.http(2, &key).post_json(CHAT, &chat("the sixth", false)).await.unwrap();
    assert_eq!(over.status, 429, "{}", over.text());
    let wait: u64 = over.header("retry-after").parse().unwrap();
    assert!((3300..=3900).contains(&wait), "{wait}");
    assert!(over.text().contains("5 asks of an hour") && over.text().contains("hint"), "{}", over.text());
    until("the others know", SOON, async || asks(&house.listed(0, "phone").await) == 5).await;
    for (at, face) in [(0, Face::OllamaChat), (1, Face::Chat)] {
        let reply = house.http(at, &key).post_json(face.path(), &face.body("more")).await.unwrap();
        assert_eq!(reply.status, 429, "{face:?}: {}", reply.text());
    }
    // Lists and other keys are none of it.
    assert_eq!(house.status(2, &key, "/v1/models").await, 200);
    let other = house.key("other", &[]).await;
    assert_eq!(house.http(2, &other).post_json(CHAT, &chat("mine", false)).await.unwrap().status, 200);
    let listed = house.listed(1, "phone").await;
    assert_eq!((listed["asks_per_hour"].as_u64(), listed["scopes"].as_array().map(Vec::len)), (Some(5), Some(4)));
    assert!(listed["last_ask"].is_string() && listed["tokens_of_hour"].as_u64().unwrap() > 100, "{listed}");

    house.lab.nodes[2].child.kill().await.unwrap();
    house.lab.nodes[2].again().await;
    until("the node knows its keys and counts", SOON, async || asks(&house.listed(2, "phone").await) == 5).await;
    let still = house.http(2, &key).post_json(CHAT, &chat("after all", false)).await.unwrap();
    assert_eq!(still.status, 429, "{}", still.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_rates_and_asks_at_once_have_their_limits() {
    let house = House::of(&["a"], &["--token", "20ms"], "").await;
    let tokens = house.http(0, &house.key("tokens", &["--tokens-per-hour", "50"]).await);
    assert_eq!(tokens.post_json(CHAT, &chat("sixty tokens", false)).await.unwrap().status, 200);
    let over = tokens.post_json(CHAT, &chat("sixty more", false)).await.unwrap();
    assert!(over.status == 429 && over.text().contains("50 tokens of an hour"), "{}", over.text());

    // Leaving just before the end is no way around it.
    let cut = house.http(0, &house.key("cut", &["--tokens-per-hour", "20"]).await);
    let mut stream = cut.stream(CHAT, &chat("cut", true)).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, 30).await;
    drop(stream);
    until("what had left is counted", SOON, async || {
        house.listed(0, "cut").await["tokens_of_hour"].as_u64().is_some_and(|tokens| tokens >= 25)
    })
    .await;
    assert_eq!(cut.post_json(CHAT, &chat("again", false)).await.unwrap().status, 429);

    let rate = house.http(0, &house.key("rate", &["--asks-per-minute", "2"]).await);
    let statuses = [rate.post_json(CHAT, &chat("1", false)).await, rate.post_json(CHAT, &chat("2", false)).await];
    assert!(statuses.iter().all(|reply| reply.as_ref().is_ok_and(|reply| reply.status == 200)), "{statuses:?}");
    let over = rate.post_json(CHAT, &chat("3", false)).await.unwrap();
    assert!(over.status == 429 && over.text().contains("2 asks of a minute"), "{}", over.text());
    assert!(over.header("retry-after").parse::<u64>().is_ok_and(|wait| (1..=66).contains(&wait)), "{:?}", over.headers);

    let single = house.http(0, &house.key("single", &["--at-once", "1"]).await);
    let mut stream = single.stream(CHAT, &chat("the only one", true)).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, 1).await;
    let over = single.post_json(CHAT, &chat("a second one", false)).await.unwrap();
    assert!(over.status == 429 && over.text().contains("1 asks at once"), "{}", over.text());
    stream.tell(&mut told).await;
    assert!(told.is_good(), "{told:?}");
    until("there is room again", SOON, async || {
        single.post_json(CHAT, &chat("the next one", false)).await.is_ok_and(|reply| reply.status == 200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_many_waiting_asks_does_not_starve_a_key_with_one() {
    let many = if is_soak() { 1000 } else { 200 };
    let house = House::of(&["a"], &["--token", "5ms"], "slots = 1\nqueue = 2000").await;
    let (loud, quiet) = (house.key("loud", &[]).await, house.key("quiet", &[]).await);
    // Measured, so that the node knows how long they would wait.
    for at in 0..3 {
        let reply = house.http(0, &loud).post_json(CHAT, &chat(&format!("warm {at}"), false)).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let mut running = JoinSet::new();
    for at in 0..many {
        let client = house.http(0, &loud);
        running.spawn(async move { client.post_json(CHAT, &chat(&format!("loud {at}"), false)).await });
    }
    until("the loud ones wait", SOON, async || house.queued(0).await >= many / 2).await;
    let done = async || house.lab.engines[0].stats().await.unwrap()["finished"].as_u64().unwrap();
    for at in 0..3 {
        let before = done().await;
        // The deadline is far below what the loud ones take in all.
        let client = house.http(0, &quiet).with_header("x-tm-timeout", "15s");
        let reply = client.post_json(CHAT, &chat(&format!("quiet {at}"), false)).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        // The one that runs, the loud key's next turn, its own; and what began between two looks.
        let passed = done().await - before;
        assert!(passed <= 5, "{passed} asks ended while the quiet key had one");
    }
    assert!(house.queued(0).await > 20, "nobody was waiting");
    running.abort_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_wrong_keys_a_second_hurt_nobody_with_a_right_one() {
    let house = House::of(&["a"], &["--token", "1ms"], "").await;
    let right = house.key("right", &[]).await;
    let mut guessing = JoinSet::new();
    for hand in 0..20 {
        let client = house.lab.http(0);
        guessing.spawn(async move {
            let mut statuses = Vec::new();
            for at in 0..50 {
                let wrong = format!("Bearer tm-{:0>43}", hand * 1000 + at);
                let reply = client.clone().with_header("authorization", &wrong).get("/v1/models").await.unwrap();
                assert!(reply.status == 401 || reply.header("retry-after").parse::<u64>().is_ok_and(|wait| wait >= 1));
                statuses.push(reply.status);
            }
            statuses
        });
    }
    for at in 0..20 {
        let begun = Instant::now();
        let reply = house.http(0, &right).post_json(CHAT, &chat(&format!("right {at}"), false)).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    let statuses: Vec<u16> = guessing.join_all().await.concat();
    let count = |status: u16| statuses.iter().filter(|&&one| one == status).count();
    // Fewer than twenty where the new key was asked with before this node knew it: that counted as a guess.
    assert!((1..=20).contains(&count(401)) && count(401) + count(429) == 1000, "{} were 401", count(401));
    // Who shows no key is still told that one is needed, and a right one is good from the same address.
    assert_eq!(house.lab.http(0).get("/v1/models").await.unwrap().status, 401);
    assert_eq!(house.status(0, &right, "/v1/models").await, 200);
    let output = house.lab.nodes[0].tmctl(&["--key", &format!("tm-{}", "0".repeat(43)), "nodes"]).await;
    assert_eq!(output.status.code(), Some(1));
    let log = house.lab.nodes[0].child.stderr();
    let lines = log.lines().filter(|line| line.contains("refused a client")).count();
    assert!((1..=30).contains(&lines), "{lines} lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_elsewhere_and_rebound_names_are_refused_whatever_key_they_have() {
    let house = House::of(&["a"], &["--token", "1ms"], "").await;
    let own = format!("http://{}", house.lab.nodes[0].http);
    for (path, body) in [
        (CHAT, deterministic("page")),
        ("/mcp", json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})),
        ("/api/cluster/mode", json!({"mode": "hybrid"})),
        ("/api/research/search", json!({"question": "disks"})),
    ] {
        let with = |name: &str, value: &str| house.http(0, &house.owner).with_header(name, value);
        for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example"] {
            let reply = with("origin", origin).post_json(path, &body).await.unwrap();
            assert_eq!(reply.status, 403, "{path} from {origin}: {}", reply.text());
            assert_eq!(reply.header("access-control-allow-origin"), "", "{path} from {origin}");
        }
        let reply = with("origin", &own).with_header("accept", "application/json, text/event-stream");
        let reply = reply.post_json(path, &body).await.unwrap();
        assert_ne!(reply.status, 403, "{path} from its own page: {}", reply.text());
        let rebound = house.rebound(0, path).await;
        assert!(rebound.starts_with("HTTP/1.1 403"), "{path}: {rebound}");
    }
    // A socket for pages does not exist at all.
    let upgrade = house.http(0, &house.owner).with_header("connection", "upgrade").with_header("upgrade", "websocket");
    assert_eq!(upgrade.get("/v1/realtime").await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn off_loopback_nothing_listens_without_keys() {
    let home = tempfile::tempdir().unwrap();
    let tmd = binary("tmd").unwrap();
    for (field, other) in [("http", "grpc"), ("grpc", "http")] {
        let config = home.path().join(format!("{field}.toml"));
        let toml = format!(
            "[node]\nname = \"a\"\ndata_dir = \"data-{field}\"\n[{field}]\nlisten = \"0.0.0.0:0\"\n\
             [{other}]\nlisten = \"127.0.0.1:0\"\n[peers]\nlisten = \"127.0.0.1:0\"\n"
        );
        std::fs::write(&config, &toml).unwrap();
        for arguments in [vec!["check", "--config"], vec!["--config"]] {
            let arguments = [arguments, vec![config.to_str().unwrap()]].concat();
            let mut child = Child::start("open", &tmd, &arguments).unwrap();
            assert_eq!(child.wait(SOON).await.unwrap().code(), Some(2), "{}", child.stderr());
            let said = child.stderr() + &child.stdout();
            for part in [format!("{field}.listen"), "off loopback without keys".into(), "auth.keys".into()] {
                assert!(said.contains(&part), "{field}: no `{part}` in {said}");
            }
        }
        std::fs::write(&config, format!("{toml}[auth]\nkeys = \"store\"\n")).unwrap();
        let mut child = Child::start("keyed", &tmd, &["check", "--config", config.to_str().unwrap()]).unwrap();
        assert_eq!(child.wait(SOON).await.unwrap().code(), Some(0), "{}", child.stderr());
    }
}
