//! Who leads: a campaign under this node's lease, and stepping down before the lease can have ended elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Epoch, NodeId};
use bytes::Bytes;
use store::{Guard, Leadership, Lease};
use tokio_util::sync::CancellationToken;

use crate::membership::Cluster;

/// The name of the election below the store's prefix.
pub const ELECTION: &str = "leader";
/// How often a follower looks who leads.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A leadership of this node.
#[derive(Clone)]
pub struct Lead(Arc<Leadership>);

impl Lead {
    /// Its fencing number.
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// What every write of this leadership is guarded by.
    pub fn guard(&self) -> Guard {
        self.0.guard()
    }

    /// Whether no other node can lead yet at `now`.
    pub fn may_act(&self, now: Instant) -> bool {
        now < self.0.must_stop_at()
    }
}

impl Cluster {
    /// Campaigns again and again under `lease`; ends only with it.
    pub(crate) async fn run_elections(&self, lease: &Lease, cancel: &CancellationToken) {
        let campaign = async {
            loop {
                let me = Bytes::copy_from_slice(self.settings.me.node.as_str().as_bytes());
                match self.store.campaign(ELECTION, me, lease, self.epoch_floor()).await {
                    Ok(leadership) => self.lead_until_lost(leadership).await,
                    Err(error) => {
                        tracing::debug!(%error, "could not campaign");
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                }
            }
        };
        let observe = async {
            loop {
                self.look_who_leads().await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = async { tokio::join!(campaign, observe); } => {}
        }
    }

    async fn lead_until_lost(&self, leadership: Leadership) {
        let leadership = Arc::new(leadership);
        let me = self.settings.me.node.clone();
        tracing::info!(node = %me, epoch = %leadership.epoch, "leads");
        self.leader_is(Some((me.clone(), leadership.epoch))).await;
        self.lead.store(Arc::new(Some(Lead(leadership.clone()))));
        self.look(Instant::now());
        leadership.lost().await;
        self.lead.store(Arc::new(None));
        self.look(Instant::now());
        tracing::warn!(node = %me, epoch = %leadership.epoch, "leads no more");
    }

    async fn look_who_leads(&self) {
        match self.store.leader(ELECTION).await {
            Ok(leader) => {
                let name = |value: &[u8]| NodeId::new(String::from_utf8_lossy(value));
                self.leader_is(leader.map(|who| (name(&who.value), who.epoch))).await;
            }
            // The store is away: who led last is the best that is known, and the view says that it is stale.
            Err(error) => tracing::debug!(%error, "could not ask who leads"),
        }
    }

    /// Takes note of who leads; the highest epoch ever seen is kept, so that a restored store cannot reuse one.
    async fn leader_is(&self, leader: Option<(NodeId, Epoch)>) {
        if **self.seen_leader.load() == leader {
            return;
        }
        if let Some((_, epoch)) = leader.as_ref().filter(|(_, epoch)| *epoch > self.epoch_floor()) {
            self.raise_epoch_floor(*epoch).await;
        }
        self.seen_leader.store(Arc::new(leader));
        self.look(Instant::now());
    }
}
