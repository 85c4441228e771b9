//! A worker's data path: the gate that admits asks, the port that runs them, the engine's process.

pub mod gate;
pub mod port;
mod residency;
