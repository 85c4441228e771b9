//! This node's place in the cluster: its key under a lease, what it knows of the others, and the view made of both.
//!
//! Three loops run side by side, each restartable on its own: membership (lease and watch), heartbeats, election. They
//! meet in `Known`; whatever changes there makes a new [`ClusterView`] when it says something new.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use base::report::{NodeReport, NodeState};
use base::retry::Backoff;
use base::{Fault, Incarnation, NodeId};
use store::local::Table;
use store::{Listing, SharedStore, StoreError, Txn, WatchEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::MEMBERS;
use crate::election::Lead;
use crate::heartbeat::Dial;
use crate::view::{ClusterView, Known, Member, NodeView, Patience, is_forgotten, is_newer, state_of};

/// How often states are looked at anew when nothing happens: a fraction of the shortest patience.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between attempts to get a lease while the store is away.
const LEASE_BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(2), jitter: 0.5 };
/// Keys of the local table.
const INCARNATION_KEY: &[u8] = b"incarnation";
const LAST_MEMBERS_KEY: &[u8] = b"members";
const EPOCH_KEY: &[u8] = b"epoch";

/// What a node is told about its place in the cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node; its incarnation is filled in when it joins.
    pub me: Member,
    /// How long the lease lives without us.
    pub lease_ttl: Duration,
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// Times that tell states apart.
    pub patience: Patience,
}

/// This node's place in the cluster.
pub struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) store: SharedStore,
    pub(crate) dial: Arc<dyn Dial>,
    local: Table,
    incarnation: AtomicU64,
    sequence: AtomicU64,
    epoch_floor: AtomicU64,
    is_draining: AtomicBool,
    known: Mutex<HashMap<NodeId, Known>>,
    evicted: Mutex<HashMap<NodeId, Instant>>,
    store_lost: Mutex<Option<Instant>>,
    pub(crate) lead: ArcSwap<Option<Lead>>,
    pub(crate) seen_leader: ArcSwap<Option<(NodeId, base::Epoch)>>,
    pub(crate) report: Box<dyn Fn() -> NodeReport + Send + Sync>,
    view: watch::Sender<Arc<ClusterView>>,
}

impl Cluster {
    /// A node that has not joined yet. `report` draws this node; its identity fields are overwritten here.
    pub async fn new(
        settings: Settings,
        store: SharedStore,
        dial: Arc<dyn Dial>,
        local: Table,
        report: Box<dyn Fn() -> NodeReport + Send + Sync>,
    ) -> Result<Arc<Self>, Fault> {
        let kept = |key: &[u8]| -> Result<u64, Fault> {
            Ok(local.get(key)?.and_then(|bytes| String::from_utf8_lossy(&bytes).parse().ok()).unwrap_or(0))
        };
        let (incarnation, epoch_floor) = (kept(INCARNATION_KEY)?, kept(EPOCH_KEY)?);
        let view = watch::Sender::new(Arc::new(ClusterView::alone(settings.me.node.clone())));
        let cluster = Self {
            store,
            dial,
            incarnation: AtomicU64::new(incarnation),
            sequence: AtomicU64::new(0),
            epoch_floor: AtomicU64::new(epoch_floor),
            is_draining: AtomicBool::new(false),
            known: Mutex::new(last_members(&local, &settings.me.node)?),
            evicted: Mutex::default(),
            store_lost: Mutex::new(None),
            lead: ArcSwap::default(),
            seen_leader: ArcSwap::default(),
            report,
            view,
            local,
            settings,
        };
        cluster.begin_life().await?;
        cluster.look(Instant::now());
        Ok(Arc::new(cluster))
    }

    /// The view as of now; a snapshot, cheap to take.
    pub fn view(&self) -> Arc<ClusterView> {
        self.view.borrow().clone()
    }

    /// Every change of the view.
    pub fn subscribe(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.view.subscribe()
    }

    /// The leadership of this node, while it may still act on it.
    pub fn lead(&self) -> Option<Lead> {
        (**self.lead.load()).clone().filter(|lead| lead.may_act(Instant::now()))
    }

