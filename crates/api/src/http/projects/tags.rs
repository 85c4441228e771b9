//! Tags of a project.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use planner::projects::ProjectChange;
use serde::Deserialize;
use serde_json::Value;

use super::{Answered, Who, items, read};
use crate::http::pages::Shared;
use crate::tasks_json;

pub(super) async fn list(State(desk): Shared, Path(project): Path<String>) -> Answered {
    let tags = desk.planning()?.projects.tags(&project).await?;
    Ok(items(tags.iter().map(|tag| tasks_json::tag(&tag.name, tag)).collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewTag {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    copy_from: String,
}

pub(super) async fn add(
    State(desk): Shared,
    Path(project): Path<String>,
    Who(who): Who,
    body: Bytes,
) -> Answered<(StatusCode, Json<Value>)> {
    let like = r#"{"name": "next", "description": "what it is for", "copyFrom": "master"}"#;
    let new: NewTag = read(&body, like)?;
    let planning = desk.planning()?;
    planning.projects.add_tag(&project, &new.name, &new.description, &new.copy_from, &who).await?;
    let tag = planning.projects.snapshot(&project, &new.name).await?;
    Ok((StatusCode::CREATED, Json(tasks_json::tag(&new.name, &tag.about))))
}

pub(super) async fn show(State(desk): Shared, Path((project, tag)): Path<(String, String)>) -> Answered {
    let snapshot = desk.planning()?.projects.snapshot(&project, &tag).await?;
    Ok(Json(tasks_json::tag(&snapshot.tag, &snapshot.about)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Change {
    name: Option<String>,
    #[serde(default)]
    is_current: bool,
}

pub(super) async fn change(State(desk): Shared, Path((project, tag)): Path<(String, String)>, body: Bytes) -> Answered {
    let Change { name, is_current } = read(&body, r#"{"name": "its new name", "isCurrent": true}"#)?;
    let planning = desk.planning()?;
    if let Some(to) = name.as_deref().filter(|to| *to != tag) {
        planning.projects.rename_tag(&project, &tag, to).await?;
    }
    let tag = name.unwrap_or(tag);
    if is_current {
        let change = ProjectChange { current_tag: Some(tag.clone()), ..ProjectChange::default() };
        planning.projects.change_project(&project, &change).await?;
    }
    let snapshot = planning.projects.snapshot(&project, &tag).await?;
    Ok(Json(tasks_json::tag(&snapshot.tag, &snapshot.about)))
}

pub(super) async fn remove(State(desk): Shared, Path((project, tag)): Path<(String, String)>) -> Answered<StatusCode> {
    desk.planning()?.projects.delete_tag(&project, &tag).await?;
    Ok(StatusCode::NO_CONTENT)
}
