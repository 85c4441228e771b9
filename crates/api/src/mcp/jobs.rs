//! Calls that start a job: they wait for it, telling how far it is, and give its id back before a client loses patience.

use std::time::Duration;

use base::Fault;
use futures_util::StreamExt;
use jobs::State;
use planner::planning::Job;
use planner::projects::name_of_folder;
use planner::work::{Order, Spent, Work};
use rmcp::model::ProgressNotificationParam;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::call::{Call, Said};
use crate::{job, tasks_json};

/// Clients give up after 60 s.
pub(super) const MOST_WAIT: Duration = Duration::from_secs(50);
/// Between two signs of life while nothing changes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Starts a job, and gives its result, or its id when it takes long.
pub(super) async fn start(call: &Call<'_>, work: Work) -> Said {
    let order = Order {
        project: call.project().await?,
        tag: call.tag(),
        who: call.who().to_owned(),
        planner: job::planner(&call.text("planner"))?,
        work,
    };
    let (planning, key) = (call.planning()?, call.given("once"));
    // Whoever gives a key may come again for the job.
    let is_known_here_alone = key.is_none();
    let id = planning.start(order, key).await?;
    let said = wait(call, &id.to_string()).await;
    if is_known_here_alone && call.is_abandoned() {
        planning.jobs.cancel(id).await?;
    }
    said
}

/// Follows a job until it has ended, the client wants no more, or its patience is over.
pub(super) async fn wait(call: &Call<'_>, id: &str) -> Said {
    let planning = call.planning()?;
    let patience = call.number("waitSeconds").map_or(MOST_WAIT, |s| Duration::from_secs(s).min(MOST_WAIT));
    let until = Instant::now() + patience;
    let mut job = planning.job(id).await?;
    let mut teller = Teller { call, sent: 0.0 };
    let mut changes = std::pin::pin!(planning.watch(id).await?);
    while !job.view.state.is_final() && Instant::now() < until {
        let next = timeout_at(until.min(Instant::now() + SIGN_OF_LIFE), changes.next());
        match call.context.ct.run_until_cancelled(next).await {
            Some(Ok(Some(changed))) => job = changed?,
            Some(Err(_)) => {}
            // Nobody waits any more, or the job's record is gone.
            Some(Ok(None)) | None => break,
        }
        teller.tell(&job).await;
    }
    ended(job)
}

fn ended(job: Job) -> Said {
    match &job.view.state {
        State::Failed { fault } => {
            let told = Fault::new(fault.code, format!("job {} failed: {}", job.view.id, fault.message));
            Err(match &fault.hint {
                Some(hint) => told.hint(hint.clone()),
                None => told.hint("call the tool again"),
            }
            .into())
        }
        State::Waiting | State::Running => {
            let mut said = tasks_json::job(&job);
            said["next"] = json!("it goes on by itself: call `job_status` with this id to wait for its end");
            Ok(said)
        }
        State::Done | State::Cancelled => {
            let mut said = tasks_json::job(&job);
            if let Some(spent) = job.result.as_ref().and_then(Spent::of) {
                said["telemetryData"] = telemetry(job.about().2, &spent);
            }
            Ok(said)
        }
    }
}

/// What a call took, in the words of upstream's clients, which show it. Nothing of it goes anywhere else.
fn telemetry(work: &str, spent: &Spent) -> Value {
    let models: Vec<&str> = spent.models.iter().map(String::as_str).collect();
    json!({
        "commandName": work,
        "modelUsed": models.join(", "),
        "providerName": "taskmaster",
        "inputTokens": spent.prompt_tokens,
        "outputTokens": spent.answer_tokens,
        "totalTokens": spent.prompt_tokens + spent.answer_tokens,
        "totalCost": spent.cost,
        "currency": "USD",
    })
}

/// Tells a client that asked for it how far a job is. Its figures only grow, as the protocol wants.
struct Teller<'a> {
    call: &'a Call<'a>,
    sent: f64,
}

impl Teller<'_> {
    async fn tell(&mut self, job: &Job) {
        let Some(token) = self.call.context.meta.get_progress_token() else { return };
        let progress = job.view.progress.clone().unwrap_or_default();
        let done = progress.done as f64;
        if job.view.state.is_final() && done <= self.sent {
            return;
        }
        // A sign of life without news moves a little, and never as far as the next real step.
        self.sent = if done > self.sent { done } else { self.sent + (self.sent.floor() + 1.0 - self.sent) / 10.0 };
        let state = job::state(&job.view.state);
        let message = match progress.current.is_empty() {
            true => state.to_owned(),
            false => format!("{state}: {}", progress.current),
        };
        let mut said = ProgressNotificationParam::new(token, self.sent).with_message(message);
        if progress.total > 0 {
            said = said.with_total(progress.total as f64);
        }
        // A client that does not listen any more is noticed by its connection.
        let _ = self.call.context.peer.notify_progress(said).await;
    }
}

/// `job_status`: one job, or those of the project.
pub(super) async fn status(call: &Call<'_>) -> Said {
    match call.given("id") {
        Some(id) => wait(call, &id).await,
        None => {
            let project = call.given("project").or_else(|| name_of_folder(&call.text("projectRoot")).ok());
            let jobs = call.planning()?.jobs_of(&project.unwrap_or_default()).await?;
            let all: Vec<Value> = jobs.iter().map(tasks_json::job).collect();
            Ok(json!({ "total": all.len(), "jobs": all }))
        }
    }
}

/// `cancel_job`.
pub(super) async fn cancel(call: &Call<'_>) -> Said {
    let cancelled = job::cancel(&*call.planning()?, &call.text("id")).await?;
    Ok(tasks_json::job(&cancelled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_took_is_told_as_upstream_tells_it() {
        let spent = Spent {
            questions: 3,
            prompt_tokens: 300,
            answer_tokens: 20,
            models: ["llama3.1:8b".to_owned(), "qwen3:4b".to_owned()].into(),
            cost: 0,
            sources: Default::default(),
        };
        let told = telemetry("expand", &spent);
        assert_eq!((&told["commandName"], &told["modelUsed"]), (&json!("expand"), &json!("llama3.1:8b, qwen3:4b")));
        assert_eq!(
            (&told["inputTokens"], &told["outputTokens"], &told["totalTokens"]),
            (&json!(300), &json!(20), &json!(320))
        );
        assert_eq!(told["totalCost"], 0);
    }
}
