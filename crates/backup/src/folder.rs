//! A folder of backups. A file there is whole or not there: it is written under another name, synced, and renamed. Only
//! files that are named as these are touched.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base::{Code, Fault, Result};
use sha2::{Digest, Sha256};

use crate::frames::hex;

const PREFIX: &str = "taskmaster-";
const SUFFIX: &str = ".age";
const UNFINISHED: &str = ".unfinished";

/// A backup that is being written. Dropped before it is finished, it leaves nothing.
pub struct Unfinished {
    file: File,
    beside: PathBuf,
    path: PathBuf,
    hash: Sha256,
    bytes: u64,
    is_finished: bool,
}

/// A backup that is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Where.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// SHA-256 of the file, as hex.
    pub sha256: String,
}

/// What a backup of that moment is called; names sort as their times do.
pub fn name(taken_ms: u64) -> String {
    let time = base::time::rfc3339(taken_ms).replace(':', "-");
    format!("{PREFIX}{time}{SUFFIX}")
}

/// Whether a file is called as backups are.
fn is_ours(name: &str) -> bool {
    let time = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    let like = |time: &str| time.bytes().all(|b| b.is_ascii_digit() || b"-TZ.".contains(&b));
    time.is_some_and(|time| time.len() >= 20 && like(time))
}

impl Unfinished {
    /// Begins a file; one that is there is not replaced.
    pub fn begin(path: &Path) -> Result<Self> {
        if path.exists() {
            return Err(Fault::new(Code::Conflict, format!("`{}` is there already", path.display()))
                .hint("choose another name, or take it away"));
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(UNFINISHED);
        let beside = PathBuf::from(beside);
        let opened = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside);
        let file = opened.map_err(|error| could_not("write", &beside, error))?;
        Ok(Self { file, beside, path: path.to_owned(), hash: Sha256::new(), bytes: 0, is_finished: false })
    }

    /// Gives it its name; when this returns it survives a power cut.
    pub fn finish(mut self) -> Result<Finished> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let moved = self.file.sync_all().and_then(|()| fs::rename(&self.beside, &self.path));
        let moved = moved.and_then(|()| File::open(folder)?.sync_all());
        moved.map_err(|error| could_not("write", &self.path, error))?;
        self.is_finished = true;
        let sha256 = hex(&self.hash.clone().finalize().into());
        Ok(Finished { path: self.path.clone(), bytes: self.bytes, sha256 })
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            // One that stays is overwritten by the next of its name, or pruned.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Which of these files to delete so that the newest `keep` backups are left: older ones, and unfinished ones.
fn too_many(names: &[String], keep: usize) -> Vec<String> {
    let mut backups: Vec<&String> = names.iter().filter(|name| is_ours(name)).collect();
    backups.sort();
    let old = backups.iter().take(backups.len().saturating_sub(keep)).map(|name| (*name).clone());
    let is_torn = |name: &&String| name.strip_suffix(UNFINISHED).is_some_and(is_ours);
    old.chain(names.iter().filter(is_torn).cloned()).collect()
}

/// Deletes older backups than the newest `keep`; gives how many.
pub fn prune(folder: &Path, keep: usize) -> Result<usize> {
    let read = fs::read_dir(folder).map_err(|error| could_not("read", folder, error))?;
    let names = read.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let gone = too_many(&names.collect::<Vec<_>>(), keep);
    for name in &gone {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(|error| could_not("delete", &path, error))?;
    }
    Ok(gone.len())
}

fn could_not(what: &str, path: &Path, error: io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::StorageFull,
        _ => Code::InvalidArgument,
    };
    Fault::new(code, format!("could not {what} `{}`", path.display()))
        .because(error)
        .hint("look whether the folder is there, has room, and may be written by this user")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_backups_of_our_own_naming_go() {
        let at = |day: u64| name(day * 86_400_000);
        let torn = format!("{}{UNFINISHED}", at(9));
        let others = ["taskmaster-notes.age", "photos.tar", "taskmaster-2026.age", ".unfinished"].map(str::to_owned);
        let names: Vec<String> = [at(3), at(1), torn.clone(), at(2)].into_iter().chain(others).collect();
        assert_eq!(too_many(&names, 2), [at(1), torn.clone()]);
        assert_eq!(too_many(&names, 9), [torn]);
        let dir = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| fs::write(dir.path().join(name), "x").unwrap());
        assert_eq!(prune(dir.path(), 1).unwrap(), 3);
        let mut left: Vec<String> =
            fs::read_dir(dir.path()).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(
            left,
            [
                ".unfinished",
                "photos.tar",
                "taskmaster-1970-01-04T00-00-00.000Z.age",
                "taskmaster-2026.age",
                "taskmaster-notes.age"
            ]
        );
    }

    #[test]
    fn a_torn_backup_never_has_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name(0));
        let mut torn = Unfinished::begin(&path).unwrap();
        torn.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(torn);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut whole = Unfinished::begin(&path).unwrap();
        whole.write_all(b"whole").unwrap();
        let finished = whole.finish().unwrap();
        assert_eq!((fs::read(&path).unwrap(), finished.bytes), (b"whole".to_vec(), 5));
        let hash: String = Sha256::digest(b"whole").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(finished.sha256, hash);
        assert!(Unfinished::begin(&path).is_err(), "a backup was replaced");
    }
}
