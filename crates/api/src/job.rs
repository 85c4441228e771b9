//! Jobs as every face has them: their words, and an end to them.

use base::{Fault, Result};
use jobs::State;
use planner::Planning;
use planner::planning::Job;
use planner::work::{Planner, Strength};

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
