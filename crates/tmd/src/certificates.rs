//! The certificate of this node while it runs: noticed when its files change, renewed in time by whichever node holds an
//! issuer, measured, and complained about when it nears its end all the same.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use base::config::Config;
use base::report::NodeState;
use base::retry::Backoff;
use base::time::{rfc3339, unix_ms};
use base::{Code, Fault, NodeId, Result};
use net::Identity;
use net::certificate::{Facts, Revocation, Serial, is_revoked};
use net::identity::Due;
use proto::admin::{
    GetStoreResponse, House, HouseBackup, RevokeCertificatesRequest, RevokeCertificatesResponse, RevokedCertificate,
};
use proto::node::RenewCertificateRequest;

use crate::core::{Core, Seen};
use crate::failures::{FailureKind, Severity, Sighting, Subject};
use crate::peers::{CALL_WITHIN, within};
use crate::settings;

/// Between two looks at the files: a renewed certificate should not wait for long, and the files are small.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A renewal that failed is tried again; a third of a certificate's life is left for it.
const TRY_AGAIN: Backoff = Backoff { first: Duration::from_secs(2), most: Duration::from_secs(600), jitter: 0.3 };
/// The same while the only issuer is of the old CA, which its owner changes by hand.
const TRY_FOR_NEW_ROOT: Backoff = Backoff { first: Duration::from_secs(2), most: Duration::from_secs(15), jitter: 0.3 };
/// Until then the connections of whoever is refused have ended.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
const DAY_S: i64 = 86_400;
/// No certificate of a node or an issuer lasts longer; what was revoked before has ended.
const LONGEST_LIFE_S: i64 = 400 * DAY_S;

/// How bad it is that a certificate has so many seconds left.
fn alarm(left_s: i64) -> Option<Severity> {
    if left_s <= DAY_S {
        return Some(Severity::Critical);
    }
    if left_s <= 7 * DAY_S {
        return Some(Severity::High);
    }
    (left_s <= 30 * DAY_S).then_some(Severity::Medium)
}

