//! Who is in the cluster and who leads: members in the store, heartbeats between nodes, one [`ClusterView`].
//!
//! Liveness is our own (heartbeats over gRPC); the store's lease decides leadership only. Without the store the last
//! known view goes on, marked stale.
//!
//! [`Cluster`] holds the picture; `membership` (lease and members), `election` and `heartbeat` draw it, `known` judges
//! one other node, `memory` is what outlives the process.

mod cluster;
mod election;
mod heartbeat;
mod known;
mod membership;
mod memory;
mod view;

pub use cluster::{Cluster, Settings};
pub use election::{ELECTION, Lead};
pub use heartbeat::Dial;
pub use known::Patience;
pub use view::{ClusterView, Member, NodeView};

/// Keys of members are `members/NODE` below the store's prefix.
pub const MEMBERS: &str = "members/";
