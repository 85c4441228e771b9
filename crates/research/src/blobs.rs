//! Content-addressed files of this node: a document's bytes and its text, each once, named by what is in them.
//!
//! A file is whole or not there: it is written beside its place, synced, renamed into it, and the folder synced. What is
//! read is checked against its name. Where encryption is on a file is sealed for its name, which is the hash of what is in
//! it: whoever has a document finds out whether it is here, and nothing else. All calls block; they are for threads that may.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use store::Seal;
use store::sealing::SealError;
use xxhash_rust::xxh3::xxh3_64;

use crate::names::BlobId;

/// Where files are before they are whole; emptied on opening.
const UNFINISHED: &str = "unfinished";

/// What a sealed file begins with; a checksum of the rest follows.
const SEALED: &[u8; 8] = b"TMSEAL\0\x01";

/// The files below one folder. Clones are the same.
#[derive(Clone, Debug)]
pub struct Blobs {
    dir: PathBuf,
    seal: Seal,
    /// Held while it is decided whether a file stays.
    deciding: Arc<Mutex<()>>,
}

/// Why bytes could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} `{}`", path.display())]
pub struct BlobError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl BlobError {
    /// Whether there is no room on the disk.
    pub fn is_full(&self) -> bool {
        crate::is_full_disk(&self.source)
    }
}

impl From<BlobError> for base::Fault {
    fn from(error: BlobError) -> Self {
        let code = if error.is_full() { base::Code::StorageFull } else { base::Code::Internal };
        let fault = Self::new(code, "could not keep the bytes of a document").because(error);
        match code {
            base::Code::StorageFull => fault.hint("make room on the disk of `node.data_dir`"),
            _ => fault.hint("look at the node's log, and at the disk of `node.data_dir`"),
        }
    }
}