/// Keeps the certificate good for as long as it is polled.
pub async fn keep(core: Arc<Core>) {
    let Some(identity) = core.identity.clone() else { return std::future::pending().await };
    let (mut told, mut renewal, mut unusable) = (HashMap::new(), Renewal::default(), None);
    loop {
        if look_again(&core, &identity, &mut unusable).await {
            renewal = Renewal::default();
        }
        if let Some(due) = identity.due(now_s()).filter(|_| renewal.is_time(Instant::now())) {
            let renewed = renew(&core, &identity).await;
            renewal.tried(&core, due, renewed);
        }
        complain(&core, &identity.certificates(), now_s(), &mut told);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Gives the node up where its own certificate is refused by the cluster: whoever holds it is a stranger there, leads
/// nothing and writes nothing.
pub fn judge_own(core: &Core) {
    let Some(fault) = own_refusal(core) else { return };
    tracing::error!(error = %fault.full_message(), "the certificate of this node was revoked; the node stops");
    core.degrade("certificates", Some(fault.full_message()));
    let subject = Subject::Other(format!("certificate node of {}", core.node));
    let (kind, severity, detail) = (FailureKind::Security, Severity::Critical, fault.full_message());
    core.tell(Seen::Wrong(Sighting { subject, kind, severity, detail }));
    core.expelled.cancel();
}

/// Why this node is none of the cluster any more; `None` while it is.
pub fn own_refusal(core: &Core) -> Option<Fault> {
    let identity = core.identity.as_ref()?;
    let is_refused = || is_revoked(&core.revoked.load(), &identity.certificate());
    if !is_refused() {
        return None;
    }
    // A newer certificate may lie there already; files that cannot be used leave the one that is refused.
    if let Err(fault) = identity.look_again() {
        tracing::warn!(error = %fault.full_message(), "the files of the certificate cannot be used");
    }
    is_refused().then(|| {
        let facts = identity.certificate();
        let (node, serial) = (&core.node, &facts.serial);
        Fault::new(Code::PermissionDenied, format!("the certificate of node `{node}` (serial {serial}) was revoked"))
            .hint(format!(
                "if it shall belong to the cluster again, make a new one (`tmctl ca issue {node} --yes`), copy its files \
                 here, and start it; else wipe its data"
            ))
    })
}

/// When to try to renew, and how often it failed.
#[derive(Default)]
struct Renewal {
    failed: u32,
    not_before: Option<Instant>,
}

impl Renewal {
    fn is_time(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| now >= at)
    }

    fn tried(&mut self, core: &Core, due: Due, renewed: Result<NodeId>) {
        match renewed {
            Ok(issuer) => {
                *self = Self::default();
                tracing::info!(%issuer, reason = ?due, "the certificate of this node was renewed");
                core.happened("certificate", core.node.as_str(), format!("was renewed by {issuer}"));
            }
            Err(fault) => {
                let backoff = if due == Due::OldRoot { TRY_FOR_NEW_ROOT } else { TRY_AGAIN };
                let wait = backoff.delay(self.failed, fastrand::f64());
                self.failed += 1;
                self.not_before = Some(Instant::now() + wait);
                let again_in = base::units::format_duration(wait);
                tracing::warn!(error = fault.full_message(), again_in, "could not renew the certificate of this node");
            }
        }
    }
}

/// Whether the files changed, and can be used. `unusable` is why they could not the last time.
async fn look_again(core: &Core, identity: &Arc<Identity>, unusable: &mut Option<String>) -> bool {
    let looking = identity.clone();
    // Files may lie on a disk that sleeps.
    let looked = tokio::task::spawn_blocking(move || looking.look_again()).await;
    let looked = looked.unwrap_or_else(|error| Err(Fault::internal("reading the certificate failed").because(error)));
    match looked {
        Ok(is_new) => {
            if unusable.take().is_some() {
                core.degrade("certificates", None);
            }
            if is_new {
                let serial = identity.certificate().serial;
                tracing::info!(%serial, "the files of the certificate changed; connections from now on use them");
            }
            is_new
        }
        Err(fault) => {
            let text = format!("{}; the certificate before stays in use", fault.full_message());
            if unusable.as_ref() != Some(&text) {
                tracing::warn!(error = text, "the files of the certificate changed, and cannot be used");
                core.degrade("certificates", Some(text.clone()));
                *unusable = Some(text);
            }
            false
        }
    }
}

/// Has a new key signed, here or by the first other node that does it; whose issuer it was.
async fn renew(core: &Core, identity: &Identity) -> Result<NodeId> {
    let request = identity.request()?;
    if identity.issues() {
        let chain = identity.issue_for(&identity.certificate(), &request.csr, now_s())?;
        identity.adopt(&request, &chain, now_s())?;
        return Ok(core.node.clone());
    }
    let view = core.cluster()?.view();
    let others = view.nodes.iter().filter(|node| node.member.node != core.node && node.state != NodeState::Lost);
    let mut refusal = None;
    for node in others.map(|node| &node.member.node) {
        let signed = sign_at(core, node, &request.csr).await;
        match signed.and_then(|chain| identity.adopt(&request, &chain, now_s())) {
            Ok(()) => return Ok(node.clone()),
            // Most nodes hold no issuer, and one of an older release does not know the call.
            Err(fault) if fault.code == Code::NotSupported => {}
            Err(fault) => refusal = Some(fault),
        }
    }
    Err(refusal.unwrap_or_else(|| {
        Fault::unavailable("no node of the cluster issues certificates").hint(
            "let one hold an issuer (`tmctl ca issuer NAME`), or issue by hand: `tmctl ca renew NAME`, and copy its files",
        )
    }))
}

async fn sign_at(core: &Core, node: &NodeId, csr: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut client = core.peers.client_of(core, node)?;
    let request = RenewCertificateRequest { csr: csr.to_vec().into() };
    let signed = within(CALL_WITHIN, node, client.renew_certificate(request)).await?;
    Ok(signed.chain.into_iter().map(Into::into).collect())
}

/// Signs for another node, whose certificate its connection has proved.
pub fn sign_for(core: &Core, peer: Option<&Facts>, csr: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (Some(identity), Some(peer)) = (&core.identity, peer) else {
        return Err(Fault::new(Code::PermissionDenied, "only a node that shows a certificate gets another one")
            .hint("set `[tls]` on both nodes"));
    };
    let chain = identity.issue_for(peer, csr, now_s())?;
    let node = peer.node().unwrap_or_else(|| NodeId::from("unnamed"));
    tracing::info!(%node, before = %peer.serial, "issued a certificate");
    Ok(chain)
}

/// Notes a failure when a certificate comes nearer to its end, and that it is over when there is a new one.
fn complain(
    core: &Core,
    certificates: &[(&'static str, Facts)],
    now_s: i64,
    told: &mut HashMap<&'static str, Severity>,
) {
    for (kind, facts) in certificates {
        let subject = Subject::Other(format!("certificate {kind} of {}", core.node));
        match alarm(facts.ends_s - now_s) {
            Some(severity) if told.get(kind) != Some(&severity) => {
                told.insert(kind, severity);
                let detail = ending(core, kind, facts, now_s);
                tracing::warn!(kind, detail, "a certificate nears its end");
                core.tell(Seen::Wrong(Sighting { subject, kind: FailureKind::Security, severity, detail }));
            }
            None if told.remove(kind).is_some() => core.tell(Seen::Works(subject)),
            _ => {}
        }
    }
}

fn ending(core: &Core, kind: &str, facts: &Facts, now_s: i64) -> String {
    let at = rfc3339(u64::try_from(facts.ends_s).unwrap_or(0).saturating_mul(1000));
    let left = facts.ends_s - now_s;
    let when = match left {
        ..=0 => format!("ended at {at}"),
        1..=DAY_S => format!("ends within a day, at {at}"),
        _ => format!("ends in {} days, at {at}", left / DAY_S),
    };
    let name = &core.node;
    let what = match kind {
        "node" => format!("`tmctl ca renew {name}` makes the next one by hand"),
        "issuer" => format!("`tmctl ca issuer {name} --yes` makes the next one"),
        _ => "`tmctl ca init --next` makes the next one".to_owned(),
    };
    format!("{when}; {what}")
}

/// The seconds that are left of each certificate of this node, by what it is (`node`, `issuer`, `ca`, `old-ca`).
pub fn seconds_left(core: &Core) -> impl Iterator<Item = (&'static str, i64)> {
    let now = now_s();
    let certificates = core.identity.iter().flat_map(|identity| identity.certificates());
    certificates.map(move |(kind, facts)| (kind, facts.ends_s - now))
}

/// Makes certificates worthless everywhere.
pub async fn revoke(core: &Core, request: RevokeCertificatesRequest) -> Result<RevokeCertificatesResponse> {
    let fresh: Vec<Revocation> = request.revoked.into_iter().map(revocation).collect::<Result<_>>()?;
    if fresh.is_empty() {
        return Err(Fault::invalid("field `revoked` is empty").hint("name a serial or a node"));
    }
    let all = settings::save_revocations(core, &fresh, now_s() - LONGEST_LIFE_S).await?;
    Ok(RevokeCertificatesResponse { all: u32::try_from(all).unwrap_or(u32::MAX) })
}

fn revocation(wire: RevokedCertificate) -> Result<Revocation> {
    let RevokedCertificate { serial, node, at_unix_s: at_s } = wire;
    let wrong =
        || Fault::invalid("a revocation names no serial in hex and no node, or both").hint("name one of the two");
    // The future would be revoked with it.
    if at_s > now_s() + DAY_S {
        return Err(Fault::invalid("a revocation lies in the future").hint("check the clocks of the machines"));
    }
    match (serial.is_empty(), node.is_empty()) {
        (false, true) => Ok(Revocation::Serial { serial: Serial::parse(&serial).ok_or_else(wrong)?, at_s }),
        (true, false) if node.len() <= 64 => Ok(Revocation::Node { node: NodeId::new(&node), at_s }),
        _ => Err(wrong()),
    }
}

/// Whether a node is none of the cluster any more, as far as this one can tell: the list names it, and it is silent since.
pub fn is_out(core: &Core, node: &cluster::NodeView) -> bool {
    let names = |one: &Revocation| matches!(one, Revocation::Node { node: named, .. } if *named == node.member.node);
    let refused = core.refused_since.lock().unwrap_or_else(PoisonError::into_inner);
    let mut since = refused.iter().filter(|(one, _)| names(one)).map(|(_, since)| *since);
    node.member.node != core.node && since.any(|since| is_silent_since(since, node.state, node.heard))
}

/// Whoever was heard once the list was known has proved that it holds a later certificate. Of one that is off, and was
/// never heard, nobody can tell.
fn is_silent_since(since: Instant, state: NodeState, heard: Option<Instant>) -> bool {
    match (state, heard) {
        (NodeState::Suspect | NodeState::Lost, Some(heard)) => heard < since + ENDS_WITHIN,
        (NodeState::Suspect, None) => true,
        _ => false,
    }
}

/// Where the cluster's store is, as this node finds it, and what a node that joins has in common with this one.
pub fn store_of(core: &Core) -> GetStoreResponse {
    let config = core.config.load_full();
    let house = Some(house_of(&config));
    match &config.store {
        base::config::Store::Etcd(etcd) => {
            GetStoreResponse { endpoints: etcd.endpoints.clone(), prefix: etcd.prefix.clone(), house }
        }
        base::config::Store::Sled => GetStoreResponse { house, ..GetStoreResponse::default() },
    }
}

fn house_of(config: &Config) -> House {
    // Where one node is named, no other one ever makes a backup.
    let backup = config.backup.as_ref().filter(|backup| backup.node.is_none()).map(|backup| HouseBackup {
        to: backup.to.display().to_string(),
        every_s: backup.every.as_secs(),
        keep: backup.keep,
        recipient: backup.recipient.clone(),
    });
    House {
        keys: config.auth.to_string(),
        mode: config.privacy.mode.to_string(),
        lock: config.privacy_lock,
        local_percent: config.privacy_local_percent.map(u32::from),
        local_ranges: config.privacy.local_ranges.clone(),
        backup,
    }
}

fn now_s() -> i64 {
    i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_out_while_it_is_silent_since_it_was_revoked() {
        let since = Instant::now();
        let (before, later) = (since.checked_sub(Duration::from_secs(1)), Some(since + Duration::from_secs(5)));
        for (state, heard, wanted) in [
            (NodeState::Suspect, before, true),
            (NodeState::Lost, before, true),
            (NodeState::Suspect, None, true),
            (NodeState::Lost, None, false),
            (NodeState::Lost, later, false),
            (NodeState::Alive, before, false),
        ] {
            assert_eq!(is_silent_since(since, state, heard), wanted, "{state} {heard:?}");
        }
    }

    #[test]
    fn the_alarm_grows_at_30_7_and_1_days() {
        for (left_s, wanted) in [
            (30 * DAY_S + 1, None),
            (30 * DAY_S, Some(Severity::Medium)),
            (7 * DAY_S + 1, Some(Severity::Medium)),
            (7 * DAY_S, Some(Severity::High)),
            (DAY_S + 1, Some(Severity::High)),
            (DAY_S, Some(Severity::Critical)),
            (-1, Some(Severity::Critical)),
        ] {
            assert_eq!(alarm(left_s), wanted, "{left_s}");
        }
    }

    #[test]
    fn a_revocation_names_one_thing_and_not_the_future() {
        let wire = |serial: &str, node: &str, at_unix_s| RevokedCertificate {
            serial: serial.to_owned(),
            node: node.to_owned(),
            at_unix_s,
        };
        assert!(revocation(wire("ab12", "", 1)).is_ok() && revocation(wire("", "nas", now_s())).is_ok());
        for wrong in [wire("", "", 1), wire("ab", "nas", 1), wire("nas", "", 1), wire("", "nas", now_s() + 2 * DAY_S)] {
            assert!(revocation(wrong.clone()).unwrap_err().hint.is_some(), "{wrong:?}");
        }
    }
}
