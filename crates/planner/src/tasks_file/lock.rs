//! The lock beside a file, as other clients know it: a file `….lock` that is there while someone writes, and is nobody's
//! once it is 10 s old.
//!
//! Ours is also held by the system (`flock`), so that two of our own never take over the same old lock, nor one of a
//! process that was merely slow.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::FileError;

/// How old a lock is when its owner counts as gone. Other clients have the same.
const STALE: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(3);

/// The right to write a file, until dropped.
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock of `of`, and waits no longer than `patience` for whoever has it.
    pub fn take(of: &Path, patience: Duration) -> Result<Self, FileError> {
        let path = of.with_added_extension("lock");
        let begun = Instant::now();
        loop {
            let taken = try_take(&path).map_err(|error| FileError::io("take the lock", &path, error))?;
            if let Some(file) = taken {
                return Ok(Self { path, file });
            }
            if begun.elapsed() >= patience {
                let holder = fs::read_to_string(&path).unwrap_or_default().trim().chars().take(40).collect();
                return Err(FileError::Locked { path: of.to_owned(), lock: path, holder });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether it is still ours; other clients take an old lock away.
    pub fn is_held(&self) -> bool {
        is_at(&self.path, &self.file).unwrap_or(false)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_held() {
            drop(fs::remove_file(&self.path));
        }
    }
}

fn try_take(path: &Path) -> io::Result<Option<File>> {
    let (file, is_new) = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => (file, true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match old_lock(path)? {
            Some(file) => (file, false),
            None => return Ok(None),
        },
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        // Some network file systems have no such locks: there the file alone counts.
        Ok(()) => {}
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Between the look and the flock, others may have taken this very lock over, or its owner may have ended it.
    if !is_at(path, &file)? || !(is_new || is_stale(&file)?) {
        return Ok(None);
    }
    file.set_len(0)?;
    (&file).write_all(std::process::id().to_string().as_bytes())?;
    Ok(Some(file))
}

/// Opens the lock that is there, if its owner counts as gone.
fn old_lock(path: &Path) -> io::Result<Option<File>> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        there => there?,
    };
    if !there.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a plain file"));
    }
    match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Ok(file) if is_stale(&file)? && is_at(path, &file)? => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_stale(file: &File) -> io::Result<bool> {
    // A time in the future is that of a clock gone wrong: no reason to take a lock away.
    Ok(file.metadata()?.modified()?.elapsed().is_ok_and(|age| age >= STALE))
}

/// Whether `file` is what stands at `path`.
fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn age(path: &Path, by: Duration) {
        File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - by).unwrap();
    }

    #[test]
    fn a_lock_is_there_with_its_owner_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (file, lock_file) = (folder.path().join("tasks.json"), folder.path().join("tasks.json.lock"));
        let lock = Lock::take(&file, Duration::ZERO).unwrap();
        assert_eq!(fs::read_to_string(&lock_file).unwrap(), std::process::id().to_string());
        assert!(matches!(Lock::take(&file, Duration::ZERO), Err(FileError::Locked { .. })));
        drop(lock);
        assert!(!lock_file.exists());
    }

    #[test]
    fn a_lock_of_another_client_holds_for_ten_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let (file, lock_file) = (folder.path().join("tasks.json"), folder.path().join("tasks.json.lock"));
        fs::write(&lock_file, "{\"pid\":1}").unwrap();
        age(&lock_file, Duration::from_secs(9));
        assert!(Lock::take(&file, Duration::ZERO).is_err());
        age(&lock_file, Duration::from_secs(11));
        let lock = Lock::take(&file, Duration::ZERO).unwrap();
        assert_eq!(fs::read_to_string(&lock_file).unwrap(), std::process::id().to_string());
        assert!(lock.is_held());
    }

    #[test]
    fn a_lock_of_ours_whose_owner_lives_is_not_taken_however_old() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tasks.json");
        let lock = Lock::take(&file, Duration::ZERO).unwrap();
        age(&lock.path, Duration::from_secs(60));
        assert!(Lock::take(&file, Duration::ZERO).is_err());
    }

    #[test]
    fn a_lock_that_another_client_took_away_is_not_ours_to_remove() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(&folder.path().join("tasks.json"), Duration::ZERO).unwrap();
        let path = lock.path.clone();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another").unwrap();
        assert!(!lock.is_held());
        drop(lock);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another");
    }

    #[test]
    fn a_lock_that_is_a_link_is_followed_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (file, victim) = (folder.path().join("tasks.json"), folder.path().join("victim"));
        fs::write(&victim, "mine").unwrap();
        age(&victim, Duration::from_secs(60));
        std::os::unix::fs::symlink(&victim, folder.path().join("tasks.json.lock")).unwrap();
        assert!(matches!(Lock::take(&file, Duration::ZERO), Err(FileError::Io { .. })));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    }
}
