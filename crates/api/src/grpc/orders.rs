//! Orders for jobs as they come over the wire, and jobs as they go back.

use base::{Fault, Result};
use jobs::State;
use planner::planning::Job;
use planner::wire::{ids_from_wire, priority_from_wire};
use planner::work::{
    AddFromPrompt, Analyze, CodeFile, Do, Expand, Order, ParsePrd, Rescope, TasksFromCode, Update, Work,
};
use proto::planning as p;
use proto::planning::start_request::Work as Wire;

use crate::job::{self};

/// The order of a request, and the key that makes it one job.
pub(super) fn order(request: p::StartRequest, who: String) -> Result<(Order, Option<String>)> {
    let at = request.place.ok_or_else(|| Fault::invalid("field `place` is missing").hint("say which project"))?;
    let planner = job::planner(&request.planner)?;
    let work = work(request.work.ok_or_else(|| Fault::invalid("field `work` is missing").hint("say what to do"))?)?;
    let key = (!request.once.is_empty()).then_some(request.once);
    Ok((Order { project: at.project, tag: at.tag, who, planner, work }, key))
}

fn work(wire: Wire) -> Result<Work> {
    let ids = |ids: &[String]| ids_from_wire("ids", ids);
    Ok(match wire {
        Wire::ParsePrd(parse) => Work::ParsePrd(ParsePrd {
            prd: planner::prd::decode(&parse.prd)?,
            file_name: parse.file_name,
            tasks: parse.tasks,
            max_depth: parse.max_depth,
            append: parse.append,
            force: parse.force,
            research: parse.research,
        }),
        Wire::Expand(expand) => Work::Expand(Expand {
            ids: ids(&expand.ids)?,
            subtasks: expand.subtasks,
            prompt: expand.prompt,
            force: expand.force,
            research: expand.research,
        }),
        Wire::Analyze(analyze) => Work::Analyze(Analyze {
            ids: ids(&analyze.ids)?,
            from: analyze.from,
            to: analyze.to,
            threshold: analyze.threshold,
            research: analyze.research,
        }),
        Wire::AddFromPrompt(add) => Work::AddFromPrompt(AddFromPrompt {
            prompt: add.prompt,
            dependencies: ids_from_wire("dependencies", &add.dependencies)?,
            priority: (!add.priority.is_empty()).then(|| priority_from_wire(&add.priority)).transpose()?,
            research: add.research,
        }),
        Wire::Update(update) => Work::Update(Update {
            ids: ids(&update.ids)?,
            from: update.from,
            prompt: update.prompt,
            append: update.append,
            research: update.research,
        }),
        Wire::Rescope(rescope) => Work::Rescope(Rescope {
            ids: ids(&rescope.ids)?,
            up: rescope.up,
            strength: job::strength(&rescope.strength)?,
            prompt: rescope.prompt,
            research: rescope.research,
        }),
        Wire::Do(wish) => Work::Do(Do { text: wish.text }),
        Wire::TasksFromCode(code) => Work::TasksFromCode(TasksFromCode {
            files: code.files.into_iter().map(|file| CodeFile { path: file.path, text: file.text }).collect(),
            prompt: code.prompt,
        }),
    })
}

/// A job for the wire.
pub(super) fn job(job: &Job) -> p::Job {
    let view = &job.view;
    let (project, tag, work) = job.about();
    let failure = match &view.state {
        State::Failed { fault } => Some(p::Failure {
            code: fault.code.to_string(),
            message: fault.message.clone(),
            hint: fault.hint.clone().unwrap_or_default(),
        }),
        _ => None,
    };
    let progress = view.progress.clone().unwrap_or_default();
    p::Job {
        id: view.id.to_string(),
        kind: work.to_owned(),
        place: Some(p::Place { project: project.to_owned(), tag: tag.to_owned() }),
        state: job::state(&view.state).to_owned(),
        node: view.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        created_unix_ms: view.created_unix_ms,
        done: progress.done as u32,
        total: progress.total as u32,
        current: progress.current,
        estimate_s: progress.estimate_s.unwrap_or(0.0),
        result_json: job.result.as_ref().map(ToString::to_string).unwrap_or_default(),
        failure,
        who: view.who.clone(),
        attempts: view.attempts,
    }
}
