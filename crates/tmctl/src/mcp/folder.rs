//! Keeps a folder's tasks.json in step with the server's project, by record, as `tmctl tasks sync` does by hand.
//!
//! Nobody is there to choose, so what both changed differently stays as the server has it; the file as it was is kept
//! beside, and the call's answer says so.

use std::fs;
use std::path::{Path, PathBuf};

use base::{Code, Fault, Result};
use proto::planning::ImportResponse;
use proto::planning::planning_client::PlanningClient;

use crate::client::Keyed;
use crate::tasks::sync::{Folder, MayEmpty, Merged, Writes};

/// Brings both together; gives what clashed, in words.
pub(super) async fn sync(planning: &mut PlanningClient<Keyed>, root: &Path, project: &str) -> Result<Vec<String>> {
    stays_inside(root)?;
    let folder = Folder::new(root);
    match folder.merge(planning, project, (Writes::Everything, MayEmpty::No), || {}).await? {
        Merged::Done { done, before: Some(before), .. } => {
            Ok(clashes(&done, &before.strip_prefix(root).unwrap_or(&before).display().to_string()))
        }
        Merged::Done { .. } | Merged::Looked { .. } => Ok(Vec::new()),
    }
}

/// Brings both together before a call, where somebody wrote the file since the last time.
pub(super) async fn catch_up(planning: &mut PlanningClient<Keyed>, root: &Path, project: &str) -> Result<Vec<String>> {
    stays_inside(root)?;
    match Folder::new(root).is_edited(project)? {
        true => sync(planning, root, project).await,
        false => Ok(Vec::new()),
    }
}

/// Folders and files that are ours, from the project's folder on.
const OURS: [&str; 9] = [
    ".taskmaster",
    ".taskmaster/tasks",
    ".taskmaster/tasks/tasks.json",
    ".taskmaster/docs",
    ".taskmaster/reports",
    ".taskmaster/templates",
    ".taskmaster/.tm-sync.json",
    "tasks",
    "tasks/tasks.json",
];

/// A file or a folder that is a link may lead anywhere, and an agent may have made it.
pub(super) fn stays_inside(root: &Path) -> Result<()> {
    let real = OURS.iter().filter_map(|name| fs::canonicalize(root.join(name)).ok());
    match real.into_iter().find(|place: &PathBuf| !place.starts_with(root)) {
        Some(place) => {
            let what = format!("`{}` lies outside of the project's folder", place.display());
            Err(Fault::new(Code::PermissionDenied, what).hint("replace the link by a file or folder"))
        }
        None => Ok(()),
    }
}

fn clashes(merged: &ImportResponse, before: &str) -> Vec<String> {
    let shown = merged.conflicts.iter().map(|clash| {
        let task = if clash.id.is_empty() { String::new() } else { format!(" of task {}", clash.id) };
        let tag = if clash.tag.is_empty() { String::new() } else { format!(" (tag {})", clash.tag) };
        format!(
            "tasks.json and the server differ in {}{task}{tag}: the server's `{}` was kept instead of `{}`; the file as it was \
             is {before}",
            clash.field, clash.ours, clash.theirs
        )
    });
    shown.collect()
}
