//! What runs models: the catalogue of engines, one file per backend, and everything that an ask needs on its way to one.
//!
//! `http1` carries bytes, `wire` knows dialects, `backend` knows engines, `resume` goes on where a run was cut. `cache`
//! keeps deterministic answers, `rates` learns speeds, `gpu` and `machine` tell what the machine has. `gguf` reads what a model
//! file says about itself, `shelf` finds such files.

pub mod backend;
pub mod cache;
pub mod gguf;
pub mod gpu;
pub mod http1;
pub mod machine;
pub mod process;
pub mod rates;
pub mod resume;
#[cfg(test)]
mod scripted;
pub mod shelf;
pub mod wire;
