//! The files of a folder: which there are, what they are like from outside, and their bytes.
//!
//! No link is followed, and no other disk that is mounted below is entered: an unmounted one would look like documents
//! that are gone. What was found is looked at again when it is opened: what lies outside of the folder is not read.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::{Fault, Result};
use bytes::Bytes;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ignore::{DirEntry, Match, WalkBuilder};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::tally::LeftOut;
use crate::intake::checks::MOST_BYTES;

/// The most files of a folder; a folder that has more is not kept in step at all.
pub const MOST_FILES: usize = 500_000;

/// So many places that could not be looked at are told apart; with more the whole folder counts as not looked at.
const MOST_UNSEEN: usize = 1_000;

/// What a file is like from outside. As long as it is the same, so is the file; a content that was written within
/// [`TOO_NEW_NS`] may have changed without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
    inode: u64,
}

/// Disks tell the time of a change in steps; two changes in one step look like one.
const TOO_NEW_NS: i128 = 2_000_000_000;

impl Stamp {
    fn of(about: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            bytes: about.size(),
            modified_ns: ns(about.mtime(), about.mtime_nsec()),
            changed_ns: ns(about.ctime(), about.ctime_nsec()),
            inode: about.ino(),
        }
    }

    /// How large it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the next change is sure to give another one.
    pub fn is_settled(&self, now_ms: u64) -> bool {
        self.changed_ns.max(self.modified_ns) + TOO_NEW_NS < i128::from(now_ms) * 1_000_000
    }
}

/// A watched folder, ready to be looked through.
pub struct Root {
    /// Where it really is.
    pub path: PathBuf,
    /// What the sources of its files begin with.
    pub below: String,
    /// Which files.
    pub patterns: Patterns,
    /// Folders below it that are watched by themselves.
    pub inner: Vec<PathBuf>,
}

/// Which files are wanted, as in `.gitignore`: what matches is, unless a later line with `!` takes it back.
#[derive(Clone, Debug)]
pub struct Patterns {
    matcher: Gitignore,
}

impl Patterns {
    /// Reads patterns.
    pub fn parse(patterns: &[String]) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            let wrong = |why: String| {
                Fault::invalid(format!("`{}` is no pattern: {why}", pattern.escape_debug()))
                    .hint("write patterns as in .gitignore, such as *.md or notes/ or !*.log")
            };
            builder.add_line(None, pattern).map_err(|error| wrong(error.to_string()))?;
        }
        let wrong = |error: ignore::Error| Fault::invalid("the patterns cannot be used").because(error);
        Ok(Self { matcher: builder.build().map_err(wrong)? })
    }

    /// Whether the file is wanted; `path` counts from the folder.
    fn want(&self, path: &Path) -> bool {
        match self.matcher.matched_path_or_any_parents(path, false) {
            Match::Ignore(_) => true,
            Match::Whitelist(_) => false,
            // Lines that only take back leave the rest.
            Match::None => self.matcher.num_ignores() == 0,
        }
    }
}

/// What a folder has.
#[derive(Debug, Default)]
pub struct Found {
    /// Files that may be documents, by source.
    pub files: BTreeMap<String, (PathBuf, Stamp)>,
    /// Files that are too large to be documents, by source.
    pub too_large: Vec<String>,
    /// Beginnings of sources that could not be looked at.
    pub unseen: Vec<String>,
    /// What was left out, and what went wrong.
    pub left_out: LeftOut,
}

/// Looks through a folder. Blocks.
pub fn find(root: &Root) -> Found {
    let left_out = Arc::new(Mutex::new(LeftOut::default()));
    let mut found = Found::default();
    let disk = match fs::symlink_metadata(&root.path) {
        Ok(about) => about.dev(),
        Err(error) => {
            found.could_not_see(root, &root.path, &error.to_string());
            return found;
        }
    };
    let (counted, inner) = (left_out.clone(), root.inner.clone());
    let is_wanted = move |entry: &DirEntry| is_entered(entry, disk, &inner, &counted);
    let mut walk = WalkBuilder::new(&root.path);
    walk.hidden(false).require_git(false).git_global(false).filter_entry(is_wanted);
    for entry in walk.build() {
        match entry {
            Ok(entry) => found.take(root, &entry),
            Err(error) => {
                let path = path_of(&error).unwrap_or(&root.path).to_owned();
                found.could_not_see(root, &path, &error.to_string());
            }
        }
        if found.files.len() > MOST_FILES {
            found.could_not_see(root, &root.path, &format!("it has more than {MOST_FILES} files"));
            found.files.clear();
            break;
        }
    }
    let counted = std::mem::take(&mut *left_out.lock().unwrap_or_else(PoisonError::into_inner));
    found.left_out.add(counted);
    found
}

