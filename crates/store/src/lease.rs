//! A lease as its owner holds it, and the keeper's end of it.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{LeaseId, StoreError};

/// A lease that the store keeps alive. Dropping it revokes it, as far as the store can be reached.
#[derive(Debug)]
pub struct Lease {
    view: LeaseView,
    ttl: Duration,
    _stop: DropGuard,
}

impl Lease {
    /// Its id, for [`crate::Txn::put_leased`].
    pub fn id(&self) -> LeaseId {
        self.view.id
    }

    /// How long it lives without being renewed, as granted.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Until when nobody else can find it expired: the last renewal that was acknowledged, counted from when it was
    /// sent, less a margin. Moves on with each renewal.
    pub fn good_until(&self) -> Instant {
        self.view.good_until()
    }

    /// Whether the store has said that it is over.
    pub fn is_lost(&self) -> bool {
        self.view.is_lost()
    }

    /// Waits until the store says that it is over. While the store is away nobody says so: see [`Lease::good_until`].
    pub async fn lost(&self) {
        self.view.lost().await;
    }

    pub(crate) fn view(&self) -> LeaseView {
        self.view.clone()
    }
}

/// What is known of a lease, for those that depend on it without owning it.
#[derive(Clone, Debug)]
pub(crate) struct LeaseView {
    id: LeaseId,
    state: watch::Receiver<LeaseState>,
}

#[derive(Clone, Copy, Debug)]
struct LeaseState {
    good_until: Instant,
    lost: bool,
}

impl LeaseView {
    pub fn good_until(&self) -> Instant {
        self.state.borrow().good_until
    }

    pub fn is_lost(&self) -> bool {
        self.state.borrow().lost || self.state.has_changed().is_err()
    }

    pub async fn lost(&self) {
        // An error means that the keeper is gone, and then nobody renews: that is lost, too.
        let mut state = self.state.clone();
        let _gone = state.wait_for(|state| state.lost).await;
    }

    pub fn lost_error(&self) -> StoreError {
        StoreError::LeaseLost { lease: self.id }
    }
}

/// The driver's end of a [`Lease`].
pub(crate) struct LeaseKeeper {
    pub id: LeaseId,
    pub ttl: Duration,
    /// Cancelled when the lease was dropped or the store closes.
    pub stop: CancellationToken,
    state: watch::Sender<LeaseState>,
}

impl LeaseKeeper {
    /// How often to renew: two renewals may get lost before the lease does.
    pub fn interval(&self) -> Duration {
        self.ttl / 3
    }

    /// The store acknowledged a renewal that was sent at `sent`.
    pub fn renewed(&self, sent: Instant) {
        self.state.send_modify(|state| state.good_until = good_until(sent, self.ttl));
    }

    /// The store said that the lease is over.
    pub fn lost(&self) {
        self.state.send_modify(|state| state.lost = true);
    }
}

/// A lease that was granted by a request sent at `sent`, and the end that keeps it.
pub(crate) fn granted(
    id: LeaseId,
    ttl: Duration,
    sent: Instant,
    store_stop: &CancellationToken,
) -> (LeaseKeeper, Lease) {
    let (sender, receiver) = watch::channel(LeaseState { good_until: good_until(sent, ttl), lost: false });
    let stop = store_stop.child_token();
    let lease = Lease { view: LeaseView { id, state: receiver }, ttl, _stop: stop.clone().drop_guard() };
    (LeaseKeeper { id, ttl, stop, state: sender }, lease)
}

/// An eighth of the time is left for clocks that run unequally fast and for a step down that takes a moment.
fn good_until(sent: Instant, ttl: Duration) -> Instant {
    sent + ttl - ttl / 8
}
