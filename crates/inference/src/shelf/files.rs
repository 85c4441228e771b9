//! Files as the shelf sees them: opened without waiting, told apart by what changes when they do, read once.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::gguf::{GgufError, Header};

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub size: u64,
    mtime_s: i64,
    mtime_ns: i64,
    device: u64,
    inode: u64,
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            mtime_s: metadata.mtime(),
            mtime_ns: metadata.mtime_nsec(),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Opens a regular file; anything else is refused without waiting for its other end.
pub(super) fn open(path: &Path) -> io::Result<(File, Stamp)> {
    let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    // A socket cannot be opened at all, and says so in a way that helps nobody.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other(format!("it is {}, not a file", kind(&metadata))));
    }
    let file = OpenOptions::new().read(true).custom_flags(no_wait).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other(format!("it is {}, not a file", kind(&metadata))));
    }
    Ok((file, Stamp::of(&metadata)))
}

fn kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_socket() => "a socket",
        () if kind.is_fifo() => "a pipe",
        () => "a device",
    }
}

type Read = Result<Header, String>;

/// Headers that were read, by path.
#[derive(Default)]
pub(super) struct Headers {
    known: Mutex<HashMap<PathBuf, Known>>,
}

struct Known {
    stamp: Stamp,
    header: Read,
    is_seen: bool,
}

impl Headers {
    /// The header of a file, read unless it is known and the file did not change.
    pub fn of(&self, path: &Path) -> Read {
        let (mut file, stamp) = open(path).map_err(|error| unreadable(path, &error))?;
        if let Some(known) = self.known().get_mut(path).filter(|known| known.stamp == stamp) {
            known.is_seen = true;
            return known.header.clone();
        }
        let header = Header::read(&mut file, stamp.size).map_err(|error| refused(path, &error));
        self.known().insert(path.to_owned(), Known { stamp, header: header.clone(), is_seen: true });
        header
    }

    /// Drops what was not asked for since the last call.
    pub fn forget_unseen(&self) {
        self.known().retain(|_, known| std::mem::take(&mut known.is_seen));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Known>> {
        // Every entry is put in whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "it points to nothing".to_owned(),
        _ => error.to_string(),
    };
    with_hint(&format!("could not open `{}`: {why}", path.display()), "give the daemon's user the right to read it")
}

pub(super) fn refused(path: &Path, error: &GgufError) -> String {
    let mut message = format!("could not read `{}`: {error}", path.display());
    if let Some(source) = std::error::Error::source(error) {
        message.push_str(&format!(": {source}"));
    }
    with_hint(&message, error.hint())
}

/// A fault as text that is kept beside a model.
pub(super) fn with_hint(message: &str, hint: &str) -> String {
    format!("{message} (hint: {hint})")
}

/// Reads a small text file.
pub(super) fn small_text(path: &Path, most_bytes: u64) -> io::Result<String> {
    use std::io::Read as _;
    let (file, stamp) = open(path)?;
    if stamp.size > most_bytes {
        return Err(io::Error::other(format!("it has {} bytes, over the limit of {most_bytes}", stamp.size)));
    }
    let mut text = String::new();
    file.take(most_bytes).read_to_string(&mut text)?;
    Ok(text)
}
