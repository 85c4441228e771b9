//! Jobs: work that wants a model, or more time than a request has.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use bytes::Bytes;
use futures_util::StreamExt;
use planner::work::{Order, Planner, Work};
use serde::Deserialize;
use serde_json::Value;

use super::{Answered, Query, Who, items, read};
use crate::http::pages::{Bounds, Shared};
use crate::{job, tasks_json};

#[derive(Deserialize)]
pub(super) struct Of {
    #[serde(default)]
    project: String,
}

pub(super) async fn list(State(desk): Shared, Query(of): Query<Of>) -> Answered {
    let jobs = desk.planning()?.jobs_of(&of.project).await?;
    Ok(items(jobs.iter().map(tasks_json::job).collect()))
}

pub(super) async fn of_project(State(desk): Shared, Path(project): Path<String>) -> Answered {
    let planning = desk.planning()?;
    planning.projects.project(&project).await?;
    let jobs = planning.jobs_of(&project).await?;
    Ok(items(jobs.iter().map(tasks_json::job).collect()))
}

#[derive(Deserialize)]
struct Start {
    #[serde(default)]
    tag: String,
    #[serde(default)]
    planner: Planner,
    once: Option<String>,
    #[serde(flatten)]
    work: Work,
}

pub(super) async fn start(
    State(desk): Shared,
    Path(project): Path<String>,
    Who(who): Who,
    body: Bytes,
) -> Answered<(StatusCode, Json<Value>)> {
    let like = r#"{"work": "parse-prd", "prd": "the document", "tag": "master", "planner": "structural", "once": "a-name"}, or {"work": "expand", "ids": ["3"]}"#;
    let Start { tag, planner, once, work } = read(&body, like)?;
    let planning = desk.planning()?;
    let id = planning.start(Order { project, tag, who, planner, work }, once).await?;
    let job = planning.job(&id.to_string()).await?;
    Ok((StatusCode::ACCEPTED, Json(tasks_json::job(&job))))
}

pub(super) async fn show(State(desk): Shared, Path(id): Path<String>) -> Answered {
    Ok(Json(tasks_json::job(&desk.planning()?.job(&id).await?)))
}

pub(super) async fn cancel(State(desk): Shared, Path(id): Path<String>) -> Answered {
    Ok(Json(tasks_json::job(&job::cancel(&*desk.planning()?, &id).await?)))
}

/// The job with every change, until it has ended, the client goes away, or the server stops.
pub(super) async fn events(bounds: Bounds, State(desk): Shared, Path(id): Path<String>) -> Answered<impl IntoResponse> {
    let changes = desk.planning()?.watch(&id).await?;
    let events = changes.map(|job| {
        let (name, data) = match job {
            Ok(job) => ("job", tasks_json::job(&job)),
            Err(fault) => ("error", tasks_json::fault(&fault)),
        };
        Ok::<_, Infallible>(Event::default().event(name).data(data.to_string()))
    });
    let events = events.take_until(bounds.stop.cancelled_owned());
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(bounds.heartbeat)))
}
