//! What is read of the node when somebody scrapes. Made anew each time, so that what is gone leaves no series behind.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base::WorkerId;
use base::report::Gpu;
use prometheus_client::registry::Registry;

use super::series::{Counters, Numbers, counters, numbers};
use crate::certificates;
use crate::core::Core;
use crate::desk::admin::reports;
use crate::failures::word;

/// The node, as it is now.
pub struct Gauges {
    pub(super) registry: Registry,
    build: Numbers<1>,
    ready: Numbers<0>,
    queue_asks: Numbers<0>,
    running_asks: Numbers<0>,
    parked_asks: Numbers<0>,
    worker_state: Numbers<2>,
    worker_slots: Numbers<1>,
    worker_asks: Numbers<2>,
    worker_memory: Numbers<1>,
    model_resident: Numbers<2>,
    model_memory: Numbers<2>,
    node_state: Numbers<2>,
    leads: Numbers<0>,
    epoch: Numbers<0>,
    view_stale: Numbers<0>,
    memory: Numbers<1>,
    disk_free: Numbers<0>,
    gpu_up: Numbers<1>,
    gpu_memory: Numbers<2>,
    gpu_use: Numbers<1>,
    gpu_power: Numbers<1>,
    gpu_temperature: Numbers<1>,
    open_failures: Numbers<1>,
    cert_expiry: Numbers<1>,
    backup_age: Numbers<0>,
    backup_every: Numbers<0>,
    egress: Counters<1>,
}

impl Gauges {
    /// Reads the node.
    pub fn of(core: &Core, is_ready: bool) -> Self {
        let gauges = Self::declared();
        gauges.build.set([env!("CARGO_PKG_VERSION")], 1.0);
        gauges.ready.set([], f64::from(u8::from(is_ready)));
        gauges.read_cluster(core);
        gauges.read_asks(core);
        gauges.read_machine(core);
        for (certificate, seconds) in certificates::seconds_left(core) {
            gauges.cert_expiry.set([certificate], seconds as f64);
        }
        if let Some(standing) = core.last_backup.load_full() {
            let age_ms = base::time::unix_ms().saturating_sub(standing.since_ms);
            gauges.backup_age.set([], Duration::from_millis(age_ms).as_secs_f64());
            gauges.backup_every.set([], standing.every.as_secs_f64());
        }
        for (verdict, count) in core.connector.audit().snapshot() {
            gauges.egress.inc_by([verdict.as_str()], count);
        }
        gauges
    }

    /// All of them, with nothing read yet.
    pub(super) fn declared() -> Self {
        let mut registry = Registry::default();
        let on = &mut registry;
        Self {
            build: numbers(on, "tm_build_info", "1, with the version that runs", ["version"]),
            ready: numbers(on, "tm_ready", "1 while the node is ready", []),
            queue_asks: numbers(on, "tm_queue_asks", "Asks that wait at this node's workers", []),
            running_asks: numbers(on, "tm_running_asks", "Asks of this node's own clients that have not ended", []),
            parked_asks: numbers(on, "tm_parked_asks", "Asks whose client left and may come back", []),
            worker_state: numbers(on, "tm_worker_state", "1 for the state that a worker is in", ["worker", "state"]),
            worker_slots: numbers(on, "tm_worker_slots", "Asks that a worker may run at once", ["worker"]),
            worker_asks: numbers(on, "tm_worker_asks", "Asks at a worker, by what they do", ["worker", "state"]),
            worker_memory: numbers(on, "tm_worker_memory_bytes", "Memory that a worker's models may use", ["worker"]),
            model_resident: numbers(on, "tm_model_resident", "1 for each model in memory", ["worker", "model"]),
            model_memory: numbers(on, "tm_model_memory_bytes", "Memory of each model in memory", ["worker", "model"]),
            node_state: numbers(on, "tm_node_state", "1 for the state that a node is in", ["node", "state"]),
            leads: numbers(on, "tm_leads", "1 on the node that leads", []),
            epoch: numbers(on, "tm_epoch", "Epoch of the leadership that this node knows", []),
            view_stale: numbers(on, "tm_view_stale_seconds", "Age of the view while the store is away", []),
            memory: numbers(on, "tm_machine_memory_bytes", "Memory of this node's machine", ["kind"]),
            disk_free: numbers(on, "tm_disk_free_bytes", "Free space where this node keeps models", []),
            gpu_up: numbers(on, "tm_gpu_up", "1 for a GPU that can be used, 0 for a lost one", ["gpu"]),
            gpu_memory: numbers(on, "tm_gpu_memory_bytes", "Memory of this node's GPUs", ["gpu", "kind"]),
            gpu_use: numbers(on, "tm_gpu_use_ratio", "Share of time that a GPU computed", ["gpu"]),
            gpu_power: numbers(on, "tm_gpu_power_watts", "What a GPU draws", ["gpu"]),
            gpu_temperature: numbers(on, "tm_gpu_temperature_celsius", "How hot a GPU is", ["gpu"]),
            open_failures: numbers(on, "tm_open_failures", "Failures that nothing has remedied yet", ["severity"]),
            cert_expiry: numbers(on, "tm_cert_expiry_seconds", "Seconds until a certificate ends", ["certificate"]),
            backup_age: numbers(on, "tm_backup_age_seconds", "Age of the cluster's last scheduled backup", []),
            backup_every: numbers(on, "tm_backup_every_seconds", "How often backups are scheduled", []),
            egress: counters(on, "tm_egress_total", "Outgoing connections, by verdict", ["verdict"]),
            registry,
        }
    }

