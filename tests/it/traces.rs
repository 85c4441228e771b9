//! Traces: one ask is one trace, from the client over nodes to the engine, and a collector that is away slows nobody.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tests::client::Told;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::collector::{Collector, Seen, hex, is_whole};
use crate::lab::{Face, Lab, MODEL, SOON, Setup, chat, pieces, until};
use crate::observability::conventions;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// What the client says; nothing of it may be in a span.
const SECRET: &str = "canary-4711";

/// The one span of `node` whose name is `name`.
fn the<'a>(spans: &'a [Seen], node: &str, name: &str) -> &'a Seen {
    let found: Vec<_> = spans.iter().filter(|seen| seen.node == node && seen.span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} of {node} in {spans:#?}");
    found[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_is_one_trace_from_the_client_over_two_nodes_to_the_engine() {
    let mut servers = JoinSet::new();
    let (collector, telemetry) = Collector::serve(&mut servers).await;
    let mut lab = Lab::cluster().await;
    lab.gateway_and_workers("llamacpp", 1, &["--token", "1ms"], &telemetry).await;
    let client = lab.http(0).with_header("traceparent", &format!("00-{TRACE}-{PARENT}-01"));
    let told = client.ask("/v1/chat/completions", &Face::Chat.body(SECRET)).await.unwrap();
    assert!(told.is_good(), "{told:?}");

    let spans = collector.spans(5).await;
    is_whole(&spans).unwrap();
    assert!(spans.iter().all(|seen| hex(&seen.span.trace_id) == TRACE), "{spans:#?}");
    assert!(!format!("{spans:?}").contains(SECRET), "{spans:#?}");
    let ask = the(&spans, "gateway", &format!("chat {MODEL}"));
    let run = the(&spans, "gateway", "run w0/engine");
    let there = the(&spans, "w0", "run w0/engine");
    assert_eq!((ask.parent(), run.parent(), there.parent()), (PARENT.to_owned(), ask.id(), run.id()));
    assert!([ask, run, there].into_iter().all(Seen::has_first_token), "{spans:#?}");
    let (peer, engine) = (the(&spans, "gateway", "peer"), the(&spans, "w0", "engine"));
    assert_eq!((peer.parent(), engine.parent()), (run.id(), there.id()));
    // What waits for the first token ends with it.
    assert!(engine.span.end_time_unix_nano <= there.first_token_at(), "{spans:#?}");
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", MODEL),
        ("gen_ai.response.model", MODEL),
        ("gen_ai.usage.output_tokens", "60"),
        ("tm.worker", "w0/engine"),
        ("error.type", ""),
    ] {
        assert_eq!(ask.attribute(name), value, "{name} of {ask:#?}");
    }
    assert!(ask.attribute("tm.ask").starts_with("ask-"), "{ask:#?}");
    let stats = lab.engines[0].stats().await.unwrap();
    assert_eq!(stats["traceparent"], format!("00-{TRACE}-{}-01", there.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_without_a_trace_begins_one_and_a_client_that_leaves_ends_it() {
    let mut servers = JoinSet::new();
    let (collector, telemetry) = Collector::serve(&mut servers).await;
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "20ms"]).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url).more(&telemetry)).await;
    lab.workers_are(0, "ready", 1).await;

    let mut stream = lab.http(0).stream("/v1/chat/completions", &Face::Chat.body("go on")).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, 1).await;
    drop(stream);
    let spans = collector.spans(3).await;
    let (ask, run) = (the(&spans, "a", &format!("chat {MODEL}")), the(&spans, "a", "run a/engine"));
    assert_eq!((ask.parent(), run.parent()), (String::new(), ask.id()));
    assert_eq!((ask.attribute("error.type"), run.attribute("error.type")), ("cancelled".into(), "cancelled".into()));
    let stats = lab.engines[0].stats().await.unwrap();
    assert_eq!(stats["traceparent"], format!("00-{}-{}-01", hex(&ask.span.trace_id), run.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_has_not_sent_yet_is_sent_when_it_stops() {
    let mut servers = JoinSet::new();
    let (collector, telemetry) = Collector::serve(&mut servers).await;
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &[]).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url).more(&telemetry)).await;
    lab.workers_are(0, "ready", 1).await;
    let mut asked = 0;
    let end = Instant::now() + Duration::from_millis(200);
    while Instant::now() < end {
        let reply = lab.http(0).post_json("/v1/chat/completions", &chat("last", false)).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        asked += 1;
    }
    lab.nodes[0].child.terminate().unwrap();
    lab.nodes[0].child.wait(SOON).await.unwrap();
    // Of the ask, of its run, of the wait for the engine.
    assert_eq!(collector.all().len(), 3 * asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_share_is_traced_but_a_client_decides_for_its_own_asks() {
    let mut servers = JoinSet::new();
    let (collector, telemetry) = Collector::serve(&mut servers).await;
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &[]).await;
    let none = format!("{telemetry}sample = 0.0\n");
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url).more(&none)).await;
    lab.workers_are(0, "ready", 1).await;
    let traced = format!("00-{TRACE}-{PARENT}-01");
    // The traced one comes last: when its spans are there, the others' would be, too.
    for traceparent in ["", &traced.replace("-01", "-00"), &traced] {
        let client = match traceparent {
            "" => lab.http(0),
            _ => lab.http(0).with_header("traceparent", traceparent),
        };
        assert!(client.ask("/v1/chat/completions", &Face::Chat.body(traceparent)).await.unwrap().is_good());
        // The engine hears whether anybody looks, too.
        let told = lab.engines[0].stats().await.unwrap()["traceparent"].as_str().unwrap_or_default().to_owned();
        assert_eq!(told.ends_with("-01"), traceparent == traced, "{told}");
    }
    let spans = collector.spans(3).await;
    assert!(spans.iter().all(|seen| hex(&seen.span.trace_id) == TRACE), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_that_waits_for_a_slot_says_how_long() {
    let mut servers = JoinSet::new();
    let (collector, telemetry) = Collector::serve(&mut servers).await;
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "5ms"]).await;
    lab.node(Setup::new("a").worker_with("engine", "llamacpp", &url, "slots = 1").more(&telemetry)).await;
    lab.workers_are(0, "ready", 1).await;
    let (first, second) = (lab.http(0), lab.http(0));
    let (one, other) = (Face::Chat.body("one"), Face::Chat.body("other"));
    let (one, other) =
        tokio::join!(first.ask("/v1/chat/completions", &one), second.ask("/v1/chat/completions", &other));
    assert!(one.unwrap().is_good() && other.unwrap().is_good());
    // Two asks, two runs, two waits for the engine, one for the slot.
    let spans = collector.spans(7).await;
    is_whole(&spans).unwrap();
    let queue = the(&spans, "a", "queue");
    let runs = || spans.iter().filter(|seen| seen.span.name == "run a/engine");
    let (waited, other): (Vec<_>, Vec<_>) = runs().partition(|run| run.id() == queue.parent());
    assert_eq!((waited.len(), other.len()), (1, 1), "{spans:#?}");
    assert!(queue.span.end_time_unix_nano > other[0].first_token_at(), "{spans:#?}");
    assert_eq!(queue.attribute("error.type"), "");
}

