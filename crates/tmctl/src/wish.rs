//! `tmctl do "…"`: a change in plain language. A model says which edits it means; they are shown, and made when a person
//! says so. What is made is what was shown: a task that somebody changed in between is a conflict.

use base::{Fault, Result};
use planner::Edit;
use planner::wire::edit_to_wire;
use proto::planning::change;
use proto::planning::start_request::Work;
use proto::planning::{Do, EditResponse, Expected, Filter, Job, StartRequest};
use serde::{Deserialize, Serialize};

use crate::changes::{self, Wanted};
use crate::client::Servers;
use crate::jobs::follow::{self, How};
use crate::place::{At, Missing, Named};
use crate::screen::{Ended, Screen, Verdict};
use crate::tasks::by_model::result;
use crate::tasks::{item, list};
use crate::text::visible;

/// What is wanted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// In your own words
    text: String,
    #[command(flatten)]
    named: Named,
    /// Make the changes without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    how: How,
}

/// What a job makes of a wish.
#[derive(Debug, Default, Deserialize)]
struct Meant {
    /// What is to be done.
    edits: Vec<Edit>,
    /// What of the wish was not understood; empty when all of it was.
    #[serde(default)]
    unclear: String,
}

/// Finds out what is meant, shows it, asks, and does it.
pub async fn run(servers: &Servers, screen: &mut Screen, args: Args) -> Result<Verdict, Ended> {
    let Args { text, named, yes, how } = args;
    let mut at = At::open(servers, screen, &named, Missing::Refuse).await?;
    let work = Some(Work::Do(Do { text: text.clone() }));
    let request = StartRequest { place: at.place(), work, ..StartRequest::default() };
    let Some(job) = follow::start(servers, screen, &how, request).await? else { return Ok(Verdict::Done) };
    let meant = meant(&job)?;
    if !meant.unclear.is_empty() {
        screen.note(&visible(&format!("unclear: {}\n", meant.unclear)));
    }
    let mut wanted =
        Wanted { edits: edits(&meant)?, expected: Vec::new(), why: text, who: changes::BY_HAND.to_owned() };
    wanted.expected = seen(&mut at, &meant).await?;
    let looked = wanted.look(&mut at).await?;
    if looked.conflict.is_some() {
        return changes::show(screen, &at.place, &looked);
    }
    if looked.differences.is_empty() && !meant.edits.is_empty() {
        screen.show(|_| nothing_new(&meant.edits, &looked), &changes::json(&looked))?;
        return Ok(Verdict::Done);
    }
    let preview = preview(&meant.edits, &looked);
    // Only JSON that is about nothing else goes to stdout: what was done, or what would be.
    screen.note(&preview);
    if yes || screen.ask("make these changes?") == Some(true) {
        return changes::make(&mut at, screen, &wanted).await;
    }
    if screen.style.json {
        let Meant { edits, unclear } = &meant;
        screen.json(&Shown { job: &job.id, edits, unclear, would: changes::json(&looked) })?;
    }
    Err(Fault::invalid("nothing was changed: it was not confirmed")
        .hint("add --yes to do it, or say it another way")
        .into())
}

#[derive(Serialize)]
struct Shown<'a> {
    job: &'a str,
    edits: &'a [Edit],
    unclear: &'a str,
    would: changes::Json<'a>,
}

fn meant(job: &Job) -> Result<Meant> {
    let meant: Meant = serde_json::from_value(result(job)?).map_err(|error| {
        let fault = Fault::internal(format!("could not read what the job `{}` wants to change", job.id));
        fault.because(error).hint("nothing was changed; the server is of another release, `tmctl doctor` tells both")
    })?;
    if meant.edits.is_empty() {
        let why = if meant.unclear.is_empty() { String::new() } else { format!(": {}", meant.unclear) };
        let fault = Fault::invalid(format!("there is nothing to change{why}"));
        return Err(fault.hint("say it another way, with the ids of the tasks; `tmctl tasks` lists them"));
    }
    Ok(meant)
}

fn edits(meant: &Meant) -> Result<Vec<change::Edit>> {
    let wire = |edit: &Edit| {
        edit_to_wire(edit).and_then(|change| change.edit).ok_or_else(|| {
            Fault::invalid(format!("could not {edit}: a wish cannot do that")).hint("use `tmctl plan parse` instead")
        })
    };
    meant.edits.iter().map(wire).collect()
}

/// The versions of the tasks that the edits are about, so that only those are changed that were shown. What the wish adds
/// itself is not there yet, so no task is asked for by name.
async fn seen(at: &mut At, meant: &Meant) -> Result<Vec<Expected>> {
    let ids: Vec<String> = meant.edits.iter().flat_map(about).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let tasks = list::all(at, Filter::default()).await?.tasks;
    let there = item::flat(&tasks).into_iter().filter(|task| ids.contains(&task.id));
    Ok(there.map(|task| Expected { id: task.id.clone(), version: task.version }).collect())
}

/// The tasks that an edit takes as they are.
fn about(edit: &Edit) -> Vec<String> {
    let ids = match edit {
        Edit::Change { id, .. } | Edit::Note { id, .. } | Edit::Promote { id } | Edit::Demote { id, .. } => vec![id],
        Edit::ReplaceSubtasks { id, .. } | Edit::AddSubtasks { id, .. } => vec![id],
        Edit::AddDependency { id, .. } | Edit::RemoveDependency { id, .. } => vec![id],
        Edit::SetStatus { ids, .. } | Edit::Remove { ids } | Edit::ClearSubtasks { ids } => ids.iter().collect(),
        Edit::Move { from, .. } => from.iter().collect(),
        Edit::Add { .. } | Edit::Fix | Edit::Replace { .. } | Edit::Append { .. } => Vec::new(),
    };
    ids.into_iter().map(ToString::to_string).collect()
}

/// What is wanted is so already: nothing to ask about.
fn nothing_new(edits: &[Edit], looked: &EditResponse) -> String {
    visible(&format!("nothing would be different, it is so already:\n{}", numbered(edits))) + &changes::body(looked)
}

fn numbered(edits: &[Edit]) -> String {
    edits.iter().zip(1..).map(|(edit, number)| format!("{number}. {edit}\n")).collect()
}

/// Each edit in words, then what becomes different by all of them.
fn preview(edits: &[Edit], looked: &EditResponse) -> String {
    visible(&format!("this would be done:\n{}\n", numbered(edits))) + &changes::body(looked) + "\n"
}

#[cfg(test)]
mod tests;
