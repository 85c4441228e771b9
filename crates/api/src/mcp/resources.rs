//! Tasks as resources: a tag's list, one task, the report of a project.

use base::{Code, Fault, Result};
use planner::render::{self, Kind};
use planner::wire;
use rmcp::model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde_json::{Value, json};

use crate::{Desk, tasks_json};

/// The most that a list has: more is found by its template.
const MOST_LISTED: usize = 500;
const JSON: &str = "application/json";
const MARKDOWN: &str = "text/markdown";

/// The tags of every project, each with its report.
pub(super) async fn list(desk: &dyn Desk) -> Result<Vec<Resource>> {
    let planning = desk.planning()?;
    let mut all = Vec::new();
    for project in planning.projects.list().await? {
        for tag in planning.projects.tags(&project.name).await? {
            let at = format!("{}/{}", project.name, tag.name);
            let about = format!("{} tasks; {}", tag.tasks, tag.description);
            all.push(Resource::new(format!("task://{at}"), at.clone()).with_description(about).with_mime_type(JSON));
            let report = Resource::new(format!("report://{at}"), format!("report of {at}")).with_mime_type(MARKDOWN);
            all.push(report.with_description("how far it is, what stands in the way, what comes next"));
        }
    }
    all.truncate(MOST_LISTED);
    Ok(all)
}

/// How the addresses are made.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    [
        ("task://{project}/{tag}", "tasks of a tag"),
        ("task://{project}/{tag}/{id}", "one task with what is below it"),
        ("report://{project}/{tag}", "report on progress"),
    ]
    .map(|(uri, name)| ResourceTemplate::new(uri, name))
    .into()
}

/// What is at an address.
pub(super) async fn read(desk: &dyn Desk, uri: &str) -> Result<ReadResourceResult> {
    let nothing = || {
        Fault::new(Code::NotFound, format!("there is no resource `{}`", uri.escape_debug()))
            .hint("task://PROJECT/TAG, task://PROJECT/TAG/ID or report://PROJECT/TAG")
    };
    let (scheme, place) = uri.split_once("://").ok_or_else(nothing)?;
    if !["task", "report"].contains(&scheme) {
        return Err(nothing());
    }
    let parts: Vec<&str> = place.split('/').collect();
    let (project, tag, id) = match parts.as_slice() {
        [project, tag] => (*project, *tag, None),
        [project, tag, id] => (*project, *tag, Some(wire::id_from_wire("id", id)?)),
        _ => return Err(nothing()),
    };
    let snapshot = desk.planning()?.projects.snapshot(project, tag).await?;
    let (text, mime_type) = match (scheme, id) {
        ("task", None) => {
            let top = snapshot.tasks.top().iter();
            let tasks: Vec<Value> =
                top.map(|task| tasks_json::task(&planner::TaskId::top(task.number), task)).collect();
            (json!({ "tag": tasks_json::tag(&snapshot.tag, &snapshot.about), "tasks": tasks }).to_string(), JSON)
        }
        ("task", Some(id)) => {
            let task = snapshot.tasks.get(&id).ok_or_else(|| planner::work::no_task(&snapshot, &id))?;
            (tasks_json::task(&id, task).to_string(), JSON)
        }
        ("report", None) => {
            let files = render::render(&snapshot, Kind::Report)?;
            (files.into_iter().next().map(|(_, text)| text).unwrap_or_default(), MARKDOWN)
        }
        _ => return Err(nothing()),
    };
    Ok(ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(mime_type)]))
}
