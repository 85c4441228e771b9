//! What the bytes of a file come to. Reading forty gigabytes takes minutes, so it is done once for each state of a file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::{Code, Fault, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::{self, Stamp};

/// Read at once: large enough for a disk, small enough for a home lab's memory.
pub(super) const STEP_BYTES: usize = 1 << 20;
/// Tens of thousands of models.
const MOST_KEPT_BYTES: u64 = 16 << 20;
const FORMAT: u32 = 1;

/// Digests that were computed, in memory and in a file.
pub(super) struct Digests {
    file: PathBuf,
    known: Mutex<BTreeMap<PathBuf, Known>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    stamp: Stamp,
    digest: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    files: BTreeMap<PathBuf, Known>,
}

impl Digests {
    /// What `file` remembers; nothing where it is not there or damaged, for then it is made anew.
    pub fn open(file: PathBuf) -> Self {
        let known = match files::small_text(&file, MOST_KEPT_BYTES) {
            Ok(text) => parse(&text).unwrap_or_else(|why| {
                tracing::warn!(file = %file.display(), why, "digests of models are damaged, so they are computed anew");
                BTreeMap::new()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(file = %file.display(), error = %error, "could not read the digests of models");
                }
                BTreeMap::new()
            }
        };
        Self { file, known: Mutex::new(known) }
    }

    /// The digest of a file, where it was computed for the file as it is now.
    pub fn known(&self, path: &Path) -> Option<String> {
        let stamp = Stamp::of(&fs::metadata(path).ok()?);
        self.lock().get(path).filter(|known| known.stamp == stamp).map(|known| known.digest.clone())
    }

    /// The digest of a file, computed unless it is known.
    pub fn of(&self, path: &Path) -> Result<String> {
        if let Some(digest) = self.known(path) {
            return Ok(digest);
        }
        let could_not = |error: io::Error| {
            Fault::unavailable(format!("could not read `{}`", path.display()))
                .because(error)
                .hint("check that the file is there, may be read, and that its disk is well")
        };
        let (mut file, before) = files::open(path).map_err(could_not)?;
        let digest = read_through(&mut file, |_| Ok(())).map_err(could_not)?;
        let after = Stamp::of(&file.metadata().map_err(could_not)?);
        let now = Stamp::of(&fs::metadata(path).map_err(could_not)?);
        if before != after || before != now {
            return Err(changed(path));
        }
        self.remember(path, after, &digest);
        Ok(digest)
    }

    /// Keeps a digest that was computed elsewhere.
    pub fn remember(&self, path: &Path, stamp: Stamp, digest: &str) {
        let mut known = self.lock();
        known.insert(path.to_owned(), Known { stamp, digest: digest.to_owned() });
        known.retain(|path, _| path.exists());
        // JSON has no words for a path that is no text: such a file is read anew in the next life.
        let files = known.iter().filter(|(path, _)| path.to_str().is_some());
        let files = files.map(|(path, known)| (path.clone(), known.clone())).collect();
        let kept = Kept { format: FORMAT, files };
        // Written under the lock: a slower writer with an older list must not come last.
        if let Err(error) = write(&self.file, &kept) {
            tracing::warn!(file = %self.file.display(), error = %error, "could not keep the digests of models");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Known>> {
        // Every entry is put in whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file is not what it was when its reading began.
pub(super) fn changed(path: &Path) -> Fault {
    Fault::new(Code::Conflict, format!("`{}` changed while it was read", path.display()))
        .hint("wait until the program that writes it is done, then try again")
}

/// Reads to the end, shows every piece, and gives the digest as `sha256:…`.
pub(super) fn read_through(file: &mut File, mut show: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; STEP_BYTES];
    loop {
        let length = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = buffer.get(..length).unwrap_or_default();
        hash.update(piece);
        show(piece)?;
    }
    Ok(text_of(&hash.finalize()))
}

/// The digest of a text.
pub(super) fn of_text(text: &str) -> String {
    text_of(&Sha256::digest(text))
}

fn text_of(digest: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in digest {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// What stands behind `sha256:` in a digest as it is written here and by Ollama; `None` where it is none.
pub(super) fn hex_of(digest: &str) -> Option<&str> {
    digest.strip_prefix("sha256:").filter(|hex| is_hex(hex))
}

/// Whether it can be the hexadecimal part of a digest.
pub(super) fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn parse(text: &str) -> Result<BTreeMap<PathBuf, Known>, String> {
    let kept: Kept = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if kept.format != FORMAT {
        return Err(format!("its format is {}", kept.format));
    }
    match kept.files.values().find(|known| hex_of(&known.digest).is_none()) {
        Some(odd) => Err(format!("`{}` is no digest", odd.digest)),
        None => Ok(kept.files),
    }
}

fn write(file: &Path, kept: &Kept) -> io::Result<()> {
    replace(file, serde_json::to_string_pretty(kept)?.as_bytes())
}

/// Puts a whole file in the place of another, so that a reader sees one or the other.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let partial = file.with_extension(format!("partial-{}", std::process::id()));
    let written = File::create(&partial).and_then(|mut partial| {
        partial.write_all(bytes)?;
        partial.sync_all()
    });
    written.and_then(|()| fs::rename(&partial, file)).inspect_err(|_| drop(fs::remove_file(&partial)))
}
