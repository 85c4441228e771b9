//! The stream of messages to one server.

use std::pin::Pin;
use std::time::Duration;

use base::{Code, Fault, Result};
use futures_util::stream;
use proto::planning::planning_client::PlanningClient;
use proto::planning::{McpRequest, McpResponse};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Streaming};

use crate::client::{CALL_LIMIT, Keyed, Servers, call, told};

/// Messages that wait for the socket.
const WAITING: usize = 16;
/// A server that is there answers an introduction at once.
const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// An open stream.
pub(super) struct Link {
    sender: mpsc::Sender<McpRequest>,
    answers: Pin<Box<Streaming<McpResponse>>>,
    planning: PlanningClient<Keyed>,
}

impl Link {
    /// Opens one to the first server that is there; introduces the editor once more where it has done so already.
    pub(super) async fn open(servers: &Servers, tools: &str, hello: Option<&Value>) -> Result<Self> {
        let mut planning = servers.connect().await?.planning();
        let (sender, mut waiting) = mpsc::channel(WAITING);
        let mut request = Request::new(stream::poll_fn(move |cx| waiting.poll_recv(cx)));
        let tools = tools
            .parse()
            .map_err(|_| Fault::invalid("`--tools` has letters that no tool has").hint("use core, standard or all"))?;
        request.metadata_mut().insert("x-tm-tools", tools);
        request.metadata_mut().insert("x-tm-who", AsciiMetadataValue::from_static("tmctl mcp"));
        let answers = call(CALL_LIMIT, planning.mcp(request)).await?;
        let mut link = Self { sender, answers: Box::pin(answers), planning };
        if let Some(hello) = hello {
            link.introduce(hello).await?;
        }
        Ok(link)
    }

    /// The answer is not the editor's: it got one from the server before.
    async fn introduce(&mut self, hello: &Value) -> Result<()> {
        self.send(hello).await?;
        let answer = tokio::time::timeout(HELLO_LIMIT, self.receive()).await.unwrap_or_else(|_| {
            Err(Fault::new(Code::DeadlineExceeded, "the server did not say hello").hint("look at its log"))
        })?;
        if let Some(error) = answer.get("error") {
            return Err(Fault::new(Code::NotSupported, format!("the server refused the editor: {error}"))
                .hint("restart the editor's MCP server: releases differ"));
        }
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await
    }

    pub(super) async fn send(&mut self, message: &Value) -> Result<()> {
        let sent = self.sender.send(McpRequest { message: message.to_string().into() });
        match tokio::time::timeout(CALL_LIMIT, sent).await {
            Ok(sent) => sent.map_err(|_| gone()),
            Err(_) => Err(Fault::new(Code::DeadlineExceeded, "the server takes no message").hint("look at its log")),
        }
    }

    async fn receive(&mut self) -> Result<Value> {
        match self.answers.message().await {
            Ok(Some(answer)) => serde_json::from_slice(&answer.message).map_err(|error| {
                Fault::internal("could not read what the server said")
                    .because(error)
                    .hint("`tmctl doctor` tells releases")
            }),
            Ok(None) => Err(gone()),
            Err(status) => Err(told(&status)),
        }
    }

    /// The other calls of the same server.
    pub(super) fn planning(&mut self) -> &mut PlanningClient<Keyed> {
        &mut self.planning
    }
}

fn gone() -> Fault {
    Fault::new(Code::Unreachable, "the server closed the connection").hint("look whether `tmd` still runs there")
}

/// The next message; waits for ever while no server is connected.
pub(super) async fn next(link: &mut Option<Link>) -> Result<Value> {
    match link {
        Some(link) => link.receive().await,
        None => std::future::pending().await,
    }
}
