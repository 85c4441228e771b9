//! Compiles the protos with protox (no protoc needed) and keeps the descriptors for gRPC reflection.

use std::path::PathBuf;

use prost::Message;

const PROTOS: [&str; 8] = [
    "taskmaster/inference/v1/inference.proto",
    "taskmaster/admin/v1/admin.proto",
    "taskmaster/planning/v1/planning.proto",
    "taskmaster/research/v1/research.proto",
    "taskmaster/backup/v1/backup.proto",
    "taskmaster/node/v1/node.proto",
    "taskmaster/engine/v1/engine.proto",
    "qdrant/qdrant.proto",
];
/// Clients are shown what they may call, and that is nothing between nodes, between a node and its engine or its Qdrant.
const INTERNAL: [&str; 3] = ["taskmaster/node/", "taskmaster/engine/", "qdrant/"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(PROTOS, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut shown = descriptors.clone();
    shown.file.retain(|file| !INTERNAL.iter().any(|folder| file.name().starts_with(folder)));
    std::fs::write(out.join("descriptors.bin"), shown.encode_to_vec())?;
    // Payload fields stay reference counted: no copy between the socket and the client.
    // An answer is large, and comes once behind many small pieces of its text.
    let boxed = ".taskmaster.research.v1.AskResponse.part.answer";
    tonic_prost_build::configure().bytes(".").boxed(boxed).compile_fds(descriptors)?;
    Ok(())
}
