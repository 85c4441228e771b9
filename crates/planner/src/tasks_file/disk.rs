//! Files on disk: read whole, changed only under their lock, replaced in one step that outlives a power cut.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Code, Fault};

use super::lock::Lock;
use super::{MAX_FILE_BYTES, Read, ReadError, TasksFile};

/// How long a writer waits for others: longer than it takes a lock to count as left behind.
const PATIENCE: Duration = Duration::from_secs(15);
/// What a new file may be: readable by all, as other clients make it.
const NEW_FILE_MODE: u32 = 0o644;

/// Why a file of a project could not be read or changed. It is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("could not {what} `{}`", path.display())]
    Io {
        /// What was tried, such as `read`.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Others write it, for longer than anybody waits.
    #[error("`{}` is locked by another program (`{}`)", path.display(), holder.escape_debug())]
    Locked {
        /// The file.
        path: PathBuf,
        /// Its lock.
        lock: PathBuf,
        /// What the lock says about its owner: a process id.
        holder: String,
    },
    /// Another client took our lock away while we held it.
    #[error("the lock of `{}` was taken away in the middle of an edit", path.display())]
    LockLost {
        /// The file.
        path: PathBuf,
    },
    /// What is in it cannot be read.
    #[error("could not read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// What would be in it cannot be written.
    #[error("could not write `{}`: {why}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl FileError {
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }

    fn code(&self) -> Code {
        match self {
            Self::Io { source, .. } => match source.kind() {
                ErrorKind::NotFound => Code::NotFound,
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Code::PermissionDenied,
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::StorageFull,
                ErrorKind::InvalidInput | ErrorKind::IsADirectory => Code::InvalidArgument,
                ErrorKind::NotADirectory => Code::InvalidArgument,
                _ => Code::Internal,
            },
            Self::Locked { .. } | Self::LockLost { .. } => Code::Conflict,
            Self::Unreadable { source, .. } => source.code(),
            Self::Unwritable { .. } => Code::TooLarge,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Io { source, .. } => match source.kind() {
                ErrorKind::NotFound => "check the path, or create the project's folders first".to_owned(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on that disk".to_owned(),
                _ => "check that it is a plain file that may be read and written".to_owned(),
            },
            Self::Locked { lock, .. } => {
                format!("try again; if nobody writes it, delete `{}`", lock.display())
            }
            Self::LockLost { .. } => "nothing was written: try again".to_owned(),
            Self::Unreadable { source, .. } => source.hint(),
            Self::Unwritable { .. } => "split it into several projects".to_owned(),
        }
    }
}

impl From<FileError> for Fault {
    fn from(error: FileError) -> Self {
        let fault = Fault::new(error.code(), error.to_string()).hint(error.hint());
        match error {
            FileError::Io { source, .. } => fault.because(source),
            FileError::Unreadable { source, .. } => fault.because(source),
            _ => fault,
        }
    }
}

/// What came of [`edit_file`].
#[derive(Debug)]
pub struct Edited<T> {
    /// What the edit answered.
    pub value: T,
    /// Whether there was anything to write.
    pub is_written: bool,
}

/// Reads a tasks.json.
pub fn read_file(path: &Path) -> Result<Read, FileError> {
    let missing = || FileError::io("read", path, ErrorKind::NotFound.into());
    tasks_of(path, &read_bytes(path)?.ok_or_else(missing)?)
}

/// Reads a tasks.json and gives its bytes along; nothing if it is not there.
pub fn read_whole(path: &Path) -> Result<Option<(Vec<u8>, Read)>, FileError> {
    let Some(bytes) = read_bytes(path)? else { return Ok(None) };
    let read = tasks_of(path, &bytes)?;
    Ok(Some((bytes, read)))
}

