//! One sled database in a folder of its own, made honest: one process at a time, `sync` that reaches the disk, and a
//! database that cannot be opened is set aside instead of ending the node in a crash loop.
//!
//! `DIR/lock` names the process; `DIR/data/format` the format; `DIR/data/sled` is sled's; `DIR/data/values` is
//! [`crate::single`]'s. All of `data` is set aside together. `DIR/data/canary` is there where values are sealed: a key that
//! does not open it is refused, and the data is left as it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::Revision;
use crate::sealing::{Seal, SealError};

/// The newest format of everything below `data`. A release reads its own and those before it.
const FORMAT: u32 = 2;
/// The format of plain values; an earlier release refuses sealed ones by their number.
const PLAIN_FORMAT: u32 = 1;

/// What is sealed at the canary's place.
const CANARY: &str = "canary";

/// What was opened, and what had to make room for it.
#[derive(Debug)]
pub struct Opened<T> {
    /// Ready to use.
    pub store: T,
    /// Where the data went that could not be opened; the store is empty then.
    pub set_aside: Option<PathBuf>,
    /// Acknowledged changes that a damaged log has lost; the store holds what was before them.
    pub lost: Option<Lost>,
}

/// A stretch of history that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The last revision that is still there.
    pub after: Revision,
    /// The last one that is known to have been acknowledged.
    pub up_to: Revision,
}

/// Why a folder cannot be used; its data is untouched.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error("`{}` is in use by process {pid}", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// As the other process wrote it.
        pid: String,
    },
    /// It was written by a later release.
    #[error("`{}` has format {found}, but this release knows formats up to {FORMAT}", dir.display())]
    NewerFormat {
        /// The folder.
        dir: PathBuf,
        /// The format found.
        found: u32,
    },
    /// Its values are plain, and they are to be sealed; or the other way round.
    #[error("the values in `{}` are {}", dir.display(), if *is_sealed { "sealed, and store.encryption is off" } else { "plain, and store.encryption is on" })]
    Mixed {
        /// The folder.
        dir: PathBuf,
        /// Whether it is sealed.
        is_sealed: bool,
    },
    /// No key of this node opens it.
    #[error("the key in store.key_file does not open `{}`: {why}", dir.display())]
    OtherKey {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        why: SealError,
    },
    /// The operating system refuses.
    #[error("could not open `{}`", path.display())]
    Io {
        /// What could not be opened.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl OpenError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "end that process, or give this node another node.data_dir",
            Self::NewerFormat { .. } => "run the later release, or give this node another node.data_dir",
            Self::Mixed { is_sealed: true, .. } => {
                "set store.encryption and store.key_file as they were when it was made"
            }
            Self::Mixed { is_sealed: false, .. } => {
                "take a backup with `tmctl backup`, begin with an empty node.data_dir, and `tmctl restore` it there"
            }
            Self::OtherKey { .. } => {
                "give the key that it was made with; a key that was replaced belongs into store.old_key_files"
            }
            Self::Io { .. } => "check that the folder exists and may be written (node.data_dir)",
        }
    }
}

/// What one use of a database needs of sled.
#[derive(Clone, Copy)]
pub(crate) struct Tuning {
    pub cache_bytes: u64,
    /// How often writes that nobody waits for reach the disk; `None` only by [`Disk::sync`].
    pub flush_every_ms: Option<u64>,
}

/// An open database.
pub(crate) struct Disk {
    pub db: sled::Db,
    /// `DIR/data`.
    pub data: PathBuf,
    /// How values are written and read.
    pub seal: Seal,
    log: File,
    _lock: File,
}

impl Disk {
    /// Opens the database in `dir` and what `load` reads of it. Where either finds damage, `dir` starts afresh.
    pub fn open<T: Send + 'static>(
        dir: &Path,
        tuning: Tuning,
        seal: &Seal,
        load: fn(&Disk) -> Result<T, String>,
    ) -> Result<Opened<(Disk, T)>, OpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let lock = lock(dir)?;
        let data = dir.join("data");
        let second_lock = lock.try_clone().map_err(at(dir))?;
        let why = match attempt(dir, &data, tuning, seal, lock, load)? {
            Ok(store) => return Ok(Opened { store, set_aside: None, lost: None }),
            Err(why) => why,
        };
        let aside = dir.join(format!("set-aside-{}", base::time::unix_ms()));
        tracing::error!(data = %data.display(), aside = %aside.display(), why, "could not open the data, so it is set aside");
        std::fs::rename(&data, &aside).map_err(at(&data))?;
        match attempt(dir, &data, tuning, seal, second_lock, load)? {
            Ok(store) => Ok(Opened { store, set_aside: Some(aside), lost: None }),
            Err(why) => Err(OpenError::Io { path: data, source: io::Error::other(why) }),
        }
    }

    /// Everything written so far is on the disk when this returns.
    ///
    /// sled's own `flush` hands its log to the kernel with `sync_file_range`, which neither waits for the disk's cache
    /// nor for the file's length, so its log file is synced besides.
    pub fn sync(&self) -> io::Result<()> {
        self.db.flush().map_err(io::Error::other)?;
        self.log.sync_data()
    }
}

