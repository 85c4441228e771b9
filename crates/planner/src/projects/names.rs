//! What projects and tags may be called, and where their records lie.

use base::{Fault, Result};

use super::record::Tag;

/// The tag that every project has from the beginning.
pub const MAIN_TAG: &str = "master";

/// Names go into keys, files and command lines.
const MOST_CHARS: usize = 64;

pub(super) const PROJECTS: &str = "projects/about/";

pub(super) fn project_key(project: &str) -> String {
    format!("{PROJECTS}{project}")
}

pub(super) fn tags_prefix(project: &str) -> String {
    format!("projects/tags/{project}/")
}

pub(super) fn tag_key(project: &str, tag: &str) -> String {
    format!("projects/tags/{project}/{tag}")
}

/// Everything that was ever written of the tasks of a project.
pub(super) fn all_tasks_prefix(project: &str) -> String {
    format!("projects/tasks/{project}/")
}

/// Every generation of a tag's tasks.
pub(super) fn generations_prefix(project: &str, tag: &Tag) -> String {
    format!("projects/tasks/{project}/{}/", tag.id)
}

pub(super) fn generation_prefix(project: &str, tag: &Tag, generation: &str) -> String {
    format!("projects/tasks/{project}/{}/{generation}/", tag.id)
}

pub(super) fn tasks_prefix(project: &str, tag: &Tag) -> String {
    generation_prefix(project, tag, tag.generation())
}

pub(super) fn task_key(project: &str, tag: &Tag, generation: &str, number: u32) -> String {
    format!("projects/tasks/{project}/{}/{generation}/{number:010}", tag.id)
}

pub(super) fn all_events_prefix(project: &str) -> String {
    format!("projects/events/{project}/")
}

pub(super) fn event_key(project: &str, tag: &Tag, revision: u64) -> String {
    format!("projects/events/{project}/{}/{revision:016}", tag.id)
}

pub(super) fn all_undo_prefix(project: &str) -> String {
    format!("projects/undo/{project}/")
}

pub(super) fn undo_key(project: &str, tag: &Tag, revision: u64) -> String {
    format!("projects/undo/{project}/{}/{revision:016}", tag.id)
}

/// Marks of what was done once for ever.
pub(super) fn marks_prefix(kind: &str) -> String {
    format!("projects/once/{kind}/")
}

pub(super) fn check_project(name: &str) -> Result<()> {
    check("project", name)
}

pub(super) fn check_tag(name: &str) -> Result<()> {
    check("tag", name)
}

fn check(what: &str, name: &str) -> Result<()> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    if begins_well && name.len() <= MOST_CHARS && name.bytes().all(is_good) {
        return Ok(());
    }
    let shown: String = name.chars().take(MOST_CHARS).collect();
    Err(Fault::invalid(format!("`{}` cannot be the name of a {what}", shown.escape_debug()))
        .hint(format!("use 1 to {MOST_CHARS} letters, digits, `-`, `_` and `.`, a letter or digit first")))
}