/// Asks are answered in the same time whether nobody is at the collector's address or somebody who never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_slows_no_ask() {
    const ASKS: u32 = 40;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = tests::port::free_port().unwrap();
    for port in [gone, silent.local_addr().unwrap().port()] {
        let mut lab = Lab::single();
        let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
        let telemetry = format!("[telemetry]\notlp = \"http://127.0.0.1:{port}\"\n");
        lab.node(Setup::new("a").worker("engine", "llamacpp", &url).more(&telemetry)).await;
        lab.workers_are(0, "ready", 1).await;
        let mut slowest = Duration::ZERO;
        for _ in 0..ASKS {
            let begun = Instant::now();
            let reply = lab.http(0).post_json("/v1/chat/completions", &chat("hello", false)).await.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
            slowest = slowest.max(begun.elapsed());
        }
        // Far below every wait for a collector, far above what an ask takes on a busy machine.
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        let begun = Instant::now();
        lab.nodes[0].child.terminate().unwrap();
        lab.nodes[0].child.wait(SOON).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10), "stopping took {:?}", begun.elapsed());
    }
}

/// What a hanging collector keeps waiting is bounded: behind that a node does not grow with every ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_costs_no_memory() {
    /// More spans than may wait.
    const FILL: usize = 2000;
    /// What as many asks more may add: less than what their spans would take.
    const MOST_GROWTH_KIB: u64 = 4096;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "0ms", "--ttft", "0ms", "--tokens", "2"]).await;
    let telemetry = format!("[telemetry]\notlp = \"http://{}\"\n", silent.local_addr().unwrap());
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url).more(&telemetry)).await;
    lab.workers_are(0, "ready", 1).await;
    let fill = async || {
        for _ in 0..FILL {
            let reply = lab.http(0).post_json("/v1/chat/completions", &chat("hello", false)).await.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        resident_kib(lab.nodes[0].child.pid())
    };
    let full = fill().await;
    let after = fill().await;
    assert!(after < full + MOST_GROWTH_KIB, "{full} KiB, and {after} KiB later");
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Waits until spans of these names are there; gives all of them.
async fn named(collector: &Collector, names: &[&str]) -> Vec<Seen> {
    let has = |spans: &[Seen], name: &str| spans.iter().any(|seen| seen.span.name == name);
    until(&format!("{names:?}"), SOON * 2, async || names.iter().all(|name| has(&collector.all(), name))).await;
    collector.all()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_searches_and_tools_have_spans_and_their_asks_are_children() {
    let mut servers = JoinSet::new();
    let (collector, telemetry) = Collector::serve(&mut servers).await;
    let mut lab = Lab::single();
    let url = lab.engine("openai", &["--context", "65536", "--token", "0ms"]).await;
    lab.node(Setup::new("a").worker("engine", "openai", &url).more(&telemetry)).await;
    lab.workers_are(0, "ready", 1).await;
    let traced = lab.http(0).with_header("traceparent", &format!("00-{TRACE}-{PARENT}-01"));

    let posted = async |path: &str, body: Value| {
        let reply = traced.post_json(path, &body).await.unwrap();
        assert!(reply.status < 300, "{path}: {}", reply.text());
        reply
    };
    posted("/api/research/collections/house/documents", json!({"source": "note:a", "text": "The pump is blue."})).await;
    posted("/api/research/search", json!({"question": "pump"})).await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "search_documents", "arguments": {"query": "pump"}}});
    let client = traced.clone().with_header("content-type", "application/json");
    let client = client.with_header("accept", "application/json, text/event-stream");
    let called = client.with_header("mcp-protocol-version", "2025-06-18");
    let called = called.send(Method::POST, "/mcp", call.to_string().into()).await.unwrap();
    assert_eq!(called.status, 200, "{}", called.text());
    posted("/api/projects", json!({"name": "garden"})).await;
    let plan = json!({"work": "parse-prd", "planner": "model", "prd": "# Garden\n\nThe pump must start by itself."});
    posted("/api/projects/garden/jobs", plan).await;

    let spans = named(&collector, &["plan parse-prd", "tools/call search_documents"]).await;
    let retrievals: Vec<_> = spans.iter().filter(|seen| seen.span.name == "retrieval documents").collect();
    let tool = the(&spans, "a", "tools/call search_documents");
    assert_eq!(tool.attribute("gen_ai.operation.name"), "execute_tool");
    let parents: Vec<String> = retrievals.iter().map(|seen| seen.parent()).collect();
    assert!(parents.contains(&PARENT.to_owned()) && parents.contains(&tool.id()), "{parents:?} in {spans:#?}");
    assert!(retrievals.iter().all(|seen| hex(&seen.span.trace_id) == TRACE), "{spans:#?}");
    let job = the(&spans, "a", "plan parse-prd");
    let asks: Vec<_> =
        spans.iter().filter(|seen| seen.parent() == job.id() && seen.span.name.starts_with("chat")).collect();
    assert!(!asks.is_empty(), "{spans:#?}");
    assert!(job.attribute("tm.job").starts_with("job-"), "{job:#?}");
    let conventions = conventions();
    let names = spans.iter().flat_map(|seen| seen.span.attributes.iter().map(|attribute| attribute.key.as_str()));
    let foreign: Vec<&str> = names
        .filter(|name| !name.starts_with("tm.") && *name != "error.type" && !conventions.contains(*name))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?} are no names of the conventions");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_is_in_spans_only_where_the_owner_wants_it() {
    for (content, is_told) in [("", false), ("content = true\n", true)] {
        let mut servers = JoinSet::new();
        let (collector, telemetry) = Collector::serve(&mut servers).await;
        let mut lab = Lab::single();
        let url = lab.engine("llamacpp", &["--token", "0ms"]).await;
        lab.node(Setup::new("a").worker("engine", "llamacpp", &url).more(&format!("{telemetry}{content}"))).await;
        lab.workers_are(0, "ready", 1).await;
        let told = lab.http(0).ask("/v1/chat/completions", &Face::Chat.body(SECRET)).await.unwrap();
        assert!(told.is_good(), "{told:?}");
        let spans = collector.spans(3).await;
        let ask = the(&spans, "a", &format!("chat {MODEL}"));
        assert_eq!(ask.attribute("gen_ai.input.messages").contains(SECRET), is_told, "{ask:#?}");
        let answer = Face::Chat.answer(SECRET);
        assert_eq!(ask.attribute("gen_ai.output.messages").contains(answer.trim()), is_told, "{answer} in {ask:#?}");
        assert_eq!(format!("{spans:?}").contains(SECRET), is_told);
        assert_eq!(lab.nodes[0].child.stderr().contains("telemetry.content is on"), is_told);
    }
}