/// Reads a tasks.json, changes it and writes it back, with nobody else writing in between. A file that is not there
/// begins empty. When `edit` refuses or changes nothing, nothing is written. Blocks: on the lock, and on the disk.
pub fn edit_file<T, E: From<FileError>>(
    path: &Path,
    edit: impl FnOnce(&mut TasksFile) -> Result<T, E>,
) -> Result<Edited<T>, E> {
    edit_within(path, PATIENCE, edit)
}

fn edit_within<T, E: From<FileError>>(
    path: &Path,
    patience: Duration,
    edit: impl FnOnce(&mut TasksFile) -> Result<T, E>,
) -> Result<Edited<T>, E> {
    change(path, patience, |bytes| {
        let old = bytes.map(|bytes| tasks_of(path, &bytes)).transpose()?;
        let mut file = old.map(|read| read.file).unwrap_or_default();
        let before = file.clone();
        let value = edit(&mut file)?;
        let is_written = file != before;
        let text = is_written.then(|| file.write()).transpose().map_err(|error| unwritable(path, &error))?;
        Ok((text, Edited { value, is_written }))
    })
}

/// Changes a file under its lock: `change` gets what is in it, if it is there, and says what shall be.
fn change<T, E: From<FileError>>(
    path: &Path,
    patience: Duration,
    change: impl FnOnce(Option<Vec<u8>>) -> Result<(Option<String>, T), E>,
) -> Result<T, E> {
    let real = real_path(path).map_err(|error| FileError::io("find", path, error))?;
    let lock = Lock::take(&real, patience)?;
    let (text, value) = change(read_bytes(&real)?)?;
    if let Some(text) = text {
        if text.len() as u64 > MAX_FILE_BYTES {
            Err(FileError::Unwritable { path: real.clone(), why: ReadError::TooLarge.to_string() })?;
        }
        if !lock.is_held() {
            Err(FileError::LockLost { path: real.clone() })?;
        }
        replace(&real, text.as_bytes()).map_err(|error| FileError::io("write", &real, error))?;
    }
    Ok(value)
}

/// What is in a file, or nothing if it is not there.
fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let read = || {
        // Asked before it is opened: opening a pipe would wait for its other end.
        let about = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            about => about?,
        };
        if !about.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a plain file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    read().map_err(|error| FileError::io("read", path, error))
}

pub(super) fn unwritable(path: &Path, error: &serde_json::Error) -> FileError {
    FileError::Unwritable { path: path.to_owned(), why: error.to_string() }
}

fn tasks_of(path: &Path, bytes: &[u8]) -> Result<Read, FileError> {
    TasksFile::read(bytes).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })
}

/// Where the file itself is, behind any links; for one that is to be made, in the real folder.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(_) => fs::canonicalize(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied => error,
            // Links that lead in a circle, before all.
            _ => io::Error::new(ErrorKind::InvalidInput, error),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(fs::canonicalize(folder)?.join(name))
        }
        Err(error) => Err(error),
    }
}

