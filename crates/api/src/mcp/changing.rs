//! Tools that change tasks and tags at once, without a model.

use base::{Fault, Result};
use planner::edit::{Dependencies, NewTask};
use planner::projects::ProjectChange;
use planner::{Edit, TaskId, wire};
use serde_json::json;

use super::call::{Call, Said, said};
use super::planning::new_task;

pub(super) async fn set_status(call: &Call<'_>) -> Said {
    let (ids, status) = (call.ids("id")?, wire::status_from_wire(&call.text("status"))?);
    call.change(vec![Edit::SetStatus { ids, status }], String::new()).await
}

/// `update_task_progress`: where a task stands, and what was found on the way, in one change.
pub(super) async fn progress(call: &Call<'_>) -> Said {
    let id = call.id("id")?;
    let mut edits = Vec::new();
    if let Some(status) = call.given("status") {
        edits.push(Edit::SetStatus { ids: vec![id.clone()], status: wire::status_from_wire(&status)? });
    }
    if let Some(text) = call.given("note") {
        edits.push(Edit::Note { id, text });
    }
    if edits.is_empty() {
        return Err(Fault::invalid("neither `status` nor `note` is given")
            .hint("say what is new about the task")
            .into());
    }
    call.change(edits, String::new()).await
}

pub(super) async fn add_subtask(call: &Call<'_>) -> Said {
    let parent = call.id("id")?;
    let edit = match (call.given("taskId"), call.given("title")) {
        (Some(_), _) => Edit::Demote { id: call.id("taskId")?, parent },
        (None, Some(title)) => {
            let mut task = NewTask { title, ..new_task(call)? };
            // Upstream's clients name siblings by their bare numbers.
            if let Some(siblings) = siblings(call, &parent).await? {
                task.dependencies = siblings;
            }
            Edit::Add { parent: Some(parent), task }
        }
        (None, None) => {
            return Err(Fault::invalid("neither `taskId` nor `title` is given")
                .hint("name the task that becomes a subtask, or say what the new one is called")
                .into());
        }
    };
    call.change(vec![edit], String::new()).await
}

/// The dependencies as siblings below `parent`, where all of them are such.
async fn siblings(call: &Call<'_>, parent: &TaskId) -> Result<Option<Vec<TaskId>>> {
    let (given, snapshot) = (call.ids("dependencies")?, call.snapshot().await?);
    let below = given.iter().map(|id| if id.depth() == 1 { parent.child(id.number()) } else { id.clone() });
    let below: Vec<TaskId> = below.collect();
    Ok(below.iter().all(|id| snapshot.tasks.get(id).is_some()).then_some(below))
}

pub(super) async fn remove_task(call: &Call<'_>) -> Said {
    call.change(vec![Edit::Remove { ids: call.ids("id")? }], String::new()).await
}

pub(super) async fn remove_subtask(call: &Call<'_>) -> Said {
    let ids = call.ids("id")?;
    if let Some(top) = ids.iter().find(|id| id.depth() == 1) {
        return Err(Fault::invalid(format!("task {top} is no subtask"))
            .hint("`remove_task` removes whole tasks")
            .into());
    }
    let edits = match call.flag("convert") {
        true => ids.into_iter().map(|id| Edit::Promote { id }).collect(),
        false => vec![Edit::Remove { ids }],
    };
    call.change(edits, String::new()).await
}

pub(super) async fn clear_subtasks(call: &Call<'_>) -> Said {
    let ids = call.ids("id")?;
    if ids.is_empty() != call.flag("all") {
        return Err(Fault::invalid("say either `id` or `all`").hint("`all` clears the subtasks of every task").into());
    }
    call.change(vec![Edit::ClearSubtasks { ids }], String::new()).await
}

pub(super) async fn move_task(call: &Call<'_>) -> Said {
    let from = call.ids("from")?;
    let Some(to_tag) = call.given("toTag") else {
        return call.change(vec![Edit::Move { from, to: call.ids("to")? }], String::new()).await;
    };
    let how = match (call.flag("withDependencies"), call.flag("ignoreDependencies")) {
        (true, false) => Dependencies::Move,
        (false, true) => Dependencies::Cut,
        (false, false) => Dependencies::Refuse,
        (true, true) => {
            return Err(Fault::invalid("`withDependencies` and `ignoreDependencies` exclude each other")
                .hint("say one of them")
                .into());
        }
    };
    let from_tag = call.given("fromTag").unwrap_or_else(|| call.tag());
    let (project, planning) = (call.project().await?, call.planning()?);
    let moved = planning.projects.move_to_tag(&project, &from_tag, &to_tag, &from, how, call.who()).await;
    let (ids, notes) = moved?;
    Ok(json!({ "from": from, "ids": ids, "toTag": to_tag, "notes": notes }))
}

pub(super) async fn add_dependency(call: &Call<'_>) -> Said {
    let edit = Edit::AddDependency { id: call.id("id")?, on: call.id("dependsOn")? };
    call.change(vec![edit], String::new()).await
}

pub(super) async fn remove_dependency(call: &Call<'_>) -> Said {
    let edit = Edit::RemoveDependency { id: call.id("id")?, on: call.id("dependsOn")? };
    call.change(vec![edit], String::new()).await
}

pub(super) async fn fix_dependencies(call: &Call<'_>) -> Said {
    call.change(vec![Edit::Fix], String::new()).await
}

pub(super) async fn add_tag(call: &Call<'_>) -> Said {
    if call.flag("fromBranch") {
        return Err(Fault::invalid("a server does not see your branches")
            .hint("ask through `tmctl mcp` with `projectRoot`, or name the tag as the branch is called")
            .into());
    }
    let copy_from = match (call.given("copyFromTag"), call.flag("copyFromCurrent")) {
        (Some(tag), _) => tag,
        (None, true) => call.snapshot().await?.tag,
        (None, false) => String::new(),
    };
    made_tag(call, &call.text("name"), &copy_from).await
}

pub(super) async fn copy_tag(call: &Call<'_>) -> Said {
    made_tag(call, &call.text("targetName"), &call.text("sourceName")).await
}

async fn made_tag(call: &Call<'_>, name: &str, copy_from: &str) -> Said {
    let (project, planning) = (call.project().await?, call.planning()?);
    planning.projects.add_tag(&project, name, &call.text("description"), copy_from, call.who()).await?;
    super::reading::tags(call).await
}

pub(super) async fn delete_tag(call: &Call<'_>) -> Said {
    call.planning()?.projects.delete_tag(&call.project().await?, &call.text("name")).await?;
    super::reading::tags(call).await
}

pub(super) async fn use_tag(call: &Call<'_>) -> Said {
    let change = ProjectChange { current_tag: Some(call.text("name")), ..ProjectChange::default() };
    call.planning()?.projects.change_project(&call.project().await?, &change).await?;
    super::reading::tags(call).await
}

pub(super) async fn rename_tag(call: &Call<'_>) -> Said {
    let (project, planning) = (call.project().await?, call.planning()?);
    planning.projects.rename_tag(&project, &call.text("oldName"), &call.text("newName")).await?;
    super::reading::tags(call).await
}

pub(super) async fn undo(call: &Call<'_>) -> Said {
    let (project, planning) = (call.project().await?, call.planning()?);
    let (tag, revision) = (call.tag(), call.number("revision"));
    said(&planning.projects.undo(&project, &tag, revision, call.who(), call.flag("dryRun")).await?)
}
