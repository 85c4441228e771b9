//! A worker's data path: the gate that admits asks, the port that runs them, the built-in engine.

pub mod built_in;
mod call;
pub mod gate;
pub mod port;
mod residency;
