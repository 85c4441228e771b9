//! The faces of a node, all over one trait [`Desk`]: HTTP in the dialects of OpenAI and Ollama, and gRPC.
//!
//! On the routes of asks nothing is spawned, sent through a channel or parsed again: the connection's task polls the
//! answer in place, so a client that goes away drops the work behind it.

pub mod desk;
pub mod grpc;
pub mod http;
mod names;

pub use desk::{AdminDesk, BenchStream, Desk, EngineCall, EventStream, PullStream, Readiness};
