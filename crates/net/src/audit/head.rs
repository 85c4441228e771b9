//! How far the journal has come, kept beside it (and by the node in the store), so that a missing end shows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The last line that is known to be on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number; 0 before the first line.
    pub n: u64,
    /// Its hash.
    pub sha256: String,
    /// The number of the first line that is kept; older ones had their time.
    pub first: u64,
}

const NAME: &str = "head.json";

impl Head {
    /// The head beside the journal in `dir`; `None` when there is none.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(NAME)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the place of the one that is there, at once.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let fresh = dir.join("head.json.new");
        fs::write(&fresh, serde_json::to_vec(self)?)?;
        fs::rename(fresh, dir.join(NAME))
    }
}

/// The files of the journal in `dir` with the number of their first lines, in order.
pub(super) fn files(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(first) = name.strip_suffix(".jsonl").and_then(|first| first.parse().ok()) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

/// The file whose first line is `first`.
pub(super) fn file_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:012}.jsonl"))
}
