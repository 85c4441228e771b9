//! Generated gRPC code, and the only conversions between the wire and `base`.
//!
//! A peer is not trusted: reading refuses what is unknown, missing, too long or no number with a fault that names the
//! field. Writing never fails, and writes only what the other side accepts: one odd model name of an engine must not make
//! a node look lost, so such entries are left out and texts that only people read are clipped.

mod ask;
mod bounds;
pub mod fault;
mod report;
pub mod trace;

/// What of Qdrant's own protocol is spoken.
#[expect(clippy::allow_attributes, reason = "generated code")]
pub mod qdrant {
    tonic::include_proto!("qdrant");
}

/// What [`tonic`] made of `proto/`.
#[expect(clippy::allow_attributes, reason = "generated code")]
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
    pub mod planning {
        pub mod v1 {
            tonic::include_proto!("taskmaster.planning.v1");
        }
    }
    pub mod research {
        pub mod v1 {
            tonic::include_proto!("taskmaster.research.v1");
        }
    }
    pub mod backup {
        pub mod v1 {
            tonic::include_proto!("taskmaster.backup.v1");
        }
    }
    pub mod node {
        pub mod v1 {
            tonic::include_proto!("taskmaster.node.v1");
        }
    }
    pub mod engine {
        pub mod v1 {
            tonic::include_proto!("taskmaster.engine.v1");
        }
    }
}

pub use ask::{ask_from_wire, ask_to_wire};
pub use fault::{from_status, is_told, to_status};
pub use taskmaster::admin::v1 as admin;
pub use taskmaster::backup::v1 as backup;
pub use taskmaster::engine::v1 as engine;
pub use taskmaster::inference::v1 as inference;
pub use taskmaster::node::v1 as node;
pub use taskmaster::planning::v1 as planning;
pub use taskmaster::research::v1 as research;

/// Every service as a descriptor set, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
