//! Files of this machine as documents: which ones a folder has, and what they are called in the knowledge base.
//!
//! A source is `file://HOST/PATH`: the same path on another machine is another document.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use base::{Fault, Result};
use ignore::WalkBuilder;

use crate::file;

/// Files that were found, and what was left out and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In the order of their names.
    pub files: Vec<PathBuf>,
    /// What could not be looked at.
    pub failed: Vec<(String, String)>,
    /// Names that begin with a dot, in folders.
    pub hidden: u64,
    /// What is neither a file nor a folder, such as a link.
    pub odd: u64,
    /// What `.gitignore` names, in folders; a folder counts as one.
    pub ignored: u64,
}

/// What `path` is or holds. In a folder hidden names and those that `.gitignore` names are left out; a file that is named
/// is taken as it is.
pub fn walk(path: &Path, found: &mut Found) -> Result<()> {
    let about = fs::metadata(path).map_err(|error| file::could_not("read", &path.display().to_string(), error))?;
    if about.is_file() {
        found.files.push(path.to_owned());
        return Ok(());
    }
    if !about.is_dir() {
        let message = format!("`{}` is neither a file nor a folder, but a device, a pipe or a socket", path.display());
        return Err(Fault::invalid(message).hint("write what comes out of it into a file, or give it to `add -`"));
    }
    let is_shown = |entry: &ignore::DirEntry| entry.depth() == 0 || !is_hidden(entry.file_name());
    let mut walk = WalkBuilder::new(path);
    walk.hidden(false).require_git(false).git_global(false).sort_by_file_name(Ord::cmp).filter_entry(is_shown);
    let (mut seen, mut folders) = (HashSet::new(), Vec::new());
    for entry in walk.build() {
        match entry {
            Ok(entry) => {
                let kind = entry.file_type();
                if kind.is_some_and(|kind| kind.is_file()) {
                    found.files.push(entry.path().to_owned());
                } else if kind.is_some_and(|kind| kind.is_dir()) {
                    folders.push(entry.path().to_owned());
                } else {
                    found.odd += 1;
                }
                seen.insert(entry.into_path());
            }
            Err(error) => found.failed.push((path.display().to_string(), error.to_string())),
        }
    }
    for folder in folders {
        count_left_out(&folder, &seen, found);
    }
    Ok(())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Counts what of a folder was not shown. One that cannot be listed was told of already.
fn count_left_out(folder: &Path, seen: &HashSet<PathBuf>, found: &mut Found) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_hidden(&entry.file_name()) {
            found.hidden += 1;
        } else if !seen.contains(&entry.path()) {
            found.ignored += 1;
        }
    }
}

/// A path from the root on, as a node is told of it: only that means anything on another machine.
pub fn whole(path: &str) -> Result<String> {
    let wrong = |why: &str| Fault::invalid(format!("`{path}` is no path: {why}")).hint("name a folder");
    let whole = std::path::absolute(path).map_err(|error| wrong(&error.to_string()))?;
    whole.to_str().map(|whole| whole.to_owned()).ok_or_else(|| wrong("it is not UTF-8"))
}

/// What a file of this machine is called; `None` where its name is not UTF-8.
pub fn source(path: &Path) -> Option<String> {
    // A file that is gone can still be named.
    let whole = fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok()?;
    Some(format!("file://{}{}", host(), whole.to_str()?))
}

/// What this machine calls itself.
fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.split('.').next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_and_ignored_ones_are_left_out_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("notes/.git")).unwrap();
        fs::create_dir_all(at("notes/deep")).unwrap();
        for name in
            ["notes/b.md", "notes/a.md", "notes/deep/c.txt", "notes/.secret", "notes/.git/config", "notes/x.log"]
        {
            fs::write(at(name), "text").unwrap();
        }
        fs::write(at("notes/.gitignore"), "*.log\n").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("notes/link.md")).unwrap();
        let mut found = Found::default();
        walk(&at("notes"), &mut found).unwrap();
        let names: Vec<_> =
            found.files.iter().map(|path| path.strip_prefix(at("notes")).unwrap().display().to_string()).collect();
        assert_eq!(names, ["a.md", "b.md", "deep/c.txt"]);
        assert_eq!((found.hidden, found.odd, found.ignored, found.failed.len()), (3, 1, 1, 0));
        let mut named = Found::default();
        walk(&at("notes/.secret"), &mut named).unwrap();
        assert_eq!(named.files.len(), 1, "what is named is meant");
        assert!(walk(&at("none"), &mut named).is_err());
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let fault = walk(&pipe, &mut Found::default()).unwrap_err();
        assert!(fault.message.contains("neither a file nor a folder"), "{fault:?}");
        let mut found = Found::default();
        walk(folder.path(), &mut found).unwrap();
        assert_eq!((found.files.len(), found.odd), (0, 1));
    }

    #[test]
    fn a_source_names_the_machine_and_the_whole_path() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.md"), "").unwrap();
        let one = source(&folder.path().join("a.md")).unwrap();
        assert!(one.starts_with("file://") && one.ends_with("/a.md"), "{one}");
        assert_eq!(source(&folder.path().join("./a.md")).unwrap(), one);
        assert!(source(&folder.path().join("gone.md")).unwrap().ends_with("/gone.md"));
    }
}
