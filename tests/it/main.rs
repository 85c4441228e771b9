//! System tests: real nodes, a real etcd, engines that can be killed, frozen and told to fail.
//!
//! Every test has a lab of its own and cleans up after itself. Waits are for states, with bounds.
//! `TM_SOAK=1` runs what is sampled here in full.

mod clients;
mod cluster;
mod crash;
mod engines;
mod lab;
mod limits;
mod reuse;
mod stop;
mod tidy;
