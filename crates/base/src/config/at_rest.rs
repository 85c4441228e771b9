//! What keeps data unreadable on a disk, and what is kept of it elsewhere: encryption at rest, and backups that are made
//! by themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::reader::{ConfigFault, Section};
use super::values::*;
use crate::{NodeId, units};

/// More often than this, one backup would not end before the next one begins.
const LEAST_BETWEEN: Duration = Duration::from_secs(60);

/// Values are sealed before they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Encryption {
    /// File with the key.
    pub key_file: PathBuf,
    /// Files with keys that were replaced: what they sealed is still read.
    pub old_key_files: Vec<PathBuf>,
}

/// Backups that are made by themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Backup {
    /// The folder that they are written to.
    pub to: PathBuf,
    /// From one to the next.
    pub every: Duration,
    /// How many are kept; older ones are deleted, and nothing else in the folder.
    pub keep: u32,
    /// Whose age key opens them, `age1…`.
    pub recipient: String,
    /// The node that makes them; whichever leads when `None`.
    pub node: Option<NodeId>,
}

/// The part of `[store]` that says whether values are sealed.
pub(super) fn encryption(s: &mut Section, secrets: &Path) -> Option<Encryption> {
    let is_on = s.get("encryption", "true or false", Value::as_bool);
    let key_file = s.get("key_file", "a path", |v| path(v, secrets));
    let old =
        s.get("old_key_files", "a list of paths", |v| v.as_array()?.iter().map(|one| path(one, secrets)).collect());
    match (is_on.unwrap_or(false), key_file) {
        (true, Some(key_file)) => Some(Encryption { key_file, old_key_files: old.unwrap_or_default() }),
        (true, None) => {
            s.fault("key_file", "", "is missing", "make a key with `tmctl store key`, and name its file");
            None
        }
        (false, Some(_)) => {
            let hint = "set store.encryption = true, or take the key away: without it values are plain";
            s.fault("key_file", "", "stands without encryption", hint);
            None
        }
        (false, None) => None,
    }
}

/// `[backup]`.
pub(super) fn backup(mut s: Section, folder: &Path, faults: &mut Vec<ConfigFault>) -> Option<Backup> {
    if s.keys().is_empty() {
        return None;
    }
    let to = s.get("to", "the path of a folder", |v| path(v, folder));
    let least = units::format_duration(LEAST_BETWEEN);
    let every = s.get("every", &format!("a duration of at least {least}, such as \"24h\""), |v| {
        duration(v).filter(|every| *every >= LEAST_BETWEEN)
    });
    let keep = s.get("keep", "a number from 1 to 1000", |v| whole(v, 1, 1000));
    let recipient = s.get("recipient", "a public key of age, `age1…`", |v| {
        text(v).filter(|key| key.starts_with("age1") && key.bytes().all(|b| b.is_ascii_alphanumeric()))
    });
    let node = s.get("node", "the name of a node", |v| text(v).filter(|name| !name.is_empty()).map(NodeId::new));
    s.must_have("to", to.is_some(), "name a folder, best on another machine's disk");
    let hint = "make a key with `age-keygen` on a machine that you trust, and give its public part";
    s.must_have("recipient", recipient.is_some(), hint);
    s.finish(faults);
    let every = every.unwrap_or(Duration::from_secs(24 * 3600));
    Some(Backup { to: to?, every, keep: keep.unwrap_or(7), recipient: recipient?, node })
}
