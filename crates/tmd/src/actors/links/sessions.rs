//! The sessions with other nodes: each is young until it is proven, then linked, and closed when it falls silent.
//!
//! Closing only asks the session to stop; it is gone when its end is reported.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base::NodeId;
use ractor::ActorRef;
use ractor_cluster::NodeSessionMessage;
use ractor_cluster::node::NodeServerSessionInformation;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::roster::Roster;
use super::wire::{claimed_node, label_of};

/// A session that is not linked by then is closed; it takes milliseconds.
const LINKED_WITHIN: Duration = Duration::from_secs(5);
/// This many answers in a row may be missed; frozen counts as dead.
const MISSES_ALLOWED: u32 = 3;

/// The sessions, by the label of their connection.
#[derive(Default)]
pub(super) struct Sessions {
    sessions: BTreeMap<u64, Session>,
    next_label: u64,
    opened: u64,
    closed_silent: u64,
    /// Connections that were not let in, and sessions whose node is not who it claims to be.
    pub refused: u64,
}

struct Session {
    /// Proven by a certificate, or claimed together with the cookie where there is no TLS.
    node: Option<NodeId>,
    dialled: bool,
    since: Instant,
    actor: Option<ActorRef<NodeSessionMessage>>,
    /// What ractor_cluster calls the other node while it is linked.
    linked: Option<u64>,
    misses: u32,
    notices: u64,
    hinted: bool,
    _room: Option<OwnedSemaphorePermit>,
}

/// What is to be done about a session that ended.
pub(super) struct Ended {
    /// Who was at the other end.
    pub node: Option<NodeId>,
    /// Whether this node dialled it and has no other one, and so dials again.
    pub dial_again: bool,
    /// Whether it ever worked.
    pub was_linked: bool,
    /// Whether somebody must look, and was not told so before.
    pub hint: bool,
}

impl Sessions {
    /// A connection that becomes a session; its label.
    pub fn add(
        &mut self,
        node: Option<NodeId>,
        dialled: bool,
        room: Option<OwnedSemaphorePermit>,
        now: Instant,
    ) -> u64 {
        let label = self.next_label;
        self.next_label += 1;
        let session = Session {
            node,
            dialled,
            since: now,
            actor: None,
            linked: None,
            misses: 0,
            notices: 0,
            hinted: false,
            _room: room,
        };
        self.sessions.insert(label, session);
        label
    }

    /// Its actor runs.
    pub fn opened(&mut self, information: &NodeServerSessionInformation) {
        self.opened += 1;
        match self.of(information) {
            Some(session) => session.actor = Some(information.actor.clone()),
            None => information.actor.stop(Some("not ours".to_owned())),
        }
    }

    /// Both ends know the cookie: the name that the other one claims must be that of its certificate.
    pub fn authenticated(&mut self, information: &NodeServerSessionInformation, roster: &Roster) {
        let claimed = claimed_node(information);
        let Some(session) = self.of(information) else { return };
        let is_believed = match (&session.node, &claimed) {
            (Some(proven), Some(claimed)) => proven == claimed,
            (None, Some(claimed)) => roster.admits(claimed).is_ok(),
            (_, None) => false,
        };
        if is_believed {
            session.node = claimed;
            return;
        }
        tracing::warn!(node = ?session.node, claimed = ?claimed, "refused a link: the node is not who it claims to be");
        session.close("not who it claims to be");
        self.refused += 1;
    }

    /// It is linked; with whom, if it is believed.
    pub fn ready(&mut self, information: &NodeServerSessionInformation) -> Option<NodeId> {
        let session = self.of(information)?;
        if session.node.is_none() || session.node != claimed_node(information) {
            return None;
        }
        session.linked = Some(information.node_id);
        session.node.clone()
    }

