//! Who is in the cluster and who leads: members in the store, heartbeats between nodes, one [`ClusterView`].
//!
//! Liveness is our own (heartbeats over gRPC); the store's lease decides leadership only. Without the store the last
//! known view goes on, marked stale.

mod election;
mod heartbeat;
mod membership;
mod view;

pub use election::{ELECTION, Lead};
pub use heartbeat::Dial;
pub use membership::{Cluster, Settings};
pub use view::{ClusterView, Known, Member, NodeView, Patience};

/// Keys of members are `members/NODE` below the store's prefix.
pub const MEMBERS: &str = "members/";
