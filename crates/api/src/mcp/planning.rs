//! Tools that want a model, or may use one: each starts a job.

use base::{Fault, Result};
use planner::edit::{Fields, NewTask};
use planner::work::{AddFromPrompt, Analyze, CodeFile, Expand, ParsePrd, Rescope, TasksFromCode, Update, Work};
use planner::{Edit, Raw, wire};
use serde_json::Value;

use super::call::{Call, Said};
use super::jobs::start;
use crate::job;

pub(super) async fn parse_prd(call: &Call<'_>) -> Said {
    let Some(prd) = call.given("prdText") else {
        let what = match call.given("input") {
            Some(path) => format!("this server cannot read `{}` on your machine", path.escape_debug()),
            None => "no document is given".to_owned(),
        };
        return Err(Fault::invalid(what)
            .hint("use the stdio bridge `tmctl mcp`, which reads the file, or send the text as `prdText`")
            .into());
    };
    let work = ParsePrd {
        prd,
        file_name: call.text("input"),
        tasks: call.count("numTasks"),
        max_depth: call.count("maxDepth"),
        append: call.flag("append"),
        force: call.flag("force"),
        research: call.flag("research"),
    };
    start(call, Work::ParsePrd(work)).await
}

pub(super) async fn analyze(call: &Call<'_>) -> Said {
    let work = Analyze {
        ids: call.ids("ids")?,
        from: call.count("from"),
        to: call.count("to"),
        threshold: call.count("threshold"),
        research: call.flag("research"),
    };
    start(call, Work::Analyze(work)).await
}

/// `expand_task`, and `expand_all`, which names none.
pub(super) async fn expand(call: &Call<'_>) -> Said {
    let work = Expand {
        ids: call.ids("id")?,
        subtasks: call.count("num"),
        prompt: call.text("prompt"),
        force: call.flag("force"),
        research: call.flag("research"),
    };
    start(call, Work::Expand(work)).await
}

pub(super) async fn rescope(call: &Call<'_>, up: bool) -> Said {
    let strength = job::strength(&call.text("strength"))?;
    let (ids, prompt, research) = (call.ids("id")?, call.text("prompt"), call.flag("research"));
    start(call, Work::Rescope(Rescope { ids, up, strength, prompt, research })).await
}

pub(super) async fn add_task(call: &Call<'_>) -> Said {
    if let Some(title) = call.given("title") {
        let task = NewTask { title, ..new_task(call)? };
        return call.change(vec![Edit::Add { parent: None, task }], call.text("prompt")).await;
    }
    let Some(prompt) = call.given("prompt") else {
        return Err(Fault::invalid("neither `prompt` nor `title` is given")
            .hint("say in a sentence what is wanted, or give the task's own fields")
            .into());
    };
    let priority = call.given("priority").map(|text| wire::priority_from_wire(&text)).transpose()?;
    let work =
        AddFromPrompt { prompt, dependencies: call.ids("dependencies")?, priority, research: call.flag("research") };
    start(call, Work::AddFromPrompt(work)).await
}

/// A task out of its fields, without a title.
pub(super) fn new_task(call: &Call<'_>) -> Result<NewTask> {
    Ok(NewTask {
        description: call.text("description"),
        details: call.text("details"),
        test_strategy: call.text("testStrategy"),
        priority: wire::priority_from_wire(&call.text("priority"))?,
        status: wire::status_from_wire(&call.text("status"))?,
        dependencies: call.ids("dependencies")?,
        ..NewTask::default()
    })
}

pub(super) async fn update(call: &Call<'_>) -> Said {
    let from = call.id("from")?.root();
    let work = Update { from, prompt: call.text("prompt"), research: call.flag("research"), ..Update::default() };
    start(call, Work::Update(work)).await
}

/// `update_task` and `update_subtask`, which always adds a note. The user's own data is changed as it is given.
pub(super) async fn update_one(call: &Call<'_>, append: bool) -> Said {
    let id = call.id("id")?;
    let metadata = call.json("metadata").map(raw).transpose()?;
    let Some(prompt) = call.given("prompt") else {
        let Some(metadata) = metadata else {
            return Err(Fault::invalid("neither `prompt` nor `metadata` is given")
                .hint("say what is new, or give the data that the task should carry")
                .into());
        };
        return call.change(vec![metadata_of(id, metadata)], String::new()).await;
    };
    let work = Update { ids: vec![id.clone()], prompt, append, research: call.flag("research"), ..Update::default() };
    if let Some(metadata) = metadata {
        call.change(vec![metadata_of(id, metadata)], String::new()).await?;
    }
    start(call, Work::Update(work)).await
}

fn metadata_of(id: planner::TaskId, metadata: Raw) -> Edit {
    Edit::Change { id, fields: Fields { metadata: Some(metadata), ..Fields::default() } }
}

/// Upstream's clients send an object as text.
fn raw(value: &Value) -> Result<Raw> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    serde_json::from_str(&text).map_err(|error| {
        Fault::invalid("argument `metadata` is no JSON").because(error).hint("give an object, or its text")
    })
}

pub(super) async fn from_code(call: &Call<'_>) -> Said {
    let given = call.json("files").cloned().unwrap_or_default();
    let files: Vec<CodeFile> = serde_json::from_value(given).map_err(|error| {
        Fault::invalid("could not read argument `files`")
            .because(error)
            .hint("a list of objects with `path` and `text`")
    })?;
    start(call, Work::TasksFromCode(TasksFromCode { files, prompt: call.text("prompt") })).await
}
