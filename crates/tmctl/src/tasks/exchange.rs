//! A project's tasks as a tasks.json: written out whole, taken in without overwriting anything.

use std::path::PathBuf;

use base::{Fault, Result};
use planner::tasks_file::TasksFile;
use proto::planning::{ExportRequest, ImportRequest, ImportResponse, MergeConflict, SomeTasks, TagDifference};
use serde::Serialize;

use super::sync::InFile;
use crate::client::{CALL_LIMIT, Servers, call};
use crate::file;
use crate::place::{At, Missing, Named};
use crate::screen::{Ended, Screen, Verdict};
use crate::text::{counted, visible};

/// A file to take in.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// The tasks.json; - is stdin
    file: PathBuf,
    /// Only say what would become of it
    #[arg(long)]
    dry_run: bool,
}

/// Writes all tags, or the one that was named.
pub async fn export(at: &mut At, screen: &mut Screen, to: Option<PathBuf>) -> Result<Verdict, Ended> {
    let request = ExportRequest { project: at.project(), tag: at.place.tag.clone() };
    let exported = call(CALL_LIMIT, at.planning.export(request)).await?.tasks_json;
    match to {
        Some(path) => {
            file::write(&path, &exported)?;
            screen.note(&visible(&format!("wrote {}\n", path.display())));
        }
        // A file of JSON is JSON whether or not JSON was asked for.
        None => screen.model_text(&String::from_utf8_lossy(&exported))?,
    }
    Ok(Verdict::Done)
}

/// Takes a file in.
pub async fn import(servers: &Servers, screen: &mut Screen, named: &Named, import: Import) -> Result<Verdict, Ended> {
    let tasks_json = file::read(&import.file)?;
    TasksFile::read(&tasks_json).map_err(|error| {
        let (what, hint) = (format!("could not read `{}`", import.file.display()), error.hint());
        Fault::new(error.code(), what).because(error).hint(hint)
    })?;
    let missing = if import.dry_run { Missing::Refuse } else { Missing::Make };
    let mut at = At::open(servers, screen, named, missing).await?;
    let request = ImportRequest {
        project: at.project(),
        tasks_json: tasks_json.into(),
        dry_run: import.dry_run,
        ..ImportRequest::default()
    };
    let response = call(CALL_LIMIT, at.planning.import(request)).await?;
    tell(screen, &at, &response, if import.dry_run { Outcome::WouldBe } else { Outcome::Is }, None)
}

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was only asked what would be different.
    WouldBe,
    /// Both sides are as they were, until somebody chooses.
    NothingWritten,
    /// It is done.
    Is,
}

/// What came of an import: conflicts are not well.
pub fn tell(
    screen: &mut Screen,
    at: &At,
    response: &ImportResponse,
    outcome: Outcome,
    file: Option<&InFile>,
) -> Result<Verdict, Ended> {
    let in_file = file.map_or(&[][..], |file| &file.differences);
    let sides = [("project", &response.differences[..]), ("file", in_file)];
    let json = Imported {
        project: &at.place.project,
        is_dry_run: outcome != Outcome::Is,
        is_server_changed: response.has_changed,
        is_file_changed: file.map(|file| file.is_changed),
        differences: sides.iter().flat_map(|(side, all)| all.iter().map(|one| difference_item(side, one))).collect(),
        conflicts: response.conflicts.iter().map(conflict_item).collect(),
        notes: &response.notes,
    };
    screen.show(|_| text(&json, outcome, &response.conflicts), &json)?;
    Ok(if response.conflicts.is_empty() { Verdict::Done } else { Verdict::NotWell })
}

#[derive(Serialize)]
struct Imported<'a> {
    project: &'a str,
    is_dry_run: bool,
    is_server_changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_file_changed: Option<bool>,
    differences: Vec<DifferenceItem<'a>>,
    conflicts: Vec<ConflictItem<'a>>,
    notes: &'a [String],
}

/// What is different in a tag on one side.
#[derive(Serialize)]
struct DifferenceItem<'a> {
    side: &'a str,
    tag: &'a str,
    added: SomeItem<'a>,
    changed: SomeItem<'a>,
    removed: SomeItem<'a>,
}

/// How many tasks, and what the first few are called.
#[derive(Default, Serialize)]
struct SomeItem<'a> {
    count: u32,
    first: &'a [String],
}

fn difference_item<'a>(side: &'a str, difference: &'a TagDifference) -> DifferenceItem<'a> {
    let some = |some: &'a Option<SomeTasks>| {
        some.as_ref().map(|some| SomeItem { count: some.count, first: &some.first }).unwrap_or_default()
    };
    let TagDifference { tag, added, changed, removed } = difference;
    DifferenceItem { side, tag, added: some(added), changed: some(changed), removed: some(removed) }
}

#[derive(Serialize)]
struct ConflictItem<'a> {
    tag: &'a str,
    id: &'a str,
    field: &'a str,
    server: &'a str,
    file: &'a str,
}