/// Puts `bytes` in the place of a file, so that whoever looks, even after a power cut, finds the old ones or the new.
/// Only with its lock, which is why the file beside may have a fixed name: one left behind is replaced by the next.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mode = fs::metadata(path).ok().map(|about| about.permissions().mode());
    let beside = path.with_added_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        let mode_then = mode.unwrap_or(NEW_FILE_MODE);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode_then).open(&beside)?;
        if let Some(mode) = mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&beside)))?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{Task, TaskId, Tasks};

    const NOW: &str = "2026-01-31T12:00:00.000Z";

    fn add(path: &Path, title: &str) -> Result<Edited<u32>, FileError> {
        edit_within(path, Duration::from_secs(120), |file| {
            let mut tasks = file.tag("master").map(|tag| tag.tasks().clone()).unwrap_or_default();
            let number = tasks.next_number();
            tasks.put(Task::titled(number, title).into());
            file.set_tasks("master", tasks, NOW).map_err(|error| unwritable(path, &error))?;
            Ok(number)
        })
    }

    #[test]
    fn writers_at_the_same_time_lose_no_edit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.json");
        std::thread::scope(|threads| {
            for writer in 0..8 {
                let path = &path;
                threads.spawn(move || {
                    for edit in 0..50 {
                        add(path, &format!("{writer}/{edit}")).unwrap();
                    }
                });
            }
        });
        let file = read_file(&path).unwrap().file;
        let tasks = file.tag("master").unwrap().tasks();
        let titles: std::collections::BTreeSet<_> = tasks.top().iter().map(|task| task.title.clone()).collect();
        assert_eq!((tasks.top().len(), titles.len()), (400, 400));
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["tasks.json"]);
    }

    #[test]
    fn an_edit_that_refuses_or_changes_nothing_leaves_the_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.json");
        fs::write(&path, r#"{"master":{"tasks":[{"id":1,"title":"a"}]}}"#).unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        let refused: Result<Edited<()>, Fault> = edit_file(&path, |file| {
            file.set_tasks("master", Tasks::default(), NOW).unwrap();
            Err(Fault::invalid("no"))
        });
        assert_eq!(refused.unwrap_err().message, "no");
        let same = edit_file(&path, |file| {
            let tasks = file.tag("master").unwrap().tasks().clone();
            file.set_tasks("master", tasks, NOW).map_err(|error| unwritable(&path, &error))
        });
        assert!(!same.unwrap().is_written);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert!(!folder.path().join("tasks.json.lock").exists());
    }

    #[test]
    fn a_file_keeps_its_mode_and_stays_behind_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.json"), folder.path().join("tasks.json"));
        fs::write(&real, "[]").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        symlink("real.json", &link).unwrap();
        fs::write(folder.path().join("real.json.new"), "left behind by a crash").unwrap();
        add(&link, "one").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(read_file(&real).unwrap().file.tag("master").unwrap().tasks().get(&TaskId::top(1)).is_some());
        assert!(!folder.path().join("real.json.new").exists());
    }

    #[test]
    fn what_is_no_file_is_refused_with_a_code() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink("b", at("a")).unwrap();
        symlink("a", at("b")).unwrap();
        symlink("nowhere", at("broken")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("bad"), "{\"master\": {\n\"tasks\": [,]}}").unwrap();
        let wanted = [
            ("a", Code::InvalidArgument),
            ("broken", Code::NotFound),
            ("folder", Code::InvalidArgument),
            ("bad", Code::InvalidArgument),
            ("no/such/folder", Code::NotFound),
        ];
        for (name, code) in wanted {
            let fault = Fault::from(add(&at(name), "x").unwrap_err());
            assert_eq!(fault.code, code, "{name}: {fault:?}");
            assert!(fault.hint.is_some(), "{name}");
        }
        assert_eq!(fs::read_to_string(at("bad")).unwrap(), "{\"master\": {\n\"tasks\": [,]}}");
    }

    #[test]
    fn whoever_waits_in_vain_is_told_for_whom_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tasks.json.lock"), "4711").unwrap();
        let path = folder.path().join("tasks.json");
        let waited = edit_within(&path, Duration::from_millis(20), |_| Ok::<_, FileError>(()));
        let fault = Fault::from(waited.unwrap_err());
        assert_eq!(fault.code, Code::Conflict);
        assert!(fault.message.ends_with("is locked by another program (`4711`)"), "{}", fault.message);
        assert!(fault.hint.unwrap().starts_with("try again; if nobody writes it, delete `"));
    }

    #[test]
    fn an_edit_whose_lock_was_taken_away_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.json");
        let lost = edit_file(&path, |file| {
            fs::remove_file(folder.path().join("tasks.json.lock")).unwrap();
            file.set_tasks("master", Tasks::new([Task::titled(1, "x")]), NOW).unwrap();
            Ok::<_, FileError>(())
        });
        assert!(matches!(lost, Err(FileError::LockLost { .. })));
        assert!(!path.exists());
    }
}