    /// It is gone.
    pub fn ended(&mut self, information: &NodeServerSessionInformation) -> Option<Ended> {
        let session = self.sessions.remove(&label_of(information)?)?;
        let was_linked = session.linked.is_some();
        let has_other = self.sessions.values().any(|other| other.dialled && other.node == session.node);
        let dial_again = session.dialled && !has_other;
        Some(Ended { node: session.node, dial_again, was_linked, hint: was_linked && !session.hinted })
    }

    /// The actor at the other end of the link `node_id` ended; the node, if nobody was told yet.
    pub fn other_end_left(&mut self, node_id: u64) -> Option<NodeId> {
        let session = self.sessions.values_mut().find(|session| session.linked == Some(node_id))?;
        let was_hinted = std::mem::replace(&mut session.hinted, true);
        session.node.clone().filter(|_| !was_hinted)
    }

    /// A question was answered, or not in time; who misses too many is let go.
    pub fn answered(&mut self, label: u64, answered: bool) {
        let Some(session) = self.sessions.get_mut(&label) else { return };
        if answered {
            session.misses = 0;
            session.hinted = false;
            return;
        }
        session.misses += 1;
        if session.misses == MISSES_ALLOWED {
            tracing::warn!(node = ?session.node, misses = session.misses, "closed a link that fell silent");
            session.close("fell silent");
            self.closed_silent += 1;
        }
    }

    /// A notice of `node` came; `false` when it is not linked.
    pub fn noticed(&mut self, node: &NodeId) -> bool {
        let Some(session) = self.sessions.values_mut().find(|session| session.is_link_with(node)) else { return false };
        session.notices += 1;
        true
    }

    /// Closes what is not linked in time, and links with nodes that left the cluster. Names those to dial again because
    /// not even an actor came of their connection, so that no end will be reported.
    pub fn close_what_must_go(&mut self, roster: &Roster, now: Instant) -> Vec<NodeId> {
        let mut unborn = Vec::new();
        self.sessions.retain(|_, session| {
            let is_late = session.linked.is_none() && now.saturating_duration_since(session.since) >= LINKED_WITHIN;
            let is_member = session.node.as_ref().is_none_or(|node| roster.peer(node).is_some());
            if is_late {
                session.close("not linked in time");
            } else if !is_member {
                session.close("not a member any more");
            }
            let is_unborn = is_late && session.actor.is_none();
            if is_unborn && session.dialled {
                unborn.extend(session.node.clone());
            }
            !is_unborn
        });
        unborn
    }

    /// Closes the accepted sessions with `node`.
    pub fn close_of(&mut self, node: &NodeId, why: &str) {
        for session in self.sessions.values_mut().filter(|session| session.node.as_ref() == Some(node)) {
            session.close(why);
        }
    }

    /// The label of each link, and what ractor_cluster calls its node.
    pub fn linked(&self) -> Vec<(u64, u64)> {
        self.sessions.iter().filter_map(|(label, session)| Some((*label, session.linked?))).collect()
    }

    /// The link with `node`, for people.
    pub fn picture(&self, node: &NodeId) -> Option<Value> {
        let session = self.sessions.values().find(|session| session.is_link_with(node))?;
        Some(json!({"dialled": session.dialled, "misses": session.misses, "notices": session.notices}))
    }

    /// All of them in numbers.
    pub fn totals(&self) -> Value {
        json!({
            "now": self.sessions.len(), "linked": self.linked().len(), "opened": self.opened,
            "refused": self.refused, "closed_silent": self.closed_silent,
        })
    }

    fn of(&mut self, information: &NodeServerSessionInformation) -> Option<&mut Session> {
        self.sessions.get_mut(&label_of(information)?)
    }
}

impl Session {
    fn is_link_with(&self, node: &NodeId) -> bool {
        self.linked.is_some() && self.node.as_ref() == Some(node)
    }

    fn close(&self, why: &str) {
        if let Some(actor) = &self.actor {
            actor.stop(Some(why.to_owned()));
        }
    }
}
