//! Jobs as every face has them: their words, what they are about, an end to them.

use base::{Fault, Result};
use jobs::State;
use planner::Planning;
use planner::planning::Job;
use planner::work::{Planner, Strength};

/// What a job is about, as its subject says it: `project/tag work`.
pub(crate) struct About<'a> {
    /// Which project.
    pub(crate) project: &'a str,
    /// Which tag of it.
    pub(crate) tag: &'a str,
    /// What is done there.
    pub(crate) work: &'a str,
}

impl<'a> About<'a> {
    /// Reads it off a job.
    pub(crate) fn of(job: &'a Job) -> Self {
        let subject = job.view.subject.as_str();
        let (place, work) = subject.split_once(' ').unwrap_or((subject, ""));
        let (project, tag) = place.split_once('/').unwrap_or((place, ""));
        Self { project, tag, work }
    }
}

/// The word for where a job stands.
pub(crate) const fn state(state: &State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Running => "running",
        State::Done => "done",
        State::Cancelled => "cancelled",
        State::Failed { .. } => "failed",
    }
}

/// Ends a job, and shows it as it is then.
pub(crate) async fn cancel(planning: &Planning, id: &str) -> Result<Job> {
    let job = planning.job(id).await?;
    planning.jobs.cancel(job.view.id).await?;
    planning.job(id).await
}

/// Who makes a plan; auto when nothing is said.
pub(crate) fn planner(word: &str) -> Result<Planner> {
    Ok(match word {
        "" | "auto" => Planner::Auto,
        "model" => Planner::Model,
        "structural" => Planner::Structural,
        other => {
            return Err(Fault::invalid(format!("`{}` is no planner", other.escape_debug()))
                .hint("use auto, model or structural"));
        }
    })
}

/// By how much a scope changes; regular when nothing is said.
pub(crate) fn strength(word: &str) -> Result<Strength> {
    Ok(match word {
        "light" => Strength::Light,
        "" | "regular" => Strength::Regular,
        "heavy" => Strength::Heavy,
        other => {
            return Err(Fault::invalid(format!("`{}` is no strength", other.escape_debug()))
                .hint("use light, regular or heavy"));
        }
    })
}
