//! Tools about projects and the cluster behind them.

use base::{Code, Fault};
use planner::model::Role;
use planner::projects::{ProjectChange, name_of_folder};
use serde_json::{Value, json};

use super::call::{Call, Said};
use crate::{projects, tasks_json};

pub(super) async fn initialize(call: &Call<'_>) -> Said {
    let named = call.given("projectName").or_else(|| call.given("project"));
    let name = match named {
        Some(name) => name_of_folder(&name)?,
        None => call.project().await?,
    };
    let planning = call.planning()?;
    let made = planning.projects.create(&name, &call.text("description"), "").await;
    let is_new = match made {
        Ok(_) => true,
        // Called twice it is there once.
        Err(fault) if fault.code == Code::Conflict => false,
        Err(fault) => return Err(fault.into()),
    };
    let project = planning.projects.project(&name).await?;
    let project = tasks_json::project(&project, &planning.projects.tags(&name).await?);
    let next = "write a PRD and call `parse_prd`, or add tasks by `add_task`";
    Ok(json!({ "project": project, "isNew": is_new, "next": next }))
}

pub(super) async fn models(call: &Call<'_>) -> Said {
    let named = |argument| call.json(argument).map(|_| call.text(argument));
    let change = ProjectChange::default().with_models(named("setMain"), named("setResearch"), named("setFallback"));
    // Without a project there is nothing to set, but the cluster's models can be looked at.
    let (own, notes) = match call.project().await {
        Ok(project) => {
            let notes = match change.models.is_empty() {
                true => Vec::new(),
                false => projects::change(call.desk(), &project, &change).await?,
            };
            (call.planning()?.projects.project(&project).await.unwrap_or_default().models, notes)
        }
        Err(_) if change.models.is_empty() => Default::default(),
        Err(fault) => return Err(fault.into()),
    };
    let models: Vec<Value> = call
        .desk()
        .models(call.grant())
        .models
        .iter()
        .map(|model| {
            let places: Vec<&str> = model.places.iter().map(|place| place.worker.as_str()).collect();
            let is_loaded = model.places.iter().any(|place| place.is_loaded);
            let context = model.places.iter().map(|place| place.context_tokens).max();
            json!({ "name": model.name, "isLoaded": is_loaded, "workers": places, "contextTokens": context })
        })
        .collect();
    Ok(json!({
        "roles": {
            "main": own.name(Role::Main),
            "research": own.name(Role::Research),
            "fallback": own.name(Role::Fallback),
        },
        "models": models,
        "notes": notes,
        "note": "a role that is called as itself is the cluster's: `[roles]` in tmd's configuration says which model that is",
    }))
}

/// `tmctl mcp` does this on its own machine; only other ways lead here.
pub(super) async fn rules(_: &Call<'_>) -> Said {
    let fault = Fault::new(Code::NotSupported, "a server does not see the project's folder");
    Err(fault
        .hint("ask through `tmctl mcp`, or type `tmctl rules add` with the name of your editor in the folder")
        .into())
}

pub(super) async fn language(call: &Call<'_>) -> Said {
    let project = call.project().await?;
    let change = ProjectChange { language: Some(call.text("language")), ..ProjectChange::default() };
    let project = call.planning()?.projects.change_project(&project, &change).await?;
    Ok(json!({ "project": project.name, "responseLanguage": project.language }))
}

pub(super) async fn cluster_status(call: &Call<'_>) -> Said {
    let (desk, admin) = (call.desk(), call.desk().admin());
    let (health, mode) = (admin.health(), admin.get_mode());
    let nodes = admin.list_nodes().nodes;
    let workers = admin.list_workers().workers;
    let unfinished = match desk.planning() {
        Ok(planning) => {
            let jobs = planning.jobs_of("").await?;
            let open = jobs.iter().filter(|job| !job.view.state.is_final());
            open.map(tasks_json::job).collect::<Vec<_>>()
        }
        Err(_) => Vec::new(),
    };
    Ok(json!({
        "verdict": health.verdict,
        "reasons": health.reasons,
        "mode": mode.mode,
        "nodes": nodes.iter().map(|node| json!({ "name": node.name, "state": node.state, "isLeader": node.leader })).collect::<Vec<_>>(),
        "workers": workers.iter().map(|worker| json!({
            "name": worker.name, "state": worker.state, "reason": worker.reason,
            "slots": worker.slots, "busy": worker.busy, "queued": worker.queued, "loaded": worker.loaded,
        })).collect::<Vec<_>>(),
        "models": desk.models(call.grant()).models.iter().map(|model| model.name.clone()).collect::<Vec<_>>(),
        "unfinishedJobs": unfinished,
    }))
}
