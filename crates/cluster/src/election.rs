//! Who leads: a campaign under this node's lease, and stepping down before the lease can have ended elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base::{Epoch, NodeId};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use store::{Guard, Leadership, Lease, StoreError, Txn};

use crate::cluster::Cluster;

/// The name of the election below the store's prefix.
pub const ELECTION: &str = "leader";
/// How often a node looks who leads.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between attempts while the store does not answer.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// How far apart two readings of clocks that run alike may be on a busy machine.
const CLOCKS_APART: Duration = Duration::from_millis(100);

/// A leadership of this node.
#[derive(Clone)]
pub struct Lead(Arc<Term>);

/// A stretch of a leadership without a doubt in it.
struct Term {
    leadership: Arc<Leadership>,
    /// What [`time_asleep`] was when it began.
    asleep_before: Duration,
    is_over: AtomicBool,
}

impl Lead {
    /// Its fencing number.
    pub fn epoch(&self) -> Epoch {
        self.0.leadership.epoch
    }

    /// What every write of this leadership is guarded by.
    pub fn guard(&self) -> Guard {
        self.0.leadership.guard()
    }

    /// Whether no other node can lead yet at `now`. Once `false`, it may be `true` again only in another [`Lead`].
    pub fn may_act(&self, now: Instant) -> bool {
        // The clock of deadlines stands still while the machine sleeps; the lease does not.
        let has_slept = time_asleep().saturating_sub(self.0.asleep_before) > CLOCKS_APART;
        if has_slept || now >= self.0.leadership.must_stop_at() {
            self.end();
        }
        !self.0.is_over.load(Ordering::Acquire)
    }

    fn end(&self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}

impl Cluster {
    /// Campaigns again and again under `lease`, until dropped.
    pub(crate) async fn campaign(&self, lease: &Lease) {
        loop {
            let me = Bytes::copy_from_slice(self.me().as_str().as_bytes());
            match self.store.campaign(ELECTION, me, lease, self.memory.highest_epoch()).await {
                Ok(leadership) => self.lead_until_lost(leadership).await,
                Err(error) => {
                    tracing::debug!(%error, "could not campaign");
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
        }
    }

    /// Follows who leads, as the store tells; while it is away, whoever led last is the best that is known.
    pub(crate) async fn follow_leader(&self) {
        loop {
            match self.store.leader(ELECTION).await {
                // An answer from before this node won must not hide that it did.
                Ok(_) if self.lead().is_some() => {}
                Ok(Some(who)) if who.epoch < self.memory.highest_epoch() => self.refuse_leader(who.epoch).await,
                Ok(leader) => {
                    let leader = leader.map(|who| (NodeId::new(String::from_utf8_lossy(&who.value)), who.epoch));
                    if let Some((_, epoch)) = &leader {
                        self.keep_epoch(*epoch).await;
                    }
                    self.note_leader(leader);
                }
                Err(error) => tracing::debug!(%error, "could not ask who leads"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The store names a leader of an epoch that is over: it was restored to a time before. Nobody follows that one, and
    /// if it lives, it must take office anew.
    async fn refuse_leader(&self, epoch: Epoch) {
        let floor = self.memory.highest_epoch();
        tracing::warn!(%epoch, %floor, "the store went back to an epoch that is over");
        self.note_leader(None);
        if let Err(error) = self.store.raise_epoch(ELECTION, floor).await {
            tracing::debug!(%error, "could not raise the epoch");
        }
    }

    async fn lead_until_lost(&self, leadership: Leadership) {
        let leadership = Arc::new(leadership);
        tracing::info!(node = %self.me(), epoch = %leadership.epoch, "leads");
        self.keep_epoch(leadership.epoch).await;
        tokio::select! {
            () = leadership.lost() => {}
            () = self.act_while_ours(&leadership) => {}
        }
        tracing::warn!(node = %self.me(), epoch = %leadership.epoch, "leads no more");
    }

    /// Acts until the lease may have ended; after that only once the store has confirmed that nobody else led since.
    async fn act_while_ours(&self, leadership: &Arc<Leadership>) {
        loop {
            let acting = Acting::begin(self, leadership.clone());
            while acting.lead.may_act(Instant::now()) {
                tokio::time::sleep_until(leadership.must_stop_at().into()).await;
            }
            drop(acting);
            tracing::warn!(node = %self.me(), epoch = %leadership.epoch, "steps down: the lease may have ended");
            if !self.is_still_ours(leadership).await {
                return;
            }
        }
    }

    /// Waits until the lease was renewed, and asks the store then.
    async fn is_still_ours(&self, leadership: &Leadership) -> bool {
        loop {
            tokio::time::sleep(RETRY_EVERY).await;
            if Instant::now() >= leadership.must_stop_at() {
                continue;
            }
            match self.store.commit(Txn::new().when(leadership.guard())).await {
                Ok(_) => return true,
                Err(StoreError::Refused { .. }) => return false,
                Err(error) => tracing::debug!(%error, "could not ask whether this node still leads"),
            }
        }
    }

    /// Keeps the highest epoch seen, so that an etcd that went back in time cannot hand it out again.
    async fn keep_epoch(&self, epoch: Epoch) {
        if let Err(error) = self.memory.saw_epoch(epoch).await {
            // The store's own record of it is left; both would have to be lost for an epoch to come twice.
            tracing::error!(%error, "could not keep the highest epoch seen");
        }
    }

    /// Steps down at once, whoever still holds the [`Lead`].
    pub(crate) fn step_down(&self) {
        if let Some(lead) = self.lead.swap(None) {
            lead.end();
        }
    }
}

/// While this lives, the node has a [`Lead`]; dropping it steps down, wherever that happens.
struct Acting<'a> {
    cluster: &'a Cluster,
    lead: Lead,
}

impl<'a> Acting<'a> {
    fn begin(cluster: &'a Cluster, leadership: Arc<Leadership>) -> Self {
        let lead = Lead(Arc::new(Term { leadership, asleep_before: time_asleep(), is_over: AtomicBool::new(false) }));
        cluster.lead.store(Some(Arc::new(lead.clone())));
        cluster.note_leader(Some((cluster.me().clone(), lead.epoch())));
        Self { cluster, lead }
    }
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        self.lead.end();
        self.cluster.lead.store(None);
    }
}

/// How long the machine has been suspended since it started.
fn time_asleep() -> Duration {
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // In this order, what passes between the two readings counts as awake.
    let since_boot = read(ClockId::Boottime);
    since_boot.saturating_sub(read(ClockId::Monotonic))
}
