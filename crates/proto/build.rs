//! Compiles the protos with protox (no protoc needed) and keeps the descriptors for gRPC reflection.

use std::path::PathBuf;

use prost::Message;

const PROTOS: [&str; 5] = [
    "taskmaster/inference/v1/inference.proto",
    "taskmaster/admin/v1/admin.proto",
    "taskmaster/planning/v1/planning.proto",
    "taskmaster/node/v1/node.proto",
    "taskmaster/engine/v1/engine.proto",
];
/// Clients are shown what they may call, and that is nothing between nodes or between a node and its engine.
const INTERNAL: [&str; 2] = ["taskmaster/node/", "taskmaster/engine/"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(PROTOS, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut shown = descriptors.clone();
    shown.file.retain(|file| !INTERNAL.iter().any(|folder| file.name().starts_with(folder)));
    std::fs::write(out.join("descriptors.bin"), shown.encode_to_vec())?;
    // Payload fields stay reference counted: no copy between the socket and the client.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
