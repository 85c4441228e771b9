//! The search for the nearest vectors, in two passes: all allowed rows by their small numbers, then the best of them by
//! their exact ones. There is no graph that approximates: what is allowed is looked at, and nothing else.

use std::sync::Arc;

use base::{Fault, Result};
use fixedbitset::FixedBitSet;
use simsimd::SpatialSimilarity;

use super::numbers::{shrink, unit};
use super::snapshot::{BLOCK_ROWS, Block, Row, Snapshot};

/// For each hit that is wanted, and beside those, how many rows are looked at exactly. Measured on 20,000 vectors of 32 to
/// 1024 numbers, scattered and in clusters of fifty: the hundred best were among the first 152 by small numbers. Among
/// near copies (a cosine of 0.997) those hardly tell one from another, and the ten best went down to the 62nd: hence the
/// second number.
const LOOKED_AT_FOR_EACH: usize = 2;
const LOOKED_AT_BESIDE: usize = 100;
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

/// A row that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    /// Which.
    pub row: Row,
    /// Its cosine to the query; by the small numbers where the exact ones cannot be read.
    pub cosine: f32,
    /// The exact numbers, of length 1, which were read for that.
    pub vector: Option<Vec<f32>>,
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
    /// The rows of [`Snapshot::nearest_read`] and their cosines.
    pub fn nearest(&self, query: &[f32], allowed: Allowed<'_>, most: usize) -> Result<Vec<(Row, f32)>> {
        Ok(self.nearest_read(query, allowed, most)?.into_iter().map(|near| (near.row, near.cosine)).collect())
    }

    /// The `most` rows that point most into the direction of `query`, with the cosine, best first; equal ones by row.
    pub fn nearest_read(&self, query: &[f32], allowed: Allowed<'_>, most: usize) -> Result<Vec<Near>> {
        let query = unit(query, self.dims).map_err(|unfit| {
            Fault::invalid("the vector of the question cannot be compared")
                .because(unfit)
                .hint("ask with a vector of the embedder in use")
        })?;
        if most == 0 {
            return Ok(Vec::new());
        }
        let looked_at = most.saturating_mul(LOOKED_AT_FOR_EACH).saturating_add(LOOKED_AT_BESIDE);
        let mut hits = self.rescored(&query, self.candidates(&query, allowed, looked_at));
        hits.sort_unstable_by(|one, other| better(&(one.cosine, one.row), &(other.cosine, other.row)));
        hits.truncate(most);
        Ok(hits)
    }

    /// The first pass: the best by small numbers.
    fn candidates(&self, query: &[f32], allowed: Allowed<'_>, most: usize) -> Vec<(f32, Row)> {
        let mut small = Vec::with_capacity(query.len());
        let scale = shrink(query, &mut small);
        let most = most.min(self.len());
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

    /// The second pass: the exact cosine of each.
    fn rescored(&self, query: &[f32], mut candidates: Vec<(f32, Row)>) -> Vec<Near> {
        // In the order of the file.
        candidates.sort_unstable_by_key(|(_, row)| *row);
        let exact = |(score, row): (f32, Row)| match self.vector(row) {
            Ok(vector) => {
                let cosine = f32::dot(query, &vector).map_or(score, |dot| dot as f32);
                Near { row, cosine, vector: Some(vector) }
            }
            Err(fault) => {
                tracing::warn!(
                    row = row.0,
                    error = fault.full_message(),
                    "a vector is compared by its small numbers alone"
                );
                Near { row, cosine: score, vector: None }
            }
        };
        candidates.into_iter().map(exact).collect()
    }

    fn small(&self, row: Row) -> Option<(&[i8], f32)> {
        let (block, at) = self.block(row)?;
        let dims = self.dims as usize;
        Some((block.numbers.get(at * dims..(at + 1) * dims)?, *block.scales.get(at)?))
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