    fn read_cluster(&self, core: &Core) {
        for (node, report) in reports(core) {
            self.node_state.set([node.member.node.as_str(), node.state.as_str()], 1.0);
            for worker in report.iter().flat_map(|report| &report.workers) {
                let id: &WorkerId = &worker.id;
                self.worker_state.set([id.as_str(), worker.state.as_str()], 1.0);
                for model in worker.models.iter().filter(|model| model.is_loaded) {
                    self.model_resident.set([id.as_str(), &model.name], 1.0);
                }
            }
        }
        let Ok(view) = core.cluster().map(|cluster| cluster.view()) else { return };
        let leader = view.leader.as_ref();
        self.epoch.set([], leader.map_or(0.0, |(_, epoch)| epoch.0 as f64));
        let leads = leader.is_some_and(|(node, _)| *node == core.node);
        self.leads.set([], f64::from(u8::from(leads)));
        let stale = view.stale_since.map_or(Duration::ZERO, |since| Instant::now() - since);
        self.view_stale.set([], stale.as_secs_f64());
    }

    /// Of its own workers alone: each node tells of its own, so that a sum over nodes counts nothing twice.
    fn read_asks(&self, core: &Core) {
        let mut waiting = 0;
        for worker in core.ports.load().values().map(|port| port.report(Instant::now())) {
            let id = worker.id.as_str();
            waiting += worker.queued;
            self.worker_slots.set([id], worker.slots.into());
            self.worker_asks.set([id, "running"], worker.busy.into());
            self.worker_asks.set([id, "waiting"], worker.queued.into());
            if worker.memory_bytes > 0 {
                self.worker_memory.set([id], worker.memory_bytes as f64);
            }
            for model in worker.models.iter().filter(|model| model.is_loaded && model.memory_bytes > 0) {
                self.model_memory.set([id, &model.name], model.memory_bytes as f64);
            }
        }
        self.queue_asks.set([], waiting.into());
        self.running_asks.set([], core.asks_running.load(Ordering::Relaxed) as f64);
        self.parked_asks.set([], core.joins.parked() as f64);
        let failures = core.failures.lock().unwrap_or_else(PoisonError::into_inner).active_by_severity();
        for (severity, count) in failures {
            self.open_failures.set([word(severity).as_str()], count as f64);
        }
    }

    fn read_machine(&self, core: &Core) {
        let machine = core.machine.load();
        self.memory.set(["total"], machine.memory_bytes as f64);
        self.memory.set(["free"], machine.memory_free_bytes as f64);
        self.disk_free.set([], machine.disk_free_bytes as f64);
        machine.gpus.iter().for_each(|gpu| self.read_gpu(gpu));
    }

    fn read_gpu(&self, gpu: &Gpu) {
        let id = gpu.uuid.as_str();
        self.gpu_up.set([id], f64::from(u8::from(gpu.fault.is_none())));
        self.gpu_memory.set([id, "total"], gpu.memory_bytes as f64);
        self.gpu_memory.set([id, "used"], gpu.memory_used_bytes as f64);
        self.gpu_use.set([id], gpu.used);
        if let Some(power) = gpu.power_w {
            self.gpu_power.set([id], power);
        }
        if let Some(temperature) = gpu.temperature_c {
            self.gpu_temperature.set([id], temperature);
        }
    }
}
