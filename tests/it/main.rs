//! System tests: real nodes, a real etcd, engines that can be killed, frozen and told to fail.
//!
//! Every test has a lab of its own and cleans up after itself. Waits are for states, with bounds.
//! `TM_SOAK=1` runs what is sampled here in full.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on ends, and shows the logs of its nodes"
)]
#![expect(clippy::print_stderr, reason = "seeds and logs are for whoever reads a failed run")]
#![expect(clippy::disallowed_methods, reason = "what a test spawns ends with its runtime")]

mod bed;
mod benching;
mod built_in;
mod clients;
mod cluster;
mod crash;
mod engines;
mod foreign;
mod hostile;
mod lab;
mod leaders;
mod limits;
mod load;
mod mcp;
mod models;
mod network;
mod planning;
mod promised;
mod reuse;
mod shelving;
mod standing;
mod start;
mod stop;
mod store_faults;
mod tidy;
mod tm_engine;
mod traces;
mod upstream;
mod webhook;
