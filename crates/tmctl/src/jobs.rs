//! `tmctl jobs`: work on plans that goes on in the cluster: how far it is, who does it, and an end to it.

pub mod follow;

use base::time::rfc3339;
use clap::Subcommand;
use proto::planning::{CancelJobRequest, GetJobRequest, Job, ListJobsRequest};
use serde::Serialize;
use serde_json::Value;

use self::follow::Watch;
use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table, Tone};
use crate::text::{self, List, filled};

/// Whose jobs.
#[derive(Debug, clap::Args)]
pub struct Of {
    /// Show only those of this project
    #[arg(long, global = true, env = "TMCTL_PROJECT", value_name = "NAME")]
    project: Option<String>,
}

/// What can be done with jobs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows them
    List,
    /// Shows one, with its result
    Show {
        /// Its id
        id: String,
    },
    /// Ends one at once, down to the engine; what its finished steps wrote stays
    Cancel {
        /// Its id
        id: String,
    },
    /// Follows one to its end; Ctrl-C cancels it
    Watch {
        /// Its id
        id: String,
    },
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, of: Of, verb: Option<Verb>) -> Result<Verdict, Ended> {
    let connection = servers.connect().await?;
    let mut planning = connection.planning();
    let job = match verb.unwrap_or(Verb::List) {
        Verb::List => {
            let request = ListJobsRequest { project: of.project.unwrap_or_default() };
            let jobs = call(CALL_LIMIT, planning.list_jobs(request)).await?.jobs;
            let list = List::of_now(&connection.server, jobs.iter().map(item).collect());
            screen.show(|style| table(&jobs, &connection.server, style), &list)?;
            return Ok(Verdict::Done);
        }
        Verb::Show { id } => call(CALL_LIMIT, planning.get_job(GetJobRequest { id })).await?.job,
        Verb::Cancel { id } => call(CALL_LIMIT, planning.cancel_job(CancelJobRequest { id })).await?.job,
        Verb::Watch { id } => Some(follow::follow(servers, screen, &mut Watch::of_process()?, &id).await?),
    };
    let job = job.unwrap_or_default();
    screen.show(|_| page(&job), &item(&job))?;
    Ok(Verdict::Done)
}

fn table(jobs: &[Job], server: &str, style: Style) -> String {
    let mut table = Table::new(["ID", "KIND", "PLACE", "STATE", "DONE", "NOW", "NODE", "BEGAN"]);
    for job in jobs {
        table.row([
            job.id.as_str().into(),
            job.kind.as_str().into(),
            place(job).into(),
            state(job),
            done(job).into(),
            text::or_dash(&job.current).into(),
            text::or_dash(&job.node).into(),
            text::clock(job.created_unix_ms).into(),
        ]);
    }
    table.render(style, "no jobs; `tmctl plan parse FILE` begins one") + &text::told_by(server)
}

fn state(job: &Job) -> Cell {
    let tone = match job.state.as_str() {
        "running" | "waiting" => Tone::Plain,
        "done" => Tone::Good,
        "failed" => Tone::Bad,
        _ => Tone::Odd,
    };
    Cell::new(job.state.as_str(), tone)
}

fn place(job: &Job) -> String {
    let Some(place) = &job.place else { return "-".to_owned() };
    if place.tag.is_empty() { place.project.clone() } else { format!("{}/{}", place.project, place.tag) }
}

fn done(job: &Job) -> String {
    if job.total == 0 { job.done.to_string() } else { format!("{} of {}", job.done, job.total) }
}

fn page(job: &Job) -> String {
    let mut lines = vec![
        ("job", job.id.clone()),
        ("kind", job.kind.clone()),
        ("place", place(job)),
        ("state", job.state.clone()),
        ("done", done(job)),
        ("now", job.current.clone()),
        ("node", job.node.clone()),
        ("began", text::clock(job.created_unix_ms)),
        ("by", job.who.clone()),
    ];
    if job.attempts > 1 {
        lines.push(("attempts", job.attempts.to_string()));
    }
    if let Some(failure) = &job.failure {
        lines.push(("failure", format!("{} ({})", failure.message, failure.code)));
        lines.push(("hint", failure.hint.clone()));
    }
    let result = serde_json::from_str::<Value>(&job.result_json).ok();
    let result = result.and_then(|value| serde_json::to_string_pretty(&value).ok());
    let result = result.map(|pretty| format!("\n{pretty}\n")).unwrap_or_default();
    text::page(&lines) + &text::visible(&result)
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    kind: &'a str,
    project: Option<&'a str>,
    tag: Option<&'a str>,
    state: &'a str,
    node: Option<&'a str>,
    created: String,
    done: u32,
    total: Option<u32>,
    current: Option<&'a str>,
    estimate_s: Option<f64>,
    attempts: u32,
    who: Option<&'a str>,
    result: Option<Value>,
    failure: Option<Failure<'a>>,
}

#[derive(Serialize)]
struct Failure<'a> {
    code: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
}

fn item(job: &Job) -> Item<'_> {
    Item {
        id: &job.id,
        kind: &job.kind,
        project: job.place.as_ref().map(|place| place.project.as_str()),
        tag: job.place.as_ref().and_then(|place| filled(&place.tag)),
        state: &job.state,
        node: filled(&job.node),
        created: rfc3339(job.created_unix_ms),
        done: job.done,
        total: (job.total > 0).then_some(job.total),
        current: filled(&job.current),
        estimate_s: (job.estimate_s > 0.0).then_some(job.estimate_s),
        attempts: job.attempts,
        who: filled(&job.who),
        result: serde_json::from_str(&job.result_json).ok(),
        failure: job.failure.as_ref().map(|failure| Failure {
            code: &failure.code,
            message: &failure.message,
            hint: filled(&failure.hint),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proto::planning::ListJobsResponse;

    use super::*;
    use crate::samples;
    use crate::scripted::{Script, type_in};

    #[tokio::test]
    async fn jobs_of_a_project_are_shown_with_and_without_the_verb() {
        for words in [&["jobs", "--project", "garden"][..], &["jobs", "list", "--project", "garden"]] {
            let script = Script::default().on(|_: ListJobsRequest| Ok(ListJobsResponse::default()));
            let typed = type_in(&script.serve(), words).await;
            assert_eq!(typed.code, 0, "{words:?}: {}", typed.notes);
            assert!(script.asked::<ListJobsRequest>()[0].contains("garden"), "{words:?}");
        }
    }

    #[test]
    fn jobs_as_table_page_and_json() {
        let jobs = samples::planning::jobs();
        let text = table(&jobs, "grey-area:3002", Style::default())
            + &table(&[], "grey-area:3002", Style::default())
            + &jobs.iter().map(|job| format!("\n{}", page(job))).collect::<String>()
            + &samples::json(&samples::list("grey-area:3002", jobs.iter().map(item).collect()));
        insta::assert_snapshot!("jobs", text);
    }
}
