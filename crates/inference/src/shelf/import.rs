//! Brings a file into the node's folder, whole or not at all.
//!
//! A copy that shares its bytes with the source until one of the two is written costs nothing, so it is tried first; a plain
//! copy is the fallback. A hard link is made only when asked for: it is one file under two names, so whoever later writes to
//! the source, or cuts it, changes the model under a running engine, which has the file mapped and dies of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::units::ByteSize;
use base::{Code, Fault, Result};
use rustix::fs::RenameFlags;

use super::digest::{changed, read_through};
use super::files::{self, Stamp};
use super::variant::{Variant, try_resolve};
use super::{Shelf, scan};
use crate::gguf::{Header, Kind};

/// What stays free on the disk.
const SPARE_BYTES: u64 = 256 << 20;
const MOST_NAME_BYTES: usize = 128;
/// What an import left behind that did not come to its end; no import takes as long.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);
const PARTIAL: &str = "partial";

/// How a file may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportBy {
    /// By sharing its bytes until one of the two is written, else by copying them.
    Copy,
    /// As a second name of the same file.
    Link,
}

/// How a file came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportedBy {
    /// It shares its bytes with the source until one of the two is written.
    Clone,
    /// It is a second name of the source.
    Link,
    /// It is a copy.
    Copy,
}

impl ImportedBy {
    /// As it is told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Link => "link",
            Self::Copy => "copy",
        }
    }
}

/// What came in.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What it is called now.
    pub name: String,
    /// Where it lies now.
    pub path: PathBuf,
    /// How it came.
    pub by: ImportedBy,
    /// Its size.
    pub size_bytes: u64,
    /// Its digest, as `sha256:…`.
    pub digest: String,
    /// What it says about itself.
    pub header: Header,
}

impl Shelf {
    /// Brings the file `from` in as `name`, by its own name where that is empty.
    ///
    /// # Errors
    /// The file is no good, the name is taken or odd, or there is no room.
    pub fn import(&self, from: &Path, name: &str, by: ImportBy) -> Result<Imported> {
        let name = if name.is_empty() { scan::stem(from) } else { name.trim_end_matches(".gguf").to_owned() };
        check_name(&name)?;
        let (mut source, before) = files::open(from).map_err(|error| could_not_read(from, error))?;
        let header = Header::read(&mut source, before.size)
            .map_err(|error| Fault::invalid(files::refused(from, &error)).hint(error.hint()))?;
        if header.kind == Kind::Projector {
            return Err(Fault::invalid(format!("`{}` lets another model see, and is none itself", from.display()))
                .hint("import the model's own file"));
        }
        self.refuse_taken(&name)?;
        let path = self.folder().join(format!("{name}.gguf"));
        let partial = Partial::new(self.folder(), &name)?;
        let (by, digest) = match by {
            ImportBy::Link => (partial.link(from)?, None),
            ImportBy::Copy => partial.copy(from, &mut source, before.size)?,
        };
        let digest =
            digest.map_or_else(|| partial.digest(), Ok).map_err(|error| could_not_write(self.folder(), error))?;
        let now = fs::metadata(from).map(|now| Stamp::of(&now)).map_err(|error| could_not_read(from, error))?;
        // A link has one more name, which changes neither size nor time.
        if now != before {
            return Err(changed(from));
        }
        let stamp = partial.place(&path)?;
        self.digests.remember(&path, stamp, &digest);
        Ok(Imported { name, path, by, size_bytes: before.size, digest, header })
    }

    /// Writes a variant called `name`, and tells where.
    ///
    /// # Errors
    /// Its base or adapter is not there, the name is taken or odd, or the folder cannot be written.
    pub fn create(&self, name: &str, variant: &Variant) -> Result<PathBuf> {
        check_name(name)?;
        let text = variant.to_toml()?;
        self.refuse_taken(name)?;
        let path = self.folder().join(format!("{name}.toml"));
        // As a look resolves it: a variant is made of a file, and not of another variant.
        let files: Vec<_> = self.look().into_iter().filter(|model| model.variant.is_none()).collect();
        try_resolve(name, &path, variant.clone(), &files, &self.digests)?;
        let partial = Partial::new(self.folder(), name)?;
        partial.write(text.as_bytes()).map_err(|error| could_not_write(&path, error))?;
        partial.place(&path)?;
        Ok(path)
    }

    fn refuse_taken(&self, name: &str) -> Result<()> {
        let taken = ["gguf", "toml"].map(|extension| self.folder().join(format!("{name}.{extension}")));
        match taken.iter().find(|path| path.symlink_metadata().is_ok()) {
            Some(path) => Err(taken_fault(path)),
            None => Ok(()),
        }
    }
}

