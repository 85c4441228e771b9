//! Everything between an ask and an engine: dialects, continuation of cut answers.

pub mod resume;
pub mod wire;
