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

mod at_rest;
mod bed;
mod benching;
mod built_in;
mod certificates;
mod clients;
mod cluster;
mod collector;
mod crash;
mod doctor;
mod documents;
mod engines;
mod folders;
mod foreign;
mod full_disk;
mod guides;
mod hostile;
mod injections;
mod keys;
mod lab;
mod leaders;
mod limits;
mod load;
mod lock;
mod manual;
mod mcp;
mod models;
mod network;
mod nix;
mod notify;
mod observability;
mod page;
mod planning;
mod privacy;
mod promised;
mod qdrant;
mod reload;
mod reuse;
mod rolling;
mod setup;
mod shelving;
mod standing;
mod start;
mod stop;
mod store_faults;
mod tidy;
mod tm_engine;
mod top;
mod traces;
mod upstream;
mod webhook;
