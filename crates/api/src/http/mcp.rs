//! MCP over streamable HTTP: one JSON-RPC message for each POST, its answer as a stream of events.
//!
//! Without sessions: nothing is kept between two requests, so that a client behind several nodes may be answered by any of
//! them, and loses nothing when one goes away. `Host` and `Origin` were checked at the door, for this path as for all.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Query, Request, State};
use axum::http::Method;
use axum::http::header::ALLOW;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base::{Code, Fault};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::pages::{Bounds, Refusal, Shared};
use super::refusal;
use crate::mcp::{Server, Tools};
use crate::{Client, Desk};

/// Where MCP clients talk to.
pub(super) const PATH: &str = "/mcp";

/// The route.
pub(super) fn routes(bounds: Bounds) -> Router<Arc<dyn Desk>> {
    let answer = move |desk: Shared, client: Extension<Client>, wish: Query<Wish>, request: Request| {
        answer(bounds, desk, client, wish, request)
    };
    Router::new().route(PATH, any(answer))
}

#[derive(Deserialize)]
struct Wish {
    /// Which tools: a set's name, or names with commas between.
    #[serde(default)]
    tools: String,
}

async fn answer(
    bounds: Bounds,
    State(desk): Shared,
    Extension(Client(grant)): Extension<Client>,
    Query(wish): Query<Wish>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    // It came in whole and bounded already.
    let bytes = match to_bytes(body, bounds.body).await {
        Ok(bytes) => bytes,
        Err(error) => return refused(Fault::invalid("could not read the body").because(error)),
    };
    if parts.method != Method::POST {
        let fault = Fault::new(Code::MethodNotAllowed, format!("`{PATH}` does not have the method {}", parts.method));
        let fault = fault.hint("POST one JSON-RPC message; there are no sessions to listen to or to end");
        return ([(ALLOW, "POST")], refused(fault)).into_response();
    }
    if let Err(fault) = check_message(&bytes) {
        return refused(fault);
    }
    let request = Request::from_parts(parts, Body::from(bytes));
    let said = request.headers().get("x-tm-who").and_then(|value| value.to_str().ok()).unwrap_or("mcp");
    let (who, tools) = (crate::who(&grant.name, said), Tools::read(&wish.tools));
    let server = Server { desk, grant, who, tools, stop: bounds.stop.clone() };
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_sse_keep_alive(Some(bounds.heartbeat))
        .with_max_request_body_bytes(bounds.body)
        .with_cancellation_token(bounds.stop)
        .disable_allowed_hosts()
        .disable_allowed_origins();
    let service =
        StreamableHttpService::new(move || Ok(server.clone()), Arc::new(NeverSessionManager::default()), config);
    service.handle(request).await.map(Body::new)
}

/// Refuses what the protocol's library would refuse in its own words.
fn check_message(bytes: &[u8]) -> base::Result<()> {
    #[derive(Deserialize)]
    struct Message {
        jsonrpc: String,
        method: Option<String>,
        id: Option<IgnoredAny>,
    }
    let hint = r#"send one JSON-RPC message, such as {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}"#;
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return Err(Fault::invalid("the body is no JSON").because(error).hint(hint));
    }
    match serde_json::from_slice::<Message>(bytes) {
        Ok(message) if message.jsonrpc == "2.0" && (message.method.is_some() || message.id.is_some()) => Ok(()),
        _ => Err(Fault::invalid("the body is no JSON-RPC message").hint(hint)),
    }
}

fn refused(fault: Fault) -> Response {
    Refusal(refusal::Shape::Projects, fault).into_response()
}
