//! The vectors of chunks, of one embedder: a file that is only added to, and is the cache of embeddings as well, and an
//! exact search over all of them.
//!
//! Chunks with equal headings and text share a vector, whichever document they are of, so that nothing is embedded
//! twice. Readers hold a [`Snapshot`] and wait for nobody; one writer at a time adds a batch behind the last one, syncs,
//! and publishes the next snapshot. Everything here blocks on the disk: it is no work for the runtime's own threads.

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use base::{Code, Fault, Result};
use store::Seal;

use self::durable::{disk, put, replace, sync_folder};
use self::log::{Log, LogError};
use crate::models::Embedder;
use crate::names::ChunkHash;

mod durable;
pub mod filling;
pub mod generations;
mod log;
mod nearest;
mod numbers;
mod snapshot;
#[cfg(test)]
mod tests;

pub use nearest::{Allowed, Rows};
pub use numbers::{Unfit, unit};
pub use snapshot::{Row, Snapshot};

/// The records.
const LOG: &str = "vectors.log";
/// What becomes the log when it is complete.
const NEW_LOG: &str = "vectors.new";
/// A log whose header nobody can read.
const DAMAGED_LOG: &str = "vectors.damaged";
/// Chunks that get no vector, with the reasons.
const REFUSED: &str = "refused.json";
/// Held by the process that has the folder open.
const LOCK: &str = "lock";
/// No model gives more numbers; with as many, a product of small numbers still fits where it is summed up.
const MOST_DIMS: u32 = 65_536;
/// How many records are copied at once.
const COPIED_AT_ONCE: usize = 256;

/// The vectors of one embedder, in a folder of their own. Clones are the same vectors.
#[derive(Clone, Debug)]
pub struct Vectors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    by: Embedder,
    seal: Seal,
    opening: Opening,
    published: ArcSwap<Snapshot>,
    /// Held by who writes.
    writer: Mutex<()>,
    _lock: File,
}

/// What was found not to be whole when a folder was opened. None of it is lost for good: it is embedded again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Bytes behind the last whole record, which a crash left there.
    pub cut_bytes: u64,
    /// Records in the middle that are damaged.
    pub damaged: u64,
    /// Whether nobody could tell whose vectors they were, so that the file was put aside.
    pub is_set_aside: bool,
}

/// What came of taking away what is not wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Vectors that are still there.
    pub kept: usize,
    /// Vectors that are gone, as was wished.
    pub dropped: usize,
    /// Vectors that could not be read any more; they are embedded again.
    pub damaged: usize,
}

impl Vectors {
    /// Opens the vectors of an embedder in a folder, or begins them.
    pub fn open(dir: &Path, by: Embedder) -> Result<Self> {
        Self::open_sealed(dir, by, &Seal::default())
    }

    /// As [`Vectors::open`], with records sealed where `seal` is on.
    pub fn open_sealed(dir: &Path, by: Embedder, seal: &Seal) -> Result<Self> {
        if !(1..=MOST_DIMS).contains(&by.dims) {
            return Err(Fault::invalid(format!("vectors of {} numbers cannot be kept", by.dims))
                .hint(format!("use an embedding model with 1 to {MOST_DIMS}")));
        }
        let lock = lock(dir)?;
        let could_not_open = |error| disk("open the vectors in", dir, error);
        let (log, is_set_aside) = open_log(dir, &by, seal)?;
        let refused = read_refused(&dir.join(REFUSED), seal).map_err(could_not_open)?;
        let (snapshot, unwhole) = Snapshot::read(log, by.dims, Arc::new(refused)).map_err(could_not_open)?;
        let opening = Opening { cut_bytes: unwhole.cut, damaged: unwhole.damaged, is_set_aside };
        if opening != Opening::default() {
            tracing::warn!(
                model = by.model,
                ?opening,
                "the file of vectors was not whole: what is missing is embedded again"
            );
        }
        let published = ArcSwap::from_pointee(snapshot);
        Ok(Self(Arc::new(Shared {
            dir: dir.to_owned(),
            by,
            seal: seal.clone(),
            opening,
            published,
            writer: Mutex::default(),
            _lock: lock,
        })))
    }

