//! What a page or a terminal shows of the node's work: asks, load, and what was dialled. Lists are bounded.

use base::Result;
use net::audit::Entry;
use proto::admin::{
    DialledItem, GpuPoint, ListAsksRequest, ListAsksResponse, ListDialledResponse, ListLoadResponse, LoadPoint,
    NodeLoad, VerdictCount,
};
use proto::node::AsksRequest;

use super::admin::{ask_peers, view_of};
use crate::core::Core;
use crate::load::{self, Point};

/// Asks that a list shows when nobody says how many.
const ASKS_SHOWN: usize = 100;
/// Most that are shown: as many as a person can look through.
const MOST_ASKS: usize = 1_000;
/// Most destinations that are shown.
const MOST_DIALLED: usize = 200;

/// The asks of this node's own clients.
pub fn own_asks(core: &Core, limit: usize) -> ListAsksResponse {
    let limit = if limit == 0 { ASKS_SHOWN } else { limit.min(MOST_ASKS) };
    let asks = core.explain.newest(limit).iter().map(|record| record.item(&core.node)).collect();
    let running = core.asks_running.load(std::sync::atomic::Ordering::Relaxed);
    let running = u32::try_from(running).unwrap_or(u32::MAX);
    ListAsksResponse { view: Some(view_of(core)), asks, running, unreached_nodes: Vec::new() }
}

/// The asks of all nodes' clients.
pub(super) async fn asks(core: &Core, request: ListAsksRequest) -> Result<ListAsksResponse> {
    let limit = if request.limit == 0 { ASKS_SHOWN } else { (request.limit as usize).min(MOST_ASKS) };
    let mut all = own_asks(core, limit);
    let asked = ask_peers(core, |mut client| async move {
        let request = AsksRequest { limit: u32::try_from(limit).unwrap_or(u32::MAX) };
        client.asks(request).await.map(|response| response.into_inner().asks)
    });
    for (node, answer) in asked.await {
        match answer {
            Ok(Some(theirs)) => {
                all.running = all.running.saturating_add(theirs.running);
                all.asks.extend(theirs.asks);
            }
            Ok(None) | Err(_) => all.unreached_nodes.push(node.to_string()),
        }
    }
    all.asks.sort_by_key(|ask| (ask.outcome != "running", std::cmp::Reverse(ask.at_unix_ms)));
    all.asks.truncate(limit);
    Ok(all)
}

/// How busy every node was.
pub(super) fn load(core: &Core) -> ListLoadResponse {
    let node = |(node, points): (base::NodeId, Vec<Point>)| NodeLoad {
        node: node.to_string(),
        points: points.into_iter().map(point).collect(),
    };
    let nodes = core.load.recent().into_iter().map(node).collect();
    ListLoadResponse { view: Some(view_of(core)), every_s: load::EVERY.as_secs_f64(), nodes }
}

fn point(point: Point) -> LoadPoint {
    let Point { at_ms, cpu_used, memory_used_bytes, slots, busy, queued, gpus } = point;
    let gpus = gpus.into_iter().map(|(used, memory_used_bytes)| GpuPoint { used, memory_used_bytes }).collect();
    LoadPoint { at_unix_ms: at_ms, cpu_used, memory_used_bytes, slots, busy, queued, gpus }
}

/// What this node dialled.
pub(super) fn dialled(core: &Core) -> ListDialledResponse {
    let audit = core.connector.audit();
    let count = |(verdict, count): (net::Verdict, u64)| VerdictCount { verdict: verdict.as_str().to_owned(), count };
    let counts = audit.snapshot().into_iter().map(count).collect();
    ListDialledResponse { view: Some(view_of(core)), items: destinations(&audit.recent()), counts }
}

/// Each destination once, the one dialled last first.
fn destinations(recent: &[Entry]) -> Vec<DialledItem> {
    let mut items: Vec<DialledItem> = Vec::new();
    for entry in recent.iter().rev() {
        let (purpose, verdict) = (entry.purpose.as_str(), entry.verdict.as_str());
        let is_same = |item: &&mut DialledItem| {
            item.host == *entry.host
                && item.port == u32::from(entry.port)
                && item.purpose == purpose
                && item.verdict == verdict
        };
        match items.iter_mut().find(is_same) {
            Some(item) => item.count += 1,
            None => items.push(DialledItem {
                purpose: purpose.to_owned(),
                host: entry.host.to_string(),
                port: entry.port.into(),
                verdict: verdict.to_owned(),
                count: 1,
                last_unix_ms: entry.at_ms,
            }),
        }
    }
    items.truncate(MOST_DIALLED);
    items
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use net::{Purpose, Verdict};

    use super::*;

    #[test]
    fn a_destination_is_told_once_for_each_verdict_with_how_often() {
        let entry = |at_ms, host: &str, verdict| Entry {
            at_ms,
            purpose: Purpose::Engine,
            host: host.into(),
            port: 11434,
            address: IpAddr::from([127, 0, 0, 1]),
            verdict,
            reason: "".into(),
        };
        let told = destinations(&[
            entry(1, "a", Verdict::Loopback),
            entry(2, "b", Verdict::External),
            entry(3, "a", Verdict::Loopback),
            entry(4, "b", Verdict::RefusedExternal),
        ]);
        let told: Vec<_> = told
            .iter()
            .map(|item| (item.host.as_str(), item.verdict.as_str(), item.count, item.last_unix_ms))
            .collect();
        let [loopback, out, refused] =
            [Verdict::Loopback, Verdict::External, Verdict::RefusedExternal].map(Verdict::as_str);
        assert_eq!(told, [("b", refused, 1, 4), ("a", loopback, 2, 3), ("b", out, 1, 2)]);
    }
}
