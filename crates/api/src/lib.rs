//! The faces of a node, all over one trait [`Desk`]: HTTP in the dialects of OpenAI and Ollama, and gRPC.
//!
//! On the routes of asks nothing is spawned, sent through a channel or parsed again: the connection's task polls the
//! answer in place, so a client that goes away drops the work behind it.

pub mod desk;
pub mod grpc;
pub mod http;
mod job;
mod mcp;
mod names;
mod projects;
mod tasks;
mod tasks_json;

pub use desk::{AdminDesk, BenchStream, Desk, EngineCall, EventStream, PullStream, Readiness};

/// The name of the key that a call came with; empty where keys are off.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) std::sync::Arc<str>);

/// Who a change is noted under: the name of the key that a call came with, and who it says it is.
pub(crate) fn who(key: &str, said: &str) -> String {
    let said: String = said.chars().filter(|char| !char.is_control()).take(100).collect();
    match (key, said.trim()) {
        ("", "") => "somebody".to_owned(),
        ("", said) => said.to_owned(),
        (key, "") => key.to_owned(),
        (key, said) => format!("{key} ({said})"),
    }
}
