//! Values that are too large for sled, each in a file named by its SHA-256.
//!
//! A page of sled that outgrows its limit is written to a file that sled never syncs, so large values stay out of it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::disk::sync_dir;

/// The name of a value: the SHA-256 of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ValueId(pub [u8; 32]);

impl ValueId {
    fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    fn file_name(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut name, byte| {
            // Writing to a string does not fail.
            let _ = write!(name, "{byte:02x}");
            name
        })
    }
}

/// The folder of the values.
pub(super) struct Values {
    dir: PathBuf,
}

impl Values {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Writes a value. Its bytes are on the disk when this returns, its name only after [`Values::sync`].
    pub fn store(&self, bytes: &[u8]) -> io::Result<ValueId> {
        let id = ValueId::of(bytes);
        let path = self.path(&id);
        // A file under its final name was whole when it got that name; but it may have been damaged since.
        if self.read(&id).is_ok() {
            return Ok(id);
        }
        let unfinished = self.dir.join("unfinished");
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        Ok(id)
    }

    /// Reads a value, or says why it cannot be read.
    pub fn read(&self, id: &ValueId) -> Result<Bytes, String> {
        let path = self.path(id);
        let bytes = std::fs::read(&path).map_err(|error| format!("could not read `{}`: {error}", path.display()))?;
        match ValueId::of(&bytes) == *id {
            true => Ok(bytes.into()),
            false => Err(format!("the checksum of `{}` is wrong", path.display())),
        }
    }

    /// Removes a value that no entry refers to any more. One that stays is removed at the next start.
    pub fn remove(&self, id: &ValueId) {
        if let Err(error) = std::fs::remove_file(self.path(id)) {
            tracing::debug!(%error, "could not remove a value that is not needed any more");
        }
    }

    /// Makes the names of new files survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        sync_dir(&self.dir)
    }

    /// Removes what no entry refers to: from commits that a crash cut short.
    pub fn collect(&self, used: &HashMap<ValueId, usize>) -> io::Result<()> {
        let used: std::collections::HashSet<String> = used.keys().map(ValueId::file_name).collect();
        for file in std::fs::read_dir(&self.dir)? {
            let file = file?;
            if !file.file_name().to_str().is_some_and(|name| used.contains(name)) {
                std::fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    fn path(&self, id: &ValueId) -> PathBuf {
        self.dir.join(id.file_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_noticed_and_mended_by_the_next_put() {
        let dir = tempfile::tempdir().unwrap();
        let values = Values::new(dir.path().to_owned());
        let id = values.store(b"a value").unwrap();
        std::fs::write(values.path(&id), b"a valve").unwrap();
        assert!(values.read(&id).unwrap_err().contains("checksum"));
        assert_eq!(values.store(b"a value").unwrap(), id);
        assert_eq!(values.read(&id).unwrap(), &b"a value"[..]);
    }

    #[test]
    fn collect_keeps_only_what_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let values = Values::new(dir.path().to_owned());
        let used = values.store(b"used").unwrap();
        let unused = values.store(b"unused").unwrap();
        values.collect(&HashMap::from([(used, 1)])).unwrap();
        assert!(values.read(&used).is_ok());
        assert!(values.read(&unused).is_err());
    }
}