fn conflict_item(conflict: &MergeConflict) -> ConflictItem<'_> {
    let MergeConflict { tag, id, field, ours, theirs } = conflict;
    ConflictItem { tag, id, field, server: ours, file: theirs }
}

fn text(told: &Imported<'_>, outcome: Outcome, all: &[MergeConflict]) -> String {
    let would = if outcome == Outcome::Is { "is" } else { "would be" };
    let changed = |is_changed| if is_changed { "changed" } else { "as it was" };
    let file = told.is_file_changed.map_or(String::new(), |is| format!(", the file {would} {}", changed(is)));
    let notes: String = told.notes.iter().map(|note| format!("note: {note}\n")).collect();
    let head = match outcome {
        Outcome::NothingWritten => {
            format!(
                "{} of the project {}: nothing was written on either side\n",
                counted(all.len(), "conflict"),
                told.project
            )
        }
        _ => {
            let differences: String = told.differences.iter().map(difference_text).collect();
            format!("the project {} {would} {}{file}\n{differences}", told.project, changed(told.is_server_changed))
        }
    };
    visible(&(notes + &head + &conflicts(all, outcome)))
}

fn difference_text(item: &DifferenceItem<'_>) -> String {
    let some = |what: &str, some: &SomeItem<'_>| {
        let left_out = some.count as usize - some.first.len().min(some.count as usize);
        let more = if left_out == 0 { String::new() } else { format!(" and {left_out} more") };
        (some.count > 0).then(|| format!("{} {what} ({}{more})", some.count, some.first.join(", ")))
    };
    let all = [some("added", &item.added), some("changed", &item.changed), some("removed", &item.removed)];
    format!("  {}, tag {}: {}\n", item.side, item.tag, all.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

/// Both versions of everything that both sides changed.
pub fn conflicts(all: &[MergeConflict], outcome: Outcome) -> String {
    let version = |name: &str, text: &str| {
        let lines: String = text.lines().map(|line| format!("    | {line}\n")).collect();
        format!("  {name}:\n{}", if lines.is_empty() { "    nothing\n".to_owned() } else { lines })
    };
    let server = match outcome {
        Outcome::WouldBe => "the server's, which would stay",
        Outcome::NothingWritten => "the server's",
        Outcome::Is => "the server's, which stays",
    };
    let one = |conflict: &MergeConflict| {
        let MergeConflict { tag, id, field, ours, theirs } = conflict;
        let place = [("tag ", tag), ("task ", id), ("", field)];
        let place = place.iter().filter(|(_, part)| !part.is_empty()).map(|(what, part)| format!("{what}{part}"));
        let versions = version(server, ours) + &version("the file's", theirs);
        format!("conflict in {}\n{versions}", place.collect::<Vec<_>>().join(", "))
    };
    visible(&all.iter().map(one).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::scripted::{Script, type_in};

    fn told<'a>(
        outcome: Outcome,
        is_file_changed: Option<bool>,
        notes: &'a [String],
        conflicts: &'a [MergeConflict],
    ) -> Imported<'a> {
        Imported {
            project: "garden",
            is_dry_run: outcome != Outcome::Is,
            is_server_changed: true,
            is_file_changed,
            differences: Vec::new(),
            conflicts: conflicts.iter().map(conflict_item).collect(),
            notes,
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.json");
        let server = Script::default();
        for (text, why) in [("{", "it is not JSON"), ("null", "it holds null"), ("", "it is empty")] {
            std::fs::write(&path, text).unwrap();
            let typed = type_in(&server.serve(), &["tasks", "import", path.to_str().unwrap()]).await;
            let named = format!("could not read `{}`: {why}", path.display());
            assert!(typed.code == 1 && typed.notes.contains(&named), "{}", typed.notes);
        }
        assert!(server.asked::<ImportRequest>().is_empty());
    }

    #[test]
    fn conflicts_of_an_import_show_both_versions() {
        let conflict = MergeConflict {
            tag: "master".into(),
            id: "2".into(),
            field: "details".into(),
            ours: "Use the 24 V pump.\nMind the fuse.".into(),
            theirs: String::new(),
        };
        let all = [conflict];
        let notes = vec!["their 3 is 5 now".to_owned()];
        let some =
            |count, first: &[&str]| Some(SomeTasks { count, first: first.iter().map(|it| (*it).into()).collect() });
        let difference = TagDifference {
            tag: "master".into(),
            added: some(1, &["5 Water"]),
            changed: some(0, &[]),
            removed: some(9, &["6 Dig", "7 Plant"]),
        };
        let mut done = told(Outcome::Is, Some(false), &notes, &all);
        done.differences.push(difference_item("project", &difference));
        let mut would = told(Outcome::WouldBe, None, &[], &[]);
        would.differences.push(difference_item("project", &difference));
        let nothing = told(Outcome::NothingWritten, Some(true), &[], &all);
        let text = text(&done, Outcome::Is, &all)
            + &text(&would, Outcome::WouldBe, &[])
            + &text(&nothing, Outcome::NothingWritten, &all)
            + &samples::json(&done);
        insta::assert_snapshot!("tasks_import", text);
    }
}
