//! What is known of another node, and what that makes it to us. Pure: time comes in as a [`Moment`].
//!
//! Two witnesses speak for a node: its lease in the store and its heartbeats to us. Both good = alive; heartbeats alone =
//! stale (routable); the lease alone = suspect (not routed); neither = lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::report::{NodeReport, NodeState};

use crate::view::Member;

/// A node whose heartbeats broke off within this time before is not trusted at once when they come back.
const CALM: Duration = Duration::from_secs(60);
/// The longest that heartbeats must be steady before a node that flaps is trusted again.
const LONGEST_PROBATION: Duration = Duration::from_secs(30);

/// Times that tell the states apart.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Heartbeats older than this are late.
    pub suspect_after: Duration,
    /// A lost node is forgotten after this.
    pub forget_after: Duration,
}

/// When a node is looked at, and what else counts then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub now: Instant,
    /// Since when the store has not answered.
    pub stale_since: Option<Instant>,
    pub lease_ttl: Duration,
    pub patience: Patience,
}

/// Another node.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Its own words, the newest of those in the store and in its reports.
    pub member: Member,
    /// Whether its lease is there, as the store told last.
    pub has_lease: bool,
    /// Its newest report and when it came, on our clock.
    pub heard: Option<(Arc<NodeReport>, Instant)>,
    /// Since when it has been lost; `None` while it is not.
    pub lost_since: Option<Instant>,
    /// Since when its heartbeats have come without a break.
    steady_since: Option<Instant>,
    /// How often they broke off, until it was calm for a while.
    breaks: u32,
    /// Nobody answered at its address since it was heard.
    is_gone: bool,
}

/// Whether a report is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is news.
    Taken,
    /// A newer one came before.
    Old,
    /// It comes from another machine than the one that holds the name's lease.
    Disputed,
}

/// What the store says for a node.
enum Lease {
    Held,
    /// The store is away, but not for so long that the lease must have ended.
    Unknown,
    Gone,
}

impl Known {
    /// A node that nobody has spoken for yet.
    pub fn new(member: Member) -> Self {
        Self { member, has_lease: false, heard: None, lost_since: None, steady_since: None, breaks: 0, is_gone: false }
    }

    /// The store names the node: what it says replaces what was heard.
    ///
    /// It may name an earlier life than the one that was heard, where a machine lost its disk and counts anew.
    pub fn is_named(&mut self, member: Member) {
        self.heard.take_if(|(report, _)| report.incarnation > member.incarnation);
        self.has_lease = true;
        self.member = member;
    }

    /// The node told about itself.
    pub fn hear(&mut self, report: NodeReport, at: &Moment) -> Verdict {
        let verdict = self.judge(&report, at);
        if verdict != Verdict::Taken {
            return verdict;
        }
        match &self.heard {
            // A restart is not a flap.
            Some((last, _)) if last.incarnation < report.incarnation => (self.steady_since, self.breaks) = (None, 0),
            Some((_, heard)) if is_late(*heard, at) => self.breaks_off(*heard),
            _ => {}
        }
        self.steady_since.get_or_insert(at.now);
        if report.incarnation > self.member.incarnation {
            self.member = Member::of(&report);
        }
        self.heard = Some((Arc::new(report), at.now));
        self.is_gone = false;
        verdict
    }

    /// Connections to it are refused or break: it is silent already, unless its own heartbeats still come through.
    pub fn nobody_answers(&mut self, now: Instant, heartbeat: Duration) {
        self.is_gone |= self.heard.as_ref().is_some_and(|(_, heard)| now.saturating_duration_since(*heard) > heartbeat);
    }

    fn judge(&self, report: &NodeReport, at: &Moment) -> Verdict {
        let newest = self.heard.as_ref().map(|(report, _)| (report.incarnation, report.sequence));
        if report.incarnation < self.member.incarnation
            || newest.is_some_and(|newest| newest >= (report.incarnation, report.sequence))
        {
            return Verdict::Old;
        }
        // A machine that comes back at another address waits for its old lease to end, like any other would.
        let is_elsewhere = report.peer_address != self.member.peer_address;
        let is_of_another_life = report.incarnation != self.member.incarnation;
        match self.lease(at) {
            Lease::Held if is_elsewhere && is_of_another_life => Verdict::Disputed,
            _ => Verdict::Taken,
        }
    }

    /// The heartbeats had broken off after `last`.
    fn breaks_off(&mut self, last: Instant) {
        let steady_for = self.steady_since.take().map_or(Duration::ZERO, |since| last.saturating_duration_since(since));
        self.breaks = if steady_for > CALM { 1 } else { self.breaks + 1 };
    }

    /// What the node is to us.
    pub fn state(&self, at: &Moment) -> NodeState {
        let is_heard = |heard: Instant| !self.is_gone && !is_late(heard, at);
        let report = self.heard.as_ref().filter(|(_, heard)| is_heard(*heard)).map(|(report, _)| report);
        match (self.lease(at), report) {
            (_, Some(report)) if report.is_draining => NodeState::Draining,
            (_, Some(_)) if self.is_on_probation(at) => NodeState::Suspect,
            (Lease::Held, Some(_)) => NodeState::Alive,
            (Lease::Unknown | Lease::Gone, Some(_)) => NodeState::Stale,
            (Lease::Held | Lease::Unknown, None) => NodeState::Suspect,
            (Lease::Gone, None) => NodeState::Lost,
        }
    }

    fn lease(&self, at: &Moment) -> Lease {
        match at.stale_since {
            _ if !self.has_lease => Lease::Gone,
            None => Lease::Held,
            Some(since) if at.now.saturating_duration_since(since) < at.lease_ttl => Lease::Unknown,
            Some(_) => Lease::Gone,
        }
    }

    /// After the first break a node is trusted at once; each further one doubles how long it must be heard before.
    fn is_on_probation(&self, at: &Moment) -> bool {
        let (Some(since), Some((_, last))) = (self.steady_since, &self.heard) else { return false };
        if self.breaks < 2 {
            return false;
        }
        let probation = at.patience.suspect_after.saturating_mul(1 << (self.breaks - 1).min(16));
        last.saturating_duration_since(since) < probation.min(LONGEST_PROBATION)
    }

    /// This node stood still for `pause`: what it could not hear then does not count as silence.
    pub fn forgive(&mut self, pause: Duration, now: Instant) {
        if let Some((_, heard)) = &mut self.heard {
            *heard = (*heard + pause).min(now);
        }
    }

    /// Whether it has been lost for so long that nobody needs to know of it any more. One whose lease is only not known
    /// to be there is kept: the store tells of changes, so it may never name that node again.
    pub fn is_forgotten(&self, at: &Moment) -> bool {
        !self.has_lease
            && self.lost_since.is_some_and(|since| at.now.saturating_duration_since(since) > at.patience.forget_after)
    }
}

fn is_late(heard: Instant, at: &Moment) -> bool {
    at.now.saturating_duration_since(heard) > at.patience.suspect_after
}

#[cfg(test)]
mod tests;