/// Makes what was created in or renamed into `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let io = |source| OpenError::Io { path: path.clone(), source };
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(io)?;
            return Err(OpenError::Locked { dir: dir.to_owned(), pid: pid.trim().to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    file.set_len(0).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

type Attempt<T> = Result<Result<(Disk, T), String>, OpenError>;

/// `Ok(Err(why))` where the data is damaged. sled panics on some damage, so it is opened on a thread of its own.
fn attempt<T: Send + 'static>(
    dir: &Path,
    data: &Path,
    tuning: Tuning,
    seal: &Seal,
    lock: File,
    load: fn(&Disk) -> Result<T, String>,
) -> Attempt<T> {
    if let Err(why) = prepare(dir, data, seal)? {
        return Ok(Err(why));
    }
    let (path, seal) = (data.to_owned(), seal.clone());
    let opening =
        std::thread::Builder::new().name("store-open".to_owned()).spawn(move || open(path, tuning, seal, lock, load));
    let opening = opening.map_err(|source| OpenError::Io { path: data.to_owned(), source })?;
    match opening.join() {
        Ok(opened) => opened,
        Err(_panic) => Ok(Err("sled panicked while opening it".to_owned())),
    }
}

/// Makes `data` with its format, or compares it.
fn prepare(dir: &Path, data: &Path, seal: &Seal) -> Result<Result<(), String>, OpenError> {
    let path = data.join("format");
    let io = |source| OpenError::Io { path: path.clone(), source };
    if data.join("sled").exists() {
        let found = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            found => found.unwrap_or_default(),
        };
        return match found.trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(OpenError::NewerFormat { dir: dir.to_owned(), found }),
            Ok(found) if (found > PLAIN_FORMAT) != seal.is_on() => {
                Err(OpenError::Mixed { dir: dir.to_owned(), is_sealed: found > PLAIN_FORMAT })
            }
            Ok(_) if seal.is_on() => check_canary(dir, data, seal),
            Ok(_) => Ok(Ok(())),
            // Whether it is sealed is not known then, and it must not be begun anew by whoever has another key.
            Err(_) if data.join(CANARY).exists() && !seal.is_on() => {
                Err(OpenError::Mixed { dir: dir.to_owned(), is_sealed: true })
            }
            Err(_) => Ok(Err("its format file is missing or damaged".to_owned())),
        };
    }
    std::fs::create_dir_all(data.join("values")).map_err(io)?;
    if seal.is_on() {
        write_canary(dir, data, seal)?;
    }
    let mut file = File::create(&path).map_err(io)?;
    let format = if seal.is_on() { FORMAT } else { PLAIN_FORMAT };
    writeln!(file, "{format}").and_then(|()| file.sync_all()).map_err(io)?;
    sync_dir(data).and_then(|()| sync_dir(dir)).map_err(io)?;
    Ok(Ok(()))
}

/// Refuses a key that does not open the canary. One that was sealed under an old key is sealed anew.
fn check_canary(dir: &Path, data: &Path, seal: &Seal) -> Result<Result<(), String>, OpenError> {
    let path = data.join(CANARY);
    let sealed = match std::fs::read(&path) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err("its canary is missing, by which keys are told apart".to_owned()));
        }
        Err(source) => return Err(OpenError::Io { path, source }),
    };
    match seal.open(CANARY.as_bytes(), &sealed) {
        Ok(_) if seal.is_old(&sealed) => write_canary(dir, data, seal).map(Ok),
        Ok(_) => Ok(Ok(())),
        Err(why) => Err(OpenError::OtherKey { dir: dir.to_owned(), why }),
    }
}

