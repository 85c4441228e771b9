//! What left the house, and whether the record of it is whole: this node's journal, and those of the others.

use std::path::PathBuf;
use std::time::Duration;

use base::report::NodeState;
use base::{Fault, Result};
use net::audit::{Head, Journal, Sum, Tally, Verified, tally, verify};
use proto::admin::{
    AuditItem, EgressItem, JournalItem, PrivacyReportRequest, PrivacyReportResponse, VerifyAuditResponse,
};
use proto::node;

use super::admin::{ask_peers_within, view_of};
use crate::anchor;
use crate::core::Core;

/// A journal that is full takes seconds to read, on a slow machine with a slow disk.
const READ_WITHIN: Duration = Duration::from_secs(25);

/// This node's journal, summed up.
pub async fn own_report(core: &Core, since_ms: u64) -> Result<PrivacyReportResponse> {
    let told = read(core, move |dir, _| tally(&dir, since_ms)).await?;
    let node = core.node.to_string();
    let Tally { sums, dropped, unread, from_ms } = told;
    let journals = vec![JournalItem { node: node.clone(), from_unix_ms: from_ms, dropped, unread }];
    let items = sums.into_iter().map(|sum| item(&node, sum)).collect();
    Ok(PrivacyReportResponse { view: Some(view_of(core)), items, journals, unreached_nodes: Vec::new() })
}

/// The journals of all nodes, summed up.
pub(super) async fn report(core: &Core, request: PrivacyReportRequest) -> Result<PrivacyReportResponse> {
    let since_unix_ms = request.since_unix_ms;
    let asked = ask_peers_within(READ_WITHIN, core, |mut client| async move {
        let request = node::PrivacyReportRequest { since_unix_ms };
        client.privacy_report(request).await.map(|response| response.into_inner().report)
    });
    let (own, others) = tokio::join!(own_report(core, since_unix_ms), asked);
    let mut all = own?;
    for (node, answer) in others {
        match answer {
            Ok(Some(theirs)) => {
                all.items.extend(theirs.items);
                all.journals.extend(theirs.journals);
            }
            Ok(None) | Err(_) => all.unreached_nodes.push(node.to_string()),
        }
    }
    all.unreached_nodes.extend(lost_nodes(core));
    Ok(all)
}

/// Nodes that are known and cannot be asked: what they did is in nobody else's journal.
fn lost_nodes(core: &Core) -> Vec<String> {
    let Ok(cluster) = core.cluster() else { return Vec::new() };
    let view = cluster.view();
    let lost = view.nodes.iter().filter(|node| node.state == NodeState::Lost && node.member.node != view.me);
    lost.map(|node| node.member.node.to_string()).collect()
}

/// Whether this node's journal is as it was written, by what stands beside it and in the store.
pub async fn own_verdict(core: &Core) -> Result<AuditItem> {
    let anchor = anchor::known(core).await;
    let found = read(core, move |dir, head| {
        let known: Vec<Head> = std::iter::once(head).chain(anchor).collect();
        verify(&dir, &known)
    });
    let Verified { lines, first, last, bad } = found.await?;
    let is_good = bad.is_none();
    let bad = bad.unwrap_or_default();
    Ok(AuditItem {
        node: core.node.to_string(),
        entries: lines,
        first,
        last,
        is_good,
        bad_entry: bad.n,
        bad_file: bad.file,
        bad_what: bad.what,
    })
}

/// Whether the journals of all nodes are as they were written.
pub(super) async fn verdicts(core: &Core) -> Result<VerifyAuditResponse> {
    let asked = ask_peers_within(READ_WITHIN, core, |mut client| async move {
        client.verify_audit(node::VerifyAuditRequest {}).await.map(|response| response.into_inner().item)
    });
    let (own, others) = tokio::join!(own_verdict(core), asked);
    let mut all = VerifyAuditResponse { view: Some(view_of(core)), nodes: vec![own?], unreached_nodes: Vec::new() };
    for (node, answer) in others {
        match answer {
            Ok(Some(item)) => all.nodes.push(item),
            Ok(None) | Err(_) => all.unreached_nodes.push(node.to_string()),
        }
    }
    all.unreached_nodes.extend(lost_nodes(core));
    all.nodes.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(all)
}

/// Reads the journal off the runtime, with all that was written so far.
async fn read<T: Send + 'static>(
    core: &Core,
    look: impl FnOnce(PathBuf, Head) -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let audit = core.connector.audit().clone();
    let read = tokio::task::spawn_blocking(move || {
        let journal: &Journal = audit.journal().ok_or_else(|| Fault::unavailable("the journal is not open yet"))?;
        let head = journal.flush()?;
        look(journal.dir().to_owned(), head).map_err(|error| {
            Fault::unavailable(format!("could not read the journal in `{}`", journal.dir().display()))
                .hint("try again; where that does not help, look at the folder's permissions")
                .because(error)
        })
    });
    read.await.map_err(|error| Fault::internal("could not read the journal").because(error))?
}

fn item(node: &str, sum: Sum) -> EgressItem {
    let left_the_house = sum.left_the_house();
    let Sum { purpose, host, port, verdict, count, failed, refused, sent, received, ended, last_ms, reason } = sum;
    EgressItem {
        node: node.to_owned(),
        purpose,
        host,
        port: port.into(),
        verdict,
        count,
        failed,
        refused,
        sent_bytes: sent,
        received_bytes: received,
        ended,
        last_unix_ms: last_ms,
        reason,
        left_the_house,
    }
}
