//! This node's place in the cluster: the picture that its loops draw together, and the view that others read of it.
//!
//! Whatever changes in the picture makes a new [`ClusterView`] when it says something new.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use base::report::{NodeReport, NodeState};
use base::{Epoch, Fault, Incarnation, NodeId};
use store::local::Table;
use store::{LeaseId, SharedStore};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::election::Lead;
use crate::heartbeat::Dial;
use crate::known::{Known, Moment, Patience, Verdict};
use crate::memory::Memory;
use crate::view::{ClusterView, Member, NodeView};

/// Two machines that use one name are a lasting state; it is told this often.
const TELL_DISPUTE_EVERY: Duration = Duration::from_secs(60);

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
    pub(crate) memory: Memory,
    pub(crate) lead: ArcSwapOption<Lead>,
    /// Something happened to this node's own key.
    pub(crate) own_key: Notify,
    /// Cancelled by [`Cluster::leave`].
    pub(crate) left: CancellationToken,
    report: Box<dyn Fn() -> NodeReport + Send + Sync>,
    sequence: AtomicU64,
    is_draining: AtomicBool,
    picture: Mutex<Picture>,
    view: watch::Sender<Arc<ClusterView>>,
}

/// What the loops draw.
#[derive(Default)]
pub(crate) struct Picture {
    pub known: HashMap<NodeId, Known>,
    /// The lease that this node is a member by.
    pub lease: Option<LeaseId>,
    leader: Option<(NodeId, Epoch)>,
    /// Nodes that are not to be routed to, and until when.
    evicted: HashMap<NodeId, Instant>,
    dispute_told: Option<Instant>,
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
        let memory = Memory::open(local)?;
        memory.begin_life().await?;
        let others = memory.members()?.into_iter().filter(|member| member.node != settings.me.node);
        let known = others.map(|member| (member.node.clone(), Known::new(member))).collect();
        let cluster = Self {
            view: watch::Sender::new(Arc::new(ClusterView::alone(settings.me.node.clone()))),
            picture: Mutex::new(Picture { known, ..Picture::default() }),
            settings,
            store,
            dial,
            memory,
            lead: ArcSwapOption::empty(),
            own_key: Notify::new(),
            left: CancellationToken::new(),
            report,
            sequence: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
        };
        cluster.look();
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
        let lead = self.lead.load_full()?;
        (!self.left.is_cancelled() && lead.may_act(Instant::now())).then(|| Lead::clone(&lead))
    }

    /// This life of the node.
    pub fn incarnation(&self) -> Incarnation {
        self.memory.incarnation()
    }

    /// Tells the others to send nothing new here, or to send again.
    pub fn set_draining(&self, is_draining: bool) {
        self.is_draining.store(is_draining, Ordering::Release);
        self.look();
    }

    /// Leaves a node out of routing until `until` although it may answer.
    pub fn evict(&self, node: NodeId, until: Instant) {
        self.draw(|picture| {
            picture.evicted.insert(node, until);
        });
    }

    /// Nobody answers at the node's address: what it said longer ago than `patience` counts no more, until it is heard again.
    pub(crate) fn is_gone(&self, node: &NodeId, patience: Duration) {
        let now = Instant::now();
        self.draw(|picture| {
            if let Some(known) = picture.known.get_mut(node) {
                known.nobody_answers(now, patience);
            }
        });
    }

    /// Takes an eviction back.
    pub fn readmit(&self, node: &NodeId) {
        self.draw(|picture| {
            picture.evicted.remove(node);
        });
    }

    /// This node's newest report.
    pub fn own_report(&self) -> NodeReport {
        let mut report = (self.report)();
        let me = &self.settings.me;
        report.node = me.node.clone();
        report.incarnation = self.incarnation();
        // It never starts over, so a report drawn while a life begins cannot hide those after it.
        report.sequence = self.sequence.fetch_add(1, Ordering::AcqRel) + 1;
        report.peer_address = me.peer_address.clone();
        report.actors_address = me.actors_address.clone();
        report.grpc_address = me.grpc_address.clone();
        report.is_draining = self.is_draining.load(Ordering::Acquire);
        report.leads = self.lead().map(|lead| lead.epoch());
        report
    }

    /// A node told about itself, by its heartbeat or in answer to ours. Older ones than the one known are dropped.
    pub fn heard(&self, report: NodeReport) {
        let (name, address) = (report.node.clone(), report.peer_address.clone());
        let at = self.moment();
        self.draw(|picture| {
            let is_disputed = if name == *self.me() {
                // Its own voice, by an address that another node had before it.
                report.incarnation != self.incarnation()
            } else {
                let known = picture.known.entry(name.clone()).or_insert_with(|| Known::new(Member::of(&report)));
                known.hear(report, &at) == Verdict::Disputed
            };
            if is_disputed && picture.may_tell_dispute(at.now) {
                tracing::warn!(node = %name, address, "two machines use one name; give each its own `node.name`");
            }
        });
    }

    pub(crate) fn me(&self) -> &NodeId {
        &self.settings.me.node
    }

    /// This node as it stands in the store in this life.
    pub(crate) fn own_member(&self) -> Member {
        Member { incarnation: self.incarnation(), ..self.settings.me.clone() }
    }

    pub(crate) fn note_leader(&self, leader: Option<(NodeId, Epoch)>) {
        self.draw(|picture| picture.leader = leader);
    }

    /// The other nodes that can be called, and whether each is lost.
    pub(crate) fn peers(&self) -> Vec<(Member, bool)> {
        let picture = self.picture();
        let peers = picture.known.values().filter(|known| !known.member.peer_address.is_empty());
        peers.map(|known| (known.member.clone(), known.lost_since.is_some())).collect()
    }

    pub(crate) fn moment(&self) -> Moment {
        let health = self.store.health();
        Moment {
            now: Instant::now(),
            stale_since: (!health.reachable).then_some(health.since),
            lease_ttl: self.settings.lease_ttl,
            patience: self.settings.patience,
        }
    }

    /// Changes the picture, then looks at it anew.
    pub(crate) fn draw<T>(&self, change: impl FnOnce(&mut Picture) -> T) -> T {
        let mut picture = self.picture();
        let changed = change(&mut picture);
        self.look_at(&mut picture);
        changed
    }

    /// Looks at the picture anew: time alone changes states, too.
    pub(crate) fn look(&self) {
        self.draw(|_| ());
    }

    fn look_at(&self, picture: &mut Picture) {
        let at = self.moment();
        let mut nodes = picture.others(&at);
        nodes.push(self.own_view(picture.lease.is_some() && at.stale_since.is_none()));
        nodes.sort_unstable_by(|a, b| a.member.node.cmp(&b.member.node));
        let leader = picture.leader.clone();
        let stale_since = at.stale_since;
        let mut has_changed = false;
        self.view.send_if_modified(|view| {
            let next = ClusterView { me: view.me.clone(), nodes, leader, stale_since, version: view.version + 1 };
            has_changed = !next.is_like(view);
            let is_news = has_changed || !next.has_the_reports_of(view);
            if is_news {
                *view = Arc::new(next);
            }
            is_news
        });
        if has_changed {
            let members: Vec<Member> = picture.known.values().map(|known| known.member.clone()).collect();
            self.memory.keep_members(&members);
        }
    }

    fn own_view(&self, is_vouched_for: bool) -> NodeView {
        let state = match is_vouched_for {
            _ if self.is_draining.load(Ordering::Acquire) => NodeState::Draining,
            true => NodeState::Alive,
            false => NodeState::Stale,
        };
        NodeView { state, member: self.own_member(), report: None, heard: None }
    }

    /// What is drawn stays usable when a thread died while it held it: each node in it is whole by itself.
    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Picture {
    /// The other nodes as they are at that moment; those to forget are forgotten.
    fn others(&mut self, at: &Moment) -> Vec<NodeView> {
        self.evicted.retain(|_, until| *until > at.now);
        self.known.retain(|_, known| !known.is_forgotten(at));
        let evicted = &self.evicted;
        let view = |(name, known): (&NodeId, &mut Known)| {
            let mut state = known.state(at);
            known.lost_since = (state == NodeState::Lost).then(|| known.lost_since.unwrap_or(at.now));
            if state.is_routable() && evicted.contains_key(name) {
                state = NodeState::Suspect;
            }
            let (report, heard) = known.heard.clone().unzip();
            NodeView { state, member: known.member.clone(), report, heard }
        };
        self.known.iter_mut().map(view).collect()
    }

    fn may_tell_dispute(&mut self, now: Instant) -> bool {
        let is_due = self.dispute_told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_DISPUTE_EVERY);
        if is_due {
            self.dispute_told = Some(now);
        }
        is_due
    }
}
