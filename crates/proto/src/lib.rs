//! Generated gRPC code, and the only conversions between the wire and `base`.

/// What [`tonic`] made of `proto/`.
#[expect(clippy::all, missing_docs, reason = "generated code")]
pub mod taskmaster {
    pub mod inference {
        pub mod v1 {
            tonic::include_proto!("taskmaster.inference.v1");
        }
    }
    pub mod admin {
        pub mod v1 {
            tonic::include_proto!("taskmaster.admin.v1");
        }
    }
    pub mod node {
        pub mod v1 {
            tonic::include_proto!("taskmaster.node.v1");
        }
    }
}

pub use taskmaster::admin::v1 as admin;
pub use taskmaster::inference::v1 as inference;
pub use taskmaster::node::v1 as node;

/// Every service as a descriptor set, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