impl Blobs {
    /// Opens the files in `dir`, which is made if it does not exist.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        Self::open_sealed(dir, &Seal::default())
    }

    /// As [`Blobs::open`], with files sealed where `seal` is on.
    pub fn open_sealed(dir: &Path, seal: &Seal) -> Result<Self, BlobError> {
        let unfinished = dir.join(UNFINISHED);
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("empty", &unfinished)(error));
            }
            _ => {}
        }
        fs::create_dir_all(&unfinished).map_err(failed("make", &unfinished))?;
        // All now and synced: whoever came second to a new one could not know whether the first had synced it.
        for number in 0..=u8::MAX {
            let folder = dir.join(format!("{number:02x}"));
            fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        }
        sync_folder(dir)?;
        Ok(Self { dir: dir.to_owned(), seal: seal.clone(), deciding: Arc::default() })
    }

    /// Keeps bytes; when this returns they survive a power cut.
    pub fn put(&self, bytes: &[u8]) -> Result<BlobId, BlobError> {
        let id = BlobId::of(bytes);
        let path = self.path(id);
        let folder = path.parent().unwrap_or(&self.dir);
        if self.renew(id)? {
            // Whoever wrote it may not have come to this yet.
            sync_folder(folder)?;
            return Ok(id);
        }
        let unfinished = self.dir.join(UNFINISHED);
        // Whoever deletes the folder of a node that runs has everything made anew.
        if !folder.exists() {
            fs::create_dir_all(folder).map_err(failed("make", folder))?;
            sync_folder(&self.dir)?;
        }
        fs::create_dir_all(&unfinished).map_err(failed("make", &unfinished))?;
        let beside = unfinished.join(format!("{id}-{:016x}", fastrand::u64(..)));
        let bytes = self.as_kept(id, bytes).map_err(failed("seal", &path))?;
        let written = File::create_new(&beside).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        let moved = written.and_then(|()| {
            let _deciding = self.deciding();
            fs::rename(&beside, &path)
        });
        if let Err(error) = moved {
            let _ = fs::remove_file(&beside);
            return Err(failed("write", &path)(error));
        }
        sync_folder(folder)?;
        Ok(id)
    }

    /// Makes a file that is here as good as new: its age counts from now. `false`: it is not here, or was damaged.
    fn renew(&self, id: BlobId) -> Result<bool, BlobError> {
        if self.get(id)?.is_none() {
            return Ok(false);
        }
        let path = self.path(id);
        let _deciding = self.deciding();
        match File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now())) {
            Ok(()) => Ok(true),
            // It was old, and taken away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("renew", &path)(error)),
        }
    }

    fn deciding(&self) -> std::sync::MutexGuard<'_, ()> {
        self.deciding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of that name; `None` where they are not here, or not whole any more: then the file is gone afterwards,
    /// so that it can be fetched again.
    pub fn get(&self, id: BlobId) -> Result<Option<Bytes>, BlobError> {
        let Some(bytes) = self.read(id)? else { return Ok(None) };
        if BlobId::of(&bytes) == id {
            return Ok(Some(bytes));
        }
        // A good one may have taken its place meanwhile.
        let _deciding = self.deciding();
        let again = self.read(id)?;
        if again.as_ref().is_none_or(|bytes| BlobId::of(bytes) == id) {
            return Ok(again);
        }
        tracing::error!(blob = %id, "a stored file is damaged, and is taken away");
        let path = self.path(id);
        fs::remove_file(&path).map_err(failed("remove", &path))?;
        Ok(None)
    }

    /// What stands under that name, unchecked.
    fn read(&self, id: BlobId) -> Result<Option<Bytes>, BlobError> {
        let path = self.path(id);
        match fs::read(&path) {
            Ok(bytes) => self.as_put(id, bytes).map(Some).map_err(failed("unseal", &path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Bytes as they are written.
    fn as_kept<'a>(&self, id: BlobId, bytes: &'a [u8]) -> io::Result<Cow<'a, [u8]>> {
        if !self.seal.is_on() {
            return Ok(bytes.into());
        }
        let sealed = self.seal.seal(&place(id), bytes).map_err(io::Error::other)?;
        Ok([SEALED, &xxh3_64(&sealed).to_le_bytes(), sealed.as_slice()].concat().into())
    }

    /// Bytes as they were put. What was damaged comes back as it is, and is known by its name; what needs another key is no
    /// damage, and is left alone.
    fn as_put(&self, id: BlobId, bytes: Vec<u8>) -> io::Result<Bytes> {
        let Some((sum, sealed)) = bytes.strip_prefix(SEALED).and_then(|rest| rest.split_first_chunk()) else {
            let is_plain = BlobId::of(&bytes) == id;
            return match self.seal.is_on() && is_plain {
                true => Err(io::Error::other("it is not sealed, and store.encryption is on")),
                false => Ok(bytes.into()),
            };
        };
        // Told apart from what needs another key, whichever part of it is damaged.
        let is_whole = *sum == xxh3_64(sealed).to_le_bytes();
        match self.seal.open(&place(id), sealed) {
            Ok(bytes) => Ok(bytes.into()),
            // A document may begin like a sealed file.
            Err(SealError::Changed | SealError::NoKey) if BlobId::of(&bytes) == id => Ok(bytes.into()),
            Err(error) if !is_whole || error == SealError::Changed => Ok(bytes.into()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// The file of that name, open and unchecked, for reading a part of it; `None` where it is not here. A sealed one is
    /// unsealed as a whole.
    pub fn open_part(&self, id: BlobId) -> Result<Option<Part>, BlobError> {
        if self.seal.is_on() {
            return Ok(self.read(id)?.map(Part::Whole));
        }
        let path = self.path(id);
        match File::open(&path) {
            Ok(file) => Ok(Some(Part::File(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", &path)(error)),
        }
    }

    /// Whether a file of that name is here.
    pub fn has(&self, id: BlobId) -> bool {
        self.path(id).exists()
    }

    /// Takes a file away, unless it was put within the last so long, be it there already; gives whether it did.
    pub fn remove_older(&self, id: BlobId, age: Duration) -> Result<bool, BlobError> {
        let path = self.path(id);
        let _deciding = self.deciding();
        let modified = match fs::metadata(&path).and_then(|about| about.modified()) {
            Ok(modified) => modified,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        // A clock that was set back makes a file younger than nothing.
        if modified.elapsed().unwrap_or_default() < age {
            return Ok(false);
        }
        fs::remove_file(&path).map(|()| true).map_err(failed("remove", &path))
    }

    /// Every file that is here.
    pub fn all(&self) -> Result<Vec<BlobId>, BlobError> {
        let mut found = Vec::new();
        for folder in entries(&self.dir)? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.len() != 2 {
                continue;
            }
            for path in entries(&folder)? {
                let rest = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                found.extend(BlobId::parse(&format!("{name}{rest}")));
            }
        }
        Ok(found)
    }

    /// Two levels, so that no folder holds all files.
    fn path(&self, id: BlobId) -> PathBuf {
        let name = id.to_string();
        let (folder, rest) = name.split_at(2);
        self.dir.join(folder).join(rest)
    }
}

/// A file that is open for reading parts of it.
pub enum Part {
    /// On the disk.
    File(File),
    /// In memory.
    Whole(Bytes),
}

impl Part {
    /// Reads as many bytes as there is room for, from a place on.
    pub fn read_exact_at(&self, to: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(to, at),
            Self::Whole(bytes) => {
                let begin = usize::try_from(at).map_err(io::Error::other)?;
                let from = bytes.get(begin..begin.saturating_add(to.len()));
                from.map(|from| to.copy_from_slice(from)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}

/// What a file is sealed for.
fn place(id: BlobId) -> Vec<u8> {
    format!("file/{id}").into_bytes()
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, BlobError> {
    let read = fs::read_dir(dir).map_err(failed("read", dir))?;
    read.map(|entry| entry.map(|entry| entry.path()).map_err(failed("read", dir))).collect()
}

fn sync_folder(folder: &Path) -> Result<(), BlobError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> BlobError + use<'a> {
    move |source| BlobError { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_they_were_kept_and_a_damaged_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let id = blobs.put(b"a word").unwrap();
        assert_eq!(blobs.put(b"a word").unwrap(), id);
        assert_eq!(Blobs::open(dir.path()).unwrap().get(id).unwrap().unwrap(), &b"a word"[..]);
        assert_eq!(blobs.all().unwrap().len(), 1);
        fs::write(blobs.path(id), b"a w").unwrap();
        assert_eq!(blobs.get(id).unwrap(), None);
        assert!(!blobs.has(id));
        assert_eq!(blobs.put(b"a word").unwrap(), id);
        assert!(blobs.has(id));
        fs::write(blobs.path(id), b"a w").unwrap();
        assert_eq!(blobs.put(b"a word").unwrap(), id);
        assert_eq!(blobs.get(id).unwrap().unwrap(), &b"a word"[..]);
    }

    #[test]
    fn a_good_file_is_not_taken_away_for_the_damaged_one_that_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let (id, damaged) = (BlobId::of(b"a word"), vec![7; 4 << 20]);
        for _ in 0..5 {
            fs::write(blobs.path(id), &damaged).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| blobs.put(b"a word").unwrap());
                // They begin to read the damaged one, and end when the good one is there.
                for late in 0..8 {
                    let blobs = &blobs;
                    scope.spawn(move || {
                        std::thread::sleep(Duration::from_millis(5 * late));
                        blobs.get(id).unwrap();
                    });
                }
            });
            assert!(blobs.has(id), "a file that was acknowledged is gone");
        }
    }

    #[test]
    fn a_file_that_is_put_again_is_as_young_as_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let hour = Duration::from_secs(3600);
        let id = blobs.put(b"a word").unwrap();
        let make_old = || {
            let file = File::options().append(true).open(blobs.path(id)).unwrap();
            file.set_modified(SystemTime::now() - 2 * hour).unwrap();
        };
        make_old();
        blobs.put(b"a word").unwrap();
        assert!(!blobs.remove_older(id, hour).unwrap());
        make_old();
        assert!(blobs.remove_older(id, hour).unwrap() && !blobs.has(id));
        assert!(!blobs.remove_older(id, hour).unwrap());
    }

    #[test]
    fn what_was_not_finished_is_gone_after_opening() {
        let dir = tempfile::tempdir().unwrap();
        Blobs::open(dir.path()).unwrap();
        fs::write(dir.path().join(UNFINISHED).join("x"), b"half").unwrap();
        Blobs::open(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path().join(UNFINISHED)).unwrap().count(), 0);
    }

    #[test]
    fn sealed_files_are_read_as_they_were_put_and_another_key_takes_none_away() {
        let dir = tempfile::tempdir().unwrap();
        let open = |seal: &Seal| Blobs::open_sealed(dir.path(), seal).unwrap();
        let (own, other) = (Seal::with_keys([1; 32], &[]), Seal::with_keys([2; 32], &[]));
        let blobs = open(&own);
        let secret = b"the heron stands in the shallow water";
        let id = blobs.put(secret).unwrap();
        assert!(!fs::read(blobs.path(id)).unwrap().windows(secret.len()).any(|part| part == secret));
        assert_eq!(blobs.get(id).unwrap().unwrap(), &secret[..]);
        let mut part = [0; 5];
        blobs.open_part(id).unwrap().unwrap().read_exact_at(&mut part, 4).unwrap();
        assert_eq!(&part, b"heron");
        assert!(blobs.open_part(id).unwrap().unwrap().read_exact_at(&mut part, 34).is_err());
        for stranger in [&other, &Seal::default()] {
            assert!(open(stranger).get(id).is_err());
            assert!(open(stranger).has(id), "a file that needs another key was taken away");
        }
        let whole = fs::read(blobs.path(id)).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(blobs.path(id), &damaged).unwrap();
            // Of the checksum nothing depends on what is sealed.
            let expected = (8..16).contains(&at).then_some(&secret[..]);
            assert_eq!(blobs.get(id).unwrap().as_deref(), expected, "byte {at}");
            assert_eq!(blobs.has(id), expected.is_some());
        }
        let plain = open(&Seal::default()).put(secret).unwrap();
        assert!(blobs.get(plain).is_err() && blobs.has(plain), "a plain file was served, or taken away");
    }
}
