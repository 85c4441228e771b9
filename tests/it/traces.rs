//! Traces: one ask is one trace, from the client over nodes to the engine, and a collector that is away slows nobody.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tests::client::Told;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::lab::{Face, Lab, MODEL, SOON, Setup, chat, pieces, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// What the client says; nothing of it may be in a span.
const SECRET: &str = "canary-4711";

/// A span with the node that made it.
#[derive(Clone, Debug)]
struct Seen {
    node: String,
    span: Span,
}

impl Seen {
    fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    fn attribute(&self, name: &str) -> String {
        let found = self.span.attributes.iter().find(|attribute| attribute.key == name);
        match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(count)) => count.to_string(),
            _ => String::new(),
        }
    }

    fn has_first_token(&self) -> bool {
        self.first_token_at() > 0
    }

    /// 0 when there was none.
    fn first_token_at(&self) -> u64 {
        let event = self.span.events.iter().find(|event| event.name == "first token");
        event.map_or(0, |event| event.time_unix_nano)
    }
}

/// Collects over OTLP.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut all = self.0.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let node = attributes.iter().find(|attribute| attribute.key == "service.instance.id");
            let node = match node.and_then(|node| node.value.clone()?.value) {
                Some(Value::StringValue(node)) => node,
                _ => String::new(),
            };
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.extend(spans.map(|span| Seen { node: node.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// A collector that serves until the set is dropped, and its setting for a node.
    async fn serve(servers: &mut JoinSet<()>) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        servers.spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        (collector, format!("[telemetry]\notlp = \"http://{address}\"\n"))
    }

    fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    /// Waits for `count` spans.
    async fn spans(&self, count: usize) -> Vec<Seen> {
        until(&format!("{count} spans"), SOON, async || self.all().len() >= count).await;
        let spans = self.all();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

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
    let gone = tests::process::free_port().unwrap();
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
