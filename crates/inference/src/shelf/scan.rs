//! Finds GGUF files and variants in folders. Links are followed, each folder once; what cannot be used is told, not hidden.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::digest::Digests;
use super::files::{self, Headers};
use super::variant::Draft;
use super::{Origin, Shelved};

/// How many folders deep is looked.
const MOST_DEPTH: usize = 6;
/// Most files that are taken of one place.
const MOST_FILES: usize = 10_000;

/// What a folder holds.
#[derive(Default)]
pub(super) struct Found {
    pub shelved: Vec<Shelved>,
    /// Variants, whose base is not looked up yet.
    pub drafts: Vec<Draft>,
}

/// The node's own folder.
pub(super) fn folder(root: &Path, headers: &Headers, digests: &Digests) -> Found {
    let mut found = Found::default();
    for entry in walk(root) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(fault) => {
                found.shelved.push(unusable(fault, Origin::Folder));
                continue;
            }
        };
        if has_extension(&entry, "gguf") {
            found.shelved.push(model(stem(&entry), entry, Origin::Folder, headers, digests));
        } else if has_extension(&entry, "toml") {
            found.drafts.push(Draft::read(stem(&entry), entry));
        }
    }
    found
}

/// One file.
pub(super) fn file(path: &Path, headers: &Headers, digests: &Digests) -> Shelved {
    model(stem(path), path.to_owned(), Origin::Folder, headers, digests)
}

/// LM Studio's folder: `PUBLISHER/REPOSITORY/FILE.gguf`.
pub(super) fn lm_studio(root: &Path, headers: &Headers, digests: &Digests) -> Vec<Shelved> {
    let mut found = Vec::new();
    for entry in walk(root) {
        match entry {
            Ok(path) if has_extension(&path, "gguf") => {
                let below = path.strip_prefix(root).ok().and_then(|below| below.components().next());
                let name = match below.map(|publisher| publisher.as_os_str().to_string_lossy()) {
                    Some(publisher) if root.join(publisher.as_ref()) != path => format!("{publisher}/{}", stem(&path)),
                    _ => stem(&path),
                };
                found.push(model(name, path, Origin::LmStudio, headers, digests));
            }
            Ok(_) => {}
            Err(fault) => found.push(unusable(fault, Origin::LmStudio)),
        }
    }
    found
}

pub(super) fn model(name: String, path: PathBuf, origin: Origin, headers: &Headers, digests: &Digests) -> Shelved {
    let header = headers.of(&path);
    let digest = digests.known(&path);
    Shelved { name, path, header, digest, origin, variant: None, adapter: None, notes: Vec::new() }
}

/// A place that could not be looked at.
pub(super) struct Unusable {
    pub path: PathBuf,
    pub why: String,
}

pub(super) fn unusable(fault: Unusable, origin: Origin) -> Shelved {
    let name = stem(&fault.path);
    let header = Err(fault.why);
    Shelved { name, path: fault.path, header, digest: None, origin, variant: None, adapter: None, notes: Vec::new() }
}

/// Everything below `root` that is no folder, and folders that pretend to be models. A place that is not there is empty.
pub(super) fn walk(root: &Path) -> Vec<Result<PathBuf, Unusable>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = match entries(&folder, &mut seen) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && depth == 0 => continue,
            Err(error) => {
                let why = files::unreadable(&folder, &error);
                found.push(Err(Unusable { path: folder, why }));
                continue;
            }
        };
        for path in entries {
            if found.len() >= MOST_FILES {
                let message =
                    format!("there are more than {MOST_FILES} files in `{}`, the others are left out", root.display());
                let why = files::with_hint(&message, "move what is no model elsewhere");
                found.push(Err(Unusable { path: root.to_owned(), why }));
                return found;
            }
            // A broken link is no folder; it is told when it is opened.
            if path.is_dir() && !has_extension(&path, "gguf") {
                if depth + 1 < MOST_DEPTH {
                    folders.push((path, depth + 1));
                }
            } else {
                found.push(Ok(path));
            }
        }
    }
    found
}

/// What is in a folder, sorted, without what is hidden; nothing where the folder was seen before.
fn entries(folder: &Path, seen: &mut HashSet<(u64, u64)>) -> io::Result<Vec<PathBuf>> {
    let metadata = fs::metadata(folder)?;
    if !seen.insert((metadata.dev(), metadata.ino())) {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    // Folders are taken from the end of a list: files stay in order, and so do folders among themselves.
    paths.sort();
    Ok(paths)
}

pub(super) fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

pub(super) fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