    /// This life of the node.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.load(Ordering::Acquire))
    }

    /// Tells the others to send nothing new here, or to send again.
    pub fn set_draining(&self, is_draining: bool) {
        self.is_draining.store(is_draining, Ordering::Release);
        self.look(Instant::now());
    }

    /// Leaves a node out of routing until `until` although it may answer.
    pub fn evict(&self, node: NodeId, until: Instant) {
        lock(&self.evicted).insert(node, until);
        self.look(Instant::now());
    }

    /// Takes an eviction back.
    pub fn readmit(&self, node: &NodeId) {
        lock(&self.evicted).remove(node);
        self.look(Instant::now());
    }

    /// This node's newest report.
    pub fn own_report(&self) -> NodeReport {
        let mut report = (self.report)();
        report.node = self.settings.me.node.clone();
        report.incarnation = self.incarnation();
        report.sequence = self.sequence.fetch_add(1, Ordering::AcqRel) + 1;
        report.peer_address = self.settings.me.peer_address.clone();
        report.actors_address = self.settings.me.actors_address.clone();
        report.grpc_address = self.settings.me.grpc_address.clone();
        report.is_draining = self.is_draining.load(Ordering::Acquire);
        report.leads = self.lead().map(|lead| lead.epoch());
        report
    }

    /// A node told about itself, by its heartbeat or in answer to ours. Older ones than the one known are dropped.
    pub fn heard(&self, report: NodeReport) {
        if report.node == self.settings.me.node {
            tracing::warn!(node = %report.node, address = report.peer_address, "another machine uses this node's name");
            return;
        }
        let now = Instant::now();
        {
            let mut known = lock(&self.known);
            let entry = known.entry(report.node.clone()).or_insert_with(|| Known {
                member: member_of(&report),
                has_lease: false,
                heard: None,
                lost_since: None,
            });
            if !is_newer(entry.heard.as_ref().map(|(report, _)| &**report), &report) {
                return;
            }
            if report.incarnation > entry.member.incarnation {
                entry.member = member_of(&report);
            }
            entry.heard = Some((Arc::new(report), now));
        }
        self.look(now);
    }

    /// Holds this node's key under a lease and follows the others' keys, until cancelled.
    pub async fn run_membership(self: Arc<Self>, cancel: CancellationToken) {
        let follow = self.follow_members();
        let hold = self.hold_lease(&cancel);
        let look = async {
            let mut tick = tokio::time::interval(LOOK_EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                self.look(Instant::now());
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = async { tokio::join!(follow, hold, look); } => {}
        }
    }

    /// Joins under a lease; when the lease is lost, joins again as a new life. Elections run under the same lease.
    async fn hold_lease(&self, cancel: &CancellationToken) {
        let mut attempt = 0;
        loop {
            match self.join(cancel).await {
                Ok(()) => {
                    attempt = 0;
                    tracing::warn!(node = %self.settings.me.node, "lost its lease and joins again");
                    if let Err(error) = self.begin_life().await {
                        tracing::error!(error = ?error, "could not count this life of the node");
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "could not join yet");
                    let delay = LEASE_BACKOFF.delay(attempt, fastrand::f64());
                    attempt += 1;
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    /// One life: from the grant of a lease to its loss.
    async fn join(&self, cancel: &CancellationToken) -> Result<(), StoreError> {
        let lease = self.store.lease(self.settings.lease_ttl).await?;
        let member = Member { incarnation: self.incarnation(), ..self.settings.me.clone() };
        let key = format!("{MEMBERS}{}", member.node);
        self.store.commit(Txn::new().put_leased(key, member.to_bytes(), lease.id())).await?;
        tracing::info!(node = %member.node, incarnation = %member.incarnation, "joined");
        let end = cancel.child_token();
        tokio::select! {
            () = lease.lost() => {}
            () = self.run_elections(&lease, &end) => {}
        }
        self.lead.store(Arc::new(None));
        Ok(())
    }

    /// The highest epoch that this node ever saw.
    pub(crate) fn epoch_floor(&self) -> base::Epoch {
        base::Epoch(self.epoch_floor.load(Ordering::Acquire))
    }

    /// Keeps a higher epoch, durably.
    pub(crate) async fn raise_epoch_floor(&self, epoch: base::Epoch) {
        self.epoch_floor.fetch_max(epoch.0, Ordering::AcqRel);
        if let Err(error) = self.local.put_durable(EPOCH_KEY, epoch.0.to_string().as_bytes()).await {
            tracing::error!(error = ?error, "could not keep the highest epoch seen");
        }
    }

    /// Counts a new life, durably, so that no two lives of a node share a number.
    async fn begin_life(&self) -> Result<(), Fault> {
        let incarnation = self.incarnation.load(Ordering::Acquire) + 1;
        self.local.put_durable(INCARNATION_KEY, incarnation.to_string().as_bytes()).await?;
        self.incarnation.store(incarnation, Ordering::Release);
        self.sequence.store(0, Ordering::Release);
        Ok(())
    }

    async fn follow_members(&self) {
        let mut watch = self.store.watch(MEMBERS, None);
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Reset(listing) => self.members_are(listing),
                WatchEvent::Put(entry) => self.member_is(&entry.key, &entry.value),
                WatchEvent::Deleted { key, .. } => self.member_left(&key),
                WatchEvent::Damaged(damaged) => {
                    tracing::error!(key = damaged.key, reason = damaged.reason, "a member's key is damaged");
                }
            }
            self.look(Instant::now());
        }
    }

    fn members_are(&self, listing: Listing) {
        for known in lock(&self.known).values_mut() {
            known.has_lease = false;
        }
        for entry in &listing.entries {
            self.member_is(&entry.key, &entry.value);
        }
    }

    fn member_is(&self, key: &str, value: &[u8]) {
        let member: Member = match serde_json::from_slice(value) {
            Ok(member) => member,
            Err(error) => {
                tracing::error!(key, %error, "a member's key cannot be read");
                return;
            }
        };
        if member.node == self.settings.me.node {
            return;
        }
        let mut known = lock(&self.known);
        let entry = known.entry(member.node.clone()).or_insert_with(|| Known {
            member: member.clone(),
            has_lease: true,
            heard: None,
            lost_since: None,
        });
        entry.has_lease = true;
        entry.member = member;
    }

    fn member_left(&self, key: &str) {
        let name = NodeId::new(key.strip_prefix(MEMBERS).unwrap_or(key));
        if let Some(known) = lock(&self.known).get_mut(&name) {
            known.has_lease = false;
        }
    }

    /// Makes the view anew and publishes it when it says something new.
    pub(crate) fn look(&self, now: Instant) {
        let stale_since = self.stale_since(now);
        let mut nodes = vec![self.own_node(stale_since.is_some())];
        {
            let mut known = lock(&self.known);
            let evicted = lock(&self.evicted);
            for (name, node) in known.iter_mut() {
                let mut state = state_of(node, self.settings.patience, now);
                node.lost_since = if state == NodeState::Lost { node.lost_since.or(Some(now)) } else { None };
                if state.is_routable() && evicted.get(name).is_some_and(|until| *until > now) {
                    state = NodeState::Suspect;
                }
                let (report, heard) = node.heard.clone().unzip();
                nodes.push(NodeView { state, member: node.member.clone(), report, heard });
            }
            known.retain(|_, node| !is_forgotten(node, self.settings.patience, now));
        }
        nodes.sort_by(|a, b| a.member.node.cmp(&b.member.node));
        self.publish(nodes, stale_since);
    }

    fn publish(&self, nodes: Vec<NodeView>, stale_since: Option<Instant>) {
        let leader = (**self.seen_leader.load()).clone();
        let mut has_new_members = false;
        self.view.send_if_modified(|view| {
            let next = ClusterView { me: view.me.clone(), nodes, leader, stale_since, version: view.version + 1 };
            let changed = !next.is_like(view);
            has_new_members = changed;
            let has_new_reports = next.nodes.iter().zip(&view.nodes).any(|(a, b)| a.heard != b.heard);
            let is_news = changed || has_new_reports || view.nodes.is_empty();
            if is_news {
                *view = Arc::new(next);
            }
            is_news
        });
        if has_new_members {
            self.remember_members();
        }
    }

    /// Keeps the members for a start without the store; losing this costs a slower start, so it is not made durable.
    fn remember_members(&self) {
        let members: Vec<Member> = lock(&self.known).values().map(|known| known.member.clone()).collect();
        let saved = serde_json::to_vec(&members).map_err(|error| error.to_string());
        let saved = saved.and_then(|bytes| self.local.put(LAST_MEMBERS_KEY, &bytes).map_err(|error| error.to_string()));
        if let Err(error) = saved {
            tracing::warn!(error, "could not keep the last known members");
        }
    }

    fn own_node(&self, is_stale: bool) -> NodeView {
        let state = match (self.is_draining.load(Ordering::Acquire), is_stale) {
            (true, _) => NodeState::Draining,
            (false, true) => NodeState::Stale,
            (false, false) => NodeState::Alive,
        };
        let member = Member { incarnation: self.incarnation(), ..self.settings.me.clone() };
        NodeView { state, member, report: None, heard: None }
    }

    fn stale_since(&self, now: Instant) -> Option<Instant> {
        let mut lost = lock(&self.store_lost);
        *lost = if self.store.health().reachable { None } else { lost.or(Some(now)) };
        *lost
    }

    /// The peers to send heartbeats to, with their addresses.
    pub(crate) fn peers(&self) -> Vec<Member> {
        let known = lock(&self.known);
        known.values().map(|known| known.member.clone()).filter(|member| !member.peer_address.is_empty()).collect()
    }
}

/// The members that were known when this node last ran: without a lease, until the store or a heartbeat says more.
fn last_members(local: &Table, me: &NodeId) -> Result<HashMap<NodeId, Known>, Fault> {
    let Some(bytes) = local.get(LAST_MEMBERS_KEY)? else { return Ok(HashMap::new()) };
    let members: Vec<Member> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, "the last known members cannot be read; starting without them");
        Vec::new()
    });
    let known = |member: Member| Known { member, has_lease: false, heard: None, lost_since: None };
    let others = members.into_iter().filter(|member| &member.node != me);
    Ok(others.map(|member| (member.node.clone(), known(member))).collect())
}

fn member_of(report: &NodeReport) -> Member {
    Member {
        node: report.node.clone(),
        incarnation: report.incarnation,
        peer_address: report.peer_address.clone(),
        actors_address: report.actors_address.clone(),
        grpc_address: report.grpc_address.clone(),
    }
}

/// What is known stays usable when a thread died while it held it: each entry is whole by itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
