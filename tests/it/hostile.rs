//! Input that means harm: bodies, heads and frames that lie, clients that dawdle, engines that answer junk, broken
//! configurations. Each is refused with a reason, nobody else suffers, and the node is afterwards as it was before.

mod frames;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::process::binary;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::bed::eventually;
use crate::lab::{Lab, MODEL, Setup, deterministic, expected};
use crate::standing::{DESCRIPTORS_MORE, Held, MEMORY_MORE, Peak};

/// Every refusal comes within this time.
const SOON: Duration = Duration::from_secs(5);
/// Where most of it is sent.
const CHAT: &str = "/v1/chat/completions";

/// A node with one engine that has answered once.
async fn node(engine: &[&str], more: &str) -> Result<(Lab, Held)> {
    let mut lab = Lab::single();
    let url = lab.engine("ollama", engine).await;
    lab.node(Setup::new("n").worker("engine", "ollama", &url).more(more)).await;
    lab.workers_are(0, "ready", 1).await;
    lab.http(0).ask(CHAT, &deterministic("before")).await?;
    let before = Held::by(lab.nodes[0].child.pid())?;
    Ok((lab, before))
}

/// The node answers, holds what it held before, and has not panicked.
async fn is_unharmed(lab: &Lab, before: Held) -> Result<()> {
    let child = &lab.nodes[0].child;
    eventually(Duration::from_secs(20), || async {
        let after = Held::by(child.pid())?;
        ensure!(after.descriptors <= before.descriptors + DESCRIPTORS_MORE, "{before:?}, now {after:?}");
        ensure!(after.memory_kib <= before.memory_kib + MEMORY_MORE, "{before:?}, now {after:?}");
        let told = lab.http(0).ask(CHAT, &deterministic("after")).await?;
        ensure!(told.is_good() && told.text == expected("after"), "{told:?}");
        Ok(())
    })
    .await?;
    let log = child.stderr();
    let panic = log.lines().find(|line| line.contains("panicked at"));
    ensure!(panic.is_none(), "{panic:?}");
    Ok(())
}

/// What a server said to raw bytes.
struct Said {
    /// The statuses of its answers, in order.
    statuses: Vec<u16>,
    text: String,
    /// Until its last byte.
    took: Duration,
}

/// Sends `bytes`, then `more` as often as it is taken, and reads until the end or for a second of silence.
async fn raw(address: &str, bytes: &[u8], more: Option<&[u8]>) -> Result<Said> {
    let begin = Instant::now();
    let (mut reader, mut writer) = TcpStream::connect(address).await?.into_split();
    let send = async {
        let mut sent = writer.write_all(bytes).await;
        while let (Ok(()), Some(more)) = (&sent, more) {
            sent = writer.write_all(more).await;
        }
        // The connection stays open, and what a server said before it closed is still to be read.
        std::future::pending::<()>().await
    };
    let mut answer = Vec::new();
    let mut took = Duration::ZERO;
    let read = async {
        let mut buffer = [0; 4096];
        loop {
            let patience = if answer.is_empty() { SOON } else { Duration::from_secs(1) };
            match tokio::time::timeout(patience, reader.read(&mut buffer)).await {
                Ok(Ok(count)) if count > 0 => answer.extend_from_slice(&buffer[..count]),
                _ => return,
            }
            took = begin.elapsed();
        }
    };
    tokio::select! {
        () = read => {}
        () = send => {}
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let statuses = text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()).collect();
    Ok(Said { statuses, text, took })
}

fn post(path: &str, headers: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}\r\n").into_bytes()
}

/// What it is called, what is sent, what is sent on and on, and the statuses that it may get.
type Lie<'a> = (&'a str, Vec<u8>, Option<&'a [u8]>, &'a [u16]);

