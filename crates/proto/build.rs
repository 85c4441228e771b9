//! Compiles the protos with protox (no protoc needed) and keeps the descriptors for gRPC reflection.

use std::path::PathBuf;

use prost::Message;

const PROTOS: [&str; 3] =
    ["taskmaster/inference/v1/inference.proto", "taskmaster/admin/v1/admin.proto", "taskmaster/node/v1/node.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(PROTOS, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut shown = descriptors.clone();
    // Clients are shown what they may call, and that is nothing between nodes.
    shown.file.retain(|file| !file.name().starts_with("taskmaster/node/"));
    std::fs::write(out.join("descriptors.bin"), shown.encode_to_vec())?;
    // Payload fields stay reference counted: no copy between the socket and the client.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
