//! The vectors as they stand at one moment: rows mean the same as long as it is held, whatever is written meanwhile.
//!
//! In memory a vector is made of whole numbers from -127 to 127, a quarter of its size; its exact numbers are read from
//! the file when they are wanted. The next snapshot shares all with this one but the last block and the shards that it
//! adds to.

use std::collections::HashMap;
use std::sync::Arc;

use base::{Fault, Result};

use super::log::{Log, Unwhole};
use super::numbers::shrink;
use crate::index::Shards;
use crate::names::ChunkHash;

/// Few enough that copying the last block costs next to nothing beside the sync of a batch.
pub(super) const BLOCK_ROWS: u32 = 1024;

/// Where a vector stands in a snapshot, and in later ones until [`super::Vectors::keep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(pub u32);

/// The vectors as they stand at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) log: Arc<Log>,
    pub(super) dims: u32,
    pub(super) blocks: Vec<Arc<Block>>,
    rows: Shards<ChunkHash, Row>,
    pub(super) len: u32,
    /// Behind the last record of the file.
    next_slot: u32,
    pub(super) refused: Arc<HashMap<ChunkHash, String>>,
}

/// Some rows, one behind the other.
#[derive(Debug)]
pub(super) struct Block {
    hashes: Vec<ChunkHash>,
    /// Their records; a damaged one is left out, so that those are not the rows.
    slots: Vec<u32>,
    /// What the small numbers of a row are to be multiplied by.
    pub scales: Vec<f32>,
    /// All rows, one behind the other.
    pub numbers: Vec<i8>,
}

impl Snapshot {
    /// Reads all of a file.
    pub(super) fn read(
        log: Log,
        dims: u32,
        refused: Arc<HashMap<ChunkHash, String>>,
    ) -> std::io::Result<(Self, Unwhole)> {
        let log = Arc::new(log);
        let rows = Shards::default();
        let mut snapshot = Self { log: log.clone(), dims, blocks: Vec::new(), rows, len: 0, next_slot: 0, refused };
        let unwhole = log.read_all(|slot, hash, vector| snapshot.add(slot, hash, vector))?;
        Ok((snapshot, unwhole))
    }

    /// How many vectors there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the vector of a chunk stands.
    pub fn row(&self, hash: &ChunkHash) -> Option<Row> {
        self.rows.get(hash).copied()
    }

    /// Whether a chunk has a vector.
    pub fn contains(&self, hash: &ChunkHash) -> bool {
        self.row(hash).is_some()
    }

    /// Whose vector stands there.
    pub fn hash(&self, row: Row) -> Option<ChunkHash> {
        let (block, at) = self.block(row)?;
        block.hashes.get(at).copied()
    }

    /// The exact numbers, of length 1.
    pub fn vector(&self, row: Row) -> Result<Vec<f32>> {
        let no_row =
            || Fault::internal(format!("there is no vector in row {}", row.0)).hint("this is a fault: report it");
        let (block, at) = self.block(row).ok_or_else(no_row)?;
        let (slot, hash) = block.slots.get(at).zip(block.hashes.get(at)).ok_or_else(no_row)?;
        let unreadable = || {
            Fault::internal(format!("the vector of chunk `{hash}` cannot be read any more"))
                .hint("look at the disk; a restart leaves it out and makes it anew")
        };
        match self.log.read(*slot) {
            Ok(Some((found, vector))) if found == *hash => Ok(vector),
            Ok(_) => Err(unreadable()),
            Err(error) => Err(unreadable().because(error)),
        }
    }

    /// The numbers of a vector as they are made of the small ones.
    pub fn small_vector(&self, row: Row) -> Option<Vec<f32>> {
        let (numbers, scale) = self.small(row)?;
        Some(numbers.iter().map(|number| f32::from(*number) * scale).collect())
    }

    /// The small numbers of a row, and what they are to be multiplied by.
    pub(super) fn small(&self, row: Row) -> Option<(&[i8], f32)> {
        let (block, at) = self.block(row)?;
        let dims = self.dims as usize;
        Some((block.numbers.get(at * dims..(at + 1) * dims)?, *block.scales.get(at)?))
    }

    /// The first `most` of those that have no vector and were not refused one, each once, in their order.
    pub fn missing<'a>(&self, hashes: impl IntoIterator<Item = &'a ChunkHash>, most: usize) -> Vec<ChunkHash> {
        let mut seen = std::collections::HashSet::new();
        let is_missing = |hash: &&ChunkHash| !self.contains(hash) && !self.refused.contains_key(hash);
        hashes.into_iter().filter(is_missing).filter(|hash| seen.insert(**hash)).take(most).copied().collect()
    }

    /// Why the embedder gave no vector for a chunk, where it was asked and will not be asked again.
    pub fn refused(&self, hash: &ChunkHash) -> Option<&str> {
        self.refused.get(hash).map(String::as_str)
    }

    /// How many chunks were refused.
    pub fn refusals(&self) -> usize {
        self.refused.len()
    }

    /// Every row.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Row, ChunkHash)> + '_ {
        let hashes = self.blocks.iter().flat_map(|block| &block.hashes);
        (0..).map(Row).zip(hashes.copied())
    }

    /// Which record of the file is the next.
    pub(super) fn next_slot(&self) -> u32 {
        self.next_slot
    }

    /// Adds a vector, unless its chunk has one.
    pub(super) fn add(&mut self, slot: u32, hash: ChunkHash, vector: &[f32]) {
        self.next_slot = self.next_slot.max(slot.saturating_add(1));
        if self.contains(&hash) {
            return;
        }
        self.rows.insert(hash, Row(self.len));
        if self.len.is_multiple_of(BLOCK_ROWS) {
            self.blocks.push(Arc::new(Block::empty(self.dims)));
        }
        if let Some(last) = self.blocks.last_mut() {
            Arc::make_mut(last).add(slot, hash, vector);
        }
        self.len += 1;
    }

    pub(super) fn block(&self, row: Row) -> Option<(&Block, usize)> {
        let block = self.blocks.get((row.0 / BLOCK_ROWS) as usize)?;
        Some((block, (row.0 % BLOCK_ROWS) as usize))
    }
}

impl Block {
    /// Has room for all its rows at once: what is not touched costs no memory, and a block never grows by doubling.
    fn empty(dims: u32) -> Self {
        let rows = BLOCK_ROWS as usize;
        Self {
            hashes: Vec::with_capacity(rows),
            slots: Vec::with_capacity(rows),
            scales: Vec::with_capacity(rows),
            numbers: Vec::with_capacity(rows * dims as usize),
        }
    }

    fn add(&mut self, slot: u32, hash: ChunkHash, vector: &[f32]) {
        self.hashes.push(hash);
        self.slots.push(slot);
        self.scales.push(shrink(vector, &mut self.numbers));
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        let dims = self.numbers.len() / self.hashes.len().max(1);
        let mut copy = Self::empty(dims as u32);
        copy.hashes.extend(&self.hashes);
        copy.slots.extend(&self.slots);
        copy.scales.extend(&self.scales);
        copy.numbers.extend(&self.numbers);
        copy
    }
}
