//! What is measured for a whole process.

#[cfg(test)]
mod hostile_gguf;
#[cfg(test)]
#[path = "../../src/gguf/sample.rs"]
mod sample;
