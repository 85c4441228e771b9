//! A folder of tantivy's whose files are sealed: each as a whole, for its name. What is open is in memory unsealed, once,
//! however many readers there are, for as long as any of them needs it.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use store::Seal;
use tantivy::Directory;
use tantivy::directory::error::{DeleteError, LockError, OpenDirectoryError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, DirectoryLock, FileHandle, Lock, MmapDirectory, OwnedBytes, TerminatingWrite, WatchCallback,
    WatchHandle, WritePtr,
};

/// The folder. Clones are the same.
#[derive(Clone)]
pub struct SealedDirectory {
    files: MmapDirectory,
    seal: Seal,
    /// What is open, unsealed. A file never changes under its name.
    open: Arc<Mutex<HashMap<PathBuf, Weak<[u8]>>>>,
}

impl SealedDirectory {
    /// The folder at `path`, which exists.
    pub fn open(path: &Path, seal: Seal) -> Result<Self, OpenDirectoryError> {
        Ok(Self { files: MmapDirectory::open(path)?, seal, open: Arc::default() })
    }

    fn unsealed(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let sealed = self.files.atomic_read(path)?;
        self.seal.open(&place(path), &sealed).map_err(|error| {
            let damaged = io::Error::new(io::ErrorKind::InvalidData, error);
            OpenReadError::wrap_io_error(damaged, path.to_owned())
        })
    }
}

/// What a file is sealed for.
fn place(path: &Path) -> Vec<u8> {
    [b"index/", path.as_os_str().as_encoded_bytes()].concat()
}

impl fmt::Debug for SealedDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealedDirectory").field(&self.files).finish()
    }
}

impl Directory for SealedDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        // Held while a file is unsealed: two readers of one file are to share it.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = open.get(path).and_then(Weak::upgrade) {
            return Ok(Arc::new(OwnedBytes::new(bytes)));
        }
        let bytes: Arc<[u8]> = self.unsealed(path)?.into();
        open.retain(|_, bytes| bytes.strong_count() > 0);
        open.insert(path.to_owned(), Arc::downgrade(&bytes));
        Ok(Arc::new(OwnedBytes::new(bytes)))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        self.files.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.files.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let to = self.files.open_write(path)?;
        let writer = SealedWriter { to, seal: self.seal.clone(), place: place(path), bytes: Vec::new() };
        Ok(io::BufWriter::new(Box::new(writer)))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.unsealed(path)
    }

    fn atomic_write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let sealed = self.seal.seal(&place(path), bytes).map_err(io::Error::other)?;
        self.files.atomic_write(path, &sealed)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.files.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.files.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.files.watch(callback)
    }
}

/// Keeps what is written until all of it is there, and seals it then.
struct SealedWriter {
    to: WritePtr,
    seal: Seal,
    place: Vec<u8>,
    bytes: Vec<u8>,
}

impl Write for SealedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for SealedWriter {
    fn terminate_ref(&mut self, token: AntiCallToken) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        let sealed = self.seal.seal(&self.place, &bytes).map_err(io::Error::other)?;
        self.to.write_all(&sealed)?;
        self.to.terminate_ref(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"the heron stands in the shallow water";

    #[test]
    fn files_are_read_as_they_were_written_and_none_is_readable_or_taken_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let open = |key| SealedDirectory::open(dir.path(), Seal::with_keys([key; 32], &[])).unwrap();
        let files = open(1);
        let (one, two, meta) = (Path::new("one"), Path::new("two"), Path::new("meta.json"));
        let mut writer = files.open_write(one).unwrap();
        writer.write_all(SECRET).unwrap();
        writer.terminate().unwrap();
        files.atomic_write(meta, SECRET).unwrap();
        assert!(files.open_write(one).is_err(), "a file was written twice");
        assert_eq!(files.open_read(one).unwrap().read_bytes().unwrap().as_slice(), SECRET);
        assert_eq!(files.atomic_read(meta).unwrap(), SECRET);
        for name in [one, meta] {
            let on_disk = std::fs::read(dir.path().join(name)).unwrap();
            assert!(!on_disk.windows(SECRET.len()).any(|part| part == SECRET));
        }
        std::fs::copy(dir.path().join(one), dir.path().join(two)).unwrap();
        assert!(files.open_read(two).is_err());
        assert!(open(2).open_read(one).is_err());
    }

    #[test]
    fn readers_of_one_file_share_it_and_it_goes_with_the_last_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let files = SealedDirectory::open(dir.path(), Seal::with_keys([1; 32], &[])).unwrap();
        let path = Path::new("one");
        let mut writer = files.open_write(path).unwrap();
        writer.write_all(SECRET).unwrap();
        writer.terminate().unwrap();
        let one = files.open_read(path).unwrap().read_bytes().unwrap();
        let two = files.open_read(path).unwrap().read_bytes().unwrap();
        assert_eq!(one.as_slice().as_ptr(), two.as_slice().as_ptr());
        let alive = || files.open.lock().unwrap().get(path).unwrap().strong_count();
        assert!(alive() > 0);
        drop((one, two));
        assert_eq!(alive(), 0);
    }
}