/// A name that can stand as a file in the folder, and nowhere else.
fn check_name(name: &str) -> Result<()> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._:@+-".contains(c);
    if name.is_empty() || name.len() > MOST_NAME_BYTES || name.starts_with('.') || !name.chars().all(is_good) {
        return Err(Fault::invalid(format!("`{}` cannot be the name of a model", name.escape_debug()))
            .hint("give a name of letters, digits and . _ : @ + -, which begins with no dot"));
    }
    Ok(())
}

fn taken_fault(path: &Path) -> Fault {
    Fault::new(Code::Conflict, format!("`{}` is there already", path.display()))
        .hint("give another name with --name, or remove that file first")
}

fn could_not_read(path: &Path, error: io::Error) -> Fault {
    let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::InvalidArgument };
    Fault::new(code, format!("could not read `{}`", path.display()))
        .because(error)
        .hint("give a file of this node's machine that the daemon's user may read")
}

fn could_not_write(path: &Path, error: io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::StorageFull,
        _ => Code::Unavailable,
    };
    Fault::new(code, format!("could not write `{}`", path.display()))
        .because(error)
        .hint("check that the folder (engine.folder) may be written and has room")
}

/// A file that is not there yet for anybody who looks; gone when it is dropped before it was placed.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn new(folder: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|error| could_not_write(folder, error))?;
        sweep(folder);
        let unlike = fastrand::u64(..);
        Ok(Self { path: folder.join(format!(".{name}.{unlike:016x}.{PARTIAL}")) })
    }

    fn create(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o644).open(&self.path)
    }

    fn link(&self, from: &Path) -> Result<ImportedBy> {
        // Of a link, what it points to is meant.
        let from = from.canonicalize().map_err(|error| could_not_read(from, error))?;
        fs::hard_link(&from, &self.path).map_err(|error| {
            Fault::invalid(format!("could not link `{}`", from.display()))
                .because(error)
                .hint("leave out --link: the file is copied then, without taking room where the disk can share it")
        })?;
        Ok(ImportedBy::Link)
    }

    /// The digest as well, where the bytes had to be read anyway.
    fn copy(&self, from: &Path, source: &mut File, size: u64) -> Result<(ImportedBy, Option<String>)> {
        let mut to = self.create().map_err(|error| could_not_write(&self.path, error))?;
        if rustix::fs::ioctl_ficlone(&to, &*source).is_ok() {
            to.sync_all().map_err(|error| could_not_write(&self.path, error))?;
            return Ok((ImportedBy::Clone, None));
        }
        self.refuse_full(size)?;
        source.rewind().map_err(|error| could_not_read(from, error))?;
        let mut copied = 0;
        let mut failed = None;
        let read = read_through(source, |piece| {
            copied += piece.len() as u64;
            to.write_all(piece).map_err(|error| {
                let kind = error.kind();
                failed = Some(error);
                kind.into()
            })
        });
        if let Some(error) = failed {
            return Err(could_not_write(&self.path, error));
        }
        let digest = read.map_err(|error| could_not_read(from, error))?;
        to.sync_all().map_err(|error| could_not_write(&self.path, error))?;
        if copied == size { Ok((ImportedBy::Copy, Some(digest))) } else { Err(changed(from)) }
    }

    fn refuse_full(&self, size: u64) -> Result<()> {
        let free = crate::machine::disk_free(&self.path);
        if size.saturating_add(SPARE_BYTES) > free {
            let (size, free) = (ByteSize(size), ByteSize(free));
            return Err(Fault::new(Code::StorageFull, format!("the file has {size}, and only {free} are free"))
                .hint("make room on the disk of engine.folder, or set another folder"));
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.create()?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn digest(&self) -> io::Result<String> {
        read_through(&mut File::open(&self.path)?, |_| Ok(()))
    }

    /// Gives it its name, which nobody else may have.
    fn place(self, path: &Path) -> Result<Stamp> {
        use rustix::fs::{CWD, renameat_with};
        match renameat_with(CWD, &self.path, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(taken_fault(path)),
            // A file system that cannot promise it; looking first leaves a gap that only another import could use.
            Err(_) if path.symlink_metadata().is_ok() => return Err(taken_fault(path)),
            Err(_) => fs::rename(&self.path, path).map_err(|error| could_not_write(path, error))?,
        }
        let settle = || {
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
            fs::metadata(path).map(|metadata| Stamp::of(&metadata))
        };
        settle().map_err(|error| could_not_write(path, error))
    }
}

/// Removes what was left behind by a daemon that was killed in the middle of an import.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_partial = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
            && path.extension().is_some_and(|extension| extension == PARTIAL);
        let age =
            path.symlink_metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        if is_partial && age.is_some_and(|age| age > ABANDONED) {
            tracing::info!(path = %path.display(), "removes what an import left behind");
            drop(fs::remove_file(&path));
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already where it was placed.
        drop(fs::remove_file(&self.path));
    }
}
