//! Writes down what the protos of a release are, to compare later ones with:
//! `cargo run -p proto --example descriptors -- proto crates/proto/released/VERSION.binpb`

use std::path::Path;

use prost::Message;

/// What nodes, clients and engines speak with each other; Qdrant's own protocol is not ours to keep.
const AREAS: [&str; 6] = ["inference", "admin", "planning", "research", "node", "engine"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, out] = arguments.as_slice() else {
        return Err("give the folder of the protos and the file to write".into());
    };
    let files = AREAS.map(|area| format!("taskmaster/{area}/v1/{area}.proto"));
    let descriptors = protox::Compiler::new([folder])?.include_imports(true).open_files(files)?.file_descriptor_set();
    if let Some(folder) = Path::new(out).parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(std::fs::write(out, descriptors.encode_to_vec())?)
}
