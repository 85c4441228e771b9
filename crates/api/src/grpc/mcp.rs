//! MCP over a gRPC stream: what `tmctl mcp` carries between an editor's pipe and this node.
//!
//! gRPC because the bridge has it already: its dialler, its TLS, its key and its list of servers; a second client of HTTP
//! would have none of them.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use proto::planning::{McpRequest, McpResponse};
use rmcp::RoleServer;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage, serve_server_with_ct};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, PollSender};
use tonic::{Status, Streaming};
use tracing::debug;

use crate::mcp::Server;

/// Messages on their way out: progress of some calls at once. A client that does not read holds its own calls up.
const WAITING: usize = 64;

/// What goes out.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<McpResponse, Status>> + Send>>;

/// Answers the messages of one client until it goes away or the server stops. All of it runs in the stream that is given
/// back, so that dropping that ends it.
pub(super) fn serve(server: Server, incoming: Streaming<McpRequest>, stop: CancellationToken) -> Answers {
    let (sender, mut answers) = mpsc::channel::<TxJsonRpcMessage<RoleServer>>(WAITING);
    let (refuse, mut refusals) = mpsc::channel::<Value>(WAITING);
    let incoming = incoming.take_while(|read| std::future::ready(read.is_ok()));
    let messages = incoming.filter_map(move |read| {
        let refuse = refuse.clone();
        async move {
            let message = read.ok()?.message;
            match serde_json::from_slice::<RxJsonRpcMessage<RoleServer>>(&message) {
                Ok(message) => Some(message),
                Err(error) => {
                    // A client that does not read its refusals does not get more of them.
                    let _ = refuse.try_send(unread(&message, &error));
                    None
                }
            }
        }
    });
    let serving = async move {
        let transport = (PollSender::new(sender), Box::pin(messages));
        match serve_server_with_ct(server, transport, stop).await {
            Ok(running) => drop(running.waiting().await),
            Err(error) => debug!(%error, "an MCP client left before it had begun"),
        }
    };
    let answers = stream::poll_fn(move |cx| answers.poll_recv(cx)).map(|message| serde_json::to_vec(&message));
    let refusals = stream::poll_fn(move |cx| refusals.poll_recv(cx)).map(|refusal| serde_json::to_vec(&refusal));
    let out = stream::select(answers, refusals).map(|bytes| match bytes {
        Ok(message) => Ok(McpResponse { message: message.into() }),
        Err(error) => Err(Status::internal(format!("could not write an answer: {error}"))),
    });
    let serving = stream::once(serving).filter_map(|()| std::future::ready(None));
    Box::pin(stream::select(out, serving))
}

/// The answer to what is no message.
fn unread(message: &[u8], error: &serde_json::Error) -> Value {
    let id = serde_json::from_slice::<Value>(message).ok().and_then(|value| value.get("id").cloned());
    let message = format!("could not read the message: {error}");
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32700, "message": message } })
}
