//! A project's tasks as a tasks.json: written out whole, taken in without overwriting anything.

use std::path::PathBuf;

use base::Result;
use proto::planning::{ExportRequest, ImportRequest, ImportResponse, MergeConflict};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::file;
use crate::place::{At, Missing, Named};
use crate::screen::{Ended, Screen, Verdict};
use crate::text::visible;

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
    let missing = if import.dry_run { Missing::Refuse } else { Missing::Make };
    let mut at = At::open(servers, screen, named, missing).await?;
    let request = ImportRequest {
        project: at.project(),
        tasks_json: tasks_json.into(),
        dry_run: import.dry_run,
        ..ImportRequest::default()
    };
    let response = call(CALL_LIMIT, at.planning.import(request)).await?;
    tell(screen, &at, &response, import.dry_run, None)
}

/// What came of an import: conflicts are not well.
pub fn tell(
    screen: &mut Screen,
    at: &At,
    response: &ImportResponse,
    is_dry: bool,
    is_file_changed: Option<bool>,
) -> Result<Verdict, Ended> {
    let json = Imported {
        project: &at.place.project,
        is_dry_run: is_dry,
        is_server_changed: response.has_changed,
        is_file_changed,
        conflicts: response.conflicts.iter().map(conflict_item).collect(),
        notes: &response.notes,
    };
    screen.show(|_| text(&json, &response.conflicts), &json)?;
    Ok(if response.conflicts.is_empty() { Verdict::Done } else { Verdict::NotWell })
}

#[derive(Serialize)]
struct Imported<'a> {
    project: &'a str,
    is_dry_run: bool,
    is_server_changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_file_changed: Option<bool>,
    conflicts: Vec<ConflictItem<'a>>,
    notes: &'a [String],
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

fn text(told: &Imported<'_>, all: &[MergeConflict]) -> String {
    let would = if told.is_dry_run { "would be" } else { "is" };
    let changed = |is_changed| if is_changed { "changed" } else { "as it was" };
    let file = told.is_file_changed.map_or(String::new(), |is| format!(", the file {would} {}", changed(is)));
    let notes: String = told.notes.iter().map(|note| format!("note: {note}\n")).collect();
    let head = format!("{notes}the project {} {would} {}{file}\n", told.project, changed(told.is_server_changed));
    visible(&(head + &conflicts(all)))
}

/// Both versions of everything that both sides changed.
pub fn conflicts(all: &[MergeConflict]) -> String {
    let version = |name: &str, text: &str| {
        let lines: String = text.lines().map(|line| format!("    | {line}\n")).collect();
        format!("  {name}:\n{}", if lines.is_empty() { "    nothing\n".to_owned() } else { lines })
    };
    let one = |conflict: &MergeConflict| {
        let MergeConflict { tag, id, field, ours, theirs } = conflict;
        let field = if field.is_empty() { String::new() } else { format!(", {field}") };
        let place = if id.is_empty() { String::new() } else { format!(", task {id}") };
        let versions = version("the server's, which stays", ours) + &version("the file's", theirs);
        format!("conflict in tag {tag}{place}{field}\n{versions}")
    };
    visible(&all.iter().map(one).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

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
        let told = Imported {
            project: "garden",
            is_dry_run: false,
            is_server_changed: true,
            is_file_changed: Some(false),
            conflicts: all.iter().map(conflict_item).collect(),
            notes: &notes,
        };
        let dry = Imported { is_dry_run: true, is_file_changed: None, conflicts: vec![], notes: &[], ..told };
        let told = Imported { conflicts: all.iter().map(conflict_item).collect(), ..told };
        let text = text(&told, &all) + &text(&dry, &[]) + &samples::json(&told);
        insta::assert_snapshot!("tasks_import", text);
    }
}
