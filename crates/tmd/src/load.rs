//! How busy the nodes were over the last minutes, as this node heard it: what a page shows as soon as it is opened.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::NodeId;
use base::report::{NodeReport, WorkerState};

use crate::core::Core;
use crate::desk::admin::reports;

/// Between two looks.
pub const EVERY: Duration = Duration::from_secs(5);
/// Looks that are kept: ten minutes.
const KEPT: usize = 120;
/// Nodes whose load is kept; a house has ten.
const MOST_NODES: usize = 64;
/// GPUs of a node whose load is kept.
const MOST_GPUS: usize = 16;

/// The last looks at every node.
#[derive(Default)]
pub struct Load(Mutex<BTreeMap<NodeId, VecDeque<Point>>>);

/// A node at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Share of all processors, from 0 to 1.
    pub cpu_used: f64,
    /// Memory that is taken.
    pub memory_used_bytes: u64,
    /// Asks that its ready workers can run at a time.
    pub slots: u32,
    /// Those that they run.
    pub busy: u32,
    /// Those that wait.
    pub queued: u32,
    /// Share that is used and memory that is taken of each GPU, in the report's order.
    pub gpus: Vec<(f64, u64)>,
}

impl Load {
    /// Notes what the nodes report now; who says nothing gets no point, and is forgotten with its last one.
    fn note(&self, at_ms: u64, reports: impl Iterator<Item = NodeReport>) {
        let oldest = at_ms.saturating_sub(EVERY.as_millis() as u64 * KEPT as u64);
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for report in reports {
            if nodes.len() < MOST_NODES || nodes.contains_key(&report.node) {
                nodes.entry(report.node.clone()).or_default().push_back(point(at_ms, &report));
            }
        }
        nodes.retain(|_, points| {
            while points.len() > KEPT || points.front().is_some_and(|point| point.at_ms < oldest) {
                points.pop_front();
            }
            !points.is_empty()
        });
    }

    /// What is kept, by node, oldest first.
    pub fn recent(&self) -> Vec<(NodeId, Vec<Point>)> {
        let nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.iter().map(|(node, points)| (node.clone(), points.iter().cloned().collect())).collect()
    }
}

fn point(at_ms: u64, report: &NodeReport) -> Point {
    let machine = &report.machine;
    let ready = || report.workers.iter().filter(|worker| worker.state == WorkerState::Ready);
    Point {
        at_ms,
        cpu_used: machine.cpu_used,
        memory_used_bytes: machine.memory_bytes.saturating_sub(machine.memory_free_bytes),
        slots: ready().map(|worker| worker.slots).sum(),
        busy: report.workers.iter().map(|worker| worker.busy).sum(),
        queued: report.workers.iter().map(|worker| worker.queued).sum(),
        gpus: machine.gpus.iter().take(MOST_GPUS).map(|gpu| (gpu.used, gpu.memory_used_bytes)).collect(),
    }
}

/// Looks again and again.
pub async fn keep(core: Arc<Core>) {
    loop {
        let heard =
            reports(&core).into_iter().filter(|(node, _)| node.state.is_routable() || node.member.node == core.node);
        core.load.note(base::time::unix_ms(), heard.filter_map(|(_, report)| report));
        tokio::time::sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::report_of;

    #[test]
    fn ten_minutes_are_kept_and_a_node_that_is_gone_goes_with_its_last_point() {
        let load = Load::default();
        let (stays, goes) = (NodeId::from("stays"), NodeId::from("goes"));
        for look in 0..300_u64 {
            let names = if look < 10 { vec![&stays, &goes] } else { vec![&stays] };
            load.note(look * 5_000, names.into_iter().map(report_of));
            let kept = load.recent().into_iter().map(|(node, points)| (node, points.len())).collect::<Vec<_>>();
            assert!(kept.iter().all(|(_, points)| *points <= KEPT), "{kept:?}");
            assert_eq!(kept.iter().any(|(node, _)| *node == goes), look < 10 + KEPT as u64, "after {look}");
        }
        let (_, points) = load.recent().remove(0);
        assert_eq!((points.len(), points[0].at_ms, points[119].at_ms), (120, 180 * 5_000, 299 * 5_000));
    }

    #[test]
    fn a_house_of_any_size_takes_bounded_memory() {
        let load = Load::default();
        load.note(1, (0..1_000).map(|at| report_of(&NodeId::from(format!("n{at}").as_str()))));
        assert_eq!(load.recent().len(), MOST_NODES);
    }
}
