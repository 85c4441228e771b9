//! `tmctl jobs`: work on plans, and research in rounds, that goes on in the cluster: how far it is, who does it, and an end to it.

pub mod follow;

use base::time::{self, rfc3339};
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
            if let Some(project) = &of.project {
                screen.note(&text::visible(&format!(
                    "only jobs of project {project}, which --project or TMCTL_PROJECT names\n"
                )));
            }
            let request = ListJobsRequest { project: of.project.unwrap_or_default() };
            let jobs = call(CALL_LIMIT, planning.list_jobs(request)).await?.jobs;
            let list = List::of_now(&connection.server, jobs.iter().map(item).collect());
            screen.show(|style| table(&jobs, &connection.server, time::unix_ms(), style), &list)?;
            return Ok(Verdict::Done);
        }
        Verb::Show { id } => call(CALL_LIMIT, planning.get_job(GetJobRequest { id })).await?.job,
        Verb::Cancel { id } => {
            let job = call(CALL_LIMIT, planning.cancel_job(CancelJobRequest { id })).await?.job.unwrap_or_default();
            screen.show(|_| cancelled(&job), &item(&job))?;
            let was_over = matches!(job.state.as_str(), "done" | "failed");
            return Ok(if was_over { Verdict::NotWell } else { Verdict::Done });
        }
        Verb::Watch { id } => Some(follow::follow(servers, screen, &mut Watch::of_process()?, &id).await?),
    };
    let job = job.unwrap_or_default();
    screen.show(|_| page(&job), &item(&job))?;
    Ok(Verdict::Done)
}

fn table(jobs: &[Job], server: &str, now_unix_ms: u64, style: Style) -> String {
    let mut table = Table::new(["ID", "KIND", "PLACE", "STATE", "DONE", "NOW", "NODE", "AGE"]);
    for job in jobs {
        table.row([
            job.id.as_str().into(),
            job.kind.as_str().into(),
            place(job).into(),
            state(job),
            done(job).into(),
            text::or_dash(now(job)).into(),
            text::or_dash(&job.node).into(),
            age(job.created_unix_ms, now_unix_ms).into(),
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
    let Some(place) = job.place.as_ref().filter(|place| !place.project.is_empty()) else { return "-".to_owned() };
    if place.tag.is_empty() { place.project.clone() } else { format!("{}/{}", place.project, place.tag) }
}

/// How much of it; where nobody counted, nothing.
fn done(job: &Job) -> String {
    match (job.state.as_str(), job.total) {
        (_, 0) => "-".to_owned(),
        ("done", total) => format!("{total} of {total}"),
        (_, total) => format!("{} of {total}", job.done),
    }
}

/// What it is at; of one that is over, nothing.
fn now(job: &Job) -> &str {
    if matches!(job.state.as_str(), "done" | "failed" | "cancelled") { "" } else { &job.current }
}

/// How long ago it was begun; where this clock is behind, when.
fn age(then_unix_ms: u64, now_unix_ms: u64) -> String {
    match now_unix_ms.checked_sub(then_unix_ms) {
        Some(ms) => text::seconds(ms as f64 / 1000.0),
        None => text::clock(then_unix_ms),
    }
}

/// What became of a wish to end it.
fn cancelled(job: &Job) -> String {
    let id = &job.id;
    text::visible(&match job.state.as_str() {
        "cancelled" => format!("{id} is cancelled; what its finished steps wrote is kept\n"),
        "done" | "failed" => {
            format!("nothing was cancelled: {id} is {} already; `tmctl jobs show {id}` shows it\n", job.state)
        }
        _ => format!("{id} ends as soon as its node hears of it; `tmctl jobs watch {id}` waits for that\n"),
    })
}

fn page(job: &Job) -> String {
    let mut lines = vec![
        ("job", job.id.clone()),
        ("kind", job.kind.clone()),
        ("place", place(job)),
        ("state", job.state.clone()),
        ("done", done(job)),
        ("now", now(job).to_owned()),
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
            assert!(typed.notes.starts_with("only jobs of project garden,"), "{}", typed.notes);
            assert!(script.asked::<ListJobsRequest>()[0].contains("garden"), "{words:?}");
        }
    }

    #[tokio::test]
    async fn a_job_that_is_over_is_not_said_to_be_cancelled() {
        for (state, code, says) in [
            ("done", 1, "nothing was cancelled: j-4 is done already; `tmctl jobs show j-4` shows it\n"),
            ("running", 0, "j-4 ends as soon as its node hears of it; `tmctl jobs watch j-4` waits for that\n"),
            ("cancelled", 0, "j-4 is cancelled; what its finished steps wrote is kept\n"),
        ] {
            let job = Job { state: state.into(), ..samples::planning::jobs().remove(3) };
            let script = Script::default()
                .on(move |_: CancelJobRequest| Ok(proto::planning::CancelJobResponse { job: Some(job.clone()) }));
            let typed = type_in(&script.serve(), &["jobs", "cancel", "j-4"]).await;
            assert_eq!((typed.code, typed.data.as_str()), (code, says));
        }
    }

    #[test]
    fn jobs_as_table_page_and_json() {
        let jobs = samples::planning::jobs();
        let now = samples::NOW + 185_000;
        let text = table(&jobs, "grey-area:3002", now, Style::default())
            + &table(&[], "grey-area:3002", now, Style::default())
            + &jobs.iter().map(|job| format!("\n{}", page(job))).collect::<String>()
            + &samples::json(&samples::list("grey-area:3002", jobs.iter().map(item).collect()));
        insta::assert_snapshot!("jobs", text);
    }
}