#[tokio::test]
async fn heads_and_lengths_that_lie_are_refused_early() -> Result<()> {
    let (lab, before) = node(&[], "").await?;
    let at = lab.nodes[0].http.clone();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n".as_slice();
    let long = format!("x-long: {}\r\n", "a".repeat(64 << 10));
    let many: String = (0..10_000).map(|at| format!("x-{at}: 1\r\n")).collect();
    let with_body = |headers: &str, body: &[u8]| [post(CHAT, headers).as_slice(), body].concat();
    let bare = |hosts: &str| format!("GET /healthz HTTP/1.1\r\n{hosts}\r\n").into_bytes();
    let cases: [Lie; 16] = [
        ("100 MB", post(CHAT, "content-length: 104857600\r\n"), Some(&chunk), &[413]),
        ("chunks without end", post(CHAT, "transfer-encoding: chunked\r\n"), Some(&chunk), &[413]),
        ("a length that is no number", with_body("content-length: -1\r\n", b"{}"), None, &[400]),
        ("a length beyond all numbers", with_body("content-length: 99999999999999999999\r\n", b"{}"), None, &[400]),
        ("two lengths", with_body("content-length: 2\r\ncontent-length: 40\r\n", b"{}"), None, &[400]),
        ("two framings", with_body("content-length: 5\r\ntransfer-encoding: chunked\r\n", smuggled), None, &[400]),
        ("a chunk that is no number", with_body("transfer-encoding: chunked\r\n", b"zz\r\n{}\r\n"), None, &[400]),
        ("a value of 64 kB", post(CHAT, &long), None, &[431]),
        ("10,000 headers", post(CHAT, &many), None, &[431]),
        ("a NUL in a value", post(CHAT, "x-a: a\0b\r\n"), None, &[400]),
        ("a folded value", post(CHAT, "x-a: a\r\n b: c\r\n"), None, &[400]),
        ("two hosts", bare("host: localhost\r\nhost: evil.example\r\n"), None, &[400]),
        ("no host", bare(""), None, &[400]),
        ("a host that is no text", b"GET /healthz HTTP/1.1\r\nhost: evil\xff.example\r\n\r\n".into(), None, &[400]),
        // RFC 9112 lets a server take these ends of lines; it is one request all the same.
        ("ends of lines without CR", b"GET /healthz HTTP/1.1\nhost: localhost\n\n".into(), None, &[200]),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20), None, &[400]),
    ];
    let mut wrong = Vec::new();
    for (name, bytes, more, allowed) in cases {
        let said = raw(&at, &bytes, more).await?;
        // What floods on is no request any more; it is not told apart from the next one.
        let counted = if more.is_some() { said.statuses.len().min(1) } else { said.statuses.len() };
        if said.statuses[..counted] != *allowed || said.took > SOON {
            wrong.push(format!("{name}: after {:?} {}", said.took, said.text));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    is_unharmed(&lab, before).await
}

#[tokio::test]
async fn half_bodies_hold_no_more_together_than_there_is_room_for() -> Result<()> {
    const SENDERS: usize = 20;
    /// Of each, under a limit of 8 MiB; four of the largest may come at once.
    const SENT: usize = 7 << 20;
    const ROOM_KIB: u64 = 32 << 10;
    let (lab, before) = node(&[], "[limits]\nbody = \"8MiB\"\n").await?;
    let peak = Peak::from_now(lab.nodes[0].child.pid())?;
    let paths = [CHAT, "/api/projects/x/jobs", "/mcp", "/api/research/ask"];
    let mut refused = JoinSet::new();
    for at in 0..SENDERS {
        let address = lab.nodes[0].http.clone();
        let head = post(paths[at % paths.len()], "transfer-encoding: chunked\r\n");
        refused.spawn(async move {
            let (mut reader, mut writer) = TcpStream::connect(address).await?.into_split();
            let half = [head, format!("{SENT:x}\r\n").into_bytes(), vec![b' '; SENT]].concat();
            // A server that has refused it may end the connection in the middle.
            let send = async {
                let _ = writer.write_all(&half).await;
                std::future::pending::<()>().await
            };
            let mut answer = vec![0; 4096];
            tokio::select! {
                count = reader.read(&mut answer) => answer.truncate(count?),
                () = send => {}
            }
            anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
        });
    }
    // At most five are not refused: four are there in whole, and one has begun.
    for _ in 0..SENDERS - 5 {
        let next = tokio::time::timeout(SOON * 2, refused.join_next()).await.context("nobody is refused")?;
        let said = next.context("nobody is left")???;
        ensure!(said.starts_with("HTTP/1.1 429") && said.contains("retry-after") && said.contains("hint"), "{said}");
    }
    let told = lab.http(0).ask(CHAT, &deterministic("beside them")).await?;
    ensure!(told.is_good(), "{told:?}");
    let grown = peak.grown_kib()?;
    // What a buffer that grows holds twice for a moment comes on top.
    ensure!(grown < ROOM_KIB * 3 / 2 + (10 << 10), "{grown} KiB more at the peak");
    refused.shutdown().await;
    is_unharmed(&lab, before).await
}

#[tokio::test]
async fn bodies_that_are_no_asks_are_refused_with_a_reason() -> Result<()> {
    let (lab, before) = node(&[], "").await?;
    let messages = |count| vec![json!({"role": "user", "content": "hello"}); count];
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let around = |field: &str| format!(r#"{{"model":"fake","messages":[{{"role":"user","content":"x"}}],{field}}}"#);
    let keys: String = (0..200_000).map(|at| format!("\"k{at}\":1,")).collect();
    let mut bodies: Vec<(String, Vec<u8>)> = [
        ("deep", nested(100_000)),
        ("deep in a field", around(&format!("\"x\":{}", nested(100_000)))),
        ("deep objects", "{\"a\":".repeat(100_000)),
        ("many keys", around(&format!("{keys}\"z\":1"))),
        ("a number without bound", around("\"temperature\":1e999")),
        ("a long number", around(&format!("\"max_tokens\":{}", "9".repeat(10_000)))),
        ("a negative limit", around("\"max_tokens\":-5")),
        ("a negative temperature", around("\"temperature\":-3.5")),
        ("a negative count", around("\"n\":-1")),
        ("the model twice", around("\"model\":\"other\"")),
        ("a lone surrogate", around("\"user\":\"\\ud800\"")),
        ("a byte order mark", format!("\u{feff}{}", around("\"x\":1"))),
        ("nothing", String::new()),
        ("null", "null".to_owned()),
        ("a list", "[]".to_owned()),
        ("a text", "\"hello\"".to_owned()),
        ("cut", "{\"model\":\"fake\",\"messages\":[{".to_owned()),
        ("messages that are no list", "{\"model\":\"fake\",\"messages\":7}".to_owned()),
        ("a model that is no text", "{\"model\":{\"a\":1},\"messages\":[]}".to_owned()),
        ("10,000 messages", json!({"model": MODEL, "messages": messages(10_000)}).to_string()),
    ]
    .map(|(name, text)| (name.to_owned(), text.into_bytes()))
    .into();
    bodies.push(("bad UTF-8".to_owned(), around("\"user\":\"?\"").into_bytes().replaced(b'?', 0xff)));
    bodies.push(("a NUL".to_owned(), around("\"user\":\"?\"").into_bytes().replaced(b'?', 0)));
    let mut wrong = Vec::new();
    let (asks, strict) =
        (["/v1/messages", "/v1/responses", CHAT, "/v1/completions"], ["/mcp", "/api/projects", "/api/research/ask"]);
    for path in
        ["/v1/embeddings", "/v1/rerank", "/api/chat", "/api/generate", "/api/show"].iter().chain(&asks).chain(&strict)
    {
        // What an engine is told more than it knows is its own matter; ours take no field that they do not know.
        let must_refuse = |name: &str| strict.contains(path) || asks.contains(path) && IS_NO_ASK.contains(&name);
        for (name, body) in &bodies {
            let begin = Instant::now();
            let reply = lab.http(0).send(http::Method::POST, path, body.clone().into()).await?;
            let is_told = reply.json().is_ok_and(|body| !reason(&body).is_empty());
            let is_right = match reply.status {
                // A field that means nothing to the engine is not implemented.
                400..=499 | 501 => is_told && (reply.status == 400 || !must_refuse(name)),
                status => status < 400 && !must_refuse(name),
            };
            if !is_right || begin.elapsed() > SOON {
                wrong.push(format!(
                    "{path}, {name}: {} after {:?}: {:.300}",
                    reply.status,
                    begin.elapsed(),
                    reply.text()
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    is_unharmed(&lab, before).await
}

/// What nobody may take for an ask.
const IS_NO_ASK: [&str; 11] = [
    "deep",
    "deep in a field",
    "deep objects",
    "a number without bound",
    "a lone surrogate",
    "a byte order mark",
    "null",
    "a list",
    "cut",
    "bad UTF-8",
    "a NUL",
];

/// Why a request was refused, in whichever face's words.
fn reason(body: &Value) -> &str {
    let error = &body["error"];
    error.as_str().or_else(|| error["message"].as_str()).unwrap_or_default()
}

/// Bytes with one of them replaced, which no text could hold.
trait Replaced {
    fn replaced(self, old: u8, new: u8) -> Self;
}

impl Replaced for Vec<u8> {
    fn replaced(mut self, old: u8, new: u8) -> Self {
        self.iter_mut().filter(|byte| **byte == old).for_each(|byte| *byte = new);
        self
    }
}

#[tokio::test]
async fn names_of_models_are_names_and_nothing_else() -> Result<()> {
    let (lab, before) = node(&[], "[telemetry]\nlog = \"debug\"\n").await?;
    let long = "m".repeat(4096);
    let names = [
        "../../etc/passwd",
        "fake/../../x",
        "; rm -rf /",
        "$(id)",
        "%2e%2e%2f",
        "fa\0ke",
        "\u{202e}ekaf",
        "CON",
        "FAKE\u{0}",
        "fake\nERROR forged=line",
        "fake\r\nx-forged: 1",
        "\u{1b}[31mred",
        "file:///etc/passwd",
        "http://127.0.0.1:1/x",
        &long,
        " ",
    ];
    let mut wrong = Vec::new();
    for name in names {
        let message = json!([{"role": "user", "content": "x"}]);
        for (path, body) in [
            (CHAT, json!({"model": name, "messages": message})),
            ("/api/generate", json!({"model": name, "prompt": "x"})),
            ("/api/show", json!({"model": name})),
            ("/api/embed", json!({"model": name, "input": "x"})),
        ] {
            let reply = lab.http(0).post_json(path, &body).await?;
            let is_forged = reply.headers.contains_key("x-forged");
            if !(400..500).contains(&reply.status) || is_forged {
                wrong.push(format!("{path} {name:?}: {} {}", reply.status, reply.text()));
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    is_well_logged(&lab.nodes[0].child.stderr())?;
    is_unharmed(&lab, before).await
}

#[tokio::test]
async fn what_is_logged_of_an_engine_s_words_stays_on_its_line() -> Result<()> {
    // Names that clients make up are not logged at all; one that an engine has is.
    let name = "evil\nERROR forged=line\r\u{1b}[31mred";
    let engine = ["--models", &format!("{MODEL},{name}")];
    let (lab, before) = node(&engine, "[telemetry]\nlog = \"debug\"\n").await?;
    let message = json!([{"role": "user", "content": "x"}]);
    lab.http(0).post_json(CHAT, &json!({"model": name, "messages": message})).await?;
    let log = lab.nodes[0].child.stderr();
    ensure!(log.contains("forged"), "the name is not logged: {log}");
    is_well_logged(&log)?;
    is_unharmed(&lab, before).await
}

/// Every line of a log begins with its moment, and none does anything to a terminal.
fn is_well_logged(log: &str) -> Result<()> {
    let is_dated = |line: &&str| line.get(..4).is_some_and(|year| year.bytes().all(|byte| byte.is_ascii_digit()));
    let wrong: Vec<&str> = log.lines().filter(|line| !is_dated(line) || line.contains(char::is_control)).collect();
    ensure!(log.lines().count() > 10, "the log tells nothing: {log}");
    ensure!(wrong.is_empty(), "somebody else wrote into the log: {wrong:#?}");
    Ok(())
}

#[tokio::test]
async fn clients_that_dawdle_take_nothing_from_the_others() -> Result<()> {
    const SLOW_HEADS: usize = 300;
    const SLOW_READERS: usize = 50;
    /// Some answers are longer than the kernel's buffers; making all of them so takes the engine too long.
    const OF_LONG_ANSWERS: usize = 2;
    /// So many that the buffers between engine and client (up to 4 MB to send, twice, and what is grown to receive)
    /// can never take the whole answer.
    const LONG: usize = 200_000;
    let limits = "[limits]\nheader = \"2s\"\nwrite = \"2s\"\nconnections = 400\n";
    let engine = ["--token", "0ms", "--tokens", "60", "--context", "1000000"];
    let (lab, _) = node(&engine, limits).await?;
    // Connections to the engine are kept, so as many as will be needed are opened first.
    let mut first = JoinSet::new();
    for index in 0..SLOW_READERS + 10 {
        let client = lab.http(0);
        first.spawn(async move { client.ask(CHAT, &deterministic(&format!("at once {index}"))).await });
    }
    first.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    let before = Held::by(lab.nodes[0].child.pid())?;
    let at = lab.nodes[0].http.clone();
    let mut dawdlers = JoinSet::new();
    for _ in 0..SLOW_HEADS {
        let at = at.clone();
        dawdlers.spawn(async move { slow_head(&at).await });
    }
    let slowest = slowest_of(&lab, 40).await?;
    ensure!(slowest < Duration::from_secs(2), "an ask beside slow heads took {slowest:?}");
    for ended in dawdlers.join_all().await {
        let lasted = ended?;
        ensure!(lasted < Duration::from_secs(6), "a head was waited for for {lasted:?}");
    }
    let mut readers = Vec::new();
    for (count, tokens) in [(SLOW_READERS - OF_LONG_ANSWERS, 60), (OF_LONG_ANSWERS, LONG)] {
        lab.engines[0].control(&json!({"tokens": tokens})).await?;
        let asked = lab.engines[0].stats().await?["asks"].as_u64().unwrap_or(0);
        for index in 0..count {
            readers.push(slow_reader(&at, index).await?);
        }
        eventually(SOON, || async {
            let now = lab.engines[0].stats().await?["asks"].as_u64();
            ensure!(now >= Some(asked + count as u64), "of {count} only {now:?} came");
            Ok(())
        })
        .await?;
    }
    eventually(SOON * 6, || async {
        let stats = lab.engines[0].stats().await?;
        let (running, cancelled) = (stats["running"].as_u64(), stats["cancelled"].as_u64());
        ensure!(running == Some(0) && cancelled > Some(0), "{running:?} run, {cancelled:?} ended");
        Ok(())
    })
    .await
    .context("the engine works on for clients that do not read")?;
    let during = Held::by(lab.nodes[0].child.pid())?;
    ensure!(during.memory_kib < before.memory_kib + MEMORY_MORE, "{before:?}, with slow readers {during:?}");
    drop(readers);
    lab.engines[0].control(&json!({"tokens": 60})).await?;
    is_unharmed(&lab, before).await
}

/// The slowest of some asks, one after the other.
async fn slowest_of(lab: &Lab, count: usize) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for index in 0..count {
        let begin = Instant::now();
        let told = lab.http(0).ask(CHAT, &deterministic(&format!("beside {index}"))).await?;
        ensure!(told.is_good(), "{told:?}");
        slowest = slowest.max(begin.elapsed());
    }
    Ok(slowest)
}

/// Sends a head byte by byte until the server has enough; gives how long it had patience.
async fn slow_head(at: &str) -> Result<Duration> {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(at).await?;
    let mut buffer = [0; 64];
    for byte in b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".iter() {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        match tokio::time::timeout(Duration::from_millis(200), stream.read(&mut buffer)).await {
            Ok(Ok(count)) if count > 0 => {}
            Ok(_) => break,
            Err(_) => {}
        }
    }
    Ok(begin.elapsed())
}

/// Asks for a long stream and never reads.
async fn slow_reader(at: &str, index: usize) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(at.parse()?).await?;
    let content = format!("a long story {index} of {}", fastrand::u64(..));
    let body = json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": content}]}).to_string();
    stream.write_all(&post(CHAT, &format!("content-length: {}\r\n", body.len()))).await?;
    stream.write_all(body.as_bytes()).await?;
    Ok(stream)
}

#[tokio::test]
async fn an_engine_that_answers_junk_gives_typed_errors_and_costs_no_memory() -> Result<()> {
    // An answer that is not streamed is held whole, once as it comes and once when it is put together.
    let (mut lab, before) = node(&[], "[limits]\nanswer = \"8MiB\"\n[recovery]\nenabled = false\n").await?;
    let mut wrong = Vec::new();
    for stream in [true, false] {
        for fail in [json!("huge_line"), json!("wrong_length"), json!("junk"), json!("half_utf8"), json!("refuse")] {
            for path in [CHAT, "/api/chat"] {
                if let Err(error) = fails_well(&lab, &fail, path, stream).await {
                    wrong.push(format!("{fail} {path} stream={stream}: {error:#}"));
                }
                let after = Held::by(lab.nodes[0].child.pid())?;
                if after.memory_kib > before.memory_kib + MEMORY_MORE {
                    wrong.push(format!("{fail} {path} stream={stream}: {before:?}, now {after:?}"));
                }
            }
        }
    }
    if let Err(error) = fails_well(&lab, &json!("oom_exit"), CHAT, true).await {
        wrong.push(format!("oom_exit: {error:#}"));
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    let mut ended = lab.engines[0].child.wait(SOON).await;
    if ended.is_err() {
        // The ask was refused on its way, by a breaker that counts all the failures above, and never reached the engine.
        fails_well(&lab, &json!("oom_exit"), CHAT, true).await?;
        ended = lab.engines[0].child.wait(SOON).await;
    }
    let exit = ended?;
    ensure!(exit.code() == Some(137), "{exit}");
    lab.revive(0, "ollama", &[]).await;
    is_unharmed(&lab, before).await
}

/// An ask that an engine fails ends in time, with an error of the face's form.
async fn fails_well(lab: &Lab, fail: &Value, path: &str, stream: bool) -> Result<()> {
    // A worker that has just failed is left alone, for half a minute at most (`routing::breaker`).
    lab.engines[0].control(&json!({"fail": "none"})).await?;
    eventually(SOON * 8, || async {
        let told = lab.http(0).ask(CHAT, &deterministic(&format!("{}", fastrand::u64(..)))).await?;
        ensure!(told.is_good(), "{told:?}");
        Ok(())
    })
    .await?;
    lab.engines[0].control(&json!({"fail": fail})).await?;
    let message = json!([{"role": "user", "content": format!("{}", fastrand::u64(..))}]);
    let ask = json!({"model": MODEL, "stream": stream, "messages": message});
    let told = tokio::time::timeout(SOON * 4, lab.http(0).ask(path, &ask)).await.context("it hangs")??;
    if *fail == "wrong_length" && stream {
        // A stream says itself where it ends: whatever the length says, this one is whole.
        ensure!(told.is_good() && told.pieces == 60, "{told:?}");
        return Ok(());
    }
    let error = told.error.as_deref().unwrap_or("");
    ensure!(!error.is_empty() && !error.starts_with("not JSON") && told.broken.is_none(), "{told:?}");
    ensure!(!told.is_done, "it is called done: {told:?}");
    Ok(())
}

const GOOD: [(&str, &str, &str); 10] = [
    ("node", "name", "\"n\""),
    ("http", "listen", "\"127.0.0.1:0\""),
    ("peers", "listen", "\"127.0.0.1:0\""),
    ("store", "lease_ttl", "\"4s\""),
    ("privacy", "mode", "\"local-only\""),
    ("auth", "keys", "\"off\""),
    ("limits", "body", "\"32MiB\""),
    ("limits", "connections", "100"),
    ("routing", "headroom", "0.2"),
    ("telemetry", "log", "\"info\""),
];

/// Wrong for every one of them.
const JUNK: [&str; 5] = ["-1", "[[1], 2]", "{ a = 1 }", "1979-05-27", "true"];

/// A configuration in which one value is another.
fn mutated(section: &str, key: &str, value: &str) -> String {
    let mut text = String::new();
    for (at, (of, name, good)) in GOOD.iter().enumerate() {
        if at == 0 || GOOD[at - 1].0 != *of {
            text.push_str(&format!("[{of}]\n"));
        }
        let value = if (*of, *name) == (section, key) { value } else { good };
        text.push_str(&format!("{name} = {value}\n"));
    }
    text
}

fn check(text: &[u8]) -> Result<Output> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("tmd.toml");
    std::fs::write(&path, text)?;
    Ok(Command::new(binary("tmd")?).arg("check").arg("--config").arg(path).output()?)
}

#[test]
fn a_wrong_configuration_is_told_with_field_value_and_hint() -> Result<()> {
    let good = check(mutated("", "", "").as_bytes())?;
    ensure!(good.status.code() == Some(0), "{good:?}");
    let mut wrong = Vec::new();
    for (section, key, _) in GOOD {
        for junk in JUNK {
            let output = check(mutated(section, key, junk).as_bytes())?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let start = junk.get(..2).unwrap_or("");
            let is_told = said.contains(&format!("{section}.{key} = {start}")) && said.contains("hint: ");
            if output.status.code() != Some(2) || !is_told || said.contains("panicked") {
                wrong.push(format!("{section}.{key} = {junk}: {:?} {said}", output.status));
            }
        }
    }
    let nested = format!("a = {}{}", "[".repeat(50_000), "]".repeat(50_000));
    for text in
        ["[node", "node = 1", "[nodes]\n", "[node]\nnmae = \"n\"", "a = 99999999999999999999", "\u{feff}[x]", &nested]
    {
        let output = check(text.as_bytes())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() != Some(2) || !said.contains("hint: ") || said.contains("panicked") {
            wrong.push(format!("{}: {:?} {said}", text.get(..30).unwrap_or(text), output.status));
        }
    }
    let output = check(b"[node]\nname = \"\xff\"\n")?;
    ensure!(output.status.code().is_some_and(|code| code != 0), "bad UTF-8: {output:?}");
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
