//! What the page shows of the cluster, below `/api/cluster`: each route is one call of the admin desk's.
//!
//! Every list says whose view it is and how old. `/api/cluster/live` is a stream of pictures, one each second, and of
//! events between them; whoever falls behind is told so, and watches anew.

mod shown;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Path, State};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use axum::{Json, Router};
use base::{Code, Fault, Grant};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use proto::admin::{DrainRequest, ExplainRequest, ListAsksRequest, ListFailuresRequest, SetModeRequest};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::is_below;
use super::pages::{Bounds, Shared};
use super::projects::{Answered, Query, Refused, read};
use crate::{Client, Desk, tasks_json};

/// Between two pictures of a live stream.
const PICTURE_EVERY: Duration = Duration::from_secs(1);
/// Live streams that are open at a time: every screen of a house, with a few tabs each.
const MOST_WATCHERS: usize = 32;
/// The most that a list of asks or failures holds.
const MOST_ITEMS: u32 = 1_000;

/// Whether a path is one of these.
pub(super) fn is_path(path: &str) -> bool {
    is_below(path, "/api/cluster")
}

/// The routes of this file.
pub(super) fn routes(bounds: Bounds) -> Router<Arc<dyn Desk>> {
    let watchers = Arc::new(Semaphore::new(MOST_WATCHERS));
    Router::new()
        .route("/api/cluster/nodes", get(async |State(desk): Shared| Json(shown::nodes(&desk.admin().list_nodes()))))
        .route("/api/cluster/nodes/{node}/drain", post(drain))
        .route(
            "/api/cluster/workers",
            get(async |State(desk): Shared| Json(shown::workers(&desk.admin().list_workers()))),
        )
        .route(
            "/api/cluster/models",
            get(async |State(desk): Shared| Json(shown::models(&desk.models(Grant::everything())))),
        )
        .route("/api/cluster/asks", get(asks))
        .route("/api/cluster/asks/{ask}", get(explain))
        .route("/api/cluster/failures", get(failures))
        .route("/api/cluster/health", get(async |State(desk): Shared| Json(shown::health(&desk.admin().health()))))
        .route(
            "/api/cluster/mode",
            get(async |State(desk): Shared| Json(shown::mode(&desk.admin().get_mode()))).post(set_mode),
        )
        .route("/api/cluster/load", get(async |State(desk): Shared| Json(shown::load(&desk.admin().list_load()))))
        .route(
            "/api/cluster/dialled",
            get(async |State(desk): Shared| Json(shown::dialled(&desk.admin().list_dialled()))),
        )
        .route("/api/cluster/live", get(move |desk: Shared| live(bounds, watchers, desk)))
}

/// How many items are wanted; 0 is what the node thinks good.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Most {
    limit: u32,
}

impl Most {
    fn checked(self) -> base::Result<u32> {
        if self.limit > MOST_ITEMS {
            let fault = Fault::invalid(format!("`limit` is {}, and a list holds at most {MOST_ITEMS}", self.limit));
            return Err(fault.hint("ask for fewer"));
        }
        Ok(self.limit)
    }
}

async fn asks(State(desk): Shared, Query(most): Query<Most>) -> Answered {
    let request = ListAsksRequest { limit: most.checked()? };
    Ok(Json(shown::asks(&desk.admin().list_asks(request).await?)))
}

async fn explain(State(desk): Shared, Path(ask): Path<String>) -> Answered {
    Ok(Json(shown::explanation(&desk.admin().explain(ExplainRequest { ask }).await?)))
}

async fn failures(State(desk): Shared, Query(most): Query<Most>) -> Answered {
    let request = ListFailuresRequest { limit: most.checked()? };
    Ok(Json(shown::failures(&desk.admin().list_failures(request).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMode {
    mode: String,
    #[serde(default)]
    local_percent: Option<u32>,
    #[serde(default)]
    reason: String,
}

async fn set_mode(State(desk): Shared, Extension(Client(grant)): Extension<Client>, body: Bytes) -> Answered {
    let NewMode { mode, local_percent, reason } = read(&body, r#"{"mode": "local-only"}"#)?;
    let request = SetModeRequest { mode: mode.clone(), local_percent, reason };
    let told = desk.admin().set_mode(&grant.name, request).await?;
    Ok(Json(json!({
        "mode": mode, "before": told.before,
        "unreached_nodes": told.unreached_nodes, "locked_nodes": told.locked_nodes,
    })))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Drain {
    undo: bool,
}

async fn drain(State(desk): Shared, Path(node): Path<String>, body: Bytes) -> Answered {
    let Drain { undo } = read(&body, r#"{"undo": false}"#)?;
    let told = desk.admin().drain(DrainRequest { node: node.clone(), undo }).await?;
    Ok(Json(json!({ "node": node, "drains": !undo, "running": told.running })))
}

/// Pictures and events until the client goes away or the server stops.
async fn live(bounds: Bounds, watchers: Arc<Semaphore>, State(desk): Shared) -> Answered<impl IntoResponse> {
    let Ok(permit) = watchers.try_acquire_owned() else {
        let fault = Fault::new(Code::Overloaded, format!("{MOST_WATCHERS} pages watch this node already"));
        return Err(Refused::from(
            fault.hint("close one, or open the page of another node").retry_after(Duration::from_secs(10)),
        ));
    };
    let events = desk.admin().watch_events().map(|told| match told {
        Ok(event) => sent("event", &shown::event(&event)),
        Err(fault) => sent("error", &tasks_json::fault(&fault)),
    });
    let told = stream::select(pictures(desk, permit), events).take_until(bounds.stop.cancelled_owned());
    Ok(Sse::new(told).keep_alive(KeepAlive::new().interval(bounds.heartbeat)))
}

fn sent(name: &str, data: &Value) -> Result<Event, Infallible> {
    Ok(Event::default().event(name).data(data.to_string()))
}

/// What looks at the cluster for one client. Drawn when the client has room, so nothing piles up.
struct Look {
    desk: Arc<dyn Desk>,
    every: Interval,
    _permit: OwnedSemaphorePermit,
}

fn pictures(desk: Arc<dyn Desk>, permit: OwnedSemaphorePermit) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut every = interval(PICTURE_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold(Look { desk, every, _permit: permit }, |mut look| async {
        look.every.tick().await;
        let admin = look.desk.admin();
        let picture = json!({
            "nodes": shown::nodes(&admin.list_nodes()),
            "workers": shown::workers(&admin.list_workers()),
            "health": shown::health(&admin.health()),
            "mode": shown::mode(&admin.get_mode()),
        });
        Some((sent("picture", &picture), look))
    })
}
