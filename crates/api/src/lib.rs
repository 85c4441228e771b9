//! The faces of a node, all over one trait [`Desk`]: HTTP in the dialects of OpenAI and Ollama, and gRPC.
//!
//! On the routes of asks nothing is spawned, sent through a channel or parsed again: the connection's task polls the
//! answer in place, so a client that goes away drops the work behind it.

pub mod desk;
pub mod grpc;
pub mod http;
mod job;
mod mcp;
mod metrics_format;
mod names;
mod projects;
mod research;
pub mod scopes;
mod tasks;
mod tasks_json;
pub mod trace;
mod until;

pub use desk::{AdminDesk, Backups, BenchStream, Desk, EngineCall, EventStream, FrameStream, PullStream, Readiness};
pub use metrics_format::MetricsFormat;

/// What the key allows that a call came with; everything where keys are off.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) std::sync::Arc<base::Grant>);

/// The key in the value of an `authorization` header; an empty one is a key that nobody knows.
pub(crate) fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

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
