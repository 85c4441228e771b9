//! Projects and their tasks over REST, below `/api/projects` and `/api/jobs`: each route is one call of `planner`'s.
//!
//! The paths begin as Ollama's do, but nothing else is alike: errors are `{"error":{"code","message","hint"}}`.

mod jobs;
mod tags;
mod tasks;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base::{Fault, Result};
use bytes::Bytes;
use planner::Planning;
use planner::projects::ProjectChange;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::pages::{Bounds, Shared};
use super::{is_below, refusal};
use crate::{Client, Desk, projects, tasks_json};

/// Whether a path is one of these, which have an error shape and a body limit of their own.
pub(super) fn is_path(path: &str) -> bool {
    is_below(path, "/api/projects") || is_below(path, "/api/jobs")
}

/// The routes of this folder.
pub(super) fn routes(bounds: Bounds) -> Router<Arc<dyn Desk>> {
    Router::new()
        .route("/api/projects", get(list).post(create))
        .route("/api/projects/{project}", get(show).patch(change).delete(remove))
        .route("/api/projects/{project}/tags", get(tags::list).post(tags::add))
        .route("/api/projects/{project}/tags/{tag}", get(tags::show).patch(tags::change).delete(tags::remove))
        .route("/api/projects/{project}/tasks", get(tasks::list))
        .route("/api/projects/{project}/tasks/{ids}", get(tasks::show))
        .route("/api/projects/{project}/next", get(tasks::next))
        .route("/api/projects/{project}/check", get(tasks::check))
        .route("/api/projects/{project}/history", get(tasks::history))
        .route("/api/projects/{project}/render/{kind}", get(tasks::render))
        .route("/api/projects/{project}/edits", post(tasks::edit))
        .route("/api/projects/{project}/move", post(tasks::move_to_tag))
        .route("/api/projects/{project}/undo", post(tasks::undo))
        .route("/api/projects/{project}/tasks.json", get(tasks::export).put(tasks::import))
        .route("/api/projects/{project}/jobs", get(jobs::of_project).post(jobs::start))
        .route("/api/jobs", get(jobs::list))
        .route("/api/jobs/{id}", get(jobs::show).delete(jobs::cancel))
        .route("/api/jobs/{id}/events", get(move |desk: Shared, id: Path<String>| jobs::events(bounds, desk, id)))
}

/// A fault in the shape of these routes.
pub(super) struct Refused(Fault);

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        super::pages::Refusal(refusal::Shape::Projects, self.0).into_response()
    }
}

/// What stands behind the question mark; what is wrong with it is refused in the shape of these routes.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answered<Self> {
        let read = axum::extract::Query::try_from_uri(&parts.uri);
        let axum::extract::Query(wish) = read.map_err(|error| {
            // Each of its causes says the same again; the innermost says no more than what is wrong.
            let mut why: &dyn std::error::Error = &error;
            while let Some(source) = why.source() {
                why = source;
            }
            Fault::invalid(format!("could not read the query: {why}"))
                .hint("write it as the path, `?`, NAME=VALUE, `&` between")
        })?;
        Ok(Self(wish))
    }
}

pub(super) type Answered<T = Json<Value>> = Result<T, Refused>;

/// Who a request comes from: the name of its key, and what it says in `x-tm-who`.
pub(super) struct Who(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answered<Self> {
        let Some(Client(grant)) = parts.extensions.get() else {
            return Err(Fault::internal("a request came in without a look at its key").into());
        };
        let said = parts.headers.get("x-tm-who").and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self(crate::who(&grant.name, said)))
    }
}

/// The body as JSON; by hand, since axum's extractor insists on a content type and says less about what is wrong. `like` is
/// one with every field, for whoever sends another one.
pub(super) fn read<T: DeserializeOwned>(body: &Bytes, like: &str) -> Result<T> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    let hint = || format!("send one JSON object, such as {like}");
    // A list would be read as the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Fault::invalid("the body is no JSON object").hint(hint()));
    }
    serde_json::from_slice(body).map_err(|error| Fault::invalid("could not read the body").because(error).hint(hint()))
}

pub(super) fn items(all: Vec<Value>) -> Json<Value> {
    Json(json!({ "total": all.len(), "items": all }))
}

async fn one(planning: &Planning, name: &str) -> Result<Value> {
    let project = planning.projects.project(name).await?;
    Ok(tasks_json::project(&project, &planning.projects.tags(name).await?))
}

async fn list(State(desk): Shared) -> Answered {
    let planning = desk.planning()?;
    let mut all = Vec::new();
    for project in planning.projects.list().await? {
        all.push(tasks_json::project(&project, &planning.projects.tags(&project.name).await?));
    }
    Ok(items(all))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProject {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    language: String,
}

async fn create(State(desk): Shared, body: Bytes) -> Answered<(StatusCode, Json<Value>)> {
    let like = r#"{"name": "garden", "description": "what it is about", "language": "German"}"#;
    let new: NewProject = read(&body, like)?;
    let planning = desk.planning()?;
    planning.projects.create(&new.name, &new.description, &new.language).await?;
    Ok((StatusCode::CREATED, Json(one(&planning, &new.name).await?)))
}

async fn show(State(desk): Shared, Path(project): Path<String>) -> Answered {
    Ok(Json(one(&*desk.planning()?, &project).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Change {
    description: Option<String>,
    language: Option<String>,
    current_tag: Option<String>,
    #[serde(default)]
    models: Models,
}

/// A model of the project's own for a role; an empty name gives the role back to the cluster.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Models {
    main: Option<String>,
    research: Option<String>,
    fallback: Option<String>,
}

async fn change(State(desk): Shared, Path(project): Path<String>, body: Bytes) -> Answered {
    let like = r#"{"description": "what it is about", "language": "German", "currentTag": "master", "models": {"main": "qwen3:8b"}}"#;
    let Change { description, language, current_tag, models } = read(&body, like)?;
    let Models { main, research, fallback } = models;
    let change = ProjectChange { description, language, current_tag, ..ProjectChange::default() };
    let notes = projects::change(&*desk, &project, &change.with_models(main, research, fallback)).await?;
    let mut changed = one(&*desk.planning()?, &project).await?;
    changed["notes"] = json!(notes);
    Ok(Json(changed))
}

async fn remove(State(desk): Shared, Path(project): Path<String>) -> Answered<StatusCode> {
    desk.planning()?.projects.delete(&project).await?;
    Ok(StatusCode::NO_CONTENT)
}
