//! The last acknowledged revision, kept beside sled: `revision u64 · checksum u64` in `DIR/data/acknowledged`.
//!
//! sled takes a damaged record in the middle of its log for the end of it, and silently goes on from there. This tells.
//! It is written after each sync and never synced itself: it may be late after a power cut, but never ahead.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::Revision;

const FILE: &str = "acknowledged";

/// The open file.
pub(super) struct Acknowledged(File);

impl Acknowledged {
    pub fn open(data: &Path) -> io::Result<Self> {
        File::options().create(true).truncate(false).write(true).open(data.join(FILE)).map(Self)
    }

    pub fn write(&self, revision: Revision) -> io::Result<()> {
        let revision = revision.0.to_le_bytes();
        let checksum = xxh3_64(&revision).to_le_bytes();
        self.0.write_all_at(&[revision, checksum].concat(), 0)
    }
}

/// What was acknowledged at least; nothing is known where the file is missing or damaged.
pub(super) fn read(data: &Path) -> Revision {
    let read = || {
        let bytes = std::fs::read(data.join(FILE)).ok()?;
        let (revision, checksum) = bytes.split_first_chunk::<8>()?;
        (checksum == xxh3_64(revision).to_le_bytes()).then(|| Revision(u64::from_le_bytes(*revision)))
    };
    read().unwrap_or_default()
}
