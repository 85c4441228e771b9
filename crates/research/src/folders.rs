//! Folders of this node that collections are kept in step with: what is there, what is known of it, what is to be done.
//!
//! Deciding is pure ([`decide`]). Nothing is removed for what could not be looked at, nor for a folder in which no file is
//! left: a disk that is not mounted looks like that. `library/keeping.rs` acts.

pub mod changes;
pub mod due;
pub mod files;
pub mod seen;
pub mod tally;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Fault, Result};

use crate::names::{BlobId, DocId};

/// What of this node may be watched, and how.
pub struct Watching {
    /// These folders and what is below them.
    pub allowed: Vec<PathBuf>,
    /// Between two looks through a folder.
    pub scan_every: Duration,
    /// Where it is kept what files were like when they were read last.
    pub seen: store::Table,
}

/// A document below the folder, as its record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub id: DocId,
    /// Its bytes.
    pub original: BlobId,
    /// Whether nothing else than other bytes would change it.
    pub is_current: bool,
}

/// What is known of the content of a file before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing: it is new, or was touched.
    Unread,
    /// These bytes, as when it was read last.
    Same(BlobId),
    /// It is no document: too large, or nothing that has letters.
    Unfit,
}

/// What is to be done to be in step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Files to be read, and added as they are then; by source.
    pub read: Vec<String>,
    /// Documents whose files are gone.
    pub remove: Vec<DocId>,
    /// Documents that would be removed if this did not look like a disk that is not mounted.
    pub held_back: u64,
}

/// Decides it for one folder. Both maps are by source; `unseen` are beginnings of sources that could not be looked at.
pub fn decide(kept: &BTreeMap<String, Kept>, found: &BTreeMap<String, Content>, unseen: &[String]) -> Plan {
    let is_in_step = |source: &str, blob: BlobId| kept.get(source).is_some_and(|k| k.is_current && k.original == blob);
    let wants_reading = |source: &str, content: Content| match content {
        Content::Unread => true,
        Content::Same(blob) => !is_in_step(source, blob),
        Content::Unfit => false,
    };
    let read = found.iter().filter(|(source, content)| wants_reading(source, **content));
    let is_there = |source: &str| found.get(source).is_some_and(|content| *content != Content::Unfit);
    let may_be_there = |source: &str| unseen.iter().any(|beginning| source.starts_with(beginning));
    let gone = kept.iter().filter(|(source, _)| !is_there(source) && !may_be_there(source)).map(|(_, kept)| kept.id);
    let mut plan =
        Plan { read: read.map(|(source, _)| source.clone()).collect(), remove: gone.collect(), held_back: 0 };
    if found.is_empty() {
        plan.held_back = std::mem::take(&mut plan.remove).len() as u64;
    }
    plan
}

/// The machine's name as sources write it: `tmctl research add` names files of this machine in the same way, so that a
/// file that is added by hand and in a watched folder is one document.
pub fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.split('.').next().unwrap_or_default().to_lowercase()
}

/// What the sources of files below `root` begin with; `None` where its name is not UTF-8.
pub fn sources_below(root: &Path) -> Option<String> {
    let path = root.to_str()?.trim_end_matches('/');
    Some(format!("file://{}{path}/", host()))
}

/// A path as it was typed, without what means nothing. It is not looked at: it may be another node's.
pub fn plain_path(typed: &str) -> Result<String> {
    let path = Path::new(typed);
    let wrong = |why: &str| Fault::invalid(format!("`{}` {why}", typed.escape_debug()));
    if !path.is_absolute() {
        return Err(wrong("is no whole path").hint("write it from the root of the node's disk on, beginning with /"));
    }
    if path.components().any(|part| part == std::path::Component::ParentDir) || typed.chars().any(char::is_control) {
        return Err(wrong("is no plain path").hint("write it without `..` and without control characters"));
    }
    Ok(path.components().collect::<PathBuf>().to_string_lossy().into_owned())
}

/// Where a folder really is, if it may be watched.
pub fn real_root(path: &Path, allowed: &[PathBuf]) -> Result<PathBuf> {
    let root = std::fs::canonicalize(path).map_err(|error| {
        Fault::new(base::Code::NotFound, format!("there is no folder `{}` on this node", path.display()))
            .because(error)
            .hint("look at the path, its rights, and whether its disk is mounted")
    });
    // Whoever may watch nothing there does not learn what is there.
    let asked = root.as_deref().unwrap_or(path);
    let is_allowed = allowed.iter().any(|folder| match std::fs::canonicalize(folder) {
        Ok(folder) => asked.starts_with(folder),
        Err(_) => asked.starts_with(folder),
    });
    if !is_allowed {
        let fault = Fault::new(base::Code::PermissionDenied, format!("`{}` may not be watched", path.display()));
        return Err(
            fault.hint("add it, or a folder above it, to `folders` below [research] in that node's configuration")
        );
    }
    let root = root?;
    if !root.is_dir() {
        return Err(
            Fault::invalid(format!("`{}` is no folder", path.display())).hint("name the folder that it lies in")
        );
    }
    Ok(root)
}

#[cfg(test)]
mod tests;
