//! `tmctl research loop`: a question that is researched in rounds, as a job of the cluster that is followed to its end.

use base::Result;
use base::units::parse_duration;
use proto::planning::Job;
use proto::research::{Span, StartLoopRequest};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ask::{place, writer};
use super::narrow::{Context, Where};
use crate::client::{CALL_LIMIT, Connection, Servers, call};
use crate::jobs::follow::Begin;
use crate::screen::{Ended, Screen, Verdict};
use crate::tasks::by_model::{listed, result};
use crate::text::{page, visible};

/// Longer ones are refused by every server.
const MOST_SECONDS: u64 = 24 * 3600;

/// What to research.
#[derive(Debug, clap::Args)]
pub struct Loop {
    /// In words of your own, in quotes or not
    #[arg(required = true, num_args = 1..)]
    question: Vec<String>,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    context: Context,
    /// At most so many rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10))]
    max_iterations: u32,
    /// At most so long, such as 10m
    #[arg(long, default_value = "30m", value_parser = seconds)]
    deadline: u64,
    /// No model: sentences as they stand in the documents
    #[arg(long, conflicts_with = "model")]
    extractive: bool,
    /// Only a model; refused where none answers
    #[arg(long)]
    model: bool,
    #[command(flatten)]
    begin: Begin,
}

fn seconds(text: &str) -> Result<u64, String> {
    let read = parse_duration(text).map(|duration| duration.as_secs());
    read.filter(|seconds| (1..=MOST_SECONDS).contains(seconds))
        .ok_or_else(|| "write it as 90s, 10m or 1h; at most a day".to_owned())
}

/// Begins the research and follows it.
pub async fn run(servers: &Servers, screen: &mut Screen, order: Loop) -> Result<Verdict, Ended> {
    let request = StartLoopRequest {
        context: order.context.text(servers).await?,
        question: order.question.join(" "),
        filter: order.at.filter(),
        max_iterations: order.max_iterations,
        deadline_s: order.deadline,
        mode: writer(order.extractive, order.model),
        key: order.begin.key(),
    };
    let put = async |connection: Connection| {
        Ok(call(CALL_LIMIT, connection.research().start_loop(request.clone())).await?.job)
    };
    let Some(job) = order.begin.run(servers, screen, put).await? else { return Ok(Verdict::Done) };
    let found = result(&job)?;
    screen.show(|_| visible(&text(&job, &found)), &with_job(&job, found.clone()))?;
    Ok(Verdict::Done)
}

/// What the job gave, with its id in front.
fn with_job(job: &Job, result: Value) -> Value {
    let mut all = Map::from_iter([("job".to_owned(), Value::from(job.id.clone()))]);
    match result {
        Value::Object(fields) => all.extend(fields),
        other => drop(all.insert("result".to_owned(), other)),
    }
    Value::Object(all)
}

/// The report of a research, as the server writes it into the job's result.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Report {
    question: String,
    findings: Vec<Finding>,
    open_questions: Vec<String>,
    recommendations: Vec<Recommendation>,
    rounds: Vec<Value>,
    stopped: String,
    model: String,
    notes: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Finding {
    question: String,
    verdict: String,
    text: String,
    citations: Vec<Cited>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cited {
    number: u32,
    span: Characters,
    collection: String,
    source: String,
    title: String,
    headings: String,
    page: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Characters {
    start: u64,
    end: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Recommendation {
    text: String,
    sources: Vec<String>,
}

/// What was found with its sources, then what was not. A report of another release is shown as it is.
fn text(job: &Job, result: &Value) -> String {
    let Ok(report) = Report::deserialize(result) else { return format!("{result:#}\n") };
    let head = page(&[
        ("question", report.question),
        ("rounds", report.rounds.len().to_string()),
        ("ended", stopped(&report.stopped).to_owned()),
        ("questions by", report.model),
        ("notes", report.notes.join("; ")),
        ("job", job.id.clone()),
    ]);
    // What is not found stands among the open questions.
    let found: Vec<&Finding> = report.findings.iter().filter(|one| one.verdict != "not_found").collect();
    let findings = if found.is_empty() { "\nnothing was found\n" } else { "\nfindings:\n" }.to_owned();
    let findings = findings + &found.into_iter().map(finding).collect::<String>();
    let advice = report.recommendations.iter().map(|one| match one.sources.as_slice() {
        [] => one.text.clone(),
        sources => format!("{} ({})", one.text, sources.join(", ")),
    });
    let list = |heading: &str, lines: Vec<String>| {
        let lines: Vec<Value> = lines.into_iter().map(Value::String).collect();
        listed(heading, &lines)
    };
    head + &findings + &list("not answered", report.open_questions) + &list("recommendations", advice.collect())
}

fn finding(finding: &Finding) -> String {
    let unsure = if finding.verdict == "unsure" { "  (unsure: nothing to rely on)" } else { "" };
    let mut text = format!("- {}{unsure}\n", finding.question);
    text.extend(finding.text.lines().map(|line| format!("    {line}\n")));
    for Cited { number, span: Characters { start, end }, collection, source, title, headings, page } in
        &finding.citations
    {
        let span = Span { start: *start, end: *end, ..Span::default() };
        let place = place((title, headings), (collection, source), *page, Some(&span));
        text.push_str(&format!("    [{number}] {place}\n"));
    }
    text
}

/// Why it ended, in words; a word of another release stands for itself.
fn stopped(why: &str) -> &str {
    match why {
        "answered" => "everything that was asked is answered",
        "no_gain" => "nothing new was found, or nothing was left to ask",
        "max_iterations" => "all rounds are used up",
        "deadline" => "the time was over",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_research_is_shown_with_findings_and_what_stays_open() {
        let job = Job { id: "j-7".into(), ..Job::default() };
        // As a server wrote it.
        let result: Value = serde_json::from_str(include_str!("../samples/report.json")).unwrap();
        insta::assert_snapshot!("research", visible(&text(&job, &result)));
        assert_eq!(with_job(&job, result)["job"], "j-7");
        let odd = json!({ "findings": "none" });
        assert!(text(&job, &odd).contains(r#""findings": "none""#), "what cannot be read is shown as it is");
    }

    #[test]
    fn a_deadline_is_a_span_of_time() {
        assert_eq!(seconds("10m").unwrap(), 600);
        for wrong in ["", "0s", "soon", "25h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
