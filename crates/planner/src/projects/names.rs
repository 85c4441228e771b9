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

/// One generation of the tasks of the tag with that id.
pub(super) fn generation_prefix(project: &str, id: &str, generation: &str) -> String {
    format!("projects/tasks/{project}/{id}/{generation}/")
}

/// A copy of the tag's record beside its tasks, so that one listing tells which revision it shows. It stands before all
/// tasks: a sweep takes it first.
pub(super) fn head_key(project: &str, tag: &Tag, generation: &str) -> String {
    format!("projects/tasks/{project}/{}/{generation}/-head", tag.id)
}

pub(super) fn task_key(project: &str, tag: &Tag, generation: &str, number: u32) -> String {
    format!("projects/tasks/{project}/{}/{generation}/{number:010}", tag.id)
}

pub(super) fn event_key(project: &str, tag: &Tag, revision: u64) -> String {
    format!("projects/events/{project}/{}/{revision:016}", tag.id)
}

/// How many events lie below one [`event_page`].
pub(super) const EVENTS_IN_PAGE: u64 = 100;

/// What the keys of the events of a hundred revisions begin with, that one among them.
pub(super) fn event_page(project: &str, tag: &Tag, revision: u64) -> String {
    format!("projects/events/{project}/{}/{:014}", tag.id, revision / EVENTS_IN_PAGE)
}

pub(super) fn undo_key(project: &str, tag: &Tag, revision: u64) -> String {
    format!("projects/undo/{project}/{}/{revision:016}", tag.id)
}

/// Everything that is ever written of the tag with that id, beside its own record and loose ones.
pub(super) fn prefixes_of(project: &str, id: &str) -> [String; 3] {
    ["tasks", "events", "undo"].map(|kind| format!("projects/{kind}/{project}/{id}/"))
}

pub(super) fn loose_prefix(project: &str) -> String {
    format!("projects/loose/{project}/")
}

/// Names a generation, or with an empty one a whole tag, for the next sweep.
pub(super) fn loose_key(project: &str, id: &str, generation: &str) -> String {
    format!("projects/loose/{project}/{id}/{generation}")
}

/// Marks of what was done once for ever.
pub(super) fn marks_prefix(kind: &str) -> String {
    format!("projects/once/{kind}/")
}

/// Refuses what cannot be a project's name.
pub fn check_project(name: &str) -> Result<()> {
    check("project", name)
}

pub(super) fn check_tag(name: &str) -> Result<()> {
    check("tag", name)
}

/// What the project in a folder is called, when nobody says: the folder's name, in the letters that names have.
pub fn name_of_folder(root: &str) -> Result<String> {
    let root = root.strip_prefix("file://").unwrap_or(root);
    let last = root.split(['/', '\\']).rfind(|part| !part.is_empty()).unwrap_or_default();
    let name = plain(last);
    if name.is_empty() {
        let what = format!("no project can be named after the folder `{}`", root.escape_debug());
        return Err(Fault::invalid(what).hint("give the project's name as `project`"));
    }
    Ok(name)
}

/// What the tag of a git branch is called: as the branch, in the letters that names have.
pub fn tag_of_branch(branch: &str) -> Result<String> {
    let name = plain(branch);
    match name.is_empty() {
        true => Err(Fault::invalid(format!("no tag can be named after the branch `{}`", branch.escape_debug()))
            .hint("name the tag yourself")),
        false => Ok(name),
    }
}

/// A name with nothing in it that names do not have; it may be empty.
fn plain(name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    let name: String = name.chars().map(plain).collect();
    name.trim_start_matches(['-', '_', '.']).chars().take(MOST_CHARS).collect()
}

fn check(what: &str, name: &str) -> Result<()> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    if begins_well && name.len() <= MOST_CHARS && name.bytes().all(is_good) {
        return Ok(());
    }
    let shown: String = name.chars().take(MOST_CHARS).collect();
    Err(Fault::invalid(format!("`{}` cannot be the name of a {what}", shown.escape_debug()))
        .hint(format!("use 1 to {MOST_CHARS} of a-z, A-Z, 0-9, `-`, `_` and `.`, a letter or digit first")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_called_as_its_folder() {
        for (root, name) in [
            ("/srv/ada/greenhouse", "greenhouse"),
            ("/srv/ada/greenhouse/", "greenhouse"),
            ("C:\\work\\my shed", "my-shed"),
            ("file:///srv/.hidden", "hidden"),
            ("x/../../etc", "etc"),
        ] {
            assert_eq!(name_of_folder(root).ok().as_deref(), Some(name), "{root}");
            assert!(check_project(name).is_ok());
        }
        assert!(name_of_folder("/").is_err());
        assert!(name_of_folder("/..").is_err());
        let hint = check_project("f\u{fc}r").unwrap_err().hint.unwrap();
        assert!(hint.contains("a-z, A-Z, 0-9"), "{hint}");
    }

    #[test]
    fn a_tag_is_called_as_its_branch() {
        for (branch, name) in [("main", "main"), ("feature/login", "feature-login"), ("ü/x", "x")] {
            assert_eq!(tag_of_branch(branch).ok().as_deref(), Some(name), "{branch}");
        }
        assert_eq!(tag_of_branch(&"x".repeat(100)).unwrap().len(), MOST_CHARS);
        assert!(tag_of_branch("ü").is_err());
    }
}
