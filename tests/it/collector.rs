//! A collector of traces over OTLP, as nodes send them, and what a trace must be like whatever it is of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::lab::{SOON, until};

/// Clocks of processes on one machine differ by less.
const SKEW_NS: u64 = 5_000_000;

/// A span with the node that made it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The node.
    pub node: String,
    /// The span.
    pub span: Span,
}

impl Seen {
    /// Its id.
    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// Of its parent; empty when it is a root.
    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// An attribute as text; empty when there is none.
    pub fn attribute(&self, name: &str) -> String {
        let found = self.span.attributes.iter().find(|attribute| attribute.key == name);
        match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(count)) => count.to_string(),
            _ => String::new(),
        }
    }

    /// Whether the first token is an event on it.
    pub fn has_first_token(&self) -> bool {
        self.first_token_at() > 0
    }

    /// 0 when there was none.
    pub fn first_token_at(&self) -> u64 {
        let event = self.span.events.iter().find(|event| event.name == "first token");
        event.map_or(0, |event| event.time_unix_nano)
    }
}

/// Collects over OTLP.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Vec<Seen>>>);

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
    pub async fn serve(servers: &mut JoinSet<()>) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        servers.spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        (collector, format!("[telemetry]\notlp = \"http://{address}\"\n"))
    }

    /// All that came.
    pub fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    /// Waits for `count` spans.
    pub async fn spans(&self, count: usize) -> Vec<Seen> {
        until(&format!("{count} spans"), SOON, async || self.all().len() >= count).await;
        let spans = self.all();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

/// An id as it is written.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What every trace is like: one root (or children of what a client told), parents that exist, and children within them.
pub fn is_whole(spans: &[Seen]) -> Result<(), String> {
    let by_id: HashMap<String, &Seen> = spans.iter().map(|seen| (seen.id(), seen)).collect();
    let mut roots: HashMap<String, usize> = HashMap::new();
    for seen in spans {
        let Some(parent) = by_id.get(&seen.parent()) else {
            *roots.entry(hex(&seen.span.trace_id)).or_default() += 1;
            continue;
        };
        if parent.span.trace_id != seen.span.trace_id {
            return Err(format!("{} is of another trace than its parent", seen.span.name));
        }
        let (begin, end) = (parent.span.start_time_unix_nano, parent.span.end_time_unix_nano);
        if seen.span.start_time_unix_nano + SKEW_NS < begin || seen.span.end_time_unix_nano > end + SKEW_NS {
            return Err(format!("{} is not within its parent {}", seen.span.name, parent.span.name));
        }
    }
    match roots.iter().find(|(_, count)| **count != 1) {
        Some((trace, count)) => Err(format!("trace {trace} has {count} roots")),
        None => Ok(()),
    }
}
