//! The file of vectors: a header that says whose they are, then records of one length, each with its checksum.
//!
//! Records are only ever written behind the last one, and what is beside its checksum is not believed, so that no
//! crash leaves more than a tail to be cut off. Where encryption is on, the header's identity and each record are sealed,
//! for their places: a record that was moved is a damaged one.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use store::sealing::{self, Seal};
use xxhash_rust::xxh3::xxh3_64;

use crate::models::Embedder;
use crate::names::ChunkHash;

const MAGIC: &[u8; 8] = b"TMVECT\0\x01";
/// A sealed file's.
const SEALED_MAGIC: &[u8; 8] = b"TMVECT\0\x02";
/// The magic and the length of what follows it.
const LEAD_BYTES: usize = MAGIC.len() + size_of::<u32>();
/// No identity of a model is near it.
const MOST_IDENTITY_BYTES: usize = 64 * 1024;
const HASH_BYTES: usize = 16;
const SUM_BYTES: usize = size_of::<u64>();
/// How much is read at once when all is read.
const READ_BYTES: usize = 1024 * 1024;

/// A file of vectors.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    /// Where the first record begins.
    body: u64,
    record_bytes: usize,
    seal: Seal,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// Nobody can tell whose vectors these are.
    #[error("the header is damaged")]
    Damaged,
    /// These are vectors of another model.
    #[error("the vectors are those of `{}` with {} numbers", .0.model, .0.dims)]
    OfOther(Embedder),
}

/// What was not whole in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unwhole {
    /// Bytes cut off the end.
    pub cut: u64,
    /// Records before it that are left out.
    pub damaged: u64,
}

impl Log {
    /// A new file with nothing but its header; it is not yet on the disk for good.
    pub(super) fn create(path: &Path, by: &Embedder, seal: &Seal) -> io::Result<Self> {
        let header = header(by, seal)?;
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        file.write_all_at(&header, 0)?;
        Ok(Self { file, body: header.len() as u64, record_bytes: record_bytes(by.dims, seal), seal: seal.clone() })
    }

    /// Opens a file, if it is of that embedder.
    pub(super) fn open(path: &Path, by: &Embedder, seal: &Seal) -> Result<Self, LogError> {
        let file = File::options().read(true).write(true).open(path)?;
        let (found, body) = read_header(&file, seal)?;
        match found == *by {
            true => Ok(Self { file, body, record_bytes: record_bytes(by.dims, seal), seal: seal.clone() }),
            false => Err(LogError::OfOther(found)),
        }
    }

    /// Gives every whole record with its slot, then cuts off what is not whole behind the last one.
    pub(super) fn read_all(&self, mut each: impl FnMut(u32, ChunkHash, &[f32])) -> io::Result<Unwhole> {
        let end = self.file.metadata()?.len();
        let slots = end.saturating_sub(self.body) / self.record_bytes as u64;
        let slots = u32::try_from(slots).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let at_once = (READ_BYTES / self.record_bytes).max(1);
        let mut bytes = vec![0; at_once * self.record_bytes];
        let mut vector = Vec::new();
        let (mut slot, mut whole, mut behind_whole) = (0, 0, 0);
        while slot < slots {
            let count = (slots - slot).min(at_once as u32);
            bytes.truncate(count as usize * self.record_bytes);
            self.file.read_exact_at(&mut bytes, self.position(slot))?;
            for record in bytes.chunks_exact(self.record_bytes) {
                if let Some(hash) = self.decode(slot, record, &mut vector) {
                    each(slot, hash, &vector);
                    (whole, behind_whole) = (whole + 1, slot + 1);
                }
                slot += 1;
            }
        }
        let good_end = self.position(behind_whole);
        if good_end < end {
            self.file.set_len(good_end)?;
            self.file.sync_all()?;
        }
        Ok(Unwhole { cut: end.saturating_sub(good_end), damaged: u64::from(behind_whole - whole) })
    }

    /// Reads the record of a slot; `None` where it is damaged.
    pub(super) fn read(&self, slot: u32) -> io::Result<Option<(ChunkHash, Vec<f32>)>> {
        let mut record = vec![0; self.record_bytes];
        self.file.read_exact_at(&mut record, self.position(slot))?;
        let mut vector = Vec::new();
        Ok(self.decode(slot, &record, &mut vector).map(|hash| (hash, vector)))
    }

