//! The faces over real sockets, in front of a desk that follows a script.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod client;
mod desk;
mod grpc;
mod hooks;
mod hostile;
mod http;
mod knowledge;
mod mcp;
mod openapi;
mod page;
mod patience;
mod projects;
mod research;
mod scopes;