    /// Whose vectors they are.
    pub fn embedder(&self) -> &Embedder {
        &self.0.by
    }

    /// What was not whole when they were opened.
    pub fn opening(&self) -> Opening {
        self.0.opening
    }

    /// The vectors as they stand now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.published.load_full()
    }

    /// Adds vectors of any length above 0. They are on the disk, and found, when this returns; a chunk that has one
    /// keeps it. With one that cannot be compared, nothing is added.
    pub fn insert(&self, batch: &[(ChunkHash, Vec<f32>)]) -> Result<()> {
        let mut units = Vec::with_capacity(batch.len());
        for (hash, vector) in batch {
            let unit = unit(vector, self.0.by.dims).map_err(|unfit| self.unfit(hash, unfit))?;
            units.push((*hash, unit));
        }
        let _writer = self.writer();
        let before = self.snapshot();
        let mut seen = HashSet::new();
        units.retain(|(hash, _)| !before.contains(hash) && seen.insert(*hash));
        if units.is_empty() {
            return Ok(());
        }
        let first = before.next_slot();
        let written = before.log.write(first, units.iter().map(|(hash, unit)| (hash, unit.as_slice())));
        if let Err(error) = written.and_then(|()| before.log.sync()) {
            // What stays there is overwritten by the next batch, or cut off when it is opened; this only tidies up.
            let _ = before.log.cut(first);
            return Err(disk("add to the vectors in", &self.0.dir, error));
        }
        let mut after = Snapshot::clone(&before);
        for (slot, (hash, unit)) in (first..).zip(&units) {
            after.add(slot, *hash, unit);
        }
        self.0.published.store(Arc::new(after));
        Ok(())
    }

    /// Remembers that the embedder gives no vector for a chunk, so that it is not asked again.
    pub fn refuse(&self, hash: ChunkHash, reason: &str) -> Result<()> {
        let _writer = self.writer();
        let mut after = Snapshot::clone(&self.snapshot());
        Arc::make_mut(&mut after.refused).insert(hash, reason.to_owned());
        self.write_refused(&after.refused)?;
        self.0.published.store(Arc::new(after));
        Ok(())
    }

    /// Takes away the vectors, and the refusals, of all chunks that are not alive. Rows get other numbers; who holds a
    /// snapshot may go on with it.
    pub fn keep(&self, alive: impl Fn(&ChunkHash) -> bool) -> Result<Kept> {
        let _writer = self.writer();
        let before = self.snapshot();
        if before.rows().all(|(_, hash)| alive(&hash)) && before.refused.keys().all(&alive) {
            return Ok(Kept { kept: before.len(), ..Kept::default() });
        }
        let mut refused = HashMap::clone(&before.refused);
        refused.retain(|hash, _| alive(hash));
        self.write_refused(&refused)?;
        let (after, kept) = self.rewritten(&before, refused, alive).map_err(|error| {
            let _ = std::fs::remove_file(self.0.dir.join(NEW_LOG));
            disk("rewrite the vectors in", &self.0.dir, error)
        })?;
        // From the renaming on, what is added must go to the new file.
        self.0.published.store(Arc::new(after));
        sync_folder(&self.0.dir).map_err(|error| disk("rewrite the vectors in", &self.0.dir, error))?;
        Ok(kept)
    }

    fn rewritten(
        &self,
        before: &Snapshot,
        refused: HashMap<ChunkHash, String>,
        alive: impl Fn(&ChunkHash) -> bool,
    ) -> io::Result<(Snapshot, Kept)> {
        let path = self.0.dir.join(NEW_LOG);
        let log = Log::create(&path, &self.0.by, &self.0.seal)?;
        let rows: Vec<Row> = before.rows().filter(|(_, hash)| alive(hash)).map(|(row, _)| row).collect();
        let mut next_slot = 0;
        for rows in rows.chunks(COPIED_AT_ONCE) {
            let exact = |row: &Row| Some((before.hash(*row)?, before.vector(*row).ok()?));
            let records: Vec<(ChunkHash, Vec<f32>)> = rows.iter().filter_map(exact).collect();
            log.write(next_slot, records.iter().map(|(hash, vector)| (hash, vector.as_slice())))?;
            next_slot += records.len() as u32;
        }
        log.sync()?;
        let (after, _) = Snapshot::read(log, self.0.by.dims, Arc::new(refused))?;
        std::fs::rename(path, self.0.dir.join(LOG))?;
        let (kept, wished) = (after.len(), rows.len());
        Ok((after, Kept { kept, dropped: before.len() - wished, damaged: wished - kept }))
    }

    fn write_refused(&self, refused: &HashMap<ChunkHash, String>) -> Result<()> {
        let path = self.0.dir.join(REFUSED);
        let written = serde_json::to_vec(refused).map_err(io::Error::from);
        let written = written.and_then(|bytes| match self.0.seal.is_on() {
            true => self.0.seal.seal(REFUSED.as_bytes(), &bytes).map_err(io::Error::other),
            false => Ok(bytes),
        });
        let written = written.and_then(|bytes| replace(&path, &bytes));
        written.map_err(|error| disk("write", &path, error))
    }

    fn unfit(&self, hash: &ChunkHash, unfit: Unfit) -> Fault {
        Fault::new(Code::EngineFailed, format!("`{}` gave a vector for chunk `{hash}` that is none", self.0.by.model))
            .because(unfit)
            .hint("look at the engine that serves this model, or take another model for the role `embed`")
    }

    /// A writer that panicked published nothing, so that the next one finds all in order.
    fn writer(&self) -> MutexGuard<'_, ()> {
        self.0.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two processes that write behind the same last record would destroy each other's.
