//! Input that means harm: bodies, heads and frames that lie, clients that dawdle, engines that answer junk, broken
//! configurations. Each is refused with a reason, nobody else suffers, and the node is afterwards as it was before.

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
use crate::standing::{DESCRIPTORS_MORE, Held, MEMORY_MORE};

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
    let cases: [Lie; 12] = [
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
    for path in [CHAT, "/v1/completions", "/v1/embeddings", "/v1/rerank", "/api/chat", "/api/generate", "/api/show"] {
        for (name, body) in &bodies {
            let begin = Instant::now();
            let reply = lab.http(0).send(http::Method::POST, path, body.clone().into()).await?;
            let is_typed = reply.status < 400 || reply.json().is_ok_and(|body| !body["error"].is_null());
            if reply.status >= 500 || !is_typed || begin.elapsed() > SOON {
                wrong.push(format!("{path}, {name}: {} after {:?}: {}", reply.status, begin.elapsed(), reply.text()));
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    is_unharmed(&lab, before).await
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
    let (lab, before) = node(&[], "").await?;
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
    let log = lab.nodes[0].child.stderr();
    ensure!(!log.contains("\nERROR forged") && !log.contains('\u{1b}'), "a name wrote into the log: {log}");
    is_unharmed(&lab, before).await
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
async fn a_flood_of_frames_ends_the_connection_that_makes_it() -> Result<()> {
    let (lab, before) = node(&[], "").await?;
    let floods = [rapid_reset(20_000), settings_flood(50_000), endless_head(50_000), empty_data(200_000)];
    for frames in floods {
        let (mut reader, mut writer) = TcpStream::connect(&lab.nodes[0].grpc).await?.into_split();
        // The server may end the connection in the middle of it.
        let mut sending = JoinSet::new();
        sending.spawn(async move {
            let _ = writer.write_all(&frames).await;
            writer
        });
        let mut all = Vec::new();
        let ended = tokio::time::timeout(SOON * 2, reader.read_to_end(&mut all)).await;
        ensure!(ended.is_ok(), "the connection goes on after {} bytes of answers", all.len());
        ensure!(all.len() < 4 << 20, "it was answered with {} bytes", all.len());
        ensure!(!lab.nodes[0].nodes().await?.is_empty(), "other clients are served");
    }
    is_unharmed(&lab, before).await
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a call, as HPACK writes it.
fn head() -> Vec<u8> {
    let path = b"/taskmaster.admin.v1.Admin/ListNodes";
    // POST, http, and two literals without an index: the path and `application/grpc`.
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path);
    block.extend_from_slice(b"\x01\x09localhost\x0f\x10\x10application/grpc");
    block
}

/// Streams that are opened and reset at once.
fn rapid_reset(count: u32) -> Vec<u8> {
    let (block, mut all) = (head(), [PREFACE, &frame(4, 0, 0, &[])].concat());
    for stream in (0..count).map(|at| at * 2 + 1) {
        all.extend(frame(1, 4, stream, &block));
        all.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    // A frame that ends every connection that has come so far.
    all.extend(frame(0, 0, 0, b"x"));
    all
}

/// A head that goes on and on in CONTINUATION frames.
fn endless_head(count: usize) -> Vec<u8> {
    let mut all = [PREFACE, &frame(4, 0, 0, &[]), &frame(1, 0, 1, &head())].concat();
    // A literal without an index: the name `a`, the value `b`.
    all.extend(frame(9, 0, 1, &b"\x00\x01a\x01b".repeat(20)).repeat(count));
    all.extend(frame(0, 0, 0, b"x"));
    all
}

/// A body of frames with nothing in them.
fn empty_data(count: usize) -> Vec<u8> {
    let mut all = [PREFACE, &frame(4, 0, 0, &[]), &frame(1, 4, 1, &head())].concat();
    all.extend(frame(0, 0, 1, &[]).repeat(count));
    all.extend(frame(0, 0, 0, b"x"));
    all
}

/// Settings that all want to be acknowledged.
fn settings_flood(count: usize) -> Vec<u8> {
    let mut all = [PREFACE, &frame(4, 0, 0, &[])].concat();
    all.extend(frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(count));
    all.extend(frame(0, 0, 0, b"x"));
    all
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
