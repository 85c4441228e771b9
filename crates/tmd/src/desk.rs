//! The real desk: what the faces ask of this node.

pub mod account;
pub mod admin;
mod again;
pub mod contexts;
pub mod explain;
pub mod infer;
pub mod join;
mod models;
pub mod modes;
pub mod privacy;
mod run;
pub mod seen;
mod tries;

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use api::desk::Caller;
use api::trace::ToolCall;
use api::{AdminDesk, Backups, Desk, MetricsFormat, Readiness};
use base::config::Auth;
use base::report::WorkerState;
use base::{Answer, Ask, BoxFuture, Continuation, EventAnswer, Fault, Grant, Result, Scope};
use inference::wire;
use planner::Planning;
use planner::github::{Delivery, Received};
use proto::admin::ListModelsResponse;
use research::Knowledge;

use crate::backups::HouseBackups;
use crate::core::Core;
use crate::doing::{Doing, Done};
use crate::hooks;
use crate::metrics::Gauges;
use join::{Joins, Lingering};

/// The desk of a node.
pub struct NodeDesk(pub Arc<Core>);

/// Lets [`Lingering`] reach the joins without knowing the node.
struct JoinsOf(Arc<Core>);

impl AsRef<Joins> for JoinsOf {
    fn as_ref(&self) -> &Joins {
        &self.0.joins
    }
}

impl Desk for NodeDesk {
    fn infer(&self, ask: Ask, continues: Option<Continuation>) -> BoxFuture<'_, Result<Answer>> {
        let core = self.0.clone();
        if ask.head.stream || continues.is_some() {
            return Box::pin(async move { infer::infer(&core, ask, continues).await });
        }
        if let Some(parked) = core.joins.unpark(&ask) {
            core.metrics.cached("reattached");
            return Box::pin(Lingering::new(Arc::new(JoinsOf(core)), &ask, parked));
        }
        let of = ask.clone();
        let joins = Arc::new(JoinsOf(core.clone()));
        Box::pin(Lingering::new(joins, &of, Box::pin(async move { infer::infer(&core, ask, None).await })))
    }

    fn infer_events(&self, ask: Ask, continues: Option<Continuation>) -> BoxFuture<'_, Result<EventAnswer>> {
        Box::pin(async move {
            let (dialect, stream) = (ask.head.dialect, ask.head.stream);
            Ok(wire::events(self.infer(ask, continues).await?, dialect, stream))
        })
    }

    fn models(&self, grant: &Grant) -> ListModelsResponse {
        ListModelsResponse { view: Some(admin::view_of(&self.0)), models: models::list(&self.0, grant) }
    }

    fn not_seen_yet(&self, model: &str) -> Option<Fault> {
        self.0.looks_around(Instant::now()).then(|| models::not_seen_yet(model))
    }

    fn authenticate(&self, caller: &Caller<'_>, needs: Option<Scope>) -> Result<Arc<Grant>> {
        match self.0.config.load().auth {
            Auth::Off => Ok(Grant::everything().clone()),
            Auth::Store => self.0.keys.authenticate(caller, needs),
        }
    }

    fn authorize(&self, grant: &Grant, scope: Scope, call: &str) -> Result<()> {
        match self.0.config.load().auth {
            Auth::Off => Ok(()),
            Auth::Store => self.0.keys.authorize(grant, scope, call),
        }
    }

    fn until_ended(&self, grant: &Grant) -> BoxFuture<'static, ()> {
        match self.0.config.load().auth {
            Auth::Off => Box::pin(std::future::pending()),
            Auth::Store => Box::pin(self.0.keys.until_ended(grant)),
        }
    }

    fn readiness(&self) -> Readiness {
        let core = &self.0;
        let mut reasons: Vec<String> = {
            let degraded = core.degraded.lock().unwrap_or_else(PoisonError::into_inner);
            degraded.iter().map(|(part, reason)| format!("{part}: {reason}")).collect()
        };
        if core.stop.is_cancelled() {
            return Readiness { ready: false, reasons: vec!["the node stops".to_owned()] };
        }
        let Ok(view) = core.cluster().map(|cluster| cluster.view()) else {
            return Readiness { ready: false, reasons: vec!["the node starts".to_owned()] };
        };
        if view.node(&view.me).is_some_and(|me| me.state == base::report::NodeState::Draining) {
            return Readiness { ready: false, reasons: vec!["the node drains".to_owned()] };
        }
        if let Some(since) = view.stale_since {
            reasons.push(format!(
                "the store has not answered for {} s; the last known view serves",
                since.elapsed().as_secs()
            ));
        }
        let looks_around = core.looks_around(Instant::now());
        // What asks go by; of what happens it hears within milliseconds.
        let ready = core.table.load().has_ready_worker();
        if !ready {
            let ports = core.ports.load();
            let own = ports.values().filter(|port| port.facts().state != WorkerState::Ready);
            reasons.extend(own.map(|port| format!("worker {}: {}", port.id, port.facts().reason)));
            let why = match (looks_around, ports.is_empty()) {
                (true, _) => "; the node has just started and is still looking at its engines",
                (false, true) => "; this node has none of its own: see [[workers]]",
                (false, false) => "",
            };
            reasons.push(format!("no worker of the cluster is ready{why}"));
        }
        Readiness { ready, reasons }
    }

    fn take_from_github(&self, delivery: Delivery) -> BoxFuture<'_, Result<Received>> {
        Box::pin(async move { hooks::take(&self.0, &delivery).await })
    }

    fn metrics(&self, format: MetricsFormat) -> String {
        let now = Gauges::of(&self.0, self.readiness().ready);
        self.0.metrics.text(&now, format)
    }

    fn tool_called(&self, tool: &'static str, parent: &str) -> Box<dyn ToolCall> {
        Box::new(Done::begin(self.0.clone(), Doing::Tool(tool), parent))
    }

    fn admin(&self) -> &dyn AdminDesk {
        self
    }

    fn planning(&self) -> Result<Arc<Planning>> {
        Ok(self.0.planning.clone())
    }

    fn backups(&self) -> Result<Arc<dyn Backups>> {
        Ok(Arc::new(HouseBackups(self.0.clone())))
    }

    fn research(&self) -> Result<Arc<dyn Knowledge>> {
        crate::research::elsewhere::knowledge(&self.0)
    }
}