/// Whether a file or folder is looked at; what is not is counted.
fn is_entered(entry: &DirEntry, disk: u64, inner: &[PathBuf], left_out: &Mutex<LeftOut>) -> bool {
    if entry.depth() == 0 {
        return true;
    }
    let mut left_out = left_out.lock().unwrap_or_else(PoisonError::into_inner);
    if entry.file_name().to_string_lossy().starts_with('.') {
        left_out.hidden += 1;
        return false;
    }
    if !entry.file_type().is_some_and(|kind| kind.is_dir()) {
        return true;
    }
    if inner.iter().any(|inner| inner == entry.path()) {
        return false;
    }
    if entry.metadata().is_ok_and(|about| about.dev() != disk) {
        left_out.disks.push(entry.path().display().to_string());
        return false;
    }
    true
}

/// The path that an error of the walk is about.
fn path_of(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_of(err),
        _ => None,
    }
}

impl Found {
    fn take(&mut self, root: &Root, entry: &DirEntry) {
        if let Some(error) = entry.error() {
            // Lines of a .gitignore that cannot be read; the others hold.
            self.left_out.trouble(error.to_string());
        }
        let kind = entry.file_type();
        if kind.is_some_and(|kind| kind.is_dir()) {
            return;
        }
        let Ok(path) = entry.path().strip_prefix(&root.path) else { return };
        if !kind.is_some_and(|kind| kind.is_file()) {
            self.left_out.links += 1;
            return;
        }
        if !root.patterns.want(path) {
            self.left_out.unwanted += 1;
            return;
        }
        let Some(name) = path.to_str() else {
            self.left_out.unnamed += 1;
            return;
        };
        let source = format!("{}{name}", root.below);
        match entry.metadata() {
            Ok(about) if about.size() > MOST_BYTES as u64 => {
                self.left_out.too_large += 1;
                self.too_large.push(source);
            }
            Ok(about) => drop(self.files.insert(source, (entry.path().to_owned(), Stamp::of(&about)))),
            Err(error) => self.could_not_see(root, entry.path(), &error.to_string()),
        }
    }

    /// Nothing is known of `path` and of what may be below it. Where not even its name can be told, of nothing.
    fn could_not_see(&mut self, root: &Root, path: &Path, why: &str) {
        let beginning = path.strip_prefix(&root.path).ok().and_then(Path::to_str);
        self.unseen.push(format!("{}{}", root.below, beginning.unwrap_or_default()));
        if self.unseen.len() > MOST_UNSEEN {
            self.unseen = vec![root.below.clone()];
        }
        self.left_out.trouble(format!("`{}`: {why}", path.display()));
    }
}

/// A file's bytes and its stamp, which holds for them only where it is given. `Ok(None)`: it is gone, or no file any more,
/// or somewhere else than below `root`. Blocks.
pub fn read(root: &Path, path: &Path) -> std::io::Result<Option<(Bytes, Option<Stamp>)>> {
    // Whoever replaces the file by a pipe must not make this wait.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let before = file.metadata()?;
    if !before.is_file() || !is_below(&file, root)? {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.size()).unwrap_or(0).min(MOST_BYTES));
    (&file).take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let (before, after) = (Stamp::of(&before), Stamp::of(&file.metadata()?));
    Ok(Some((bytes.into(), (before == after).then_some(after))))
}

