//! The wire against the releases before it, and the texts that are made of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod reference;
mod released;

use std::path::{Path, PathBuf};

use prost_reflect::DescriptorPool;

/// The folder of the protos.
fn protos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto")
}

/// The protos as they are now, with what is said of them.
fn now() -> DescriptorPool {
    let mut compiler = protox::Compiler::new([protos()]).unwrap();
    compiler.include_imports(true).include_source_info(true);
    for area in ["inference", "admin", "planning", "research", "node", "engine"] {
        compiler.open_file(format!("taskmaster/{area}/v1/{area}.proto")).unwrap();
    }
    compiler.descriptor_pool()
}