fn lock(dir: &Path) -> Result<File> {
    let open = || {
        std::fs::create_dir_all(dir)?;
        dir.parent().map_or(Ok(()), sync_folder)?;
        File::create(dir.join(LOCK))
    };
    let file = open().map_err(|error| disk("open the vectors in", dir, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Fault::new(Code::Conflict, format!("the vectors in `{}` are open already", dir.display()))
                .hint("stop the other `tmd` that uses this folder, or give this one a folder of its own"))
        }
        Err(TryLockError::Error(error)) => Err(disk("lock the vectors in", dir, error)),
    }
}

/// The log, and whether another one had to be put aside.
fn open_log(dir: &Path, by: &Embedder, seal: &Seal) -> Result<(Log, bool)> {
    let (path, new) = (dir.join(LOG), dir.join(NEW_LOG));
    let begin = || {
        let log = Log::create(&new, by, seal)?;
        log.sync()?;
        put(&new, &path).map(|()| log)
    };
    let opened = match Log::open(&path, by, seal) {
        Ok(log) => {
            // A crash may have left a copy that was not complete.
            match std::fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok((log, false)),
            }
        }
        Err(LogError::Disk(error)) if error.kind() == io::ErrorKind::NotFound => begin().map(|log| (log, false)),
        Err(LogError::Disk(error)) => Err(error),
        Err(LogError::Damaged) => {
            std::fs::rename(&path, dir.join(DAMAGED_LOG)).and_then(|()| begin()).map(|log| (log, true))
        }
        Err(error @ LogError::OfOther(_)) => {
            let message =
                format!("`{}` is no folder for vectors of `{}` with {} numbers", dir.display(), by.model, by.dims);
            return Err(Fault::new(Code::Conflict, message)
                .because(error)
                .hint("vectors of different models are never mixed: use a folder for each"));
        }
    };
    opened.map_err(|error| disk("open the vectors in", dir, error))
}

/// What was refused; where that cannot be read, the embedder is asked again.
fn read_refused(path: &Path, seal: &Seal) -> io::Result<HashMap<ChunkHash, String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(refused_in(bytes, seal).unwrap_or_else(|error| {
            tracing::warn!(%error, "refused chunks could not be read: the embedder is asked again");
            HashMap::new()
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashMap::new()),
        Err(error) => Err(error),
    }
}

fn refused_in(bytes: Vec<u8>, seal: &Seal) -> io::Result<HashMap<ChunkHash, String>> {
    let bytes = match seal.is_on() {
        true => seal.open(REFUSED.as_bytes(), &bytes).map_err(io::Error::other)?,
        false => bytes,
    };
    Ok(serde_json::from_slice(&bytes)?)
}
