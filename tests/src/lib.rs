//! What the system tests, the demo and the benches share: the fake engine, processes, a small client, the bench.
//!
//! Nothing of it is part of a release. The tests themselves are in `it/`.

#[cfg(target_os = "linux")]
pub mod bench;
pub mod client;
pub mod etcd;
pub mod fake;
pub mod gguf;
pub mod port;
pub mod process;
