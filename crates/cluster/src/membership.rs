//! This node's key under a lease, the other nodes' keys, and leaving.
//!
//! A lease that is lost ends a life of the node: it joins again as the next one. A name belongs to the machine that holds
//! its key; another machine with the same name waits until that key is gone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::NodeId;
use base::retry::Backoff;
use store::{Damaged, Guard, Lease, Listing, StoreError, Txn, WatchEvent};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::MEMBERS;
use crate::cluster::{Cluster, Picture};
use crate::known::Known;
use crate::view::Member;

/// How often states are looked at anew when nothing happens: a fraction of the shortest patience.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A look that comes later than this says that the whole node stood still.
const STOOD_STILL: Duration = Duration::from_secs(1);
/// Between attempts to join.
const JOIN_BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1), jitter: 0.5 };
/// How long a node that leaves waits for its peers to hear of it.
const FAREWELL: Duration = Duration::from_millis(300);

/// Why a node could not become a member.
#[derive(Debug, thiserror::Error)]
enum JoinError {
    #[error("another machine, at {address}, uses the name of this node; give each its own `node.name`")]
    NameTaken { address: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Cluster {
    /// Holds this node's key under a lease, campaigns, and follows the others' keys, until cancelled or dropped.
    ///
    /// Its end revokes the lease in the background; [`Cluster::leave`] waits for that.
    pub async fn run_membership(self: Arc<Self>, cancel: CancellationToken) {
        let all = async {
            tokio::join!(self.stay_joined(), self.follow_members(), self.follow_leader(), self.keep_looking())
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            _ = all => {}
        }
    }

    /// Leaves for good: steps down, tells the peers, and gives the lease back, so that everybody knows within
    /// milliseconds. Heartbeats go on, for whoever still waits for an answer of this node.
    pub async fn leave(&self) {
        self.left.cancel();
        self.step_down();
        let lease = self.draw(|picture| picture.lease.take());
        self.set_draining(true);
        let revoke = async {
            let Some(lease) = lease else { return };
            if let Err(error) = self.store.revoke(lease).await {
                tracing::warn!(%error, "could not give the lease back; it ends by itself");
            }
        };
        let farewell = tokio::time::timeout(FAREWELL, self.beat_all());
        // Who did not hear it finds out by the lease.
        let ((), _unheard) = tokio::join!(revoke, farewell);
        tracing::info!(node = %self.me(), "left");
    }

    async fn stay_joined(&self) {
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            _ = self.live_again_and_again() => {}
        }
    }

    async fn live_again_and_again(&self) -> Infallible {
        let mut attempt = 0;
        loop {
            match self.join().await {
                Ok(lease) => {
                    attempt = 0;
                    let _joined = Joined::begin(self, &lease);
                    self.live(&lease).await;
                }
                Err(error) => {
                    if attempt == 0 {
                        tracing::warn!(%error, "could not join the cluster; trying on");
                    }
                    tokio::time::sleep(JOIN_BACKOFF.delay(attempt, fastrand::f64())).await;
                    attempt += 1;
                    continue;
                }
            }
            tracing::warn!(node = %self.me(), "lost its lease and joins again");
            if let Err(error) = self.memory.begin_life().await {
                tracing::error!(%error, "could not keep the number of this life");
            }
        }
    }

    async fn join(&self) -> Result<Lease, JoinError> {
        let lease = self.store.lease(self.settings.lease_ttl).await?;
        self.put_member(&lease).await?;
        tracing::info!(node = %self.me(), incarnation = %self.incarnation(), "joined");
        Ok(lease)
    }

    /// One life: until its lease is lost.
    async fn live(&self, lease: &Lease) {
        tokio::select! {
            () = lease.lost() => {}
            () = self.campaign(lease) => {}
            () = self.mend_member(lease) => {}
        }
    }

    /// Puts this node's key again when somebody deleted or damaged it.
    async fn mend_member(&self, lease: &Lease) {
        loop {
            self.own_key.notified().await;
            let mut attempt = 0;
            while let Err(error) = self.put_member(lease).await {
                if attempt == 0 {
                    tracing::warn!(%error, "could not put this node's key again; trying on");
                }
                tokio::time::sleep(JOIN_BACKOFF.delay(attempt, fastrand::f64())).await;
                attempt += 1;
            }
        }
    }

    /// Puts this node's key, unless another machine holds it. One of an earlier life, or a damaged one, is replaced.
    async fn put_member(&self, lease: &Lease) -> Result<(), JoinError> {
        let member = self.own_member();
        let key = key_of(&member.node);
        let put = |guard| Txn::new().when(guard).put_leased(key.clone(), member.to_bytes(), lease.id());
        match self.store.commit(put(Guard::Absent(key.clone()))).await {
            Err(StoreError::Refused { .. }) => {}
            done => return Ok(done.map(drop)?),
        }
        let modified = match self.store.get(&key).await {
            // It went away meanwhile; the next attempt finds that.
            Ok(None) => return Err(StoreError::Refused { guard: Guard::Absent(key) }.into()),
            Ok(Some(entry)) => {
                let held = serde_json::from_slice::<Member>(&entry.value).ok();
                if held.as_ref() == Some(&member) && entry.lease == Some(lease.id()) {
                    return Ok(());
                }
                if let Some(other) = held.filter(|held| held.peer_address != member.peer_address) {
                    return Err(JoinError::NameTaken { address: other.peer_address });
                }
                entry.modified
            }
            Err(StoreError::Damaged(damaged)) => damaged.modified,
            Err(error) => return Err(error.into()),
        };
        self.store.commit(put(Guard::ModifiedAt(key.clone(), modified))).await?;
        Ok(())
    }

    /// Ends with the store.
    async fn follow_members(&self) {
        let mut watch = self.store.watch(MEMBERS, None);
        while let Some(event) = watch.next().await {
            self.draw(|picture| match event {
                WatchEvent::Reset(listing) => self.members_are(picture, listing),
                WatchEvent::Put(entry) => self.member_is(picture, &entry.key, &entry.value),
                WatchEvent::Damaged(damaged) => self.member_is_damaged(picture, &damaged.key, &damaged.reason),
                WatchEvent::Deleted { key, .. } => self.member_left(picture, &key),
            });
        }
    }

    fn members_are(&self, picture: &mut Picture, listing: Listing) {
        picture.known.values_mut().for_each(|known| known.has_lease = false);
        self.own_key.notify_one();
        for entry in &listing.entries {
            self.member_is(picture, &entry.key, &entry.value);
        }
        for Damaged { key, reason, .. } in &listing.damaged {
            self.member_is_damaged(picture, key, reason);
        }
    }

    fn member_is(&self, picture: &mut Picture, key: &str, value: &[u8]) {
        match serde_json::from_slice::<Member>(value) {
            Ok(member) if key_of(&member.node) != key => self.member_is_damaged(picture, key, "it names another node"),
            Ok(member) if member.node == *self.me() => {
                if member != self.own_member() {
                    self.own_key.notify_one();
                }
            }
            Ok(member) => {
                let known = picture.known.entry(member.node.clone()).or_insert_with(|| Known::new(member.clone()));
                known.is_named(member);
            }
            Err(error) => self.member_is_damaged(picture, key, &error.to_string()),
        }
    }

    /// The lease is there, the words are not: its last ones hold until the node mends its key.
    fn member_is_damaged(&self, picture: &mut Picture, key: &str, reason: &str) {
        tracing::error!(key, reason, "a member's key is damaged");
        let node = node_of(key);
        if node == *self.me() {
            self.own_key.notify_one();
        } else if let Some(known) = picture.known.get_mut(&node) {
            known.has_lease = true;
        }
    }

    fn member_left(&self, picture: &mut Picture, key: &str) {
        let node = node_of(key);
        if node == *self.me() {
            self.own_key.notify_one();
        } else if let Some(known) = picture.known.get_mut(&node) {
            known.has_lease = false;
        }
    }

    async fn keep_looking(&self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let pause = now.saturating_duration_since(last);
            last = now;
            self.draw(|picture| {
                if pause > STOOD_STILL {
                    picture.known.values_mut().for_each(|known| known.forgive(pause, now));
                }
            });
        }
    }
}

/// While this lives, the node is a member.
struct Joined<'a>(&'a Cluster);

impl<'a> Joined<'a> {
    fn begin(cluster: &'a Cluster, lease: &Lease) -> Self {
        cluster.draw(|picture| picture.lease = Some(lease.id()));
        Self(cluster)
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.0.draw(|picture| picture.lease = None);
    }
}

fn key_of(node: &NodeId) -> String {
    format!("{MEMBERS}{node}")
}

fn node_of(key: &str) -> NodeId {
    NodeId::new(key.strip_prefix(MEMBERS).unwrap_or(key))
}