fn write_canary(dir: &Path, data: &Path, seal: &Seal) -> Result<(), OpenError> {
    let path = data.join(CANARY);
    let io = |source| OpenError::Io { path: path.clone(), source };
    let sealed = seal.seal(CANARY.as_bytes(), CANARY.as_bytes());
    let sealed = sealed.map_err(|why| OpenError::OtherKey { dir: dir.to_owned(), why })?;
    let beside = data.join("canary.new");
    let mut file = File::create(&beside).map_err(io)?;
    file.write_all(&sealed).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&beside, &path).and_then(|()| sync_dir(data)).map_err(io)
}

fn open<T>(data: PathBuf, tuning: Tuning, seal: Seal, lock: File, load: fn(&Disk) -> Result<T, String>) -> Attempt<T> {
    let path = data.join("sled");
    let config =
        sled::Config::new().path(&path).cache_capacity(tuning.cache_bytes).flush_every_ms(tuning.flush_every_ms);
    let db = match config.open() {
        Ok(db) => db,
        Err(error) => return damage(error).map(Err).map_err(|source| OpenError::Io { path, source }),
    };
    let io = |source| OpenError::Io { path: path.clone(), source };
    let log = File::open(path.join("db")).map_err(io)?;
    let disk = Disk { db, data: data.clone(), seal, log, _lock: lock };
    disk.sync().and_then(|()| sync_dir(&path)).and_then(|()| sync_dir(&data)).map_err(io)?;
    Ok(load(&disk).map(|loaded| (disk, loaded)))
}

/// What is wrong with the data, or the error of an operating system that does not let us at it.
fn damage(error: sled::Error) -> io::Result<String> {
    match error {
        sled::Error::Io(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Ok(error.to_string())
            }
            _ => Err(error),
        },
        sled::Error::Unsupported(why) => Err(io::Error::new(io::ErrorKind::Unsupported, why)),
        error => Ok(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUNING: Tuning = Tuning { cache_bytes: 1 << 20, flush_every_ms: None };

    fn open(dir: &Path) -> Result<Opened<(Disk, ())>, OpenError> {
        Disk::open(dir, TUNING, &Seal::default(), |_| Ok(()))
    }

    #[test]
    fn a_second_user_is_refused_and_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let _first = open(dir.path()).unwrap();
        let Err(OpenError::Locked { pid, .. }) = open(dir.path()) else { panic!("the second one got in") };
        assert_eq!(pid, std::process::id().to_string());
    }

    #[test]
    fn data_that_cannot_be_opened_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        std::fs::write(dir.path().join("data/sled/conf"), "this is not sled's configuration at all").unwrap();
        let opened = open(dir.path()).unwrap();
        let aside = opened.set_aside.unwrap();
        assert!(aside.join("sled/conf").exists());
        assert!(dir.path().join("data/sled/db").exists());
    }

    #[test]
    fn data_of_a_later_release_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        std::fs::write(dir.path().join("data/format"), "3\n").unwrap();
        let Err(error) = open(dir.path()) else { panic!("it was opened") };
        assert!(error.to_string().ends_with("has format 3, but this release knows formats up to 2"), "{error}");
    }

    #[test]
    fn a_key_that_does_not_fit_is_refused_and_the_data_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = [[1; 32], [2; 32]];
        let open = |seal: Seal| Disk::open(dir.path(), TUNING, &seal, |_| Ok(()));
        drop(open(Seal::with_keys(one, &[])).unwrap());
        let other = open(Seal::with_keys(two, &[])).err().unwrap();
        assert!(matches!(other, OpenError::OtherKey { .. }), "{other}");
        let off = open(Seal::default()).err().unwrap();
        assert!(matches!(off, OpenError::Mixed { is_sealed: true, .. }), "{off}");
        // The old key opens it once more, and then the new one does alone.
        assert_eq!(open(Seal::with_keys(two, &[one])).unwrap().set_aside, None);
        assert_eq!(open(Seal::with_keys(two, &[])).unwrap().set_aside, None);
        std::fs::remove_file(dir.path().join("data/format")).unwrap();
        assert!(open(Seal::default()).is_err());
    }

    #[test]
    fn plain_data_is_not_sealed_silently() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let sealed = Disk::open(dir.path(), TUNING, &Seal::with_keys([1; 32], &[]), |_| Ok(()));
        assert!(matches!(sealed.err().unwrap(), OpenError::Mixed { is_sealed: false, .. }));
        assert!(open(dir.path()).unwrap().set_aside.is_none());
    }
}