    /// Writes records from a slot on; they are not yet on the disk for good.
    pub(super) fn write<'a>(
        &self,
        slot: u32,
        records: impl Iterator<Item = (&'a ChunkHash, &'a [f32])>,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (slot, (hash, vector)) in (slot..).zip(records) {
            let start = bytes.len();
            encode(hash, vector, &mut bytes);
            if self.seal.is_on() {
                let plain = bytes.split_off(start);
                bytes.extend(self.seal.seal(&place(slot), &plain).map_err(io::Error::other)?);
            }
        }
        self.file.write_all_at(&bytes, self.position(slot))
    }

    /// Waits until all that was written is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Takes back what was written from a slot on.
    pub(super) fn cut(&self, slot: u32) -> io::Result<()> {
        self.file.set_len(self.position(slot))
    }

    /// Reads a record into `vector`, if it is whole.
    fn decode(&self, slot: u32, record: &[u8], vector: &mut Vec<f32>) -> Option<ChunkHash> {
        match self.seal.is_on() {
            true => decode(&self.seal.open(&place(slot), record).ok()?, vector),
            false => decode(record, vector),
        }
    }

    fn position(&self, slot: u32) -> u64 {
        self.body + u64::from(slot) * self.record_bytes as u64
    }
}

fn record_bytes(dims: u32, seal: &Seal) -> usize {
    let sealed = if seal.is_on() { sealing::OVERHEAD } else { 0 };
    HASH_BYTES + dims as usize * size_of::<f32>() + SUM_BYTES + sealed
}

/// What a record is sealed for.
fn place(slot: u32) -> Vec<u8> {
    format!("vectors/{slot}").into_bytes()
}

/// What the identity of the embedder is sealed for.
const IDENTITY_PLACE: &[u8] = b"vectors/by";

fn magic(seal: &Seal) -> &'static [u8; 8] {
    if seal.is_on() { SEALED_MAGIC } else { MAGIC }
}

fn header(by: &Embedder, seal: &Seal) -> io::Result<Vec<u8>> {
    let identity = serde_json::to_vec(by)?;
    let identity = match seal.is_on() {
        true => seal.seal(IDENTITY_PLACE, &identity).map_err(io::Error::other)?,
        false => identity,
    };
    if identity.len() > MOST_IDENTITY_BYTES {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut bytes = magic(seal).to_vec();
    bytes.extend((identity.len() as u32).to_le_bytes());
    bytes.extend(identity);
    bytes.extend(xxh3_64(&bytes).to_le_bytes());
    Ok(bytes)
}

/// Whose vectors follow, and where they begin.
fn read_header(file: &File, seal: &Seal) -> Result<(Embedder, u64), LogError> {
    let mut bytes = vec![0; LEAD_BYTES];
    read_all_of(file, &mut bytes)?;
    let length = bytes.strip_prefix(magic(seal)).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
    let length = length.map(|length| length as usize).filter(|length| *length <= MOST_IDENTITY_BYTES);
    bytes.resize(LEAD_BYTES + length.ok_or(LogError::Damaged)? + SUM_BYTES, 0);
    read_all_of(file, &mut bytes)?;
    let whole = checked(&bytes).ok_or(LogError::Damaged)?;
    let identity = whole.get(LEAD_BYTES..).ok_or(LogError::Damaged)?;
    let identity = match seal.is_on() {
        // Whole, as its checksum says, and sealed under another key: that is for whoever has the key to say.
        true => Cow::from(seal.open(IDENTITY_PLACE, identity).map_err(io::Error::other)?),
        false => Cow::from(identity),
    };
    let by = serde_json::from_slice(&identity).ok();
    Ok((by.ok_or(LogError::Damaged)?, bytes.len() as u64))
}

fn read_all_of(file: &File, bytes: &mut [u8]) -> Result<(), LogError> {
    file.read_exact_at(bytes, 0).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => LogError::Damaged,
        _ => LogError::Disk(error),
    })
}

fn encode(hash: &ChunkHash, vector: &[f32], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend(hash.0);
    vector.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    let sum = xxh3_64(bytes.get(start..).unwrap_or_default());
    bytes.extend(sum.to_le_bytes());
}

/// Reads a record into `vector`, if it is whole.
fn decode(record: &[u8], vector: &mut Vec<f32>) -> Option<ChunkHash> {
    let (hash, numbers) = checked(record)?.split_first_chunk::<HASH_BYTES>()?;
    vector.clear();
    vector.extend(numbers.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)));
    Some(ChunkHash(*hash))
}

/// What stands before a checksum, if it is the one of it.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (whole, sum) = bytes.split_last_chunk()?;
    (xxh3_64(whole) == u64::from_le_bytes(*sum)).then_some(whole)
}