/// Whether an open file is below a folder: a folder on the way to it may have become a link since it was found.
fn is_below(file: &File, root: &Path) -> std::io::Result<bool> {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    Ok(path.starts_with(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(path: &Path, patterns: &[&str], inner: Vec<PathBuf>) -> Root {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Root { path: path.to_owned(), below: "file://h/".into(), patterns: Patterns::parse(&patterns).unwrap(), inner }
    }

    fn names(found: &Found) -> Vec<&str> {
        found.files.keys().map(|source| source.strip_prefix("file://h/").unwrap()).collect()
    }

    fn folder(names: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        for name in names {
            fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
            fs::write(path.join(name), "text").unwrap();
        }
        (dir, path)
    }

    #[test]
    fn hidden_names_ignored_ones_links_and_folders_of_others_are_left_out() {
        let (_dir, path) = folder(&["a.md", "deep/b.txt", ".secret", ".git/config", "x.log", "own/c.md"]);
        fs::write(path.join(".gitignore"), "*.log\n").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path.join("link.md")).unwrap();
        std::os::unix::fs::symlink("/etc", path.join("etc")).unwrap();
        let found = find(&root(&path, &[], vec![path.join("own")]));
        assert_eq!(names(&found), ["a.md", "deep/b.txt"]);
        assert_eq!((found.left_out.hidden, found.left_out.links), (3, 2));
        assert!(found.unseen.is_empty() && found.left_out.troubles.is_empty(), "{found:?}");
    }

    #[test]
    fn patterns_say_which_files_as_in_gitignore() {
        let (_dir, path) = folder(&["a.md", "b.txt", "notes/c.txt", "notes/d.log", "e.log"]);
        let with = |patterns: &[&str]| {
            let found = find(&root(&path, patterns, Vec::new()));
            (names(&found).join(" "), found.left_out.unwanted)
        };
        assert_eq!(with(&[]), ("a.md b.txt e.log notes/c.txt notes/d.log".into(), 0));
        assert_eq!(with(&["*.md"]), ("a.md".into(), 4));
        assert_eq!(with(&["!*.log"]), ("a.md b.txt notes/c.txt".into(), 2));
        assert_eq!(with(&["notes/", "!*.log"]), ("notes/c.txt".into(), 4));
        assert!(Patterns::parse(&["[z-a].md".into()]).unwrap_err().message.contains("[z-a].md"));
    }

    #[test]
    fn a_file_behind_a_link_that_took_its_place_is_not_read() {
        let (_dir, path) = folder(&["docs/in/a.md", "outside/a.md", "docs/b.md"]);
        let docs = path.join("docs");
        let file = docs.join("in/a.md");
        assert_eq!(read(&docs, &file).unwrap().unwrap().0, "text");
        fs::rename(docs.join("in"), path.join("away")).unwrap();
        assert!(read(&docs, &file).unwrap().is_none(), "it is gone");
        std::os::unix::fs::symlink(path.join("outside"), docs.join("in")).unwrap();
        assert!(fs::read(&file).is_ok() && read(&docs, &file).unwrap().is_none(), "it lies outside");
        fs::remove_file(docs.join("b.md")).unwrap();
        std::os::unix::fs::symlink(path.join("outside/a.md"), docs.join("b.md")).unwrap();
        assert!(read(&docs, &docs.join("b.md")).unwrap().is_none(), "it is a link");
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_an_empty_one() {
        let (_dir, path) = folder(&[]);
        let found = find(&root(&path.join("gone"), &[], Vec::new()));
        assert_eq!((found.files.len(), found.unseen.as_slice()), (0, ["file://h/".to_owned()].as_slice()));
        assert_eq!(found.left_out.troubles.len(), 1);
    }

    #[test]
    fn a_change_gives_another_stamp_and_a_fresh_one_is_not_relied_on() {
        let (_dir, path) = folder(&["a.md"]);
        let stamp = |name: &str| read(&path, &path.join(name)).unwrap().unwrap().1.unwrap();
        let (before, now) = (stamp("a.md"), base::time::unix_ms());
        assert!(!before.is_settled(now) && before.is_settled(now + 10_000));
        fs::write(path.join("b.md"), "TEXT").unwrap();
        fs::rename(path.join("b.md"), path.join("a.md")).unwrap();
        assert_ne!(stamp("a.md"), before);
    }
}
