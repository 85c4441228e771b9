//! The search for the nearest vectors by their small numbers, the first of two passes: whoever asks looks at the best of
//! them exactly. There is no graph that approximates: what is allowed is looked at, and nothing else.
//!
//! Measured on 20,000 vectors of 32 to 1024 numbers, scattered and in clusters of fifty: the hundred nearest were among the
//! first 152. Among near copies (a cosine of 0.997) small numbers hardly tell one from another, and the ten nearest went down
//! to the 62nd.

use std::sync::Arc;

use base::{Fault, Result};
use fixedbitset::FixedBitSet;
use simsimd::SpatialSimilarity;

use super::numbers::{shrink, unit};
use super::snapshot::{BLOCK_ROWS, Block, Row, Snapshot};

/// Below this a thread costs more than it saves: 32,768 rows of 384 numbers are 12 MB, a millisecond's work.
const BLOCKS_OF_THREAD: usize = 32;
/// More do not make memory faster.
const MOST_THREADS: usize = 4;

/// Some rows of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Rows(FixedBitSet);

/// Which rows a search may find.
#[derive(Clone, Copy, Debug)]
pub enum Allowed<'a> {
    /// Every one.
    All,
    /// These.
    Only(&'a Rows),
}

impl Rows {
    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.count_ones(..)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_clear()
    }
}

impl FromIterator<Row> for Rows {
    fn from_iter<I: IntoIterator<Item = Row>>(rows: I) -> Self {
        Self(rows.into_iter().map(|row| row.0 as usize).collect())
    }
}

impl Snapshot {
    /// The `most` rows that point most into the direction of `query`, with the cosine by small numbers, best first; equal
    /// ones by row.
    pub fn nearest(&self, query: &[f32], allowed: Allowed<'_>, most: usize) -> Result<Vec<(Row, f32)>> {
        let query = unit(query, self.dims).map_err(|unfit| {
            Fault::invalid("the vector of the question cannot be compared")
                .because(unfit)
                .hint("ask with a vector of the embedder in use")
        })?;
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut best = self.best(&query, allowed, most.min(self.len()));
        best.sort_unstable_by(better);
        Ok(best.into_iter().map(|(cosine, row)| (row, cosine)).collect())
    }

    fn best(&self, query: &[f32], allowed: Allowed<'_>, most: usize) -> Vec<(f32, Row)> {
        let mut small = Vec::with_capacity(query.len());
        let scale = shrink(query, &mut small);
        match allowed {
            Allowed::All => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                let threads = (self.blocks.len() / BLOCKS_OF_THREAD).clamp(1, cores.min(MOST_THREADS));
                self.of_all(&small, scale, most, threads)
            }
            Allowed::Only(rows) => {
                let mut best = Best::new(most);
                // Rows of a later snapshot are not in this one.
                for row in rows.0.ones().map_while(|row| u32::try_from(row).ok().filter(|row| *row < self.len)) {
                    if let Some((numbers, row_scale)) = self.small(Row(row)) {
                        best.offer(product(&small, numbers) * scale * row_scale, Row(row));
                    }
                }
                best.into_rows()
            }
        }
    }

    /// The best of all rows. One core waits for memory most of the time, so a large snapshot is looked at by several.
    pub(super) fn of_all(&self, small: &[i8], scale: f32, most: usize, threads: usize) -> Vec<(f32, Row)> {
        let of_blocks = |first: usize, blocks: &[Arc<Block>]| {
            let mut best = Best::new(most);
            for (number, block) in (first as u32..).zip(blocks) {
                let rows = block.numbers.chunks_exact(small.len()).zip(&block.scales);
                for (row, (numbers, row_scale)) in (number * BLOCK_ROWS..).zip(rows) {
                    best.offer(product(small, numbers) * scale * row_scale, Row(row));
                }
            }
            best.into_rows()
        };
        let share = self.blocks.len().div_ceil(threads).max(1);
        let mut shares = (0..).step_by(share).zip(self.blocks.chunks(share));
        let Some((first, own)) = shares.next() else { return Vec::new() };
        let of_blocks = &of_blocks;
        std::thread::scope(|scope| {
            let others: Vec<_> = shares.map(|(first, blocks)| scope.spawn(move || of_blocks(first, blocks))).collect();
            let mut best = of_blocks(first, own);
            for other in others {
                best.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            keep_best(&mut best, most);
            best
        })
    }
}

/// Both are of one length, so that there always is a product.
fn product(one: &[i8], other: &[i8]) -> f32 {
    i8::dot(one, other).map_or(f32::NEG_INFINITY, |dot| dot as f32)
}

/// Higher first, then the lower row.
fn better(one: &(f32, Row), other: &(f32, Row)) -> std::cmp::Ordering {
    other.0.total_cmp(&one.0).then(one.1.cmp(&other.1))
}

/// Drops all but the `most` best; the score of the worst one kept, where some were dropped.
fn keep_best(rows: &mut Vec<(f32, Row)>, most: usize) -> Option<f32> {
    if most == 0 || rows.len() <= most {
        return None;
    }
    let (_, worst_kept, _) = rows.select_nth_unstable_by(most - 1, better);
    let floor = worst_kept.0;
    rows.truncate(most);
    Some(floor)
}

/// The best of what is offered, in the order of rows. Twice as many are gathered before the worse half goes, which costs
/// less than keeping them in order.
struct Best {
    most: usize,
    gathered: Vec<(f32, Row)>,
    /// What is not above it is not among the best.
    floor: f32,
}

impl Best {
    fn new(most: usize) -> Self {
        Self { most, gathered: Vec::with_capacity(2 * most), floor: f32::NEG_INFINITY }
    }

    fn offer(&mut self, score: f32, row: Row) {
        // A later row with the score of the floor is behind all that are kept.
        if score > self.floor {
            self.gathered.push((score, row));
            if self.gathered.len() >= 2 * self.most {
                self.drop_worse();
            }
        }
    }

    fn drop_worse(&mut self) {
        if let Some(worst_kept) = keep_best(&mut self.gathered, self.most) {
            self.floor = worst_kept;
        }
    }

    fn into_rows(mut self) -> Vec<(f32, Row)> {
        self.drop_worse();
        self.gathered
    }
}
